"""Who has which durable run, in the SQLite file. What a run's end changes of it is written with the batch."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from headrace._model.records import Owned
from headrace._ports import Batch
from headrace._stores import schema
from headrace._stores.encoding import as_json
from headrace._stores.rows import LAST
from headrace.errors import StaleRuns


class Database(Protocol):
    """What of the store is used here."""

    async def rows(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Read on a connection of one's own."""
        ...

    def writing(self) -> AbstractAsyncContextManager[sqlite3.Connection]:
        """Begin a transaction, and commit it after the block."""
        ...


class SQLiteOwners:
    """The owners in *database*."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def fence(self, connection: sqlite3.Connection, batch: Batch) -> None:
        """
        Note who owns what begins in *batch* and let go of what ends in it; within its transaction.

        Raises:
            StaleRuns: Somebody else has runs of it by now.
        """
        if batch.owned:
            connection.execute(schema.OWN, (as_json(batch.owned),))
        if batch.fences:
            stale = connection.execute(schema.STALE, (as_json(list(batch.fences.items())),)).fetchall()
            if stale:
                raise StaleRuns([run_id for (run_id,) in stale])
        if batch.released:
            connection.execute(schema.LET_GO, (as_json(batch.released),))

    async def listed(self) -> list[Owned]:
        """List the durable runs that have not ended."""
        return [Owned(*row) for row in await self.database.rows(schema.LIST_OWNED, ())]

    async def take(self, owned: Owned, owner: str, *, now: int, crashes: int, steps: int) -> bool:
        """Have *owner* have a run, if it still is as *owned* says."""
        values = {
            "run_id": owned.run_id,
            "epoch": owned.epoch,
            "owner": owner,
            "now": now,
            "crashes": crashes,
            "steps": steps,
        }
        async with self.database.writing() as connection:
            return connection.execute(schema.TAKE, values).rowcount == 1

    async def leases(self, begins: str) -> dict[str, int]:
        """Give the leases whose names begin so."""
        rows = await self.database.rows(schema.LEASES, (begins, begins + LAST))
        return {name: expires for name, _, expires in rows}
