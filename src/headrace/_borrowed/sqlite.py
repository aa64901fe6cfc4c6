"""Borrowed connections to a SQLite file: of sqlite3, which block, and of aiosqlite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from headrace._borrowed.line import EndedWithin
from headrace._ports import Batch
from headrace._stores import schema
from headrace._stores.encoding import as_json, statements
from headrace.errors import StaleRuns

# Of the database itself, and not of one that was attached to it: a commit is no single one for both.
TABLE: Final = "SELECT 1 FROM main.sqlite_master WHERE type = 'table' AND name = 'run_owner'"
RUN: Final = "SELECT 1 FROM main.flow_run WHERE id = ?"
FILE: Final = "SELECT file FROM pragma_database_list WHERE name = 'main'"
# A savepoint is gone with the transaction that it was made in, whatever was begun since.
MARK: Final = "SAVEPOINT headrace_step"
MARKED: Final = "RELEASE headrace_step"


class OnSQLite:
    """A connection to a SQLite file; how statements are run, its driver says."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    @property
    def busy(self) -> bool:
        """Whether it is in a transaction; with `autocommit=False` it always is."""
        return bool(self.connection.in_transaction)

    async def first(self, statement: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """Run *statement*; give the first row, or None."""
        raise NotImplementedError

    async def begin(self) -> None:
        """Begin a transaction that may write at once."""
        await self.first("BEGIN IMMEDIATE")

    async def holds(self, run_id: str) -> bool:
        """Tell whether the flow run *run_id* is on record in the file."""
        return bool(await self.first(TABLE) and await self.first(RUN, (run_id,)))

    async def mark(self, step: str) -> None:
        """Have the transaction be known again."""
        await self.first(MARK)

    async def write(self, batch: Batch, step: str) -> None:
        """Write *batch* in the transaction that was marked."""
        try:
            await self.first(MARKED)
        except Exception as error:
            if "no such savepoint" not in str(error):
                raise
            raise EndedWithin from None
        stale = await self.first(schema.STALE, (as_json(list(batch.fences.items())),))
        if stale is not None:
            raise StaleRuns([stale[0]])
        for statement, values in statements(batch):
            await self.first(statement, tuple(values))

    async def commit(self) -> None:
        """Commit: by a statement, since the driver's own method does nothing with `autocommit=True`."""
        await self.first("COMMIT")

    async def roll_back(self) -> None:
        """Roll back, if there is a transaction once all is done that was asked of the connection before."""
        try:
            await self.first("ROLLBACK")
        except Exception as error:
            if "no transaction is active" not in str(error):
                raise

    async def where(self) -> str:
        """Say which file that is."""
        (file,) = await self.first(FILE) or ("",)
        return file or "a database of SQLite in memory"

    def in_doubt(self, error: BaseException) -> bool:
        """Tell whether a commit that came to *error* may have been done: where nobody has heard what came of it."""
        return not isinstance(error, Exception)


class Blocking(OnSQLite):
    """A connection of sqlite3."""

    blocks = True

    async def first(self, statement: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """Run *statement*; give the first row, or None."""
        cursor = self.connection.cursor()
        cursor.row_factory = None  # the user's may make anything of a row
        found: tuple[Any, ...] | None = cursor.execute(statement, values).fetchone()
        cursor.close()
        return found


class Awaited(OnSQLite):
    """A connection of aiosqlite."""

    blocks = False

    async def first(self, statement: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """Run *statement*; give the first row, or None."""
        async with self.connection.cursor() as cursor:
            cursor.row_factory = None
            await cursor.execute(statement, values)
            found: tuple[Any, ...] | None = await cursor.fetchone()
            return found
