"""
Groups in the trace: whether the items of a map or stream are shown, and what its own span says of them.

Counts, and keeps the slowest items; the spans themselves are made elsewhere.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from typing import Any, Final

from opentelemetry.trace import Status, StatusCode

from headrace._engine.groups import Group
from headrace._engine.runs import Run
from headrace._model.events import Transition
from headrace._telemetry.histogram import Histogram
from headrace._telemetry.light import LightSpan

SLOWEST: Final = 10
FAILED: Final = 100
ENDS: Final = {"COMPLETED": "completed", "FAILED": "failed", "CRASHED": "failed", "CANCELLED": "cancelled"}
OTHER: Final = "other"
BAD: Final = frozenset({"FAILED", "CRASHED"})
Ended = tuple[Run, Sequence[Transition]]


class GroupSpan:
    """
    One map or stream of which not all items may be shown.

    What is below the first eight attributes is counted on the back office's thread alone.

    Attributes:
        name: The name of its span.
        spec, parent, started: The group's own; not the group, for they would hold each other.
        light: Its context, its parent and its links.
        total: How many items there were to be when the first one began; None where that was not known.
        turns: Numbers the items as they begin, where it was not.
        collapses: Whether any item is left out unless it fails, is slow or is relied upon.
        shown: Items that have spans of their own.
        failed_shown: Those of them that failed.
        slowest: Of the other items at most SLOWEST, as a heap; shown when all have ended.
    """

    def __init__(self, group: Group, light: LightSpan) -> None:
        self.name = f"{group.verb} {group.spec.name}"
        self.spec = group.spec
        self.parent = group.parent
        self.started = group.started
        self.light = light
        self.total = group.total
        self.turns = itertools.count(1)
        self.collapses = False
        self.durations = Histogram()
        self.ends = dict.fromkeys((*ENDS.values(), OTHER), 0)
        self.retried = 0
        self.shown = 0
        self.failed_shown = 0
        self.slowest: list[tuple[int, int, Ended]] = []
        self.kept = 0
        self.closed = False

    def takes(self, limit: int) -> bool:
        """Tell whether the item that begins now is left out: each, or where no length was known those past *limit*."""
        if self.total is None and next(self.turns) <= limit:
            return False
        self.collapses = True
        return True

    @property
    def count(self) -> int:
        """How many items have ended."""
        return sum(self.ends.values())

    def add(self, run: Run, transitions: Sequence[Transition]) -> None:
        """Count an item that has ended."""
        _, first, _ = transitions[0]
        (kind, _), end, _ = transitions[-1]
        if run.attempt > 1:
            self.retried += 1
        self.ends[ENDS.get(kind, OTHER)] += 1
        if run.span is not None:  # else it was stopped before it began
            self.durations.add(max(end - first, 0))

    def close(self) -> list[Ended]:
        """Give the slowest items, the slowest first; what ends from now on, given up by its stream, is none of them."""
        self.closed = True
        slowest = [item for _, _, item in sorted(self.slowest, key=lambda entry: entry[:2], reverse=True)]
        self.slowest.clear()
        for _, transitions in slowest:
            self.shows(transitions)
        return slowest

    def wants(self, kind: str) -> bool:
        """Tell whether an item that ended in a state of this *kind* is shown for that: one of the first to fail."""
        return kind in BAD and self.failed_shown < FAILED

    def shows(self, transitions: Sequence[Transition]) -> None:
        """Count an item as shown."""
        self.shown += 1
        self.failed_shown += transitions[-1][0][0] in BAD

    def status(self) -> Status:
        """Give the status of its span: an error if any item failed, OK if all completed."""
        failed = self.ends["failed"]
        if failed:
            return Status(StatusCode.ERROR, f"{failed:,} of {self.count:,} items failed")
        done = self.ends["completed"] == (self.count if self.total is None else self.total)
        return Status(StatusCode.OK if done else StatusCode.UNSET)

    def among_slowest(self, run: Run, transitions: Sequence[Transition]) -> Ended | None:
        """Keep an item while it is one of the slowest; give the one that is none of them, or is not any more."""
        item = (run, transitions)
        duration = transitions[-1][1] - transitions[0][1]
        full = len(self.slowest) == SLOWEST
        if self.closed or (full and duration <= self.slowest[0][0]):
            return item
        # Of equals the one that ended first stays; the count keeps items themselves from being compared.
        self.kept -= 1
        entry = (duration, self.kept, item)
        if full:
            return heapq.heapreplace(self.slowest, entry)[2]
        heapq.heappush(self.slowest, entry)
        return None

    def attributes(self) -> dict[str, Any]:
        """Give what its span says."""
        spec = self.spec
        about: dict[str, Any] = {f"headrace.{spec.kind}.name": spec.name, "code.function.name": spec.function_name}
        parent = self.parent
        if parent is not None and parent.scope.flow_run_id is not None:
            about["headrace.flow_run.id"] = parent.scope.flow_run_id
        about["headrace.items.count"] = self.count
        if self.total is not None:
            about["headrace.items.total"] = self.total
        for name, number in self.ends.items():
            if number or name != OTHER:
                about[f"headrace.items.{name}"] = number
        about["headrace.items.retried"] = self.retried
        about["headrace.items.shown"] = self.shown
        if self.ends["failed"] > self.failed_shown:
            about["headrace.items.failed_not_shown"] = self.ends["failed"] - self.failed_shown
        for name, duration in self.durations.figures().items():
            about[f"headrace.items.seconds.{name}"] = float(f"{duration / 1e9:.4g}")
        about["headrace.items.histogram"] = tuple(self.durations.lines())
        return about
