"""Results and leases in the SQLite file. They are written by the store, with the batch that tells of them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any, Unpack

from headrace._model.filters import KeyFilter
from headrace._model.ids import PREFIX_LENGTH
from headrace._model.records import StoredResult
from headrace._ports import Which
from headrace._stores import schema
from headrace._stores.encoding import as_json, cleaned, latest, result_record
from headrace._stores.rows import LAST
from headrace._stores.sqlite_reading import Database, read
from headrace.errors import StoreUnavailable


class SQLiteResults:
    """The results and leases of *database*."""

    def __init__(self, database: Database) -> None:
        self.database = database
        # Whoever forks takes it first.
        self.guard = threading.Lock()
        self.reader: sqlite3.Connection | None = None

    async def recall(self, keys: Collection[str]) -> dict[str, StoredResult]:
        """Give what is kept under *keys*."""
        spelled = {cleaned(key): key for key in keys}
        wanted = {"keys": as_json(list(spelled))}
        rows = await read(self.database, schema.RECALL, wanted)
        return {spelled[row[0]]: result_record((spelled[row[0]], *row[1:])) for row in latest(rows)}

    def look(self, key: str) -> StoredResult | None:
        """Give what is kept under *key*, on a connection that all threads share, as long as the store is open."""
        asked = {"key": cleaned(key)}
        try:
            if self.database.writer is None:
                with closing(self.connected()) as connection:
                    (version,) = connection.execute("PRAGMA user_version").fetchone()
                    known = schema.as_of(version, schema.LOOK)
                    rows = [] if known is None else connection.execute(known, asked).fetchall()
            else:
                with self.guard:
                    if self.reader is None:
                        self.reader = self.connected()
                    rows = self.reader.execute(schema.LOOK, asked).fetchall()
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise StoreUnavailable(self.database.where, str(error)) from None
        return result_record((key, *latest(rows)[-1][1:])) if rows else None

    glance = look

    def connected(self) -> sqlite3.Connection:
        """Open a connection that only reads, and waits for nobody."""
        place = f"{Path(self.database.where).as_uri()}?mode=ro"
        return sqlite3.connect(place, uri=True, timeout=0, isolation_level=None, check_same_thread=False)

    async def learn(self, known: KeyFilter, limit: int) -> None:
        """Tell *known* the keys that came since, on the writer's connection: that one alone sees what others commit."""
        connection = self.database.writer
        if connection is None:
            return
        try:
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            if version == known.version:
                return
            rows = connection.execute(schema.KEYS, (known.last, limit)).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailable(self.database.where, str(error)) from None
        known.add(row[1] for row in rows)
        if rows:
            known.last = rows[-1][0]
        if len(rows) < limit:
            known.version = version

    def close(self) -> None:
        """Let go of the file."""
        with self.guard:
            connection, self.reader = self.reader, None
            if connection is not None:
                connection.close()

    async def under(self, prefix: str) -> dict[str, StoredResult]:
        """Give all whose keys begin with *prefix*."""
        rows = await self.database.rows(schema.UNDER, {"first": prefix, "last": prefix + LAST})
        return {row[0]: result_record(row) for row in latest(rows)}

    async def listed(
        self, *, limit: int = 100, after: StoredResult | None = None, **which: Unpack[Which]
    ) -> list[StoredResult]:
        """List results, newest first."""
        condition, values = conditions(after, which)
        statement = f"{schema.LIST_RESULTS}{condition} ORDER BY created DESC, key DESC LIMIT ?"
        return [result_record(row) for row in await self.database.rows(statement, [*values, limit])]

    async def total(self, **which: Unpack[Which]) -> tuple[int, int]:
        """Count results and their bytes."""
        condition, values = conditions(None, which)
        rows = await self.database.rows(f"{schema.COUNT_RESULTS}{condition}", values)
        return (rows[0][0], rows[0][1]) if rows else (0, 0)

    async def taken(self, results: Collection[StoredResult]) -> set[tuple[str, str]]:
        """Give the places of *results* that are still needed."""
        places = {(one.storage, one.name) for one in results if one.name is not None}
        names = as_json(sorted({name for _, name in places}))
        rows = await self.database.rows(schema.TAKEN, (names,)) if places else []
        return {(storage, name) for storage, name in rows if (storage, name) in places}

    async def forget(self, results: Collection[StoredResult]) -> int:
        """Remove *results*, in one transaction."""
        wanted = as_json([(one.key, one.created) for one in results])
        async with self.database.writing() as connection:
            return connection.execute(schema.FORGET_RESULTS, (wanted,)).rowcount

    async def claim(self, name: str, owner: str, *, now: int, until: int, dead: str = "") -> tuple[str, int] | None:
        """Have *owner* hold *name*, unless another does."""
        values = {"name": name, "owner": owner, "now": now, "until": until, "dead": dead}
        async with self.database.writing() as connection:
            if connection.execute(schema.CLAIM, values).rowcount == 1:
                return None
            holder, expires = connection.execute(schema.HOLDER, (name,)).fetchone()
            return holder, expires

    async def renew(self, names: Collection[str], owner: str, until: int) -> None:
        """Have *owner* hold *names* for longer."""
        async with self.database.writing() as connection:
            connection.execute(schema.RENEW, (until, owner, as_json(list(names))))

    async def release(self, name: str, owner: str) -> None:
        """Give *name* back."""
        async with self.database.writing() as connection:
            connection.execute(schema.RELEASE, (name, owner))


def conditions(after: StoredResult | None, which: Which) -> tuple[str, list[Any]]:
    """Give the end of a statement that says which results are meant, and what it needs."""
    where: list[str] = []
    values: list[Any] = []
    if begins := cleaned(which.get("begins", "")):
        where.append("key >= ? AND key < ?")
        values += [begins, begins + LAST]
    for condition, value in (
        ("task_name = ?", cleaned(which.get("task"))),
        ("created < ?", which.get("before")),
        ("expires <= ?", which.get("expired")),
    ):
        if value is not None:
            where.append(condition)
            values.append(value)
    if which.get("cached"):
        where.append(f"substr(key, 1, {PREFIX_LENGTH}) <> substr(run_id, 1, {PREFIX_LENGTH})")
    if after is not None:
        where.append("(created, key) < (?, ?)")
        values += [after.created, cleaned(after.key)]
    return f" WHERE {' AND '.join(where)}" if where else "", values
