"""Outcomes: the state a run ends in, from what its body returned or raised. Pure; records and logs nothing."""

from __future__ import annotations

from typing import Any, Literal

from headrace._model.states import State, StateType, combine, states_in
from headrace.errors import (
    CancelledRun,
    CrashedRun,
    ParameterTypeError,
    RunTimeoutError,
    TerminationSignal,
    UpstreamTaskError,
    short,
)

Kind = Literal["flow", "task"]


def from_value(value: Any) -> State[Any] | None:
    """
    Judge a returned *value*; None means an ordinary value, so the run is COMPLETED with it.

    A state made by hand is taken as it is. A state of another run, or a list, tuple or set of nothing but
    states, is judged by those states. Everything else, empty collections and dicts included, is a value.
    """
    if isinstance(value, State):
        state: State[Any] = value  # pyright: ignore[reportUnknownVariableType]
        by_hand = state.flow_run_id is None and state.task_run_id is None
        return state if by_hand else combine([state], state)
    return combine(value, value) if states_in(value) else None


def from_error(kind: Kind, error: Exception, run_id: str) -> State[Any]:
    """
    Judge an exception that left the body of *run_id*: FAILED, under the name TimedOut when its own time was up.

    CANCELLED and CRASHED, where it says that this happened to this very run.
    """
    if isinstance(error, CancelledRun | CrashedRun) and error.run_id == run_id:
        ended = StateType.CANCELLED if isinstance(error, CancelledRun) else StateType.CRASHED
        return State(ended, message=str(error), data=error)
    if isinstance(error, RunTimeoutError) and error.run_id == run_id:
        return State(StateType.FAILED, "TimedOut", message=str(error), data=error)
    if isinstance(error, ParameterTypeError):
        return State(StateType.FAILED, message=f"Validation of flow parameters failed: {describe(error)}", data=error)
    message = f"{kind.title()} run encountered an exception: {describe(error)}"
    return State(StateType.FAILED, message=message, data=error)


def not_started(error: UpstreamTaskError) -> State[Any]:
    """Give the state of a run whose body never ran, because a run it needs did not complete."""
    return State(StateType.PENDING, "NotReady", message=str(error), data=error)


def from_interruption(stop: BaseException, why: str | None = None, *, begun: bool = True) -> State[Any]:
    """
    Judge what is no Exception: cancellation, Ctrl-C and SIGTERM are CANCELLED, anything else is CRASHED.

    *why* the run was asked to stop is said, where it was; and if its body had not *begun* by then, that.
    Names are compared for cancellation, so that this room needs no event loop library.
    """
    if isinstance(stop, KeyboardInterrupt):
        return State(StateType.CANCELLED, message="Execution was interrupted by Ctrl-C.", data=stop)
    if isinstance(stop, TerminationSignal):
        return State(StateType.CANCELLED, message="Execution was ended by a termination signal.", data=stop)
    if type(stop).__name__ in {"CancelledError", "RunCancelled"}:
        how = "was cancelled" if begun else "was stopped before it began"
        message = "Execution was cancelled from outside." if why is None else f"It {how}: {why}."
        return State(StateType.CANCELLED, message=message, data=stop)
    if isinstance(stop, SystemExit):
        return State(StateType.CRASHED, message=f"Execution was ended by sys.exit({short(stop.code)}).", data=stop)
    if isinstance(stop, GeneratorExit):
        return State(StateType.CRASHED, message="The coroutine was closed before it ended.", data=stop)
    return State(StateType.CRASHED, message=f"Execution was interrupted: {describe(stop)}", data=stop)


def describe(error: BaseException) -> str:
    """Give `Type: text` for *error*, even if its __str__ raises."""
    try:
        text = str(error)
    except Exception as broken:
        text = f"<its __str__ raises {type(broken).__name__}>"
    name = type(error).__name__
    return f"{name}: {text}" if text else name
