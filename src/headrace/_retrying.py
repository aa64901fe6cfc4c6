"""
Retrying by hand: a durable run that came to a bad end goes on under its own id, as another attempt.

What it has on record stays there, and what has failed counts no more, as in a retry that the flow's own policy makes.
Which process goes on with it, of those that are told to, is decided as for a run that was left behind.
"""

from __future__ import annotations

from headrace._engine.journal import Journal
from headrace._engine.past import PARAMETERS, Past
from headrace._model.events import AWAITING_RETRY
from headrace._model.records import FlowRun, Owned, StoredResult
from headrace._model.steps import step_id
from headrace._owners import PROCESS
from headrace._ports import Batch, Host, Store
from headrace._resuming import (
    Claim,
    about_to_begin,
    called_with,
    claims,
    code_of,
    ended_in,
    follow,
    has_ended,
    held,
    log,
    one_of,
    refuse_part,
    refuse_plain,
)
from headrace._rewriting import ANEW, BY_HAND, entering
from headrace._rounds import crash
from headrace._suspects import given_up, steps_in, whole
from headrace.errors import NotResumable, NotRetryable, RunHeld, StaleRuns


async def reclaimed(host: Host, journal: Journal, run_id: str, anew: bool) -> Claim:
    """
    Have the run *run_id*, which has ended or was left behind, be this process's, in another attempt.

    Args:
        anew: Whether nothing that it did before counts.

    Raises:
        DurableError, RunNotFound, AmbiguousRunId: It cannot go on here; says why. Nothing has changed.
    """

    async def look(store: Store) -> tuple[FlowRun, Owned | None, StoredResult | None]:
        run, owned = await looked_at(store, journal, run_id)
        key = f"{run.id} {PARAMETERS}"
        return run, owned, (await store.results.recall([key])).get(key)

    run, owned, kept = await host.with_store(journal, look)
    flow = code_of(run, NotRetryable)
    args, kwargs = called_with(run.id, kept, journal, NotRetryable)

    async def taking(store: Store) -> Past:
        return await reopened(store, journal, run, owned, anew)

    past: Past = await host.with_store(journal, taking)
    if anew:
        log.info("Flow run %r runs anew, as attempt %d", run.name, run.run_count + 1)
    else:
        log.info("Flow run %r is retried, with %d finished steps on record", run.name, ended_in(past))
    return flow, past, args, kwargs


async def looked_at(
    store: Store, journal: Journal, run_id: str, refused: type[NotResumable] = NotRetryable
) -> tuple[FlowRun, Owned | None]:
    """
    Give the run *run_id*, which came to a bad end or was left behind; in the latter case with who had it.

    Raises:
        RunNotFound, AmbiguousRunId: It is none, or several.
        NotResumable: As *refused*: it was not durable, is part of another, has completed, or rests.
        RunHeld: Somebody has it.
    """
    run = await one_of(store, run_id)
    refuse_plain(run, refused)
    refuse_part(run, refused)
    if run.state.is_completed():
        raise refused(run.id, "it has completed", f"Run its flow anew, or fork it: headrace flow-run fork {run.id[:8]}")
    owned = await store.owners.one(run.id)
    if owned is not None and not owned.suspended:
        seconds = held(owned, await store.owners.leases(PROCESS), journal)
        if seconds is not None and not given_up(run, owned):
            raise RunHeld(run.id, owned.owner, seconds)
    elif not has_ended(run):
        raise refused(run.id, f"it is {run.state.name}", f"See it: headrace flow-run inspect {run.id[:8]}")
    return run, owned


async def reopened(store: Store, journal: Journal, run: FlowRun, owned: Owned | None, anew: bool) -> Past:
    """
    Have this process have *run*, and have that be on record as another attempt of it; give what else is.

    Raises:
        RunHeld: Somebody else was faster.
    """
    if about_to_begin(run.id):
        raise RunHeld(run.id, journal.owner)
    now, steps = journal.now(), await steps_in(store, run)
    epoch = (run.epoch if owned is None else owned.epoch) + 1
    past = claims[run.id] = Past(run.id, epoch)
    try:
        if owned is None:
            taken = await store.owners.reopen(Owned(run.id, journal.owner, epoch, now, 0, steps))
        else:
            taken = await store.owners.take(owned, journal.owner, now=now, crashes=0, steps=steps)
        if not taken:
            raise RunHeld(run.id, None)
        if run.end_time is None:
            for flow in await whole(store, run):
                await crash(store, flow, now)
            run = await one_of(store, run.id)
        count = run.run_count + 1
        # Named otherwise, it finds nothing of what it called before, and nothing that it drew.
        name = step_id(run.id, "attempt", None, count) if anew else run.step_id
        row = entering(
            run,
            AWAITING_RETRY,
            now,
            ANEW if anew else BY_HAND,
            run_count=count,
            step_id=name,
            owner=journal.owner,
            epoch=epoch,
        )
        await store.append(Batch([row], strict=True, fences={run.id: epoch}))
        await past.load(store)
        follow(past)
    except BaseException as error:
        claims.pop(run.id, None)
        if isinstance(error, StaleRuns):
            raise RunHeld(run.id, None) from None
        raise
    return past
