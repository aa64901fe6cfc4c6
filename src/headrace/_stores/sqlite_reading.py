"""Reading from the SQLite file beside its writing, for the rooms of the store. Writes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from headrace.errors import StoreUnavailable


class Database(Protocol):
    """What of the store is used by its rooms."""

    where: str
    writer: sqlite3.Connection | None

    async def rows(self, statement: str, values: Sequence[Any] | dict[str, Any]) -> list[tuple[Any, ...]]:
        """Read on a connection of one's own."""
        ...

    def writing(self) -> AbstractAsyncContextManager[sqlite3.Connection]:
        """Begin a transaction, and commit it after the block."""
        ...


async def read(
    database: Database, statement: str, values: Sequence[Any] | dict[str, Any] = ()
) -> list[tuple[Any, ...]]:
    """Read on the writer's connection, where there is one: 10 us instead of 1,000."""
    connection = database.writer
    if connection is None:
        return await database.rows(statement, values)
    try:
        return connection.execute(statement, values).fetchall()
    except sqlite3.Error as error:
        raise StoreUnavailable(database.where, str(error)) from None
