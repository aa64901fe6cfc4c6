"""What both hosts do for root runs alike: the clock, the journal, chance, and an eye on SIGTERM. Waits for nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from headrace._engine.journal import Journal
from headrace._hosts.clock import wall
from headrace._hosts.signals import terminations
from headrace._ports import Clock

ANSWER_WITHIN: Final = 60.0


class Rooted:
    """The part of a host that is the same on a loop and in a thread."""

    on_loop: ClassVar[bool]

    def __init__(self, desk: Callable[[], Journal]) -> None:
        self.clock: Clock = wall
        self.desk = desk

    def open(self) -> Journal:
        """Give the journal to a root run; `close` is called when it has ended."""
        journal = self.desk()
        terminations.enter(self.on_loop)
        return journal

    def close(self) -> None:
        """Hear that a root run has ended."""
        terminations.leave(self.on_loop)

    def draw(self) -> float:
        """Draw a number in [0, 1), for jitter."""
        import random  # noqa: PLC0415 - 5 ms to import, for runs that are retried with jitter

        return random.random()

    def translated(self, stop: BaseException) -> BaseException:
        """Give what really stopped a run for *stop*: a signal may have come as a cancellation."""
        return terminations.translated(stop)
