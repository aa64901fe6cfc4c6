"""
Who is at work: each thread of the process, judged by the frame it stands in. Looks, and changes nothing.

A thread counts as at work unless it is seen to wait for others. The frames are taken in one moment, and what is asked
of locks and queues is asked after it; so if all are found waiting, all were waiting in that moment, and nobody could
wake another since: there is nothing to lose a race against.
"""

from __future__ import annotations

import dis
import enum
import functools
import os
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import CodeType, FrameType
from typing import Any, Final, cast

OFFICE: Final = "headrace back office"
BODY: Final = "headrace "
SAYS: Final = os.path.isdir("/proc/self/task")
CALLS: Final = frozenset({"PRECALL", "CALL"})
ATTRIBUTES: Final = frozenset({"LOAD_METHOD", "LOAD_ATTR"})


class Grade(enum.Enum):
    """How sure it is that a thread waits."""

    AT_WORK = enum.auto()
    PROBABLY_WAITS = enum.auto()
    WAITS = enum.auto()


Wait = Callable[["Census", threading.Thread, FrameType, "set[threading.Thread]"], Grade]


class Census:
    """
    The threads of the process, but for those that were at work already when it was taken up.

    Those are a debugger's, a server's, a C library's: nobody can tell when they are idle, so they are left out until
    they wait on our clock themselves.
    """

    def __init__(self) -> None:
        # Work items of thread pools, each with the queue it stood in: an idle worker may be about to take it.
        self.items: list[tuple[Any, Any]] = []
        self.outsiders: set[threading.Thread] = set()
        frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
        present = set(threading.enumerate())
        self.outsiders = {
            thread
            for thread in present
            if thread is not threading.current_thread() and self.grade(thread, frames, present) is Grade.AT_WORK
        }

    def submitted(self, item: Any, queue: Any) -> None:
        """Hear of a work item that was put into a thread pool's queue."""
        self.items = [known for known in self.items if not known[0].running() and not known[0].done()]
        self.items.append((item, queue))

    def joined(self) -> None:
        """Hear that the current thread waits on our clock."""
        self.outsiders.discard(threading.current_thread())

    def look(self, excused: Callable[[int], bool | None]) -> tuple[Grade, tuple[Any, ...]]:
        """
        Judge the process: as its busiest thread is.

        Args:
            excused: Tells of a thread's ident whether it waits on our clock; None where it has nothing to do with it.

        Returns:
            The grade; and of the threads that only probably wait, where they stand.
        """
        frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
        present = {thread for thread in threading.enumerate() if thread not in self.outsiders}
        standing: list[tuple[int, int, int]] = []
        for thread in present:
            known = None if thread.ident is None else excused(thread.ident)
            if known is True:
                continue
            grade = Grade.AT_WORK if known is False else self.grade(thread, frames, present)
            if grade is Grade.AT_WORK:
                return grade, ()
            if grade is Grade.PROBABLY_WAITS:
                frame = frames[thread.ident or 0]
                standing.append((thread.ident or 0, id(frame), frame.f_lasti))
        return (Grade.PROBABLY_WAITS, tuple(standing)) if standing else (Grade.WAITS, ())

    def grade(self, thread: threading.Thread, frames: dict[int, FrameType], present: set[threading.Thread]) -> Grade:
        """Judge one thread that does not wait on our clock."""
        frame = frames.get(thread.ident or 0)
        if frame is None:
            # One about to start; or one of C code that called Python once and is gone, which threading keeps forever.
            return Grade.WAITS if type(thread).__name__ == "_DummyThread" else Grade.AT_WORK
        wait = WAITS.get(place(frame))
        if wait is not None:
            return wait(self, thread, frame, present)
        above: FrameType | None = frame
        while above is not None and place(above)[0] in SELECTORS:
            above = above.f_back
        if above is not None and above is not frame and (wait := SELECTING.get(place(above))) is not None:
            return wait(self, thread, above, present)
        queue = asked(frame)
        # The queue is C: a thread that was handed something this very moment looks like one that waits.
        waits = queue is not None and queue.empty() and not runs(thread)
        return Grade.PROBABLY_WAITS if waits else Grade.AT_WORK

    def in_condition(self, thread: threading.Thread, frame: FrameType, _present: set[threading.Thread]) -> Grade:
        """Judge a thread in Condition.wait, on which events, queues, futures and semaphores are built."""
        seen = frame.f_locals
        if seen.get("timeout") is not None and not lingers(thread):
            return Grade.AT_WORK
        # Who notifies takes the waiter out, so one that is still in was not notified.
        return Grade.WAITS if seen.get("waiter") in seen["self"]._waiters else Grade.AT_WORK

    def in_join(self, _thread: threading.Thread, frame: FrameType, present: set[threading.Thread]) -> Grade:
        """Judge a thread that joins another: it waits as long as that one is there and counted."""
        above = frame if place(frame)[1] == "Thread.join" else frame.f_back
        if above is None or place(above)[1] != "Thread.join" or above.f_locals.get("timeout") is not None:
            return Grade.AT_WORK
        return Grade.WAITS if above.f_locals["self"] in present else Grade.AT_WORK

    def in_pool(self, _thread: threading.Thread, frame: FrameType, _present: set[threading.Thread]) -> Grade:
        """Judge a thread pool's worker between two items: it waits unless it has one to take or the pool closes."""
        seen = frame.f_locals
        queue, pool = seen.get("work_queue"), seen["executor_reference"]()
        if queue is None or not queue.empty() or pool is None or pool._shutdown:
            return Grade.AT_WORK
        taken = any(where is queue and not item.running() and not item.done() for item, where in self.items)
        return Grade.AT_WORK if taken else Grade.WAITS

    def in_real_loop(self, _thread: threading.Thread, frame: FrameType, _present: set[threading.Thread]) -> Grade:
        """Judge a thread whose event loop is not ours to move, the back office's among them."""
        seen = frame.f_locals
        return Grade.AT_WORK if seen.get("timeout") == 0 or seen["self"]._ready else Grade.WAITS

    def serving(self, _thread: threading.Thread, _frame: FrameType, _present: set[threading.Thread]) -> Grade:
        """Judge a server's thread that waits for somebody to connect: who does is at work, with a socket of his own."""
        return Grade.WAITS


WAITS: Final[dict[tuple[str, str], Wait]] = {
    ("threading", "Condition.wait"): Census.in_condition,
    ("threading", "Thread.join"): Census.in_join,
    ("threading", "Thread._wait_for_tstate_lock"): Census.in_join,
    ("concurrent.futures.thread", "_worker"): Census.in_pool,
    ("socket", "socket.accept"): Census.serving,
}
SELECTORS: Final = frozenset({"selectors", "headrace._loops"})
SELECTING: Final[dict[tuple[str, str], Wait]] = {
    ("asyncio.base_events", "BaseEventLoop._run_once"): Census.in_real_loop,
    ("socketserver", "BaseServer.serve_forever"): Census.serving,
}


def place(frame: FrameType) -> tuple[str, str]:
    """Give the module and the qualified name of the function that *frame* is a call of."""
    return frame.f_globals.get("__name__", ""), frame.f_code.co_qualname


def lingers(thread: threading.Thread) -> bool:
    """
    Tell whether *thread* is one that waits with a time-out of its own for as long as the process lives.

    A watchdog's timer, a telemetry exporter's daemon; but not a body of ours, whose waits are part of its work.
    """
    return isinstance(thread, threading.Timer) or (thread.daemon and not thread.name.startswith(BODY))


def asked(frame: FrameType) -> Any:
    """
    Give the SimpleQueue whose `get()` *frame* is in; None if it is in none.

    It is written in C, so the thread of an aiosqlite connection, for one, shows no frame that says so.
    """
    names = gets(frame.f_code).get(frame.f_lasti)
    if names is None:
        return None
    found: Any = frame.f_locals.get(names[0])
    for name in names[1:]:
        found = getattr(found, "__dict__", {}).get(name)  # no attribute that would run code
    return cast("Any", found) if isinstance(found, SimpleQueue) else None


def runs(thread: threading.Thread) -> bool:
    """Tell whether the system has *thread* running, or ready and short of a processor; False where it does not say."""
    if not SAYS:
        return False
    try:
        file = os.open(f"/proc/self/task/{thread.native_id}/stat", os.O_RDONLY)
        try:
            return os.read(file, 400).rpartition(b") ")[2][:1] == b"R"
        finally:
            os.close(file)
    except OSError:
        return True  # it has ended meanwhile, so it was about to do something


@functools.lru_cache(maxsize=1_000)
def gets(code: CodeType) -> dict[int, tuple[str, ...]]:
    """Find the calls `x.get()` and `x.y.get()` in *code*: where each instruction of the call stands, and the names."""
    found: dict[int, tuple[str, ...]] = {}
    before: list[dis.Instruction] = []
    names: tuple[str, ...] = ()
    for one in dis.get_instructions(code):
        if one.opname in CALLS and one.arg == 0 and names:
            found[one.offset] = names
        elif one.opname in ATTRIBUTES and one.argval == "get":
            names = chain(before)
        elif one.opname not in CALLS:
            names = ()
        before.append(one)
    return found


def chain(before: list[dis.Instruction]) -> tuple[str, ...]:
    """Give the names of the expression that ends in the last instruction: a local variable, and attributes of it."""
    names: list[str] = []
    for one in reversed(before):
        names.insert(0, str(one.argval))
        if one.opname.startswith("LOAD_FAST"):
            return tuple(names)
        if one.opname not in ATTRIBUTES:
            break
    return ()
