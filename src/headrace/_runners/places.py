"""Places: how many submitted calls may be at work at once. Counts in order of arrival, from any thread; never waits."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from headrace._engine.calls import Call

NEVER: Final = -(1 << 40)  # waits of an ended call, so that none is ever the last: it has no place to come back to


class Hungry(Protocol):
    """A lane that has calls and found no place."""

    def stir(self) -> bool:
        """Look again for a place; tell whether there is anything to look for one for."""
        ...


class Places:
    """
    *total* places for calls at work.

    A call that waits for others gives its place back meanwhile, and takes one again, before any new call, when it goes
    on: so calls that submit calls and wait for them never lock each other out.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.taken = 0
        self.returning: deque[Callable[[], object]] = deque()
        self.hungry: deque[Hungry] = deque()
        self.guard = threading.Lock()

    def take(self, lane: Hungry) -> bool:
        """Take a place for a new call of *lane*; where there is none, *lane* is stirred once there is one."""
        with self.guard:
            if self.taken < self.total and not self.returning:
                self.taken += 1
                return True
            if lane not in self.hungry:
                self.hungry.append(lane)
            return False

    def give(self) -> None:
        """Give a place back: to who returns from a wait, else to a lane that has calls."""
        with self.guard:
            back = self.returning.popleft() if self.returning and self.taken <= self.total else None
            if back is None:
                self.taken -= 1
            lane = None if back is not None else self.next()
        if back is not None:
            back()
        while lane is not None and not lane.stir():
            # It was fed another way since: what it leaves is the next one's, who might wait for ever.
            with self.guard:
                lane = self.next()

    def next(self) -> Hungry | None:
        """Give the lane that may have a place, where there is one. Called with the guard held."""
        return self.hungry.popleft() if self.hungry and self.taken < self.total and not self.returning else None

    def free(self, lane: Hungry) -> bool:
        """Tell whether a new call of *lane* would find a place; where not, *lane* is stirred once there is one."""
        if self.taken < self.total and not self.returning:
            return True
        with self.guard:
            if self.taken < self.total and not self.returning:
                return True
            if lane not in self.hungry:
                self.hungry.append(lane)
            return False

    def wanted(self, lane: Hungry) -> bool:
        """Tell whether others than *lane* wait for a place: then it had better not go on with the one it has."""
        hungry = self.hungry
        return bool(self.returning) or len(hungry) > 1 or (bool(hungry) and hungry[0] is not lane)

    def ended(self, call: Call) -> bool:
        """Tell whether *call*, which has ended, still holds its place: not, if something that it began still waits."""
        if not call.asides:
            call.asides = NEVER
            return True
        with self.guard:
            held = not call.asides
            call.asides = NEVER
            return held

    def aside(self, call: Call) -> None:
        """Give *call*'s place back while its body waits; with several waits in one body, at the first."""
        with self.guard:
            call.asides += 1
            first = call.asides == 1
        if first:
            self.give()

    def back(self, call: Call, arrived: Callable[[], object]) -> bool:
        """Have a place again after a wait: True at once, or *arrived* is called when there is one."""
        with self.guard:
            call.asides -= 1
            if call.asides:
                return True
            if self.taken < self.total and not self.returning:
                self.taken += 1
                return True
            self.returning.append(arrived)
            return False

    def hurry(self, call: Call, arrived: Callable[[], object] | None = None) -> None:
        """Have a place again without waiting, beyond the total if need be: the call is about to end."""
        with self.guard:
            if arrived is not None:
                if arrived not in self.returning:
                    return  # it has been given one meanwhile
                self.returning.remove(arrived)
                self.taken += 1
                return
            call.asides -= 1
            if not call.asides:
                self.taken += 1
