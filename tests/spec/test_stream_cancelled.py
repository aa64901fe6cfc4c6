"""Streams whose consumer raises, or is cancelled: what comes out, and that nothing of them goes on."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncGenerator, AsyncIterator

import anyio
import pytest

from headrace import flow, task
from headrace.errors import CancelledRun, FlowRunTimeoutError, RunCancelled
from headrace.testing import virtual_time
from tests.chaos.processes import until
from tests.spec.cancelling import WHY, Meanwhile, stop
from tests.spec.forms import Form, Latch, Record
from tests.spec.streaming import (
    Story,
    double,
    kinds,
    read,
    state_counts,
    trace_of,
)

ASYNC = Form("async")


@pytest.fixture
def story() -> Story:
    return Story()


# -- an exception of the consumer's ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_what_the_consumer_raises_comes_out_unchanged(kind: str, story: Story) -> None:
    caught: list[BaseException] = []

    @flow
    async def main() -> None:
        try:
            async with story.work.stream(kinds(kind, range(100)), limit=5) as results:
                async for _ in results:
                    raise LookupError("mine")
        except LookupError as error:
            caught.append(error)
            assert sorted(story.cleaned) == [1, 2, 3, 4]

    await main()
    (error,) = caught
    assert str(error) == "mine"
    assert error.__context__ is None
    assert trace_of(error) == ["test_stream_cancelled.py"]


def test_what_a_sync_consumer_raises_comes_out_unchanged(story: Story) -> None:
    caught: list[BaseException] = []

    @flow
    def main() -> None:
        try:
            for _ in story.work.stream(range(100), limit=5):
                raise LookupError("mine")
        except LookupError as error:
            caught.append(error)
            assert sorted(story.cleaned) == [1, 2, 3, 4]

    main()
    (error,) = caught
    assert error.__context__ is None
    assert trace_of(error) == ["test_stream_cancelled.py"]


# -- cancelled from outside -----------------------------------------------------------------------------------


async def nothing_runs() -> None:
    """See that nothing goes on but the test itself, which anyio's plugin awaits in a task of its own."""
    await asyncio.sleep(0)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    left = [one for one in others if "TestRunner" not in repr(one.get_coro())]
    assert not left, left


@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("how", ["task", "scope", "flow timeout"])
async def test_a_cancelled_flow_leaves_nothing_of_its_stream(kind: str, how: str, record: Record) -> None:
    story = Story(count=6)  # five, and one more for the first that is handed on
    left = list[list[int]]()

    @flow(timeout_seconds=3_600 if how == "flow timeout" else None)
    async def main() -> None:
        try:
            await read(ASYNC, story.work.stream(kinds(kind, range(1, 100)), limit=6, ordered=False))
        finally:
            left.append(sorted(story.cleaned))

    if how == "task":
        running = asyncio.create_task(main())
        await story.together.passed()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    elif how == "scope":
        async with anyio.create_task_group() as group:
            group.start_soon(main)
            await story.together.passed()
            group.cancel_scope.cancel()
    else:
        with virtual_time(), pytest.raises(FlowRunTimeoutError):
            await main()

    assert left == [[1, 2, 3, 4, 5, 6]]  # the stream was left only when all had cleaned up
    await nothing_runs()
    assert state_counts(record) == {"Cancelled": 6}


async def test_a_scope_around_the_stream_alone_leaves_the_flow_running(story: Story) -> None:
    async def slow() -> AsyncIterator[int]:
        for x in itertools.count(1):
            await asyncio.sleep(1)
            yield x

    @flow
    async def main() -> list[int]:
        with anyio.move_on_after(60):
            await read(ASYNC, story.work.stream(slow(), limit=4))
        assert sorted(story.cleaned) == [1, 2, 3, 4]
        return await read(ASYNC, double.stream([1, 2]))

    with virtual_time() as time:
        assert await main() == [2, 4]
        assert time.elapsed == pytest.approx(60, abs=0.1)
    await nothing_runs()


async def test_a_second_cancellation_does_not_wait_for_cleanup() -> None:
    at_work, released = asyncio.Event(), asyncio.Event()

    @task
    async def stubborn(x: int) -> int:
        at_work.set()
        try:
            await asyncio.Event().wait()
        finally:
            await released.wait()
        return x

    @flow
    async def main() -> None:
        await read(ASYNC, stubborn.stream([1]))

    running = asyncio.create_task(main())
    await at_work.wait()
    for _ in range(3):
        running.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asyncio.shield(running), 30)


def test_a_sync_flow_that_took_too_long_leaves_no_thread_in_its_stream(record: Record) -> None:
    threads = list[threading.Thread]()

    @task
    async def slow(x: int) -> int:
        await asyncio.sleep(10)
        return x

    @flow(timeout_seconds=25)
    def main() -> None:
        threads.append(threading.current_thread())
        list(slow.stream(itertools.count(), limit=2))

    with virtual_time():
        with pytest.raises(FlowRunTimeoutError):
            main()
        threads[0].join(30)

    assert not threads[0].is_alive()
    assert set(state_counts(record)) == {"Completed", "Cancelled"}


async def test_a_stream_in_a_generator_ends_with_it(story: Story) -> None:
    async def reader() -> AsyncGenerator[int, None]:
        async with story.work.stream(range(10), limit=5) as results:
            async for x in results:
                yield x

    @flow
    async def main() -> None:
        mine = reader()
        assert await anext(mine) == 0
        await mine.aclose()
        assert sorted(story.cleaned) == [1, 2, 3, 4]

    await main()
    await nothing_runs()


def test_a_sync_flow_hears_of_itself_before_a_stream_gives_what_was_stopped_with_it(record: Record) -> None:
    begun, taken, ended = Latch(), threading.Event(), threading.Event()
    story: list[object] = []

    @task
    async def item(number: int) -> int:
        if number:
            begun.open()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.set()
        await begun.passed()  # the other has begun by then
        return number

    @flow(name="main")
    def main() -> None:
        with item.stream([0, 1]) as results:
            iterator = iter(results)
            story.append(next(iterator))
            taken.set()
            assert ended.wait(30), "it hears nothing meanwhile"
            until(lambda: all(run.state.is_final() for run in record.task_runs()))
            try:
                next(iterator)
            except BaseException as error:
                story.append(type(error))
                raise

    with Meanwhile(taken.is_set, lambda: stop("main")), pytest.raises(CancelledRun, match=WHY):
        main()

    assert story == [0, RunCancelled]
