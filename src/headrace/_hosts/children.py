"""
Children: the worker processes of this one, started, lent, ended and killed. Knows no runs, and no word said to them.

They are kept while any flow run that uses processes goes on, and ended after the last: what a flow left in them, and
what they know of files and environment, does not outlive it.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import itertools
import logging
import math
import multiprocessing.process
import os
import select
import signal
import threading
import time
from collections.abc import Iterable
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from headrace._hosts.rooted import WORKER
from headrace._hosts.wire import Line, Message
from headrace.errors import WorkerStartError

ENDING: Final = 5.0  # seconds that workers have to end by themselves: spans are sent, files closed
CONTEXT: Final = get_context("spawn")
log: Final = logging.getLogger("headrace.workers")


class Gone(Exception):
    """A worker process has ended. All that it said before was heard."""


class Child:
    """
    One worker process.

    Attributes:
        ready: Whether it has said that it is.
        life: A pipe whose other end is the child's, written by nobody: it breaks when this process ends, however.
        taken: A pipe with a byte in it for each call that the child has begun with, read when somebody needs to know.
    """

    def __init__(self, program: str, number: int) -> None:
        self.name = f"{WORKER} {number}"
        self.ready = False
        self.buried = False
        self.guard = threading.Lock()
        here, there = CONTEXT.Pipe()
        parent, self.life = CONTEXT.Pipe(duplex=False)
        self.taken, taking = CONTEXT.Pipe(duplex=False)
        self.woken, self.waker = os.pipe()
        self.line = Line(here)
        for descriptor in (self.waker, self.taken.fileno()):
            os.set_blocking(descriptor, False)
        self.process = CONTEXT.Process(target=begin, args=(program, there, parent, taking), name=self.name)
        self.ended: int | None = None
        # Ctrl-C in a terminal reaches the child's process group, too, until it has one of its own.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            self.process.start()
        except BaseException:
            self.forget()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            for end in (there, parent, taking):
                end.close()
        # Ours to end, and no concern of what the application does with its own: multiprocessing would wait for it at
        # exit, also at that of a fork.
        getattr(multiprocessing.process, "_children", set[Any]()).discard(self.process)
        self.pid: int = self.process.pid or 0
        self.ended = opened(self.pid)
        self.end: int = self.process.sentinel if self.ended is None else self.ended
        self.events = select.poll()
        for descriptor in (here.fileno(), self.end, self.woken):
            self.events.register(descriptor, select.POLLIN)

    def rouse(self) -> None:
        """Have whoever waits in `next` look up; from any thread, also when the child is buried by now."""
        with self.guard, contextlib.suppress(BlockingIOError):  # the pipe is full of such calls
            if not self.buried:
                os.write(self.waker, b"!")

    def tell(self, *message: Any) -> None:
        """Say something to it; that it has ended meanwhile, whoever listens to it hears."""
        with contextlib.suppress(OSError):
            self.line.send(*message)

    def next(self, seconds: float | None) -> Message | None:
        """
        Wait for what the child says; give None when roused, or after *seconds*.

        Raises:
            Gone: It has ended, and said nothing more.
        """
        found = {descriptor for descriptor, _ in self.events.poll(None if seconds is None else milliseconds(seconds))}
        if self.woken in found:
            os.read(self.woken, 4096)
        # The end may have come right after a last word, between two looks of one wait.
        connection = self.line.connection
        if connection.fileno() in found or (self.end in found and connection.poll()):
            try:
                return self.line.receive()
            except (EOFError, OSError):
                raise Gone from None
        if self.end in found:
            raise Gone
        return None

    def took(self) -> bool:
        """Tell whether it has begun with a call since this was asked before."""
        try:
            return bool(os.read(self.taken.fileno(), 4096))
        except BlockingIOError:
            return False

    @property
    def alive(self) -> bool:
        """Whether it has not ended. It is not waited for: until then its number is nobody else's."""
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    def kill(self) -> None:
        """End it, and what it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, signal.SIGKILL)
            else:
                os.kill(self.pid, signal.SIGKILL)  # it has just begun, and is in our own group still

    def bury(self) -> int:
        """Wait until it has ended, and let go of all that belongs to it; give its exit code, a signal's as negative."""
        # While it is not waited for, its group cannot be another's: what it left running goes with it.
        self.kill()
        self.process.join()
        with self.guard:
            if not self.buried:
                self.buried = True
                self.forget()
        code = self.process.exitcode
        return 0 if code is None else code

    def forget(self) -> None:
        """Close what leads to it."""
        self.line.close()
        self.life.close()
        self.taken.close()
        for descriptor in (self.woken, self.waker, self.ended):
            if descriptor is not None:
                os.close(descriptor)


def opened(pid: int) -> int | None:
    """
    Open what tells of the end of process *pid*; None where the system has no such thing.

    The pipe that multiprocessing watches instead stays open as long as any process has it that the child has forked.
    """
    try:
        return os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    except OSError:
        return None


def milliseconds(seconds: float) -> int:
    """Give *seconds* as a poll takes them: never less, and at most a day."""
    return math.ceil(min(seconds, 86_400.0) * 1_000)


def begin(program: str, *ends: Connection[Any, Any]) -> None:
    """Be a worker process: run the module *program*."""
    importlib.import_module(program).main(*ends)


class Children:
    """
    The worker processes of this one.

    Attributes:
        program: The module that they run.
        starting: Held while one is made, and by whoever forks: a copy of a `life` that nobody knows of yet would be
            closed by nobody, and keep the worker alive.
        allowed: How many may be kept: as many as the flow runs in progress use together.
        refused: Why workers do not start; forgotten with the last flow run that wants any.
    """

    def __init__(self, program: str) -> None:
        self.program = program
        self.numbers = itertools.count(1)
        self.empty()

    def empty(self) -> None:
        """Begin with none."""
        self.guard = threading.Lock()
        self.starting = threading.Lock()
        self.idle: list[Child] = []
        self.all: set[Child] = set()
        self.allowed = 0
        self.refused: WorkerStartError | None = None

    def enter(self, workers: int) -> None:
        """Hear that somebody will use up to so many *workers* at once."""
        with self.guard:
            self.allowed += workers

    def leave(self, workers: int) -> list[Child]:
        """Hear that somebody is done with them; give those that nobody needs any more, for `end`."""
        with self.guard:
            self.allowed -= workers
            if not self.allowed:
                self.refused = None
            kept = len(self.idle) if self.allowed >= len(self.idle) else self.allowed
            surplus, self.idle = self.idle[kept:], self.idle[:kept]
        return surplus

    def lend(self) -> Child:
        """
        Give a worker that is idle, or a new one.

        Raises:
            WorkerStartError: None starts.
        """
        while True:
            with self.guard:
                if self.refused is not None:
                    raise self.refused
                child = self.idle.pop() if self.idle else None
            if child is None:
                return self.start()
            if child.alive:
                return child
            self.lost(child)

    def start(self) -> Child:
        """Start one more."""
        with self.starting:
            if not self.all:
                atexit.unregister(self.close)
                atexit.register(self.close)
            try:
                child = Child(self.program, next(self.numbers))
            except (AssertionError, OSError, RuntimeError) as error:
                # An assertion is how multiprocessing tells its own daemons that they may start no process.
                raise WorkerStartError(f"{type(error).__name__}: {error}") from error
            with self.guard:
                self.all.add(child)
            return child

    def back(self, child: Child) -> None:
        """Take a worker back that waits for what comes next."""
        with self.guard:
            kept = len(self.idle) < self.allowed
            if kept:
                self.idle.append(child)
        if not kept:
            self.end([child])

    def lost(self, child: Child) -> int:
        """Bury a worker, which is killed where it has not ended; give its exit code."""
        code = child.bury()
        with self.guard:
            self.all.discard(child)
        return code

    def refuse(self, why: WorkerStartError) -> None:
        """Start none any more for who is there now: each would fail alike."""
        with self.guard:
            self.refused = why

    def end(self, children: Iterable[Child]) -> None:
        """Have *children* end by themselves; kill those that take too long."""
        asked = list(children)
        for child in asked:
            child.tell("leave")
        deadline = time.monotonic() + ENDING
        for child in asked:
            if not wait([child.end], max(0.0, deadline - time.monotonic())):
                log.warning("The %s did not end within %g s and was killed", child.name, ENDING)
            self.lost(child)

    def close(self) -> None:
        """Kill all that are left. At exit; harmless twice."""
        with self.guard:
            left, self.all, self.idle = list(self.all), set(), []
        for child in left:
            child.kill()
        for child in left:
            child.process.join()

    def forget(self) -> None:
        """Have none: in a forked process, whose parent they belong to."""
        for child in self.all:
            if child.buried:
                continue  # what led to it is closed, or just being closed: its numbers may be those of other files now
            # Whoever was just speaking to it did not come along, and will never let go of the line's guard.
            child.line = Line(child.line.connection)
            child.forget()
        atexit.unregister(self.close)
        self.empty()
