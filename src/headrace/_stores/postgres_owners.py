"""Who has which durable run, in a PostgreSQL database. What a run's end changes of it is written with the batch."""

from __future__ import annotations

from collections.abc import Collection

from headrace._model.records import Owned
from headrace._stores import postgres_schema as schema
from headrace._stores.encoding import cleaned
from headrace._stores.postgres_link import Connection, Link
from headrace._stores.rows import LAST


class PostgresOwners:
    """The owners behind *link*."""

    def __init__(self, link: Link) -> None:
        self.link = link

    async def listed(self) -> list[Owned]:
        """List the durable runs that processes have."""
        return [Owned(*row) for row in await self.link.read(schema.LIST_OWNED)]

    async def one(self, run_id: str) -> Owned | None:
        """Give who has *run_id*."""
        rows = await self.link.read(schema.READ_OWNED, run_id)
        return Owned(*rows[0]) if rows else None

    async def due(self, now: int, limit: int) -> tuple[list[Owned], int | None]:
        """List suspended runs that are due, and tell when the next one will be."""
        due = [Owned(*row) for row in await self.link.read(schema.DUE, now, limit)]
        ((following,),) = await self.link.read(schema.NEXT_DUE, now)
        return due, following

    async def claim(self, owned: Collection[Owned], owner: str, now: int) -> set[str]:
        """Have *owner* have suspended runs."""
        values = cleaned(([one.run_id for one in owned], [one.epoch for one in owned], owner, now))

        async def work(connection: Connection, again: bool) -> set[str]:
            got, _ = await self.link.ask(connection, schema.CLAIM_DUE, *values)
            if again:
                got += (await self.link.ask(connection, schema.CLAIMED, *values))[0]
            return {row[0] for row in got}

        return await self.link.run(work)

    async def take(self, owned: Owned, owner: str, *, now: int, crashes: int, steps: int) -> bool:
        """Have *owner* have a run, if it still is as *owned* says."""
        values = cleaned((owned.run_id, owned.epoch, owner, now, crashes, steps, owned.owner))

        async def work(connection: Connection, again: bool) -> bool:
            if (await self.link.ask(connection, schema.TAKE, *values))[0]:
                return True
            return again and bool((await self.link.ask(connection, schema.TAKEN_UP, *values[:4]))[0])

        return await self.link.run(work)

    async def reopen(self, owned: Owned) -> bool:
        """Have a run that has ended be owned anew, as *owned* says, if nobody was faster."""
        run_id, owner, epoch, since = cleaned((owned.run_id, owned.owner, owned.epoch, owned.since))
        values = (run_id, owner, epoch, since, owned.crashes, owned.steps)

        async def work(connection: Connection, again: bool) -> bool:
            if (await self.link.ask(connection, schema.REOPEN, *values))[0]:
                return True
            mine = (run_id, epoch - 1, owner, since)
            return again and bool((await self.link.ask(connection, schema.TAKEN_UP, *mine))[0])

        return await self.link.run(work)

    async def leases(self, begins: str) -> dict[str, int]:
        """Give the leases whose names begin so."""
        return {row[0]: row[1] for row in await self.link.read(schema.LEASES, begins, begins + LAST)}


async def hold(link: Link, connection: Connection, run_id: str) -> str | None:
    """
    Have nobody suspend, or take up, the durable run that *run_id* is or is below, until this transaction ends.

    Gives its id where it is suspended.
    """
    rows, _ = await link.query(connection, schema.HOLD, run_id)
    return next((row[0] for row in rows if not row[1]), None)
