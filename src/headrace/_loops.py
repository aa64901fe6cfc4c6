"""Loops of our own: event loops that start no thread beside them, and that run amid another's callbacks, too."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


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
