"""Virtual time: waits that pass at once, for sync and async flows, and what the record says of them."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

import headrace
from headrace import flow, task
from headrace.testing import Harness, VirtualTime, VirtualTimeError, headrace_test_harness, virtual_time

HOUR = 3600.0


@pytest.fixture
def harness() -> Iterator[Harness]:
    with headrace_test_harness(counting=True) as harness:
        yield harness


@pytest.fixture
def clock(harness: Harness) -> Iterator[VirtualTime]:
    """Virtual time within the harness: pytest enters fixtures in the order of their needs."""
    del harness
    with virtual_time(start=datetime(2030, 1, 1, tzinfo=UTC)) as clock:
        yield clock


class Failing:
    """A body that fails so many times before it returns."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self) -> str:
        self.left -= 1
        if self.left >= 0:
            raise ConnectionError("refused")
        return "done"


def test_a_sync_retry_of_an_hour_passes_at_once(clock: VirtualTime, harness: Harness) -> None:
    fetch = task(name="fetch", retries=2, retry_delay_seconds=HOUR)(Failing(2))
    began = time.monotonic()

    assert flow(name="f")(lambda: fetch())() == "done"

    assert clock.elapsed == 2 * HOUR
    assert time.monotonic() - began < 5
    (run,) = harness.task_runs()
    assert [(name, moment.hour) for _, name, moment, _ in run.transitions] == [
        ("Running", 0), ("AwaitingRetry", 0), ("Retrying", 1), ("AwaitingRetry", 1), ("Retrying", 2), ("Completed", 2),
    ]  # fmt: skip


def test_an_async_retry_of_an_hour_passes_at_once(clock: VirtualTime, harness: Harness) -> None:
    failing = Failing(1)

    @task(retries=1, retry_delay_seconds=HOUR)
    async def fetch() -> str:
        return failing()

    @flow
    async def main() -> str:
        return await fetch()

    assert asyncio.run(main()) == "done"
    assert clock.elapsed == HOUR
    assert harness.task_runs()[0].total_run_time == HOUR


def test_an_async_body_of_two_hours_is_cancelled_at_its_timeout_of_one(clock: VirtualTime, harness: Harness) -> None:
    cancelled: list[float] = []

    @flow(timeout_seconds=HOUR)
    async def slow() -> None:
        try:
            await asyncio.sleep(2 * HOUR)
        except asyncio.CancelledError:
            cancelled.append(clock.elapsed)
            raise

    with pytest.raises(TimeoutError, match="longer than its timeout of 3600 s"):
        headrace.run(slow())

    assert cancelled == [HOUR]
    assert harness.flow_runs("TimedOut")[0].total_run_time == HOUR


def test_a_sync_body_that_waits_for_nothing_that_comes_is_left_at_its_timeout(clock: VirtualTime) -> None:
    never = threading.Event()
    stuck = task(timeout_seconds=HOUR)(never.wait)

    with pytest.raises(TimeoutError):
        stuck()

    assert clock.elapsed == HOUR
    never.set()


def test_a_retry_within_a_body_on_a_thread_of_its_own_passes_at_once(clock: VirtualTime) -> None:
    inner = task(retries=1, retry_delay_seconds=HOUR)(Failing(1))

    assert flow(timeout_seconds=2 * HOUR)(lambda: inner())() == "done"
    assert clock.elapsed == HOUR


WAITS: dict[str, Callable[[], Coroutine[Any, Any, object]]] = {
    "asyncio.sleep": lambda: asyncio.sleep(HOUR),
    "anyio.sleep": lambda: anyio.sleep(HOUR),
    "asyncio.wait": lambda: asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=HOUR),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
def test_the_waits_of_asyncio_and_anyio_pass_at_once(clock: VirtualTime, wait: Callable[[], Any]) -> None:
    async def main() -> None:
        await wait()

    asyncio.run(main())

    assert clock.elapsed == HOUR


async def test_the_timeouts_of_asyncio_and_anyio_come_at_their_moment(clock: VirtualTime) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(HOUR):
            await asyncio.Event().wait()
    with anyio.move_on_after(HOUR) as scope:
        await anyio.sleep(2 * HOUR)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.sleep(2 * HOUR), HOUR)

    assert scope.cancelled_caught
    assert clock.elapsed == 3 * HOUR


async def test_a_loop_that_lives_on_never_sees_its_time_go_back() -> None:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    for _ in range(3):
        with virtual_time():
            await asyncio.sleep(HOUR)
        assert loop.time() - begin >= HOUR
        begin = loop.time()
        await asyncio.sleep(0.001)
        assert 0.001 <= loop.time() - begin < HOUR


async def test_concurrent_tasks_wake_in_the_order_of_their_moments(clock: VirtualTime) -> None:
    woken: list[tuple[int, float]] = []

    async def sleeper(seconds: int) -> None:
        await asyncio.sleep(seconds)
        woken.append((seconds, clock.elapsed))

    await asyncio.gather(*(sleeper(seconds) for seconds in (30, 10, 20)))

    assert woken == [(10, 10), (20, 20), (30, 30)]


def test_sync_flows_of_two_threads_take_turns_in_the_order_in_which_they_wake(clock: VirtualTime) -> None:
    story: list[tuple[str, float]] = []

    def sleeper(name: str, delay: float) -> None:
        attempts = iter(range(3))

        @flow(retries=2, retry_delay_seconds=delay)
        def body() -> None:
            story.append((name, clock.elapsed))
            if next(attempts) < 2:
                raise OSError

        body()

    threads = [threading.Thread(target=sleeper, args=args) for args in (("short", 20.0), ("long", 30.0))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(story[:2]) == [("long", 0), ("short", 0)]
    assert story[2:] == [("short", 20), ("long", 30), ("short", 40), ("long", 60)]


def test_a_loop_and_a_sync_thread_share_one_time(clock: VirtualTime) -> None:
    story: list[tuple[str, float]] = []
    failing = Failing(1)

    def sync() -> None:
        flow(retries=1, retry_delay_seconds=20)(failing)()
        story.append(("sync", clock.elapsed))

    async def main() -> None:
        thread = asyncio.get_running_loop().run_in_executor(None, sync)
        for _ in range(3):
            await asyncio.sleep(15)
            story.append(("async", clock.elapsed))
        await thread

    asyncio.run(main())

    assert story == [("async", 15), ("sync", 20), ("async", 30), ("async", 45)]


def test_advance_turns_the_clock_by_hand(clock: VirtualTime) -> None:
    async def main() -> list[float]:
        sleeping = asyncio.ensure_future(asyncio.sleep(90, "slept"))
        await asyncio.sleep(0)
        clock.advance(100)
        assert await sleeping == "slept"
        return [clock.elapsed]

    assert asyncio.run(main()) == [100]
    with pytest.raises(VirtualTimeError, match="seconds of at least 0, not -1"):
        clock.advance(-1)


def test_the_moment_is_that_of_the_start_and_moves_with_the_clock() -> None:
    with virtual_time(start=datetime(2030, 1, 1, tzinfo=UTC)) as clock:
        clock.advance(HOUR + 0.25)
        assert clock.now() == datetime(2030, 1, 1, 1, 0, 0, 250_000, tzinfo=UTC)
    with pytest.raises(VirtualTimeError, match="says no time zone"), virtual_time(start=datetime(2030, 1, 1)):  # noqa: DTZ001
        pass


def test_virtual_time_inside_virtual_time_is_refused(clock: VirtualTime) -> None:
    with pytest.raises(VirtualTimeError, match="in force in this process already"), virtual_time():
        pass
    clock.advance(1)  # the one outside goes on


class Foreign(asyncio.AbstractEventLoop):
    """A loop whose timers are its own affair, as uvloop's are."""


def on_a_foreign_loop(doing: Callable[[], object]) -> None:
    """Do *doing* where a foreign loop runs."""
    asyncio._set_running_loop(Foreign())  # type: ignore[abstract]
    try:
        doing()
    finally:
        asyncio._set_running_loop(None)


def test_a_loop_that_is_not_asyncios_own_is_refused(harness: Harness) -> None:
    with pytest.raises(VirtualTimeError, match=r"cannot move the timers of .*Foreign.*asyncio.SelectorEventLoop"):
        on_a_foreign_loop(virtual_time().__enter__)

    with virtual_time():  # nothing is left of the refused one
        headrace.run(flow(name="f")(asyncio.sleep)(HOUR))
    assert len(harness.flow_runs("Completed")) == 1


def test_a_run_on_a_loop_that_is_not_asyncios_own_fails_and_is_recorded(clock: VirtualTime, harness: Harness) -> None:
    with pytest.raises(VirtualTimeError, match="cannot move the timers of"):
        on_a_foreign_loop(flow(name="f")(lambda: None))

    assert [run.state.name for run in harness.flow_runs()] == ["Failed"]
    assert clock.elapsed == 0


def test_everything_is_put_back_however_the_block_ends() -> None:
    from headrace._hosts.clock import RealClock, wall

    before = asyncio.BaseEventLoop.run_forever, vars(asyncio.BaseEventLoop)["run_forever"]
    loop = asyncio.new_event_loop()

    def interrupted() -> None:
        with virtual_time():
            loop.run_until_complete(asyncio.sleep(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert isinstance(wall.clock, RealClock)
    assert before == (asyncio.BaseEventLoop.run_forever, vars(asyncio.BaseEventLoop)["run_forever"])
    assert "call_at" not in vars(loop)
    loop.run_until_complete(asyncio.sleep(0.001))
    loop.close()


def test_ctrl_c_in_a_wait_that_reality_holds_is_obeyed_at_once(clock: VirtualTime, harness: Harness) -> None:
    """A signal in the middle of a wait ends the wait, and the clock forgets the thread."""
    release = threading.Event()
    waiting = clock._clock.waiting
    main = threading.get_ident()

    def interrupt() -> None:
        while main not in waiting:
            time.sleep(0.001)
        signal.raise_signal(signal.SIGINT)
        release.wait(30)  # at work as far as anyone can tell

    worker = threading.Thread(target=interrupt)
    worker.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            flow(retries=1, retry_delay_seconds=HOUR)(Failing(1))()
    finally:
        release.set()
        worker.join()
    assert flow(retries=1, retry_delay_seconds=HOUR)(Failing(1))() == "done"
    assert [run.state.name for run in harness.flow_runs()][1:] == ["Completed"]
    assert clock.elapsed == HOUR


def test_it_decorates_sync_and_async_functions() -> None:
    @virtual_time()
    async def asynchronous() -> float:
        begin = asyncio.get_running_loop().time()
        await asyncio.sleep(HOUR)
        return asyncio.get_running_loop().time() - begin

    @virtual_time()
    def synchronous() -> str:
        return task(retries=1, retry_delay_seconds=HOUR)(Failing(1))()

    assert asyncio.run(asynchronous()) == pytest.approx(HOUR)
    assert synchronous() == "done"
