"""Words for moments, durations and states, as people read them. Pure text, except for the local time zone."""

from __future__ import annotations

from datetime import datetime

from headrace._model.states import State, StateType
from headrace.cli.output import Signs

STYLE_OF = {
    StateType.COMPLETED: "green",
    StateType.FAILED: "red",
    StateType.CRASHED: "red",
    StateType.CANCELLED: "yellow",
    StateType.CANCELLING: "yellow",
    StateType.RUNNING: "cyan",
}
DEAD = "its process ended without a word"


def style_of(state: State[object], dead: bool = False) -> str:
    """Give the style in which *state* is shown."""
    return "red" if dead else STYLE_OF.get(state.type, "")


def sign_of(state: State[object], signs: Signs, dead: bool = False) -> str:
    """Give the sign for *state*."""
    if dead or state.is_failed() or state.is_crashed():
        return signs.failed
    if state.is_completed():
        return signs.completed
    if state.is_cancelled() or state.is_cancelling():
        return signs.stopped
    return signs.going if state.is_running() else signs.pending


def duration(seconds: float | None) -> str:
    """Give *seconds* in the two largest units, "" for None."""
    if seconds is None:
        return ""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.1f} ms" if seconds < 0.01 else f"{seconds * 1e3:.0f} ms"
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, below, smaller in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit} {rest} {below}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def clock(moment: datetime | None, now: datetime) -> str:
    """Give *moment* in local time: the time of day alone where it was today; "" for None."""
    if moment is None:
        return ""
    local = moment.astimezone()
    same_day = local.date() == now.astimezone().date()
    return f"{local:%H:%M:%S}" if same_day else f"{local:%Y-%m-%d %H:%M:%S}"


def weighed(size: int) -> str:
    """Give *size*, a number of bytes, to one digit behind the point from 1,000 on."""
    if size < 1_000:
        return counted(size, "byte")
    amount, units = size / 1_000, ["kB", "MB", "GB", "TB"]
    while round(amount, 1) >= 1_000 and len(units) > 1:
        amount /= 1_000
        del units[0]
    return f"{amount:,.1f} {units[0]}"


def counted(number: int, noun: str) -> str:
    """Give *number* with *noun*, in the plural where it takes one."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
