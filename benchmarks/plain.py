"""
The same work with nothing recorded, as a program has it that uses no orchestrator: what the loop itself costs,
and what is left for others to take.

What never belongs here: spans, rows, anything of Headrace.
"""

from __future__ import annotations

import asyncio

import anyio

from benchmarks.crowd import Crowd, Wait
from benchmarks.lag import watched
from benchmarks.sample import Notes

WORKERS = 1_000
IDLE = 3.0


async def naps(tasks: int) -> None:
    """A thousand workers that take the next item, sleep 0.1 s over it, and take the next."""
    items = iter(range(tasks))

    async def work() -> None:
        for _ in items:
            await asyncio.sleep(0.1)

    async with anyio.create_task_group() as group:
        for _ in range(WORKERS):
            group.start_soon(work)


async def crowd(tasks: int) -> Notes:
    """One anyio task an item, all of them waiting."""

    async def run(wait: Wait) -> None:
        async with anyio.create_task_group() as group:
            for i in range(tasks):
                group.start_soon(wait, i)

    return await Crowd(tasks).weighed(run)


async def idle(_: int) -> Notes:
    """Nothing: what the loop of an idle process is late by on this machine, in these minutes."""
    async with watched() as lag:
        await asyncio.sleep(IDLE)
    return lag.notes()


async def five() -> int:
    """What a handler does without tasks."""
    return sum([await noop(i) for i in range(5)])


async def noop(i: int) -> int:
    return i


async def web(tasks: int) -> Notes:
    from benchmarks.web import requested

    return await requested(tasks, five)
