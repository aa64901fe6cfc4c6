"""Retries: how often, how late, on which condition; the same for flows and tasks, sync and async."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import headrace
from headrace import State, flow, task
from headrace._model.policy import RetryPolicy, spread
from headrace.errors import OptionError, OptionTypeError, ParameterBindError
from headrace.states import Cancelled, Completed, Failed
from headrace.task_runners import ConcurrentTaskRunner
from headrace.tasks import exponential_backoff
from headrace.testing import virtual_time
from tests.spec.forms import Body, Form, Record, call

Lines = Callable[[], list[str]]


def as_many(retries: int) -> list[int]:
    return [retries] * retries


def seven(_retries: int) -> int:
    return 7


def makers(_retries: int) -> Any:
    return as_many


def failing(times: int, error: Exception | None = None) -> tuple[Body, list[int]]:
    """A body that raises on its first *times* calls, then gives how many there were; and the list of its calls."""
    calls: list[int] = []

    async def flaky() -> int:
        calls.append(len(calls) + 1)
        if len(calls) <= times:
            raise error or ConnectionError(f"no {len(calls)}")
        return len(calls)

    return flaky, calls


def test_a_body_is_tried_again_until_it_succeeds(form: Form, kind: str, record: Record) -> None:
    body, calls = failing(2)

    assert form.run(form.decorate(kind, retries=3)(body)) == 3

    (run,) = record.flow_runs() or record.task_runs()
    assert (calls, run.run_count, run.state.name) == ([1, 2, 3], 3, "Completed")
    assert record.path(run) == ["Running", "Retrying", "Retrying", "Completed"]


def test_when_no_attempt_is_left_the_last_exception_comes_out(form: Form, kind: str, record: Record) -> None:
    body, calls = failing(9)

    with pytest.raises(ConnectionError, match="no 3"):
        form.run(form.decorate(kind, retries=2)(body))

    (run,) = record.flow_runs() or record.task_runs()
    assert (calls, run.run_count, run.state.name) == ([1, 2, 3], 3, "Failed")
    assert record.path(run) == ["Running", "Retrying", "Retrying", "Failed"]


@pytest.mark.parametrize("options", [{}, {"retries": 0}, {"retry_delay_seconds": 60}])
def test_without_retries_a_body_runs_once(form: Form, kind: str, options: dict[str, Any]) -> None:
    body, calls = failing(1)

    with pytest.raises(ConnectionError):
        form.run(form.decorate(kind, **options)(body))

    assert calls == [1]


def test_a_delay_is_a_state_of_its_own(form: Form, kind: str, record: Record) -> None:
    body, _ = failing(1)

    with virtual_time():
        form.run(form.decorate(kind, retries=1, retry_delay_seconds=3_600)(body))

    (run,) = record.flow_runs() or record.task_runs()
    assert record.path(run) == ["Running", "AwaitingRetry", "Retrying", "Completed"]
    waiting, retrying = run.transitions[1], run.transitions[2]
    assert waiting[0] == "SCHEDULED"
    assert "Attempt 1 of 2 failed: ConnectionError('no 1')" in str(waiting[3])
    assert (retrying[2] - waiting[2]) >= timedelta(hours=1)


def test_each_retry_is_one_line_with_attempt_delay_and_reason(
    form: Form, kind: str, record: Record, said: Lines
) -> None:
    body, _ = failing(2)

    with virtual_time():
        form.run(form.decorate(kind, name="flaky", retries=2, retry_delay_seconds=[timedelta(minutes=1), 0])(body))

    lines = [line.partition(" - ")[2] for line in said() if line.startswith("WARNING")]
    assert lines == [
        "Attempt 1 of 3 failed: ConnectionError('no 1'); retrying in 60 s",
        "Attempt 2 of 3 failed: ConnectionError('no 2'); retrying at once",
    ]


@pytest.mark.parametrize(
    ("delay", "delays"),
    [
        (0, (0.0,)),
        (1.5, (1.5,)),
        (timedelta(minutes=1), (60.0,)),
        ([1, timedelta(seconds=2), 3.5], (1.0, 2.0, 3.5)),
        ((1,), (1.0,)),
        ([], ()),
        (exponential_backoff(10), (10.0, 20.0, 40.0)),
        (as_many, (3.0, 3.0, 3.0)),
        (seven, (7.0,)),
    ],
)
def test_a_delay_can_be_written_in_many_ways(kind: str, delay: Any, delays: tuple[float, ...]) -> None:
    decorated = Form("sync").decorate(kind, retries=3, retry_delay_seconds=delay)(failing(0)[0])

    assert decorated.spec.policy == RetryPolicy(3, delays)


def test_the_last_delay_of_a_list_holds_on() -> None:
    policy = RetryPolicy(5, (1.0, 2.0))

    assert [policy.delay(attempt, lambda: 0.5) for attempt in range(1, 7)] == [1.0, 2.0, 2.0, 2.0, 2.0, None]


def test_a_callable_delay_is_asked_once_at_decoration() -> None:
    asked: list[int] = []

    def delays(retries: int) -> list[float]:
        asked.append(retries)
        return [0.0] * retries

    flaky = task(retries=2, retry_delay_seconds=delays)(Form("sync").fn(failing(2)[0]))
    flaky()

    assert asked == [2]


def test_exponential_backoff_doubles_and_stops_at_fifty() -> None:
    assert exponential_backoff(10)(4) == [10.0, 20.0, 40.0, 80.0]
    assert len(exponential_backoff(1)(80)) == 50
    assert exponential_backoff(0.5)(0) == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"retries": -1}, r"retries of (flow|task) 'body' is -1; it must be 0 or more"),
        ({"retries": 1.5}, "retries of .* must be a whole number, not 1.5"),
        ({"retries": True}, "must be a whole number, not True"),
        ({"retries": "3"}, "must be a whole number, not '3'"),
        ({"retries": 1, "retry_delay_seconds": -1}, "retry_delay_seconds of .* is -1; it must be a finite number"),
        ({"retries": 1, "retry_delay_seconds": [1, -1]}, "is -1; it must be a finite number"),
        ({"retries": 1, "retry_delay_seconds": math.inf}, "is inf; it must be a finite number"),
        ({"retries": 1, "retry_delay_seconds": math.nan}, "is nan; it must be a finite number"),
        ({"retries": 1, "retry_delay_seconds": "10"}, "must be a number, a timedelta, a list of them, or a callable"),
        ({"retries": 1, "retry_delay_seconds": {"a": 1}}, "must be a number, a timedelta, a list"),
        ({"retries": 1, "retry_delay_seconds": [1] * 51}, "has 51 delays; at most 50 are taken"),
        ({"retries": 60, "retry_delay_seconds": as_many}, "has 60 delays; at most 50 are taken"),
        ({"retries": 1, "retry_delay_seconds": makers}, "must be a list of delays"),
        ({"retries": 1, "retry_jitter_factor": -0.1}, "retry_jitter_factor of .* is -0.1; it must be 0 or more"),
        ({"retries": 1, "retry_jitter_factor": "1"}, "must be a number"),
        ({"retries": 1, "retry_condition_fn": "always"}, "retry_condition_fn of .* must be callable, not 'always'"),
        ({"retry_delay_seconds": -1}, "is -1"),
    ],
)
@pytest.mark.parametrize("decorate", [task, flow])
def test_what_cannot_be_is_refused_at_decoration(decorate: Any, options: dict[str, Any], sentence: str) -> None:
    def body() -> None: ...

    with pytest.raises((OptionError, OptionTypeError), match=sentence):
        decorate(**options)(body)


@given(delay=st.floats(0.001, 1e6), jitter=st.floats(0.001, 100), side=st.floats(0, 0.999), along=st.floats(0, 0.999))
def test_a_jittered_delay_stays_within_its_bounds(delay: float, jitter: float, side: float, along: float) -> None:
    draws = iter([side, along])

    drawn = RetryPolicy(1, (delay,), jitter).delay(1, lambda: next(draws))

    assert drawn is not None
    assert delay / (1 + jitter) * 0.999999 <= drawn <= delay * (1 + jitter) * 1.000001


@given(delay=st.floats(0.001, 1e6), jitter=st.floats(0.01, 10))
def test_a_jittered_delay_is_the_delay_on_average(delay: float, jitter: float) -> None:
    parts = [(turn + 0.5) / 40 for turn in range(40)]
    drawn = [
        spread(delay, jitter, iter([side, along]).__next__) for side in (s / 400 for s in range(400)) for along in parts
    ]

    assert math.isclose(sum(drawn) / len(drawn), delay, rel_tol=0.02)


def test_without_jitter_nothing_is_drawn() -> None:
    def draw() -> float:
        raise AssertionError("drawn")

    assert RetryPolicy(1, (2.0,)).delay(1, draw) == 2.0


def test_a_condition_is_handed_who_failed_and_how(form: Form, kind: str, record: Record) -> None:
    asked: list[tuple[Any, str, State[Any]]] = []

    async def condition(public: Any, run: Any, state: State[Any]) -> bool:
        asked.append((public, run.name, state))
        return len(asked) < 2

    error = ConnectionError("the one")
    body, calls = failing(9, error)
    name = {f"{kind}_run_name": "this run"}
    flaky = form.decorate(kind, retries=5, retry_condition_fn=form.fn(condition), **name)(body)
    with pytest.raises(ConnectionError):
        form.run(flaky)

    assert calls == [1, 2]
    assert [(public, run_name, state.is_failed(), state.data) for public, run_name, state in asked] == [
        (flaky, "this run", True, error)
    ] * 2


def test_an_async_condition_serves_sync_functions_too(record: Record) -> None:
    async def condition(_flow: Any, _run: Any, state: State[Any]) -> bool:
        return isinstance(state.data, ConnectionError)

    body, calls = failing(1)

    assert flow(retries=1, retry_condition_fn=condition)(Form("sync").fn(body))() == 2
    assert calls == [1, 2]


def test_a_condition_that_raises_means_no_and_hides_nothing(
    form: Form, kind: str, record: Record, said: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    def condition(_public: Any, _run: Any, _state: Any) -> bool:
        raise LookupError("broken condition")

    body, calls = failing(9)
    with pytest.raises(ConnectionError, match="no 1"):
        form.run(form.decorate(kind, retries=5, retry_condition_fn=condition)(body))

    assert calls == [1]
    assert any(line.endswith("retry_condition_fn failed, so there is no retry") for line in said())
    assert "broken condition" in caplog.text


def test_a_condition_is_not_asked_when_no_retry_is_left(form: Form, kind: str) -> None:
    asked: list[int] = []

    def condition(_public: Any, run: Any, _state: Any) -> bool:
        asked.append(run.run_count)
        return True

    with pytest.raises(ConnectionError):
        form.run(form.decorate(kind, retries=1, retry_condition_fn=condition)(failing(9)[0]))

    assert asked == [1]


def test_a_returned_failed_state_is_tried_again(form: Form, kind: str, record: Record) -> None:
    given_back = [Failed(message="not yet"), Completed(message="now", data=5)]

    @form.decorate(kind, retries=2)
    async def flaky() -> Any:
        return given_back.pop(0)

    assert form.run(flaky) == 5
    (run,) = record.flow_runs() or record.task_runs()
    assert record.path(run) == ["Running", "Retrying", "Completed"]
    assert run.transitions[1][3] == "Attempt 1 of 3 failed: Failed('not yet')"


def test_a_returned_cancelled_state_is_final(form: Form, kind: str) -> None:
    calls: list[int] = []

    @form.decorate(kind, retries=2)
    async def stops() -> Any:
        calls.append(1)
        return Cancelled(message="enough")

    assert form.run(stops, return_state=True).name == "Cancelled"
    assert calls == [1]


def test_wrong_arguments_are_not_tried_again(kind: str) -> None:
    asked: list[int] = []

    def condition(_public: Any, _run: Any, _state: Any) -> bool:
        asked.append(1)
        return True

    options: Any = {"retries": 3, "retry_condition_fn": condition}

    def strict(x: int) -> None: ...

    async def strict_async(x: int) -> None: ...

    decorate: Any = task if kind == "task" else flow
    with pytest.raises(ParameterBindError, match="missing a required argument: 'x'"):
        decorate(**options)(strict)()
    with pytest.raises(ParameterBindError, match="missing a required argument: 'x'"):
        headrace.run(decorate(**options)(strict_async)())

    assert asked == []


def test_a_flow_that_is_tried_again_runs_everything_again(form: Form, record: Record) -> None:
    calls: list[str] = []

    @form.task()
    async def step() -> None:
        calls.append("step")

    @form.flow(retries=1)
    async def pipeline() -> None:
        await call(step)
        if len(calls) == 1:
            raise ValueError("first time")

    form.run(pipeline)

    runs = record.task_runs()
    assert [run.state.name for run in runs] == ["Completed", "Completed"]
    assert {run.flow_run_id for run in runs} == {record.flow_run().id}
    assert len({run.id for run in runs}) == 2


def test_a_retried_task_in_a_retried_flow_counts_for_itself(form: Form, record: Record) -> None:
    calls: list[int] = []

    @form.task(retries=1)
    async def step() -> None:
        calls.append(1)
        raise ValueError

    @form.flow(retries=1)
    async def pipeline() -> None:
        await call(step)

    with pytest.raises(ValueError, match=r"^$"):
        form.run(pipeline)

    assert len(calls) == 4
    assert [run.run_count for run in record.task_runs()] == [2, 2]
    assert record.flow_run().run_count == 2


@pytest.mark.parametrize("is_async", [True, False])
def test_a_submitted_run_gives_its_place_to_others_while_it_waits_for_its_next_attempt(is_async: bool) -> None:
    began: list[int] = []

    def body(i: int) -> int:
        began.append(i)
        if began == [0]:
            raise ValueError(i)
        return i

    async def body_async(i: int) -> int:
        return body(i)

    step: Any = task(body_async if is_async else body, retries=1, retry_delay_seconds=60)

    @flow(task_runner=ConcurrentTaskRunner(limit=1))
    def one_at_a_time() -> Any:
        return step.map(range(3)).result()

    with virtual_time():
        assert one_at_a_time() == [0, 1, 2]
    assert began == [0, 1, 2, 0]
