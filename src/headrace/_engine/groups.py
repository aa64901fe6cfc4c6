"""Groups: the runs of one map or one stream, counted together. Data only; who counts holds the crew's lock."""

from __future__ import annotations

from typing import Any

from headrace._engine.promises import Gate, Promise
from headrace._engine.runs import Run
from headrace._engine.spec import Spec


class Group:
    """
    What the runs of one map or stream have in common.

    Attributes:
        spec: What each of them runs.
        parent: The run that called the map; None outside of runs.
        total: How many there will be; None for a stream, whose source may never end.
        started: Nanoseconds since 1970.
        begun: How many have begun.
        done: How many have ended, well or not.
        failed: How many of them did not complete.
        whole: Opens when all have ended.
        broken: Stands for what the source raised, so that there are no more than have begun.
        number: Its number among the runs of its scope, for its span; 0 while it has none.
        verb: What called it: map or stream.
        span: What its span will say, as a run's `span` is: the observer's own; None while nobody listens.
    """

    __slots__ = (
        "begun",
        "broken",
        "done",
        "failed",
        "number",
        "parent",
        "span",
        "spec",
        "started",
        "total",
        "verb",
        "whole",
    )

    def __init__(self, spec: Spec, parent: Run | None, total: int | None, started: int) -> None:
        self.spec = spec
        self.parent = parent
        self.total = total
        self.started = started
        self.begun = 0
        self.done = 0
        self.failed = 0
        self.number = 0
        self.verb = "map"
        self.span: Any = None
        self.broken: Promise | None = None
        self.whole = Gate()
