"""Who has which durable run, in a PostgreSQL database. What a run's end changes of it is written with the batch."""

from __future__ import annotations

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
        """List the durable runs that have not ended."""
        return [Owned(*row) for row in await self.link.read(schema.LIST_OWNED)]

    async def take(self, owned: Owned, owner: str, *, now: int, crashes: int, steps: int) -> bool:
        """Have *owner* have a run, if it still is as *owned* says."""
        values = cleaned((owned.run_id, owned.epoch, owner, now, crashes, steps))

        async def work(connection: Connection, again: bool) -> bool:
            if (await self.link.ask(connection, schema.TAKE, *values))[0]:
                return True
            return again and bool((await self.link.ask(connection, schema.TAKEN_UP, *values[:4]))[0])

        return await self.link.run(work)

    async def leases(self, begins: str) -> dict[str, int]:
        """Give the leases whose names begin so."""
        return {row[0]: row[1] for row in await self.link.read(schema.LEASES, begins, begins + LAST)}
