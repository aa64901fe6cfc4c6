"""
The store in a PostgreSQL database, shared by any number of processes on any number of machines.

Writing is one connection, on the one loop that opened the store: a batch is one message to the server, and one
transaction. Who reads from another loop opens a connection for that, and one more is there to listen on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import orjson

from headrace._model.events import CRASHED, Stamp
from headrace._model.ids import LENGTH, prefix_of
from headrace._model.records import FlowRun, History, LogLine, Request, TaskRun, nanoseconds
from headrace._ports import Batch
from headrace._stores import postgres_schema as schema
from headrace._stores.encoding import cleaned
from headrace._stores.histories import Level, Read, put_together
from headrace._stores.postgres_beside import Beside
from headrace._stores.postgres_encoding import writing
from headrace._stores.postgres_limits import PostgresLimits
from headrace._stores.postgres_link import Connection, Link, code_of
from headrace._stores.postgres_listening import Listener
from headrace._stores.postgres_owners import PostgresOwners, hold
from headrace._stores.postgres_results import PostgresResults
from headrace._stores.postgres_signals import PostgresSignals
from headrace._stores.postgres_writing import STALE
from headrace._stores.rows import asked_for, flow_record, log_record, task_record
from headrace.errors import StaleRuns


class PostgresStore:
    """
    Keeps rows in the database *url*, in a schema of its own.

    Attributes:
        suspends: Its methods await a server, so they need an event loop.
    """

    suspends = True
    quick = False
    patient = True

    def __init__(self, url: str) -> None:
        self.link = Link(url)
        self.where = self.link.where
        self.results = PostgresResults(self.link)
        self.limits = PostgresLimits(self.link)
        self.owners = PostgresOwners(self.link)
        self.signals = PostgresSignals(self.link)
        self.listener = Listener(self.link)
        self.beside = Beside(self.link)

    @property
    def rang(self) -> Callable[[], None] | None:
        """Who is told that another process has left something to look at."""
        return self.listener.rang

    @rang.setter
    def rang(self, told: Callable[[], None] | None) -> None:
        self.listener.rang = told

    async def open(self) -> None:
        """Connect; create the tables where they are missing; listen, for who only waits hears of what is sent, too."""
        await self.listener.close()
        await self.link.open()
        self.listener.begin()

    async def close(self) -> None:
        """Let go of the connections."""
        self.beside.close()
        await self.listener.close()
        await self.link.close()

    async def append(self, batch: Batch) -> None:
        """Write *batch* as one transaction; what is strict has reached the disk of the server when this is over."""
        if not self.link.ours:
            await self.open()
        if not len(batch):
            return

        async def work(connection: Connection, again: bool) -> None:
            await self.beside.settle(connection)
            try:
                await connection.execute(writing(batch, again))
            except self.link.driver.PostgresError as error:
                if code_of(error) != STALE:
                    raise
                raise StaleRuns(orjson.loads(error.detail)) from None

        await self.link.run(work)
        self.listener.begin()

    async def rows(self, statement: str, *values: Any) -> list[Any]:
        """Read all that *statement* gives."""
        return await self.link.read(statement, *values)

    async def flow_runs(self, *, limit: int = 100, state: str | None = None, begins: str = "") -> list[FlowRun]:
        """List flow runs, newest first."""
        where: list[str] = []
        values: list[Any] = [limit]
        if begins:
            values.append(begins)
            # Before the server has counted the rows, it looks for a range among all of them, newest first.
            whole = len(begins) == LENGTH
            where.append("id = $2" if whole else f"id >= $2 AND id < $2 || '{schema.LAST}'")
        if state is not None:
            values.append(state)
            where.append(schema.IN_STATE.format(f"${len(values)}"))
        condition = f" WHERE {' AND '.join(where)}" if where else ""
        statement = f"{schema.READ_FLOWS}{condition} ORDER BY created DESC, id DESC LIMIT $1"
        return [flow_record(row) for row in await self.rows(statement, *values)]

    async def crash(self, run: FlowRun, why: str, at: int, stamp: Stamp = CRASHED) -> bool:
        """Have a run whose process has ended be Crashed, in one transaction."""
        values = cleaned((run.id, why, at, *stamp, run.owner))

        async def work(connection: Connection, again: bool) -> bool:
            async with connection.transaction():
                if await connection.fetch(schema.CRASH_FLOW, *values):
                    await connection.execute(schema.CRASH_TASKS, prefix_of(run.id), *values[1:5])
                    return True
                return again and bool(await connection.fetch(schema.CRASHED, *values))

        return await self.link.run(work)

    async def unfinished(self) -> list[FlowRun]:
        """List flow runs that have not ended."""
        return [flow_record(row) for row in await self.rows(schema.READ_UNFINISHED)]

    async def task_runs(
        self, prefix: str, *, limit: int | None = None, state: str | None = None, slowest: bool = False
    ) -> list[TaskRun]:
        """List task runs in the order in which they were called, or the slowest first."""
        where = [f"id >= $1 AND id < $1 || '{schema.LAST}'"]
        values: list[Any] = [prefix, limit]
        if state is not None:
            where.append('state_type = upper($3 COLLATE "C")')
            values.append(state)
        if slowest:
            where.append("end_time IS NOT NULL")
        order = "end_time - start_time DESC NULLS LAST, id" if slowest else "id"
        statement = f"{schema.READ_TASKS} WHERE {' AND '.join(where)} ORDER BY {order} LIMIT $2"
        return [task_record(row) for row in await self.rows(statement, *values)]

    async def task_counts(self, prefix: str) -> dict[str, int]:
        """Count task runs by the type of their state."""
        return {row[0]: row[1] for row in await self.rows(schema.COUNT_TASKS, prefix)}

    async def children(self, run_ids: Sequence[str]) -> list[FlowRun]:
        """List the flow runs that *run_ids* called, oldest first."""
        return [flow_record(row) for row in await self.rows(schema.READ_CHILDREN, list(run_ids))]

    async def below(self, prefix: str) -> list[FlowRun]:
        """List the flow runs that runs under *prefix* called, oldest first."""
        return [flow_record(row) for row in await self.rows(schema.READ_BELOW, prefix, prefix + schema.LAST)]

    async def histories(self, run_ids: Collection[str]) -> dict[str, History]:
        """Give what is on record of *run_ids* and of all below them."""

        def reads(statement: str) -> Read:
            return lambda keys: self.rows(statement, list(keys))

        return await put_together(Level(*map(reads, schema.HISTORY)), run_ids)

    async def logs(self, run_ids: Sequence[str], *, limit: int | None = None) -> list[LogLine]:
        """List log lines, oldest first."""
        prefixes = sorted({prefix_of(run_id) for run_id in run_ids})
        return [log_record(row) for row in await self.rows(schema.READ_LOGS, prefixes, limit)]

    async def delete(self, run_id: str) -> int:
        """Remove a flow run and all below it, in one transaction."""

        async def work(connection: Connection, _again: bool) -> int:
            async with connection.transaction():
                found = [row[0] for row in await connection.fetch(schema.FIND_FLOW, cleaned(run_id))]
                doomed: list[str] = []
                while found:
                    prefixes = [prefix_of(run) for run in found]
                    doomed += prefixes
                    found = [row[0] for row in await connection.fetch(schema.FIND_BELOW, prefixes)]
                # In the order in which a batch locks them, so that the two never wait for each other.
                for statement in (schema.DISOWN, schema.DELETE_FLOWS, *schema.DELETE_RUNS):
                    await connection.execute(statement, doomed)
                await connection.execute(schema.FORGET_ENDED)
                return len(doomed)

        return await self.link.run(work)

    async def request(self, request: Request) -> bool:
        """Leave *request* if its run goes on, and take away what was asked of runs that do not."""
        values = cleaned((request.run_id, request.what, request.why, nanoseconds(request.at)))

        async def work(connection: Connection, _again: bool) -> bool:
            async with connection.transaction():
                await connection.execute(schema.FORGET_ENDED)
                suspended = await hold(self.link, connection, values[0])
                left = bool((await self.link.query(connection, schema.ASK, *values))[0])
                if left and suspended is not None:
                    await self.link.query(connection, schema.ROUSE, suspended)
                if left:
                    await connection.execute(schema.RING)
                return left

        return await self.link.run(work)

    async def requests(self, run_ids: Collection[str]) -> list[Request]:
        """List what was asked of *run_ids*, oldest first."""
        if not run_ids:
            return []
        return [asked_for(row) for row in await self.rows(schema.READ_REQUESTS, list(run_ids))]

    async def heard(self, requests: Collection[Request]) -> None:
        """Remove *requests*."""
        await self.link.change(schema.FORGET_HEARD, [one.run_id for one in requests], [one.what for one in requests])

    async def facts(self) -> dict[str, str]:
        """Say where the data is, how large, and how the server keeps it."""
        found: dict[str, str] = {"database": self.where}
        ((size,),) = await self.rows(schema.SIZE)
        found["size"] = f"{size / 1e6:.1f} MB"
        for name, statement in schema.FACTS:
            ((value,),) = await self.rows(statement)
            found[name] = f"{value:,}" if isinstance(value, int) else str(value)
        found["synchronous commit"] = "off; on for durable flows"
        return found
