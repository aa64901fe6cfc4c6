"""SIGTERM while root runs live: they end, recorded, and the process after them. Respects handlers that are there."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from headrace.errors import TerminationSignal

if TYPE_CHECKING:
    import asyncio


class Terminations:
    """Watch over SIGTERM from the first root run on the main thread to the last; restores what was there before."""

    def __init__(self) -> None:
        self.roots = 0
        self.watching = False
        self.came = False
        self.tasks: dict[asyncio.Task[Any], asyncio.AbstractEventLoop] = {}

    def enter(self, on_loop: bool) -> None:
        """Hear that a root run begins on this thread."""
        if threading.current_thread() is not threading.main_thread():
            return
        if self.roots == 0 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self.arrived)
            self.watching, self.came = True, False
        self.roots += 1
        task = current_task() if on_loop else None
        if task is not None:
            self.tasks[task] = task.get_loop()

    def leave(self, on_loop: bool) -> None:
        """Hear that a root run on this thread has ended."""
        if threading.current_thread() is not threading.main_thread() or self.roots == 0:
            return
        if on_loop:
            task = current_task()
            if task is not None:
                self.tasks.pop(task, None)
        self.roots -= 1
        if self.roots == 0 and self.watching:
            self.watching = False
            if signal.getsignal(signal.SIGTERM) == self.arrived:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def arrived(self, _number: int, _frame: FrameType | None) -> None:
        """End the runs: by cancelling the tasks they are in, or by an exception in this thread's own code."""
        self.came = True
        if not self.tasks:
            raise TerminationSignal
        for task, loop in list(self.tasks.items()):
            loop.call_soon_threadsafe(task.cancel, "SIGTERM")

    def translated(self, stop: BaseException) -> BaseException:
        """Give the cancellation that SIGTERM caused as the signal it stands for; anything else as it is."""
        return TerminationSignal() if self.came and type(stop).__name__ == "CancelledError" else stop


def current_task() -> asyncio.Task[Any] | None:
    """Give the task that runs on this thread's loop; asyncio is loaded by then, and this room need not load it."""
    task: asyncio.Task[Any] | None = sys.modules["asyncio"].current_task()
    return task


terminations: Final = Terminations()
