"""A flow is cancelled, whoever asks and however: all that it submitted hears it, cleans up, and is recorded so."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from headrace import flow, task
from headrace._runtime import desk
from headrace.errors import CancelledRun, FlowRunTimeoutError
from headrace.futures import Future
from headrace.task_runners import ConcurrentTaskRunner
from headrace.testing import virtual_time
from tests.spec.cancelling import WHY, Turns, Wide, cancellations, happens, live, nothing_goes_on, stop
from tests.spec.forms import Record
from tests.spec.seen import Tracing

# -- who asks -----------------------------------------------------------------------------------------------


async def test_who_cancels_the_task_that_awaits_a_flow_cancels_all_that_it_submitted(record: Record) -> None:
    async with Turns() as turns:
        wide = Wide(lambda: turns.count)
        awaiting = asyncio.create_task(wide.flow())
        await happens(wide.at_work)
        asked = turns.count
        awaiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await awaiting

    assert awaiting.cancelled()
    # First the body of the flow, with its cleanup, then what it had submitted.
    assert max(wide.heard) - asked <= 20
    wide.has_ended(record, end="Cancelled")
    await nothing_goes_on(record)


async def test_a_scope_around_a_flow_waits_for_the_cleanup_of_all_that_the_flow_submitted(record: Record) -> None:
    async with Turns() as turns:
        wide = Wide(lambda: turns.count)

        async def cancel() -> None:
            await happens(wide.at_work)
            scope.cancel()

        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(cancel)
                await wide.flow()

    assert scope.cancelled_caught
    wide.has_ended(record, end="Cancelled")
    await nothing_goes_on(record)


async def test_a_timeout_of_asyncio_around_a_flow_ends_all_of_it(record: Record) -> None:
    async with Turns() as turns:
        wide = Wide(lambda: turns.count)

        async def timed() -> None:
            async with asyncio.timeout(None) as timer:
                timers.append(timer)
                await wide.flow()

        timers: list[asyncio.Timeout] = []
        awaiting = asyncio.create_task(timed())
        await happens(wide.at_work)
        timers[0].reschedule(0)
        with pytest.raises(TimeoutError):
            await awaiting

    wide.has_ended(record, end="Cancelled")
    await nothing_goes_on(record)


async def test_the_timeout_of_a_flow_ends_all_of_it(record: Record) -> None:
    with virtual_time():
        wide = Wide(time.monotonic, timeout_seconds=3_600)
        with pytest.raises(FlowRunTimeoutError):
            await wide.flow()

    wide.has_ended(record, end="TimedOut", hooked=False)
    await nothing_goes_on(record)


@pytest.mark.parametrize("where", ["on the loop", "in another thread"])
async def test_who_stops_the_run_of_a_flow_ends_all_of_it_and_the_caller_is_told_why(
    record: Record, where: str
) -> None:
    async with Turns() as turns:
        wide = Wide(lambda: turns.count)
        awaiting = asyncio.create_task(wide.flow())
        await happens(wide.at_work)
        asked = turns.count
        if where == "on the loop":
            stop("wide")
        else:
            await asyncio.to_thread(stop, "wide")
        with pytest.raises(CancelledRun, match=WHY):
            await awaiting

    if where == "on the loop":
        assert max(wide.heard) - asked <= 5
    wide.has_ended(record, end="Cancelled")
    assert {WHY in str(run.state.message) for run in record.flow_runs()} == {True}
    await nothing_goes_on(record)


@pytest.mark.parametrize("how", ["cancel", "stop"])
async def test_a_hundred_bodies_hear_it_within_50_ms_of_work(record: Record, how: str) -> None:
    """
    By the time that the loop's thread is at work, for what else a machine does is not to be measured.

    Nobody waits for anything meanwhile: the tests above count the turns of the loop.
    """

    async def took() -> float:
        begun: list[None] = []
        heard: list[float] = []

        @task
        async def endless() -> None:
            begun.append(None)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                heard.append(time.thread_time())

        @flow(name="wide")
        async def wide() -> None:
            await asyncio.gather(*[endless.submit() for _ in range(100)])

        awaiting = asyncio.create_task(wide())
        await happens(lambda: len(begun) == 100)
        before = time.thread_time()
        stop("wide") if how == "stop" else awaiting.cancel()
        await asyncio.gather(awaiting, return_exceptions=True)
        assert len(heard) == 100
        return max(heard) - before

    assert min([await took() for _ in range(5)]) <= 0.05


# -- what is recorded ---------------------------------------------------------------------------------------


async def test_what_had_not_begun_never_does_and_says_so(record: Record) -> None:
    begun: list[int] = []
    places: list[Any] = []

    @task
    async def endless(x: int) -> None:
        begun.append(x)
        await asyncio.get_running_loop().create_future()

    @flow(name="narrow")
    async def queued() -> None: ...

    @flow(name="main", task_runner=ConcurrentTaskRunner(limit=2))
    async def main() -> None:
        futures = [endless.submit(x) for x in range(10)]
        subflow = queued.submit()
        mapped = endless.map(range(10, 20))
        crew: Any = live("main").crew
        places.append(crew.lanes.places)
        try:
            await asyncio.gather(*futures)
        finally:
            await asyncio.sleep(0)
            seen.extend([*futures, subflow, *mapped])

    seen: list[Future[None]] = []
    awaiting = asyncio.create_task(main())
    await happens(lambda: len(begun) == 2)
    stop("main")
    with pytest.raises(CancelledRun):
        await awaiting

    assert begun == [0, 1]
    never = f"It was stopped before it began: {WHY}."
    assert [one.state.message for one in seen] == [f"It was cancelled: {WHY}."] * 2 + [never] * 19
    assert {one.state.name for one in seen} == {"Cancelled"}
    with pytest.raises(CancelledRun, match="stopped before it began"):
        seen[-1].result()
    # The items of a map whose turn had not come have no run, what was submitted by itself has one.
    assert len(record.task_runs()) == 10
    waited = [run for run in record.task_runs() if record.path(run) == ["Pending", "Cancelled"]]
    assert [run.state.message for run in waited] == [never] * 8
    (narrow,) = [run for run in record.flow_runs() if run.flow_name == "narrow"]
    assert (record.path(narrow), narrow.state.message) == (["Pending", "Cancelled"], never)
    assert places[0].taken == 0
    await nothing_goes_on(record)


async def test_a_subflow_that_ends_already_is_not_asked_to_stop_as_well(record: Record) -> None:
    cleaning = asyncio.Event()

    @task
    async def slow_to_end() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cleaning.set()
            for _ in range(5):
                await asyncio.sleep(0)

    @flow(name="inner", timeout_seconds=60)
    async def inner() -> None:
        await slow_to_end.submit()

    @flow(name="main")
    async def main() -> None:
        await inner.submit()

    with virtual_time():
        awaiting = asyncio.create_task(main())
        await cleaning.wait()
        stop("main")
        with pytest.raises(CancelledRun):
            await awaiting

    paths = {run.flow_name: record.path(run) for run in record.flow_runs()}
    assert paths == {"main": ["Running", "Cancelling", "Cancelled"], "inner": ["Running", "TimedOut"]}


async def test_what_runs_hears_it_in_the_order_in_which_it_began(record: Record) -> None:
    begun: list[int] = []
    story: list[int] = []

    @task
    async def endless(x: int) -> None:
        begun.append(x)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            story.append(x)

    @flow(name="main")
    async def main() -> None:
        for x in range(50):
            endless.submit(x)
        await endless.map(range(50, 100))

    awaiting = asyncio.create_task(main())
    await happens(lambda: len(begun) == 100)
    stop("main")
    with pytest.raises(CancelledRun):
        await awaiting

    assert story == list(range(100))


async def test_the_time_from_the_stop_to_the_end_is_a_span_of_its_own_below_the_run(app: Tracing) -> None:
    @task
    async def slow_to_end() -> None:
        try:
            await asyncio.sleep(3_600)
        finally:
            await asyncio.sleep(5)

    @flow
    async def main() -> None:
        slow_to_end.submit()
        await asyncio.sleep(3_600)

    with virtual_time():
        awaiting = asyncio.create_task(main())
        asyncio.get_running_loop().call_later(60, stop, "main")
        with pytest.raises(CancelledRun):
            await awaiting

    spans = app.spans().whole()
    for name in ("main", "slow_to_end"):
        states = spans.states(spans.one(name))
        assert [state.name for state in states] == ["Running", "Cancelling"]
        assert [round((state.end - state.start) / 1e9) for state in states] == [60, 5]
        assert spans.one(name).status == "UNSET"


# -- a body hears it once -----------------------------------------------------------------------------------


async def test_a_body_whose_tasks_never_wait_hears_it_when_it_calls_one(record: Record) -> None:
    heard: list[str] = []

    @task
    async def at_once() -> int:
        return 1

    @flow(name="hot")
    async def hot() -> None:
        try:
            stop("hot")
            await at_once()
        except BaseException as error:
            heard.append(type(error).__name__)
            heard.append(str(await at_once()))  # and not again
            await asyncio.sleep(0)
            heard.append(str(await at_once.submit()))
            raise

    with pytest.raises(CancelledRun, match=WHY):
        await hot()

    assert heard == ["CancelledError", "1", "1"]
    assert cancellations() == 0


async def test_flows_within_flows_hear_it_once_each(record: Record) -> None:
    story: list[str] = []

    @task
    async def tidy(whose: str) -> None:
        await asyncio.sleep(0)
        story.append(whose)

    @flow
    async def innermost() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await tidy("innermost")
            await tidy.submit("innermost, submitted")

    @flow
    async def inner() -> None:
        try:
            await innermost()
        finally:
            await tidy("inner")

    @flow(name="outer")
    async def outer() -> None:
        try:
            await asyncio.gather(inner(), inner())
        finally:
            await tidy("outer")

    awaiting = asyncio.create_task(outer())
    await happens(lambda: len(flows_in_progress()) == 5)
    stop("outer")
    with pytest.raises(CancelledRun):
        await awaiting

    assert sorted(story) == sorted(["innermost", "innermost, submitted", "inner"] * 2 + ["outer"])
    assert story[-1] == "outer"
    assert {tuple(record.path(run)) for run in record.flow_runs()} == {("Running", "Cancelling", "Cancelled")}
    await nothing_goes_on(record)


async def test_a_flow_that_swallows_it_ends_as_it_likes_and_leaves_no_cancellation_behind(record: Record) -> None:
    @task
    async def endless() -> None:
        await asyncio.get_running_loop().create_future()

    @flow(name="stubborn")
    async def stubborn() -> str:
        endless.submit()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return "no"
        return "yes"

    asyncio.get_running_loop().call_soon(stop, "stubborn")

    assert await stubborn() == "no"
    assert cancellations() == 0
    assert record.path(record.flow_run()) == ["Running", "Cancelling", "Completed"]
    assert [run.state.name for run in record.task_runs()] in (["Cancelled"], [])
    await nothing_goes_on(record)


async def test_a_flow_called_in_the_cleanup_of_a_cancelled_task_can_be_stopped_by_itself(record: Record) -> None:
    @flow(name="cleanup")
    async def cleanup() -> None:
        await asyncio.get_running_loop().create_future()

    async def caller() -> str:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            asyncio.get_running_loop().call_soon(stop, "cleanup")
            try:
                await cleanup()
            except CancelledRun as error:
                return str(error)
            raise
        return "never"

    awaiting = asyncio.create_task(caller())
    await asyncio.sleep(0)
    awaiting.cancel()

    assert WHY in await awaiting


async def test_a_flow_that_yields_is_not_stopped_in_the_code_of_its_consumer(record: Record) -> None:
    seen: list[Any] = []

    @flow(name="numbers")
    async def numbers() -> AsyncIterator[int]:
        try:
            for x in itertools.count():
                yield x
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            seen.append("heard")
            raise

    async def consume() -> None:
        async for x in numbers():
            stop("numbers")
            for _ in range(3):
                await asyncio.sleep(0)
            seen.append(x)

    with pytest.raises(CancelledRun, match=WHY):
        await consume()

    assert seen == [0, "heard"]
    assert cancellations() == 0
    assert record.flow_run().state.name == "Cancelled"


def flows_in_progress() -> list[Any]:
    return list(desk().live.values())


# -- and no other attempt -----------------------------------------------------------------------------------


async def test_a_flow_that_was_stopped_is_not_tried_again(record: Record) -> None:
    attempts: list[int] = []

    @flow(name="eager", retries=3)
    async def eager() -> None:
        attempts.append(1)
        await asyncio.get_running_loop().create_future()

    asyncio.get_running_loop().call_soon(stop, "eager")
    with pytest.raises(CancelledRun):
        await eager()

    assert attempts == [1]
    assert record.path(record.flow_run()) == ["Running", "Cancelling", "Cancelled"]


async def test_a_flow_whose_cleanup_fails_when_it_was_stopped_is_not_tried_again(record: Record) -> None:
    attempts: list[int] = []

    @flow(name="eager", retries=3)
    async def eager() -> None:
        attempts.append(1)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            raise LookupError("of the cleanup")

    asyncio.get_running_loop().call_soon(stop, "eager")
    with pytest.raises(LookupError):
        await eager()

    assert attempts == [1]
    assert record.path(record.flow_run()) == ["Running", "Cancelling", "Failed"]


async def test_a_flow_that_waits_to_try_again_is_stopped_there(record: Record) -> None:
    @flow(name="patient", retries=1, retry_delay_seconds=3_600)
    async def patient() -> None:
        raise ConnectionError

    with virtual_time() as time_:
        asyncio.get_running_loop().call_later(60, stop, "patient")
        with pytest.raises(CancelledRun, match=WHY):
            await patient()
        assert time_.elapsed == 60

    assert record.path(record.flow_run()) == ["Running", "AwaitingRetry", "Cancelling", "Cancelled"]
