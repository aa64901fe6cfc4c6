"""
The back office: one daemon thread with one event loop, where the journal is committed and its spans are made.

It takes what has arrived and never waits for more; under load the batches grow by themselves. User code never runs
here.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import socket
import threading
from collections.abc import Sequence
from typing import Any, Final

from headrace._engine.fold import fold
from headrace._engine.journal import Answer, Journal
from headrace._engine.runs import Run
from headrace._ports import Batch, Store
from headrace.errors import StoreUnavailable

BATCH: Final = 2_000
CLOSE_WITHIN: Final = 10.0
log: Final = logging.getLogger("headrace.store")


class BackOffice:
    """
    Commits a journal into a store.

    Attributes:
        lost: Rows that a failing store could not take, since the last time it worked.
    """

    def __init__(self, store: Store, journal: Journal) -> None:
        self.store = store
        self.journal = journal
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: threading.Thread | None = None
        self.guard = threading.Lock()
        self.closing = False
        self.opened = False
        self.problem: Exception | None = None
        self.lost = 0
        self.commits = 0
        self.pid = os.getpid()

    def wake(self) -> None:
        """Have the thread look at the journal; start it where it has not begun."""
        loop = self.loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self.bell.set)
            except RuntimeError:
                if not loop.is_closed():
                    raise
            return
        with self.guard:
            if self.thread is None:
                ready = threading.Event()
                self.thread = threading.Thread(
                    target=self.work, args=(ready,), name="headrace back office", daemon=True
                )
                atexit.register(self.close)
                try:
                    self.thread.start()
                except RuntimeError as error:
                    self.thread = None
                    self.refuse(error)
                    return
                ready.wait()
        self.wake()

    def refuse(self, error: Exception) -> None:
        """Answer everybody that nothing can be recorded any more: the interpreter is going down."""
        while events := self.journal.take(BATCH):
            for answer in fold(events)[3]:
                answer(error)

    def work(self, ready: threading.Event) -> None:
        """Run the thread's loop. Made by hand, so that no event loop policy of the application reaches in here."""
        loop = asyncio.SelectorEventLoop()
        self.bell = asyncio.Event()
        self.loop = loop
        ready.set()
        try:
            loop.run_until_complete(self.commit_until_closed())
        finally:
            loop.close()

    async def commit_until_closed(self) -> None:
        """Commit what arrives until asked to close and nothing is left."""
        journal = self.journal
        while True:
            events = journal.take(BATCH)
            if events:
                batch, ended, began, answers = fold(events)
                await self.commit(batch)
                self.tell_observer(ended, began)
                self.reply(answers)
                continue
            if self.closing:
                if self.opened:
                    await self.store.close()
                return
            # Asleep first, then a last look: who tells in between rings the bell.
            self.bell.clear()
            journal.asleep = True
            if not journal.told and not self.closing:
                await self.bell.wait()
            journal.asleep = False

    async def commit(self, batch: Batch) -> None:
        """Write *batch*; where the store fails, say so once, count what is lost, and try again with the next."""
        if not len(batch):
            return
        try:
            if not self.opened:
                await self.store.open()
                self.opened = True
            await self.store.append(batch)
        except Exception as error:
            self.failed(error, batch)
            return
        self.commits += 1
        if self.lost:
            log.warning("The database works again; %d rows were not recorded meanwhile", self.lost)
        self.problem, self.lost = None, 0

    def failed(self, error: Exception, batch: Batch) -> None:
        """Note that *batch* is lost."""
        known = isinstance(error, StoreUnavailable)
        if self.problem is None:
            log.error(
                "%s Runs go on without being recorded; durable ones stop.",
                error if known else f"The database failed unexpectedly: {type(error).__name__}: {error}.",
                exc_info=None if known else error,
            )
        self.problem = error
        self.lost += len(batch)

    def tell_observer(self, ended: Sequence[Run], began: Sequence[Run]) -> None:
        """Hand on what was committed; an observer that fails costs its spans, never the journal."""
        observer = self.journal.observer
        if observer is None:
            return
        try:
            for run in began:
                if run.scope.trace is not None:
                    observer.began(run)
            for run in ended:
                if run.scope.trace is not None:
                    observer.ended(run, run.transitions or ())
        except Exception:
            log.exception("Making spans failed; runs go on, their spans are missing")

    def reply(self, answers: Sequence[Answer]) -> None:
        """Tell who asked that what they told before is safe, or what went wrong."""
        for answer in answers:
            answer(self.problem)

    def close(self, within: float = CLOSE_WITHIN) -> None:
        """Commit what is left and end the thread; waits *within* seconds at most. Called at exit; harmless twice."""
        atexit.unregister(self.close)
        thread = self.thread
        if thread is None or self.pid != os.getpid() or thread is threading.current_thread():
            return
        self.closing = True
        self.wake()
        thread.join(within)
        if thread.is_alive():
            log.error("The database did not take the last events within %g s; they are lost", within)


def owner() -> str:
    """Name this host and process, with the process's start and the machine's boot, so that its end can be proved."""
    parts: list[Any] = [socket.gethostname(), os.getpid(), started(os.getpid()), boot()]
    return ":".join(str(part) for part in parts)


def started(pid: int) -> str:
    """Give when process *pid* started, in clock ticks since boot; "" where that cannot be known."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            return stat.read().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def boot() -> str:
    """Give the id of this boot of the machine; "" where the system does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            return file.read().strip()[:8]
    except OSError:
        return ""
