"""
Homes on event loops: where a body that awaits is at work, and how it is cancelled there. Hosts and runners share it.

Once: a cancellation that came again and again would hit what a body awaits in its cleanup. And ours alone is taken back
at the end: who else has cancelled the task, a timeout around it or its owner, still finds that he has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from headrace._engine.homes import Home
from headrace._engine.runs import Run


class LoopHome(Home):
    """
    A task of a loop, for as long as one body is at work in it.

    Attributes:
        run: Whose body that is; None while it is not known, and once it has ended: they hold each other meanwhile.
        before: How often the task had been cancelled before, by others.
        cancelled: Whether we have.
        over: Whether the body has ended, so that the task is somebody else's.
        alone: Whether nobody else had cancelled it when ours was taken back; None until then.
    """

    __slots__ = ("alone", "before", "cancelled", "loop", "over", "run", "task", "told")

    def __init__(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None, run: Run | None = None) -> None:
        self.loop = loop
        self.task = task
        self.run = run
        self.renew()

    def renew(self) -> None:
        """Begin anew, for the next attempt."""
        self.before = 0 if self.task is None else self.task.cancelling()
        self.told = self.cancelled = self.over = False
        self.alone: bool | None = None

    def holds(self, run: Run) -> None:
        """Hear whose body it is."""
        self.run = run

    def rest(self) -> None:
        """Hear that the run has ended."""
        self.over = True
        self.run = None

    def interrupt(self) -> None:
        """Cancel the task, from any thread."""
        if not self.told:
            quietly(self.loop, self.cancel)

    def cancel(self) -> None:
        """Cancel the task, unless the body has heard of it, has ended, or yields: the task is its consumer's then."""
        run = self.run
        if self.told or self.over or self.task is None or (run is not None and (run.ended or run.yields)):
            return
        self.told = self.cancelled = True
        self.task.cancel()

    def hear(self, run: Run) -> None:
        """
        Have the code that runs here hear that *run* is to stop, unless its cancellation is on its way.

        Raises:
            CancelledError: The loop had no turn since, as in a body whose tasks never wait.
        """
        if self.told:
            return
        self.hush()
        raise asyncio.CancelledError(run.stopping)

    def hush(self) -> bool:
        """Send nothing more, if it is this task that has heard of it, and not one beside it; tell whether it is."""
        if asyncio.current_task() is not self.task:
            return False
        self.told = True
        return True

    def calm(self) -> bool:
        """Be over. Take our cancellation back; tell whether the body has heard from us, and from nobody else."""
        self.over = True
        alone = self.alone
        if alone is None:
            taken_back = not self.cancelled or self.task is None or self.task.uncancel() <= self.before
            self.alone = alone = self.told and taken_back
        return alone


def quietly(loop: asyncio.AbstractEventLoop, function: Callable[..., Any], *args: Any) -> None:
    """Have *function* called on *loop*, unless the loop was closed meanwhile: then nobody waits for it any more."""
    if asyncio._get_running_loop() is loop:
        loop.call_soon(function, *args)  # without the write to a socket that wakes a loop, 20 us
        return
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise
