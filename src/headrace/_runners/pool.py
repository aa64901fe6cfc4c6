"""The pool: threads that run what they are handed, kept for the next hand-over. Knows no calls, lanes or limits."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

KEPT: Final = 64  # idle threads; one costs some 30 kB and spares 60 us
Work = Callable[[], None]


class Worker:
    """One thread of the pool."""

    __slots__ = ("inbox", "pool")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.inbox: SimpleQueue[Work] = SimpleQueue()

    def work(self) -> None:
        """Do what comes, until the pool has idle threads enough."""
        inbox = self.inbox
        while True:
            inbox.get()()
            if not self.pool.rests(self):
                return


class Pool:
    """
    As many threads as there is work at one time.

    They are daemons: what runs in them must not keep a process from ending, and whoever needs it to end waits for it.
    """

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.idle: list[Worker] = []
        self.numbers = itertools.count(1)

    def run(self, work: Work) -> None:
        """
        Have *work* done by a thread that does nothing else meanwhile; it must not raise.

        Raises:
            RuntimeError: The system, or an interpreter that shuts down, starts no more threads.
        """
        with self.guard:
            worker = self.idle.pop() if self.idle else None
        if worker is not None:
            worker.inbox.put(work)
            return
        worker = Worker(self)
        worker.inbox.put(work)
        name = f"headrace worker {next(self.numbers)}"
        threading.Thread(target=worker.work, name=name, daemon=True).start()

    def rests(self, worker: Worker) -> bool:
        """Keep *worker* for later; tell it to end where enough are kept."""
        with self.guard:
            if len(self.idle) >= KEPT:
                return False
            self.idle.append(worker)
            return True
