"""States for users: the State type, and a constructor for each kind of state to return from a flow or task."""

from __future__ import annotations

from typing import Any

from headrace._model.annotations import watch
from headrace._model.states import State, StateType, exception_of

__all__ = [
    "AwaitingRetry",
    "Cancelled",
    "Cancelling",
    "Completed",
    "Crashed",
    "Failed",
    "Paused",
    "Pending",
    "Retrying",
    "Running",
    "Scheduled",
    "State",
    "StateType",
    "get_state_exception",
    "raise_state_exception",
]


def _made(kind: StateType, default: str | None, name: str | None, message: str | None, data: Any) -> State[Any]:
    # From here on, arguments may be states; the engine looks for them.
    watch.states = True
    named = name or default
    return State(kind, message=message, data=data) if named is None else State(kind, named, message=message, data=data)


def Completed(*, message: str | None = None, data: Any = None, name: str | None = None) -> State[Any]:
    """Make the state of a run that ended well; *data* is its value."""
    return _made(StateType.COMPLETED, None, name, message, data)


def Failed(*, message: str | None = None, data: Any = None, name: str | None = None) -> State[Any]:
    """Make the state of a run that failed; *data* may be the exception."""
    return _made(StateType.FAILED, None, name, message, data)


def Crashed(*, message: str | None = None, data: Any = None, name: str | None = None) -> State[Any]:
    """Make the state of a run that something outside its code ended."""
    return _made(StateType.CRASHED, None, name, message, data)


def Cancelled(*, message: str | None = None, data: Any = None, name: str | None = None) -> State[Any]:
    """Make the state of a run that was cancelled."""
    return _made(StateType.CANCELLED, None, name, message, data)


def Cancelling(*, message: str | None = None, data: Any = None, name: str | None = None) -> State[Any]:
    """Make the state of a run that is being cancelled."""
    return _made(StateType.CANCELLING, None, name, message, data)


def Pending(*, message: str | None = None, data: Any = None, name: str | None = None) -> State[Any]:
    """Make the state of a run that waits for something."""
    return _made(StateType.PENDING, None, name, message, data)


def Running(*, message: str | None = None, data: Any = None, name: str | None = None) -> State[Any]:
    """Make the state of a run at work."""
    return _made(StateType.RUNNING, None, name, message, data)


def Retrying(*, message: str | None = None, data: Any = None, name: str | None = None) -> State[Any]:
    """Make the state of a run at work for another time: type RUNNING."""
    return _made(StateType.RUNNING, "Retrying", name, message, data)


def Scheduled(*, message: str | None = None, data: Any = None, name: str | None = None) -> State[Any]:
    """Make the state of a run whose time is to come."""
    return _made(StateType.SCHEDULED, None, name, message, data)


def AwaitingRetry(*, message: str | None = None, data: Any = None, name: str | None = None) -> State[Any]:
    """Make the state of a run that waits for its next attempt: type SCHEDULED."""
    return _made(StateType.SCHEDULED, "AwaitingRetry", name, message, data)


def Paused(*, message: str | None = None, data: Any = None, name: str | None = None) -> State[Any]:
    """Make the state of a run that is paused."""
    return _made(StateType.PAUSED, None, name, message, data)


def get_state_exception(state: State[Any]) -> BaseException:
    """
    Give the exception of an unsuccessful state.

    Raises:
        ValueError: *state* is not failed, crashed or cancelled.
    """
    return exception_of(state)


def raise_state_exception(state: State[Any]) -> None:
    """Raise the exception of *state* if it is failed, crashed or cancelled; else do nothing."""
    if state.is_failed() or state.is_crashed() or state.is_cancelled():
        raise exception_of(state)
