"""
The virtual clock: time that stands still while anyone works and jumps to the next timer when all wait. Patches nothing.

Time moves for three reasons: everybody waits, so it jumps to the earliest deadline; somebody is at work for so long
that a timer would be due by real time too, so that real time-outs still fire; or a test says so. `now` is thus the
start or one of the deadlines, never something in between: equal runs have equal times.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from math import inf
from time import monotonic, sleep
from typing import Final

from headrace._ports import Lock
from headrace.testing.threads import Census, Grade

log: Final = logging.getLogger("headrace.testing")

FIRST_NAP, LONGEST_NAP = 0.0002, 0.01
CONVINCED_AFTER: Final = 0.01  # what a thread with work in hand may need to show itself, on a busy machine
STILL_AFTER: Final = 5.0
LONGEST_WAIT: Final = 4_000_000.0  # seconds; threading refuses what is too long for the system


class Waiting:
    """
    One thread that waits on the clock.

    Attributes:
        deadline: Nanoseconds after the clock's start; None to wait for others only.
        due: When it would be due by real time, on the real monotonic clock.
        rouse: Wakes the thread for a look.
        woken: Tells whether something else than the clock has woken it.
        holds: Whether time may not jump over it, because it waits for more than the clock: it is at work all the same.
        lock: What it waits for in `VirtualClock.wait`.
    """

    def __init__(
        self,
        deadline: int | None,
        due: float,
        rouse: Callable[[], object],
        woken: Callable[[], bool] = lambda: False,
        *,
        holds: bool = False,
        lock: Lock | None = None,
    ) -> None:
        self.deadline = deadline
        self.due = due
        self.rouse = rouse
        self.woken = woken
        self.holds = holds
        self.lock = lock
        self.fired = False
        self.released = False

    @property
    def asleep(self) -> bool:
        """Whether nothing has woken it yet."""
        return not self.fired and not self.released and not self.woken()


class VirtualClock:
    """A clock for hosts and loops, as `headrace._ports.Clock` asks; used from any thread."""

    settable = False

    def __init__(self, start: int) -> None:
        self.now: Callable[[], int] = self.read
        self.start = start
        self.elapsed = 0
        self.over = False
        self.guard = threading.Lock()
        self.waiting: dict[int, Waiting] = {}
        self.announced: Counter[int] = Counter()
        self.census = Census()
        self.suspected: tuple[object, float] | None = None
        self.still_since: float | None = None
        self.entered: Callable[[], None] = lambda: None

    def read(self) -> int:
        """Give nanoseconds since 1970."""
        self.entered()
        return self.start + self.elapsed

    def sleep(self, seconds: float) -> None:
        """Block this thread until *seconds* have passed on this clock."""
        if seconds <= 0:
            return
        bell = locked()
        here = Waiting(self.elapsed + nanos(seconds), monotonic() + seconds, once(bell))
        self.stay(here, lambda nap: bell.acquire(timeout=nap) and False)
        if not here.fired:
            sleep(self.left(here))

    def started(self) -> None:
        """Hear that something begins which no thread of ours stands for: a commit, or a thread about to start."""
        with self.guard:
            self.announced[threading.get_ident()] += 1

    def finished(self, waiter: Lock | None = None) -> None:
        """
        Hear that it ended; release *waiter*.

        Whoever waits for *waiter* counts as at work from here on, before it is released: no gap in which all wait.
        """
        if waiter is None:
            with self.guard:
                self.takes_over()
            return
        with self.guard:
            for one in self.waiting.values():
                if one.lock is waiter:
                    one.released = True
                    one.rouse()
            waiter.release()

    def wait(self, lock: Lock, seconds: float) -> bool:
        """Block this thread until *lock* could be acquired, or for *seconds* on this clock; tell whether it was."""
        bell = locked()

        def nap(longest: float) -> bool:
            bell.acquire(timeout=longest)
            return lock.acquire(blocking=False)

        deadline = None if seconds == inf else self.elapsed + nanos(seconds)
        here = Waiting(deadline, monotonic() + seconds, once(bell), lock=lock)
        with self.guard:
            # The thread that was announced by this one is seen by itself from now on: it may sleep on this clock, too.
            self.takes_over()
        if lock.acquire(blocking=False) or self.stay(here, nap) or lock.acquire(blocking=False):
            return True
        if here.deadline is None:
            return lock.acquire()
        return not here.fired and lock.acquire(timeout=min(self.left(here), LONGEST_WAIT))

    def takes_over(self) -> None:
        """Forget one announcement of this thread."""
        ident = threading.get_ident()
        self.announced[ident] -= 1
        if self.announced[ident] <= 0:
            del self.announced[ident]

    def left(self, one: Waiting) -> float:
        """Give the seconds that *one* has still to wait, by real time, when this clock has been taken down."""
        return 0.0 if one.deadline is None else max(0, one.deadline - self.elapsed) / 1e9

    def stay(self, here: Waiting, nap: Callable[[float], bool]) -> bool:
        """
        Wait as *here* says, napping by *nap*, which tells whether what the thread is really waiting for has come.

        Gives False when the deadline was reached, or when the clock is taken down.
        """
        ident = threading.get_ident()
        length = FIRST_NAP
        with self.guard:
            self.census.joined()
            # This thread was at work a moment ago, and may have given some to one that still looks idle.
            self.suspected = None
            before = self.waiting.get(ident)
            self.waiting[ident] = here
        try:
            while True:
                with self.guard:
                    if self.over:
                        return False
                    if here.asleep:
                        self.move()
                    if here.fired:
                        return False
                # Short at first, because most work ends soon and nobody says so; never long, for the same reason.
                if nap(length):
                    return True
                length = min(length * 1.5, LONGEST_NAP)
        finally:
            with self.guard:
                if before is None:
                    self.waiting.pop(ident, None)
                else:
                    self.waiting[ident] = before

    def move(self) -> None:
        """Move time as far as it may go, and wake whose deadline that is. Called with the guard held."""
        timed = [(one.deadline, one) for one in self.waiting.values() if one.deadline is not None and one.asleep]
        nearest = min((deadline for deadline, _ in timed), default=None)
        if nearest is None or nearest > self.elapsed:
            if self.everyone_waits():
                if nearest is None:
                    self.complain()
                    return
                self.elapsed = nearest
            else:
                self.still_since = None
                real = monotonic()
                overdue = [deadline for deadline, one in timed if one.due <= real]
                if not overdue:
                    return
                self.elapsed = max(self.elapsed, min(overdue))
        self.fire()

    def fire(self) -> None:
        """Wake those whose deadline is reached. Called with the guard held."""
        self.still_since = None
        for one in self.waiting.values():
            if one.deadline is not None and one.deadline <= self.elapsed and not one.fired:
                one.fired = True
                one.rouse()

    def everyone_waits(self) -> bool:
        """Tell whether nobody is at work. Called with the guard held."""
        grade, standing = (Grade.AT_WORK, ()) if self.announced else self.census.look(self.excused)
        if grade is Grade.PROBABLY_WAITS:
            real = monotonic()
            if self.suspected is None or self.suspected[0] != standing:
                self.suspected = (standing, real)
            return real - self.suspected[1] >= CONVINCED_AFTER
        self.suspected = None
        return grade is Grade.WAITS

    def excused(self, ident: int) -> bool | None:
        """Tell whether the thread *ident* waits on this clock; None if it has nothing to do with it now."""
        one = self.waiting.get(ident)
        return None if one is None else one.asleep and not one.holds

    def complain(self) -> None:
        """Say, once it has been so for a while, that nothing will happen any more."""
        real = monotonic()
        if self.still_since is None:
            self.still_since = real
        elif 0 < self.still_since <= real - STILL_AFTER:
            self.still_since = -1.0
            log.error(
                "Virtual time stands still: everybody waits, and no timer is set. "
                "What they wait for comes from outside this process, or never"
            )

    def advance(self, seconds: float) -> None:
        """Go *seconds* on at once, and wake whose deadline was reached."""
        with self.guard:
            self.elapsed += nanos(seconds)
            self.fire()

    def end(self) -> None:
        """Be over: wake everybody; who still has to wait goes on by real time."""
        with self.guard:
            self.over = True
            for one in self.waiting.values():
                one.rouse()


def locked() -> threading.Lock:
    """Give a lock that is taken."""
    lock = threading.Lock()
    lock.acquire()
    return lock


def once(bell: threading.Lock) -> Callable[[], None]:
    """Give what releases *bell*, whether it is taken or not."""

    def ring() -> None:
        if bell.locked():
            bell.release()

    return ring


def nanos(seconds: float) -> int:
    """Give *seconds* as nanoseconds; what is more than a century is a century, for datetimes end."""
    return round(min(seconds, 3.2e9) * 1e9)
