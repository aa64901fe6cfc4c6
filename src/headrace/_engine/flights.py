"""
Flights: of those who want the same at once, one computes it and the others wait.

Within a process always, where waiting is possible; between processes by a lease in the store, which is taken over when
its holder is dead or has not renewed it; or by the user's own lock manager.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Final

import attrs

from headrace._engine import lines
from headrace._engine.calls import current_call
from headrace._engine.context import current_run
from headrace._engine.journal import Journal
from headrace._engine.ledger import LEASE, Flight, Ledger
from headrace._engine.runs import Run
from headrace._engine.transactions import Work, current
from headrace._ports import Host, Store
from headrace.errors import RunningLoopError, StoreUnavailable, TransactionError, WaitCircleError

log: Final = logging.getLogger("headrace.engine")
FIRST_PAUSE: Final = 0.02  # seconds between two looks whether a lease is free
LONGEST_PAUSE: Final = 0.5


@attrs.frozen
class Locked:
    """A lock of the user's own manager, and under which name it is held."""

    locks: Any
    holder: str

    def release(self, key: str) -> None:
        """Let go of the lock; a manager that fails costs nobody a result."""
        try:
            self.locks.release_lock(key, self.holder)
        except Exception as error:
            log.debug("The lock %r was not released: %s: %s", key, type(error).__name__, error)


@attrs.frozen
class Clearance:
    """
    What somebody who wants a result gets to hear.

    Attributes:
        ours: Whether to compute it; else look again, somebody else has.
        flying: Whether others in this process wait for it.
        claimed: Whether others elsewhere do: by what means, to be given back.
    """

    ours: bool
    flying: bool = False
    claimed: Any = None


async def compute(
    ledger: Ledger,
    journal: Journal,
    host: Host,
    key: str,
    holder: Run | Work,
    *,
    serial: bool = False,
    locks: Any = None,
) -> Clearance:
    """
    Ask, for *holder*, to compute what is under *key*; wait while somebody else does.

    Args:
        serial: Ask for it also against other processes.
        locks: The user's own lock manager for that; None for a lease in the store.

    Raises:
        RunningLoopError: *serial*, and this thread is a loop's, which must not be blocked.
        TransactionError: *holder* is a block, and who has the key waits for it.
        StoreUnavailable: *serial*, *holder* is a block, and the store gives no lease. A run goes on without.
    """
    work = holder if isinstance(holder, Work) else current.get()
    root = None if work is None else work.root
    flight = ledger.take_off(key, holder, current_call(), root)
    if flight is not None:
        return await waited(ledger, host, holder, flight, serial=serial)
    if not serial:
        return Clearance(True, flying=True)
    try:
        claimed = await claim(ledger, journal, host, key, locks)
    except StoreUnavailable as error:
        if isinstance(holder, Work):
            ledger.land(key)
            raise
        lines.warn(holder, "Computes without knowing whether another process does: %s", error)
        return Clearance(True, flying=True)
    except BaseException:
        ledger.land(key)
        raise
    return Clearance(True, flying=True, claimed=claimed)


async def waited(ledger: Ledger, host: Host, holder: Run | Work, flight: Flight, *, serial: bool) -> Clearance:
    """Wait for *flight*, unless that would never end; within one transaction only until the body has ended."""
    own = parts_of(holder)
    if flight.holder in own:
        return Clearance(True)  # it calls itself
    if not host.may_wait():
        if serial:
            what = "The code" if isinstance(holder, Work) else holder.label
            raise RunningLoopError(f"{what}, which waits for who computes the same,", "the async form of it")
        return Clearance(True)
    shared = flight.root is not None and any(one is flight.root for one in own)
    gate = flight.computed if shared and flight.computed is not None else flight
    if gate.opened:
        return Clearance(gate is not flight)  # what came of it was not kept, so this one computes it, too
    whole = gate is flight
    if ledger.waits(flight, own, whole=whole):
        if isinstance(holder, Work):
            raise TransactionError(
                f"{holder.label} waits for somebody who waits for it: they want the same keys in another order. Let "
                f"all blocks take their keys in one order."
            )
        return Clearance(True)
    try:
        await host.until([gate])
    except WaitCircleError:
        return Clearance(True)
    finally:
        ledger.waits_no_more(flight, own, whole=whole)
    return Clearance(False)


def parts_of(holder: Run | Work) -> frozenset[Any]:
    """Give the runs and transactions that do not go on before *holder* has what it asks for."""
    work = holder if isinstance(holder, Work) else current.get()
    run = current_run.get() if isinstance(holder, Work) else holder
    works = [] if work is None else [*work.chain()]
    return frozenset([*works, *([] if run is None else [run, *run.ancestors()])])


async def claim(ledger: Ledger, journal: Journal, host: Host, key: str, locks: Any) -> Any:
    """Hold *key* against other processes, waiting while one of them does; give what `landed` needs to let go of it."""
    if locks is not None:
        holder = f"{ledger.owner}:{key}"
        held = Locked(locks, holder)
        # A while at a time, so that who is cancelled meanwhile hears of it.
        acquire = partial(locks.acquire_lock, key, holder, LONGEST_PAUSE)
        try:
            while await host.aside(acquire) is False:
                await host.sleep(FIRST_PAUSE)
        except BaseException:
            await host.aside(partial(held.release, key))  # it may have come when nobody wanted it any more
            raise
        return held
    name = f"result:{key}"
    pause = FIRST_PAUSE
    dead = ""
    while True:
        now = host.clock.now()
        ask = partial(asked, name, ledger.owner, now, now + int(LEASE * 1e9), dead)
        held = await host.with_store(journal, ask)
        if held is None:
            ledger.leases[name] = None
            return name
        if held[0] != dead and ledger.gone(held[0].rpartition(":")[0]):
            dead = held[0]
            continue
        await host.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)


async def asked(name: str, owner: str, now: int, until: int, dead: str, store: Store) -> tuple[str, int] | None:
    """Ask *store* for the lease *name*."""
    return await store.results.claim(name, owner, now=now, until=until, dead=dead)


async def given_back(name: str, owner: str, store: Store) -> None:
    """Give the lease *name* back to *store*."""
    await store.results.release(name, owner)


async def landed(ledger: Ledger, journal: Journal, key: str, flight: Clearance, host: Host) -> None:
    """Say that the computation is over, and have what came of it committed before others elsewhere look."""
    try:
        if isinstance(flight.claimed, Locked):
            await host.settled(journal)
            await host.aside(partial(flight.claimed.release, key))
        elif flight.claimed is not None:
            ledger.leases.pop(flight.claimed, None)
            # Told behind the result, so done after its commit; nobody here needs to wait for it.
            journal.errand(partial(given_back, flight.claimed, ledger.owner), heedless)
    finally:
        if flight.flying:
            ledger.land(key)


def heedless(_value: object, _error: Exception | None) -> None:
    """Hear how it went: a lease that could not be given back expires."""
