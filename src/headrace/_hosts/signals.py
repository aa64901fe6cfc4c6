"""SIGTERM while root runs live: they end, are recorded, then the process ends. Touches no signal that somebody handles."""

from __future__ import annotations

import asyncio
import signal
import threading
from types import FrameType
from typing import Any, Final

from headrace.errors import TerminationSignal


class Terminations:
    """Watches over SIGTERM from the first root run on the main thread to the last; restores what was there before."""

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
        task = asyncio.current_task() if on_loop else None
        if task is not None:
            self.tasks[task] = task.get_loop()

    def leave(self, on_loop: bool) -> None:
        """Hear that a root run on this thread has ended."""
        if threading.current_thread() is not threading.main_thread() or self.roots == 0:
            return
        if on_loop:
            self.tasks.pop(asyncio.current_task(), None)  # type: ignore[arg-type]
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
        return TerminationSignal() if self.came and isinstance(stop, asyncio.CancelledError) else stop


terminations: Final = Terminations()
