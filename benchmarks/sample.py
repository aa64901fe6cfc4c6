"""
The question put to one fresh process, its answer, and the course that is run to find it.

Both sides are measured by the one course here, so neither can be timed more kindly. What a side runs is no
concern of it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

from benchmarks.meter import measured, peak_memory

# What is switched on, each level with all of the one before: tasks only, a journal to a store in memory,
# SQLite, spans.
LEVELS = ("off", "memory", "sqlite", "all")
# What a work saw while it ran and no meter can see from outside, by name.
Notes = Mapping[str, float]


@dataclass(frozen=True)
class Setting:
    """
    What one process is asked: *laps* runs of *work*, each of *units* tasks, after some laps that do not
    count.

    With a *trace_map_limit* of 0 every task makes its spans, also those of large maps.
    """

    side: str
    work: str
    units: int = 1
    laps: int = 1
    level: str = "all"
    log_level: str = "WARNING"
    trace_map_limit: int = 0

    @property
    def spanned(self) -> bool:
        """Whether each task makes a span of its own, so that they can be counted."""
        return self.level == "all" and not self.trace_map_limit and self.side != "plain"

    @property
    def kept(self) -> bool:
        """Whether runs go into a file, where they can be counted."""
        return self.level in ("sqlite", "all") and self.side != "plain"

    def at(self, level: str) -> Setting:
        return replace(self, level=level)


@dataclass(frozen=True)
class Sample:
    """What one process answers; seconds, megabytes and counts of the counted laps alone, except the peak."""

    units: int
    wall: float
    cpu: float
    threads: Mapping[str, float]
    laps: list[float]
    peak: float
    spans: int
    rows: int
    finished: int
    notes: Notes

    def text(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def parse(text: str) -> Sample:
        values: dict[str, Any] = json.loads(text)
        return Sample(**values)


@dataclass(frozen=True)
class Recorded:
    """What a store holds: all its rows, and the task runs it knows to be finished."""

    rows: int = 0
    finished: int = 0


@dataclass(frozen=True)
class Works:
    """
    What a side can run, by name; each takes the number of tasks, and may give notes. *recorded* looks into
    its store, if it has one.
    """

    awaited: Mapping[str, Callable[[int], Awaitable[Notes | None]]]
    blocking: Mapping[str, Callable[[int], Notes | None]]
    recorded: Callable[[], Recorded]


class Side(Protocol):
    """A module that builds what it can run, in a directory of its own."""

    def works(self, *, home: Path, level: str) -> AbstractContextManager[Works]: ...


@dataclass
class Course:
    """
    Iterated, it gives the number of tasks to run, lap by lap, and measures from one to the next.

    The laps that warm up come first and are not counted; that tasks are recorded when a lap returns is seen
    there, where looking costs nothing. The counted stretch ends when the spans are exported. Notes are kept
    of the last lap.
    """

    setting: Setting
    flushed: Callable[[], int]
    recorded: Callable[[], Recorded]
    sample: Sample | None = None
    notes: Notes = field(default_factory=dict[str, float])
    _laps: list[float] = field(default_factory=list[float])

    def __iter__(self) -> Iterator[int]:
        setting = self.setting
        for _ in range(min(setting.laps, 20)):
            known = self.recorded().finished
            yield (units := min(setting.units, 500))
            if setting.kept and self.recorded().finished - known < units:
                raise RuntimeError(f"{setting.work} of {setting.side} returned before its tasks were recorded")
        seen, before = self.flushed(), self.recorded()
        with measured() as reading:
            for _ in range(setting.laps):
                start = perf_counter()
                yield setting.units
                self._laps.append(perf_counter() - start)
            spans = self.flushed() - seen
        after = self.recorded()
        self.sample = Sample(
            units=setting.units * setting.laps,
            wall=reading.wall,
            cpu=reading.cpu,
            threads=reading.threads,
            laps=self._laps,
            peak=peak_memory(),
            spans=spans,
            rows=after.rows - before.rows,
            finished=after.finished - before.finished,
            notes=self.notes,
        )
