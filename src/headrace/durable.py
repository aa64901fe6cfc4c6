"""
Durable flows, for users: values that are the same at each resume, sources that are read on from where they were, and
runs that go on after their process has ended.

`@flow(durable=True)` makes a flow durable.
"""

from __future__ import annotations

import random as generator
import uuid as identifiers
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from headrace import _runtime
from headrace._engine.context import current_run
from headrace._engine.life import drive
from headrace._forking import forked
from headrace._resuming import Claim, claimed, going_on
from headrace._retrying import reclaimed
from headrace._setting_results import result_set
from headrace._sources import Cursor
from headrace._step_transactions import StepTransaction, step_transaction
from headrace.errors import (
    CrashLoop,
    DurableError,
    LostRun,
    NonDeterministicFlow,
    NonDeterministicItems,
    NotForkable,
    NotResumable,
    NotRetryable,
    RecordedError,
    ResultMisfit,
    ResultNotSet,
    RunHeld,
    StepNotFound,
)
from headrace.errors.durable import Suspended
from headrace.errors.steps import CommitInDoubt, StepCommitted, StepTransactionError
from headrace.sync import run

__all__ = [
    "CommitInDoubt",
    "CrashLoop",
    "Cursor",
    "DurableError",
    "LostRun",
    "NonDeterministicFlow",
    "NonDeterministicItems",
    "NotForkable",
    "NotResumable",
    "NotRetryable",
    "RecordedError",
    "ResultMisfit",
    "ResultNotSet",
    "RunHeld",
    "StepCommitted",
    "StepNotFound",
    "StepTransaction",
    "StepTransactionError",
    "Suspended",
    "fork",
    "now",
    "random",
    "resume",
    "retry",
    "set_result",
    "step_transaction",
    "uuid",
]


def now() -> datetime:
    """Give the time, in UTC to the microsecond; in a durable flow the same at each resume."""
    return datetime.fromisoformat(drawn("now", lambda: datetime.now(UTC).isoformat()))


def random() -> float:
    """Draw a number in [0, 1); in a durable flow the same at each resume."""
    return float(drawn("random", generator.random))


def uuid() -> identifiers.UUID:
    """Draw a UUID of version 4; in a durable flow the same at each resume."""
    return identifiers.UUID(drawn("uuid", lambda: str(identifiers.uuid4())))


def drawn(what: str, draw: Callable[[], Any]) -> Any:
    """Draw, or give what was drawn here before; outside of durable runs just draw."""
    around = current_run.get()
    past = None if around is None else around.scope.past
    return draw() if past is None else past.drawn(around, what, draw)


def resume(run_id: str) -> Any:
    """
    Go on with the durable flow run *run_id*, which its process has left behind; gives what it returns.

    The beginning of an id will do. Its flow is that of this program, or loaded from where it was defined. Blocks until
    the run has ended; `await headrace.aio.resume(...)` in async code.

    Raises:
        RunNotFound, AmbiguousRunId: There is no such run, or several begin alike.
        NotResumable: It was not durable, has ended, or its code or parameters are not to be found.
        RunHeld: A process that lives, or may live, has it.
        NonDeterministicFlow: The code asked for other steps than those on record.
        CrashLoop: Five processes in a row ended while they ran it.
        Exception: What the flow raises.
    """
    host = _runtime.thread_host.here("headrace.durable.resume", "`await headrace.aio.resume(...)`")
    return ended(drive(claimed(host, _runtime.journal_here(), run_id)))


def retry(run_id: str, *, whole: bool = False) -> Any:
    """
    Go on with the durable flow run *run_id*, which failed, crashed or was cancelled; gives what it returns.

    It is another attempt under the same id. What has completed in it is not run again, and what failed, was cancelled
    or lost a race is. Blocks until the run has ended; `await headrace.aio.retry(...)` in async code.

    Args:
        run_id: The beginning of an id will do.
        whole: Have nothing that it did before count: all is run, drawn and received anew.

    Raises:
        RunNotFound, AmbiguousRunId: There is no such run, or several begin alike.
        NotRetryable: It has completed, was not durable, or its code or parameters are not to be found.
        RunHeld: A process that lives, or may live, has it, or was faster.
        NonDeterministicFlow: The code asked for other steps than those on record.
        Exception: What the flow raises.
    """
    host = _runtime.thread_host.here("headrace.durable.retry", "`await headrace.aio.retry(...)`")
    return ended(drive(reclaimed(host, _runtime.journal_here(), run_id, whole)))


def fork(run_id: str, *, from_task: str | None = None) -> Any:
    """
    Have a new durable run go on from what *run_id* did; gives what it returns.

    It has an id and a trace of its own, and on record all that had ended when the step *from_task* began, which is not
    run again. Blocks until the new run has ended; `await headrace.aio.fork(...)` in async code.

    Args:
        run_id: The beginning of an id will do. It may have ended, well or not, or be in progress.
        from_task: A step's id or name, or the task or flow that it is a call of, then the first one. None: from the end
            of what is on record; of a run that failed or was cancelled, from what did not complete.

    Raises:
        RunNotFound, AmbiguousRunId: There is no such run, or several begin alike.
        StepNotFound: It has no such step on record.
        NotForkable: It was not durable, or its code or parameters are not to be found.
        NonDeterministicFlow: The code asked for other steps than those on record.
        Exception: What the flow raises.
    """
    host = _runtime.thread_host.here("headrace.durable.fork", "`await headrace.aio.fork(...)`")
    return ended(drive(forked(host, _runtime.journal_here(), run_id, from_task)))


def set_result(run_id: str, task: str, value: Any) -> None:
    """
    Have a step of the durable flow run *run_id*, which failed or has not ended, have completed with *value*.

    The run, which came to a bad end or was left behind, stays as it is; it goes on behind that step once it is retried
    or resumed. `await headrace.aio.set_result(...)` in async code.

    Args:
        run_id: The beginning of an id will do.
        task: A step's id or name, or the task or flow that it is a call of, then the first that has not completed.
        value: Made to fit what the function is annotated to return.

    Raises:
        RunNotFound, AmbiguousRunId: There is no such run, or several begin alike.
        StepNotFound: It has no such step on record.
        ResultNotSet: The run has completed or was not durable, or the step has completed.
        RunHeld: A process that lives, or may live, has the run.
        ResultMisfit: *value* does not fit what the function returns.
        SerializationError: *value* has no form in which it could be kept.
    """
    host = _runtime.thread_host.here("headrace.durable.set_result", "`await headrace.aio.set_result(...)`")
    drive(result_set(host, _runtime.journal_here(), run_id, task, value))


def ended(claim: Claim) -> Any:
    """Go on with the run of *claim*, to its end; give what it returns."""
    flow, past, args, kwargs = claim
    if flow.spec.is_async:
        return going_on(past, lambda: run(flow(*args, **kwargs)))  # run makes the context of the coroutine of its own
    return going_on(past, lambda: flow(*args, **kwargs))
