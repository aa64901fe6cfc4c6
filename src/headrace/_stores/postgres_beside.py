"""
Beside the writer: a connection on an event loop of the application, on which the steps of its flows are committed.

One such connection a process, for the first loop on which steps are often waited for; another gets one when that loop
is closed. Behind a pooler there is none, since a statement is prepared on it, and settings are made for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any, Final

from headrace._homes import quietly
from headrace._ports import Batch
from headrace._stores.postgres_encoding import lone_step
from headrace._stores.postgres_link import CLOSE_WITHIN, Connection, Link
from headrace._stores.postgres_writing import LONE_STEP
from headrace.errors import StoreUnavailable

AFTER: Final = 16  # steps that were asked for: to connect takes the server as long as it saves with some 30
PAUSE: Final = 10.0  # seconds until it is tried anew
ANSWER_WITHIN: Final = 10.0  # seconds; then the writer is to do it
WRITTEN: Final = "INSERT 0 1"
# As WRITE_STEP sets it for itself; what is prepared while a table is small is kept when it has grown.
SETTINGS: Final = {"synchronous_commit": "on", "enable_seqscan": "off", "plan_cache_mode": "force_generic_plan"}
# Has that process of the server end, and with it what it has not committed by now.
END: Final = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid = {} AND usename = current_user AND pid <> pg_backend_pid()"
)


class Beside:
    """
    Commits lone steps on a loop of the application, in the database behind *link*.

    Attributes:
        own: The connection of that loop; None where none ever asked.
        doubtful: The process of the server that may yet commit what was given up; None where none may.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.own: Own | None = None
        self.doubtful: int | None = None

    def ready(self) -> bool:
        """Tell whether the loop that runs here has its connection; has it connect where it is its turn."""
        loop = asyncio.get_running_loop()
        own = self.own
        if own is None or own.loop.is_closed():
            own = self.own = Own(self, loop)
        return own.loop is loop and own.ready()

    def takes(self, batch: Batch) -> bool:
        """Tell whether *batch* is a lone step, all of it in one row."""
        return lone_step(batch) is not None

    def commit(self, batch: Batch, told: Callable[[bool], None]) -> None:
        """Begin to commit *batch*; *told* hears whether it is on record."""
        values = lone_step(batch)
        assert values is not None
        assert self.own is not None
        self.own.commit(values, told)

    def abandon(self) -> None:
        """Give up what is under way."""
        if self.own is not None:
            self.doubtful = self.own.process
            self.close()

    async def settle(self, connection: Connection) -> None:
        """See, on the writer's *connection*, that what was given up is on record by now or never will be."""
        if self.doubtful is not None:
            await connection.execute(END.format(self.doubtful))
            self.doubtful = None

    def close(self) -> None:
        """Let go of the connection, from any thread."""
        own, self.own = self.own, None
        if own is not None:
            own.over = True
            quietly(own.loop, own.drop)


class Own:
    """
    The connection of one event loop, which is closed with it.

    Attributes:
        asked: How many steps were asked for while there was no connection.
        pause: When one may be made, on the loop's clock.
        keeper: Closes it when the loop shuts down. Not a task: an application may wait for all of a loop's.
        connecting: The task that makes it; None while none does.
        process: The process of the server behind it.
        statement: What writes a step, prepared on it; None where there is no connection.
        awaited: What tells of the server's answer; None while nothing is under way.
        over: Whether it is not to be made any more.
    """

    def __init__(self, beside: Beside, loop: asyncio.AbstractEventLoop) -> None:
        self.beside = beside
        self.link = beside.link
        self.loop = loop
        self.asked = 0
        self.pause = 0.0
        self.keeper: AsyncGenerator[None] | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.connection: Connection = None
        self.process = 0
        self.statement: Any = None
        self.awaited: asyncio.Future[Any] | None = None
        self.over = False

    def ready(self) -> bool:
        """Tell whether there is a connection; make one where steps have often been asked for."""
        if self.statement is not None:
            if not self.connection.is_closed():
                return True
            self.drop()
        self.asked += 1
        may = self.asked >= AFTER and self.loop.time() >= self.pause and not (self.over or self.link.pooled)
        if may and self.connecting is None:
            # Not in the context of the step: it would outlive its run.
            self.connecting = self.loop.create_task(self.connect(), context=Context())
        return False

    async def connect(self) -> None:
        """Connect, unless that cannot be done: then the steps stay with the back office, and all is as it was."""
        self.pause = self.loop.time() + PAUSE
        connection = None
        try:
            connection = await self.link.connected(**SETTINGS)
            statement = await connection.prepare(LONE_STEP, name="headrace_step")
            if self.keeper is None:
                self.keeper = self.kept()
                await anext(self.keeper)
            if not self.over:
                self.connection, self.statement, connection = connection, statement, None
                self.process = self.connection.get_server_pid()
        except (StoreUnavailable, *self.link.failures):
            pass
        finally:
            self.connecting = None
            if connection is not None:
                connection.terminate()

    async def kept(self) -> AsyncGenerator[None]:
        """Close the connection when the loop shuts down, as it does to generators that were left half-way."""
        try:
            yield
        finally:
            self.over = True
            if self.awaited is not None:
                await asyncio.wait([self.awaited], timeout=CLOSE_WITHIN)
            connection, self.connection, self.statement = self.connection, None, None
            if connection is not None:
                await self.link.let_go(connection)

    def drop(self) -> None:
        """Let go of the connection at once, on its loop."""
        connection, self.connection, self.statement = self.connection, None, None
        self.asked = 0
        if connection is not None:
            connection.terminate()

    def commit(self, values: tuple[Any, ...], told: Callable[[bool], None]) -> None:
        """Begin to write *values*; *told* hears whether they are on record."""
        self.advance(self.written(values), told)

    def advance(self, work: Coroutine[Any, Any, bool], told: Callable[[bool], None], _awaited: object = None) -> None:
        """
        Take *work* on to where it awaits the server, or to its end.

        By hand: a task would take one turn of the loop more, and be cancelled with the application's.
        """
        try:
            self.awaited = awaited = work.send(None)
        except StopIteration as end:
            self.awaited = None
            told(end.value)
        else:
            awaited._asyncio_future_blocking = False
            awaited.add_done_callback(partial(self.advance, work, told))

    async def written(self, values: tuple[Any, ...]) -> bool:
        """Write *values*; tell whether they are on record. Where that is not known, the connection is let go."""
        statement = self.statement
        try:
            await statement.fetch(*values, timeout=ANSWER_WITHIN)
        except (Exception, asyncio.CancelledError) as error:
            if not isinstance(error, Exception) or self.link.lost(error):
                self.beside.doubtful = self.process
                self.drop()
            return False
        done: bool = statement.get_statusmsg() == WRITTEN
        return done
