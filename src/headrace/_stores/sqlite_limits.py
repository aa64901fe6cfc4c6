"""Limits in the SQLite file: who leases slots does so in a transaction that no other process writes beside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from headrace._model.slots import Claim, Lease, Limit, asked_for, leased
from headrace._stores import schema
from headrace._stores.encoding import as_json


class Database(Protocol):
    """What of the store is used here."""

    async def rows(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Read on a connection of one's own."""
        ...

    def writing(self) -> AbstractAsyncContextManager[Any]:
        """Begin a transaction, and commit it after the block."""
        ...


class SQLiteLimits:
    """The limits of *database*."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def define(self, limit: Limit) -> bool:
        """Keep *limit*."""
        async with self.database.writing() as connection:
            new = connection.execute(schema.READ_LIMIT, (limit.name,)).fetchone() is None
            connection.execute(schema.WRITE_LIMIT, (limit.name, limit.slots, limit.decay, int(limit.active)))
            return new

    async def remove(self, name: str) -> bool:
        """Forget a limit."""
        async with self.database.writing() as connection:
            connection.execute(schema.FORGET_CLAIMS, (name,))
            return bool(connection.execute(schema.FORGET_LIMIT, (name,)).rowcount)

    async def listed(self, names: Collection[str] | None = None) -> list[Limit]:
        """List limits."""
        if names is None:
            rows = await self.database.rows(schema.LIST_LIMITS, ())
        else:
            rows = await self.database.rows(schema.FIND_LIMITS, (as_json(list(names)),))
        return [limit_of(row) for row in rows]

    async def claims(self, name: str) -> list[Claim]:
        """List the claims on a limit."""
        return [Claim(*row) for row in await self.database.rows(schema.READ_CLAIMS, (name,))]

    async def reset(self, name: str) -> int:
        """Take all slots back."""
        async with self.database.writing() as connection:
            (held,) = connection.execute(schema.COUNT_HELD, (name,)).fetchone()
            connection.execute(schema.FORGET_CLAIMS, (name,))
            return int(held)

    async def settle(
        self, asks: Sequence[Claim], now: int, mark: str, dead: Callable[[Claim], bool]
    ) -> dict[str, Lease]:
        """Lease what is due."""
        async with self.database.writing() as connection:
            return {mine.name: settle_one(connection, mine, now, mark, dead) for mine in asks}


def settle_one(connection: Any, mine: Claim, now: int, mark: str, dead: Callable[[Claim], bool]) -> Lease:
    """Lease what is due of one limit, within a transaction."""
    limit, rested = asked_for(mine), None
    if limit is None:
        row = connection.execute(schema.READ_LIMIT, (mine.name,)).fetchone()
        if row is None:
            return Lease(None)
        limit, rested = limit_of(row), row[4]
    claims: list[Claim] = []
    freed = False
    for claim in [Claim(*found) for found in connection.execute(schema.READ_CLAIMS, (mine.name,)).fetchall()]:
        if claim.owner != mine.owner and dead(claim):
            connection.execute(schema.FORGET_CLAIM, (mine.name, claim.owner))
            rested, freed = mark, True
        else:
            claims.append(claim)
    lease, came_free = leased(limit, rested, claims, mine, now, mark)
    if freed or came_free:
        connection.execute(schema.NOTE_REST, (mark, mine.name))
    if lease.held or mine.wanted:
        values = (lease.held, mine.used, mine.wanted, mine.need, mine.since, mine.beat, mine.shown)
        connection.execute(schema.WRITE_CLAIM, (mine.name, mine.owner, *values))
    elif any(claim.owner == mine.owner for claim in claims):
        connection.execute(schema.FORGET_CLAIM, (mine.name, mine.owner))
    return lease


def limit_of(row: Sequence[Any]) -> Limit:
    """Read a limit's row."""
    name, slots, decay, active, _ = row
    return Limit(name, slots, decay, bool(active))
