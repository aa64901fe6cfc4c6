"""Trees: a run and its calls as lines, each with its time and a bar of when. Reads nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import attrs

from headrace._model.columns import plain, width
from headrace._model.events import ROLLED_BACK
from headrace._model.ids import short_id
from headrace._model.records import FlowRun, task_run_name
from headrace.cli.bars import drawn, legend, parts, strip
from headrace.cli.calls import AnyRun, Call
from headrace.cli.output import Page
from headrace.cli.wording import DEAD, duration, sign_of, style_of

UNBOUND: Final = 100  # columns, where nobody sets any
TOOK: Final = 8
BAR: Final = (8, 48)
NAMES: Final = 11


@attrs.frozen
class Line:
    """One line of a tree: a call with the branches before it, or words without a call."""

    branches: str
    call: Call | None
    text: str = ""


def tree(on: Page, top: Call, now: datetime) -> list[str]:
    """Give the lines of *top* and its calls, and below them what the bars' signs mean."""
    lines = list(lines_of(on, top))
    room = on.width or UNBOUND
    wanted = max(width(line.branches) + 2 + width(label(line.call)) for line in lines if line.call)
    fixed = 1 + TOOK + 1 + 2
    bar = max(BAR[0], min(BAR[1], room - fixed - wanted))
    names = max(NAMES, min(wanted, room - fixed - bar))
    bar = max(0, min(bar, room - fixed - names))
    begin, end = span(top, now)
    used: set[str] = set()
    found: list[str] = []
    for line in lines:
        if line.call is None:
            found.append(on.paint(on.cut(line.branches + line.text, room), "dim"))
            continue
        run, dead = line.call.run, line.call.dead
        head = on.fit(f"{line.branches}{sign_of(run.state, on.signs, dead)} {label(line.call)}", names)
        style = "" if run.state.is_completed() else style_of(run.state, dead)
        took = run.total_run_time if run.end_time or dead or not run.start_time else end - run.start_time.timestamp()
        cells = strip(parts(run, end), begin, end, bar) if bar else []
        used |= set(cells) - {""}
        wrong = dead or run.state.is_failed() or run.state.is_crashed()
        drawing = f" {drawn(on, cells, wrong)}" if bar else ""
        found.append(f"{on.paint(head, style)} {on.fit(duration(took), TOOK, 'right')}{drawing}")
    return [*found, "", legend(on, used)] if used else found


def lines_of(on: Page, top: Call) -> Iterator[Line]:
    """Give *top* and all below it, from the top down, each that did not complete followed by what it said."""
    waiting: list[Line] = [Line("", top)]
    while waiting:
        line = waiting.pop()
        yield line
        call = line.call
        if call is None:
            continue
        # What stands before the lines below: where this one branched off, the stem goes on if more branches follow.
        stem = line.branches[: -len(on.signs.last)] + (
            on.signs.along if line.branches.endswith(on.signs.branch) else "   "
        )
        before = stem if line.branches else ""
        left = [Line(before + on.signs.last, None, f"{on.signs.more} {call.left_out}")] if call.left_out else []
        said = message(call)
        if said and call is not top:
            yield Line(before + (on.signs.along if call.calls or left else "   "), None, said)
        ends = [on.signs.branch] * len(call.calls)
        if ends and not left:
            ends[-1] = on.signs.last
        below = [Line(before + end, each) for end, each in zip(ends, call.calls, strict=True)]
        waiting += reversed(below + left)


def message(call: Call) -> str:
    """Give the first line of what a call that did not complete said, "" for others."""
    if call.dead:
        return DEAD
    said = call.run.state.message or ""
    return "" if call.run.state.is_completed() or not said.strip() else plain(said.strip().splitlines()[0])


def label(call: Call) -> str:
    """Name a call: what was called, with what tells this run of it from others, and how often it was tried."""
    named = naming(call.run)
    return named if call.run.run_count == 1 else f"{named} x{call.run.run_count}"


def naming(run: AnyRun) -> str:
    """Name a run: what was called, with what tells it from others."""
    if isinstance(run, FlowRun):
        named = f"{run.flow_name} ({run.name}, {short_id(run.id)})"
    else:
        usual = task_run_name(run.task_name, run.id)
        named = run.name if run.name == usual else f"{run.name} ({short_id(run.id).partition('.')[2] or run.task_name})"
        named += f" (Cached from {short_id(run.cached_from)})" if run.cached_from else ""
        named += " (rolled back)" if run.state.name == ROLLED_BACK[1] else ""
    return plain(named)


def span(top: Call, now: datetime) -> tuple[float, float]:
    """Give the time that bars stand for: from the first moment known to the last, or to *now* while *top* goes on."""
    moments = [at for call in top.all() for _, _, at, _ in call.run.transitions]
    if not top.run.state.is_final() and not top.dead:
        moments.append(now)
    seconds = [moment.timestamp() for moment in moments] or [now.timestamp()]
    return min(seconds), max(seconds)
