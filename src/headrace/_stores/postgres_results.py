"""Results and leases in a PostgreSQL database. They are written by the store, with the batch that tells of them."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Any, Unpack

from headrace._loops import completed
from headrace._model.filters import KeyFilter
from headrace._model.ids import PREFIX_LENGTH
from headrace._model.records import StoredResult
from headrace._ports import Which
from headrace._stores import postgres_schema as schema
from headrace._stores.encoding import cleaned, latest, result_record
from headrace._stores.postgres_link import Connection, Link
from headrace._stores.rows import LAST
from headrace.errors import NoDatabaseYet, StoreUnavailable


class PostgresResults:
    """The results and leases behind *link*."""

    def __init__(self, link: Link) -> None:
        self.link = link
        # Whoever forks takes it; nothing here is at work outside of the store's loop.
        self.guard = threading.Lock()

    def close(self) -> None:
        """Let go of nothing: each look has a connection of its own."""

    async def recall(self, keys: Collection[str]) -> dict[str, StoredResult]:
        """Give what is kept under *keys*."""
        spelled = {cleaned(key): key for key in keys}
        rows = await self.link.read(schema.RECALL, list(spelled)) if spelled else []
        return {spelled[row[0]]: result_record((spelled[row[0]], *row[1:])) for row in latest(rows)}

    async def under(self, prefix: str) -> dict[str, StoredResult]:
        """Give all whose keys begin with *prefix*."""
        rows = await self.link.read(schema.UNDER, prefix, prefix + LAST)
        return {row[0]: result_record(row) for row in latest(rows)}

    def look(self, key: str) -> StoredResult | None:
        """Give what is kept under *key*, on a connection and a loop of its own: 15 ms."""
        try:
            return completed(self.recall([key])).get(key)
        except NoDatabaseYet:
            return None

    def glance(self, key: str) -> StoredResult | None:
        """
        Refuse to look: who can ask the back office instead does not block for as long as a server takes to answer.

        Raises:
            StoreUnavailable: Always.
        """
        raise StoreUnavailable(self.link.where, f"{key!r} cannot be looked for at once")

    async def learn(self, known: KeyFilter, limit: int) -> None:
        """Tell nothing: keys do not become visible in the order of any number they could be told by."""

    async def listed(
        self, *, limit: int = 100, after: StoredResult | None = None, **which: Unpack[Which]
    ) -> list[StoredResult]:
        """List results, newest first."""
        condition, values = conditions(after, which)
        statement = f"{schema.LIST_RESULTS}{condition} ORDER BY created DESC, key DESC LIMIT ${len(values) + 1}"
        return [result_record(row) for row in await self.link.read(statement, *values, limit)]

    async def total(self, **which: Unpack[Which]) -> tuple[int, int]:
        """Count results and their bytes."""
        condition, values = conditions(None, which)
        ((count, size),) = await self.link.read(f"{schema.COUNT_RESULTS}{condition}", *values)
        return count, size

    async def taken(self, results: Collection[StoredResult]) -> set[tuple[str, str]]:
        """Give the places of *results* that are still needed."""
        places = {(one.storage, one.name) for one in results if one.name is not None}
        rows = await self.link.read(schema.TAKEN, sorted({name for _, name in places})) if places else []
        return {(row[0], row[1]) for row in rows if (row[0], row[1]) in places}

    async def forget(self, results: Collection[StoredResult]) -> int:
        """Remove *results*, in one transaction."""
        keys, created = [one.key for one in results], [one.created for one in results]
        return await self.link.change(schema.FORGET_RESULTS, keys, created)

    async def claim(self, name: str, owner: str, *, now: int, until: int, dead: str = "") -> tuple[str, int] | None:
        """Have *owner* hold *name*, unless another does."""
        values = cleaned((name, owner, now, until, dead))

        async def work(connection: Connection, _again: bool) -> tuple[str, int] | None:
            while True:
                if (await self.link.ask(connection, schema.CLAIM, *values))[0]:
                    return None
                holder, _ = await self.link.ask(connection, schema.HOLDER, values[0])
                if holder:  # else it was given back in between
                    return holder[0][0], holder[0][1]

        return await self.link.run(work)

    async def renew(self, names: Collection[str], owner: str, until: int) -> None:
        """Have *owner* hold *names* for longer."""
        await self.link.change(schema.RENEW, sorted(names), owner, until)

    async def release(self, name: str, owner: str) -> None:
        """Give *name* back."""
        await self.link.change(schema.RELEASE, name, owner)


def conditions(after: StoredResult | None, which: Which) -> tuple[str, list[Any]]:
    """Give the end of a statement that says which results are meant, and what it needs."""
    where: list[str] = []
    values: list[Any] = []

    def needs(value: Any) -> str:
        """Give the place of a value in the statement."""
        values.append(value)
        return f"${len(values)}"

    if begins := cleaned(which.get("begins", "")):
        where.append(f"key >= {needs(begins)} AND key < {needs(begins + LAST)}")
    for condition, value in (
        ("task_name =", cleaned(which.get("task"))),
        ("created <", which.get("before")),
        ("expires <=", which.get("expired")),
    ):
        if value is not None:
            where.append(f"{condition} {needs(value)}")
    if which.get("cached"):
        where.append(f"left(key, {PREFIX_LENGTH}) <> left(run_id, {PREFIX_LENGTH})")
    if after is not None:
        where.append(f"(created, key) < ({needs(after.created)}, {needs(cleaned(after.key))})")
    return f" WHERE {' AND '.join(where)}" if where else "", values
