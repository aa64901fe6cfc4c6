"""Bodies that block hear that they are to stop where they wait, begin a run or ask; once, so that they may clean up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headrace import flow, futures, task
from headrace._runtime import shop
from headrace.errors import CancelledRun, FlowRunTimeoutError, RunCancelled, TaskRunTimeoutError
from headrace.futures import Future
from headrace.runtime import cancelled
from headrace.testing import virtual_time
from tests.chaos.processes import until
from tests.spec.cancelling import WHY, Meanwhile, happens, live, nothing_goes_on, nothing_is_left, stop
from tests.spec.forms import Form, Latch, Record, call

Wait = Callable[[Latch], object]
CANCELLED = ["Running", "Cancelling", "Cancelled"]


@task
async def endless(begun: Latch | None = None) -> None:
    if begun is not None:
        begun.open()
    await asyncio.get_running_loop().create_future()


@task
def step(x: int = 1) -> int:
    return x


@flow
def substep() -> int:
    return step()


def for_ever(begin: Callable[[], object], begun: Latch) -> None:
    """Begin one run after another."""
    while True:
        begin()
        begun.open()


def waits() -> Iterator[Any]:
    """Give the ways in which the body of a sync flow comes to a point at which it hears."""

    def way(name: str, wait: Wait) -> Any:
        return pytest.param(wait, id=name)

    yield way("result", lambda begun: endless.submit(begun).result())
    yield way("wait", lambda begun: endless.submit(begun).wait())
    yield way("results of a map", lambda begun: endless.map([begun, begun]).result())
    yield way("futures.wait", lambda begun: futures.wait([endless.submit(begun)]))
    yield way("as_completed", lambda begun: list(futures.as_completed([endless.submit(begun)])))
    yield way("stream", lambda begun: list(endless.stream([begun])))
    yield way("calls of a task", lambda begun: for_ever(step, begun))
    yield way("calls of a flow", lambda begun: for_ever(substep, begun))
    yield way("submissions", lambda begun: for_ever(step.submit, begun))
    yield way("maps", lambda begun: for_ever(lambda: step.map([1]), begun))


# -- where they hear it -------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", list(waits()))
def test_a_sync_flow_hears_it_once_wherever_it_waits_or_begins_a_run(record: Record, wait: Wait) -> None:
    begun = Latch()
    story: list[object] = []

    @flow(name="main")
    def main() -> None:
        try:
            wait(begun)
        except BaseException as error:
            story.append(type(error))
            story.append(step(2))
            story.append(step.submit(3).result())
            story.append(substep())
            story.append(futures.wait([step.submit(4)]).not_done)
            raise

    with Meanwhile(begun.event.is_set, lambda: stop("main")), pytest.raises(CancelledRun, match=WHY):
        main()

    assert story == [RunCancelled, 2, 3, 1, set()]
    (run,) = [run for run in record.flow_runs() if run.flow_name == "main"]
    assert record.path(run) == CANCELLED
    nothing_is_left(record)


def test_a_sync_flow_that_returns_futures_hears_it_while_they_are_waited_for(record: Record) -> None:
    begun = Latch()

    @flow(name="main")
    def main() -> list[Future[None]]:
        return [endless.submit(begun)]

    with Meanwhile(begun.event.is_set, lambda: stop("main")), pytest.raises(CancelledRun, match=WHY):
        main()

    nothing_is_left(record)


def test_a_sync_flow_that_has_returned_hears_it_for_what_it_submitted(record: Record) -> None:
    begun = Latch()

    @flow(name="main")
    def main() -> None:
        endless.submit(begun)

    with Meanwhile(begun.event.is_set, lambda: stop("main")), pytest.raises(CancelledRun, match=WHY):
        main()

    nothing_is_left(record)


def test_a_sync_flow_that_waits_to_try_again_is_stopped_there(record: Record) -> None:
    attempts: list[int] = []

    @flow(name="main", retries=3, retry_delay_seconds=3_600)
    def main() -> None:
        attempts.append(1)
        raise ConnectionError

    def waiting() -> bool:
        return bool(live("main").stops) if attempts else False

    with Meanwhile(waiting, lambda: stop("main")), pytest.raises(CancelledRun, match=WHY):
        main()

    assert attempts == [1]
    assert record.path(record.flow_run()) == ["Running", "AwaitingRetry", "Cancelling", "Cancelled"]


def test_a_stopped_sync_flow_is_not_tried_again(record: Record) -> None:
    attempts: list[int] = []
    begun = Latch()

    @flow(name="main", retries=3)
    def main() -> None:
        attempts.append(1)
        endless.submit(begun).result()

    with Meanwhile(begun.event.is_set, lambda: stop("main")), pytest.raises(CancelledRun):
        main()

    assert attempts == [1]


def test_what_a_sync_flow_has_submitted_hears_it_while_the_flow_itself_is_busy(record: Record) -> None:
    begun, cleaned, seen = Latch(), threading.Event(), list[object]()

    @task
    async def tidies() -> None:
        begun.open()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cleaned.set()

    @flow(name="main")
    def main() -> None:
        future = tidies.submit()
        seen.append(cleaned.wait(30))  # it hears nothing here
        future.result()

    with Meanwhile(begun.event.is_set, lambda: stop("main")), pytest.raises(CancelledRun, match=WHY):
        main()

    assert seen == [True]
    assert record.path(record.flow_run()) == CANCELLED
    nothing_is_left(record)


def test_flows_and_tasks_that_block_within_each_other_hear_it_one_after_the_other(record: Record) -> None:
    story: list[tuple[str, int]] = []
    begun = Latch()

    def tidied(whose: str) -> None:
        story.append((whose, step(1) + step.submit(2).result()))

    @flow
    def innermost() -> None:
        try:
            endless.submit(begun).result()
        finally:
            tidied("innermost")

    @task
    def between() -> None:
        try:
            innermost()
        finally:
            tidied("between")

    @flow(name="main")
    def main() -> None:
        try:
            between()
        finally:
            tidied("main")

    with Meanwhile(begun.event.is_set, lambda: stop("main")), pytest.raises(CancelledRun, match=WHY):
        main()

    assert story == [("innermost", 3), ("between", 3), ("main", 3)]
    assert [record.path(run) for run in record.flow_runs()] == [CANCELLED, CANCELLED]
    nothing_is_left(record)


def test_a_task_that_calls_tasks_hears_it_at_the_next_one(record: Record) -> None:
    begun = Latch()

    @task
    def many() -> None:
        for_ever(step, begun)

    @flow(name="main")
    def main() -> None:
        many()

    with Meanwhile(begun.event.is_set, lambda: stop("main")), pytest.raises(CancelledRun, match=WHY):
        main()

    assert {run.task_name: run.state.name for run in record.task_runs()}["many"] == "Cancelled"
    nothing_is_left(record)


async def test_a_sync_flow_in_an_async_one_ends_with_it(record: Record) -> None:
    """Called on the loop's thread, it blocks the loop: who stops the flow is elsewhere, and the loop hears it last."""
    begun, story = Latch(), list[str]()

    @flow
    def inner() -> None:
        try:
            for_ever(step, begun)
        except BaseException as error:
            story.append(type(error).__name__)
            raise

    @flow(name="main")
    async def main() -> None:
        try:
            inner()
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            story.append("cleaned up")

    with Meanwhile(begun.event.is_set, lambda: stop("main")), pytest.raises(CancelledRun, match=WHY):
        await main()

    assert story == ["RunCancelled", "cleaned up"]
    await nothing_goes_on(record)


# -- asking -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancel", "stop"])
async def test_a_task_in_a_thread_that_asks_is_told_and_may_clean_up(record: Record, how: str) -> None:
    begun, story = Latch(), list[object]()

    @task
    def polls() -> str:
        begun.open()
        until(cancelled)
        story.append((step(1), substep(), cancelled()))
        return "what became of it"

    @flow(name="main")
    async def main() -> None:
        await polls.submit()

    awaiting = asyncio.create_task(main())
    await happens(begun.event.is_set, 1_000_000)
    stop("main") if how == "stop" else awaiting.cancel()
    with pytest.raises((asyncio.CancelledError, CancelledRun)):
        await awaiting

    assert story == [(1, 1, True)]
    (run,) = [run for run in record.task_runs() if run.task_name == "polls"]
    assert record.path(run)[-2:] == ["Cancelling", "Cancelled"]
    assert str(run.state.message).startswith("Its body ended early when it was told to stop: ")
    await nothing_goes_on(record)


def test_a_sync_flow_that_asks_and_returns_ends_as_cancelled(record: Record) -> None:
    begun, story = Latch(), list[object]()

    @flow(name="main")
    def main() -> str:
        begun.open()
        until(cancelled)
        story.append((step(1), step.submit(2).result()))
        return "done so far"

    with Meanwhile(begun.event.is_set, lambda: stop("main")), pytest.raises(CancelledRun, match=WHY):
        main()

    assert story == [(1, 2)]
    assert record.path(record.flow_run()) == CANCELLED
    nothing_is_left(record)


def test_a_task_that_was_called_asks_for_the_flow_around_it(record: Record) -> None:
    begun = Latch()

    @task
    def polls() -> None:
        begun.open()
        until(cancelled)

    @flow(name="main")
    def main() -> None:
        polls()

    with Meanwhile(begun.event.is_set, lambda: stop("main")), pytest.raises(CancelledRun):
        main()

    assert record.task_run().state.name == "Cancelled"
    assert record.path(record.flow_run()) == CANCELLED


def test_nobody_is_told_who_is_not_to_stop(form: Form, record: Record) -> None:
    told: list[bool] = []

    @form.task()
    async def asks() -> None:
        told.append(cancelled())

    @form.flow()
    async def main() -> None:
        told.append(cancelled())
        await call(asks)
        await form.got(asks.submit())

    form.run(main)

    assert (told, cancelled()) == ([False] * 3, False)
    assert record.flow_run().state.name == "Completed"


@pytest.mark.parametrize("kind", ["task", "flow"])
def test_a_body_that_was_left_behind_because_its_time_was_up_is_told(record: Record, kind: str) -> None:
    told: list[bool] = []
    over = threading.Event()

    def body() -> None:
        if not told:
            told.append(cancelled())
            until(cancelled)
            told.append(cancelled())
            over.set()
            return
        assert over.wait(30)
        told.append(cancelled())

    decorate: Any = task if kind == "task" else flow
    decorate(timeout_seconds=0.05, retries=1)(body)()

    assert told == [False, True, False]  # the last is the second attempt, which has time left
    (run,) = record.flow_runs() or record.task_runs()
    assert run.state.name == "Completed"


def test_a_task_below_a_body_that_was_left_behind_is_told_as_well(record: Record) -> None:
    over = threading.Event()

    @task
    def polls() -> None:
        until(cancelled)
        over.set()

    @flow(timeout_seconds=0.05)
    def main() -> None:
        polls()

    with pytest.raises(FlowRunTimeoutError):
        main()

    assert over.wait(30)


async def test_a_submitted_task_whose_time_is_up_is_told_and_gives_its_place_back(record: Record) -> None:
    over = threading.Event()

    @task(timeout_seconds=0.05)
    def polls() -> None:
        until(cancelled)
        over.set()

    @flow
    async def main() -> None:
        with pytest.raises(TaskRunTimeoutError):
            await polls.submit()

    await main()

    assert over.wait(30)
    until(lambda: shop().threads.taken == 0)


# -- what an error may hide ---------------------------------------------------------------------------------


def test_a_flow_that_meets_the_end_of_what_it_waited_for_before_its_own_is_cancelled_all_the_same(
    record: Record,
) -> None:
    begun = Latch()

    @flow(name="main")
    def main() -> None:
        future = endless.submit(begun)
        until(future.done)
        future.result()

    with Meanwhile(begun.event.is_set, lambda: stop("main")), pytest.raises(CancelledRun, match="Flow run .* " + WHY):
        main()

    assert record.path(record.flow_run()) == CANCELLED


def test_a_flow_that_fails_in_its_cleanup_has_failed(record: Record) -> None:
    begun = Latch()

    @flow(name="main")
    def main() -> None:
        try:
            endless.submit(begun).result()
        finally:
            raise LookupError("of the cleanup")

    with Meanwhile(begun.event.is_set, lambda: stop("main")), pytest.raises(LookupError):
        main()

    assert record.path(record.flow_run()) == ["Running", "Cancelling", "Failed"]
    nothing_is_left(record)


def test_a_cancelled_child_is_the_flow_s_own_business_while_nobody_stops_the_flow(record: Record) -> None:
    @task
    def ends_so() -> None:
        raise RunCancelled("It", "by itself")

    @flow
    def main() -> None:
        ends_so.submit().result()

    with pytest.raises(CancelledRun, match="ends_so"):
        main()

    assert record.flow_run().state.name == "Failed"


def test_the_timeout_of_a_sync_flow_ends_what_it_waits_for(record: Record) -> None:
    heard: list[type[BaseException]] = []
    over = threading.Event()

    @flow(timeout_seconds=60)
    def main() -> None:
        try:
            endless.submit().result()
        except BaseException as error:
            heard.append(type(error))
            over.set()

    with virtual_time():
        with pytest.raises(FlowRunTimeoutError):
            main()
        assert over.wait(30)

    assert heard == [CancelledRun]
    nothing_is_left(record)
