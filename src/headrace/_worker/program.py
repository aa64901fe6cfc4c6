"""
The program of a worker process: takes one call after another, and runs each body on this process's main thread.

A second thread listens meanwhile, for a body that is to stop. When the process that started this one ends, however it
does, this one is killed with all that it has started.
"""

from __future__ import annotations

import asyncio
import faulthandler
import fcntl
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from contextvars import copy_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from types import FrameType
from typing import Any, NoReturn, TextIO

from headrace import _runtime
from headrace._engine.begin import hear
from headrace._engine.context import current_run, current_tags
from headrace._engine.homes import Home
from headrace._engine.prints import captured
from headrace._engine.runs import Run
from headrace._homes import LoopHome
from headrace._hosts.parcels import THREADS, Reference, pack, packed_error, reason, unpacked_call
from headrace._hosts.wire import Done, Errand, Line
from headrace._worker.journal import Numbers, RemoteJournal, WorkerRuntime
from headrace._worker.output import Forwarder, capture
from headrace._worker.runs import export_spans, mirror, settle_in
from headrace.errors import NotPicklable, short
from headrace.settings import Settings

Task = tuple[Errand, Reference | bytes, bytes, bytes]


def main(connection: Connection[Any, Any], life: Connection[Any, Any], taking: Connection[Any, Any]) -> None:
    """Work until told to leave, or until the process that started this one is gone."""
    bind_to_parent(life.fileno())
    Worker(connection, taking).serve()


def bind_to_parent(life: int) -> None:
    """
    Have this process, and what it starts, killed when the one at the other end of the pipe *life* ends.

    By the kernel where it can do that, since a body in native code may let no other thread run for long; elsewhere the
    thread that listens does it.
    """
    try:
        os.setpgid(0, 0)
    except OSError:
        return  # it leads a session already
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(life, fcntl.F_SETOWN, -os.getpid())
        fcntl.fcntl(life, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)


def die() -> NoReturn:
    """End this process at once, with what it has started: nobody listens any more."""
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


class Place(Home):
    """The main thread, where a body that blocks is at work."""

    __slots__ = ()

    def interrupt(self) -> None:
        """Have the body hear that it is to stop: between two of its steps."""
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


class Worker:
    """
    This process, as the one that started it knows it.

    Attributes:
        run: The run whose body is at work; None between two.
        taking: Where a byte goes for each call that is begun with.
        speaking: Whether the main thread is within a message: half of one would be the end of all understanding.
        called: Whether a signal came meanwhile, to be heard after it.
    """

    def __init__(self, connection: Connection[Any, Any], taking: Connection[Any, Any]) -> None:
        self.line = Line(connection)
        self.taking = taking
        self.pid = os.getpid()
        self.run: Run | None = None
        self.main = threading.get_ident()
        self.speaking = 0
        self.called = False
        self.guard = threading.Lock()
        self.early: dict[str, str] = {}  # stops that came before their run had begun
        self.inbox: SimpleQueue[Task | None] = SimpleQueue()
        self.journal = RemoteJournal(self.tell)
        self.numbers = Numbers(self.tell)
        self.forwarder = Forwarder(self.tell)
        self.levels: tuple[int, int] | None = None
        self.streams: list[TextIO] = []

    def tell(self, *message: Any) -> bool:
        """Tell the other process something while a body is at work; tell whether somebody heard it."""
        if self.run is None or os.getpid() != self.pid:
            return False
        main = threading.get_ident() == self.main
        if not main:
            return self.speak(*message)
        self.speaking += 1
        try:
            heard = self.speak(*message)
        finally:
            self.speaking -= 1
        if self.called:
            self.signalled()
        return heard

    def speak(self, *message: Any) -> bool:
        """Say something; tell whether anybody is there to hear it."""
        try:
            self.line.send(*message)
        except OSError:
            return False
        return True

    def serve(self) -> None:
        """Do what comes, until told to leave."""
        signal.signal(signal.SIGINT, self.signalled)
        signal.signal(signal.SIGTERM, self.signalled)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        if sys.__stderr__ is not None:
            faulthandler.enable(sys.__stderr__)
        settings = Settings.read()
        _runtime.replace(WorkerRuntime(settings, self.journal))
        self.forwarder.install()
        self.streams = capture(self.tell)
        threading.Thread(target=self.listen, name="headrace listener", daemon=True).start()
        self.line.send("ready")
        while (task := self.inbox.get()) is not None:
            self.do(*task)

    def listen(self) -> None:
        """Take what the other process says."""
        while True:
            try:
                message = self.line.receive()
            except (EOFError, OSError):
                die()
            kind, parts = message[0], message[1:]
            if kind == "work":
                self.inbox.put((parts[0], parts[1], parts[2], parts[3]))
            elif kind == "stop":
                self.stop(*parts)
            elif kind == "numbers":
                self.numbers.came.put(parts[0])
            elif kind == "committed":
                self.journal.committed(*parts)
            else:
                self.inbox.put(None)
                return

    def stop(self, run_id: str, why: str) -> None:
        """Have the run at work, or a flow run that it called, hear that it is to stop."""
        with self.guard:
            run = self.run
            target = run if run is not None and run.id == run_id else self.journal.live.get(run_id)
            if target is None:
                self.early[run_id] = why
        if target is not None:
            target.stop(why)

    def signalled(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """
        Hear a signal, on the main thread: from `Place.interrupt`, the only one that is obeyed.

        Ctrl-C and SIGTERM may come to every process of a session or service. What ends then, and how, is decided where
        the flow runs.
        """
        run = self.run
        if run is None or run.stopping is None:
            return
        self.called = self.speaking > 0
        if not self.called:
            hear(run)

    # -- one call ------------------------------------------------------------------------------------------------------

    def do(self, errand: Errand, function: Reference | bytes, blanks: bytes, data: bytes) -> None:
        """Run one body to its end, and tell how it ended."""
        run = mirror(errand, self.journal)
        run.scope.counter = self.numbers = Numbers(self.tell)
        self.called = False
        run.home = Place()
        if errand.levels != self.levels:
            self.levels = errand.levels
            self.forwarder.listen(*errand.levels)
        try:
            os.write(self.taking.fileno(), b"!")
            try:
                with self.guard:
                    self.run = run
                    why = self.early.pop(run.id, None)
                    self.early.clear()
                if why is not None:
                    run.stop(why)
                returned, value = copy_context().run(self.body, run, errand, function, blanks, data)
            finally:
                run.heard = True  # from here on nothing is to be interrupted
        except BaseException as error:  # a stop that came between the body and here
            returned, value = False, error
        returned, load = packed(run, returned, value)
        for stream in self.streams:
            if not stream.closed:
                stream.flush()
        marks, shown = ((), False) if run.span is None else (run.span.taken(), run.span.used)
        self.run = None
        run.ended = self.numbers.over = True
        try:
            self.line.send("done", Done(returned, run.noticed, marks, shown), load=load)
        except OSError:
            die()

    def body(
        self, run: Run, errand: Errand, function: Reference | bytes, blanks: bytes, data: bytes
    ) -> tuple[bool, Any]:
        """Run the body; give whether it returned, with its value or what it raised."""
        current_run.set(run)
        current_tags.set(errand.tags)
        if run.scope.trace is not None:
            run.scope.trace.attach(run)
        try:
            fn, args, kwargs = unpacked_call(function, data, blanks)
        except Exception as error:
            return False, unpackable(run, error)
        settle_in(run, errand, fn, args, kwargs)
        if errand.trace is not None:
            export_spans()
        if errand.timed:
            self.tell("begun")
        with captured() if errand.prints else nullcontext():
            if errand.awaited:
                return asyncio.run(awaited(run, fn, args, kwargs))
            try:
                return True, fn(*args, **kwargs)
            except BaseException as error:
                return False, error


async def awaited(
    run: Run, fn: Callable[..., Awaitable[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[bool, Any]:
    """Await the body, where it can be cancelled."""
    run.home = LoopHome(asyncio.get_running_loop(), asyncio.current_task(), run)
    try:
        hear(run)  # it may be that it was to stop before there was a task to cancel
        return True, await fn(*args, **kwargs)
    except BaseException as error:
        return False, error


def packed(run: Run, returned: bool, value: Any) -> tuple[bool, bytes]:
    """Pack how a body ended; where its value cannot be packed, what says so."""
    if returned:
        try:
            return True, pack(value)
        except Exception as error:
            what = f"What {run.label} returned, {short(value, 80)},"
            value = NotPicklable(
                what, reason(error), f"Return data, or write it to a file and return its name; {THREADS}."
            )
    return False, packed_error(run.label, value)


def unpackable(run: Run, error: Exception) -> NotPicklable:
    """Make the error of a call that cannot be unpacked here."""
    remedy = "It was packed, but cannot be made again in a worker process, which imports what it needs anew."
    made = NotPicklable(f"The call of {run.label}", reason(error), remedy)
    made.__cause__ = error
    return made
