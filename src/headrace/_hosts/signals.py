"""
SIGTERM while root runs live: they end, recorded, and the process after them. Respects handlers that are there.

Runs on a loop are cancelled, and only when the last of them has ended is the signal thrown, from a callback of the
loop: a SystemExit that leaves a task would stop the loop at once, over the heads of all other tasks and their cleanup.
"""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NoReturn
from weakref import WeakKeyDictionary, WeakSet

from headrace._hosts.waker import Waker
from headrace.errors import TerminationSignal

if TYPE_CHECKING:
    import asyncio


class Terminations:
    """
    Watch over SIGTERM from the first root run on the main thread to the last.

    Attributes:
        blocking: Root runs of sync flows and tasks that live on the main thread.
        tasks: How many root runs live in each asyncio task; weak, because loops are abandoned with tasks on them.
        holders: Tasks in blocks that hold runs wherever these live; heard only where no task lives that a run is in.
        came: Whether the signal came while they lived.
        taken: Whether we have taken the signal, so that it is to be given back.
        waker: Has the loop that these tasks are on wake for it.
    """

    def __init__(self) -> None:
        self.blocking = 0
        self.tasks: WeakKeyDictionary[asyncio.Task[Any], int] = WeakKeyDictionary()
        self.holders: WeakSet[asyncio.Task[Any]] = WeakSet()
        self.came = False
        self.taken = False
        self.waker = Waker()

    def enter(self, on_loop: bool) -> None:
        """Hear that a root run begins on this thread."""
        if threading.current_thread() is not threading.main_thread():
            return
        self.watch()
        task = current_task() if on_loop else None
        if task is None:
            self.blocking += 1
        else:
            self.tasks[task] = self.tasks.get(task, 0) + 1
            self.wake(task)

    def leave(self, on_loop: bool) -> None:
        """Hear that a root run on this thread has ended."""
        if threading.current_thread() is not threading.main_thread():
            return
        task = current_task() if on_loop else None
        if task is not None:
            self.tasks[task] = self.tasks.get(task, 1) - 1
            if not self.tasks[task]:
                del self.tasks[task]
        elif not on_loop:
            self.blocking -= 1
        self.end(task)

    def hold(self, on_loop: bool) -> None:
        """Hear that a block begins on this thread whose runs may live in others, which no signal reaches."""
        if threading.current_thread() is not threading.main_thread():
            return
        self.watch()
        task = current_task() if on_loop else None
        if task is None:
            self.blocking += 1
        else:
            self.holders.add(task)
            self.wake(task)

    def let_go(self, on_loop: bool) -> None:
        """Hear that such a block on this thread has ended."""
        if threading.current_thread() is not threading.main_thread():
            return
        task = current_task() if on_loop else None
        if task is None:
            self.blocking -= 1
        else:
            self.holders.discard(task)
        self.end(task)

    def watch(self) -> None:
        """Take SIGTERM, if nobody has it and this is the first to live."""
        if self.blocking or self.living() or self.held():
            return
        self.came = False
        handler = signal.getsignal(signal.SIGTERM)
        if handler is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self.arrived)
        # Ours already, where whoever had kept it has put it back since.
        self.taken = handler is signal.SIG_DFL or handler == self.arrived

    def wake(self, task: asyncio.Task[Any]) -> None:
        """Have the loop of *task* hear SIGTERM at once, if that is ours."""
        if self.taken:
            self.waker.watch(task.get_loop())

    def end(self, task: asyncio.Task[Any] | None) -> None:
        """Give SIGTERM back, or throw it where it came, if what has just ended in *task* was the last."""
        if self.living():
            return
        held = self.held()
        if not held:
            self.waker.rest()
        if self.blocking:
            return
        if self.taken and not held:
            self.release()
        if self.came and task is not None:
            self.came = False
            loop = task.get_loop()
            for one in sys.modules["asyncio"].all_tasks(loop):
                outlive(one)
            loop.call_soon(throw)

    def living(self) -> bool:
        """Tell whether a root run lives in a task that can be reached: at the first one, for there may be thousands."""
        return any(map(alive, self.tasks))

    def held(self) -> bool:
        """Tell whether a block holds runs, in a task that can be reached."""
        return any(map(alive, self.holders))

    def within_reach(self) -> list[asyncio.Task[Any]]:
        """Give the tasks with root runs whose loop runs, so that cancelling them has an effect."""
        return [task for task in list(self.tasks) if alive(task)]

    def holding(self) -> list[asyncio.Task[Any]]:
        """Give the tasks in blocks that hold runs."""
        return [task for task in list(self.holders) if alive(task)]

    def arrived(self, _number: int, _frame: FrameType | None) -> None:
        """End the runs: by cancelling the tasks they are in, or by an exception in this thread's own code."""
        tasks = self.within_reach() or self.holding()
        if not tasks:
            raise TerminationSignal
        self.came = True
        for task in tasks:
            task.get_loop().call_soon_threadsafe(task.cancel, "SIGTERM")

    def translated(self, stop: BaseException) -> BaseException:
        """Give the cancellation that SIGTERM caused as the signal it stands for; anything else as it is."""
        return TerminationSignal() if self.came and type(stop).__name__ == "CancelledError" else stop

    def release(self) -> None:
        """Give SIGTERM back, if it is ours."""
        self.taken = False
        if signal.getsignal(signal.SIGTERM) == self.arrived:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def reset(self) -> None:
        """Forget the runs of the parent: a forked child lives and dies by its own signals."""
        self.blocking = 0
        self.tasks.clear()
        self.holders.clear()
        self.came = False
        if threading.current_thread() is threading.main_thread():
            self.waker.rest()
            self.release()


def alive(task: asyncio.Task[Any]) -> bool:
    """Tell whether cancelling *task* has an effect."""
    return not task.done() and task.get_loop().is_running()


def outlive(task: asyncio.Task[Any]) -> None:
    """
    Have *task* end without stopping its loop, if it is the one that the loop runs for: `throw` does that.

    It may end in this very step of its own, and what it then has the loop do comes after `throw`: the stop would wait
    for who runs the loop next, which is asyncio.run, to cancel the tasks that are left. It would get no further.
    """
    callbacks: list[tuple[Any, Any]] = list(getattr(task, "_callbacks", None) or ())
    for callback, _context in callbacks:
        # asyncio's, a function of its module; uvloop's, one within its method
        if "run_until_complete" in getattr(callback, "__qualname__", ""):
            task.remove_done_callback(callback)


def throw() -> NoReturn:
    """Leave the loop that calls this; asyncio.run then ends the tasks that are left, in order."""
    raise TerminationSignal


def current_task() -> asyncio.Task[Any] | None:
    """
    Give the task that runs on this thread's loop; None where no loop runs: a coroutine may be closed outside of one.

    asyncio is loaded by then, and this room need not load it.
    """
    try:
        task: asyncio.Task[Any] | None = sys.modules["asyncio"].current_task()
    except RuntimeError:
        return None
    return task


terminations: Final = Terminations()
