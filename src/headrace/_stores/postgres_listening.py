"""
Listening: a connection on which the server tells that another process has left something to look at.

It is a hint and no more: who misses it finds the same at the next look. So what fails here is tried again later, and
nobody hears of it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final

from headrace._stores import postgres_schema as schema
from headrace._stores.postgres_link import Connection, Link
from headrace.errors import StoreUnavailable

AFTER: Final = 0.3  # seconds after the first batch: what is over by then needs no second connection
PAUSE: Final = 0.2  # seconds before one that was lost is made anew; doubled where it cannot be, up to
LONGEST: Final = 30.0


class Listener:
    """
    Hears what others leave in the database behind *link*, on the loop that writes there.

    Attributes:
        rang: Who is told, on that loop; nobody listens where it is None.
        task: What listens; None where that has not begun.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.rang: Callable[[], None] | None = None
        self.task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Listen from now on, unless that goes on already, or a pooler stands between: it keeps nobody's channels."""
        if self.task is None and self.rang is not None and not self.link.pooled:
            self.task = asyncio.get_running_loop().create_task(self.listen())

    async def close(self) -> None:
        """Listen no more."""
        task, self.task = self.task, None
        if task is None or task.get_loop().is_closed():
            return
        if task.get_loop() is asyncio.get_running_loop():
            task.cancel()
            await asyncio.wait([task])
        else:
            task.get_loop().call_soon_threadsafe(task.cancel)

    async def listen(self) -> None:
        """Listen until cancelled; on a new connection after a pause where one was lost."""
        pause = PAUSE
        await asyncio.sleep(AFTER)
        while True:
            # Never the first to knock at a server that has gone: the writer waits for it, and says so.
            if self.link.connects:
                try:
                    connection = await self.link.connected()
                except StoreUnavailable:
                    pause = min(2 * pause, LONGEST)
                else:
                    if not await self.hear_until_lost(connection):
                        return
                    pause = PAUSE
            await asyncio.sleep(pause * (0.5 + random.random()))

    async def hear_until_lost(self, connection: Connection) -> bool:
        """Listen on *connection* for as long as it lasts; give False where a pooler stands between."""
        lost = asyncio.Event()
        try:
            if await self.link.is_pooled(connection):
                return False

            def end(_connection: object) -> None:
                lost.set()

            connection.add_termination_listener(end)
            await connection.add_listener(schema.CHANNEL, self.heard)
            self.tell()  # of what came before somebody listened
            await lost.wait()
        except self.link.failures:
            pass  # lost amid its first words
        finally:
            await self.link.let_go(connection, kindly=False)
        return True

    def heard(self, _connection: Any, process: int, _channel: str, _payload: str) -> None:
        """Hear a notification of the server's process that serves who sent it; this store's own are passed over."""
        writer = self.link.writer
        if writer is None or writer.is_closed() or process != writer.get_server_pid():
            self.tell()

    def tell(self) -> None:
        """Tell who wants to hear."""
        if self.rang is not None:
            self.rang()
