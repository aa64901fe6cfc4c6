"""Histograms of durations: any number of them, counted in bounded memory. Arithmetic only; knows no spans."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

# A decade in steps of a seventh at most, so that a percentile read off them is right to some 10 %.
DECADE: Final = (10, 11, 12, 13, 14, 16, 18, 20, 22, 25, 28, 32, 36, 40, 45, 50, 56, 63, 71, 80, 90)
CHUNK: Final = 1_000
ROUND: Final = frozenset((10, 20, 50))
MICROSECOND: Final = 1_000
UNITS: Final = ((1_000_000_000, "s"), (1_000_000, "ms"), (MICROSECOND, "µs"))
# Upper bounds in nanoseconds, from 1 µs to 10,000,000 s; a bound belongs to the bucket below it.
BOUNDS: Final = [step * 10**power for power in range(2, 15) for step in DECADE] + [10**16]
SHOWN: Final = [place for place in range(len(BOUNDS)) if BOUNDS[place] // 10 ** (len(str(BOUNDS[place])) - 2) in ROUND]


class Histogram:
    """How long many things took, in nanoseconds."""

    __slots__ = ("buckets", "count", "least", "most", "total", "waiting")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.count = 0
        self.total = 0
        self.least = 0
        self.most = 0
        # Sorted in by the thousand: that takes half the time.
        self.waiting: list[int] = []

    def add(self, duration: int) -> None:
        """Count *duration*, 0 or more."""
        self.waiting.append(duration)
        if len(self.waiting) == CHUNK:
            self.sort_in()

    def sort_in(self) -> None:
        """Put what waits into the buckets."""
        if not self.waiting:
            return
        waiting, self.waiting = self.waiting, []
        least = min(waiting)
        self.least = min(self.least, least) if self.count else least
        self.most = max(self.most, *waiting)
        self.count += len(waiting)
        self.total += sum(waiting)
        for duration in waiting:
            self.buckets[bisect_left(BOUNDS, duration)] += 1

    def figures(self) -> dict[str, float]:
        """Give the least, the most and the mean, exactly, and two percentiles to within a bucket; all 0 for nothing."""
        self.sort_in()
        return {
            "min": self.least,
            "p50": self.quantile(0.5),
            "p95": self.quantile(0.95),
            "max": self.most,
            "mean": self.total / max(self.count, 1),
        }

    def quantile(self, share: float) -> float:
        """Give the duration that the *share* of all do not exceed."""
        wanted = share * self.count
        passed = 0
        for place, inside in enumerate(self.buckets):
            if inside and passed + inside >= wanted:
                low = BOUNDS[place - 1] if place else 0
                high = BOUNDS[place] if place < len(BOUNDS) else self.most
                found = low + (high - low) * (wanted - passed) / inside
                return min(max(found, self.least), self.most)
            passed += inside
        return 0.0

    def lines(self) -> list[str]:
        """
        Give a line a bucket between round bounds (1, 2, 5, 10 ...), from the first that is not empty to the last.

        One says, for example, `20 ms to 50 ms: 388`: so many took more than 20 and at most 50 ms.
        """
        self.sort_in()
        found: list[tuple[str, int]] = []
        done = 0
        for low, high in zip([None, *SHOWN], [*SHOWN, None], strict=True):
            until = len(self.buckets) if high is None else high + 1
            inside = sum(self.buckets[done:until])
            done = until
            below = "0" if low is None else in_words(BOUNDS[low])
            found.append((f"over {below}" if high is None else f"{below} to {in_words(BOUNDS[high])}", inside))
        filled = [place for place, (_, inside) in enumerate(found) if inside]
        return [f"{words}: {inside}" for words, inside in found[filled[0] : filled[-1] + 1]] if filled else []


def in_words(nanoseconds: int) -> str:
    """Give a bound with its unit."""
    size, unit = next(known for known in UNITS if nanoseconds >= known[0])
    return f"{nanoseconds // size:,} {unit}"
