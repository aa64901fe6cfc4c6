"""How streams end before their source does: left early, failing, cancelled. Nothing of them goes on."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anyio
import pytest

from headrace import State, flow, task
from headrace.errors import CancelledRun, MappingLengthMismatch
from headrace.runtime import cancelled
from headrace.states import Cancelled
from headrace.testing import virtual_time
from tests.chaos.processes import until
from tests.spec.forms import Form, Latch, Record, call
from tests.spec.streaming import (
    Counted,
    Story,
    double,
    enough,
    in_flow,
    kinds,
    read,
    state_counts,
    trace_of,
    triple,
)

ASYNC = Form("async")
BOOM = ValueError("boom")


@pytest.fixture
def story() -> Story:
    return Story()


# -- left early ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
def test_leaving_early_cancels_the_rest_and_waits_for_its_cleanup(
    form: Form, story: Story, record: Record, ordered: bool
) -> None:
    async def body() -> tuple[list[int], list[int]]:
        given = await read(form, story.work.stream(range(100), limit=5, ordered=ordered), enough)
        return given, sorted(story.cleaned)

    assert in_flow(form, body) == ([0], [1, 2, 3, 4])
    assert state_counts(record) == {"Completed": 1, "Cancelled": 4}
    assert record.flow_run().state.is_completed()


def test_a_plain_for_that_is_broken_off_ends_the_stream(story: Story, record: Record) -> None:
    @flow
    def main() -> list[int]:
        for _ in story.work.stream(range(100), limit=5):
            break
        return sorted(story.cleaned)

    assert main() == [1, 2, 3, 4]
    assert state_counts(record) == {"Completed": 1, "Cancelled": 4}


def test_what_had_not_begun_when_a_stream_is_left_never_begins(form: Form, record: Record) -> None:
    ran = list[int]()
    pulled = threading.Event()

    def source() -> Iterator[int]:
        yield from range(200)
        pulled.set()
        yield 200

    @task
    def wait(x: int) -> int:
        ran.append(x)
        if x == 0:
            assert pulled.wait(30)
        else:
            until(cancelled)
        return x

    async def body() -> None:
        await read(form, wait.stream(source(), limit=201), enough)

    in_flow(form, body)

    assert len(ran) <= 65  # as many threads as there are for bodies that block, and the first that has ended
    assert state_counts(record) == {"Completed": 1, "Cancelled": 200}


def test_leaving_early_is_no_failure_of_the_flow(form: Form, story: Story, record: Record) -> None:
    async def body() -> str:
        await read(form, story.work.stream(range(20), limit=5), enough)
        await call(triple if not form.is_async else double, 1)
        return "went on"

    assert in_flow(form, body, on_child_failure="cancel") == "went on"
    assert record.flow_run().state.is_completed()


def test_runs_that_a_left_stream_cancelled_are_no_errors_in_the_log(
    form: Form, story: Story, said: Callable[[], list[str]]
) -> None:
    async def body() -> None:
        await read(form, story.work.stream(range(20), limit=5), enough)

    in_flow(form, body)

    assert [line for line in said() if line.startswith(("WARNING", "ERROR"))] == []
    assert len([line for line in said() if "Finished in state Cancelled" in line]) == 4


def test_a_stream_that_is_opened_and_never_read_runs_nothing(form: Form, record: Record) -> None:
    source = Counted(range(5))

    async def body() -> None:
        if form.is_async:
            async with double.stream(source):
                pass
        else:
            with double.stream(source):
                pass

    in_flow(form, body)

    assert source.pulled == 0
    assert record.task_runs() == []


async def test_a_source_that_is_being_awaited_when_the_stream_is_left_cleans_up() -> None:
    story: list[str] = []

    async def source() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            story.append("closed")

    @flow
    async def main() -> list[str]:
        await read(ASYNC, double.stream(source()), enough)
        return story

    assert await asyncio.wait_for(main(), 30) == ["closed"]


async def test_a_source_that_swallows_its_cancellation_starts_nothing_more(record: Record) -> None:
    async def stubborn() -> AsyncIterator[int]:
        for x in itertools.count():
            if x:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    yield -1
            yield x

    @flow
    async def main() -> list[int]:
        return await read(ASYNC, double.stream(stubborn()), enough)

    assert await asyncio.wait_for(main(), 30) == [0]
    assert len(record.task_runs()) == 1


def test_a_run_that_outlasts_the_patience_is_left_to_its_flow(form: Form) -> None:
    all_begun = Latch()

    @task
    async def deaf(x: int) -> int:
        if x == 0:
            await all_begun.passed()
            return x
        all_begun.open()
        try:
            await asyncio.Event().wait()
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(25)
        return x

    with virtual_time() as time:

        async def body() -> float:
            await read(form, deaf.stream(range(2)), enough)
            return time.elapsed

        assert in_flow(form, body) == pytest.approx(10, abs=1)
        assert time.elapsed == pytest.approx(25, abs=1)


# -- an item that fails -------------------------------------------------------------------------------------


def test_an_item_that_fails_is_raised_at_its_place(form: Form, inner: Form) -> None:
    later = Latch()
    seen = list[int]()

    @inner.task()
    async def picky(x: int) -> int:
        if x == 1:
            await later.passed()  # so it is not the order of their ends that counts
            raise BOOM
        if x == 3:
            later.open()
        return x

    async def body() -> None:
        await read(form, picky.stream(range(50), limit=4), seen.append)

    with pytest.raises(ValueError, match="boom") as caught:
        in_flow(form, body)

    assert caught.value is BOOM
    assert seen == [0]


def test_unordered_a_failure_is_raised_when_it_comes(form: Form) -> None:
    @task
    async def picky(x: int) -> int:
        if x == 2:
            raise BOOM
        await asyncio.Event().wait()
        return x

    async def body() -> None:
        await read(form, picky.stream(range(3), ordered=False))

    with pytest.raises(ValueError, match="boom") as caught:
        in_flow(form, body)

    assert caught.value is BOOM


def test_after_a_failure_the_rest_is_cancelled(form: Form, record: Record) -> None:
    cleaned = list[int]()
    all_there = Latch()
    begun = itertools.count(1)

    @task
    async def picky(x: int) -> int:
        if next(begun) == 4:
            all_there.open()
        if x == 0:
            await all_there.passed()
            raise BOOM
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(x)
        return x

    async def body() -> list[int]:
        with pytest.raises(ValueError, match="boom"):
            await read(form, picky.stream(range(100), limit=4))
        return sorted(cleaned)

    assert in_flow(form, body) == [1, 2, 3]
    assert state_counts(record) == {"Failed": 1, "Cancelled": 3}


def test_a_stream_of_states_goes_on_after_a_failure(form: Form, inner: Form) -> None:
    @inner.task()
    async def picky(x: int) -> int:
        if x % 2:
            raise BOOM
        return x

    async def body() -> list[str]:
        states: list[State[Any]] = await read(form, picky.stream(range(6), limit=2, return_state=True))
        return [state.name for state in states]

    assert in_flow(form, body) == ["Completed", "Failed"] * 3


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_caught_failure_can_be_read_past_inside_the_block(form: Form, kind: str) -> None:
    @task
    def picky(x: int) -> int:
        if x == 1:
            raise BOOM
        return x

    seen = list[int]()

    async def body() -> None:
        stream: Any = picky.stream(kinds(kind if form.is_async else "plain", range(4)), limit=1)
        for _ in range(2):
            try:
                if form.is_async:
                    if not seen:
                        await stream.__aenter__()
                    async for x in stream:
                        seen.append(x)
                else:
                    if not seen:
                        stream.__enter__()
                    for x in stream:
                        seen.append(x)
            except ValueError:
                seen.append(-1)
        if form.is_async:
            await stream.__aexit__(None, None, None)
        else:
            stream.__exit__(None, None, None)

    in_flow(form, body)

    assert seen == [0, -1, 2, 3]


def test_an_item_that_ends_cancelled_is_raised_as_such(form: Form) -> None:
    @task
    def gives_up(x: int) -> Any:
        return Cancelled(message="no more") if x else x

    async def body() -> None:
        with pytest.raises(CancelledRun, match="no more"):
            await read(form, gives_up.stream([0, 1, 2]))

    in_flow(form, body)


# -- a source that fails ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
def test_what_is_in_flight_is_handed_on_before_what_the_source_raised(form: Form, inner: Form, ordered: bool) -> None:
    seen = list[int]()

    def source() -> Iterator[int]:
        yield from range(7)
        raise BOOM

    @inner.task()
    async def same(x: int) -> int:
        return x

    async def body() -> None:
        await read(form, same.stream(source(), limit=10, ordered=ordered), seen.append)

    with pytest.raises(ValueError, match="boom") as caught:
        in_flow(form, body)

    assert caught.value is BOOM
    assert sorted(seen) == list(range(7))


async def test_so_it_is_where_the_source_is_async() -> None:
    seen = list[int]()

    async def source() -> AsyncIterator[int]:
        for x in range(7):
            yield x
        raise BOOM

    @flow
    async def main() -> None:
        await read(ASYNC, double.stream(source(), limit=3), seen.append)

    with pytest.raises(ValueError, match="boom") as caught:
        await main()

    assert caught.value is BOOM
    assert seen == [2 * x for x in range(7)]


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_what_a_source_raised_comes_through_no_frames_of_ours(kind: str) -> None:
    caught: list[BaseException] = []

    def plain() -> Iterator[int]:
        yield 1
        raise LookupError("source")

    async def awaited() -> AsyncIterator[int]:
        yield 1
        raise LookupError("source")

    @flow
    async def main() -> None:
        source: Any = plain() if kind == "plain" else awaited()
        async with double.stream(source) as results:
            try:
                async for _ in results:
                    pass
            except LookupError as error:
                caught.append(error)

    await main()
    assert [trace_of(error) for error in caught] == [["test_stream_endings.py"] * 2]


def test_it_comes_through_none_in_sync_flows_either() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise LookupError("source")

    @flow
    def main(opened: bool) -> list[str]:
        stream = triple.stream(source())
        try:
            if opened:
                with stream as results:
                    list(results)
            else:
                list(stream)
        except LookupError as error:
            return trace_of(error)
        return []

    assert main(True) == ["test_stream_endings.py"] * 2
    assert main(False) == ["test_stream_endings.py"] * 2


def test_sources_of_unequal_lengths_are_told_after_what_they_gave(form: Form) -> None:
    seen = list[int]()

    @task
    def add(x: int, y: int) -> int:
        return x + y

    async def body() -> None:
        await read(form, add.stream(range(5), iter([10, 20, 30])), seen.append)

    with pytest.raises(
        MappingLengthMismatch, match=r"add is mapped over .* different lengths \(x: another item, y: ended\)"
    ):
        in_flow(form, body)

    assert seen == [10, 21, 32]


async def test_a_source_whose_own_wait_was_cancelled_cancels_its_reader_and_no_more() -> None:
    seen = list[int]()

    async def source() -> AsyncIterator[int]:
        yield 1
        own = asyncio.create_task(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(own.cancel)
        await own

    @flow
    async def main() -> None:
        await read(ASYNC, double.stream(source()), seen.append)

    with pytest.raises(asyncio.CancelledError):
        await main()

    current = asyncio.current_task()
    assert current is not None
    assert current.cancelling() == 0
    assert seen == [2]
