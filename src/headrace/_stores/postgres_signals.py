"""What was sent to runs, in a PostgreSQL database. What a durable flow reads is noted with the batch that tells it."""

from __future__ import annotations

from collections.abc import Collection

from headrace._model.records import nanoseconds
from headrace._model.signals import Arrival, Signal
from headrace._stores import postgres_schema as schema
from headrace._stores.encoding import cleaned
from headrace._stores.postgres_link import Connection, Link
from headrace._stores.postgres_owners import hold
from headrace._stores.rows import sent


class PostgresSignals:
    """The signals behind *link*."""

    def __init__(self, link: Link) -> None:
        self.link = link

    async def send(self, signal: Signal) -> Arrival | None:
        """Keep *signal* if its run goes on, and ring; it has reached the server's disk when this is over."""
        at = nanoseconds(signal.at)
        values = (signal.run_id, signal.name, signal.data, at, signal.key, signal.asked)

        async def work(connection: Connection, again: bool) -> Arrival | None:
            async with connection.transaction():
                suspended = await hold(self.link, connection, cleaned(signal.run_id))
                if not (await self.link.query(connection, schema.RECEIVES, cleaned(signal.run_id)))[0]:
                    return None
                if again and (await self.link.query(connection, schema.SENT, *values[:5]))[0]:
                    new = True  # the first try was committed after all
                else:
                    new = bool((await self.link.query(connection, schema.SEND, *values))[0])
                if new and suspended is not None:
                    await self.link.query(connection, schema.ROUSE, suspended)
                await connection.execute(schema.RING)
                if not new:
                    return Arrival.KNOWN
                return Arrival.NEW if suspended is None else Arrival.WAKES

        return await self.link.run(work)

    async def unread(
        self, run_ids: Collection[str], *, name: str | None = None, limit: int | None = None
    ) -> list[Signal]:
        """List what was not read yet."""
        rows = await self.link.read(schema.READ_SIGNALS, list(run_ids), name, limit)
        return [sent(row) for row in rows]

    async def fresh(self, run_ids: Collection[str]) -> set[tuple[str, str]]:
        """Tell who has something unread."""
        return {(row[0], row[1]) for row in await self.link.read(schema.FRESH, list(run_ids))}

    async def heard(self, signals: Collection[Signal]) -> None:
        """Have *signals* be read."""
        await self.link.change(schema.NOTE_READ, [signal.id for signal in signals])

    async def answer(self, signal: Signal, data: str) -> None:
        """Keep *data* as the answer to *signal*."""
        await self.link.change(schema.ANSWER, signal.run_id, signal.key, data)

    async def answered(self, run_id: str, key: str) -> str | None:
        """Give the answer to what was sent under *key*."""
        for (answer,) in await self.link.read(schema.READ_ANSWER, run_id, key):
            given: str | None = answer
            return given
        raise LookupError(key)
