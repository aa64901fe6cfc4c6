"""What was sent to runs, in the SQLite file. What a durable flow reads is noted with the batch that tells of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from typing import Protocol

from headrace._model.records import nanoseconds
from headrace._model.signals import Arrival, Signal
from headrace._ports import Batch
from headrace._stores import schema
from headrace._stores.encoding import as_json
from headrace._stores.rows import sent
from headrace._stores.sqlite_reading import Database, read
from headrace.errors import StoreUnavailable


class Strict(Database, Protocol):
    """What of the store is used here."""

    def settle(self, connection: sqlite3.Connection, strict: bool) -> None:
        """Have SQLite wait for the disk, as *strict* says."""
        ...


class SQLiteSignals:
    """
    The signals in *database*.

    Attributes:
        version: The PRAGMA data_version as of which nothing is fresh; None: nobody looked.
    """

    def __init__(self, database: Strict) -> None:
        self.database = database
        self.version: int | None = None

    def close(self) -> None:
        """Know nothing of the next connection."""
        self.version = None

    def note(self, connection: sqlite3.Connection, batch: Batch) -> None:
        """Have what *batch* says was read be read; within its transaction."""
        if batch.read:
            mark(connection, [row[1] for row in batch.read])

    async def send(self, signal: Signal) -> Arrival | None:
        """Keep *signal* if its run goes on; it has reached the disk when this is over."""
        values = {
            "run_id": signal.run_id,
            "name": signal.name,
            "data": signal.data,
            "at": nanoseconds(signal.at),
            "key": signal.key,
            "asked": signal.asked,
        }
        if self.database.writer is not None:
            self.database.settle(self.database.writer, True)
        async with self.database.writing() as connection:
            if connection.execute(schema.SEND, values).rowcount == 1:
                woken = connection.execute(schema.ROUSE, (signal.run_id,)).rowcount
                return Arrival.WAKES if woken else Arrival.NEW
            return Arrival.KNOWN if connection.execute(schema.RECEIVES, (signal.run_id,)).fetchone() else None

    async def unread(
        self, run_ids: Collection[str], *, name: str | None = None, limit: int | None = None
    ) -> list[Signal]:
        """List what was not read yet."""
        wanted = {"run_ids": as_json(list(run_ids)), "name": name, "limit": -1 if limit is None else limit}
        return [sent(row) for row in await read(self.database, schema.READ_SIGNALS, wanted)]

    async def fresh(self, run_ids: Collection[str]) -> set[tuple[str, str]]:
        """Tell who has something unread; only after another connection wrote."""
        connection = self.database.writer
        version = None if connection is None else data_version(self.database.where, connection)
        if version is not None and version == self.version:
            return set()
        found = {
            (row[0], row[1]) for row in await read(self.database, schema.FRESH, {"run_ids": as_json(list(run_ids))})
        }
        self.version = version
        return found

    async def heard(self, signals: Collection[Signal]) -> None:
        """Have *signals* be read, in one transaction."""
        async with self.database.writing() as connection:
            mark(connection, [signal.id for signal in signals])

    async def answer(self, signal: Signal, data: str) -> None:
        """Keep *data* as the answer to *signal*."""
        if self.database.writer is not None:
            self.database.settle(self.database.writer, True)
        async with self.database.writing() as connection:
            connection.execute(schema.ANSWER, (data, signal.run_id, signal.key))

    async def answered(self, run_id: str, key: str) -> str | None:
        """Give the answer to what was sent under *key*."""
        for (answer,) in await read(self.database, schema.READ_ANSWER, (run_id, key)):
            given: str | None = answer
            return given
        raise LookupError(key)


def mark(connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
    """Have the signals *numbers* be read."""
    for statement in (schema.FORGET_READ, schema.NOTE_READ):
        connection.execute(statement, (as_json(numbers),))


def data_version(where: str, connection: sqlite3.Connection) -> int:
    """Give what changes when another connection has written."""
    try:
        (version,) = connection.execute("PRAGMA data_version").fetchone()
    except sqlite3.Error as error:
        raise StoreUnavailable(where, str(error)) from None
    return int(version)
