"""
Rounds: what the back office does now and then while runs are in progress: it looks for what others ask of them, holds
its leases for longer, and learns which results there are.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, Protocol

from headrace._engine.journal import Journal
from headrace._engine.ledger import LEASE, Ledger
from headrace._engine.life import unloads
from headrace._engine.signals_lines import ring, waits, wake
from headrace._model.records import FlowRun, Owned, Request, nanoseconds
from headrace._owners import PROCESS, dead, gone
from headrace._ports import Store
from headrace._suspects import in_turn

LOOK_EVERY = 0.5  # seconds between looks for requests: half of the second in which one is promised to be heard
HEED_EVERY: Final = 0.02  # between looks at once, however many ring
KEYS: Final = 5_000  # of results, read at a time: 3 ms
RENEW_EVERY: Final = 5.0  # seconds
REMINDED_OF: Final = 100  # runs that were left behind, at most: each is a read of 0.2 ms
log: Final = logging.getLogger("headrace.store")
engine: Final = logging.getLogger("headrace.engine")
# The stores and flows for which a look was taken whether earlier runs were left behind.
reminded: Final[set[tuple[str, str]]] = set()


class Office(Protocol):
    """What of the back office is used here; its attributes say when each was last done, on the loop's clock."""

    store: Store
    journal: Journal
    busy: Any
    opened: bool
    deaf: bool
    beats: bool
    rung: bool
    learned: float
    renewed: float
    foreign: frozenset[str]


async def go(office: Office) -> None:
    """Go one round, but for `learn`, which has a time of its own."""
    heed(office)
    await look(office)
    await deliver(office)
    await rouse(office)
    await renew(office)
    await recover(office)


async def learn(office: Office, ledger: Ledger) -> None:
    """Have the ledger know which keys the store holds: at first all, some thousands at a time, then new ones."""
    now = asyncio.get_running_loop().time()
    if not office.opened:
        return
    if ledger.known.complete and ledger.larger is None and now - office.learned < LOOK_EVERY:
        return
    office.learned = now
    try:
        if ledger.known.full():
            ledger.grow()
        with office.busy:
            at = office.journal.now()
            await office.store.results.learn(ledger.known, KEYS)
            ledger.known_at = at
            if ledger.larger is not None:
                await office.store.results.learn(ledger.larger, KEYS)
                ledger.change_over()
    except Exception as error:
        ledger.known.version = None
        log.debug("The keys of results cannot be read: %s: %s", type(error).__name__, error)


async def renew(office: Office) -> None:
    """
    Hold the leases of this process for longer: those of results, and the one by which others see that it lives.

    One that cannot be renewed in time is lost, and taken over.
    """
    journal = office.journal
    ledger = journal.opened
    leases = () if ledger is None else list(ledger.leases)
    now = asyncio.get_running_loop().time()
    if not (leases or journal.live or journal.recovering) or not office.opened or now - office.renewed < RENEW_EVERY:
        return
    office.renewed = now
    try:
        with office.busy:
            at = journal.now()
            until = at + int(LEASE * 1e9)
            if leases:
                await office.store.results.renew(leases, journal.ledger.owner, until)
            if journal.live or journal.recovering is not None:
                office.beats = True
                await office.store.results.claim(f"{PROCESS}{journal.owner}", journal.owner, now=at, until=until)
        await reap(office)
        await remind(office)
    except Exception as error:
        log.debug("Leases could not be renewed: %s: %s", type(error).__name__, error)


async def reap(office: Office) -> None:
    """
    Have runs end as Crashed whose processes have ended without a word, or were silent for longer than their leases.

    Durable ones, too: they wait for somebody to take them up. Those of this process, and of its parent, are passed by.
    """
    journal = office.journal
    try:
        with office.busy:
            left = await office.store.unfinished()
            left = [run for run in left if run.owner != journal.owner and run.owner and run.id not in office.foreign]
            leases = await office.store.owners.leases(PROCESS) if left else {}
            # Oldest first, so that this tells when each took up its latest: long after that run began, and maybe just
            # before the owner's first lease.
            taken = {one.owner: one.since for one in await office.store.owners.listed()} if left else {}
            now = journal.now()
            for run in left:
                began = now if run.start_time is None else nanoseconds(run.start_time)
                since = max(began, taken.get(run.owner or "", 0))
                if dead(run.owner or "", leases, since, now):
                    await crash(office.store, run, now)
            for name in leases:
                owner = name.removeprefix(PROCESS)
                if gone(owner):
                    await office.store.results.release(name, owner)
    except Exception as error:
        log.debug("Runs whose processes ended cannot be looked for: %s: %s", type(error).__name__, error)


async def crash(store: Store, run: FlowRun, now: int) -> None:
    """Have *run*, whose process has ended, and what was under way in it end as Crashed."""
    await store.crash(run, f"Its process ended without a word: {run.owner}", now)


async def remind(office: Office) -> None:
    """
    Say, once for each durable flow that runs here, that an earlier run of it was left behind on this machine.

    Not where somebody takes up such runs by himself.
    """
    journal, where = office.journal, office.store.where
    running = {run.spec.name for run in list(journal.live.values()) if run.scope.past is not None}
    names = {name for name in running if (where, name) not in reminded}
    if not names or journal.recovering is not None:
        return
    reminded.update((where, name) for name in names)
    with office.busy:
        left = [one for one in await left_behind(office.store, journal) if gone(one.owner)]
        for one in left[:REMINDED_OF]:
            for run in await office.store.flow_runs(begins=one.run_id, limit=1):
                if run.flow_name in names:
                    names.remove(run.flow_name)
                    engine.info(
                        "An earlier run of flow %r, %r, was left behind unfinished. To go on with it: "
                        "headrace flow-run resume %s",
                        run.flow_name,
                        run.name,
                        run.id[:8],
                    )


async def leave(office: Office) -> None:
    """Give back the lease by which others see that this process lives."""
    if not office.beats:
        return
    office.beats = False
    try:
        await office.store.results.release(f"{PROCESS}{office.journal.owner}", office.journal.owner)
    except Exception as error:  # it ends by itself
        log.debug("The lease of this process could not be given back: %s: %s", type(error).__name__, error)


def heed(office: Office) -> None:
    """Where another process has rung, have the slots of limits settled anew: it may want some, or have given some."""
    rung, office.rung = office.rung, False
    desk = office.journal.desk
    if rung and desk is not None and desk.counters:
        desk.ring()


async def look(office: Office) -> None:
    """Look what was asked of the flow runs in progress here, and pass it on. A look that fails costs no run."""
    mine = [run_id for run_id in list(office.journal.live) if run_id not in office.foreign]
    if not mine or not office.opened:
        return
    try:
        with office.busy:
            asked = await office.store.requests(mine)
        heard = [request for request in asked if pass_on(office, request)]
        if heard:
            with office.busy:
                await office.store.heard(heard)
    except Exception as error:
        # It is tried again at the next look, and where the database is gone, the next commit says so.
        if not office.deaf:
            log.debug("Requests from other processes cannot be heard: %s: %s", type(error).__name__, error)
        office.deaf = True
    else:
        office.deaf = False


async def deliver(office: Office) -> None:
    """
    Wake those who wait for signals that other processes have sent. A look that fails costs no run.

    And those of durable runs that are to stop, since the store has failed.
    """
    waiting = [run for run in list(office.journal.live.values()) if waits(run)]
    for run in waiting:
        if run.scope.past is not None and run.scope.past.problem is not None:
            wake(run)
    if not waiting or not office.opened:
        return
    try:
        with office.busy:
            fresh = await office.store.signals.fresh([run.id for run in waiting])
        for run_id, name in fresh:
            ring(office.journal, run_id, name)
    except Exception as error:  # as in `look`
        log.debug("Signals from other processes cannot be heard: %s: %s", type(error).__name__, error)


async def rouse(office: Office) -> None:
    """Tell who takes up unloaded runs when there is something for him: one is due, or may have ended elsewhere."""
    waking, journal = office.journal.waking, office.journal
    if waking is None:
        return
    try:
        now = journal.now()
        with office.busy:
            due, following = await office.store.owners.due(now, 1)
        if due or any(promise.awaited for promise in journal.held()):
            waking.at(now)
        elif following is not None:
            waking.at(following)
    except Exception as error:  # as in `look`
        log.debug("Durable runs that are due cannot be looked for: %s: %s", type(error).__name__, error)


async def recover(office: Office) -> None:
    """Tell who takes up durable runs which were left behind by others."""
    journal = office.journal
    if journal.recovering is None:
        return
    try:
        with office.busy:
            left = await left_behind(office.store, journal)
            found = await in_turn(office.store, journal, left)
    except Exception as error:
        log.debug("Durable runs that were left behind cannot be looked for: %s: %s", type(error).__name__, error)
        return
    if found and journal.recovering is not None:
        journal.recovering(found)


async def left_behind(store: Store, journal: Journal) -> list[Owned]:
    """List the durable runs in *store* whose owners have ended, or were silent for longer than their leases."""
    found = [one for one in await store.owners.listed() if one.run_id not in journal.live]
    leases = await store.owners.leases(PROCESS) if found else {}
    now = journal.now()
    return [one for one in found if one.owner == journal.owner or dead(one.owner, leases, one.since, now)]


def pass_on(office: Office, request: Request) -> bool:
    """Have the run that *request* is for do what it says; tell whether that is something it can."""
    run = office.journal.live.get(request.run_id)
    if request.what != "cancel" or (run is not None and unloads(run)):
        return False  # it is heard when the run is taken up again, which is at once
    try:
        office.journal.stop(request.run_id, request.why)
    except Exception:
        log.exception("Flow run %s could not be told to stop", request.run_id)
    return True
