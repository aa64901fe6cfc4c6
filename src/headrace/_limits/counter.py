"""Counters: what this process has of one limit, and who has and wants it here. Used under the guard of the desk."""

from __future__ import annotations

import math
from typing import Any, Final

import attrs
import orjson

from headrace._engine.promises import Gate
from headrace._limits.lines import Line
from headrace._model.slots import PATIENCE, Claim, Lease, Limit

IDLE: Final = 1_000_000_000  # nanoseconds for which slots are kept that nobody uses
LATELY: Final = 250_000_000  # nanoseconds for which the most that was wanted is taken to be wanted again
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


class Bell(Gate):
    """What who waits listens to: rings when the wait is over, or when the first in line is to look at the clock."""

    __slots__ = ()
    slots = True


class Waiter(Gate):
    """
    Somebody who waits for slots; opens when they are there, or never will be.

    Attributes:
        rung: A bell of its own, where it waits for a rate: another one once it has rung.
        first: Whether it was told that it comes next, and so looks after a rate that fills.
        known: Whether the limits were known when it came; else it may wait only for the first look at them.
        over: Whether the wait is over, well or not.
        held: What came of it.
        error: Why the slots will never be there.
        since, at: Since when it waits, in nanoseconds since 1970, and on the clock that nobody sets.
    """

    __slots__ = (
        "at", "counters", "error", "first", "held", "key", "known",
        "number", "occupy", "over", "priority", "rung", "since", "who",
    )  # fmt: skip
    slots = True

    def __init__(
        self,
        counters: tuple[Counter, ...],
        occupy: int,
        priority: int,
        key: str,
        number: int,
        who: Any,
        since: int,
        at: int,
    ) -> None:
        # Not by Gate's own: one call less for each of many.
        self.opened = False
        self.watcher = self.others = None
        self.counters = counters
        self.occupy = occupy
        self.priority = priority
        self.key = key
        self.number = number
        self.who = who
        self.since = since
        self.at = at
        self.over = self.first = False
        self.rung: Bell | None = None
        self.known = True
        for counter in counters:
            self.known = self.known and counter.known
            if counter.fills:
                self.rung = Bell()
        self.held: Held | None = None
        self.error: Exception | None = None

    @property
    def bell(self) -> Gate:
        """What to wait for."""
        return self.rung or self

    def passes(self) -> bool:
        """Tell whether it would pass somebody who comes first elsewhere, was there before, and is as important."""
        if len(self.counters) == 1:
            return False
        firsts: list[Waiter | None] = [counter.line.first() for counter in self.counters]
        mine = (-self.priority, self.number)
        return any(one is not None and (-one.priority, one.number) < mine for one in firsts)


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
        peak, lately: The most that was wanted since then, and in the time before.
        rotated: Since when `peak` is that.
        touched: When anybody wanted some.
        asked: How many were wanted when the store was asked last.
        offered: The slots of a rate that are being given back, and how many of them may be used at once.
        waiting: The slots that are waited for.
    """

    def __init__(self, name: str, size: int | None = None) -> None:
        self.name = name
        self.size = size
        self.limit: Limit | None = None
        self.known = False
        self.held = self.share = self.used = self.waiting = self.peak = 0
        self.tokens = 0.0
        self.lately = self.asked = 0
        self.at = self.touched = self.rotated = 0
        self.offered = (0, 0.0)
        self.line = Line()
        self.holders: dict[Held, None] = {}

    @property
    def is_rate(self) -> bool:
        """Whether its slots are known to come free by themselves."""
        return self.limit is not None and self.limit.decay is not None

    @property
    def rate(self) -> float:
        """The slots that come free by themselves a second, of those that this process has; 0 where none does."""
        limit = self.limit
        if limit is None or limit.decay is None or not limit.slots:
            return 0.0
        return limit.decay * self.held / limit.slots

    @property
    def fills(self) -> bool:
        """Whether its slots come free by themselves, as far as anybody knows."""
        return self.limit is None or self.is_rate

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
        if self.is_rate:
            self.tokens -= occupy
            return
        self.used += occupy
        self.peak = max(self.peak, self.used)

    def give(self, occupy: int) -> None:
        """Take slots back."""
        if self.is_rate:
            self.tokens = min(float(self.held), self.tokens + occupy)
        else:
            self.used = max(self.used - occupy, 0)

    def due(self, waiter: Waiter, ticks: int) -> float:
        """Give the seconds after which a rate has room for *waiter*, if that comes next; else infinitely many."""
        if not self.rate or self.line.first() is not waiter or self.room(ticks) >= waiter.occupy:
            return math.inf
        return float(max((waiter.occupy - self.tokens) / self.rate, 0.001))

    def misfit(self, waiter: Waiter) -> bool:
        """Tell whether the limit is too small for *waiter*, by now."""
        return self.limit is not None and self.limit.active and waiter.occupy > self.limit.slots

    def told(self) -> bool:
        """Tell whether the store knows that more is wanted than it can give: who waits need not say that again."""
        limit = self.limit
        return limit is not None and limit.active and (self.held >= limit.slots or self.asked > self.share)

    def idle(self, ticks: int) -> bool:
        """Tell whether nobody here has used it for a while."""
        return not self.used and self.line.first() is None and ticks - self.touched > IDLE

    def ask(self, owner: str, beat: int, ticks: int, leaving: bool = False) -> Claim:
        """Say what this process has and wants; where it is *leaving*, nothing but what is in use and waited for."""
        first: Waiter | None = self.line.first()
        rate = self.is_rate
        wanted = max(self.used + self.waiting, self.peak, self.lately)
        if leaving:
            wanted = self.used + self.waiting
        elif self.idle(ticks):
            wanted = 0
        elif rate:
            wanted = PLENTY
        if ticks - self.rotated > LATELY:
            self.lately, self.peak, self.rotated = self.peak, self.used + self.waiting, ticks
        self.asked = wanted
        held = self.held
        tokens = self.offer(0 if not wanted else min(held, self.share), ticks) if rate else 0.0
        if not wanted:
            self.share = 0  # until it hears of others, it hands out none of what it gives back
        need = 0 if first is None or ticks - first.at < PATIENCE else first.occupy
        since = 0 if first is None else first.since
        kept = max(self.used, min(held, self.share))
        return Claim(
            self.name, owner, held, self.used, wanted, need, since, beat, self.shown(), self.size, kept, tokens
        )

    def offer(self, kept: int, ticks: int) -> float:
        """Hand out only so many slots of a rate from now on; give how many of the others may be used at once."""
        self.refill(ticks)
        back = self.held - kept
        tokens = self.tokens * back / self.held if back else 0.0
        self.tokens -= tokens
        self.held = kept
        self.offered = (back, tokens)
        return tokens

    def refused(self) -> None:
        """Have again what was to be given back: the store failed."""
        back, tokens = self.offered
        self.held, self.tokens, self.offered = self.held + back, self.tokens + tokens, (0, 0.0)

    def hear(self, lease: Lease, ticks: int) -> bool:
        """Have what was leased; tell whether some of it is to be given back at once."""
        was, rate = self.is_rate, lease.limit is not None and lease.limit.decay is not None
        if rate:
            self.refill(ticks)
            self.tokens = min(self.tokens + lease.fresh, float(lease.held))
        if rate != was:
            # What became a rate, or is none any more, is counted anew.
            self.used = 0 if rate else sum(one.occupy for one in self.holders)
        self.limit, self.held, self.share, self.known = lease.limit, lease.held, lease.share, True
        self.offered = (0, 0.0)
        return self.held > max(self.share, self.used)

    def shown(self) -> str:
        """Say who holds and who waits, as JSON."""
        holders = [[label(one.who), one.occupy, one.since] for one in list(self.holders)[:SHOWN]]
        waiters = [[label(one.who), one.occupy, one.since] for one in self.line.listed(SHOWN)]
        return orjson.dumps({"holders": holders, "waiters": waiters}).decode()


def label(who: Any) -> str:
    """Give the id of the run that has slots, or wants some."""
    return "" if who is None else str(who.id)
