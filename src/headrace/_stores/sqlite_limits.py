"""Limits in the SQLite file: who leases slots does so in a transaction that no other process writes beside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol

import attrs

from headrace._model.slots import Claim, Lease, Limit, asked_for, between, concluded
from headrace._stores import schema
from headrace._stores.encoding import as_json

DATA_VERSION: Final = "PRAGMA data_version"  # changes when another connection writes
SAID_AGAIN: Final = 1_000_000_000  # nanoseconds after which a process says anew what it has, though nothing changed


class Database(Protocol):
    """What of the store is used here."""

    writer: Any

    async def rows(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Read on a connection of one's own."""
        ...

    def writing(self) -> AbstractAsyncContextManager[Any]:
        """Begin a transaction, and commit it after the block."""
        ...


@attrs.frozen
class Said:
    """
    What a process was told last, while no other had or wanted anything of its limits.

    Attributes:
        connection, version: The state of the file in which that holds: no other process has written it since.
        mark: When it was.
    """

    connection: Any
    version: int
    mark: str
    leases: dict[str, Lease]

    def holds(self, asks: Sequence[Claim], connection: Any, mark: str) -> bool:
        """Tell whether it holds for what the process *asks* now, and need not be said to others again by now."""
        if connection is not self.connection or len(asks) != len(self.leases):
            return False
        if not between(self.mark, mark) < SAID_AGAIN or not all(self.enough(mine) for mine in asks):
            return False
        (version,) = connection.execute(DATA_VERSION).fetchone()
        return bool(version == self.version)

    def enough(self, mine: Claim) -> bool:
        """Tell whether a process has what it wants of a limit, and all that it has is wanted."""
        lease = self.leases.get(mine.name)
        if lease is None or not mine.wanted:
            return False
        if lease.limit is None:
            return True
        return mine.held == lease.held == max(mine.used, mine.kept) and lease.held >= min(
            mine.wanted, lease.limit.slots
        )


class SQLiteLimits:
    """
    The limits of *database*.

    Attributes:
        said: What each runtime of this process was told last; forgotten when something changes from here.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.said: dict[str, Said] = {}

    async def define(self, limit: Limit) -> bool:
        """Keep *limit*."""
        self.said.clear()
        async with self.database.writing() as connection:
            new = connection.execute(schema.READ_LIMIT, (limit.name,)).fetchone() is None
            connection.execute(schema.WRITE_LIMIT, (limit.name, limit.slots, limit.decay, int(limit.active)))
            return new

    async def remove(self, name: str) -> bool:
        """Forget a limit. What is in use stays known, should it be there again in a moment."""
        self.said.clear()
        async with self.database.writing() as connection:
            return bool(connection.execute(schema.FORGET_LIMIT, (name,)).rowcount)

    async def listed(self, names: Collection[str] | None = None) -> list[Limit]:
        """List limits."""
        if names is None:
            rows = await self.database.rows(schema.LIST_LIMITS, ())
        else:
            rows = await self.database.rows(schema.FIND_LIMITS, (as_json(list(names)),))
        return [limit_of(row) for row in rows]

    async def claims(self, name: str | None = None) -> list[Claim]:
        """List the claims on a limit, or on all."""
        if name is None:
            rows = await self.database.rows(schema.LIST_CLAIMS, ())
        else:
            rows = await self.database.rows(schema.READ_CLAIMS, (name,))
        return [Claim(*row) for row in rows]

    async def reset(self, name: str) -> int:
        """Take all slots back."""
        self.said.clear()
        async with self.database.writing() as connection:
            (held,) = connection.execute(schema.COUNT_HELD, (name,)).fetchone()
            connection.execute(schema.FORGET_CLAIMS, (name,))
            return int(held)

    async def settle(
        self, asks: Sequence[Claim], now: int, mark: str, dead: Callable[[Claim], bool]
    ) -> dict[str, Lease]:
        """Lease what is due; where nothing has changed, no more is done than to see that."""
        if not asks:
            return {}
        owner = asks[0].owner
        said = self.said.get(owner)
        if said is not None and said.holds(asks, self.database.writer, mark):
            return said.leases
        self.said.clear()  # what other runtimes of this process were told holds no more, either
        async with self.database.writing() as connection:
            (version,) = connection.execute(DATA_VERSION).fetchone()
            found = {mine.name: settle_one(connection, mine, now, mark, dead) for mine in asks}
        leases = {name: lease for name, (lease, _) in found.items()}
        if all(alone for _, alone in found.values()):
            unchanged = {name: attrs.evolve(lease, fresh=0.0) for name, lease in leases.items()}
            self.said[owner] = Said(connection, version, mark, unchanged)
        return leases


def settle_one(connection: Any, mine: Claim, now: int, mark: str, dead: Callable[[Claim], bool]) -> tuple[Lease, bool]:
    """Lease what is due of one limit, within a transaction; tell whether no other process has or wants any of it."""
    limit, rested = asked_for(mine), None
    row = None if limit is not None else connection.execute(schema.READ_LIMIT, (mine.name,)).fetchone()
    if row is not None:
        limit, rested = limit_of(row), row[4]
    claims = [Claim(*found) for found in connection.execute(schema.READ_CLAIMS, (mine.name,)).fetchall()]
    found = concluded(limit, rested, claims, mine, now, mark, dead)
    for owner in found.gone:
        connection.execute(schema.FORGET_CLAIM, (mine.name, owner))
    if found.rested != rested:
        connection.execute(schema.NOTE_REST, (found.rested, mine.name))
    claim = found.claim
    if claim is not None:
        values = (claim.held, claim.used, claim.wanted, claim.need, claim.since, claim.beat, claim.shown)
        connection.execute(schema.WRITE_CLAIM, (claim.name, claim.owner, *values))
    elif any(one.owner == mine.owner for one in claims):
        connection.execute(schema.FORGET_CLAIM, (mine.name, mine.owner))
    return found.lease, found.alone


def limit_of(row: Sequence[Any]) -> Limit:
    """Read a limit's row."""
    name, slots, decay, active, _ = row
    return Limit(name, slots, decay, bool(active))
