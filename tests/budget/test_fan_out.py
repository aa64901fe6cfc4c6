"""What many runs at once may make and keep: asyncio tasks, threads, objects, bytes. Counted, never timed."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from headrace import flow, task
from headrace._hosts import signals
from headrace.task_runners import ConcurrentTaskRunner
from tests.chaos.processes import until

MANY = 10_000
SOME = 1_000


@task
async def noop(i: int) -> int:
    return i


@task
def noop_blocking(i: int) -> int:
    return i


@task
async def lets_others(i: int) -> int:
    await asyncio.sleep(0)
    return i


@flow
async def fan_out(items: int) -> None:
    await noop.map(range(items))


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Log no line a task: pytest would keep each, and it would be counted here."""
    for room in ("engine", "flow_runs", "task_runs"):
        caplog.set_level(logging.WARNING, logger=f"headrace.{room}")


def objects() -> int:
    """Count what the garbage collector has to look at, now and at each of its full rounds."""
    gc.collect()
    return len(gc.get_objects())


async def tasks_made(by: Callable[[], Coroutine[Any, Any, object]]) -> int:
    """Count the asyncio tasks that are made while *by* is awaited."""
    made = 0

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        nonlocal made
        made += 1
        return asyncio.Task(coroutine, loop=loop, **options)

    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        await by()
    finally:
        loop.set_task_factory(None)
    return made


# -- tasks and threads -------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_map_of_ten_thousand_tasks_that_do_not_wait_makes_a_handful_of_asyncio_tasks() -> None:
    assert await tasks_made(lambda: fan_out(MANY)) <= 4


@pytest.mark.anyio
async def test_a_stream_of_tasks_that_do_not_wait_makes_no_more() -> None:
    @flow
    async def streams() -> None:
        async with noop.stream(range(MANY), limit=20) as results:
            async for _ in results:
                pass

    assert await tasks_made(streams) <= 4


@pytest.mark.anyio
async def test_tasks_that_wait_share_as_many_asyncio_tasks_as_there_are_places() -> None:
    @flow(task_runner=ConcurrentTaskRunner(limit=20))
    async def waits() -> None:
        await lets_others.map(range(SOME))

    assert 20 <= await tasks_made(waits) <= 20 + 4


def test_a_map_of_ten_thousand_sync_tasks_starts_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def counted(self: threading.Thread) -> None:
        started.append(self)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", counted)

    @flow
    def maps() -> int:
        return len(noop_blocking.map(range(MANY)).result())

    assert maps() == MANY
    assert len(started) <= 2 * 64


@pytest.mark.anyio
async def test_a_flow_beside_a_thousand_others_looks_at_a_few_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers of a web application are such flows: each in a task of its own, as many as there are requests."""
    looked: list[object] = []
    alive = signals.alive

    def counted(one: asyncio.Task[Any]) -> bool:
        looked.append(one)
        return alive(one)

    @flow
    async def handler(released: asyncio.Event) -> None:
        await released.wait()

    released = asyncio.Event()
    monkeypatch.setattr(signals, "alive", counted)
    requests = [asyncio.create_task(handler(released)) for _ in range(SOME)]
    await asyncio.sleep(0)
    released.set()
    await asyncio.gather(*requests)

    assert 0 < len(looked) <= 4 * SOME


# -- what is kept ------------------------------------------------------------------------------------------------------


class Crowd:
    """A flow in which so many tasks wait at once, and what is measured while they do."""

    def __init__(self, measure: Callable[[], object]) -> None:
        self.measure = measure
        self.missing = SOME
        self.complete = asyncio.Event()
        self.released = asyncio.Event()

    async def wait(self, _: int) -> None:
        self.missing -= 1
        if not self.missing:
            self.complete.set()
        await self.released.wait()

    async def gather(self) -> None:
        """Map, and measure once the last task has come."""
        futures = task(self.wait).map(range(SOME))
        await self.complete.wait()
        self.measure()
        self.released.set()
        await futures


@pytest.mark.anyio
async def test_a_task_that_waits_takes_at_most_six_kilobytes() -> None:
    await fan_out(1)  # else what the first run of a process loads would be counted
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()

    def kept() -> float:
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / SOME

    try:
        # The back office holds what it has not committed yet: wait until it has.
        await flow(Crowd(lambda: until(lambda: kept() <= 6_000)).gather)()
    finally:
        tracemalloc.stop()


@pytest.mark.anyio
async def test_a_task_that_waits_is_few_objects_to_the_garbage_collector() -> None:
    await fan_out(1)
    before = objects()

    await flow(Crowd(lambda: until(lambda: (objects() - before) / SOME <= 30)).gather)()


@pytest.mark.anyio
async def test_of_a_mapped_task_that_has_ended_its_value_is_kept_and_no_object_of_ours() -> None:
    await fan_out(1)

    @flow
    async def keeps() -> list[int]:
        before = objects()
        futures = noop.map(range(SOME))
        await futures
        until(lambda: objects() - before <= 0.1 * SOME)
        return [future.result() for future in futures]

    assert await keeps() == list(range(SOME))


@pytest.mark.anyio
async def test_a_stream_keeps_nothing_of_the_items_it_has_handed_on() -> None:
    counts: dict[int, int] = {}

    # Nothing recorded: what the back office has not committed yet would be counted as kept.
    @flow(durability="off")
    async def streams() -> None:
        async with noop.stream(iter(range(5 * SOME)), limit=20) as results:
            async for i in results:
                if i in {SOME, 4 * SOME}:
                    counts[i] = objects()

    await streams()

    assert counts[4 * SOME] - counts[SOME] <= 0.1 * SOME
