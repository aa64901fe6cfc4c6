"""Borrowed connections to a PostgreSQL server: of asyncpg and of psycopg, blocking or not."""

from __future__ import annotations

from typing import Any, Final

from headrace._borrowed.line import EndedWithin
from headrace._ports import Batch
from headrace._stores.postgres_encoding import quoted, writing
from headrace._stores.postgres_link import CONNECTION, LOST, code_of
from headrace._stores.postgres_writing import STALE
from headrace.errors import StaleRuns

TABLE: Final = "SELECT 1 WHERE to_regclass('headrace.run_owner') IS NOT NULL"
RUN: Final = "SELECT 1 FROM headrace.flow_run WHERE id = {}"
# A setting of this transaction alone.
MARK: Final = "SELECT set_config('headrace.step', {}, true)"
MARKED: Final = "WHERE current_setting('headrace.step', true) = {}"
PLACE: Final = (
    "SELECT 'the PostgreSQL database ' || current_database() "
    "|| coalesce(' on ' || host(inet_server_addr()) || ':' || inet_server_port(), '')"
)


class OnPostgres:
    """A connection to a PostgreSQL server; how statements are run, its driver says."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.transaction: Any = None

    async def gives(self, statement: str) -> bool:
        """Run *statement*; tell whether it gives a row."""
        raise NotImplementedError

    async def told(self, statement: str) -> str:
        """Run *statement*; give the text that is its only value."""
        raise NotImplementedError

    async def holds(self, run_id: str) -> bool:
        """Tell whether the flow run *run_id* is on record in the database."""
        return await self.gives(TABLE) and await self.gives(RUN.format(quoted(run_id)))

    async def mark(self, step: str) -> None:
        """Have the transaction be known again as that of the run *step*."""
        await self.gives(MARK.format(quoted(step)))

    async def write(self, batch: Batch, step: str) -> None:
        """Write *batch* in the transaction that was marked; from then on nobody takes its run over until the end."""
        try:
            written = await self.gives(f"{writing(batch)} {MARKED.format(quoted(step))}")
        except Exception as error:
            if code_of(error) != STALE:
                raise
            raise StaleRuns(list(batch.fences)) from None
        if not written:
            raise EndedWithin

    async def where(self) -> str:
        """Say which database that is, and where."""
        return await self.told(PLACE)

    def in_doubt(self, error: BaseException) -> bool:
        """Tell whether a commit that came to *error* may have been done: where no server has said that it was not."""
        code = code_of(error) if isinstance(error, Exception) else ""
        return not code or code in LOST or code.startswith(CONNECTION)


class AsyncPG(OnPostgres):
    """A connection of asyncpg, or one that its pool lends."""

    blocks = False

    @property
    def busy(self) -> bool:
        """Whether it is in a transaction."""
        return bool(self.connection.is_in_transaction())

    async def gives(self, statement: str) -> bool:
        """Run *statement*; tell whether it gives a row. Nothing is prepared for it: it is never the same twice."""
        status: str = await self.connection.execute(statement)
        return not status.endswith(" 0")

    async def told(self, statement: str) -> str:
        """Run *statement*; give the text that is its only value."""
        return str(await self.connection.fetchval(statement))

    async def begin(self) -> None:
        """Begin a transaction."""
        self.transaction = self.connection.transaction()
        await self.transaction.start()

    async def commit(self) -> None:
        """Commit."""
        await self.transaction.commit()

    async def roll_back(self) -> None:
        """Roll back, if there is a transaction."""
        if self.busy:
            await self.transaction.rollback()


class Undone(Exception):
    """What has psycopg roll a transaction back."""


class OfPsycopg(OnPostgres):
    """A connection of psycopg. Its own transactions begin and end alike with `autocommit` and without."""

    @property
    def busy(self) -> bool:
        """Whether it is in a transaction."""
        return bool(self.connection.info.transaction_status.name != "IDLE")

    def taken(self) -> Any:
        """Give the transaction that was begun, which is ended once; None where there is none."""
        transaction, self.transaction = self.transaction, None
        return transaction


class Psycopg(OfPsycopg):
    """One that blocks."""

    blocks = True

    async def gives(self, statement: str) -> bool:
        """Run *statement*; tell whether it gives a row."""
        return bool(self.connection.execute(statement).rowcount)

    async def told(self, statement: str) -> str:
        """Run *statement*; give the text that is its only value, whatever the user has rows made into."""
        return str(self.connection.execute(statement).pgresult.get_value(0, 0).decode())

    async def begin(self) -> None:
        """Begin a transaction."""
        transaction = self.connection.transaction()
        transaction.__enter__()
        self.transaction = transaction

    async def commit(self) -> None:
        """Commit."""
        self.taken().__exit__(None, None, None)

    async def roll_back(self) -> None:
        """Roll back, if there is a transaction."""
        transaction = self.taken()
        if transaction is not None:
            transaction.__exit__(Undone, Undone(), None)
        elif self.busy:
            self.connection.rollback()


class AsyncPsycopg(OfPsycopg):
    """One that awaits."""

    blocks = False

    async def gives(self, statement: str) -> bool:
        """Run *statement*; tell whether it gives a row."""
        return bool((await self.connection.execute(statement)).rowcount)

    async def told(self, statement: str) -> str:
        """Run *statement*; give the text that is its only value, whatever the user has rows made into."""
        return str((await self.connection.execute(statement)).pgresult.get_value(0, 0).decode())

    async def begin(self) -> None:
        """Begin a transaction."""
        transaction = self.connection.transaction()
        await transaction.__aenter__()
        self.transaction = transaction

    async def commit(self) -> None:
        """Commit."""
        await self.taken().__aexit__(None, None, None)

    async def roll_back(self) -> None:
        """Roll back, if there is a transaction."""
        transaction = self.taken()
        if transaction is not None:
            await transaction.__aexit__(Undone, Undone(), None)
        elif self.busy:
            await self.connection.rollback()
