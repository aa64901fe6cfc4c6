"""
A crowd: tasks that wait all at once, and what each of them keeps in memory while it does. Whose tasks they are
is no concern of it.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from benchmarks.meter import memory
from benchmarks.sample import Notes

Wait = Callable[[int], Coroutine[Any, Any, None]]
SETTLED = 1.0


class Crowd:
    """*size* tasks that are expected to call `wait`, and are let go once they were counted and weighed."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.missing = size
        self.complete = asyncio.Event()
        self.released = asyncio.Event()

    async def wait(self, _: int) -> None:
        self.missing -= 1
        if not self.missing:
            self.complete.set()
        await self.released.wait()

    async def weighed(self, run: Callable[[Wait], Awaitable[object]]) -> Notes:
        """
        Have *run* call `wait` so many times at once; note the kilobytes that each takes when the last has
        come, and what is left of that a second later, when others have done their part.
        """
        gc.collect()
        before = memory()
        weighing = asyncio.create_task(self._weigh(before))
        await run(self.wait)
        return await weighing

    async def _weigh(self, before: float) -> Notes:
        await self.complete.wait()
        grown = memory() - before
        await asyncio.sleep(SETTLED)
        settled = memory() - before
        self.released.set()
        return {"at once": grown * 1e3 / self.size, "settled": settled * 1e3 / self.size}
