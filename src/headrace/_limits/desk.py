"""
The desk: hands out the slots that this process has leased, and sees to it that it has what it needs.

Taking a free slot is arithmetic under a lock. Leases are settled with the store by the back office: at once when
somebody must wait or gives back what others want, and a few times a second while slots are had or waited for.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from headrace._limits.counter import Counter, Held, Waiter
from headrace._model.slots import Claim
from headrace._ports import Store
from headrace.errors import LimitTooSmall

BEAT: Final = 0.3  # seconds between two looks at what others want, while slots are had here
HASTE: Final = 0.05  # while somebody waits for what others have
LEASE: Final = 15_000_000_000  # nanoseconds of silence after which a process's slots are taken from it
CAUTION: Final = 12_000_000_000  # after which it hands out no more of them itself


class Desk:
    """
    What one process has of all limits.

    Args:
        owner: The process, and which runtime of it.
        gone: Tells of an owner whether its process is proved to have ended.
        errand: Has the back office await something with the store, and calls back with what came of it.
        later: Has the back office call something in so many seconds.
        now: Gives nanoseconds since 1970.
        ticks: Gives nanoseconds on a clock that nobody sets.
        mark: Writes such a moment so that other processes can compare it.
        clock: Hears when the back office is at work for somebody who waits, and when it is done.
    """

    def __init__(
        self,
        owner: str,
        *,
        gone: Callable[[str], bool],
        errand: Callable[[Any, Any], None],
        later: Callable[[float, Callable[[], None]], None],
        now: Callable[[], int],
        ticks: Callable[[], int],
        mark: Callable[[int], str],
        clock: Any,
    ) -> None:
        self.owner = owner
        self.gone = gone
        self.errand = errand
        self.later = later
        self.now = now
        self.ticks = ticks
        self.mark = mark
        self.clock = clock
        # Whoever forks takes it first.
        self.guard = threading.Lock()
        self.counters: dict[str, Counter] = {}
        self.numbers = itertools.count()
        self.beat = 0
        self.settled_at = 0
        self.seen: dict[tuple[str, str], tuple[int, int]] = {}
        self.asked = self.again = self.timed = False
        self.names: frozenset[str] = frozenset()
        self.learned_at: int | None = None
        self.said: set[str] = set()

    def counter(self, name: str, size: int | None = None) -> Counter:
        """Give what there is here of the limit *name*."""
        counter = self.counters.get(name)
        if counter is None:
            counter = self.counters[name] = Counter(name, size)
            counter.touched = self.ticks()
        elif size is not None:
            counter.size = size
        return counter

    # -- taking and giving back -------------------------------------------------------------------------------------

    def take(
        self, wanted: Sequence[tuple[str, int | None]], occupy: int, who: Any, priority: int = 0, key: str = ""
    ) -> Held | Waiter:
        """Take *occupy* slots of each of the limits *wanted*, each with its size if it is that of a key; or wait."""
        ticks = self.ticks()
        with self.guard:
            counters = tuple([self.counter(name, size) for name, size in wanted])
            if self.fits(counters, occupy, ticks) and not any(counter.line.heap for counter in counters):
                return self.handed(counters, occupy, who, ticks)
            waiter = Waiter(counters, occupy, priority, key, next(self.numbers), who, self.now())
            for counter in counters:
                counter.line.add(waiter)
                counter.waiting += occupy
            opened = self.serve(counters, ticks)  # where the line is only of those who gave up
        self.open(opened)
        if not waiter.over:
            self.ring()
        return waiter

    def fits(self, counters: Iterable[Counter], occupy: int, ticks: int) -> bool:
        """Tell whether there is room in all *counters*, and the lease on them is not so old that others may have it."""
        fresh = ticks - self.settled_at < CAUTION
        return all(counter.room(ticks) >= occupy and (fresh or counter.limit is None) for counter in counters)

    def handed(self, counters: tuple[Counter, ...], occupy: int, who: Any, ticks: int) -> Held:
        """Hand out slots for which there is room."""
        held = Held(counters, occupy, who, self.now())
        for counter in counters:
            counter.take(occupy, ticks)
            counter.holders[held] = None
        return held

    def give_back(self, held: Held) -> None:
        """Take back what was handed out."""
        ticks = self.ticks()
        excess = False
        with self.guard:
            for counter in held.counters:
                if counter.holders.pop(held, held) is None:
                    counter.give(held.occupy)
                    counter.touched = ticks
                    excess = excess or counter.held > max(counter.share, counter.used)
            opened = self.serve(held.counters, ticks)
        self.open(opened)
        if excess:
            self.ring()

    def spent(self, held: Held) -> None:
        """Hear that slots of a rate were used: they come free by themselves."""
        with self.guard:
            for counter in held.counters:
                counter.holders.pop(held, None)

    def serve(self, counters: Iterable[Counter], ticks: int) -> list[Waiter]:
        """Hand out what there is to who waits for it; give those whose wait is over."""
        opened: list[Waiter] = []
        for counter in counters:
            while (first := counter.line.first()) is not None:
                small = next((one for one in first.counters if one.misfit(first)), None)
                if small is not None and small.limit is not None:
                    first.error = LimitTooSmall(small.name, small.limit.slots, first.occupy)
                elif not self.fits(first.counters, first.occupy, ticks):
                    break
                counter.line.served()
                self.end(first)
                if first.error is None:
                    first.held = self.handed(first.counters, first.occupy, first.who, ticks)
                opened.append(first)
        return opened

    def end(self, waiter: Waiter) -> None:
        """Have *waiter* wait no more."""
        waiter.over = True
        for counter in waiter.counters:
            counter.waiting -= waiter.occupy

    def withdraw(self, waiter: Waiter) -> None:
        """Wait no more, and give back what has come meanwhile."""
        ticks = self.ticks()
        opened: list[Waiter] = []
        with self.guard:
            held, waiter.held = waiter.held, None
            if not waiter.over:
                self.end(waiter)
                opened = self.serve(waiter.counters, ticks)  # who was behind it may need less
        self.open(opened)
        if held is not None:
            self.give_back(held)

    def look(self, waiter: Waiter) -> float:
        """Serve who waits for a rate that has refilled; give the seconds after which to look again."""
        ticks = self.ticks()
        with self.guard:
            opened = self.serve(waiter.counters, ticks)
            due = min(counter.due(waiter, ticks) for counter in waiter.counters)
        self.open(opened)
        return due

    def open(self, opened: Iterable[Waiter]) -> None:
        """Tell those whose wait is over; outside of the guard, as they may do anything."""
        for waiter in opened:
            waiter.open()

    def would_wait(self, names: Iterable[str]) -> bool:
        """Tell whether a slot of each of *names* is to be waited for just now, as far as this process knows."""
        ticks = self.ticks()
        with self.guard:
            found = [self.counters.get(name) for name in names]
            return any(one is not None and one.known and (one.line.heap or one.room(ticks) < 1) for one in found)

    # -- the store --------------------------------------------------------------------------------------------------

    def ring(self) -> None:
        """Have the leases settled, soon; once for all who ask meanwhile."""
        with self.guard:
            if self.asked:
                self.again = True
                return
            self.asked = True
        self.clock.started()
        self.errand(self.settle, self.settled)

    async def settle(self, store: Store) -> None:
        """Say what this process has and wants, and hear what it has from now on. On the back office's thread."""
        ticks = self.ticks()
        with self.guard:
            self.again = False
            self.beat += 1
            asks = [counter.ask(self.owner, self.beat, ticks) for counter in self.counters.values()]
        if not asks:
            return
        leases = await store.limits.settle(asks, self.now(), self.mark(ticks), self.dead)
        with self.guard:
            self.settled_at = ticks
            for name, lease in leases.items():
                self.counters[name].hear(lease, ticks)
            opened = self.serve(list(self.counters.values()), ticks)
            for name in [ask.name for ask in asks if not ask.wanted]:
                if self.counters[name].idle(ticks):
                    del self.counters[name]
        self.open(opened)

    async def learn(self, store: Store) -> None:
        """Hear which limits there are: a tag is one, where one has its name."""
        self.learned_at = self.ticks()
        self.names = frozenset([limit.name for limit in await store.limits.listed()])

    def relearn(self) -> None:
        """Have the names of limits learned anew, soon."""
        self.learned_at = self.ticks()
        self.errand(self.learn, lambda _value, _error: None)

    def settled(self, _value: Any, error: Exception | None) -> None:
        """Hear how it went; whoever waits hears that the store failed."""
        with self.guard:
            again, self.asked = self.again, False
            waiting = {one for counter in self.counters.values() for one in counter.line.listed(1 << 30)}
            if error is not None:
                for waiter in waiting:
                    waiter.error = error
                    self.end(waiter)
            goes_on = bool(self.counters) and not self.timed
            self.timed = self.timed or goes_on
        if error is not None:
            self.open(waiting)
        self.clock.finished()
        if again:
            self.ring()
        if goes_on:
            self.later(HASTE if waiting and error is None else BEAT, self.strike)

    def strike(self) -> None:
        """Settle again, as time has passed."""
        self.timed = False
        if self.counters:
            self.ring()

    def dead(self, claim: Claim) -> bool:
        """Tell whether the process that makes *claim* has ended, or was silent for longer than a lease."""
        if self.gone(claim.owner.rpartition(":")[0]):
            return True
        ticks = self.ticks()
        beat, since = self.seen.get((claim.name, claim.owner), (-1, 0))
        if beat != claim.beat:
            self.seen[claim.name, claim.owner] = claim.beat, ticks
            return False
        return ticks - since > LEASE
