"""
The floor: what the recording of tasks costs when it is written by hand, without an orchestrator.

Per task: one turn of a CapacityLimiter, one recording SDK span with six attributes, and two state rows
(Running, then Completed or Failed) that go to SQLite (WAL, synchronous=NORMAL) through one writer thread,
which commits whatever has gathered. The flow itself is recorded in the same way, once, and waits for the last
commit before it returns.

It is what a competent person would write in an afternoon: ids come from a counter, the table has no index to
keep up, the batch goes in by one `executemany`. What never belongs here: anything of Headrace, a trick that
such a person would not think of, and anything that makes it slower than it has to be.

Each form can be measured by itself: `python -m benchmarks.child floor sequential --units 20000`, and likewise
with `fan_out`, `pooled` and `threaded`.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from asyncio import wrap_future
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TypeAlias, TypeVar

import anyio
from opentelemetry.trace import Tracer
from typing_extensions import override

Argument = TypeVar("Argument")
Result = TypeVar("Result")
Row: TypeAlias = tuple[str, str, str, str, int]

TABLE = "create table if not exists state(flow_run text, run text, name text, state text, at integer)"
INSERT = "insert into state values(?, ?, ?, ?, ?)"
CONCURRENCY = 256
THREADS = 64


class Writer(Thread):
    """Commits rows in the order they arrive, as many a transaction as have gathered."""

    def __init__(self, path: Path) -> None:
        super().__init__(name="floor-writer", daemon=True)
        self._path = path
        self._arrived: SimpleQueue[Row | Future[None] | None] = SimpleQueue()
        self._failure: sqlite3.Error | None = None

    def write(self, row: Row) -> None:
        self._arrived.put(row)

    def committed(self) -> Future[None]:
        """
        Give a future that is done once every row written before this call is committed, or failed if one is
        lost.
        """
        done: Future[None] = Future()
        self._arrived.put(done)
        return done

    def close(self) -> None:
        self._arrived.put(None)
        self.join()

    @override
    def run(self) -> None:
        database = sqlite3.connect(self._path, isolation_level=None)
        database.execute("pragma journal_mode = wal")
        database.execute("pragma synchronous = normal")
        database.execute(TABLE)
        closing = False
        while not closing:
            rows: list[Row] = []
            waiting: list[Future[None]] = []
            for item in self._gathered():
                if isinstance(item, tuple):
                    rows.append(item)
                elif item is None:
                    closing = True
                else:
                    waiting.append(item)
            self._commit(database, rows, waiting)
        database.close()

    def _gathered(self) -> Iterator[Row | Future[None] | None]:
        """
        Wait for one item, then give it and all that stand behind it by now; nobody else takes from the queue.
        """
        yield self._arrived.get()
        for _ in range(self._arrived.qsize()):
            yield self._arrived.get()

    def _commit(self, database: sqlite3.Connection, rows: list[Row], waiting: list[Future[None]]) -> None:
        try:
            if rows:
                database.execute("begin immediate")
                database.executemany(INSERT, rows)
                database.execute("commit")
        except sqlite3.Error as error:
            # Kept, not only handed to who waits now: rows that are lost must fail every later wait as well.
            self._failure = error
        for future in waiting:
            if self._failure is None:
                future.set_result(None)
            else:
                future.set_exception(self._failure)


class Floor:
    """One flow after another, each a number of calls of one async function, recorded by hand."""

    def __init__(self, writer: Writer, tracer: Tracer) -> None:
        self._writer = writer
        self._tracer = tracer
        self._limiter = anyio.CapacityLimiter(CONCURRENCY)
        self._numbers = count(1)

    def _begun(self, flow_run: str, name: str) -> tuple[str, dict[str, str | int]]:
        """Give the id of a new task run, and the attributes of its span."""
        number = next(self._numbers)
        run = f"{flow_run}-{number}"
        return run, {
            "flow.name": "floor",
            "flow_run.id": flow_run,
            "task.name": name,
            "task_run.id": run,
            "task_run.name": f"{name}-{number}",
            "attempt": 1,
        }

    async def task(self, flow_run: str, body: Callable[[Argument], Awaitable[Result]], argument: Argument) -> Result:
        name = body.__name__
        run, about = self._begun(flow_run, name)
        async with self._limiter:
            with self._tracer.start_as_current_span(name, attributes=about):
                self._writer.write((flow_run, run, name, "Running", time.time_ns()))
                try:
                    result = await body(argument)
                except BaseException:
                    self._writer.write((flow_run, run, name, "Failed", time.time_ns()))
                    raise
                self._writer.write((flow_run, run, name, "Completed", time.time_ns()))
        return result

    def blocking_task(self, flow_run: str, body: Callable[[Argument], Result], argument: Argument) -> Result:
        """The same for a body that blocks; how many there are at once is up to the pool that it runs in."""
        name = body.__name__
        run, about = self._begun(flow_run, name)
        with self._tracer.start_as_current_span(name, attributes=about):
            self._writer.write((flow_run, run, name, "Running", time.time_ns()))
            try:
                result = body(argument)
            except BaseException:
                self._writer.write((flow_run, run, name, "Failed", time.time_ns()))
                raise
            self._writer.write((flow_run, run, name, "Completed", time.time_ns()))
        return result

    async def flow(self, body: Callable[[str], Awaitable[None]]) -> None:
        """Run *body*, given the flow run's id; return once the last of its rows is committed."""
        flow_run = uuid.uuid4().hex
        with self._tracer.start_as_current_span("floor", attributes={"flow_run.id": flow_run}):
            self._writer.write((flow_run, flow_run, "floor", "Running", time.time_ns()))
            try:
                await body(flow_run)
            except BaseException:
                self._writer.write((flow_run, flow_run, "floor", "Failed", time.time_ns()))
                raise
            self._writer.write((flow_run, flow_run, "floor", "Completed", time.time_ns()))
            await wrap_future(self._writer.committed())

    async def sequential(self, tasks: int) -> None:
        """Await one task after another."""

        async def body(flow_run: str) -> None:
            for i in range(tasks):
                await self.task(flow_run, noop, i)

        await self.flow(body)

    async def one(self, argument: object) -> None:
        """A flow of a single task, which is given *argument*."""

        async def body(flow_run: str) -> None:
            await self.task(flow_run, take, argument)

        await self.flow(body)

    async def fan_out(self, tasks: int) -> None:
        """Start every task at once, each an anyio task of its own; the limiter lets 256 of them run."""

        async def body(flow_run: str) -> None:
            async with anyio.create_task_group() as group:
                for i in range(tasks):
                    group.start_soon(self.task, flow_run, noop, i)

        await self.flow(body)

    async def pooled(self, tasks: int) -> None:
        """The same by 256 workers that take the next item: one anyio task a worker, not one an item."""

        async def body(flow_run: str) -> None:
            items = iter(range(tasks))

            async def work() -> None:
                for i in items:
                    await self.task(flow_run, noop, i)

            async with anyio.create_task_group() as group:
                for _ in range(min(CONCURRENCY, tasks)):
                    group.start_soon(work)

        await self.flow(body)

    def threaded(self, tasks: int) -> None:
        """A body that blocks, in a pool of 64 threads; no loop anywhere."""
        flow_run = uuid.uuid4().hex
        with self._tracer.start_as_current_span("floor", attributes={"flow_run.id": flow_run}):
            self._writer.write((flow_run, flow_run, "floor", "Running", time.time_ns()))
            with ThreadPoolExecutor(THREADS) as pool:
                # A context for each: the flow's span is the parent of theirs.
                calls = [
                    pool.submit(copy_context().run, self.blocking_task, flow_run, noop_blocking, i)
                    for i in range(tasks)
                ]
            for call in calls:
                call.result()
            self._writer.write((flow_run, flow_run, "floor", "Completed", time.time_ns()))
            self._writer.committed().result()


async def noop(i: int) -> int:
    return i


def noop_blocking(i: int) -> int:
    return i


async def take(argument: object) -> None:
    """Do nothing with an argument of any size."""
