"""Loops of our own: event loops that start no thread beside them, and that run amid another's callbacks, too."""

from __future__ import annotations

import asyncio
import selectors
import socket
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

T = TypeVar("T")
NEAR: Final = 1.0  # seconds


class OwnLoop(asyncio.SelectorEventLoop):
    """
    An event loop that looks hosts up on the thread it runs on.

    asyncio keeps threads for that. While the interpreter goes down none can be started, and that is when a short
    program connects to its database for the first time.
    """

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[Any, ...]]:
        """Look *host* up; nothing else happens on the loop meanwhile."""
        return list(socket.getaddrinfo(host, port, family, type, proto, flags))


class Waiting(selectors.DefaultSelector):
    """
    Waits for a lock where there is nothing but the loop's own pipe to wait for.

    Attributes:
        rung: Locked, unless somebody has rung since it was waited for.
        light: Whether who rings need not write to that pipe.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rung = threading.Lock()
        self.rung.acquire()
        self.light = False

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait until a file is ready, somebody rings, or *timeout* seconds have passed; give the files."""
        self.light = len(self.get_map()) == 1
        if self.light:
            self.rung.acquire(timeout=-1 if timeout is None else max(timeout, 0))
            return []
        if self.rung.acquire(blocking=False):
            timeout = 0  # somebody rang who may have seen it light still
        return super().select(timeout)

    def ring(self) -> bool:
        """Have it wait no longer; tell whether that was all there is to do. From any thread."""
        try:
            self.rung.release()
        except RuntimeError:
            pass  # somebody has rung already
        return self.light


class LightLoop(OwnLoop):
    """
    A loop that other threads wake without a system call, as long as it awaits no files.

    Writing to a pipe gives the interpreter's lock away: whoever rings for each step of a flow would lose it each time,
    and wait to get it back.
    """

    def __init__(self) -> None:
        self.waiting = Waiting()
        super().__init__(self.waiting)

    async def rested(self, bell: asyncio.Event, seconds: float) -> bool:
        """
        Wait until somebody rings, who sets *bell*, for *seconds* at most; tell whether somebody did.

        Where the loop waits for nothing else it has no turn for that: one takes 15 us, for which who rings would wait.
        """
        if self.waiting.light:
            return self.waiting.rung.acquire(timeout=seconds)
        alarm = self.call_later(seconds, bell.set)
        await bell.wait()
        alarm.cancel()
        return self.time() < alarm.when()

    def _write_to_self(self) -> None:
        if not self.waiting.ring():
            write: Any = super()
            write._write_to_self()  # asyncio's own, and not in its stubs


def idle(loop: Any) -> bool:
    """
    Tell whether *loop* has nothing to do but what it is at: nobody is ready, no file is watched, no timer is near.

    Told by names of asyncio's own loops that are not public; of any other loop nobody knows.
    """
    try:
        ready, timers, files = loop._ready, loop._scheduled, loop._selector.get_map()
    except AttributeError:
        return False
    return not ready and len(files) == 1 and (not timers or timers[0].when() > loop.time() + NEAR)


def completed(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* to its end on a loop of its own, and block meanwhile; a loop that runs on this thread stands still."""
    around = asyncio._get_running_loop()
    task = None if around is None else asyncio.current_task(around)
    if around is not None and task is not None:
        asyncio._leave_task(around, task)
    asyncio._set_running_loop(None)
    loop = OwnLoop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()
        asyncio._set_running_loop(around)
        if around is not None and task is not None:
            asyncio._enter_task(around, task)
