"""Retry policy: whether there is another attempt, and after what delay. Draws no randomness and waits for nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

LONGEST: Final = 50


@attrs.frozen
class RetryPolicy:
    """
    How often and how late a failed body is tried again. One form for flows and tasks.

    Attributes:
        retries: Attempts after the first; at least 0.
        delays: Seconds before each retry; the last one holds for all that follow. Empty: at once.
        jitter: Each delay is drawn between delay / (1 + jitter) and delay * (1 + jitter), delay on average.
    """

    retries: int
    delays: tuple[float, ...] = ()
    jitter: float = 0.0

    @property
    def attempts(self) -> int:
        """How often the body runs at most."""
        return self.retries + 1

    def delay(self, attempt: int, draw: Callable[[], float]) -> float | None:
        """
        Give the seconds to wait after *attempt* (counted from 1) failed; None when it was the last.

        *draw* gives numbers in [0, 1); it is asked only when there is jitter.
        """
        if attempt > self.retries:
            return None
        if not self.delays:
            return 0.0
        delay = self.delays[min(attempt, len(self.delays)) - 1]
        return spread(delay, self.jitter, draw) if self.jitter and delay else delay


def spread(delay: float, jitter: float, draw: Callable[[], float]) -> float:
    """
    Draw a delay between delay / (1 + jitter) and delay * (1 + jitter) whose mean is *delay*.

    The side is drawn first: the upper one reaches further, so it is taken less often.
    """
    low, high = delay / (1 + jitter), delay * (1 + jitter)
    below = (high - delay) / (high - low)
    edge = low if draw() < below else high
    return delay + (edge - delay) * draw()


def doublings(first: float, retries: int) -> list[float]:
    """Give *first* doubled once more for each of *retries* retries, at most the 50 that a policy takes."""
    return [first * 2.0**turn for turn in range(min(retries, LONGEST))]
