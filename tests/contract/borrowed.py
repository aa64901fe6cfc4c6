"""
What tests of step transactions share: databases with the record and the user's rows, and each driver to write there.

From a crash on, the record takes nothing more, and the bodies of tasks do nothing that would be seen.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import aiosqlite
import attrs
import pytest

import headrace
from headrace import _runtime, aio, durable, runs
from headrace._ports import Batch
from headrace._runtime import Runtime
from headrace._stores.postgres import PostgresStore
from headrace._stores.sqlite import SQLiteStore
from headrace.errors import StoreUnavailable
from headrace.settings import Settings
from tests.contract.postgres_server import Server
from tests.spec.forms import Form

SYNC, ASYNC = Form("sync"), Form("async")


class Killed(Exception):
    """Leaves a body at the moment at which its process is taken to have ended."""


class Books:
    """
    A database with the record, and with payments that are the user's.

    Attributes:
        fatal: The place at which the process is taken to end.
        ran: The places that bodies came to, those after a crash left out.
    """

    def __init__(self, home: Path, server: Server | None) -> None:
        self.home = home
        self.server = server
        self.name = "" if server is None else server.database()
        self.schema = "" if server is None else "headrace."
        self.url = f"sqlite:///{home / 'headrace.db'}" if server is None else server.url(self.name)
        self.fatal: str | None = None
        self.dead = False
        self.ran: list[str] = []
        with self.runtime():
            headrace.flow(durable=True)(nothing)()  # so that there is a record
        self.rows("CREATE TABLE payment (number integer)")

    def rows(self, statement: str) -> list[list[str]]:
        """Run *statement* beside all that is tested; give its rows."""
        if self.server is not None:
            return self.server.psql(statement, self.name)
        with closing(sqlite3.connect(self.home / "headrace.db", isolation_level=None)) as connection:
            return [[str(value) for value in row] for row in connection.execute(statement)]

    def payments(self) -> list[str]:
        """List the user's rows."""
        return [number for (number,) in self.rows("SELECT number FROM payment ORDER BY number")]

    def recorded(self) -> list[str]:
        """List the names of the steps that are on record as completed."""
        found = self.rows(f"SELECT task_name FROM {self.schema}task_run WHERE state_type = 'COMPLETED' ORDER BY id")
        return [name for (name,) in found]

    def owned(self) -> list[list[str]]:
        """List the durable runs that have not ended."""
        return self.rows(f"SELECT run_id FROM {self.schema}run_owner")

    def taken_over(self) -> None:
        """Have another process take over all that is in progress."""
        self.rows(f"UPDATE {self.schema}run_owner SET epoch = epoch + 1")

    def visit(self, place: str) -> None:
        """Note that a body came to *place*; there the process may end."""
        if self.dead:
            raise Killed(place)
        self.ran.append(place)
        if place == self.fatal:
            self.crash()

    def crash(self) -> NoReturn:
        """Take the process to have ended."""
        self.dead = True
        raise Killed(self.fatal)

    @contextmanager
    def runtime(self) -> Generator[Runtime]:
        """Use a runtime on the database."""
        given = attrs.evolve(Settings.read(), home=str(self.home), database_url=self.url, progress=False)
        store = InFile(self) if self.server is None else OnServer(self)
        runtime = Runtime(given, store)
        before = _runtime.replace(runtime)
        try:
            yield runtime
        finally:
            _runtime.replace(before)
            runtime.close()
            self.dead, self.fatal = False, None

    def crashes(self, flow: Any, *args: Any, at: str) -> str:
        """Call a flow, and have its process end when a body comes to *at*; give the id of the run."""
        with self.runtime():
            self.fatal = at
            with contextlib.suppress(Killed, StoreUnavailable):
                called(flow, *args)
            assert self.dead, f"no body came to {at!r}: {self.ran}"
        self.ran.clear()
        with self.runtime():
            return runs.flow_runs(limit=1)[0].id

    def resumes(self, flow: Any, run_id: str) -> Any:
        """Resume a run in a fresh runtime; give what it returns."""
        with self.runtime():
            return headrace.run(aio.resume(run_id)) if flow.spec.is_async else durable.resume(run_id)


class InFile(SQLiteStore):
    """A store in a file, as long as its process lives."""

    def __init__(self, books: Books) -> None:
        super().__init__(books.home / "headrace.db")
        self.books = books

    async def append(self, batch: Batch) -> None:
        see_alive(self.books)
        await super().append(batch)


class OnServer(PostgresStore):
    """A store on a server, as long as its process lives."""

    def __init__(self, books: Books) -> None:
        super().__init__(books.url)
        self.books = books

    async def append(self, batch: Batch) -> None:
        see_alive(self.books)
        await super().append(batch)


def see_alive(books: Books) -> None:
    if books.dead:
        raise StoreUnavailable("here", "the process has ended")


def nothing() -> None:
    """Be a flow."""


def called(callee: Any, *args: Any) -> Any:
    """Call a flow or task of either form from blocking code."""
    value = callee(*args)
    return headrace.run(value) if callee.spec.is_async else value


@headrace.task(name="charge")
def charge_at(path: str) -> None:
    """Insert a payment into the file *path*, in whichever process."""
    with closing(sqlite3.connect(path)) as connection, durable.step_transaction(connection):
        connection.execute("INSERT INTO payment VALUES (7)")


# -- drivers -----------------------------------------------------------------------------------------------------------


@attrs.frozen
class Driver:
    """
    A driver as users have it.

    Attributes:
        place: The kind of database that it reaches.
        form: How functions are written that use it.
        connected: Opens a connection to a database, or a session.
        execute: Runs a statement on it.
        begin: The statement with which a transaction begins.
    """

    place: str
    form: Form
    connected: Callable[[Books], AbstractAsyncContextManager[Any]]
    execute: Callable[[Any, str], Any]
    begin: str = "BEGIN"

    @asynccontextmanager
    async def block(self, connection: Any) -> AsyncGenerator[Any]:
        """Open a step transaction, as code of this form does."""
        if self.form.is_async:
            async with durable.step_transaction(connection) as transaction:
                yield transaction
        else:
            with durable.step_transaction(connection) as transaction:
                yield transaction


def by(module: str) -> Any:
    """Give a module that is there for tests alone."""
    return import_module(module)


@asynccontextmanager
async def sqlite3_connection(books: Books) -> AsyncGenerator[Any]:
    with closing(sqlite3.connect(books.home / "headrace.db")) as connection:
        yield connection


@asynccontextmanager
async def aiosqlite_connection(books: Books) -> AsyncGenerator[Any]:
    async with aiosqlite.connect(books.home / "headrace.db") as connection:
        yield connection


@asynccontextmanager
async def asyncpg_connection(books: Books) -> AsyncGenerator[Any]:
    connection = await by("asyncpg").connect(books.url)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def asyncpg_pool(books: Books) -> AsyncGenerator[Any]:
    async with by("asyncpg").create_pool(books.url, min_size=1, max_size=2) as pool, pool.acquire() as connection:
        yield connection


@asynccontextmanager
async def psycopg_connection(books: Books) -> AsyncGenerator[Any]:
    with closing(by("psycopg").connect(books.url)) as connection:
        yield connection


@asynccontextmanager
async def psycopg_autocommit(books: Books) -> AsyncGenerator[Any]:
    with closing(by("psycopg").connect(books.url, autocommit=True)) as connection:
        yield connection


@asynccontextmanager
async def async_psycopg(books: Books) -> AsyncGenerator[Any]:
    connection = await by("psycopg").AsyncConnection.connect(books.url)
    try:
        yield connection
    finally:
        await connection.close()


def session_by(driver: str) -> Callable[[Books], AbstractAsyncContextManager[Any]]:
    """Give what opens a session of SQLAlchemy over *driver*."""

    @asynccontextmanager
    async def session(books: Books) -> AsyncGenerator[Any]:
        asyncio = by("sqlalchemy.ext.asyncio")
        engine = asyncio.create_async_engine(books.url.replace("://", f"+{driver}://", 1))
        try:
            async with asyncio.AsyncSession(engine) as made:
                yield made
        finally:
            await engine.dispose()

    return session


async def plainly(connection: Any, statement: str) -> None:
    connection.execute(statement)


async def awaited(connection: Any, statement: str) -> None:
    await connection.execute(statement)


async def as_text(session: Any, statement: str) -> None:
    """A COMMIT in the form in which users of a session write it: SQLAlchemy hears nothing of a statement."""
    if statement == "COMMIT":
        await session.commit()
    else:
        await session.execute(by("sqlalchemy").text(statement))


DRIVERS = {
    "sqlite3": Driver("sqlite", SYNC, sqlite3_connection, plainly),
    "aiosqlite": Driver("sqlite", ASYNC, aiosqlite_connection, awaited),
    "sqlalchemy-aiosqlite": Driver("sqlite", ASYNC, session_by("aiosqlite"), as_text, "SELECT 1"),
    "asyncpg": Driver("postgresql", ASYNC, asyncpg_connection, awaited),
    "asyncpg-pool": Driver("postgresql", ASYNC, asyncpg_pool, awaited),
    "psycopg": Driver("postgresql", SYNC, psycopg_connection, plainly, "SELECT 1"),
    "psycopg-autocommit": Driver("postgresql", SYNC, psycopg_autocommit, plainly),
    "psycopg-async": Driver("postgresql", ASYNC, async_psycopg, awaited, "SELECT 1"),
    "sqlalchemy-asyncpg": Driver("postgresql", ASYNC, session_by("asyncpg"), as_text, "SELECT 1"),
    "sqlalchemy-psycopg": Driver("postgresql", ASYNC, session_by("psycopg"), as_text, "SELECT 1"),
}


def books_for(driver: Driver, home: Path, request: pytest.FixtureRequest) -> Books:
    """Make a database of the kind that *driver* reaches."""
    return Books(home, request.getfixturevalue("postgresql") if driver.place == "postgresql" else None)
