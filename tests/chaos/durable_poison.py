"""Programs with a durable flow that ends its process, and with its neighbours, which do not."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any

import headrace
from headrace import _suspects, durable, flow, task
from tests.chaos.durable_programs import brief, note, opened, opens

NEIGHBOURS = 3
AT_WORK = 0.3  # seconds, in which a poisoned run beside it would have ended the process
MOMENT = 0.5  # seconds on trial, where that is to be short


@task
async def works(name: str) -> str:
    note(f"works {name}")
    await asyncio.sleep(AT_WORK)
    return name


@task
async def poisons() -> None:
    note("poisons")
    os._exit(9)


@flow(durable=True)
async def neighbour(name: str) -> str:
    return await works(name)


@flow(durable=True)
async def poisoned() -> None:
    await poisons()


async def begins() -> None:
    """Run a poisoned flow amid its neighbours."""
    async with headrace.Runtime(recover=False) as runtime:
        before = [runtime.submit(neighbour, f"before {number}") for number in range(NEIGHBOURS)]
        fatal = runtime.submit(poisoned)
        await asyncio.gather(*before, fatal)


@task
async def passes(gate: str) -> str:
    note(f"passes {gate}")
    await opened(gate)
    return gate


@flow(durable=True)
async def in_two(name: str) -> str:
    return await passes(f"{name} first") + await passes(f"{name} last")


async def begins_in_two(count: str) -> None:
    """Begin flows of two steps, each of which waits for its gate."""
    async with headrace.Runtime(recover=False) as runtime:
        await asyncio.gather(*(runtime.submit(in_two, str(number)) for number in range(int(count))))


def takes_up(trial: str = "long") -> None:
    """Take up what others leave behind, until the file `enough`."""
    brief()
    if trial == "brief":
        setattr(_suspects, "TRIAL", MOMENT)  # noqa: B010 - it is final for all others
    with headrace.Runtime():
        opens("enough")


def resumes(run_id: str) -> None:
    durable.resume(run_id)


if __name__ == "__main__":
    program: Callable[..., Any] = globals()[sys.argv[1]]
    made = program(*sys.argv[2:])
    if asyncio.iscoroutine(made):
        asyncio.run(made)
