"""Where nothing may wait: blocking on what only the blocked loop could end is refused, with what to write instead."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headrace import aio, flow, futures, task
from headrace.errors import MappingMissingIterable, RunningLoopError
from headrace.futures import Future
from tests.spec.cancelling import happens
from tests.spec.forms import Form, Latch, Record, call
from tests.spec.turns import Turns

Lines = Callable[[], list[str]]


@pytest.fixture
def turns(inner: Form) -> Iterator[Turns]:
    turns = Turns(inner)
    yield turns
    turns.end(*turns.latches)


# -- where nothing may wait ---------------------------------------------------------------------------------


def map_over_nothing(future: Any, take: Any) -> None:
    """Map over a future whose result is waited for, and then is no list."""
    with pytest.raises(MappingMissingIterable):
        take.map(future)


REFUSED: dict[str, Callable[[Any, Any], Any]] = {
    "future.result()": lambda future, _: future.result(),
    "future.result(timeout)": lambda future, _: future.result(timeout=1),
    "future.wait()": lambda future, _: future.wait(),
    "futures.wait()": lambda future, _: futures.wait([future]),
    "for of as_completed": lambda future, _: list(futures.as_completed([future])),
    "results": lambda future, _: futures.resolve_futures_to_results({"a": [future]}),
    "states": lambda future, _: futures.resolve_futures_to_states({"a": [future]}),
    "a direct call": lambda future, take: take([future]),
    "a direct call's wait_for": lambda future, take: take(1, wait_for=[future]),
    "map over it": lambda future, take: map_over_nothing(future, take),
    "submit with return_state": lambda _, take: take.submit(1, return_state=True),
    "map with return_state": lambda _, take: take.map([1], return_state=True),
    "list.result()": lambda future, take: take.map([future]).result(),
    "list.wait()": lambda future, take: take.map([future]).wait(),
}


@pytest.mark.parametrize("way", REFUSED)
async def test_blocking_on_a_future_on_its_own_loop_is_refused_with_what_to_write_instead(
    turns: Turns, way: str
) -> None:
    begun = threading.Event()

    @task
    def take(value: Any) -> Any:
        begun.set()
        return value

    @flow
    async def main() -> Any:
        (future,) = turns.start("a")
        sentence = "would block the event loop that runs on this thread. Write `await` before"
        with pytest.raises(RunningLoopError, match=sentence):
            REFUSED[way](future, take)
        turns.end("a")
        return await future

    assert await main() == "a"


@pytest.mark.parametrize("way", REFUSED)
async def test_in_a_sync_flow_on_a_loop_s_thread_what_runs_elsewhere_may_be_waited_for(turns: Turns, way: str) -> None:
    """As in a notebook's cell: the flow blocks the loop by being called there, and its tasks run in threads."""

    @task
    def take(value: Any) -> Any:
        return value

    @flow
    def main() -> Any:
        (future,) = turns.start("a")
        timer = threading.Timer(0.02, turns.end, ["a"])
        timer.start()
        REFUSED[way](future, take)
        timer.join()
        return future.result()

    assert main() == "a"


async def test_a_sync_task_in_an_async_flow_may_be_called_with_a_future_that_has_ended(turns: Turns) -> None:
    @task
    def take(value: Any) -> Any:
        return value

    @flow
    async def main() -> Any:
        (future,) = turns.start("a")
        turns.end("a")
        await future
        return take([future])

    assert await main() == ["a"]


async def test_a_sync_subflow_on_the_loop_of_an_async_flow_may_not_submit_what_it_could_not_wait_for(
    inner: Form, record: Record
) -> None:
    """Refused before anything starts: at its end it would have to block the loop until all of it has ended."""

    @inner.task()
    async def work() -> None: ...

    @flow
    def child() -> None:
        work.submit()

    @flow
    async def main() -> None:
        with pytest.raises(
            RunningLoopError, match=r"Submitting in the sync flow 'child', .* Write `await child\.submit"
        ):
            child()
        await child.submit()

    await main()

    assert [run.state.name for run in record.task_runs()] == ["Completed"]


async def test_a_future_of_another_loop_can_be_awaited(inner: Form) -> None:
    latch = Latch()
    kept: list[Future[str]] = []
    there = Latch()

    @inner.task()
    async def slow() -> str:
        await latch.passed()
        return "there"

    @flow
    async def elsewhere() -> None:
        kept.append(slow.submit())
        there.open()

    thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
    thread.start()
    await there.passed()
    asking = asyncio.ensure_future(_ask(kept[0]))
    await asyncio.sleep(0)
    latch.open()

    assert await asking == "there"
    thread.join()


async def _ask(future: Future[str]) -> str:
    return await future


async def test_a_future_of_a_loop_that_died_ends_as_cancelled_and_keeps_nobody_waiting(inner: Form) -> None:
    kept: list[Future[str]] = []

    @inner.task()
    async def slow() -> str:
        await Latch().passed() if inner.is_async else None
        return "there"

    def die() -> None:
        loop = asyncio.new_event_loop()

        @flow
        async def main() -> None:
            kept.append(slow.submit())
            loop.call_soon(loop.stop)
            await asyncio.sleep(30)

        running = loop.create_task(main())
        loop.run_forever()
        running.cancel()
        loop.run_until_complete(asyncio.gather(running, return_exceptions=True))
        loop.close()

    await asyncio.to_thread(die)

    if inner.is_async:
        with pytest.raises(Exception, match=r"ended as Cancelled"):
            await kept[0]
    else:
        await aio.wait(kept)
    assert kept[0].done()


def test_a_direct_call_waits_for_the_futures_it_is_given(form: Form, turns: Turns) -> None:
    @form.task()
    async def take(value: Any) -> Any:
        return value

    async def body() -> Any:
        a, b = turns.start("a", "b")
        timer = threading.Timer(0.02, turns.end, ["a", "b"])
        timer.start()
        value = await call(take, [a, {"b": b}])
        timer.join()
        return value

    assert form.in_flow(body) == ["a", {"b": "b"}]


async def test_blocking_is_refused_also_where_the_run_that_submitted_has_ended() -> None:
    latch = Latch()
    left: list[Future[None]] = []

    @task
    async def child() -> None:
        await latch.passed()

    @task
    async def starts() -> None:
        left.append(child.submit())

    @flow
    async def around() -> None:
        await starts.submit()
        await latch.passed()

    @flow
    def blocks() -> None:
        left[0].result()

    going = asyncio.create_task(around())
    await happens(lambda: left and left[0].began)
    with pytest.raises(RunningLoopError):
        blocks()
    latch.open()
    await going
