"""
Sealing: a step whose record is committed with rows of the user's, on the user's connection. What is no step meanwhile,
and what its run may come to afterwards.

While that transaction is open, the run *holds* a lock that a commit of ours may wait for, and the journal writes no row
of it: one that waited would be written over the record. Once it is committed, the step is *sealed*, and no end of its
run changes the record.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from copy import copy
from typing import Any

from headrace._engine.fold import fold
from headrace._engine.runs import Run, TaskRunning
from headrace._model import outcomes
from headrace._model.events import COMPLETED
from headrace._model.records import StoredResult
from headrace._model.states import State
from headrace._ports import Batch
from headrace.errors.steps import StepCommitted, StepTransactionError


def holds(run: Run) -> bool:
    """Tell whether a step transaction is open in *run*."""
    past = run.scope.past
    return past is not None and run.id in past.holding


def refuse_within(run: Run, holding: Collection[str]) -> None:
    """
    See that *run* was not called in a step transaction: it would wait for a commit that waits for the transaction.

    Raises:
        StepTransactionError: It was.
    """
    for above in run.ancestors():
        if above.id in holding:
            run.settles = False  # nor does its failure wait
            raise within(above, f"calls {run.spec.kind} {run.spec.name!r}")


def within(run: Run, what: str) -> StepTransactionError:
    """Give the error for *what* the block of *run* does, and may not."""
    return StepTransactionError(
        run.label, f"{what}, which would wait for its end", "Do that before or after the block."
    )


def ended(run: TaskRunning, kept: StoredResult, at: int) -> Batch:
    """Give the rows that the journal would write, had *run* ended *at* that time with the value *kept*."""
    told = copy(run)
    told.transitions, told.recorded, told.kept, told.inherited = list(run.transitions or ()), kept, None, False
    batch, _ = fold([(told, COMPLETED, at, None)])
    return batch


def see_sealed(run: Run, state: State[Any], sealed: Mapping[Run, str]) -> None:
    """
    See that *run*, which is about to end in *state*, has not failed after it was sealed.

    A thread that was left behind in its block commits nothing from here on: it looks at this after it has said that it
    is about to.

    Raises:
        StepCommitted: It has.
    """
    run.inherited = False
    if run not in sealed or not state.is_failed():
        return
    cause, error = state.data, state.data
    if not isinstance(cause, StepTransactionError):
        error = StepCommitted(run.label, f"failed with {type(cause).__name__}")
        error.__cause__ = cause
    run.ended, run.final = True, outcomes.from_error(run.spec.kind, error, run.id)  # for who looks at its future
    raise error


def see_same(run: Run, sealed: Mapping[Run, str]) -> None:
    """
    See that *run*, which has completed, has come to what it was sealed with.

    Raises:
        StepCommitted: It has come to something else.
    """
    if run in sealed and run.recorded.digest != sealed[run]:
        raise StepCommitted(run.label, "returned something else than returns() was given")
