"""
The floor of durable flows: what a step costs that is on record before its caller goes on, written by hand.

One writer thread with its own connection takes what has gathered, writes it in one transaction (WAL), and wakes those
who wait for it. A step in a row is so one transaction of its own: a row for the step, and one for its result. Each has
one recording OpenTelemetry span, as in `floor.py`, if a tracer is given. There is no limiter, no retry, no resuming.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeAlias

from typing_extensions import override

Step: TypeAlias = tuple[str, int, str, str, int, int]
Result: TypeAlias = tuple[str, str]
Waiting: TypeAlias = "asyncio.Future[None] | Lock"

STEPS = """
    create table if not exists step(
        flow_run text, number integer, name text, state text, began integer, ended integer,
        primary key (flow_run, number)
    ) without rowid
"""
RESULTS = "create table if not exists result(run text primary key, value text) without rowid"
STEP = "insert into step values(?, ?, ?, ?, ?, ?)"
RESULT = "insert into result values(?, ?)"


class Writer(Thread):
    """Commits steps in the order they arrive, as many a transaction as have gathered; then wakes who waits."""

    def __init__(self, path: Path, synchronous: str) -> None:
        super().__init__(name="floor-writer", daemon=True)
        self._path = path
        self._synchronous = synchronous
        self._arrived: SimpleQueue[tuple[Step, Result, Waiting]] = SimpleQueue()

    async def written(self, step: Step, result: Result) -> None:
        """Suspend until *step* and its *result* are committed."""
        done = asyncio.get_running_loop().create_future()
        self._arrived.put((step, result, done))
        await done

    def written_blocking(self, step: Step, result: Result) -> None:
        """Block until *step* and its *result* are committed."""
        done = Lock()
        done.acquire()
        self._arrived.put((step, result, done))
        done.acquire()

    @override
    def run(self) -> None:
        database = sqlite3.connect(self._path, isolation_level=None)
        database.execute("pragma journal_mode = wal")
        database.execute(f"pragma synchronous = {self._synchronous}")
        database.execute(STEPS)
        database.execute(RESULTS)
        while True:
            batch = [self._arrived.get()]
            batch += [self._arrived.get() for _ in range(self._arrived.qsize())]
            database.execute("begin immediate")
            database.executemany(STEP, [step for step, _, _ in batch])
            database.executemany(RESULT, [result for _, result, _ in batch])
            database.execute("commit")
            self._wake([waiting for _, _, waiting in batch])

    def _wake(self, waiting: list[Waiting]) -> None:
        """Wake all who wait; those of one loop, which is all there is here, by one call."""
        futures: list[asyncio.Future[None]] = []
        for one in waiting:
            if isinstance(one, asyncio.Future):
                futures.append(one)
            else:
                one.release()
        if futures:
            futures[0].get_loop().call_soon_threadsafe(_done, futures)


def _done(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        future.set_result(None)


class Floor:
    """Durable flows of no-op steps, by hand; with spans if there is a *tracer*."""

    def __init__(self, writer: Writer, tracer: Any = None) -> None:
        self._writer = writer
        self._tracer = tracer

    def _span(self, flow_run: str, number: int, name: str) -> AbstractContextManager[Any]:
        if self._tracer is None:
            return nullcontext()
        about = {
            "flow.name": "floor",
            "flow_run.id": flow_run,
            "task.name": name,
            "task_run.id": f"{flow_run}-{number}",
            "task_run.name": f"{name}-{number}",
            "attempt": 1,
        }
        span: AbstractContextManager[Any] = self._tracer.start_as_current_span(name, attributes=about)
        return span

    async def step(self, flow_run: str, number: int) -> int:
        with self._span(flow_run, number, "noop"):
            began = time.time_ns()
            value = await noop(number)
            step = (flow_run, number, "noop", "Completed", began, time.time_ns())
            await self._writer.written(step, (f"{flow_run}-{number}", json.dumps(value)))
        return value

    def step_blocking(self, flow_run: str, number: int) -> int:
        with self._span(flow_run, number, "noop"):
            began = time.time_ns()
            value = noop_blocking(number)
            step = (flow_run, number, "noop", "Completed", began, time.time_ns())
            self._writer.written_blocking(step, (f"{flow_run}-{number}", json.dumps(value)))
        return value

    async def flow(self, steps: int, seen: Callable[[], object]) -> None:
        """A durable flow whose beginning and end are on record, too; each step is *seen* once it is."""
        flow_run = uuid.uuid4().hex
        with self._span(flow_run, 0, "flow"):
            await self._writer.written((flow_run, -1, "flow", "Running", time.time_ns(), 0), (flow_run, "{}"))
            for number in range(1, steps + 1):
                await self.step(flow_run, number)
                seen()
            await self._writer.written((flow_run, -2, "flow", "Completed", 0, time.time_ns()), (f"{flow_run}-0", ""))

    def flow_blocking(self, steps: int, seen: Callable[[], object]) -> None:
        """The same where nothing is async."""
        flow_run = uuid.uuid4().hex
        write = self._writer.written_blocking
        with self._span(flow_run, 0, "flow"):
            write((flow_run, -1, "flow", "Running", time.time_ns(), 0), (flow_run, "{}"))
            for number in range(1, steps + 1):
                self.step_blocking(flow_run, number)
                seen()
            write((flow_run, -2, "flow", "Completed", 0, time.time_ns()), (f"{flow_run}-0", ""))


async def noop(i: int) -> int:
    return i


def noop_blocking(i: int) -> int:
    return i
