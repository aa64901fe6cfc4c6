"""Lanes: queues of submitted calls on their way to where they run. The part that is the same on a loop and in threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from headrace._engine.calls import Call
from headrace._ports import Host


class Source(Protocol):
    """Many calls in the place of one: a map's, made as their turn comes."""

    def take(self) -> Call | None:
        """Give the next call that can begin; None when there is none left."""
        ...


class Crew(Protocol):
    """Whose calls a lane runs."""

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
    """Calls in the order in which they begin: those that calls submitted before all others, so few are ever half done."""

    __slots__ = ("inner", "outer")

    def __init__(self) -> None:
        self.inner: deque[Call | Source] = deque()
        self.outer: deque[Call | Source] = deque()

    def __bool__(self) -> bool:
        return bool(self.inner or self.outer)

    def put(self, entry: Call | Source, *, inner: bool) -> None:
        """Stand *entry* in line."""
        (self.inner if inner else self.outer).append(entry)

    def take(self) -> Call | None:
        """Give the next call; None where there is none."""
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
