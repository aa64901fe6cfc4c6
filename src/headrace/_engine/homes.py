"""
Homes: where the body of a run is at work, as far as it can be told there that it is to stop. Waits for nothing.

The one here is a thread's. That of a task on an event loop is in `headrace._homes`, for the engine knows no loops.
"""

from __future__ import annotations

from typing import Any, Final

from headrace._engine.runs import Run
from headrace.errors import RunCancelled


class Home:
    """
    A thread: nothing interrupts what it does. It hears when it waits, begins a run, or asks.

    Attributes:
        loop: The event loop that the body awaits on; None where it blocks.
        told: Whether a cancellation was sent to the body, so that whatever it calls hears of that one, too.
    """

    __slots__ = ()
    loop: Any = None
    told: Any = False

    def holds(self, run: Run) -> None:
        """Hear whose body it is, where that was not known before."""

    def rest(self) -> None:
        """Hear that the run has ended: nothing is to reach its body any more."""

    def interrupt(self) -> None:
        """Do nothing: who waits in the thread is roused by the run."""

    def hear(self, run: Run) -> None:
        """
        Have the code that runs here hear that *run* is to stop.

        Raises:
            RunCancelled: Always.
        """
        raise RunCancelled(run.label, run.stopping or "")

    def hush(self) -> bool:
        """Send nothing more: the code that runs here has heard of it from a run that it called. Tell whether it has."""
        return True

    def calm(self) -> bool:
        """Be over. Take back a cancellation that was sent; tell whether there was one, and none but that."""
        return False

    def renew(self) -> None:
        """Begin anew, for the next attempt."""


HERE: Final = Home()
