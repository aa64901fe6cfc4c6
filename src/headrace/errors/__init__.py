"""Errors: every exception Headrace raises, each building its own sentence. Decides nothing, catches nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headrace.errors.base import HeadraceError, OptionError, OptionTypeError, taken_apart
from headrace.errors.base import nearest as nearest
from headrace.errors.base import rebuilt as rebuilt
from headrace.errors.base import short as short
from headrace.errors.base import wrong_type as wrong_type
from headrace.errors.durable import (
    CrashLoop,
    DurableError,
    FlowPauseTimeout,
    InvalidRunInput,
    LostRun,
    NonDeterministicFlow,
    NonDeterministicItems,
    NotForkable,
    NotPausedError,
    NotResumable,
    NotRetryable,
    PauseContextError,
    RecordedError,
    ResultMisfit,
    ResultNotSet,
    RunHeld,
    StepNotFound,
)
from headrace.errors.durable import StaleRuns as StaleRuns
from headrace.errors.durable import Suspended as Suspended
from headrace.errors.limits import LimitError, LimitNotFound, LimitTooSmall, NotARate, SlotTimeout
from headrace.errors.results import (
    CorruptResult,
    DatabaseTooNew,
    HashError,
    MissingResult,
    NoDatabaseYet,
    NothingKept,
    ResultNotFound,
    ResultStorageError,
    SerializationError,
    StoreUnavailable,
    TransactionError,
    UntrustedResult,
)
from headrace.errors.results import Occupied as Occupied

__all__ = [
    "AmbiguousRunId",
    "CancelledRun",
    "CorruptResult",
    "CrashLoop",
    "CrashedRun",
    "CrewGone",
    "DatabaseTooNew",
    "DurableError",
    "FailedRun",
    "FlowPauseTimeout",
    "FlowRunTimeoutError",
    "HashError",
    "HeadraceError",
    "InvalidNameError",
    "InvalidRunInput",
    "LimitError",
    "LimitNotFound",
    "LimitTooSmall",
    "LostRun",
    "MappingLengthMismatch",
    "MappingMissingIterable",
    "MissingContextError",
    "MissingExtra",
    "MissingResult",
    "NoDatabaseYet",
    "NonDeterministicFlow",
    "NonDeterministicItems",
    "NotARate",
    "NotForkable",
    "NotPausedError",
    "NotPicklable",
    "NotResumable",
    "NotRetryable",
    "NothingKept",
    "OptionError",
    "OptionTypeError",
    "ParameterBindError",
    "ParameterTypeError",
    "PauseContextError",
    "PausedRun",
    "RecordedError",
    "ReservedArgumentError",
    "ResultMisfit",
    "ResultNotFound",
    "ResultNotSet",
    "ResultStorageError",
    "RunCancelled",
    "RunEnded",
    "RunHeld",
    "RunNameError",
    "RunNotFound",
    "RunTimeoutError",
    "RunningLoopError",
    "RuntimeUseError",
    "SerializationError",
    "SettingError",
    "SlotTimeout",
    "SourceTooLong",
    "SpentSource",
    "StartingError",
    "StepNotFound",
    "StoreUnavailable",
    "StreamUseError",
    "SubmissionError",
    "TaskRunTimeoutError",
    "TerminationSignal",
    "TransactionError",
    "UnfinishedRun",
    "UntrustedResult",
    "UpstreamTaskError",
    "WaitCircleError",
    "WaitTimeoutError",
    "WorkerDied",
    "WorkerStartError",
]


# -- decoration ---------------------------------------------------------------------------------------------


class InvalidNameError(OptionError):
    """A name holds a character that paths and URLs give a meaning to."""

    def __init__(self, what: str, name: str, banned: str) -> None:
        super().__init__(
            f"The {what} name {name!r} holds one of {' '.join(banned)}, which a name must not. Leave it out."
        )


class ReservedArgumentError(OptionTypeError):
    """The user's function has a parameter whose name the call itself needs."""

    def __init__(self, what: str, function: str, argument: str) -> None:
        super().__init__(
            f"The {what} {function!r} has a parameter named {argument!r}, which every call of a {what} takes for "
            f"itself. Rename the parameter."
        )


class SettingError(HeadraceError, ValueError):
    """An environment variable of ours holds a value it cannot have."""

    def __init__(self, name: str, value: str, wanted: str) -> None:
        super().__init__(f"{name} is {value!r}; it must be {wanted}. Change or unset it.")


# -- calls --------------------------------------------------------------------------------------------------


class ParameterBindError(HeadraceError, TypeError):
    """The arguments of a call do not fit the signature."""

    def __init__(self, what: str, name: str, reason: str, signature: str) -> None:
        super().__init__(
            f"The {what} {name!r} cannot be called like this: {reason}. Its signature is {name}{signature}."
        )


class ParameterTypeError(HeadraceError, TypeError):
    """A flow's parameters do not fit its annotations; names each of them."""

    def __init__(self, flow: str, problems: Iterable[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        lines = "".join(f"\n - {name}: {reason}" for name, reason in self.problems)
        super().__init__(f"The flow {flow!r} received invalid parameters:{lines}")


class RunNameError(HeadraceError, ValueError):
    """A run-name template or callable failed."""


class MissingContextError(HeadraceError, RuntimeError):
    """Something that needs a run was asked for outside of one."""

    def __init__(self, asked: str) -> None:
        super().__init__(
            f"{asked} is only there inside a flow or task run, and none is active here. "
            f"Ask for it in a function decorated with @flow or @task."
        )


class StartingError(HeadraceError, RuntimeError):
    """A run was begun too early: by a module that Headrace, or a worker process, was just importing."""

    def __init__(self, worker: str | None = None) -> None:
        super().__init__(
            "A flow or task was called while Headrace was starting. Is there a file of yours named like a module of "
            "the standard library (uuid.py, random.py)? Rename it."
            if worker is None
            else f"{worker} imports the program that started it, and that program calls a flow or task whenever it is "
            f"imported. Put what it is to do as a program below: if __name__ == '__main__':"
        )


class RunningLoopError(HeadraceError, RuntimeError):
    """A blocking call was made on the thread of a running event loop."""

    def __init__(self, asked: str, instead: str) -> None:
        super().__init__(f"{asked} would block the event loop that runs on this thread. Write {instead} instead.")


# -- outcomes -----------------------------------------------------------------------------------------------


class RunTimeoutError(HeadraceError, TimeoutError):
    """
    A run took longer than its *timeout_seconds*; what TaskRunTimeoutError and FlowRunTimeoutError share.

    Attributes:
        run_id: The run that did. Those it was called by fail with the same exception, but did not time out.
    """

    def __init__(self, message: str, run_id: str = "") -> None:
        self.run_id = run_id
        super().__init__(message)


class TaskRunTimeoutError(RunTimeoutError):
    """A task run took longer than its *timeout_seconds*."""


class FlowRunTimeoutError(RunTimeoutError):
    """A flow run took longer than its *timeout_seconds*."""


class FailedRun(HeadraceError):
    """The result of a run that failed without an exception was asked for."""


class CrashedRun(HeadraceError):
    """
    The result of a run that crashed was asked for.

    Attributes:
        run_id: Its id, where that is known.
    """

    def __init__(self, message: str, run_id: str = "") -> None:
        self.run_id = run_id
        super().__init__(message)


class WorkerDied(CrashedRun):
    """The worker process in which the body of a run was at work has died."""

    def __init__(self, name: str, run_id: str, how: str) -> None:
        super().__init__(f"{name} crashed: its worker process {how}", run_id)


class CancelledRun(HeadraceError):
    """
    A run was cancelled: what its caller gets, and who asks for its result.

    Attributes:
        run_id: Its id, where that is known.
    """

    def __init__(self, message: str, run_id: str = "") -> None:
        self.run_id = run_id
        super().__init__(message)


class RunCancelled(BaseException):
    """
    The run that code is in is to stop: raised once in a blocking body, where it next waits, calls or submits.

    No Exception, as asyncio.CancelledError is none, so that no handler of errors takes it for one.
    """

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} is to stop: {why}.")

    def __reduce__(self) -> tuple[Any, ...]:
        return taken_apart(self)


class CrewGone(HeadraceError, RuntimeError):
    """Something was submitted in a flow run that has ended or is about to."""

    def __init__(self, name: str | None, why: str | None) -> None:
        whose = "The runtime" if name is None else name
        ends = f"is to stop ({why})" if why else "has ended"
        super().__init__(f"{whose} {ends}, so nothing can be submitted in it any more. Submit and wait while it runs.")


class SubmissionError(HeadraceError, RuntimeError):
    """Something was submitted where nobody would wait for it: outside of a flow run, with no runtime open."""

    def __init__(self, kind: str, name: str, method: str, worker: bool = False) -> None:
        where = "in a worker process, away from the flow run" if worker else "outside of a flow run"
        super().__init__(
            f"{name}.{method}() was called {where}, where nothing would wait for what it starts. Call it "
            f"in a function decorated with @flow, or inside `async with headrace.Runtime():`; or call the {kind} "
            f"directly: {name}(...)."
        )


class RuntimeUseError(HeadraceError, RuntimeError):
    """A `headrace.Runtime` is used in a way it cannot be."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"This Runtime cannot be used so: {reason}.")


class WaitTimeoutError(HeadraceError, TimeoutError):
    """What was waited for did not end in time; it goes on."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what} did not end within {seconds:g} s")


class WaitCircleError(HeadraceError, RuntimeError):
    """A run waits for itself, directly or through others."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} would wait for itself: what it waits for waits, directly or through others, for it. "
            f"Hand results down, and futures only to runs that nothing they stand for depends on."
        )


class MappingLengthMismatch(HeadraceError, ValueError):
    """Arguments of a map have different lengths."""

    def __init__(self, name: str, lengths: dict[str, str]) -> None:
        told = ", ".join(f"{parameter}: {length}" for parameter, length in lengths.items())
        super().__init__(
            f"{name} is mapped over arguments of different lengths ({told}). Make them equally long, or mark what "
            f"every call is to get as a whole: unmapped(...)."
        )


class MappingMissingIterable(HeadraceError, TypeError):
    """A map was given nothing to map over."""

    def __init__(self, name: str, parameters: dict[str, str]) -> None:
        told = ", ".join(f"{parameter}={value}" for parameter, value in parameters.items()) or "no arguments"
        super().__init__(
            f"{name} was given nothing to map over: {told}. Give a list or another iterable for at least one parameter."
        )


class SpentSource(HeadraceError, ValueError):
    """An iterator that was read to its end, or is given twice, is to be mapped over."""

    def __init__(self, name: str, parameter: str, reason: str) -> None:
        super().__init__(
            f"{name} cannot be mapped over {parameter}: {reason}. An iterator gives its items once; make a list of it "
            f"first, or a new one."
        )


class StreamUseError(HeadraceError, RuntimeError):
    """A stream is used in a way it cannot be."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"This stream of {name} cannot be iterated here: {reason}.")


class SourceTooLong(HeadraceError, ValueError):
    """An iterator to be mapped over does not end."""

    def __init__(self, name: str, limit: int) -> None:
        super().__init__(
            f"{name} was to be mapped over more than {limit:,} items, which map keeps until all are done. "
            f"Use {name}.stream(...), which keeps only those in progress."
        )


class NotPicklable(HeadraceError, TypeError):
    """Something of a run cannot be handed from one process to another."""

    def __init__(self, what: str, reason: str, remedy: str) -> None:
        super().__init__(f"{what} cannot be handed to another process: {reason}. {remedy}")


class WorkerStartError(HeadraceError, RuntimeError):
    """A worker process did not start."""

    def __init__(self, why: str) -> None:
        super().__init__(f"A worker process did not start: {why}.")


class PausedRun(HeadraceError):
    """The result of a run that is paused was asked for."""


class UnfinishedRun(HeadraceError):
    """The result of a run that has not ended was asked for."""


class UpstreamTaskError(HeadraceError):
    """
    A run was not started because one it waits for did not complete.

    Attributes:
        run_id: The run that was not started.
    """

    def __init__(self, name: str, run_id: str, upstream: str, state: object) -> None:
        self.run_id = run_id
        super().__init__(
            f"{name} was not started: the upstream run {upstream!r} it needs ended as {state}. "
            f"Handle that failure first, or leave the run out of the arguments and of wait_for."
        )


class TerminationSignal(SystemExit):
    """SIGTERM arrived while a flow ran. Leaves the process with status 143 once the run is recorded."""

    def __init__(self) -> None:
        super().__init__(143)

    def __reduce__(self) -> tuple[Any, ...]:
        return taken_apart(self)


# -- store --------------------------------------------------------------------------------------------------


class RunNotFound(HeadraceError, LookupError):
    """No run has this id."""

    def __init__(self, what: str, asked: str, remedy: str = "List them: headrace flow-run ls") -> None:
        super().__init__(f"No {what} run has an id that begins with {asked!r}. {remedy}")


class RunEnded(HeadraceError):
    """A run was to be cancelled that does not go on, or came to another end."""

    def __init__(self, name: str, state: object, *, dead: bool = False) -> None:
        found = (
            f"is in state {state} in the record, but its process ended without a word"
            if dead
            else f"has ended already, in state {state}"
        )
        super().__init__(f"Flow run {name!r} {found}. There is nothing left to cancel.")


class AmbiguousRunId(HeadraceError, LookupError):
    """Several runs have ids that begin alike."""

    def __init__(self, what: str, asked: str, found: Iterable[str]) -> None:
        super().__init__(
            f"Several {what} runs have ids that begin with {asked!r}: {', '.join(found)}. Give more of it."
        )


class MissingExtra(HeadraceError, ImportError):
    """Something needs packages that an extra of ours installs."""

    def __init__(self, wanted: str, extra: str) -> None:
        super().__init__(f'{wanted} needs packages that are not installed. Run: pip install "headrace[{extra}]"')
