"""A worker with durable flows that outlasts its database: what stops because that fails, its runtime goes on with."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import headrace
from headrace.errors import StoreUnavailable
from tests.chaos.durable_flows import kind_of, right


async def works(first: str, count: str, at_once: str) -> None:
    """Run the flows from number *first* on, so many at once, and what is left of any, until the file `enough`."""
    numbers = itertools.islice(itertools.count(int(first)), int(count))
    async with headrace.Runtime(drain_seconds=60) as runtime:
        await asyncio.gather(*(in_turn(runtime, numbers) for _ in range(int(at_once))))
        while not (Path(os.environ["HEADRACE_HOME"]) / "enough").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.01)


async def in_turn(runtime: headrace.Runtime, numbers: Iterator[int]) -> None:
    """Run flows one after the other; say which were stopped."""
    for number in numbers:
        try:
            value = await runtime.submit(kind_of(number), number)
        except StoreUnavailable:
            print("stopped", number)
        else:
            assert value[1] == right(number)


if __name__ == "__main__":
    asyncio.run(works(*sys.argv[1:]))
