"""
Progress: when the bottom line speaks of a map or stream, and of which. Counts nothing: the numbers are the crews'.

No thread of its own: whoever makes this says how to be called back.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from typing import Final, TextIO

from headrace._engine.groups import Group
from headrace._engine.runs import FlowRunning
from headrace._telemetry.bottom import BottomLine
from headrace._telemetry.counts import Count, line, signs_for, summary

SHOWN_AFTER: Final = 1.0
EVERY: Final = 0.125  # seconds between two drawings


class Progress:
    """
    The maps and streams in progress, one of which has the bottom line of a terminal: the one that began first.

    Args:
        stream: The terminal.
        now: The clock that the groups' beginnings are told by.
        later: Calls a function in so many seconds, on a thread that no user code runs on.
    """

    def __init__(
        self, stream: TextIO, now: Callable[[], int], later: Callable[[float, Callable[[], None]], None]
    ) -> None:
        self.bottom = BottomLine(stream)
        self.encoding = stream.encoding or "ascii"
        self.signs = signs_for(self.encoding)
        self.now = now
        self.later = later
        # In the order in which they began; how many runs each was to have: one that is stopped has fewer in the end.
        self.groups: dict[Group, int | None] = {}
        self.shown: Group | None = None
        self.ticking = False
        # Reentrant: a signal's handler may begin or end a group amid another.
        self.guard = threading.RLock()
        self.pid = os.getpid()
        atexit.register(self.close)

    def begin(self, group: Group) -> None:
        """Look at *group* from now on; from any thread. Nothing in a forked child: the terminal is its parent's."""
        if group.total == 0 or self.pid != os.getpid():
            return
        with self.guard:
            self.groups[group] = group.total
            if self.ticking:
                return
            self.ticking = True
        self.later(SHOWN_AFTER, self.tick)

    def end(self, group: Group) -> None:
        """Look at *group* no more; says in a line what became of it where it was shown. From any thread."""
        if self.pid != os.getpid():
            return
        with self.guard:
            count = self.count(group)
            self.groups.pop(group, None)
            if group is self.shown:
                self.shown = None
                self.bottom.hide(lambda columns: summary(count, columns, self.signs))

    def tick(self) -> None:
        """Draw what is to be seen now, and come again while a group is in progress."""
        with self.guard:
            wait = self.draw()
            self.ticking = wait is not None
        if wait is not None:
            self.later(wait, self.tick)

    def draw(self) -> float | None:
        """Draw what is to be seen now; give the seconds until there is more to see, None for never."""
        while self.groups and outlived(first := next(iter(self.groups))):
            self.end(first)
        if not self.groups:
            self.bottom.hide()
            return None
        first = next(iter(self.groups))
        count = self.count(first)
        if count.seconds < SHOWN_AFTER:
            self.bottom.hide()
            return max(SHOWN_AFTER - count.seconds, EVERY)
        others = len(self.groups) - 1
        if self.bottom.show(lambda columns: line(count, columns, others, self.signs)):
            self.shown = first
        return EVERY

    def count(self, group: Group) -> Count:
        """Give how far *group* is now."""
        name = group.spec.name.encode(self.encoding, "backslashreplace").decode(self.encoding)
        total = self.groups.get(group)
        seconds = max(self.now() - group.started, 0) / 1e9
        return Count(name, group.total if total is None else total, group.done, group.failed, seconds)

    def close(self) -> None:
        """Take the line away, for good. At exit; harmless twice."""
        atexit.unregister(self.close)
        if self.pid == os.getpid():
            with self.guard:
                self.groups.clear()
                self.shown = None
                self.bottom.hide()


def outlived(group: Group) -> bool:
    """Tell whether the flow run of *group* has ended: then so has the group, also a stream that nobody closed."""
    run = group.parent
    while run is not None and not isinstance(run, FlowRunning):
        run = run.parent
    return run is not None and run.ended
