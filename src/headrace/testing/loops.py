"""
Event loops on the virtual clock: asyncio's own loops, whose time, timers and selector are replaced on the instance.

A loop that waits for nothing but its timers waits on the clock. One with a socket, pipe or child process to wait for is
at work, because nobody can tell when that answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from headrace.testing.around import replace
from headrace.testing.clock import VirtualClock, Waiting, nanos
from headrace.testing.refusals import VirtualTimeError, foreign_loop
from headrace.testing.threads import OFFICE

NOTED: Final = 1_000


class Ahead:
    """A loop's time after virtual time: as far ahead as it had come, because a monotonic clock never goes back."""

    def __init__(self, real: Callable[[], float], seconds: float) -> None:
        self.real = real
        self.seconds = seconds

    def __call__(self) -> float:
        """Give the loop's time."""
        return self.real() + self.seconds


class VirtualLoop:
    """One loop whose time is the clock's."""

    def __init__(self, loop: Any, clock: VirtualClock) -> None:
        before: Callable[[], float] = loop.time
        self.loop = loop
        self.clock = clock
        self.real: Callable[[], float] = before.real if isinstance(before, Ahead) else before
        self.base = before() - clock.elapsed / 1e9
        self.reached = -math.inf
        self.dues: dict[float, float] = {}
        self.selector = loop._selector
        self.select = self.selector.select
        self.call_at = loop.call_at
        loop.time = self.time
        loop.call_at = self.noted
        self.selector.select = self.selected

    def time(self) -> float:
        """Give the loop's time: exactly that of the last timer it was woken for, which sums of floats may miss."""
        return max(self.base + self.clock.elapsed / 1e9, self.reached)

    def noted(self, when: float, *args: Any, **kwargs: Any) -> Any:
        """Set a timer, and note when it would be due by real time."""
        if len(self.dues) > NOTED:
            now = self.time()
            self.dues = {moment: due for moment, due in self.dues.items() if moment > now}
        self.dues[when] = monotonic() + (when - self.time())
        return self.call_at(when, *args, **kwargs)

    def selected(self, timeout: float | None = None) -> Any:
        """Wait for events as the loop's selector does, with the time-out on the clock."""
        loop = self.loop
        if self.clock.over or (timeout is not None and timeout <= 0):
            return self.select(timeout)
        when: float | None = loop._scheduled[0]._when if loop._scheduled else None
        deadline, due = None, math.inf
        if when is not None:
            deadline = nanos(when - self.base)
            due = self.dues.setdefault(when, monotonic() + (when - self.time()))
        # With a socket at work time may not jump; timers come due by real time all the same.
        here = Waiting(deadline, due, loop._write_to_self, lambda: bool(loop._ready), holds=self.at_work())
        events: list[Any] = []

        def nap(longest: float) -> bool:
            events.extend(self.select(longest))
            return bool(events)

        self.clock.stay(here, nap)
        if here.fired and when is not None:
            self.reached = max(self.reached, when)
        return events or self.select(0)

    def at_work(self) -> bool:
        """Tell whether the loop waits for more than timers and calls from other threads."""
        own = self.loop._ssock
        own_number = own.fileno() if own is not None else -1
        return any(number != own_number and not listens(number) for number in list(self.selector.get_map()))

    def restore(self) -> None:
        """Give the loop back, in its own time; wake it, so that it looks at it."""
        loop = self.loop
        ahead = self.time() - self.real()
        for owner, name in ((loop, "call_at"), (loop, "time"), (self.selector, "select")):
            if name in owner.__dict__:
                delattr(owner, name)
        if not loop.is_closed():
            loop.time = Ahead(self.real, ahead)
            loop._write_to_self()


class Loops:
    """The loops of a process on one clock: those that run now or begin to."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.known: dict[int, VirtualLoop] = {}
        self.refused: asyncio.AbstractEventLoop | None = None
        self.guard = threading.Lock()

    def adopt(self, loop: Any) -> None:
        """
        Put *loop*, which runs on this thread or is about to, on the clock.

        Raises:
            VirtualTimeError: Its timers are not asyncio's own.
        """
        known = self.known.get(id(loop))
        if (known is not None and known.loop is loop) or threading.current_thread().name == OFFICE:
            return
        if not isinstance(loop, asyncio.SelectorEventLoop):
            raise foreign_loop(loop)
        with self.guard:
            self.known = {key: one for key, one in self.known.items() if not one.loop.is_closed()}
            self.known[id(loop)] = VirtualLoop(loop, self.clock)

    def adopt_running(self) -> None:
        """
        Adopt the loop that runs on this thread, if one does.

        Raises:
            VirtualTimeError: Its timers are not asyncio's own; once a loop, so that the run which hears of it can end.
        """
        loop = asyncio._get_running_loop()
        if loop is None or loop is self.refused:
            return
        try:
            self.adopt(loop)
        except VirtualTimeError:
            self.refused = loop
            raise

    def watch(self, undo: contextlib.ExitStack) -> None:
        """
        Adopt the loop that runs here and, until *undo* is done, each one that begins to run.

        Raises:
            VirtualTimeError: The loop that runs here is not asyncio's own.
        """
        self.adopt_running()
        run_forever = asyncio.BaseEventLoop.run_forever

        def adopted(loop: asyncio.BaseEventLoop) -> None:
            self.adopt(loop)
            run_forever(loop)

        replace(undo, asyncio.BaseEventLoop, "run_forever", adopted)

    def restore(self) -> None:
        """Give all loops back."""
        with self.guard:
            for one in self.known.values():
                one.restore()
            self.known.clear()


def listens(number: int) -> bool:
    """Tell whether the descriptor *number* is a socket that only waits for others to connect."""
    try:
        one = socket.socket(fileno=number)
    except OSError:
        return False
    try:
        return bool(one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False
    finally:
        one.detach()
