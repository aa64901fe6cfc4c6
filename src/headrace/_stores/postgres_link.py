"""
The link to a PostgreSQL server: its connections, what happens when one is lost, and what is said where none can be had.

A pooler may stand between (PgBouncer in transaction mode): then no statement is prepared under a name, nothing is set
for a session, and whatever takes two messages is a transaction. Where none does, the writer's reads take one message.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, Final, TypeAlias, TypeVar

from headrace._model.urls import shown
from headrace._stores import postgres_schema as schema
from headrace._stores.encoding import cleaned
from headrace.errors import DatabaseTooNew, MissingExtra, NoDatabaseYet, StoreUnavailable

T = TypeVar("T")
Connection: TypeAlias = Any  # asyncpg's: it is loaded by those who have such a database
Work: TypeAlias = Callable[[Connection, bool], Awaitable[T]]

CONNECT_WITHIN: Final = 10.0  # seconds
ANSWER_WITHIN: Final = 60.0
CLOSE_WITHIN: Final = 2.0
PATIENCE: Final = 5.0  # seconds for a server that was there to come back, as it does when it is started anew
# It is shutting down, crashed, is starting, became a standby; what was prepared is void.
LOST: Final = ("57P01", "57P02", "57P03", "25006", "26000", "0A000")
AGAIN: Final = ("40001", "40P01")  # serialization failure, deadlock
NOT_THERE: Final = ("3F000", "42P01")  # no such schema, no such table
COMING: Final = ("53300", "57P03")  # too many connections, is starting
CONNECTION: Final = "08"  # how the codes of lost connections begin
SCHEMES: Final = ("postgresql+asyncpg://", "postgres://", "postgresql://")
START: Final = "Start the server, or set HEADRACE_DATABASE_URL to another database."
CHECK: Final = "Check the user and the password in HEADRACE_DATABASE_URL."
REMEDIES: Final = {
    "28P01": CHECK,
    "28000": CHECK,
    "3D000": "Create it, with createdb for one, or set HEADRACE_DATABASE_URL to another one.",
    "42501": "Let the user create a schema in it: GRANT CREATE ON DATABASE ... TO ...",
    "53300": "Raise the server's max_connections, or put PgBouncer between.",
}


class NotNow(StoreUnavailable):
    """The server cannot be reached, but may come back in a moment."""


class Link:
    """
    The connections to the database *url*.

    Attributes:
        driver: asyncpg.
        writer: The connection of the loop that opened the store; None where none is open, or it was lost.
        loop: That loop; None while the store is closed.
        turn: Who has the writer's connection.
        patience: How long to wait for a server that was there.
        pooled: Whether it may be another server process behind that connection from one transaction to the next.
        statements: What was prepared on it; nothing where it is pooled.
    """

    def __init__(self, url: str) -> None:
        self.where = shown(url)
        scheme = next(one for one in SCHEMES if url.startswith(one))
        self.url = f"postgresql://{url.removeprefix(scheme)}"
        try:
            self.driver: Any = import_module("asyncpg")
        except ImportError:
            raise MissingExtra(f"The database {self.where}", "postgres") from None
        self.failures = (
            OSError,
            self.driver.PostgresError,
            self.driver.InterfaceError,
            self.driver.InternalClientError,
        )
        self.writer: Connection = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.turn = asyncio.Lock()
        self.patience = 0.0
        self.pooled = True
        self.statements: dict[str, Any] = {}

    async def open(self) -> None:
        """Connect, for the loop that runs here; create what is missing."""
        await self.close()
        self.loop, self.turn = asyncio.get_running_loop(), asyncio.Lock()
        try:
            await self.held()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of the writer's connection."""
        writer, self.writer = self.writer, None
        loop, self.loop, self.patience = self.loop, None, 0.0
        if writer is not None and not (loop is None or loop.is_closed()):
            await self.let_go(writer, kindly=loop is asyncio.get_running_loop())

    async def let_go(self, connection: Connection, *, kindly: bool = True) -> None:
        """Close *connection*; at once where it is another loop's, or the server does not answer."""
        if kindly:
            with contextlib.suppress(*self.failures):
                await connection.close(timeout=CLOSE_WITHIN)
        if not connection.is_closed():
            connection.terminate()

    @property
    def connects(self) -> bool:
        """Whether the writer has a connection, as far as it knows."""
        return self.writer is not None and not self.writer.is_closed()

    @property
    def ours(self) -> bool:
        """Whether the writer's connection is for the loop that runs here."""
        return self.loop is not None and self.loop is asyncio.get_running_loop()

    async def run(self, work: Work[T], *, reads: bool = False) -> T:
        """
        Have *work* done with a connection: the writer's, or one of its own where the store is not open on this loop.

        Where the connection is lost meanwhile, or others were in the way, it is done once more, on a new one, and told
        so: the first try may have been committed.

        Args:
            reads: It changes nothing, so no table is made for it, and it needs not wait for the writer's turn.

        Raises:
            StoreUnavailable: It could not be done. As NoDatabaseYet: it reads, and nothing was written so far.
        """
        for again in (False, True):
            try:
                async with self.connection(reads) as connection:
                    return await work(connection, again)
            except self.failures as error:
                if again or not self.transient(error):
                    raise self.unavailable(error) from None
        raise AssertionError

    @asynccontextmanager
    async def connection(self, reads: bool) -> AsyncGenerator[Connection]:
        """Give the connection for one piece of work; one that was lost in it is not used again."""
        if self.ours and not (reads and self.turn.locked()):
            async with self.turn:
                connection = await self.held()
                try:
                    yield connection
                except self.failures as error:
                    if self.lost(error):
                        self.writer = None
                        await self.let_go(connection, kindly=False)
                    raise
            return
        connection = await self.connected()
        try:
            await (self.check(connection) if reads else self.create(connection))
            yield connection
        finally:
            await self.let_go(connection)

    async def held(self) -> Connection:
        """Give the writer's connection; a new one where it was lost, waiting a little for a server that was there."""
        if self.connects:
            return self.writer
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self.patience, 0.02
        while True:
            try:
                self.writer = await self.made_ready()
            except NotNow:
                if loop.time() > deadline:
                    self.patience = 0.0
                    raise
            else:
                self.patience = PATIENCE
                return self.writer
            await asyncio.sleep(pause * (0.5 + random.random()))
            pause = min(pause * 2, 0.5)

    async def made_ready(self) -> Connection:
        """Connect for the writer; see to the tables, and whether a pooler stands between."""
        connection = await self.connected()
        try:
            await self.create(connection)
            self.pooled, self.statements = await self.is_pooled(connection), {}
            if not self.pooled:
                await connection.execute(schema.UNCOMPILED)
        except self.failures as error:
            await self.let_go(connection)
            raise self.unavailable(error, connecting=True) from None
        except BaseException:
            await self.let_go(connection, kindly=False)
            raise
        return connection

    async def is_pooled(self, connection: Connection) -> bool:
        """Tell whether a pooler stands before the server: it answers for many, so it gives a number of its own."""
        ((process,),) = await fetched(connection, schema.PROCESS)
        return bool(process != connection.get_server_pid())

    async def query(self, connection: Connection, statement: str, *values: Any) -> tuple[list[Any], str]:
        """Run *statement*, within a transaction or where there is no pooler; give its rows, and what it did."""
        if self.pooled or connection is not self.writer:
            prepared = await connection.prepare(statement, name="")
        else:
            prepared = self.statements.get(statement)
            if prepared is None:
                named = f"headrace_{len(self.statements)}"
                prepared = self.statements[statement] = await connection.prepare(statement, name=named)
        return await prepared.fetch(*values), prepared.get_statusmsg()

    async def ask(self, connection: Connection, statement: str, *values: Any) -> tuple[list[Any], str]:
        """Run *statement* by itself; give its rows, and what it did."""
        if not self.pooled and connection is self.writer:
            return await self.query(connection, statement, *values)
        async with connection.transaction():
            return await self.query(connection, statement, *values)

    async def read(self, statement: str, *values: Any) -> list[Any]:
        """Give the rows of *statement*; what cannot be stored in its *values* is looked for as it would be."""
        cleanly = cleaned(values)

        async def work(connection: Connection, _again: bool) -> list[Any]:
            return (await self.ask(connection, statement, *cleanly))[0]

        return await self.run(work, reads=True)

    async def change(self, statement: str, *values: Any) -> int:
        """Run *statement*; give how many rows it changed."""
        cleanly = cleaned(values)

        async def work(connection: Connection, _again: bool) -> int:
            return counted((await self.ask(connection, statement, *cleanly))[1])

        return await self.run(work)

    async def connected(self, **settings: str) -> Connection:
        """
        Connect, with those *settings* of the server's.

        Raises:
            StoreUnavailable: It cannot be.
        """
        named = {} if "application_name=" in self.url else {"application_name": "headrace"}
        try:
            return await self.driver.connect(
                self.url,
                timeout=CONNECT_WITHIN,
                command_timeout=ANSWER_WITHIN,
                statement_cache_size=0,
                server_settings=named | settings,
            )
        except (*self.failures, ValueError) as error:
            raise self.unavailable(error, connecting=True) from None

    async def check(self, connection: Connection) -> int:
        """
        Give the version of the tables that are there.

        Raises:
            NoDatabaseYet: There are none.
            DatabaseTooNew: They are of a later Headrace.
        """
        try:
            ((version,),) = await fetched(connection, schema.READ_VERSION)
        except self.driver.PostgresError as error:
            if error.sqlstate in NOT_THERE:
                raise NoDatabaseYet(self.where, "it holds no Headrace tables") from None
            raise
        if version > schema.VERSION:
            raise DatabaseTooNew(self.where, version, schema.VERSION)
        return int(version)

    async def create(self, connection: Connection) -> None:
        """Create the tables, or what later versions added to them, unless another process has done so."""
        with contextlib.suppress(NoDatabaseYet):
            if await self.check(connection) == schema.VERSION:
                return
        async with connection.transaction():
            await connection.execute(schema.ALONE, schema.LOCK, schema.MAKING)
            encoding = await connection.fetchval(schema.ENCODING)
            if encoding != "UTF8":
                raise StoreUnavailable(
                    self.where, f"its encoding is {encoding}, and text of any language is to go in", "Use one in UTF8."
                )
            found = 0
            with contextlib.suppress(NoDatabaseYet):
                # Within a transaction of its own: a statement that fails would end this one.
                found = await self.check(connection)
            for step in schema.STEPS[found:]:
                for statement in step:
                    await connection.execute(statement)
            await connection.execute(f"UPDATE headrace.version SET version = {schema.VERSION}")

    def lost(self, error: Exception) -> bool:
        """Tell whether a connection on which *error* came is of no use any more."""
        code = code_of(error)
        return code in LOST or code.startswith(CONNECTION) or not isinstance(error, self.driver.PostgresError)

    def transient(self, error: Exception) -> bool:
        """Tell whether what failed with *error* may go well when it is tried again."""
        return self.lost(error) or code_of(error) in AGAIN

    def unavailable(self, error: Exception, *, connecting: bool = False) -> StoreUnavailable:
        """Give what to raise for *error*; nothing in it comes from the URL but what may be shown."""
        code = code_of(error)
        if isinstance(error, ValueError) and connecting:
            # What asyncpg says of a URL it cannot read may quote a part of the password.
            return StoreUnavailable(
                self.where,
                "its URL cannot be read",
                "Write signs such as / ? # @ : % in a name or a password as %2F %3F %23 %40 %3A %25.",
            )
        if isinstance(error, TimeoutError):
            reason = f"the server did not answer within {CONNECT_WITHIN if connecting else ANSWER_WITHIN:g} s"
        elif isinstance(error, OSError) and connecting:
            reason = f"no server answers there ({error.strerror or error})"
        else:
            reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        said = NotNow if connecting and (code in COMING or self.lost(error)) else StoreUnavailable
        return said(self.where, reason, REMEDIES.get(code, START))


def code_of(error: Exception) -> str:
    """Give the code that the server gave *error*; "" where it is not the server's."""
    return getattr(error, "sqlstate", None) or ""


async def fetched(connection: Connection, statement: str, *values: Any) -> list[Any]:
    """Read all that *statement* gives, in a transaction: a pooler may not part its two messages."""
    async with connection.transaction():
        rows: list[Any] = await connection.fetch(statement, *values)
        return rows


def counted(status: str) -> int:
    """Give the number of rows in what the server said of a statement: "DELETE 3"."""
    return int(status.rpartition(" ")[2])


def locking(names: Sequence[int]) -> str:
    """Give the script that waits until this transaction alone has the locks *names*, in their order."""
    return ";".join(f"SELECT pg_advisory_xact_lock({schema.LOCK}, {name})" for name in sorted(set(names)))
