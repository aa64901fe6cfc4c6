"""
Many runs side by side as a user of Headrace writes them: maps, streams, threads, ten thousand calls in a row.
Assembled for the harness in `ours_side`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Literal

from benchmarks.crowd import Crowd, Wait
from benchmarks.lag import watched
from benchmarks.meter import memory
from benchmarks.sample import Notes
from headrace import flow, task
from headrace.futures import Future
from headrace.task_runners import ConcurrentTaskRunner

Durability = Literal["off", "batched"]
AT_ONCE = 1_000
EARLY = 10_000
BATCH = 100


@task
async def noop(i: int) -> int:
    return i


@task
def noop_blocking(i: int) -> int:
    return i


@task
async def nap(_: int) -> None:
    await asyncio.sleep(0.1)


@task
def process_row(row: int) -> int:
    return row * 2


@task
def process_batch(batch: list[int]) -> list[int]:
    return [row * 2 for row in batch]


async def fan_out(tasks: int) -> None:
    await noop.map(range(tasks))


async def submitted(tasks: int) -> None:
    for future in [noop.submit(i) for i in range(tasks)]:
        await future


def threads(tasks: int) -> None:
    noop_blocking.map(range(tasks)).result()


async def naps(tasks: int) -> None:
    await nap.map(range(tasks))


def rows_one_by_one(tasks: int) -> None:
    assert len([process_row(row) for row in range(tasks)]) == tasks


def rows_mapped(tasks: int) -> None:
    assert len(process_row.map(range(tasks)).result()) == tasks


def rows_in_batches(tasks: int) -> None:
    rows = iter(range(tasks * BATCH))
    futures: list[Future[list[int]]] = []
    while batch := list(itertools.islice(rows, BATCH)):
        futures.append(process_batch.submit(batch))
    assert len([row for future in futures for row in future.result()]) == tasks * BATCH


def crowd_mapped(tasks: int) -> Callable[[Wait], Awaitable[None]]:
    async def crowd(wait: Wait) -> None:
        await task(wait).map(range(tasks))

    return crowd


def crowd_submitted(tasks: int) -> Callable[[Wait], Awaitable[None]]:
    async def crowd(wait: Wait) -> None:
        waiting = task(wait)
        for future in [waiting.submit(i) for i in range(tasks)]:
            await future

    return crowd


async def stream(tasks: int) -> Notes:
    start = perf_counter()
    notes: dict[str, float] = {}
    seen = 0
    async with noop.stream(iter(range(tasks)), limit=100) as results:
        async for _ in results:
            seen += 1
            if seen == EARLY:
                notes = {"early": (perf_counter() - start) / seen * 1e6, "RSS early": memory()}
    assert seen == tasks
    return {**notes, "RSS late": memory()}


async def five() -> int:
    return sum([await noop(i) for i in range(5)])


def awaited(durability: Durability) -> dict[str, Callable[[int], Awaitable[Notes | None]]]:
    """Give what is awaited, each a flow."""
    recorded = flow(durability=durability)
    at_once = flow(durability=durability, task_runner=ConcurrentTaskRunner(limit=AT_ONCE))
    many = recorded(fan_out)

    async def lagging(tasks: int) -> Notes:
        async with watched() as lag:
            await many(tasks)
        return lag.notes()

    async def web(tasks: int) -> Notes:
        from benchmarks.web import requested

        return await requested(tasks, recorded(five))

    return {
        "fan_out": many,
        "submitted": recorded(submitted),
        "naps": at_once(naps),
        "crowd": lambda tasks: Crowd(tasks).weighed(recorded(crowd_mapped(tasks))),
        "crowd_submitted": lambda tasks: Crowd(tasks).weighed(recorded(crowd_submitted(tasks))),
        "stream": recorded(stream),
        "lagging": lagging,
        "web": web,
    }


def blocking(durability: Durability) -> dict[str, Callable[[int], None]]:
    """Give what is called by blocking code, each a flow."""
    recorded = flow(durability=durability)
    return {
        "threads": recorded(threads),
        "rows_one_by_one": recorded(rows_one_by_one),
        "rows_mapped": recorded(rows_mapped),
        "rows_in_batches": recorded(rows_in_batches),
    }
