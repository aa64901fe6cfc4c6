"""The journal of a worker process: what bodies call there is told to the process that records it. Keeps nothing."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from queue import SimpleQueue
from typing import Any, Final

from headrace._engine.journal import Answer, Event, Journal
from headrace._engine.mirrors import facts
from headrace._model.events import GROUP, LOG
from headrace._runtime import Runtime, draw_prefix
from headrace._stores.memory import MemoryStore
from headrace.errors import StoreUnavailable
from headrace.settings import Settings

Tell = Callable[..., bool]
NOBODYS: Final = 1 << 46
log: Final = logging.getLogger("headrace.workers")


class RemoteJournal(Journal):
    """Hands every event on at once, so that all of them come before the end of the body."""

    keeps_results = False

    def __init__(self, tell: Tell) -> None:
        super().__init__(draw=draw_prefix, level="batched", now=time.time_ns)
        self.pid = os.getpid()
        self.hand_on = tell
        self.told = []
        self.numbers = itertools.count(1)
        self.asked: dict[int, Answer] = {}
        self.open_limits = lambda: None  # they are taken where the run is recorded
        self.missed = False

    def tell(self, event: Event) -> None:
        """Hand *event* on. Log lines travel as such, and maps are counted where they are run."""
        if os.getpid() != self.pid:
            super().tell(event)  # a fork of this process, with a back office of its own
            return
        run, stamp, at, said = event
        if stamp is GROUP or stamp is LOG or run.away:
            return
        marks = () if run.span is None else run.span.taken()
        if not self.hand_on("told", facts(run), marks, stamp, at, said) and not self.missed:
            self.missed = True
            log.warning("%s is not recorded: it goes on in a worker process after the body that began it", run.label)

    def ask(self, answer: Answer, *, whole: bool = False) -> None:
        """Have *answer* called once all that was told before is committed."""
        if os.getpid() != self.pid:
            super().ask(answer, whole=whole)
            return
        number = next(self.numbers)
        self.asked[number] = answer
        if not self.hand_on("ask", number):
            self.committed(number, StoreUnavailable("of the flow", "no body is at work in this worker process"))

    def committed(self, number: int, problem: Exception | None) -> None:
        """Answer who asked under *number*."""
        answer = self.asked.pop(number, None)
        if answer is not None:
            answer(problem)


class Numbers(Iterator[int]):
    """
    The numbers of the task runs that one body calls: those of their flow, fetched some at a time.

    Attributes:
        left: What was fetched and not used.
        came: Where those that were asked for arrive.
        over: Whether the body has ended. What it has left behind in threads takes numbers that no other run has.
    """

    def __init__(self, tell: Tell) -> None:
        self.ask = tell
        self.guard = threading.Lock()
        self.left: list[int] = []
        self.came: SimpleQueue[list[int]] = SimpleQueue()
        self.over = False

    def __next__(self) -> int:
        with self.guard:
            if self.over:
                return NOBODYS | int.from_bytes(os.urandom(5), "big")
            if not self.left:
                self.ask("count")
                self.left = self.came.get()[::-1]
            return self.left.pop()


class AtRest:
    """A back office that has nothing to do."""

    def still(self) -> AbstractContextManager[None]:
        """Keep the store at rest, as it is."""
        return nullcontext()

    def close(self) -> None:
        """Do nothing."""


class WorkerRuntime(Runtime):
    """What runs share that begin in a worker. A fork of the worker is furnished as any other."""

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self.settings = settings
        self.journal = journal
        self.progress = None
        self.store = MemoryStore()
        office: Any = AtRest()
        self.office = office
