"""
Cancelling: a durable run that no process has ends where it is, so that nobody takes it up any more.

One in progress is asked instead, through its store, and ended by the process that has it.
"""

from __future__ import annotations

from headrace._model.events import CANCELLED
from headrace._model.records import FlowRun
from headrace._owners import PROCESS, dead
from headrace._ports import Batch, Store
from headrace._rewriting import entering
from headrace._rounds import crash
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
    row = entering(found[0], CANCELLED, now, why, epoch=epoch)
    try:
        await store.append(Batch([row], strict=True, fences={run.id: epoch}, released=[run.id]))
    except StaleRuns:
        raise RunHeld(run.id, None) from None
    return True
