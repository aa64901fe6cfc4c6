"""Errors as objects: what they say and carry stays with them on the way to another process."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from headrace import errors, flow
from headrace.errors import HeadraceError, ParameterBindError
from headrace.errors.signals import SignalTimeout

MADE: list[BaseException] = [
    errors.AmbiguousRunId("flow", "3f", ["3f2a (a)", "3f2b (b)"]),
    errors.CancelledRun("cancelled"),
    errors.CorruptResult("/results under 'k'", "it was cut short"),
    errors.CrashLoop("3f2a", 5),
    errors.CrashedRun("crashed"),
    errors.CrewGone("Flow run 'calm-otter'", "the request went away"),
    errors.DatabaseTooNew("/runs.db", 9, 1),
    errors.DurableError("cannot go on"),
    errors.FailedRun("failed"),
    errors.FlowRunTimeoutError("took too long", "3f2a"),
    errors.HashError("no key"),
    errors.HeadraceError("ours"),
    errors.InvalidNameError("flow", "a/b", "/%"),
    errors.LimitError("no slots"),
    errors.LimitNotFound("api"),
    errors.LimitTooSmall("api", 1, 2),
    errors.LostRun("3f2a"),
    errors.MappingLengthMismatch("add", {"a": "3", "b": "2"}),
    errors.MappingMissingIterable("add", {"a": "1"}),
    errors.MissingContextError("get_run_logger()"),
    errors.MissingExtra("Sending spans", "otlp"),
    errors.MissingResult("gone"),
    errors.NoDatabaseYet("/runs.db"),
    errors.NonDeterministicFlow("Flow run 'a'", ["b(1)"], ["b(2)"]),
    errors.NonDeterministicItems("Task run 'a'", 3, "1", "2"),
    errors.NotARate("api"),
    errors.NotPausedError("3f2a", "it has ended, and is Completed()"),
    errors.NotPicklable("Argument x=1 of task 'add'", "it is a lambda", "Hand over data."),
    errors.NotResumable("3f2a", "it has ended", "Run it anew."),
    errors.NothingKept(),
    errors.FlowPauseTimeout("nimble-falcon", "3f2a", 60),
    errors.InvalidRunInput("3f2a", [("approved", "It is missing."), ("", "5 is not an object.")]),
    errors.PauseContextError("this is a task. Pause in the flow."),
    errors.OptionError("out of bounds"),
    errors.OptionTypeError("of the wrong type"),
    errors.ParameterBindError("task", "add", "missing a required argument: 'b'", "(a, b)"),
    errors.ParameterTypeError("report", [("day", "not a date"), ("copies", "not an int")]),
    errors.PausedRun("paused"),
    errors.RecordedError("ValueError", "no"),
    errors.ReservedArgumentError("task", "add", "wait_for"),
    errors.ResultNotFound("/results", "k"),
    errors.ResultStorageError("/results", "No space left on device"),
    errors.RunCancelled("Flow run 'calm-otter'", "Ctrl-C"),
    errors.NotForkable("3f2a", "it was not durable", "Run its flow anew."),
    errors.NotRetryable("3f2a", "it has completed", "Fork it."),
    errors.ResultMisfit("3f2a", "charge", "'x' is no number"),
    errors.ResultNotSet("3f2a", "it has completed", "Fork it."),
    errors.StepNotFound("3f2a", "chrage", ["charge", "ship"]),
    errors.RunEnded("calm-otter", "Completed()"),
    errors.RunHeld("3f2a", "vm:12:34:ab", 3.0),
    errors.RunNameError("no such parameter"),
    errors.RunNotFound("flow", "3f"),
    errors.RunTimeoutError("took too long", "3f2a"),
    errors.RunningLoopError("run()", "await"),
    errors.RuntimeUseError("it has ended"),
    errors.SerializationError("a lock has no form"),
    errors.SettingError("HEADRACE_LOG_LEVEL", "loud", "INFO"),
    errors.SlotTimeout("'api'", 1.5),
    errors.SourceTooLong("add", 10),
    errors.SpentSource("add", "a", "it is the same iterator as b"),
    errors.StartingError(),
    errors.StoreUnavailable("/runs.db", "disk full", "Make room."),
    errors.StreamUseError("add", "it was used before"),
    errors.SubmissionError("task", "add", "submit"),
    errors.TaskRunTimeoutError("took too long", "3f2a"),
    errors.TerminationSignal(),
    errors.TransactionError("it is over"),
    errors.UnfinishedRun("running"),
    errors.UntrustedResult("/results", "pickle"),
    errors.UpstreamTaskError("Task run 'b'", "3f2a", "a", "Failed()"),
    errors.WaitCircleError("Task run 'b'"),
    errors.WaitTimeoutError("Task run 'b'", 1.5),
    errors.WorkerDied("Task run 'b'", "3f2a", "was killed by SIGKILL"),
    errors.WorkerStartError("no memory"),
]
OWN = (
    "problems",
    "recorded",
    "asked",
    "owner",
    "kind",
    "run_id",
    "where",
    "reason",
    "code",
    "msg",
    "errno",
    "strerror",
    "args",
    "__notes__",
)


def told(error: BaseException) -> dict[str, Any]:
    """What *error* carries that a reader can ask for."""
    return {name: getattr(error, name) for name in OWN if hasattr(error, name)} | {"all": vars(error)}


def test_each_error_is_made_here() -> None:
    assert sorted(type(error).__name__ for error in MADE) == sorted(errors.__all__)


@pytest.mark.parametrize("error", MADE, ids=lambda error: type(error).__name__)
def test_an_error_says_and_carries_the_same_after_a_journey(error: BaseException) -> None:
    error = copy.copy(error)
    error.add_note("in Oslo")

    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        back = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own bytes
        assert type(back) is type(error)
        assert (str(back), told(back)) == (str(error), told(error))


class Outside(HeadraceError, KeyError):
    """An error that an application derives from ours."""

    def __init__(self, table: str, column: str) -> None:
        self.column = column
        super().__init__(f"{table} has no {column}")


def test_an_error_derived_from_ours_travels_as_well() -> None:
    back = pickle.loads(pickle.dumps(Outside("prices", "day")))  # noqa: S301 - our own bytes

    assert (type(back), back.args, back.column) == (Outside, ("prices has no day",), "day")


@flow
def add(a: int, b: int) -> int:
    return a + b


def wrongly_called() -> None:
    call: Any = add
    call(1)


def test_a_pool_of_processes_gives_the_error_of_a_wrong_call_back() -> None:
    with (
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
        pytest.raises(ParameterBindError, match=r"The flow 'add' cannot be called like this: .*'b'"),
    ):
        pool.submit(wrongly_called).result()


def test_a_signal_that_did_not_come_is_named_as_a_shell_reads_it() -> None:
    assert str(SignalTimeout("ready", 5, "3f2a1b2c4d")).endswith("headrace flow-run signal 3f2a1b2c ready")
    assert str(SignalTimeout("it's ready", 5, "3f2a1b2c4d")).endswith("""signal 3f2a1b2c 'it'"'"'s ready'""")
