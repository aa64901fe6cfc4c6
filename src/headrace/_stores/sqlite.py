"""
The store in a SQLite file, shared by any number of processes of one machine.

Writing is plain sqlite3 on the thread that calls `append`, one at a time: a batch is one transaction of at most ten
statements, and where only steps end a single one.
Reading goes through aiosqlite on a connection of its own and never stops the writer (WAL).
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sqlite3
import stat
import time
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiosqlite

from headrace._model.events import CRASHED, Stamp
from headrace._model.ids import prefix_of
from headrace._model.records import FlowRun, History, LogLine, Request, TaskRun, nanoseconds
from headrace._ports import Batch
from headrace._stores import schema
from headrace._stores.encoding import as_json, cleaned, only_steps, statements
from headrace._stores.histories import put_together
from headrace._stores.rows import LOG_COLUMNS, asked_for, flow_record, log_record, task_record
from headrace._stores.schema import LAST
from headrace._stores.sqlite_limits import SQLiteLimits
from headrace._stores.sqlite_owners import SQLiteOwners
from headrace._stores.sqlite_reading import check, level, roll_back, said
from headrace._stores.sqlite_results import SQLiteResults
from headrace._stores.sqlite_signals import SQLiteSignals
from headrace.errors import NoDatabaseYet, Occupied, StoreUnavailable

log: Final = logging.getLogger("headrace.store")
PATIENCE: Final = 60.0
SILENCE: Final = 2.0  # seconds of waiting before it is said, so that nobody takes it for a hang
IMPATIENCE: Final = 0.5  # once a wait was in vain, so that plain runs go on beside a file that is never given free
TURN: Final = 1.0
CACHE: Final = 16_000  # KB. A thousand flows at once touch as many pages at each step; SQLite's own number holds 500.
PAGES: Final = 1_000  # of the write-ahead log, which are then moved over to the file: SQLite's own number
BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class SQLiteStore:
    """
    Keeps rows in the SQLite file *path*.

    Args:
        synchronous: SQLite's setting for every commit; None: FULL where a durable flow is among it, else NORMAL.
    """

    suspends = False

    def __init__(self, path: Path, synchronous: str | None = None) -> None:
        # Absolute from the start: a flow may change the working directory.
        self.path = path.absolute()
        self.where = str(self.path)
        self.synchronous = synchronous
        self.current_synchronous = ""
        self.file: tuple[int, int] | None = None
        self.patient = self.currently_patient = True
        self.patience = PATIENCE
        self.said_to_wait = False
        self.writer: sqlite3.Connection | None = None
        # All that was asked of anyone, as of this PRAGMA data_version; None: not read since it may have changed.
        self.asked: list[Request] = []
        self.asked_version: int | None = None
        self.results = SQLiteResults(self)
        self.limits = SQLiteLimits(self)
        self.owners = SQLiteOwners(self)
        self.signals = SQLiteSignals(self)

    async def open(self) -> None:
        """Create folder, file and tables where they are missing; the folder and the file are their owner's alone."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            self.writer = connection = sqlite3.connect(
                self.path, timeout=TURN, isolation_level=None, check_same_thread=False
            )
            self.file = self.found()
            self.patiently("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA cache_size = -{CACHE}")
            self.create(connection)
        except (OSError, sqlite3.Error) as error:
            await self.close()
            raise self.unavailable(error) from None
        except StoreUnavailable:
            await self.close()
            raise

    def create(self, connection: sqlite3.Connection) -> None:
        """
        Create the tables, or what later versions added to them, unless another process has done so.

        Raises:
            StoreUnavailable: Another program's database; as DatabaseTooNew: a later Headrace has been here.
        """
        if self.version() == schema.VERSION:
            return
        self.patiently("BEGIN IMMEDIATE")
        try:
            for step in schema.STEPS[self.version() :]:
                for statement in step:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {schema.VERSION}")
            self.patiently("COMMIT")
        except BaseException:
            roll_back(connection)
            raise

    def version(self) -> int:
        """
        Give the version of the schema that is there; 0 where there is none.

        Raises:
            StoreUnavailable: The file is another program's; as DatabaseTooNew: it is of a later Headrace.
        """
        (found,) = self.patiently("PRAGMA user_version").fetchone()
        (application,) = self.patiently("PRAGMA application_id").fetchone()
        check(self.where, found, application)
        return int(found)

    async def append(self, batch: Batch) -> None:
        """Write *batch* as one transaction, waiting for other processes in their turn."""
        if self.writer is not None and self.found() != self.file:
            # SQLite itself would go on writing into a file that has no name any more.
            await self.close()
            raise StoreUnavailable(
                self.where, "the file was deleted or replaced while it was in use", "What follows goes into a new one."
            )
        if self.writer is None:
            await self.open()
        connection = self.writer
        assert connection is not None
        try:
            self.settle(connection, batch.strict)
            steps = only_steps(batch)
            if steps is None or self.patiently(*steps).rowcount != len(batch):
                self.write(connection, batch)
        except sqlite3.Error as error:
            raise self.unavailable(error) from None
        self.patience = PATIENCE
        self.said_to_wait = False

    def write(self, connection: sqlite3.Connection, batch: Batch) -> None:
        """Write *batch* in a transaction."""
        self.patiently("BEGIN IMMEDIATE")
        try:
            self.owners.fence(connection, batch)
            for statement, values in statements(batch):
                connection.execute(statement, values)
            self.signals.note(connection, batch)
            self.owners.suspend(connection, batch)
            self.patiently("COMMIT")
        except BaseException:
            roll_back(connection)
            raise

    def patiently(self, statement: str, values: Sequence[Any] | dict[str, Any] = ()) -> sqlite3.Cursor:
        """
        Run *statement*, again while another process holds the file.

        SQLite's own waiting (busy_timeout) does not cover a change of the journal mode, nor is it fair; so ours goes on
        top, with growing pauses drawn at random.
        """
        connection = self.writer
        assert connection is not None
        began = time.monotonic()
        deadline = began + (self.patience if self.patient else 0)
        pause = 0.001
        while True:
            try:
                return connection.execute(statement, values)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in BUSY or time.monotonic() > deadline:
                    raise
            if not self.said_to_wait and time.monotonic() > began + SILENCE:
                self.said_to_wait = True
                log.warning("Another process holds the database %s; waiting for it up to %g s", self.where, PATIENCE)
            time.sleep(pause * random.random())
            pause = min(pause * 2, 0.1)

    def unavailable(self, error: Exception) -> StoreUnavailable:
        """Give what to raise for *error*; where others held the file, do not wait that long again."""
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in BUSY:
            if not self.patient:
                return Occupied(self.where, "another process holds it")
            waited, self.patience = self.patience, IMPATIENCE
            return StoreUnavailable(
                self.where,
                f"another process has held it for more than {waited:g} s",
                "End that process or its transaction, or set HEADRACE_DATABASE_URL to another database.",
            )
        if isinstance(error, FileExistsError):
            return StoreUnavailable(self.where, f"{self.path.parent} is a file, not a folder")
        return StoreUnavailable(self.where, said(error))

    def found(self) -> tuple[int, int] | None:
        """Give what tells the file at the path from any other; None where there is none."""
        try:
            there = os.stat(self.path)
        except OSError:
            return None
        return there.st_dev, there.st_ino

    @property
    def quick(self) -> bool:
        """Whether no commit waits for the disk."""
        return self.synchronous in {"NORMAL", "OFF"}

    def settle(self, connection: sqlite3.Connection, strict: bool) -> None:
        """Have SQLite wait for the disk as the batch needs it, and for others if that is wanted."""
        self.settle_patience(connection)
        wanted = self.synchronous or ("FULL" if strict else "NORMAL")
        if wanted != self.current_synchronous:
            connection.execute(f"PRAGMA synchronous = {wanted}")
            self.current_synchronous = wanted

    def settle_patience(self, connection: sqlite3.Connection) -> None:
        """Have SQLite wait for others, and move what is in its write-ahead log over to the file, or do neither."""
        if self.patient is self.currently_patient:
            return
        connection.execute(f"PRAGMA busy_timeout = {int(TURN * 1000) if self.patient else 0}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {PAGES if self.patient else 0}")
        self.currently_patient = self.patient

    async def close(self) -> None:
        """Let go of the file."""
        self.results.close()
        self.signals.close()
        connection, self.writer, self.current_synchronous, self.asked_version = self.writer, None, "", None
        self.currently_patient = True
        if connection is not None:
            connection.close()

    def look(self) -> None:
        """
        See that there is a file that can be read, before aiosqlite tries.

        When that cannot connect, its thread may outlive the caller's loop and end with a traceback of its own. The file
        is not opened to see: closing it again would give up the locks that SQLite holds on it in this process.

        Raises:
            StoreUnavailable: There is none, or it cannot be read.
        """
        try:
            mode = self.path.stat().st_mode
        except FileNotFoundError:
            raise NoDatabaseYet(self.where) from None
        if stat.S_ISDIR(mode):
            raise StoreUnavailable(self.where, "it is a folder")
        if not os.access(self.path, os.R_OK):
            raise StoreUnavailable(self.where, "this user may not read it")

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[tuple[aiosqlite.Connection, int]]:
        """
        Open a connection that only reads; gives it with the version of the schema there.

        Raises:
            StoreUnavailable: There is no database yet, or it cannot be read.
        """
        try:
            self.look()
            async with aiosqlite.connect(self.path, timeout=PATIENCE) as connection:
                await connection.execute("PRAGMA query_only = 1")
                async with connection.execute("PRAGMA user_version") as cursor:
                    (found,) = await cursor.fetchone() or (0,)
                async with connection.execute("PRAGMA application_id") as cursor:
                    (application,) = await cursor.fetchone() or (0,)
                check(self.where, found, application)
                if found == 0:
                    raise NoDatabaseYet(self.where, "it holds no Headrace tables")
                yield connection, int(found)
        except (OSError, sqlite3.Error) as error:
            raise self.unavailable(error) from None

    async def rows(self, statement: str, values: Sequence[Any] | dict[str, Any]) -> list[tuple[Any, ...]]:
        """Read all that *statement* gives."""
        async with self.reading() as (connection, version):
            known = schema.as_of(version, statement)
            if known is None:
                return []
            async with connection.execute(known, values) as cursor:
                return [tuple(row) for row in await cursor.fetchall()]

    async def flow_runs(self, *, limit: int = 100, state: str | None = None, begins: str = "") -> list[FlowRun]:
        """List flow runs, newest first."""
        where: list[str] = []
        values: list[Any] = []
        if begins:
            where.append("id >= ? AND id < ?")
            values += [begins, begins + LAST]
        if state is not None:
            where.append("(state_type = upper(?) OR lower(state_name) = lower(?))")
            values += [state, state]
        condition = f" WHERE {' AND '.join(where)}" if where else ""
        statement = f"{schema.READ_FLOWS}{condition} ORDER BY created DESC, id DESC LIMIT ?"
        return [flow_record(row) for row in await self.rows(statement, [*values, limit])]

    async def crash(self, run: FlowRun, why: str, at: int, stamp: Stamp = CRASHED) -> bool:
        """Have a run whose process has ended be Crashed, in one transaction."""
        prefix = prefix_of(run.id)
        values = {"id": run.id, "owner": run.owner, "why": why, "at": at, "first": prefix, "last": prefix + LAST}
        values["type"], values["name"] = stamp
        async with self.writing() as connection:
            if not connection.execute(schema.CRASH_FLOW, values).rowcount:
                return False
            connection.execute(schema.CRASH_TASKS, values)
        return True

    async def unfinished(self) -> list[FlowRun]:
        """List flow runs that have not ended."""
        return [flow_record(row) for row in await self.rows(schema.READ_UNFINISHED, ())]

    async def task_runs(
        self, prefix: str, *, limit: int | None = None, state: str | None = None, slowest: bool = False
    ) -> list[TaskRun]:
        """List task runs in the order in which they were called, or the slowest first."""
        where = ["id >= ? AND id < ?"]
        values: list[Any] = [prefix, prefix + LAST]
        if state is not None:
            where.append("state_type = upper(?)")
            values.append(state)
        if slowest:
            where.append("end_time IS NOT NULL")
        order = "end_time - start_time DESC, id" if slowest else "id"
        statement = f"{schema.READ_TASKS} WHERE {' AND '.join(where)} ORDER BY {order} LIMIT ?"
        rows = await self.rows(statement, [*values, -1 if limit is None else limit])
        return [task_record(row) for row in rows]

    async def task_counts(self, prefix: str) -> dict[str, int]:
        """Count task runs by the type of their state."""
        statement = "SELECT state_type, count(*) FROM task_run WHERE id >= ? AND id < ? GROUP BY 1"
        return {kind: count for kind, count in await self.rows(statement, (prefix, prefix + LAST))}  # noqa: C416 - typed

    async def children(self, run_ids: Sequence[str]) -> list[FlowRun]:
        """List the flow runs that *run_ids* called, oldest first."""
        statement = f"{schema.READ_FLOWS} WHERE parent_id IN (SELECT value FROM json_each(?)) ORDER BY created, id"
        return [flow_record(row) for row in await self.rows(statement, (as_json(list(run_ids)),))]

    async def below(self, prefix: str) -> list[FlowRun]:
        """List the flow runs that runs under *prefix* called, oldest first."""
        statement = f"{schema.READ_FLOWS} WHERE parent_id >= ? AND parent_id < ? ORDER BY created, id"
        return [flow_record(row) for row in await self.rows(statement, (prefix, prefix + LAST))]

    async def histories(self, run_ids: Collection[str]) -> dict[str, History]:
        """Give what is on record of *run_ids* and of all below them."""
        return await put_together(level(self), run_ids)

    async def logs(self, run_ids: Sequence[str], *, limit: int | None = None) -> list[LogLine]:
        """List log lines, oldest first."""
        prefixes = sorted({prefix_of(run_id) for run_id in run_ids})
        columns = ", ".join(f"log.{column}" for column in LOG_COLUMNS)
        statement = (
            f"SELECT {columns} FROM json_each(?) AS wanted "
            f"JOIN log ON log.run_id >= wanted.value AND log.run_id < wanted.value || '{LAST}' "
            f"ORDER BY log.at, log.id LIMIT ?"
        )
        rows = await self.rows(statement, (as_json(prefixes), -1 if limit is None else limit))
        return [log_record(row) for row in rows]

    async def delete(self, run_id: str) -> int:
        """Remove a flow run and all below it, in one transaction."""
        doomed: list[str] = []
        found = [run for run in await self.flow_runs(limit=1, begins=run_id) if run.id == run_id]
        while found:
            doomed += [run.id for run in found]
            below = [task.id for run in found for task in await self.task_runs(prefix_of(run.id))]
            found = await self.children([run.id for run in found] + below)
        async with self.writing() as connection:
            for flow in doomed:
                prefix = prefix_of(flow)
                connection.execute("DELETE FROM flow_run WHERE id = ?", (flow,))
                connection.execute("DELETE FROM task_run WHERE id >= ? AND id < ?", (prefix, prefix + LAST))
                connection.execute("DELETE FROM log WHERE run_id >= ? AND run_id < ?", (prefix, prefix + LAST))
                connection.execute("DELETE FROM result WHERE key >= ? AND key < ?", (prefix, prefix + LAST))
                connection.execute("DELETE FROM run_owner WHERE run_id = ?", (flow,))
            self.asked_version = None
            connection.execute(schema.FORGET_ENDED)
        return len(doomed)

    async def request(self, request: Request) -> bool:
        """Leave *request* if its run goes on, and take away what was asked of runs that do not."""
        values = (request.what, request.why, nanoseconds(request.at), request.run_id)
        async with self.writing() as connection:
            self.asked_version = None
            connection.execute(schema.FORGET_ENDED)
            asked = connection.execute(schema.ASK, cleaned(values)).rowcount == 1
            if asked:
                connection.execute(schema.ROUSE, (request.run_id,))
            return asked

    async def requests(self, run_ids: Collection[str]) -> list[Request]:
        """List what was asked of *run_ids*; on the writer's connection, read only after another process wrote."""
        connection = self.writer
        if connection is None:
            asked = [asked_for(row) for row in await self.rows(schema.READ_REQUESTS, ())]
        else:
            try:
                (version,) = connection.execute("PRAGMA data_version").fetchone()
                if version != self.asked_version:
                    self.asked = [asked_for(row) for row in connection.execute(schema.READ_REQUESTS).fetchall()]
                    self.asked_version = version
            except sqlite3.Error as error:
                raise StoreUnavailable(self.where, said(error)) from None
            asked = self.asked
        wanted = set(run_ids) if asked else ()
        return [request for request in asked if request.run_id in wanted]

    async def heard(self, requests: Collection[Request]) -> None:
        """Remove *requests*."""
        connection = self.writer
        if connection is None:
            async with self.writing():
                await self.heard(requests)
            return
        try:
            self.settle_patience(connection)
            connection.execute(schema.FORGET_HEARD, (as_json([(one.run_id, one.what) for one in requests]),))
        except sqlite3.Error as error:
            raise StoreUnavailable(self.where, said(error)) from None
        self.asked_version = None

    @asynccontextmanager
    async def writing(self) -> AsyncGenerator[sqlite3.Connection]:
        """
        Begin a transaction, and commit it after the block; on a connection of its own where there is no writer's.

        Raises:
            StoreUnavailable: It cannot be written; nothing was.
        """
        own = self.writer is None
        if own:
            await self.open()
        connection = self.writer
        assert connection is not None
        try:
            self.patiently("BEGIN IMMEDIATE")
            yield connection
            self.patiently("COMMIT")
        except sqlite3.Error as error:
            raise self.unavailable(error) from None
        finally:
            roll_back(connection)
            if own:
                await self.close()

    def size(self) -> int:
        """Give the bytes of the file and of its write-ahead log, where commits stay until SQLite moves them over."""
        size = self.path.stat().st_size
        with contextlib.suppress(FileNotFoundError):  # gone when the last connection is
            size += self.path.with_name(f"{self.path.name}-wal").stat().st_size
        return size

    async def facts(self) -> dict[str, str]:
        """Say where the data is, how large, and how SQLite keeps it."""
        async with self.reading() as (connection, _):
            found = {"database": self.where, "size": f"{self.size() / 1e6:.1f} MB"}
            for name, statement in (
                ("SQLite", "SELECT sqlite_version()"),
                ("journal mode", "PRAGMA journal_mode"),
                ("schema version", "PRAGMA user_version"),
                ("flow runs", "SELECT count(*) FROM flow_run"),
                ("task runs", "SELECT count(*) FROM task_run"),
            ):
                async with connection.execute(statement) as cursor:
                    row = await cursor.fetchone()
                    found[name] = f"{row[0]:,}" if row and isinstance(row[0], int) else str(row[0] if row else "")
            found["synchronous"] = self.synchronous or "NORMAL; FULL for durable flows"
            return found
