"""Counters: what this process has of one limit, and who has and wants it here. Used under the guard of the desk."""

from __future__ import annotations

import math
from typing import Any, Final

import attrs
import orjson

from headrace._engine.promises import Gate
from headrace._limits.lines import Line
from headrace._model.slots import Claim, Lease, Limit

IDLE: Final = 1_000_000_000  # nanoseconds for which slots are kept that nobody uses
SHOWN: Final = 100  # holders and waiters that are named for people
PLENTY: Final = 1 << 40


@attrs.define(eq=False)
class Held:
    """
    Slots that somebody has.

    Attributes:
        who: The run that has them; None for code outside of runs.
        since: Since when, in nanoseconds since 1970.
    """

    counters: tuple[Counter, ...]
    occupy: int
    who: Any
    since: int


class Waiter(Gate):
    """
    Somebody who waits for slots; opens when they are there, or never will be.

    Attributes:
        over: Whether the wait is over, well or not.
        held: What came of it.
        error: Why the slots will never be there.
    """

    __slots__ = ("counters", "error", "held", "key", "number", "occupy", "over", "priority", "since", "who")

    def __init__(
        self, counters: tuple[Counter, ...], occupy: int, priority: int, key: str, number: int, who: Any, since: int
    ) -> None:
        super().__init__()
        self.counters = counters
        self.occupy = occupy
        self.priority = priority
        self.key = key
        self.number = number
        self.who = who
        self.since = since
        self.over = False
        self.held: Held | None = None
        self.error: Exception | None = None


class Counter:
    """
    What this process has of one limit.

    Attributes:
        size: The slots of a limit of one key, which nobody defines; None for the others.
        limit: As the store knows it; None where there is none.
        known: Whether the store was asked.
        held, share: The slots leased to this process, and those that are its due.
        used: Those in use here.
        tokens, at: Of a rate: what may be used at once, as of this moment of the process's clock.
        peak, touched: The most that was wanted lately, and when anybody wanted some.
        waiting: The slots that are waited for.
    """

    def __init__(self, name: str, size: int | None = None) -> None:
        self.name = name
        self.size = size
        self.limit: Limit | None = None
        self.known = False
        self.held = self.share = self.used = self.waiting = self.peak = 0
        self.tokens = 0.0
        self.at = self.touched = 0
        self.line = Line()
        self.holders: dict[Held, None] = {}

    @property
    def rate(self) -> float:
        """The slots that come free by themselves a second, of those that this process has; 0 where none does."""
        limit = self.limit
        if limit is None or limit.decay is None or not limit.slots:
            return 0.0
        return limit.decay * self.held / limit.slots

    def room(self, ticks: int) -> float:
        """Give how many slots could be taken at once."""
        limit = self.limit
        if limit is None or not limit.active:
            return math.inf if self.known else 0
        if limit.decay is None:
            return min(self.held, self.share) - self.used
        self.refill(ticks)
        return self.tokens

    def refill(self, ticks: int) -> None:
        """Let come free what has come free by itself."""
        self.tokens = min(float(self.held), self.tokens + self.rate * (ticks - self.at) / 1e9)
        self.at = ticks

    def take(self, occupy: int, ticks: int) -> None:
        """Take slots; there is room."""
        self.touched = ticks
        if self.limit is not None and self.limit.decay is not None:
            self.tokens -= occupy
            return
        self.used += occupy
        self.peak = max(self.peak, self.used)

    def give(self, occupy: int) -> None:
        """Take slots back."""
        if self.limit is not None and self.limit.decay is not None:
            self.tokens = min(float(self.held), self.tokens + occupy)
        else:
            self.used = max(self.used - occupy, 0)

    def due(self, waiter: Waiter, ticks: int) -> float:
        """Give the seconds after which a rate may have room for *waiter*; infinite where it has none by itself."""
        if not self.rate or self.room(ticks) >= waiter.occupy:
            return math.inf
        return max((waiter.occupy - self.tokens) / self.rate, 0.001)

    def misfit(self, waiter: Waiter) -> bool:
        """Tell whether the limit is too small for *waiter*, by now."""
        return self.limit is not None and self.limit.active and waiter.occupy > self.limit.slots

    def idle(self, ticks: int) -> bool:
        """Tell whether nobody here has used it for a while."""
        return not self.used and self.line.first() is None and ticks - self.touched > IDLE

    def ask(self, owner: str, beat: int, ticks: int) -> Claim:
        """Say what this process has and wants."""
        first: Waiter | None = self.line.first()
        wanted = max(self.used + self.waiting, self.peak)
        self.peak = self.used + self.waiting
        need = 0 if first is None else self.used + first.occupy
        if self.limit is not None and self.limit.decay is not None:
            wanted, need = PLENTY, 0 if first is None else first.occupy
        if self.idle(ticks):
            wanted = 0
        since = 0 if first is None else first.since
        return Claim(self.name, owner, self.held, self.used, wanted, need, since, beat, self.shown(), self.size)

    def hear(self, lease: Lease, ticks: int) -> None:
        """Have what was leased."""
        if lease.limit is not None and lease.limit.decay is not None:
            self.refill(ticks)
            self.tokens = min(self.tokens + lease.fresh, float(lease.held))
        self.limit, self.held, self.share, self.known = lease.limit, lease.held, lease.share, True

    def shown(self) -> str:
        """Say who holds and who waits, as JSON."""
        holders = [[label(one.who), one.occupy, one.since] for one in list(self.holders)[:SHOWN]]
        waiters = [[label(one.who), one.occupy, one.since] for one in self.line.listed(SHOWN)]
        return orjson.dumps({"holders": holders, "waiters": waiters}).decode()


def label(who: Any) -> str:
    """Give the id of the run that has slots, or wants some."""
    return "" if who is None else str(who.id)
