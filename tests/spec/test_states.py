"""States: their forms and results, and the state in which a run ends, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import State, flow, states, task
from headrace.errors import (
    CancelledRun,
    CrashedRun,
    FailedRun,
    MissingResult,
    PausedRun,
    RunningLoopError,
    UnfinishedRun,
)
from headrace.states import (
    Cancelled,
    Completed,
    Crashed,
    Failed,
    Paused,
    Pending,
    Running,
    Scheduled,
    StateType,
    get_state_exception,
    raise_state_exception,
)
from tests.spec.forms import Form, Record, call

BOOM = ValueError("boom")
MADE: list[tuple[Any, str, str]] = [
    (states.Completed, "COMPLETED", "Completed"),
    (states.Failed, "FAILED", "Failed"),
    (states.Crashed, "CRASHED", "Crashed"),
    (states.Cancelled, "CANCELLED", "Cancelled"),
    (states.Cancelling, "CANCELLING", "Cancelling"),
    (states.Pending, "PENDING", "Pending"),
    (states.Running, "RUNNING", "Running"),
    (states.Retrying, "RUNNING", "Retrying"),
    (states.Scheduled, "SCHEDULED", "Scheduled"),
    (states.AwaitingRetry, "SCHEDULED", "AwaitingRetry"),
    (states.Paused, "PAUSED", "Paused"),
]


@pytest.mark.parametrize(("make", "kind", "name"), MADE)
def test_a_constructor_gives_type_and_name(make: Any, kind: str, name: str) -> None:
    state = make(message="m", data=5)

    assert (state.type, state.name, state.message, state.data) == (StateType(kind), name, "m", 5)
    assert make(name="Mine").name == "Mine"


@pytest.mark.parametrize(("make", "kind", "_name"), MADE)
def test_exactly_the_predicate_of_its_type_holds(make: Any, kind: str, _name: str) -> None:
    state = make()

    asked = {name: getattr(state, f"is_{name.lower()}")() for name in StateType.__members__}
    assert asked == {name: name == kind for name in StateType.__members__}
    assert state.is_final() == (kind in {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"})


@pytest.mark.parametrize(
    ("state", "text", "full"),
    [
        (Completed(), "Completed()", "Completed(message=None, type=COMPLETED, result=None)"),
        (Failed(message="msg"), "Failed('msg')", "Failed(message='msg', type=FAILED, result=None)"),
        (
            Completed(name="Cached", data=[1]),
            "Cached(type=COMPLETED)",
            "Cached(message=None, type=COMPLETED, result=[1])",
        ),
        (
            Failed(name="TimedOut", message="late"),
            "TimedOut('late', type=FAILED)",
            "TimedOut(message='late', type=FAILED, result=None)",
        ),
    ],
)
def test_a_state_shows_name_message_and_an_unlike_type(state: State[Any], text: str, full: str) -> None:
    assert (str(state), repr(state)) == (text, full)


def test_a_state_shows_a_result_of_a_million_items_in_short() -> None:
    assert len(repr(Completed(data=list(range(1_000_000))))) < 300


def test_two_states_are_equal_when_type_name_and_message_are() -> None:
    assert Completed(message="a", data=1) == Completed(message="a", data=2)
    assert Completed(message="a") != Completed(message="b")
    assert Completed(name="Cached") != Completed()


def test_a_state_can_be_made_of_a_types_name() -> None:
    made: Any = State
    assert made("COMPLETED") == Completed()
    with pytest.raises(ValueError, match="DONE"):
        made("DONE")


@pytest.mark.parametrize(
    ("state", "error", "sentence"),
    [
        (Paused(), PausedRun, "paused"),
        (Running(), UnfinishedRun, r"Running\(\)"),
        (Pending(), UnfinishedRun, "has no result before it ends"),
        (Scheduled(), UnfinishedRun, "has no result before it ends"),
        (Failed(), FailedRun, r"^The run failed\.$"),
        (Failed(message="why"), FailedRun, "^why$"),
        (Failed(message="why", data="because"), FailedRun, "^because$"),
        (Crashed(), CrashedRun, "crashed"),
        (Cancelled(message="c"), CancelledRun, "^c$"),
        (Failed(data=BOOM), ValueError, "boom"),
        (Failed(data=Crashed(message="inner")), CrashedRun, "inner"),
        (Failed(data=[Completed(), Failed(data=BOOM), Crashed()]), ValueError, "boom"),
        (Failed(data=[]), FailedRun, r"The run failed\."),
        (Failed(data=[Completed()]), FailedRun, r"The run failed\."),
    ],
)
def test_a_state_without_a_value_raises_what_it_stands_for(
    state: State[Any], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        state.result()


def test_an_unsuccessful_result_can_be_had_without_raising() -> None:
    assert Failed(data=BOOM).result(raise_on_failure=False) is BOOM
    assert isinstance(Failed().result(raise_on_failure=False), FailedRun)
    with pytest.raises(UnfinishedRun):
        Running().result(raise_on_failure=False)


def test_the_exception_of_a_state_can_be_asked_for_and_raised() -> None:
    assert get_state_exception(Failed(data=BOOM)) is BOOM
    with pytest.raises(ValueError, match=r"Completed\(\) is not a failed, crashed or cancelled state"):
        get_state_exception(Completed())
    with pytest.raises(ValueError, match="boom"):
        raise_state_exception(Failed(data=BOOM))
    raise_state_exception(Completed())


# -- the final state of a run, from what its body gave -------------------------------------------------------


def ended(form: Form, kind: str, value: Any) -> State[Any]:
    """The final state of a run whose body returns *value*, or what it gives when called."""

    @form.decorate(kind)
    async def body() -> Any:
        return value

    state: State[Any] = form.run(body, return_state=True)
    return state


ORDINARY: list[Any] = [None, 0, "", [], (), set[int](), {}, [1, Completed()], {"a": Failed()}, BOOM]


@pytest.mark.parametrize("value", ORDINARY)
def test_an_ordinary_value_completes(form: Form, kind: str, value: Any) -> None:
    state = ended(form, kind, value)

    assert (str(state), state.data) == ("Completed()", value)


@pytest.mark.parametrize("make", [make for make, _, _ in MADE])
def test_a_state_made_by_hand_is_the_final_state(form: Form, kind: str, make: Any) -> None:
    given = make(message="mine", name="Odd")

    state = ended(form, kind, given)

    assert state == given
    assert (state.flow_run_id or state.task_run_id) is not None
    assert state.timestamp is not None
    assert given.timestamp is None


def test_a_value_in_a_completed_state_comes_out_as_itself(form: Form, kind: str) -> None:
    @form.decorate(kind)
    async def body() -> Any:
        return Completed(data=[1, 2], message="fine")

    assert form.run(body) == [1, 2]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([Completed(), Completed()], "Completed('All states completed.')"),
        ((Completed(), Failed()), "Failed('1/2 states failed.')"),
        ([Failed(), Crashed(), Completed()], "Failed('2/3 states failed.')"),
        ([Completed(), Cancelled(), Failed()], "Cancelled('1/3 states cancelled.')"),
        ([Paused(), Failed(), Completed()], "Paused('1/3 states paused.')"),
        ([Running(), Completed()], "Failed('1/2 states are not final.')"),
    ],
)
def test_states_alone_are_judged_together(form: Form, kind: str, given: Any, text: str) -> None:
    assert str(ended(form, kind, given)) == text


def test_a_set_of_states_is_judged_too(form: Form) -> None:
    assert str(ended(form, "flow", {Completed(), Failed()})) == "Failed('1/2 states failed.')"


def test_a_flow_that_returns_the_state_of_a_task_ends_like_it(form: Form) -> None:
    @form.task()
    async def fails() -> None:
        raise BOOM

    @form.flow()
    async def pipeline() -> Any:
        return await call(fails, return_state=True)

    state = form.run(pipeline, return_state=True)

    assert str(state) == "Failed('1/1 states failed.')"
    with pytest.raises(ValueError, match="boom") as caught:
        form.run(pipeline)
    assert caught.value is BOOM


def test_a_flow_that_returns_states_of_tasks_gives_their_values(form: Form) -> None:
    @form.task()
    async def double(x: int) -> int:
        return x * 2

    @form.flow()
    async def pipeline(several: bool) -> Any:
        if several:
            return [await call(double, x, return_state=True) for x in (1, 2)]
        return await call(double, 5, return_state=True)

    assert form.run(pipeline, True) == [2, 4]
    assert form.run(pipeline, False) == 10


def test_failed_tasks_matter_only_when_raised_or_returned(form: Form, record: Record) -> None:
    @form.task()
    async def fails() -> None:
        raise BOOM

    @form.flow()
    async def pipeline() -> str:
        await call(fails, return_state=True)
        try:
            await call(fails)
        except ValueError:
            return "went on"
        return "never"

    assert form.run(pipeline) == "went on"
    assert [run.state.name for run in record.task_runs()] == ["Failed", "Failed"]


def test_an_exception_fails_the_run_with_its_words(form: Form, kind: str) -> None:
    @form.decorate(kind)
    async def body() -> None:
        raise BOOM

    state = form.run(body, return_state=True)

    assert str(state) == f"Failed('{kind.title()} run encountered an exception: ValueError: boom')"
    assert state.data is BOOM
    assert state.result(raise_on_failure=False) is BOOM


@pytest.mark.parametrize(
    ("given", "error"),
    [(Paused(), PausedRun), (Running(), UnfinishedRun), (Cancelled(), CancelledRun), (Crashed(), CrashedRun)],
)
def test_a_call_that_ends_without_a_value_raises(form: Form, kind: str, given: Any, error: type[Exception]) -> None:
    @form.decorate(kind)
    async def body() -> Any:
        return given

    with pytest.raises(error):
        form.run(body)


def test_return_state_never_raises_what_the_run_raised(form: Form, kind: str) -> None:
    @form.decorate(kind)
    async def body(x: int) -> None:
        raise BOOM

    assert form.run(body, 1, return_state=True).data is BOOM
    assert form.run(body, 1, return_state=True).is_failed()


@pytest.mark.parametrize("method", ["submit", "map"])
async def test_return_state_is_refused_on_a_loop_before_anything_begins(method: str, record: Record) -> None:
    @task
    async def work(x: int) -> int:
        return x

    @flow
    async def main() -> None:
        with pytest.raises(RunningLoopError, match=rf"work\.{method}\(\.\.\., return_state=True\) would block"):
            getattr(work, method)([1], return_state=True)

    await main()

    assert record.task_runs() == []


def test_return_state_covers_parameters_that_do_not_fit(form: Form) -> None:
    @form.flow()
    async def body(x: int) -> None: ...

    state = form.run(body, "five", return_state=True)

    assert state.is_failed()
    assert state.message.startswith("Validation of flow parameters failed: ParameterTypeError")


def test_a_state_read_from_the_store_says_that_its_value_was_not_kept(record: Record) -> None:
    ended(Form("sync"), "flow", 5)

    with pytest.raises(MissingResult, match="its value was not kept"):
        record.flow_run().state.result()
