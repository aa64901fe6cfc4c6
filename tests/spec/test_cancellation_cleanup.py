"""What a cancelled body does to clean up: it may wait and begin runs, it is waited for, and at some time given up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from headrace import flow, task
from headrace._runtime import shop
from headrace.errors import CancelledRun, FlowRunTimeoutError, TaskRunTimeoutError
from headrace.futures import Future
from headrace.testing import headrace_test_harness, virtual_time
from tests.chaos.processes import until
from tests.spec.cancelling import WHY, Meanwhile, cancellations, happens, nothing_goes_on, others, stop
from tests.spec.forms import Latch, Record

Lines = Callable[[], list[str]]


def for_ever() -> asyncio.Future[None]:
    """Give something to await that never comes."""
    return asyncio.get_running_loop().create_future()


@task
async def double(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


# -- it may wait, and begin runs ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancel", "stop"])
async def test_the_cleanup_of_a_flow_may_call_submit_and_map(record: Record, how: str) -> None:
    cleaned: list[object] = []

    @flow
    async def subflow() -> str:
        return await double.submit(4) * "x"

    @flow(name="main")
    async def main() -> None:
        double.submit(0)
        try:
            await for_ever()
        finally:
            await asyncio.sleep(0)
            cleaned.append(await double(1))
            cleaned.append(await double.submit(2))
            cleaned.append(await double.map([3, 4]))
            cleaned.append(await subflow())
            async with double.stream([5, 6]) as results:
                cleaned.append([x async for x in results])

    awaiting = asyncio.create_task(main())
    await happens(lambda: len(others()) > 2)
    stop("main") if how == "stop" else awaiting.cancel()
    with pytest.raises(CancelledRun if how == "stop" else asyncio.CancelledError):
        await awaiting

    assert cleaned == [2, 4, [6, 8], "xxxxxxxx", [10, 12]]
    await nothing_goes_on(record)


@pytest.mark.parametrize("submitted", ["task", "flow"])
async def test_the_cleanup_of_what_was_submitted_may_call_and_submit(record: Record, submitted: str) -> None:
    begun, cleaned = Latch(), list[object]()

    async def body() -> None:
        begun.open()
        try:
            await for_ever()
        finally:
            await asyncio.sleep(0)
            cleaned.append(await double(1))
            if submitted == "flow":
                cleaned.append(await double.submit(2))

    child: Any = task(body) if submitted == "task" else flow(body)

    @flow(name="main")
    async def main() -> None:
        await child.submit()

    awaiting = asyncio.create_task(main())
    await happens(begun.event.is_set)
    stop("main")
    with pytest.raises(CancelledRun):
        await awaiting

    assert cleaned == ([2, 4] if submitted == "flow" else [2])
    await nothing_goes_on(record)


@pytest.mark.parametrize("kind", ["task", "flow"])
async def test_the_cleanup_of_a_body_whose_time_is_up_may_wait(record: Record, kind: str) -> None:
    cleaned: list[object] = []

    async def body() -> None:
        try:
            await for_ever()
        finally:
            await asyncio.sleep(1)
            cleaned.append(await double(1))

    decorate: Any = task if kind == "task" else flow
    timed = decorate(timeout_seconds=60)(body)

    with virtual_time(), pytest.raises(TaskRunTimeoutError if kind == "task" else FlowRunTimeoutError):
        await timed()

    assert cleaned == [2]
    assert cancellations() == 0


async def test_a_scope_that_is_cancelled_leaves_the_cleanup_of_what_was_submitted_alone(record: Record) -> None:
    cleaned: list[int] = []

    @task
    async def slow_to_end(x: int) -> None:
        try:
            await for_ever()
        finally:
            await asyncio.sleep(5)
            cleaned.append(x)

    @flow
    async def main() -> None:
        await asyncio.gather(*[slow_to_end.submit(x) for x in range(3)])

    with virtual_time() as time:
        with anyio.move_on_after(60) as scope:
            await main()
        assert (time.elapsed, scope.cancelled_caught) == (65, True)

    assert sorted(cleaned) == [0, 1, 2]
    assert record.flow_run().state.name == "Cancelled"


async def test_who_stops_a_flow_that_was_cancelled_leaves_its_cleanup_alone(record: Record) -> None:
    """Its caller has cancelled it; then `headrace flow-run cancel` comes."""
    cleaned: list[str] = []

    @task
    async def slow_to_end() -> None:
        try:
            await for_ever()
        finally:
            await asyncio.sleep(5)
            cleaned.append("task")

    @flow(name="main")
    async def main() -> None:
        await slow_to_end.submit()

    with virtual_time() as time:
        awaiting = asyncio.create_task(main())
        loop = asyncio.get_running_loop()
        loop.call_later(1, awaiting.cancel)
        loop.call_later(2, stop, "main")
        with pytest.raises(asyncio.CancelledError):
            await awaiting
        assert time.elapsed == 6

    assert cleaned == ["task"]
    assert record.path(record.flow_run()) == ["Running", "Cancelling", "Cancelled"]


# -- it is waited for, but not for ever ---------------------------------------------------------------------


def stubborn(release: asyncio.Event) -> Any:
    """Make a task that swallows each cancellation until *release* is set."""

    @task(task_run_name="stubborn one")
    async def goes_on() -> str:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    return goes_on


@pytest.mark.parametrize("how", ["cancel", "stop", "timeout"])
async def test_a_body_that_swallows_its_cancellation_is_given_up_by_name(record: Record, said: Lines, how: str) -> None:
    release = asyncio.Event()
    goes_on = stubborn(release)

    @flow(name="main", timeout_seconds=60 if how == "timeout" else None)
    async def main() -> None:
        goes_on.submit()
        await for_ever()

    with virtual_time() as time:
        awaiting = asyncio.create_task(main())
        if how == "stop":
            asyncio.get_running_loop().call_later(60, stop, "main")
        elif how == "cancel":
            asyncio.get_running_loop().call_later(60, awaiting.cancel)
        await asyncio.gather(awaiting, return_exceptions=True)
        assert time.elapsed == pytest.approx(70)

    (warned,) = [line for line in said() if line.startswith("WARNING")]
    assert warned.endswith(
        " - Goes on without 'stubborn one': cancelled, but still at work. Whatever they return is dropped"
    )
    run = record.task_run()
    assert record.path(run) == ["Running", "Cancelling", "Cancelled"]
    assert str(run.state.message).startswith("Its flow went on without it: ")
    assert record.flow_run().state.name == ("TimedOut" if how == "timeout" else "Cancelled")
    release.set()
    await nothing_goes_on(record)


@pytest.mark.parametrize("patience", [0, 3])
async def test_a_setting_says_how_long_cleanup_is_waited_for(monkeypatch: pytest.MonkeyPatch, patience: int) -> None:
    monkeypatch.setenv("HEADRACE_CLEANUP_SECONDS", str(patience))
    release = asyncio.Event()
    goes_on = stubborn(release)

    @flow(name="main")
    async def main() -> None:
        await goes_on.submit()

    with headrace_test_harness() as harness, virtual_time() as time:
        asyncio.get_running_loop().call_later(1, stop, "main")
        with pytest.raises(CancelledRun):
            await main()
        assert time.elapsed == 1 + patience
        release.set()
        await happens(lambda: not others())
        assert harness.tree().endswith("stubborn one Cancelled")


async def test_who_cancels_a_second_time_does_not_want_to_wait(record: Record) -> None:
    release = asyncio.Event()
    goes_on = stubborn(release)

    @flow
    async def main() -> None:
        await goes_on.submit()

    awaiting = asyncio.create_task(main())
    await happens(lambda: len(others()) > 2)
    awaiting.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not awaiting.done()
    awaiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await awaiting

    assert record.task_run().state.name == "Cancelled"
    release.set()
    await nothing_goes_on(record)


async def test_nobody_hears_of_what_was_given_up_when_it_ends_at_last(said: Lines, record: Record) -> None:
    release = asyncio.Event()
    goes_on = stubborn(release)
    called: list[object] = []
    futures: list[Future[Any]] = []

    @goes_on.on_completion  # type: ignore[untyped-decorator]
    def hook(*about: object) -> None:
        called.append(about)

    @flow(name="main")
    async def main() -> None:
        futures.append(goes_on.submit())
        await for_ever()

    with virtual_time():
        asyncio.get_running_loop().call_later(1, stop, "main")
        with pytest.raises(CancelledRun):
            await main()
    before = len(said())
    release.set()
    await nothing_goes_on(record)

    assert (said()[before:], called) == ([], [])
    assert futures[0].state.name == "Cancelled"
    assert record.task_run().state.name == "Cancelled"


def test_all_runs_within_a_subflow_that_is_given_up_are_recorded_as_ended(record: Record) -> None:
    """A thread cannot be stopped; nothing of what it is about may seem to go on for ever."""
    release, begun = threading.Event(), threading.Event()

    @task
    def deaf() -> None:
        begun.set()
        release.wait()  # without a limit, which would be work to the virtual clock

    @task
    def deaf_too() -> None:
        deaf()

    @task
    def submitted() -> None:
        release.wait()

    @flow
    def within() -> None:
        submitted.submit()
        deaf_too()

    @flow
    def below() -> None:
        within()

    @flow(name="main")
    def main() -> None:
        below.submit().result()

    with virtual_time():
        with Meanwhile(begun.is_set, lambda: stop("main")), pytest.raises(CancelledRun):
            main()
        paths = {run.flow_name: tuple(record.path(run)[-2:]) for run in record.flow_runs()}
        assert paths == dict.fromkeys(["main", "below", "within"], ("Cancelling", "Cancelled"))
        assert {run.task_name: run.state.name for run in record.task_runs()} == dict.fromkeys(
            ["deaf", "deaf_too", "submitted"], "Cancelled"
        )
        release.set()
    until(lambda: shop().threads.taken == 0)


# -- a coroutine that is closed -----------------------------------------------------------------------------


async def test_a_flow_whose_coroutine_is_closed_leaves_nothing_on_the_loop(record: Record) -> None:
    at_work, cleaned = Latch(), Latch()

    @task
    async def endless() -> None:
        at_work.open()
        try:
            await for_ever()
        finally:
            await asyncio.sleep(0)
            cleaned.open()

    @flow
    async def main() -> None:
        endless.submit()
        await for_ever()

    life: Any = main()
    life.send(None)
    await happens(at_work.event.is_set)
    life.close()
    await happens(cleaned.event.is_set)
    await happens(lambda: not others())

    assert (WHY not in str(record.flow_runs()), cancellations()) == (True, 0)


async def test_what_a_stopped_body_has_left_on_the_loop_may_call_tasks_after_its_end(record: Record) -> None:
    over = asyncio.Event()
    found: list[int] = []

    @task
    async def step(x: int) -> int:
        return x

    async def stray() -> None:
        await over.wait()
        found.append(await step(1))

    @flow(name="main")
    async def main() -> None:
        left.append(asyncio.create_task(stray()))
        await for_ever()

    left: list[asyncio.Task[None]] = []
    going = asyncio.create_task(main())
    await happens(lambda: left)
    stop("main")
    await asyncio.gather(going, return_exceptions=True)
    over.set()
    await left[0]

    assert found == [1]
