"""Streams at work: how many items are in flight, when the source is pulled, what is kept, and on which loops."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from time import perf_counter
from typing import Any

import pytest
import uvloop

import headrace
from headrace import _runtime, flow, streams, task
from headrace.streams import Stream
from headrace.testing import virtual_time
from tests.chaos.processes import until
from tests.spec.forms import Form, Latch, Record
from tests.spec.streaming import Counted, asynchronous, double, in_flow, read, triple

# -- how many are in flight ---------------------------------------------------------------------------------


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
def test_at_most_limit_items_are_in_flight_from_the_pull_to_the_hand_over(
    form: Form, inner: Form, ordered: bool
) -> None:
    four = Latch()
    source = Counted(range(50))

    @inner.task()
    async def same(x: int) -> int:
        await four.passed()
        return x

    def pulled() -> Iterator[int]:
        for x in source:
            if x == 3:
                four.open()
            yield x

    async def body() -> Any:
        return await read(form, same.stream(pulled(), limit=4, ordered=ordered), source.hand)

    assert sorted(in_flow(form, body)) == list(range(50))
    assert source.most == 4


async def test_the_limit_holds_for_async_sources() -> None:
    source = Counted(range(50))

    @flow
    async def main() -> Any:
        return await read(Form("async"), double.stream(asynchronous(source), limit=4), source.hand)

    assert await main() == [2 * x for x in range(50)]
    assert source.most == 4


def test_limit_runs_are_at_work_at_once_and_no_more(form: Form, inner: Form) -> None:
    met = threading.Barrier(3, timeout=30)
    all_three = asyncio.Barrier(3)
    at_work = most = 0
    guard = threading.Lock()

    @inner.task()
    async def meet(x: int) -> int:
        nonlocal at_work, most
        with guard:
            at_work += 1
            most = max(most, at_work)
        if inner.is_async:
            await all_three.wait()
        else:
            met.wait()
        with guard:
            at_work -= 1
        return x

    async def body() -> Any:
        return await read(form, meet.stream(range(12), limit=3))

    assert in_flow(form, body) == list(range(12))
    assert most == 3


def test_nothing_is_pulled_before_the_first_result_is_asked_for(form: Form) -> None:
    source = Counted(range(5))

    async def body() -> int:
        stream = triple.stream(source)
        before = source.pulled
        await read(form, stream)
        return before

    assert in_flow(form, body) == 0
    assert source.pulled == 5


def test_an_infinite_source_is_pulled_only_as_far_as_results_are_wanted(form: Form, inner: Form) -> None:
    @inner.task()
    async def same(x: int) -> int:
        return x

    source = Counted(itertools.count())

    async def body() -> Any:
        def enough(x: int) -> bool:
            source.hand(x)
            return x == 20

        return await read(form, same.stream(source, limit=5), enough)

    assert in_flow(form, body) == list(range(21))
    assert 21 <= source.pulled <= 26


def test_what_is_in_flight_is_refilled_while_others_are_ready(
    form: Form, inner: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SLOW", 60.0)  # a source is not slow because the machine is
    begun = [Latch() for _ in range(12)]

    @inner.task()
    async def note(x: int) -> int:
        begun[x].open()
        await begun[3].passed()  # so four are in flight when the first result comes
        return x

    async def body() -> Any:
        async def work(x: int) -> None:
            if 1 <= x <= 8:  # for each that was handed on before, one more begins while the consumer works
                await begun[3 + x].passed()

        return await read(form, note.stream(range(12), limit=4), work)

    assert in_flow(form, body) == list(range(12))


def test_a_slow_source_that_blocks_keeps_no_result_waiting_that_is_ready(
    form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "SLOW", 0.001)
    source = Counted(range(12))
    given = list[Stream[int]]()

    def slow() -> Iterator[int]:
        for x in source:
            until(lambda: all(future.opened for future in given[0]._flight))
            begun = perf_counter()
            while perf_counter() - begun < 0.0015:
                pass
            yield x

    async def body() -> Any:
        given.append(triple.stream(slow(), limit=10))
        return await read(form, given[0], source.hand)

    assert in_flow(form, body) == [3 * x for x in range(12)]
    assert source.most <= 2  # the one whose run has just ended may not have been looked for yet


async def test_a_slow_async_source_keeps_no_result_waiting() -> None:
    seen = list[int]()
    third = asyncio.Event()

    async def source() -> AsyncIterator[int]:
        yield 1
        yield 2
        await third.wait()
        yield 3

    @flow
    async def main() -> None:
        async with double.stream(source(), limit=10) as results:
            async for result in results:
                seen.append(result)
                if result == 4:
                    third.set()

    await asyncio.wait_for(main(), 30)
    assert seen == [2, 4, 6]


# -- memory -------------------------------------------------------------------------------------------------


class Thing:
    """Something that can be referred to weakly."""


class Alive:
    """Counts things that exist, and the most of them at one time."""

    def __init__(self) -> None:
        self.things: weakref.WeakSet[Thing] = weakref.WeakSet()
        self.guard = threading.Lock()
        self.most = 0

    def one(self, *_from: Any) -> Thing:
        """Make one more."""
        thing = Thing()
        with self.guard:
            self.things.add(thing)
            self.most = max(self.most, len(self.things))
        return thing


async def count(form: Form, stream: Any) -> int:
    """Read *stream*, and keep nothing of it."""
    seen = 0
    if form.is_async:
        async with stream as results:
            async for _ in results:
                seen += 1
    else:
        for _ in stream:
            seen += 1
    return seen


# Those in flight; one in the consumer's hands, one at the generator; and what a thread still holds that has just ended
# its run, of which there are no more than were in flight.
FEW = 10 + 2 + 10


@pytest.fixture
def no_collection() -> Iterator[None]:
    """Leave nothing to the garbage collection."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
def test_items_and_results_are_let_go_of_when_they_were_handed_on(form: Form, inner: Form, ordered: bool) -> None:
    items, results = Alive(), Alive()

    @inner.task()
    async def make(item: Thing) -> Thing:
        return results.one(item)

    async def body() -> int:
        return await count(form, make.stream((items.one() for _ in range(2_000)), limit=10, ordered=ordered))

    assert in_flow(form, body) == 2_000
    assert items.most <= FEW
    assert results.most <= FEW


@pytest.mark.usefixtures("no_collection")
def test_what_waits_for_its_commit_keeps_no_items_and_no_results(form: Form, inner: Form) -> None:
    items, results = Alive(), Alive()

    @inner.task()
    async def make(item: Thing) -> Thing:
        return results.one(item)

    async def body() -> int:
        with _runtime.current().office.still():  # nothing is committed meanwhile
            return await count(form, make.stream((items.one() for _ in range(1_000)), limit=10))

    assert in_flow(form, body) == 1_000
    assert items.most <= FEW
    assert results.most <= FEW


@pytest.mark.usefixtures("no_collection")
async def test_async_sources_keep_no_items_either() -> None:
    items, results = Alive(), Alive()

    @task
    async def make(item: Thing) -> Thing:
        await asyncio.sleep(0)
        return results.one(item)

    @flow
    async def main() -> int:
        source = asynchronous(items.one() for _ in range(2_000))
        return await count(Form("async"), make.stream(source, limit=10))

    assert await main() == 2_000
    assert items.most <= FEW
    assert results.most <= FEW


# -- where it runs ------------------------------------------------------------------------------------------


def test_a_stream_runs_on_uvloop(record: Record) -> None:
    loops = set[str]()

    @task
    async def where(x: int) -> int:
        loops.add(type(asyncio.get_running_loop()).__module__)
        await asyncio.sleep(0)
        return x

    @flow
    async def main() -> list[list[int]]:
        sources: list[Any] = [range(30), asynchronous(range(30))]
        return [await read(Form("async"), where.stream(source, limit=4)) for source in sources]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == [list(range(30))] * 2

    assert loops == {"uvloop"}
    assert record.flow_run().state.is_completed()


def test_a_stream_of_tasks_that_wait_costs_no_time_in_virtual_time(form: Form) -> None:
    @task
    async def minute(x: int) -> int:
        await asyncio.sleep(60)
        return x

    async def body() -> Any:
        return await read(form, minute.stream(range(100), limit=10))

    with virtual_time() as time:
        assert in_flow(form, body) == list(range(100))
        assert 600 <= time.elapsed < 601


async def test_an_async_source_that_waits_costs_no_time_in_virtual_time() -> None:
    async def hourly() -> AsyncIterator[int]:
        for x in range(24):
            await asyncio.sleep(3_600)
            yield x

    @flow
    async def main() -> list[int]:
        return await read(Form("async"), double.stream(hourly(), limit=3))

    with virtual_time() as time:
        assert await main() == [2 * x for x in range(24)]
        assert time.elapsed == pytest.approx(86_400)


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_several_consumers_may_share_a_stream(kind: str, ordered: bool) -> None:
    source: Any = range(40) if kind == "plain" else asynchronous(range(40))
    seen: list[list[int]] = [[], [], []]

    @flow
    async def main() -> None:
        async with double.stream(source, limit=4, ordered=ordered) as results:

            async def consume(own: list[int]) -> None:
                async for result in results:
                    own.append(result)
                    await asyncio.sleep(0)

            await asyncio.gather(*(consume(own) for own in seen))

    await asyncio.wait_for(main(), 30)
    assert sorted(itertools.chain(*seen)) == [2 * x for x in range(40)]
    assert all(seen)


async def test_sync_tasks_do_not_keep_the_loop_from_going_on() -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    @flow
    async def main() -> int:
        other = asyncio.create_task(turn())
        total = 0
        async with triple.stream(range(2_000), limit=50) as results:
            async for result in results:
                total += result
        other.cancel()
        return total

    assert await main() == 3 * 1_999 * 1_000
    assert turns > 10


def test_a_stream_lives_in_a_runtime_outside_of_flows(record: Record) -> None:
    async def asking() -> list[int]:
        async with headrace.Runtime():
            return await read(Form("async"), double.stream(range(5), limit=2))

    assert asyncio.run(asking()) == [0, 2, 4, 6, 8]
    with headrace.Runtime():
        assert list(double.stream(range(3))) == [0, 2, 4]
    assert len(record.task_runs()) == 8
    assert {run.flow_run_id for run in record.task_runs()} == {None}
