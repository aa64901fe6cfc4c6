"""
The desk: hands out the slots that this process has leased, and sees to it that it has what it needs.

Taking a free slot is arithmetic under a lock. Leases are settled with the store by the back office: at once when
somebody must wait or gives back what others want, and a few times a second while slots are had or waited for.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from headrace._engine.admission import holding
from headrace._engine.journal import nobody_hears
from headrace._limits.counter import Bell, Counter, Held, Waiter
from headrace._model.slots import Claim
from headrace._ports import Store
from headrace.errors import LimitTooSmall

BEAT: Final = 0.3  # seconds between two looks at what others want, while slots are had here
HASTE: Final = 0.05  # while somebody waits for what others have
LEASE: Final = 15_000_000_000  # nanoseconds of silence after which a process's slots are taken from it
CAUTION: Final = 12_000_000_000  # after which it hands out no more of them itself
WATCHED: Final = 1_000_000_000  # at most so much of the time between two looks counts as silence


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
        # The beats of others, and since when they stand still: on a clock that goes on only while this process looks.
        self.seen: dict[tuple[str, str], tuple[int, int]] = {}
        self.heard: dict[tuple[str, str], tuple[int, int]] = {}
        self.watched = self.looked_at = 0
        self.asked = self.again = self.timed = self.hasty = self.leaving = self.abandoned = False
        # What was given back, and not counted yet: whoever has the guard does that.
        self.returned: deque[Held] = deque()
        self.names: frozenset[str] = frozenset()
        self.learned_at: int | None = None
        self.said: set[str] = set()
        self.nudged: list[Waiter] = []
        self.waited: Callable[[Iterable[str], float], None] | None = None  # hears of each wait, and its seconds

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
        ticks, told = self.ticks(), False
        got: Held | Waiter
        with self.guard:
            counters = tuple([self.counter(name, size) for name, size in wanted])
            fits, alone = self.fits(counters, occupy, ticks), True
            for counter in counters:
                alone = alone and not counter.line.heap
            opened: list[Waiter] = []
            if fits and alone:
                got = self.handed(counters, occupy, who, ticks)
            else:
                got = Waiter(counters, occupy, priority, key, next(self.numbers), who, self.now(), ticks)
                for counter in counters:
                    counter.line.add(got)
                    counter.waiting += occupy
                if fits or alone:  # the line may be only of those who gave up; and it may be in vain
                    opened = self.serve(counters, ticks)
                told = all(counter.told() for counter in counters)
        if opened or self.returned or self.nudged:
            self.open(opened)
        if isinstance(got, Waiter) and not got.over:
            self.soon() if told else self.ring()
        return got

    def fits(self, counters: Iterable[Counter], occupy: int, ticks: int) -> bool:
        """Tell whether there is room in all *counters*, and the lease on them is not so old that others may have it."""
        fresh = ticks - self.settled_at < CAUTION
        for counter in counters:
            if counter.room(ticks) < occupy:
                return False
            if not fresh and counter.limit is not None:
                return False
        return True

    def handed(self, counters: tuple[Counter, ...], occupy: int, who: Any, ticks: int) -> Held:
        """Hand out slots for which there is room."""
        held = Held(counters, occupy, who, self.now())
        for counter in counters:
            counter.take(occupy, ticks)
            counter.holders[held] = None
        return held

    def give_back(self, held: Held) -> None:
        """
        Take back what was handed out.

        Waits for nobody: a generator that is collected as garbage closes its block on any thread, amid anything. Who
        has the guard counts what comes meanwhile, once it has let go of it.
        """
        self.returned.append(held)
        self.collect()

    def collect(self) -> None:
        """Count what was given back, unless somebody is about to."""
        while self.returned and self.guard.acquire(blocking=False):
            try:
                opened, excess = self.counted(self.ticks())
            finally:
                self.guard.release()
            self.open(opened)
            if excess:
                self.ring()

    def counted(self, ticks: int) -> tuple[list[Waiter], bool]:
        """Count what was given back; give those whose wait is over, and whether others are to have some of it."""
        opened: list[Waiter] = []
        excess = False
        while self.returned:
            held = self.returned.popleft()
            for counter in held.counters:
                if counter.holders.pop(held, held) is None:
                    counter.give(held.occupy)
                    counter.touched = ticks
                    excess = excess or counter.held > max(counter.share, counter.used)
            opened += self.serve(held.counters, ticks)
        return opened, excess

    def spent(self, held: Held) -> None:
        """Hear that slots of a rate were used: they come free by themselves."""
        for counter in held.counters:
            counter.holders.pop(held, None)

    def serve(self, counters: Iterable[Counter], ticks: int) -> list[Waiter]:
        """Hand out what there is to who waits for it; give those whose wait is over."""
        opened: list[Waiter] = []
        lines = list(counters)
        for counter in lines:  # grows
            while (first := counter.line.first()) is not None:
                first.error = too_small(first)
                if first.error is None and (not self.fits(first.counters, first.occupy, ticks) or first.passes()):
                    break
                counter.line.served()
                self.end(first, counter)
                if first.error is None:
                    first.held = self.handed(first.counters, first.occupy, first.who, ticks)
                opened.append(first)
                if len(first.counters) > 1:  # in its other lines somebody else comes first now
                    lines += [other for other in first.counters if other is not counter]
            if first is not None and counter.rate and not first.first:
                first.first = True
                self.nudged.append(first)
        return opened

    def end(self, waiter: Waiter, left: Counter | None = None) -> None:
        """Have *waiter* wait no more; it has *left* the line of a counter, and is in those of the others."""
        waiter.over = True
        for counter in waiter.counters:
            counter.waiting -= waiter.occupy
            if counter is not left:
                counter.line.ended()

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
        if waiter.rung is None and not self.leaving:
            return math.inf
        ticks = self.ticks()
        with self.guard:
            opened = self.serve(waiter.counters, ticks)
            due = min(counter.due(waiter, ticks) for counter in waiter.counters)
        self.open(opened)
        if self.leaving and not waiter.over:
            # The back office, which looks again and again, has ended, or is about to.
            self.ring()
            due = min(due, HASTE)
        return due

    def open(self, opened: Iterable[Waiter]) -> None:
        """Tell those whose wait is over; outside of the guard, as they may do anything. Count what came meanwhile."""
        if self.returned:
            self.collect()
        for waiter in opened:
            waiter.open()
            if waiter.rung is not None:
                waiter.rung.open()
        if self.nudged:
            bells: list[Bell] = []
            with self.guard:
                nudged, self.nudged = self.nudged, []
                for waiter in nudged:
                    if waiter.rung is not None and not waiter.over:
                        bells.append(waiter.rung)
                        waiter.rung = Bell()
            for bell in bells:
                bell.open()

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
            if self.asked or self.abandoned:
                self.again = True
                return
            self.asked = True
        try:
            self.errand(self.settle_noted, self.settled)
        except BaseException:
            self.asked = False  # an interrupt, for one: who asks next asks anew
            raise

    def soon(self) -> None:
        """Have the leases settled in a moment: others may have given something back by then."""
        hasty = self.hasty
        if hasty:
            return  # seen without the guard, which whoever is about to settle takes to see who waits
        with self.guard:
            if self.asked or self.hasty or self.abandoned:
                return
            self.hasty = True
        self.later(HASTE, self.hurry)

    async def leave(self, store: Store) -> None:
        """Give back what nobody here uses, as the store is let go of; what is wanted afterwards is leased anew."""
        self.leaving = True
        with contextlib.suppress(Exception):  # others take them, once they see that the process has ended
            await self.settle(store)

    def abandon(self) -> None:
        """Speak for this process no more: it is a fork of the one whose slots these are, and has none of them."""
        self.abandoned = True
        holding.set(None)

    async def settle_noted(self, store: Store) -> None:
        """Settle, while the clock knows that this thread is at work."""
        self.clock.started()
        try:
            await self.settle(store)
        finally:
            self.clock.finished()

    async def settle(self, store: Store) -> None:
        """Say what this process has and wants, and hear what it has from now on. On the back office's thread."""
        ticks = self.ticks()
        with self.guard:
            opened, self.again = self.counted(ticks)[0], False
            self.beat += 1
            asks = [counter.ask(self.owner, self.beat, ticks, self.leaving) for counter in self.counters.values()]
            self.watched += min(max(ticks - self.looked_at, 0), WATCHED)
            self.looked_at = ticks
            self.heard = {}
        self.open(opened)
        if not asks:
            return
        try:
            leases = await store.limits.settle(asks, ticks, self.mark(ticks), self.dead)
        except BaseException:
            with self.guard:
                for counter in self.counters.values():
                    counter.refused()
            raise
        with self.guard:
            self.settled_at, self.seen = ticks, self.heard
            for name, lease in leases.items():
                # What is beyond its due is given back by asking once more: until it has heard, it hands that out.
                self.again = self.counters[name].hear(lease, ticks) or self.again
            opened = self.serve(self.counters.values(), ticks)
            for name in [ask.name for ask in asks if not ask.wanted]:
                if self.counters[name].idle(ticks):
                    del self.counters[name]
        self.open(opened)

    async def learn(self, store: Store) -> None:
        """Hear which limits there are: a tag is one, where one has its name."""
        began = self.ticks()
        self.names = frozenset([limit.name for limit in await store.limits.listed()])
        self.learned_at = began  # not before they are known: who asks meanwhile waits for them, too

    def relearn(self) -> None:
        """Have the names of limits learned anew, soon."""
        self.learned_at = self.ticks()
        self.errand(self.learn, nobody_hears)

    def settled(self, _value: Any, error: Exception | None) -> None:
        """Hear how it went; whoever waits hears that the store failed."""
        failed: set[Waiter] = set()
        with self.guard:
            again, self.asked = self.again and error is None, False
            if error is not None:
                failed = {one for counter in self.counters.values() for one in counter.line.listed(1 << 30)}
                for waiter in failed:
                    waiter.error = error
                    self.end(waiter)
            waits = any(counter.waiting for counter in self.counters.values())
            beats = bool(self.counters) and not self.timed
            self.timed = self.timed or beats
        self.open(failed)
        if beats:
            self.later(BEAT, self.strike)
        if again:
            self.ring()
        elif waits:
            self.soon()

    def strike(self) -> None:
        """Settle again, as time has passed."""
        self.timed = False
        if self.counters:
            self.ring()

    def hurry(self) -> None:
        """Settle again, as somebody waits for what others have."""
        self.hasty = False
        if self.counters:
            self.ring()

    def dead(self, claim: Claim) -> bool:
        """Tell whether the process that makes *claim* has ended, or was silent for longer than a lease."""
        if self.gone(claim.owner.rpartition(":")[0]):
            return True
        beat, since = self.seen.get((claim.name, claim.owner), (-1, 0))
        if beat != claim.beat:
            beat, since = claim.beat, self.watched
        self.heard[claim.name, claim.owner] = beat, since
        return self.watched - since > LEASE


def too_small(waiter: Waiter) -> LimitTooSmall | None:
    """Give what to raise for somebody who asks for more slots than a limit has."""
    for counter in waiter.counters:
        if counter.limit is not None and counter.misfit(waiter):
            return LimitTooSmall(counter.name, counter.limit.slots, waiter.occupy)
    return None
