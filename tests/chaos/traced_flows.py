"""
Durable flows whose spans are compared with their record; their steps are those of `durable_flows`, with its ledger.

Run as a program, it is a worker that is to be killed. What is *deep* calls tasks and subflows that call tasks.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import Iterator

import headrace
from headrace import Runtime, _resuming, flow
from tests.chaos.durable_flows import (
    FEW,
    WIDE,
    acknowledged,
    double,
    double_acknowledged,
    double_here,
    fails_at_first,
    gathered,
    home,
    nests,
    part,
    part_here,
    went_on,
)


@flow(durable=True)
async def traced(number: int, deep: bool) -> int:
    """Call, gather, submit, map and retry."""
    total: int = 0
    if deep:
        total += await part(number)
        total += await gathered(nests, number, "nested", FEW)
    total += sum([await acknowledged(double, number, "each", value) for value in range(FEW)])
    total += await gathered(double, number, "gather", WIDE)
    futures = [double_here.submit(number, "submit", value) for value in range(FEW)]
    for value, future in enumerate(futures):
        total += await future
        went_on(number, "submit", value)
    total += sum(await double.map(number, "map", range(WIDE)))
    total += await gathered(fails_at_first, number, "retried", FEW)
    return total


@flow(durable=True)
def traced_here(number: int, deep: bool) -> int:
    """Do so in code that blocks."""
    total: int = part_here(number) if deep else 0
    total += sum(double_acknowledged(number, "each", value) for value in range(WIDE))
    futures = [double.submit(number, "submit", value) for value in range(FEW)]
    for value, future in enumerate(futures):
        total += future.result()
        went_on(number, "submit", value)
    total += sum(double_here.map(number, "map", range(WIDE)).result())
    return total


async def works(first: str, count: str, at_once: str, depth: str) -> None:
    """Run the flows from number *first* on, so many at once, and what others left behind, until the file `enough`."""
    setattr(_resuming, "CRASHES", 1_000)  # noqa: B010 - it is final for all others
    tests = os.getppid()
    numbers = itertools.islice(itertools.count(int(first)), int(count))
    async with headrace.Runtime(drain_seconds=60) as runtime:
        await asyncio.gather(*(in_turn(runtime, numbers, depth == "deep") for _ in range(int(at_once))))
        while not (home() / "enough").exists() and os.getppid() == tests:  # noqa: ASYNC110 - other processes' doing
            await asyncio.sleep(0.01)


async def in_turn(runtime: Runtime, numbers: Iterator[int], deep: bool) -> None:
    """Run flows one after the other: each third one blocks."""
    for number in numbers:
        await runtime.submit(traced if number % 3 else traced_here, number, deep)


if __name__ == "__main__":
    asyncio.run(works(*sys.argv[1:]))
