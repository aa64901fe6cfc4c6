"""The clock of the real world, and the place where another one is put in its stead. Knows no runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from headrace._ports import Clock, Lock


class RealClock:
    """Time as it passes."""

    settable = True

    def __init__(self) -> None:
        self.now: Callable[[], int] = time.time_ns

    def sleep(self, seconds: float) -> None:
        """Block this thread for *seconds*."""
        time.sleep(seconds)

    def started(self) -> None:
        """Work that begins moves no real clock."""

    def finished(self, waiter: Lock | None = None) -> None:
        """Work that ends moves no real clock; release *waiter*."""
        if waiter is not None:
            waiter.release()

    def wait(self, lock: Lock, seconds: float) -> bool:
        """Block this thread until *lock* could be acquired or *seconds* have passed; tell whether it was."""
        return acquired(lock, seconds)


def acquired(lock: Lock, seconds: float) -> bool:
    """
    Acquire *lock* within *seconds*, in turns; tell whether it was.

    In turns, because a signal that comes in the moment before a thread begins to wait is noticed only when the wait
    ends: Ctrl-C would seem to be ignored.
    """
    deadline = time.monotonic() + seconds
    while not lock.acquire(timeout=max(0.0, min(TURN, deadline - time.monotonic()))):
        if time.monotonic() >= deadline:
            return False
    return True


TURN: Final = 0.5


class Wall:
    """
    The clock on the wall, which every host and life reads: the real one, unless `hang` put up another.

    One object that never changes, whose `now` does: lives are compiled at decoration and read it through here.
    """

    def __init__(self) -> None:
        self.hang(RealClock())

    def hang(self, clock: Clock) -> None:
        """Read time from *clock* from now on, in every thread."""
        self.clock = clock
        self.settable = clock.settable
        self.now = clock.now
        self.sleep = clock.sleep
        self.started = clock.started
        self.finished = clock.finished
        self.wait = clock.wait

    def read(self) -> int:
        """Give the time of whatever clock hangs here; for who keeps a function, since `now` is replaced."""
        return self.now()


wall: Final = Wall()
