"""
How late an event loop wakes who sleeps on it: what every other request of the process feels.

Measured from inside, by a task that does nothing else; what holds the loop up is not found out here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter

from benchmarks.sample import Notes

NAP = 0.001


@dataclass
class Lag:
    """Seconds by which each sleep of a millisecond lasted longer than that, in order."""

    late: list[float] = field(default_factory=list[float])

    async def watch(self) -> None:
        """Sleep and note, until cancelled."""
        while True:
            start = perf_counter()
            await asyncio.sleep(NAP)
            self.late.append(perf_counter() - start - NAP)

    def notes(self) -> Notes:
        """Give the median, the 99th percentile and the largest, in milliseconds."""
        late = sorted(self.late)
        return {
            "lag p50": late[len(late) // 2] * 1e3,
            "lag p99": late[int(len(late) * 0.99)] * 1e3,
            "lag max": late[-1] * 1e3,
        }


@asynccontextmanager
async def watched() -> AsyncGenerator[Lag]:
    """Watch the running loop during the block."""
    lag = Lag()
    task = asyncio.create_task(lag.watch())
    try:
        yield lag
        # One nap more, so that a block that never let the loop go is seen as the one long wait that it was.
        await asyncio.sleep(2 * NAP)
    finally:
        task.cancel()
