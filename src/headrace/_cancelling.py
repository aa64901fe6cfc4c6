"""
Cancelling: a durable run that no process has ends where it is, so that nobody takes it up any more.

One in progress is asked instead, through its store, and ended by the process that has it.
"""

from __future__ import annotations

from typing import Any

from headrace._engine.step_names import transitions
from headrace._model.events import CANCELLED, Stamp, history
from headrace._model.records import FlowRun, nanoseconds
from headrace._owners import PROCESS, dead
from headrace._ports import Batch, Row, Store
from headrace._rounds import crash
from headrace._stores.rows import FLOW_COLUMNS
from headrace._suspects import given_up, whole
from headrace.errors import RunHeld, RunNotFound, StaleRuns


async def cancel_left_behind(store: Store, run: FlowRun, why: str, owner: str, now: int) -> bool:
    """
    Have *run* end as Cancelled if it was left behind or is suspended; tell whether it was. Leaves *store* open.

    The process *owner* takes it first, so that of several which take it up or cancel it one alone does. What was under
    way in it has crashed with its process, and what waited with it is cancelled, too. None of its code is run, hooks
    neither.

    Raises:
        RunHeld: A process that lives, or may live, has it, or was faster.
        RunNotFound: It was deleted meanwhile.
    """
    owned = await store.owners.one(run.id)
    if owned is None:
        return False
    free = owned.suspended or given_up(run, owned)
    if not (free or dead(owned.owner, await store.owners.leases(PROCESS), owned.since, now)):
        raise RunHeld(run.id, owned.owner)
    if not await store.owners.take(owned, owner, now=now, crashes=owned.crashes, steps=owned.steps):
        raise RunHeld(run.id, None)
    for flow in await whole(store, run):
        if flow.end_time is None and owned.suspended:
            await store.crash(flow, why, now, CANCELLED)
        elif flow.end_time is None:
            await crash(store, flow, now)
    found = await store.flow_runs(begins=run.id, limit=1)
    if not found:
        raise RunNotFound("flow", run.id, "It was deleted meanwhile.")
    epoch = owned.epoch + 1
    row = row_at_end(found[0], CANCELLED, now, why, epoch)
    try:
        await store.append(Batch([row], strict=True, fences={run.id: epoch}, released=[run.id]))
    except StaleRuns:
        raise RunHeld(run.id, None) from None
    return True


def row_at_end(run: FlowRun, stamp: Stamp, at: int, why: str, epoch: int) -> Row:
    """Give the row of *run*, which is on record, once it has ended under *stamp*; written under *epoch*."""
    went = transitions(run)
    if not went or went[-1][0] != stamp:
        went.append((stamp, at, why))
    changed: dict[str, Any] = {
        "state_type": stamp[0],
        "state_name": stamp[1],
        "message": why,
        "created": went[0][1],
        "start_time": None if run.start_time is None else nanoseconds(run.start_time),
        "end_time": at,
        "tags": list(run.tags) or None,
        "parameters": run.parameters or None,
        "history": history(went),
        "epoch": epoch,
    }
    return [changed[name] if name in changed else getattr(run, name) for name in FLOW_COLUMNS]
