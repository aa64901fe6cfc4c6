"""
Virtual time: the block in which waiting costs nothing. Puts the clock up wherever it is read, and takes it down again.

What is replaced: the wall that hosts and lives read, the time of event loops, and the moments that the OpenTelemetry
SDK stamps on spans. What is not: time.time(), time.sleep() and datetime.now(), in a body or anywhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from time import time_ns
from typing import Any, Final

from headrace._hosts.clock import RealClock, wall
from headrace._model.records import nanoseconds
from headrace.testing.around import Around, replace
from headrace.testing.clock import VirtualClock
from headrace.testing.loops import Loops
from headrace.testing.refusals import backwards, foreign_loop, naive, nested

_one: Final = threading.Lock()


class VirtualTime:
    """The clock as a test sees it: what time it is, how much has passed, and a hand to turn it."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        """Give the virtual moment, in UTC; it stands still but for jumps."""
        whole, rest = divmod(self._clock.start + self._clock.elapsed, 1_000_000_000)
        return datetime.fromtimestamp(whole, UTC).replace(microsecond=rest // 1_000)

    @property
    def elapsed(self) -> float:
        """The virtual seconds since the block was entered."""
        return self._clock.elapsed / 1e9

    def advance(self, seconds: float) -> None:
        """
        Go *seconds* on, without waiting for anybody; whose timer lies within them is woken.

        Raises:
            VirtualTimeError: *seconds* is negative.
        """
        if not seconds >= 0:
            raise backwards(seconds)
        self._clock.advance(seconds)


def virtual_time(*, start: datetime | None = None) -> Around[VirtualTime]:
    """
    Let waits pass at once: retry delays, time-outs, and all timers of asyncio's loops; a `with` block or a decorator.

    Time stands still while a thread, a process or a socket is at work, and jumps to the next timer when everybody
    waits. If real work takes so long that a timer would be due by real time, it is due. May be entered in a
    coroutine, around `asyncio.run`, or around sync flows.

    Args:
        start: The moment at which it begins, aware of its zone; now, unless given.

    Raises:
        VirtualTimeError: On entering: virtual time is in force already; the event loop is not asyncio's own (uvloop);
            *start* has no time zone.
    """
    return Around(lambda: hung(start))


@contextlib.contextmanager
def hung(start: datetime | None) -> Generator[VirtualTime, None, None]:
    """Hang a virtual clock for the block, in the whole process."""
    if start is not None and start.tzinfo is None:
        raise naive(start)
    if not _one.acquire(blocking=False):
        raise nested()
    with contextlib.ExitStack() as undo:
        undo.callback(_one.release)
        refuse_policy()
        clock = VirtualClock(time_ns() if start is None else nanoseconds(start))
        loops = Loops(clock)
        undo.callback(loops.restore)
        loops.watch(undo)
        clock.entered = loops.adopt_running
        replace(undo, ThreadPoolExecutor, "submit", counted(clock))
        if "opentelemetry.sdk.trace" in sys.modules:
            replace(undo, sys.modules["opentelemetry.sdk.trace"], "time_ns", clock.now)
        undo.callback(wall.hang, wall.clock)
        wall.hang(clock)
        undo.callback(clock.end)
        yield VirtualTime(clock)


def counted(clock: VirtualClock) -> Callable[..., Any]:
    """Give a `ThreadPoolExecutor.submit` that tells the census of each work item."""
    submit = ThreadPoolExecutor.submit

    def submitted(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        item = submit(self, fn, *args, **kwargs)
        with clock.guard:
            clock.census.submitted(item, self._work_queue)
        return item

    return submitted


def refuse_policy() -> None:
    """
    Refuse to begin where loops will be uvloop's.

    Raises:
        VirtualTimeError: The event loop policy is.
    """
    policy: object = getattr(asyncio.events, "_event_loop_policy", None)
    if type(policy).__module__.partition(".")[0] == "uvloop":
        raise foreign_loop(policy)


def _in_child() -> None:
    """Let a forked child live in real time: the threads that it would wait for did not come along."""
    if isinstance(wall.clock, VirtualClock):
        wall.hang(RealClock())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
