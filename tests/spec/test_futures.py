"""Futures: what `submit` gives at once, what it tells while the run goes on, and what it comes to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from headrace import State, flow, task
from headrace.errors import CancelledRun, CrashedRun, FailedRun, UnfinishedRun
from headrace.runtime import task_run
from headrace.states import Completed, Failed
from headrace.task_runners import ConcurrentTaskRunner
from tests.spec.forms import Form, Latch, Record

Lines = Callable[[], list[str]]
BOOM = ValueError("boom")
colour: ContextVar[str] = ContextVar("colour", default="none")


# -- what it comes to ---------------------------------------------------------------------------------------


def test_submit_gives_a_future_before_the_run_has_ended(form: Form, inner: Form) -> None:
    latch = Latch()

    @inner.task()
    async def double(x: int) -> int:
        await latch.passed()
        return 2 * x

    async def body() -> tuple[bool, Any, bool]:
        future = double.submit(21)
        before = future.done()
        latch.open()
        return before, await form.got(future), future.done()

    assert form.in_flow(body) == (False, 42, True)


def test_submitted_runs_are_at_work_at_the_same_time(form: Form, inner: Form) -> None:
    latches = [Latch(), Latch()]

    @inner.task()
    async def meet(own: int) -> int:
        latches[own].open()
        await latches[1 - own].passed()
        return own

    async def body() -> list[int]:
        first, second = meet.submit(0), meet.submit(own=1)
        return [await form.got(first), await form.got(second)]

    assert form.in_flow(body) == [0, 1]


def test_what_the_run_raised_is_raised_as_the_same_object_each_time(form: Form, inner: Form) -> None:
    @inner.task()
    async def fails() -> None:
        raise BOOM

    async def body() -> list[Any]:
        future = fails.submit()
        caught: list[Any] = []
        for _ in range(2):
            try:
                await form.got(future)
            except ValueError as error:
                caught.append(error)
        return caught

    assert [one is BOOM for one in form.in_flow(body)] == [True, True]


def test_a_failure_is_given_as_a_value_on_request(form: Form, inner: Form) -> None:
    @inner.task()
    async def fails() -> None:
        raise BOOM

    async def body() -> Any:
        future = fails.submit()
        await form.ended([future])
        return future.result(raise_on_failure=False)

    assert form.in_flow(body) is BOOM


def test_the_frames_of_the_user_come_first_in_the_traceback(form: Form, inner: Form) -> None:
    @inner.task()
    async def fails() -> None:
        raise LookupError("here")

    async def body() -> None:
        await form.got(fails.submit())

    with pytest.raises(LookupError) as caught:
        form.in_flow(body)
    files = [str(entry.path).rpartition("/")[2] for entry in caught.traceback]
    assert "loop_lane.py" not in files
    assert "promises.py" not in files
    assert files[-1] == "test_futures.py"


def test_a_run_that_returned_a_state_comes_to_what_the_state_holds(form: Form, inner: Form) -> None:
    @inner.task()
    async def states(good: bool) -> Any:
        return Completed(data=5) if good else Failed(message="no luck")

    async def body() -> Any:
        value = await form.got(states.submit(True))
        with pytest.raises(FailedRun, match="no luck"):
            await form.got(states.submit(False))
        return value

    assert form.in_flow(body) == 5


def test_a_body_that_leaves_the_program_crashes_its_own_run_alone(form: Form, inner: Form, record: Record) -> None:
    @inner.task()
    async def leaves() -> None:
        raise SystemExit(3)

    async def body() -> Any:
        future = leaves.submit()
        with pytest.raises(CrashedRun, match=r"Task run 'leaves-\w+' ended as Crashed") as caught:
            await form.got(future)
        return caught.value

    error = form.in_flow(body)

    assert isinstance(error.__cause__, SystemExit)
    assert error.run_id == record.task_run().id
    assert (record.task_run().state.name, record.flow_run().state.name) == ("Crashed", "Completed")


def test_a_body_that_cancels_itself_does_not_cancel_who_awaits_it(form: Form, record: Record) -> None:
    @task
    async def gives_up() -> None:
        raise asyncio.CancelledError

    async def body() -> Any:
        with pytest.raises(CancelledRun) as caught:
            await form.got(gives_up.submit())
        return caught.value

    error = form.in_flow(body)

    assert isinstance(error.__cause__, asyncio.CancelledError)
    assert (record.task_run().state.name, record.flow_run().state.name) == ("Cancelled", "Completed")


def test_a_future_may_be_asked_by_several_and_often(form: Form, inner: Form) -> None:
    @inner.task()
    async def make() -> list[int]:
        return [1]

    async def body() -> bool:
        future = make.submit()
        return await form.got(future) is await form.got(future) is future.result()

    assert form.in_flow(body)


async def test_several_coroutines_may_await_one_future() -> None:
    latch = Latch()

    @task
    async def slow() -> str:
        await latch.passed()
        return "there"

    @flow
    async def main() -> list[str]:
        future = slow.submit()

        async def ask() -> str:
            return await future

        async with asyncio.TaskGroup() as group:
            asking = [group.create_task(ask()) for _ in range(3)]
            await asyncio.sleep(0)
            latch.open()
        return [one.result() for one in asking]

    assert await main() == ["there"] * 3


async def test_who_stops_awaiting_does_not_stop_the_run() -> None:
    latch = Latch()

    @task
    async def slow() -> str:
        await latch.passed()
        return "there"

    @flow
    async def main() -> str:
        future = slow.submit()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await future
        latch.open()
        return await future

    assert await main() == "there"


def test_a_future_tells_its_result_after_its_flow_and_its_loop_have_ended(form: Form, inner: Form) -> None:
    kept: list[Any] = []

    @inner.task()
    async def make(x: int) -> int:
        if x < 0:
            raise BOOM
        return x

    async def body() -> None:
        kept.extend([make.submit(7), make.submit(-1)])

    form.in_flow(body)

    assert (kept[0].result(), kept[0].wait(0), kept[0].state.name) == (7, True, "Completed")
    with pytest.raises(ValueError, match="boom"):
        kept[1].result(timeout=0)

    async def elsewhere() -> int:
        result: int = await kept[0]
        return result

    assert asyncio.run(elsewhere()) == 7


# -- what it tells ------------------------------------------------------------------------------------------


def test_the_state_of_a_future_is_that_of_its_run_as_it_goes_on(form: Form, inner: Form) -> None:
    begun, latch = Latch(), Latch()
    states: list[State[Any]] = []

    @inner.task()
    async def slow() -> int:
        begun.open()
        await latch.passed()
        return 3

    async def body() -> None:
        first, second = slow.submit(), slow.submit()
        await begun.passed()
        states.extend([second.state, first.state])
        latch.open()
        await form.ended([first, second])
        states.append(first.state)

    form.in_flow(body, task_runner=ConcurrentTaskRunner(limit=1))

    assert [state.name for state in states] == ["Pending", "Running", "Completed"]
    assert states[2].result() == 3
    for unfinished in states[:2]:
        with pytest.raises(UnfinishedRun):
            unfinished.result()
    assert states[1].task_run_id == states[2].task_run_id != states[0].task_run_id


def test_a_state_says_whose_it_is_and_when_it_was_entered(form: Form, inner: Form, record: Record) -> None:
    @inner.task()
    async def fails() -> None:
        raise BOOM

    async def body() -> None:
        future = fails.submit()
        await form.ended([future])
        kept.append(future.state)

    kept: list[State[Any]] = []
    form.in_flow(body)

    (state,), run = kept, record.task_run()
    assert (state.type.value, state.data, state.task_run_id) == ("FAILED", BOOM, run.id)
    assert (state.flow_run_id, state.timestamp) == (record.flow_run().id, run.end_time)


def test_a_future_knows_the_id_of_its_run_from_the_beginning(form: Form, inner: Form, record: Record) -> None:
    told: list[str | None] = []

    @inner.task()
    async def ask() -> None:
        told.append(task_run.id)

    async def body() -> tuple[str, str | None]:
        future = ask.submit()
        known = future.task_run_id, future.flow_run_id
        await form.got(future)
        assert known == (future.task_run_id, future.flow_run_id)
        return known

    task_run_id, flow_run_id = form.in_flow(body)

    assert [task_run_id] == told == [run.id for run in record.task_runs()]
    assert flow_run_id == record.flow_run().id == record.task_run().flow_run_id


def test_the_future_of_a_flow_has_the_id_of_a_flow_run_and_none_of_a_task_run(
    form: Form, inner: Form, record: Record
) -> None:
    @inner.flow(name="child")
    async def child() -> int:
        return 5

    async def body() -> tuple[int, str | None]:
        future = child.submit()
        with pytest.raises(AttributeError, match="stands for a flow run, not for a task run; ask for its flow_run_id"):
            _ = future.task_run_id
        return await form.got(future), future.flow_run_id

    value, run_id = form.in_flow(body)

    assert value == 5
    assert run_id == next(run.id for run in record.flow_runs() if run.flow_name == "child")


def test_a_future_says_in_words_what_it_stands_for(form: Form, inner: Form) -> None:
    begun, latch = Latch(), Latch()

    @inner.task(task_run_name="make {x}")
    async def make(x: int) -> None:
        begun.open()
        await latch.passed()
        raise BOOM

    async def body() -> list[str]:
        future = make.submit(5)
        await begun.passed()
        said = [repr(future)]
        latch.open()
        await form.ended([future])
        return [*said, repr(future)]

    assert form.in_flow(body) == [
        "<Future of task run 'make 5': Running>",
        "<Future of task run 'make 5': Failed>",
    ]


def test_futures_are_told_apart_and_can_be_kept_in_sets(form: Form, inner: Form) -> None:
    @inner.task()
    async def make() -> int:
        return 1

    async def body() -> tuple[int, bool]:
        one, other = make.submit(), make.submit()
        return len({one, other, one}), one == other

    assert form.in_flow(body) == (2, False)
