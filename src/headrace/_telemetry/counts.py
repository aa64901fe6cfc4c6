"""Counts: how far a map or stream has come, in words that fit a terminal's width. Pure; draws nothing, has no clock."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from headrace._model.columns import plain, shortened, width

BAR: Final = 12
# What a narrow terminal does without, the first to go first.
OPTIONAL: Final = ("bar", "others", "speed", "left", "failed")
UNITS: Final = (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1))


class Signs(NamedTuple):
    """The signs that a line is made of, beside letters and digits."""

    between: str = " · "
    more: str = "…"
    ended: str = "━"
    open: str = "─"


PLAIN_SIGNS: Final = Signs(between=" | ", more="...", ended="#", open="-")


def signs_for(encoding: str) -> Signs:
    """Give the signs that *encoding* has."""
    try:
        "".join(Signs()).encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return PLAIN_SIGNS
    return Signs()


class Count(NamedTuple):
    """
    How far a map or stream is at one moment.

    Attributes:
        total: None where nobody knows.
        failed: How many of those *done*.
        seconds: Since it began.
    """

    name: str
    total: int | None
    done: int
    failed: int
    seconds: float

    @property
    def speed(self) -> float:
        """How many ended a second, on the whole; 0 while none has."""
        return self.done / self.seconds if self.seconds > 0 else 0.0


def line(count: Count, columns: int, others: int = 0, signs: Signs = PLAIN_SIGNS) -> str:
    """Say how far *count* is, with *others* beside it, in at most *columns*: the numbers go last."""
    total, done = count.total, count.done
    head = f"{done:,} done" if total is None else f"{done:,} of {total:,}"
    facts = {
        "bar": bar(done, total, signs) if total else "",
        "failed": f"{count.failed:,} failed" if count.failed else "",
        "speed": speed(count.speed),
        "left": f"{duration((total - done) / count.speed)} left" if total and 0 < done < total and count.speed else "",
        "others": f"{others:,} more in progress" if others else "",
    }
    name = cut(plain(count.name), max(columns // 3, 8), signs)
    text = laid_out(name, head, facts, signs)
    for fact in OPTIONAL:
        if width(text) <= columns:
            break
        facts[fact] = ""
        text = laid_out(name, head, facts, signs)
    return cut(text, columns, signs)


def laid_out(name: str, head: str, facts: dict[str, str], signs: Signs) -> str:
    """Put those of *facts* that say something in their places."""
    said = [head, *(facts[fact] for fact in ("failed", "speed", "left", "others") if facts[fact])]
    return "  ".join(part for part in (name, facts["bar"], signs.between.join(said)) if part)


def summary(count: Count, columns: int, signs: Signs = PLAIN_SIGNS) -> str:
    """Say what became of *count*, in at most *columns* where that is possible without leaving out a number."""
    whole = count.total is None or count.done >= count.total
    said = [
        f"{count.done:,}{'' if whole else f' of {count.total:,}'} done in {duration(count.seconds, exact=True)}",
        *([f"{count.failed:,} failed"] if count.failed else ()),
        *([speed(count.speed)] if count.done else ()),
    ]
    rest = "  " + signs.between.join(part for part in said if part)
    return cut(plain(count.name), max(columns - width(rest), 8), signs) + rest


def bar(done: int, total: int, signs: Signs) -> str:
    """Draw the share that is done; full only when all of it is."""
    ended = min(done * BAR // total, BAR)
    return signs.ended * ended + signs.open * (BAR - ended)


def speed(per_second: float) -> str:
    """Say how many there are in the unit in which they are at least one; "" for fewer than one an hour."""
    for size, unit in ((1, "s"), (60, "min"), (3_600, "h")):
        number = per_second * size
        if number >= 1:
            return f"{number:,.0f}/{unit}" if number >= 10 else f"{number:.1f}/{unit}"
    return ""


def duration(seconds: float, exact: bool = False) -> str:
    """Give *seconds*, rounded up, in the two largest units; *exact* gives less than a minute with a tenth."""
    if exact and seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = math.ceil(seconds)
    for unit, size, below, smaller in UNITS:
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {below}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def cut(text: str, columns: int, signs: Signs) -> str:
    """Give *text* in at most *columns*, with the sign for more where something is left out."""
    if width(text) <= columns:
        return text
    more = signs.more if columns > len(signs.more) else ""
    return shortened(text, columns - len(more)) + more
