"""Who has which durable run, in the SQLite file. What a run's end changes of it is written with the batch."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

import attrs

from headrace._model.records import Owned
from headrace._ports import Batch
from headrace._stores import schema
from headrace._stores.encoding import as_json
from headrace._stores.rows import LAST
from headrace._stores.sqlite_reading import Database, read
from headrace.errors import StaleRuns


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

    def suspend(self, connection: sqlite3.Connection, batch: Batch) -> None:
        """Let go of what is suspended in *batch*, once what it has read is; within its transaction."""
        if batch.suspended:
            connection.execute(schema.SUSPEND, (as_json([tuple(one) for one in batch.suspended]),))

    async def listed(self) -> list[Owned]:
        """List the durable runs that processes have."""
        return [Owned(*row) for row in await read(self.database, schema.LIST_OWNED)]

    async def one(self, run_id: str) -> Owned | None:
        """Give who has *run_id*."""
        rows = await read(self.database, schema.READ_OWNED, (run_id,))
        return Owned(*rows[0]) if rows else None

    async def due(self, now: int, limit: int) -> tuple[list[Owned], int | None]:
        """List suspended runs that are due, and tell when the next one will be."""
        due = [Owned(*row) for row in await read(self.database, schema.DUE, (now, limit))]
        rows = await read(self.database, schema.NEXT_DUE, (now,))
        return due, rows[0][0] if rows else None

    async def claim(self, owned: Collection[Owned], owner: str, now: int) -> set[str]:
        """Have *owner* have suspended runs."""
        said = as_json([(one.run_id, one.epoch) for one in owned])
        async with self.database.writing() as connection:
            got: list[str] = [run_id for (run_id,) in connection.execute(schema.STILL_DUE, (said,))]
            connection.execute(schema.CLAIM_DUE, (owner, now, as_json(got)))
        return set(got)

    async def take(self, owned: Owned, owner: str, *, now: int, crashes: int, steps: int) -> bool:
        """Have *owner* have a run, if it still is as *owned* says."""
        values = {
            "run_id": owned.run_id,
            "epoch": owned.epoch,
            "had": owned.owner,
            "owner": owner,
            "now": now,
            "crashes": crashes,
            "steps": steps,
        }
        async with self.database.writing() as connection:
            return connection.execute(schema.TAKE, values).rowcount == 1

    async def reopen(self, owned: Owned) -> bool:
        """Have a run that has ended be owned anew, as *owned* says, if nobody was faster."""
        async with self.database.writing() as connection:
            return connection.execute(schema.REOPEN, attrs.asdict(owned)).rowcount == 1

    async def leases(self, begins: str) -> dict[str, int]:
        """Give the leases whose names begin so."""
        rows = await read(self.database, schema.LEASES, (begins, begins + LAST))
        return {name: expires for name, _, expires in rows}
