"""The feeder: a task beside a stream's consumer, in which a source is awaited. Knows neither rows nor results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class Feeder:
    """
    *work(feeder)* in a task of its own on the loop that runs here; *ended* is called after its end.

    A plain task, no task group around the consumer's code: cancelled with `cancel` it hears so once, and what the
    source awaits in its cleanup goes on.
    """

    def __init__(self, work: Callable[[Feeder], Coroutine[Any, Any, None]], ended: Callable[[], object]) -> None:
        self.loop = asyncio.get_running_loop()
        self.roused: asyncio.Future[None] | None = None
        self.task = self.loop.create_task(work(self), name="headrace stream source")
        self.task.add_done_callback(lambda _task: ended())

    async def rest(self) -> None:
        """Suspend until `rouse`; no wait of a run's, so the place at work of the run around is not given back."""
        self.roused = self.loop.create_future()
        await self.roused

    def rouse(self) -> None:
        """Have it go on, if it rests; on its loop."""
        if self.roused is not None and not self.roused.done():
            self.roused.set_result(None)

    def cancel(self) -> None:
        """Ask the work to end."""
        self.task.cancel()
