"""States: what a run is or was, and how its value or exception is got out of it. Knows no clock and no store."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar, overload

import attrs

from headrace.errors import (
    CancelledRun,
    CrashedRun,
    FailedRun,
    MissingResult,
    PausedRun,
    UnfinishedRun,
    UpstreamTaskError,
    short,
)

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


COLLECTIONS: tuple[type[Any], ...] = (list, tuple, set)


class StateType(enum.StrEnum):
    """The kinds of state; a state's *name* says more (`Retrying` is a RUNNING state)."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CRASHED = "CRASHED"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"


TERMINAL = frozenset({StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED})
UNSUCCESSFUL: dict[StateType, tuple[Callable[[str], Exception], str]] = {
    StateType.FAILED: (FailedRun, "The run failed."),
    StateType.CRASHED: (CrashedRun, "The run crashed."),
    StateType.CANCELLED: (CancelledRun, "The run was cancelled."),
}


@attrs.frozen(repr=False)
class State(Generic[R_co]):
    """
    What a run is at one moment.

    Two states are equal when type, name and message are; moment, value and run do not count. So a set of states holds
    one of each kind: gather them in a list.
    *timestamp* is None until the state has been given to a run.
    """

    type: StateType = attrs.field(converter=StateType)
    name: str = attrs.field(
        default=attrs.Factory(lambda self: self.type.value.title(), takes_self=True),
        validator=attrs.validators.instance_of(str),
    )
    message: str | None = attrs.field(default=None, kw_only=True)
    data: Any = attrs.field(default=None, eq=False, kw_only=True)
    timestamp: datetime | None = attrs.field(default=None, eq=False, kw_only=True)
    flow_run_id: str | None = attrs.field(default=None, eq=False, kw_only=True)
    task_run_id: str | None = attrs.field(default=None, eq=False, kw_only=True)

    def is_scheduled(self) -> bool:
        """Tell whether the run waits for a moment to come."""
        return self.type is StateType.SCHEDULED

    def is_pending(self) -> bool:
        """Tell whether the run waits for something other than time."""
        return self.type is StateType.PENDING

    def is_running(self) -> bool:
        """Tell whether the run is at work."""
        return self.type is StateType.RUNNING

    def is_completed(self) -> bool:
        """Tell whether the run ended well."""
        return self.type is StateType.COMPLETED

    def is_failed(self) -> bool:
        """Tell whether the run ended with an error of its own (a timeout counts)."""
        return self.type is StateType.FAILED

    def is_crashed(self) -> bool:
        """Tell whether the run was ended by something outside its own code."""
        return self.type is StateType.CRASHED

    def is_cancelled(self) -> bool:
        """Tell whether the run was cancelled."""
        return self.type is StateType.CANCELLED

    def is_cancelling(self) -> bool:
        """Tell whether the run is being cancelled."""
        return self.type is StateType.CANCELLING

    def is_paused(self) -> bool:
        """Tell whether the run is paused."""
        return self.type is StateType.PAUSED

    def is_final(self) -> bool:
        """Tell whether the run has ended, well or not."""
        return self.type in TERMINAL

    @overload
    def result(self, raise_on_failure: Literal[True] = ...) -> R_co: ...
    @overload
    def result(self, raise_on_failure: bool) -> R_co | BaseException: ...

    def result(self, raise_on_failure: bool = True) -> R_co | BaseException:
        """
        Give the run's value; a plain value in sync and async code alike.

        Args:
            raise_on_failure: Raise the exception of an unsuccessful run; if False, return it.

        Raises:
            PausedRun: The run is paused.
            UnfinishedRun: The run has not ended.
            MissingResult: The run completed, but its value was not kept, is not there any more, or was damaged.
            SerializationError, ResultStorageError, StoreUnavailable: A kept value cannot be read.
        """
        if unsuccessful(self):
            error = exception_of(self)
            if raise_on_failure:
                raise error
            return error
        if self.type is StateType.PAUSED:
            raise PausedRun("The run is paused; it has no result yet.")
        if not self.is_final():
            raise UnfinishedRun(f"The run is {self}; it has no result before it ends.")
        if isinstance(self.data, NotKept):
            kept: R_co = self.data.value()
            return kept
        value: R_co = plain(self.data)
        return value

    def __str__(self) -> str:
        said = [] if self.message is None else [repr(self.message)]
        if self.name.lower() != self.type.value.lower():
            said.append(f"type={self.type.value}")
        return f"{self.name}({', '.join(said)})"

    def __repr__(self) -> str:
        return f"{self.name}(message={self.message!r}, type={self.type.value}, result={short(self.data)})"


# `type[Any]`: what a state holds is the user's, and stays Any for checkers.
STATES: tuple[type[Any], ...] = (State,)


class NotKept:
    """
    Stands in a state's *data* where the value was never kept: in states read back from the store.

    Args:
        why: What became of it, as a sentence.
    """

    def __init__(self, why: str = "") -> None:
        self.why = why

    def value(self) -> Any:
        """
        Give the value, where it lies elsewhere.

        Raises:
            MissingResult: It lies nowhere.
        """
        raise MissingResult(
            self.why
            or "The run ended, but its value was not kept with its record: persist_result=True was not given to its "
            "flow or task, or the value could not be stored, which its log says."
        )

    def __repr__(self) -> str:
        return "<not kept>"


def plain(data: Any) -> Any:
    """Give *data* with the states it consists of replaced by their results."""
    if isinstance(data, STATES):
        return data.result()
    return type(data)([state.result() for state in data]) if states_in(data) else data


def states_in(value: Any) -> bool:
    """Tell whether *value* is a list, tuple or set that holds states and nothing else."""
    return isinstance(value, COLLECTIONS) and bool(value) and all(isinstance(item, State) for item in value)


def unsuccessful(state: State[Any]) -> bool:
    """Tell whether *state* stands for an exception: the run failed, crashed, was cancelled or never started."""
    return state.type in UNSUCCESSFUL or isinstance(state.data, UpstreamTaskError)


def exception_of(state: State[Any]) -> BaseException:
    """
    Give the exception that an unsuccessful *state* stands for.

    The exception it carries; that of the first unsuccessful state it carries; else one of FailedRun,
    CrashedRun, CancelledRun with the state's message.

    Raises:
        ValueError: *state* is not an unsuccessful one.
    """
    if not unsuccessful(state):
        raise ValueError(f"{state} is not a failed, crashed or cancelled state; it has no exception.")
    data: Any = state.data
    if isinstance(data, BaseException):
        error: BaseException = data
        return error
    if isinstance(data, STATES) or states_in(data):
        inners: Iterable[State[Any]] = [data] if isinstance(data, STATES) else data
        for inner in inners:
            if unsuccessful(inner):
                return exception_of(inner)
    wrapper, default = UNSUCCESSFUL[state.type]
    return wrapper(data if isinstance(data, str) else state.message or default)


def combine(states: Iterable[State[Any]], data: Any) -> State[Any]:
    """
    Judge a run that returned *states* of other runs.

    COMPLETED when all are; else CANCELLED when one is, PAUSED when one is, else FAILED. The message counts them.
    """
    states = list(states)
    total = len(states)

    def count(kind: StateType) -> int:
        return sum(state.type is kind for state in states)

    if count(StateType.COMPLETED) == total:
        return State(StateType.COMPLETED, message="All states completed.", data=data)
    if cancelled := count(StateType.CANCELLED):
        return State(StateType.CANCELLED, message=f"{cancelled}/{total} states cancelled.", data=data)
    if paused := count(StateType.PAUSED):
        return State(StateType.PAUSED, message=f"{paused}/{total} states paused.", data=data)
    if failed := sum(state.type in UNSUCCESSFUL for state in states):
        return State(StateType.FAILED, message=f"{failed}/{total} states failed.", data=data)
    unfinished = sum(not state.is_final() for state in states)
    return State(StateType.FAILED, message=f"{unfinished}/{total} states are not final.", data=data)
