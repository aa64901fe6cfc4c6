"""Time bars: when a run waited, ran and tried again, as a strip of signs. Pure arithmetic on moments."""

from __future__ import annotations

from collections.abc import Sequence

from headrace._model.records import FlowRun, TaskRun
from headrace._model.states import TERMINAL, StateType
from headrace.cli.output import Page

Part = tuple[str, float, float]
PARTS = ("waits", "runs", "retries")
STYLES = {"waits": "dim", "runs": "green", "retries": "yellow"}


def parts(run: FlowRun | TaskRun, until: float) -> list[Part]:
    """
    Give the parts of *run*'s time, each with begin and end in seconds since 1970.

    The first attempt "runs", later ones are "retries"; everything else before the end "waits". A run that has not ended
    goes on *until* then.
    """
    found: list[Part] = []
    attempts = 0
    states = run.transitions
    for place, (kind, _, at, _) in enumerate(states):
        if StateType(kind) in TERMINAL:
            continue
        end = states[place + 1][2] if place + 1 < len(states) else run.end_time
        attempts += kind == "RUNNING" and not (place and states[place - 1][0] == "PAUSED")
        what = "waits" if kind != "RUNNING" else "runs" if attempts == 1 else "retries"
        found.append((what, at.timestamp(), until if end is None else end.timestamp()))
    return found


def strip(found: Sequence[Part], begin: float, end: float, columns: int) -> list[str]:
    """
    Give what each of *columns* equal pieces of the time from *begin* to *end* shows: one of PARTS, or "".

    A piece shows what fills most of it. What fills most of none gets the one it begins in, unless that would hide
    another: so every run is seen, and most often that it waited or tried again, however shortly.
    """
    size = (end - begin) / columns or 1.0
    cells = [""] * columns
    for place in range(columns):
        left, right = begin + place * size, begin + (place + 1) * size
        best = size / 2
        for what, start, stop in found:
            covered = min(stop, right) - max(start, left)
            if covered >= best:
                best, cells[place] = covered, what
    for what, start, _ in found:
        place = min(columns - 1, max(0, int((start - begin) / size)))
        if what not in cells and (not cells[place] or cells.count(cells[place]) > 1):
            cells[place] = what
    return cells


def drawn(on: Page, cells: Sequence[str], failed: bool) -> str:
    """Give *cells* as signs between their ends."""
    signs = {"waits": on.signs.waits, "runs": on.signs.runs, "retries": on.signs.retries, "": " "}
    text = ""
    for place, cell in enumerate(cells):
        last = not any(cells[place + 1 :])
        text += on.paint(signs[cell], "red" if failed and last and cell else STYLES.get(cell, ""))
    left, right = on.signs.ends[1], on.signs.ends[0]
    return f"{on.paint(left, 'dim')}{text}{on.paint(right, 'dim')}"


def legend(on: Page, used: set[str]) -> str:
    """Say what the signs in *used* mean."""
    signs = {"waits": on.signs.waits, "runs": on.signs.runs, "retries": on.signs.retries}
    return "  ".join(f"{on.paint(signs[part], STYLES[part])} {part}" for part in PARTS if part in used)
