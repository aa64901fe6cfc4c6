"""
The thread lane: bodies that block, each in a thread of the pool, under a number of places of their own.

A thread works the queue off for as long as there is something in it. When it takes a call and more are waiting, one
more thread is called in; so there is always one on its way to the next call, and never a crowd for calls that are over
in no time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from headrace._engine.calls import Call
from headrace._engine.homes import HERE
from headrace._engine.life import drive
from headrace._ports import Host
from headrace._runners.lanes import Crew, Queue, Source
from headrace._runners.places import Places
from headrace._runners.pool import Pool


class ThreadLane:
    """Calls in threads."""

    def __init__(self, pool: Pool, host: Host, crew: Crew, places: Places) -> None:
        self.pool = pool
        self.host = host
        self.crew = crew
        self.places = places
        self.queue = Queue()
        self.guard = threading.Lock()
        self.coming = False
        self.at_work = 0

    def put(self, entry: Call | Source, *, inner: bool) -> None:
        """Take a call, or many, in."""
        with self.guard:
            self.queue.put(entry, inner=inner)
        self.stir()

    def stir(self) -> bool:
        """
        Call a thread in, if there is a place; tell whether there is something to do, and none on its way.

        Raises:
            RuntimeError: The system starts no more threads, and none is at work here that would go on with the queue.
        """
        with self.guard:
            if self.coming or not self.queue.ready():
                return False
            if not self.places.take(self):
                return True
            self.coming = True
        try:
            self.pool.run(self.work)
        except RuntimeError:
            with self.guard:
                self.coming = False
                alone = not self.at_work
            self.places.give()
            if alone:
                raise
        return True

    def close(self, closed: Callable[[], object]) -> None:
        """Call *closed*: threads that have nothing to do are the pool's again by then."""
        closed()

    def work(self) -> None:
        """Run calls as long as there are any and nobody else waits for the place, and then see to the next thread."""
        while True:
            with self.guard:
                self.coming = False
                self.at_work += 1
            self.shift()
            with self.guard:
                self.at_work -= 1
            try:
                self.stir()
                return
            except RuntimeError:
                # There is no next thread to be had, so it is this one that goes on.
                if not self.places.take(self):
                    return

    def shift(self) -> None:
        """Run one call after another, in a place; give the place back."""
        places = self.places
        held = True
        while held and (entry := self.head()) is not None:
            call: Call | None = None
            if isinstance(entry, Call):
                call = entry
            else:
                call, held = self.ask(entry)
            if call is None or not self.crew.claim(call):
                continue
            self.stir()
            call.places = places
            call.home = HERE
            self.run(call)
            held = places.ended(call)
            if self.crew.journal.crowded:
                drive(self.host.settled(self.crew.journal))
            if held and places.wanted(self):
                break
        if held:
            places.give()

    def head(self) -> Call | Source | None:
        """Give the next call, or the source whose turn it is; None where there is nothing to do."""
        with self.guard:
            return self.queue.head()

    def ask(self, source: Source) -> tuple[Call | None, bool]:
        """
        Give the next call of *source*, and whether this thread has a place now.

        What the user's iterator does may take long, submit calls and wait for them: it holds no lock and no place. A
        call for which there is no place afterwards is put back in front.
        """
        quick = source.total is not None
        if not quick:
            self.places.give()
        call = source.take()
        held = quick or self.places.take(self)
        with self.guard:
            self.queue.answered(source, call)
            if call is not None and not held:
                self.queue.again(call)
                call = None
        return call, held

    def run(self, call: Call) -> None:
        """Run *call* to its end."""
        value: Any = None
        try:
            value = call.context.run(drive, call.begin())
        except BaseException as error:  # its run knows how it ended, and who looks at its future is told
            value = error if call.run is None else None
        self.crew.ended(call, value)
