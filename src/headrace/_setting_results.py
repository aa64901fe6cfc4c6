"""
Setting results by hand: a step of a durable run that failed or has not ended has completed with a value that is given.

The run itself stays as it is, failed or left behind, until it is retried or resumed, and then finds that on record.
"""

from __future__ import annotations

from typing import Any, Final

from headrace._decorated import FLOWS, TASKS
from headrace._engine.coercion import fit, kinds_of, reason
from headrace._engine.forms import packed
from headrace._engine.journal import Journal
from headrace._engine.past import Past
from headrace._engine.step_names import Recorded, called, transitions
from headrace._model.events import COMPLETED, CRASHED
from headrace._model.records import FlowRun, Owned, StoredResult, TaskRun
from headrace._ports import Batch, Host, Store
from headrace._resuming import about_to_begin, code_of, one_of
from headrace._retrying import looked_at
from headrace._rewriting import entering, flow_row, small, step_called, steps_of, task_row
from headrace._rounds import crash
from headrace._suspects import steps_in, whole
from headrace.errors import NotResumable, ResultMisfit, ResultNotSet, RunHeld, StaleRuns, StepNotFound

SET: Final = "Its result was set by hand"


async def result_set(host: Host, journal: Journal, run_id: str, step: str, value: Any) -> tuple[FlowRun, Recorded]:
    """
    Have the step *step* of the run *run_id* have completed with *value*; give the run and the step as they were.

    Args:
        step: As `step_called` finds it among those that have not completed.
        value: Made to fit what the function is annotated to return, if its code can be loaded.

    Raises:
        RunNotFound, AmbiguousRunId, ResultNotSet, RunHeld: It is not to be had of that run; says why.
        StepNotFound: It has no such step.
        ResultMisfit: The function does not return such a value.
        SerializationError: It cannot be kept.
    """

    async def look(store: Store) -> tuple[FlowRun, Owned | None, Recorded]:
        run, owned = await looked_at(store, journal, run_id, ResultNotSet)
        past = Past(run.id)
        await past.load(store)
        return run, owned, unfinished(run, past, step)

    run, owned, found = await host.with_store(journal, look)
    fitted = as_returned(run, found, value)
    vault = journal.ledger.vault

    def form() -> StoredResult:
        return packed(vault, found.id, found.id, called(found), journal.now(), fitted)

    kept: StoredResult = await host.aside(form) if vault.heavy(fitted) else form()

    async def write(store: Store) -> None:
        await written(store, journal, run, owned, rows_of(found, kept))

    await host.with_store(journal, write)
    return run, found


def unfinished(run: FlowRun, past: Past, asked: str) -> Recorded:
    """
    Give the step of *run* that is *asked* for.

    Raises:
        StepNotFound: There is none.
        ResultNotSet: It has completed.
    """
    steps = steps_of(run, past.runs.values())
    try:
        return step_called(asked, run.id, [one for one in steps if not one.state.is_completed()])
    except StepNotFound:
        known = step_called(asked, run.id, steps)
    step = f"Fork the run before it: headrace flow-run fork {run.id[:8]} --from {known.name}"
    raise ResultNotSet(run.id, f"its step {known.name!r} has completed", step)


def as_returned(run: FlowRun, step: Recorded, value: Any) -> Any:
    """
    Give *value* as the function of *step* returns it, as far as that is known here.

    Raises:
        ResultMisfit: It is nothing of that kind.
    """
    try:
        code_of(run)
    except NotResumable:
        return value  # it may be mended just now; when the run goes on, its caller sees what it gets
    known = TASKS if isinstance(step, TaskRun) else FLOWS
    kinds = [kinds_of(one.fn).get("return", Any) for one in list(known.values()) if one.spec.name == called(step)]
    if not kinds:
        return value
    try:
        return fit(value, kinds[-1])
    except Exception as error:
        raise ResultMisfit(run.id, step.name, reason(error, value, kinds[-1])) from None


def rows_of(step: Recorded, kept: StoredResult) -> Batch:
    """Give what is to be on record of *step*, which has come to what is *kept*."""
    went = [*transitions(step), (COMPLETED, kept.created, SET)]
    if isinstance(step, FlowRun):
        return Batch([flow_row(step, went, result_key=step.id)], results=[kept], strict=True)
    row = task_row(step, went, kept, result_key=step.id, cached_from=None)
    return Batch(task_runs=[row], results=[] if small(kept) else [kept], strict=True)


async def written(store: Store, journal: Journal, run: FlowRun, owned: Owned | None, batch: Batch) -> None:
    """
    Write *batch*, while this process alone has *run*; then let go of it.

    Raises:
        RunHeld: Somebody else was faster.
    """
    if about_to_begin(run.id):
        raise RunHeld(run.id, journal.owner)
    now, steps = journal.now(), await steps_in(store, run)
    epoch = (run.epoch if owned is None else owned.epoch) + 1
    batch.fences[run.id] = epoch
    if owned is None:
        taken = await store.owners.reopen(Owned(run.id, journal.owner, epoch, now, 0, steps))
        batch.released.append(run.id)
    else:
        taken = await store.owners.take(owned, journal.owner, now=now, crashes=0, steps=steps)
    if not taken:
        raise RunHeld(run.id, None)
    if owned is not None:
        for flow in await whole(store, run):
            if flow.end_time is None:
                await crash(store, flow, now)
        run = await one_of(store, run.id)
        # Crashed under the epoch in force, it is left behind, whoever lives.
        if run.end_time is None:
            row = entering(run, CRASHED, now, "Its process ended before it did", epoch=epoch)
        else:
            row = flow_row(run, transitions(run), epoch=epoch)
        batch.flow_runs.append(row)
    try:
        await store.append(batch)
    except StaleRuns:
        raise RunHeld(run.id, None) from None
