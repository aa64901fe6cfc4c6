"""
Two sides compared: taken in turns, process by process, so that a machine that slows down slows both.

A ratio is the median of the ratios of each pair. A figure is given as its least and its median over the
processes. A part is the difference between the least figures of two settings that differ in that part alone,
so parts add up to the whole; a part that costs less than the machine wanders may come out negative, and is
shown so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TypeVar

from benchmarks.fresh import Broken, answered
from benchmarks.sample import Sample, Setting
from benchmarks.workloads import Bar, Kind, Workload

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Line:
    """One figure of both sides, a value a process, in pairs; *digits* after the point."""

    workload: str
    figure: str
    other: Sequence[float]
    ours: Sequence[float]
    digits: int = 1
    bar: Bar | None = None

    @property
    def ratio(self) -> float | None:
        """Ours to the other; None where a side has none of it."""
        if not all(self.other) or not all(self.ours):
            return None
        return median(ours / other for other, ours in zip(self.other, self.ours, strict=True))

    @property
    def judged(self) -> float:
        """What the bar speaks of."""
        if self.bar is not None and self.bar.of == "ratio":
            return self.ratio or 0.0
        if self.bar is not None and self.bar.of == "more":
            return median(ours - other for other, ours in zip(self.other, self.ours, strict=True))
        return median(self.ours)


@dataclass(frozen=True)
class Parts:
    """
    What one figure of ours is made of, in *unit*, and the CPU of the threads that made it: milliseconds a run
    where runs are timed, else microseconds a task.
    """

    workload: str
    unit: str
    parts: Mapping[str, float]
    threads: Mapping[str, float]


def in_turns(ask: Callable[[int], Answer], sides: int, repeats: int) -> Iterator[list[Answer]]:
    """
    Give *repeats* rounds of the answers of *sides* 0, 1, ...; every second round is asked in the other
    direction.
    """
    for turn in range(repeats):
        order = range(sides) if turn % 2 == 0 else reversed(range(sides))
        answers = {side: ask(side) for side in order}
        yield [answers[side] for side in range(sides)]


def shortened(setting: Setting, share: int) -> Setting:
    """Give *setting* with a *share* of its tasks or laps, where it has many."""
    units = max(setting.units // share, 1)
    return replace(setting, units=units, laps=setting.laps if setting.units > 1 else max(setting.laps // share, 3))


@dataclass(frozen=True)
class Figure:
    """One number taken from a sample; *name* begins with its unit as *unit* has it."""

    name: str
    take: Callable[[Sample], float]
    digits: int = 1
    unit: str = "µs a task"


def noted(name: str, note: str, digits: int = 1, unit: str = "ms") -> Figure:
    """Give a number that the work itself has noted; 0 where it has not."""
    return Figure(name, lambda sample: sample.notes.get(note, 0.0), digits, unit)


def slowest_but_5_percent(sample: Sample) -> float:
    return sorted(sample.laps)[int(len(sample.laps) * 0.95)] * 1e3


def own_cpu(sample: Sample) -> float:
    """
    Give the CPU us a task of the caller's thread; of all threads where the system does not tell them apart.
    """
    return sample.threads.get("MainThread", sample.cpu) / sample.units * 1e6


def grown(sample: Sample) -> float:
    """Give the MB by which a long stream has grown; 0 for one that was too short to tell."""
    early = sample.notes.get("RSS early")
    return 0.0 if early is None else sample.notes["RSS late"] - early


OWN_CPU = Figure("CPU µs a task of the caller's thread", own_cpu)
CPU = Figure("CPU µs a task", lambda sample: sample.cpu / sample.units * 1e6)
WALL = Figure("wall µs a task", lambda sample: sample.wall / sample.units * 1e6)
LAP = Figure("wall ms a run, p50", lambda sample: median(sample.laps) * 1e3, 3, "ms a run")
LAP_TAIL = Figure("wall ms a run, p95", slowest_but_5_percent, 3)
ALWAYS = (
    Figure("peak RSS MB", lambda sample: sample.peak),
    Figure("spans", lambda sample: sample.spans, 0),
    Figure("rows", lambda sample: sample.rows, 0),
)
LAG = (
    noted("loop lag ms, p99", "lag p99"),
    noted("loop lag ms, p50", "lag p50", 2),
    noted("loop lag ms, most", "lag max"),
)
# By what the workload is about; the first is the one that the parts speak of, and bars that name no other.
FIGURES: Mapping[Kind, tuple[Figure, ...]] = {
    "cpu": (CPU, WALL, *ALWAYS),
    "wall": (WALL, CPU, *ALWAYS),
    "lap": (LAP, LAP_TAIL, CPU, *ALWAYS),
    "crowd": (
        noted("KB a task, all at once", "at once", 2, "KB a task"),
        noted("KB a task, a second later", "settled", 2),
        CPU,
        *ALWAYS,
    ),
    "stream": (
        WALL,
        CPU,
        noted("RSS MB after 10,000", "RSS early"),
        noted("RSS MB at the end", "RSS late"),
        Figure("RSS MB grown between", grown),
        *ALWAYS,
    ),
    "lag": (*LAG, WALL, *ALWAYS),
    "web": (
        noted("ms a request, p50", "p50", 2),
        noted("ms a request, p99", "p99", 2),
        *LAG,
        Figure("CPU ms a request", lambda sample: sample.cpu / sample.notes["requests"] * 1e3, 2),
        *ALWAYS,
    ),
}


def compared(workload: Workload, repeats: int) -> list[Line]:
    """
    Measure both sides of *workload*, each *repeats* times.

    Raises:
        Broken: A process failed, or ours exported fewer spans than the other side with everything on.
    """
    settings = (workload.other, workload.ours)
    pairs = list(in_turns(lambda side: answered(settings[side]), 2, repeats))
    if workload.ours.spanned:
        for counted, own in pairs:
            if own.spans < counted.spans:
                raise Broken(f"{own.spans:,} spans of ours, {counted.spans:,} of the other side")

    lines: list[Line] = []
    figures = FIGURES[workload.figure]
    bars = {bar.figure or figures[0].name: bar for bar in workload.bars}
    for figure in figures:
        other, ours = ([figure.take(pair[side]) for pair in pairs] for side in (0, 1))
        lines.append(Line(workload.name, figure.name, other, ours, figure.digits, bars.pop(figure.name, None)))
    if bars:
        raise ValueError(f"{workload.name} has a bar for {', '.join(bars)}, which is no figure of it")
    return lines


def parted(workload: Workload, repeats: int) -> Parts:
    """
    Measure what the first figure of ours is made of.

    Raises:
        Broken: A process failed.
    """
    rungs = workload.rungs
    timed = FIGURES[workload.figure][0]
    rounds = list(in_turns(lambda side: answered(rungs[side].setting), len(rungs), repeats))
    figures: list[float] = []
    for rung, answers in zip(rungs, zip(*rounds, strict=True), strict=True):
        figure = OWN_CPU if rung.own_thread and timed is CPU else timed
        figures.append(min(figure.take(sample) for sample in answers))
    steps = zip(rungs, figures, [0.0, *figures], strict=False)
    parts = {rung.part: figure - before for rung, figure, before in steps}
    whole = min((answers[-1] for answers in rounds), key=timed.take)
    scale = 1e3 / len(whole.laps) if timed is LAP else 1e6 / whole.units
    threads = {name: seconds * scale for name, seconds in whole.threads.items()}
    return Parts(workload.name, timed.unit, parts, threads)
