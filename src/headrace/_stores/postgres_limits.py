"""Limits in a PostgreSQL database: who leases slots has the limit to itself for as long as its transaction lasts."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

import attrs

from headrace._model.slots import Claim, Lease, Limit, asked_for, concluded, marked
from headrace._stores import postgres_schema as schema
from headrace._stores.encoding import cleaned
from headrace._stores.postgres_encoding import filled
from headrace._stores.postgres_link import Connection, Link, counted, locking
from headrace._stores.postgres_writing import UNHURRIED

# Limits of one lock wait for each other, which costs a millisecond now and then. A lock for each would fill the table
# of locks of the server where there are thousands of keys; a row to lock is there for those alone that were defined.
LOCKS: Final = 256
MEASURED_ANEW: Final = 60.0  # seconds, in which two clocks run apart by some milliseconds
CLOCK: Final = "database"


class PostgresLimits:
    """
    The limits behind *link*.

    Attributes:
        behind: How far the clock of who asks is behind the database's, in nanoseconds; None while that is not known.
        measured: When that was measured. Turns and rates are by the clock that all machines share.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.behind: int | None = None
        self.measured = 0.0

    async def define(self, limit: Limit) -> bool:
        """Keep *limit*."""
        values = (cleaned(limit.name), limit.slots, limit.decay, limit.active)

        async def work(connection: Connection) -> bool:
            new = not await connection.fetch(schema.READ_LIMIT, values[0])
            await connection.execute(schema.WRITE_LIMIT, *values)
            return new

        return bool(await self.alone([limit.name], work))

    async def remove(self, name: str) -> bool:
        """Forget a limit. What is in use stays known, should it be there again in a moment."""

        async def work(connection: Connection) -> bool:
            return bool(counted(await connection.execute(schema.FORGET_LIMIT, cleaned(name))))

        return bool(await self.alone([name], work))

    async def listed(self, names: Collection[str] | None = None) -> list[Limit]:
        """List limits."""
        statement, values = (schema.LIST_LIMITS, []) if names is None else (schema.FIND_LIMITS, [list(names)])
        return [Limit(*row) for row in await self.link.read(statement, *values)]

    async def claims(self, name: str | None = None) -> list[Claim]:
        """List the claims on a limit, or on all."""
        statement, values = (schema.LIST_CLAIMS, []) if name is None else (schema.READ_CLAIMS, [name])
        return [Claim(*row) for row in await self.link.read(statement, *values)]

    async def reset(self, name: str) -> int:
        """Take all slots back."""

        async def work(connection: Connection) -> int:
            return sum(row[0] for row in await connection.fetch(schema.FORGET_CLAIMS, cleaned(name)))

        return int(await self.alone([name], work))

    async def settle(
        self, asks: Sequence[Claim], now: int, mark: str, dead: Callable[[Claim], bool]
    ) -> dict[str, Lease]:
        """Lease what is due; all read and written while no other process can do so of the same limits."""
        if not asks:
            return {}

        async def work(connection: Connection) -> dict[str, Lease]:
            rows, _ = await self.link.query(connection, schema.READ_ALL, sorted(cleaned(ask.name) for ask in asks))
            at = now + self.measure(rows[0][-1] * 1_000, now)
            settling = Settling(at, marked(CLOCK, at), dead)
            found: dict[str, list[Any]] = {}
            for row in rows:
                found.setdefault(row[0], []).append(row)
            leases = {ask.name: settling.lease(ask, found[cleaned(ask.name)]) for ask in asks}
            await connection.execute(settling.script())
            return leases

        leases: dict[str, Lease] = await self.alone([ask.name for ask in asks], work)
        return leases

    def measure(self, at: int, now: int) -> int:
        """Give how far *now* is behind the clock of the database, which showed *at*; for a while the same."""
        ticks = time.monotonic()
        if self.behind is None or ticks - self.measured > MEASURED_ANEW:
            self.behind, self.measured = at - now, ticks
        return self.behind

    async def alone(self, names: Collection[str], work: Callable[[Connection], Any]) -> Any:
        """Do *work* in a transaction, while no other process does any with limits of these *names*."""
        locks = locking([zlib.crc32(cleaned(name).encode()) % LOCKS for name in names])

        async def locked(connection: Connection, _again: bool) -> Any:
            async with connection.transaction():
                await connection.execute(locks)
                return await work(connection)

        return await self.link.run(locked)


@attrs.define
class Settling:
    """
    One process's settling of what it has and wants; gathers what it changes.

    Attributes:
        at, mark: This moment, by the database's clock.
        dead: Tells of another process's claim whether that has ended.
        claims, gone, rests: The rows to be written, those to be removed, and since when slots rest.
        grown: Whether the process gets slots that it had not.
        rings: Whether others should look: it gives what they wait for, or has just begun to wait for what they have.
    """

    at: int
    mark: str
    dead: Callable[[Claim], bool]
    claims: list[dict[str, Any]] = attrs.Factory(list[dict[str, Any]])
    gone: list[dict[str, Any]] = attrs.Factory(list[dict[str, Any]])
    rests: list[dict[str, Any]] = attrs.Factory(list[dict[str, Any]])
    grown: bool = False
    rings: bool = False

    def lease(self, mine: Claim, rows: Sequence[Any]) -> Lease:
        """Lease what is due of one limit, of which *rows* tell, each with a claim or none."""
        name, slots, decay, active, rested, *_ = rows[0]
        limit = asked_for(mine) or (None if slots is None else Limit(mine.name, slots, decay, active))
        claims = [Claim(mine.name, *row[5:13]) for row in rows if row[5] is not None]
        found = concluded(limit, rested, claims, mine, self.at, self.mark, self.dead)
        self.gone += [{"name": name, "owner": owner} for owner in found.gone]
        if found.rested != rested:
            self.rests.append({"name": name, "rested": found.rested})
        before = next((one for one in claims if one.owner == mine.owner), attrs.evolve(mine, held=0, wanted=0))
        after = found.claim or attrs.evolve(mine, held=0, wanted=0)
        others = [one for one in claims if one.owner != mine.owner and one.owner not in found.gone]
        self.grown |= after.held > before.held
        self.rings |= concerns(before, after, others)
        if found.claim is not None:
            self.claims.append({column: getattr(found.claim, column) for column in schema.CLAIM_COLUMNS})
        elif any(one.owner == mine.owner for one in claims):
            self.gone.append({"name": name, "owner": mine.owner})
        return found.lease

    def script(self) -> str:
        """
        Give the script that writes what has changed.

        It waits for the disk where slots are handed out: should the server crash, they are nobody else's. That the
        process goes on is said three times a second, and may be forgotten.
        """
        kinds = ((schema.FORGET_CLAIM, self.gone), (schema.NOTE_REST, self.rests), (schema.WRITE_CLAIMS, self.claims))
        written = [filled(statement, rows) for statement, rows in kinds if rows]
        if self.rings:
            written.append(schema.RING)
        return ";\n".join(written if self.grown else [UNHURRIED, *written])


def concerns(before: Claim, after: Claim, others: Sequence[Claim]) -> bool:
    """Tell whether it concerns *others* that a process's claim is this now: it gives, or has begun to wait."""
    gives = after.held < before.held
    waits = after.wanted > after.held and before.wanted <= before.held
    return (gives and any(one.wanted > one.held for one in others)) or (waits and any(one.held for one in others))
