"""Lanes: queues of submitted calls on their way to where they run. What is the same on a loop and in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from headrace._engine.calls import Call
from headrace._engine.journal import Journal
from headrace._ports import Host


class Source(Protocol):
    """
    Many calls in the place of one: a map's, made as their turn comes.

    Attributes:
        total: How many there are; None where that is not known, for they come from an iterator of the user's.
    """

    total: int | None

    def take(self) -> Call | None:
        """Give the next call that can begin; None when there is none left."""
        ...


class Crew(Protocol):
    """
    Whose calls a lane runs.

    Attributes:
        journal: Where their runs tell. While it is crowded no more calls begin.
    """

    journal: Journal

    def claim(self, call: Call) -> bool:
        """Tell whether *call* may begin: nobody has dropped it meanwhile."""
        ...

    def ended(self, call: Call, value: Any) -> None:
        """Hear that *call* has ended: with *value*, where its run does not say otherwise."""
        ...


class Lane(Protocol):
    """Where calls of one kind run."""

    host: Host

    def put(self, entry: Call | Source, *, inner: bool) -> None:
        """Take a call, or many, in; from any thread. Calls submitted by calls, *inner* ones, go first."""
        ...

    def close(self, closed: Callable[[], object]) -> None:
        """Let go of everything, since nothing will come any more; *closed* is called when that is done."""
        ...


class Queue:
    """
    Calls in the order in which they begin: those that calls submitted before all others, so few are ever half done.

    Attributes:
        asked: Sources that a thread is asking for their next call, which may take its time: no other thread asks them
            meanwhile, nor does what stands behind them wait.
    """

    __slots__ = ("asked", "inner", "outer")

    def __init__(self) -> None:
        self.inner: deque[Call | Source] = deque()
        self.outer: deque[Call | Source] = deque()
        self.asked: set[Source] = set()

    def __bool__(self) -> bool:
        return bool(self.inner or self.outer)

    def put(self, entry: Call | Source, *, inner: bool) -> None:
        """Stand *entry* in line."""
        (self.inner if inner else self.outer).append(entry)

    def ready(self) -> bool:
        """Tell whether there is a call, or a source that nobody asks now."""
        return bool(self) and (not self.asked or self.first() is not None)

    def first(self) -> tuple[deque[Call | Source], int] | None:
        """Find the next call, or source that nobody asks now: its line, and its place there."""
        for line in (self.inner, self.outer):
            for place, entry in enumerate(line):
                if isinstance(entry, Call) or entry not in self.asked:
                    return line, place
        return None

    def head(self) -> Call | Source | None:
        """Take the next call out; or give the source whose turn it is: it is the taker's until `answered` is called."""
        found = self.first()
        if found is None:
            return None
        line, place = found
        entry = line[place]
        if isinstance(entry, Call):
            del line[place]
        else:
            self.asked.add(entry)
        return entry

    def answered(self, source: Source, call: Call | None) -> None:
        """Hear that *source* has given *call*; None means that it has no more."""
        self.asked.discard(source)
        if call is None:
            for line in (self.inner, self.outer):
                if source in line:
                    line.remove(source)

    def again(self, call: Call) -> None:
        """Stand *call*, which has been taken, in front of all others."""
        self.inner.appendleft(call)

    def take(self) -> Call | None:
        """Give the next call; None where there is none. For queues that one thread alone takes from."""
        for line in (self.inner, self.outer):
            while line:
                head = line[0]
                if isinstance(head, Call):
                    line.popleft()
                    return head
                call = head.take()
                if call is not None:
                    return call
                line.popleft()
        return None
