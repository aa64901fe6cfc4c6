"""
What is measured, against what, and the bar: data only. How it is asked, compared and printed is elsewhere.

Whatever is not said otherwise runs with everything on: SQLite journal, every span exported to an exporter
that discards, log level WARNING. Only `logging` and `hello` run at the default INFO, with stderr going to a
file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.sample import Setting

TASKS = 20_000
Kind = Literal["cpu", "lap"]


@dataclass(frozen=True)
class Bar:
    """
    *limit* holds for the ratio of ours to the other side, or for our own figure; *aim* is hoped for, not
    asked.
    """

    of: Literal["ratio", "value"]
    limit: float
    aim: float | None = None


@dataclass(frozen=True)
class Rung:
    """
    A *setting* that differs from the one before it in *part* alone.

    With *own_thread* only the CPU of the caller's thread counts: what other threads do by then is the next
    part's.
    """

    part: str
    setting: Setting
    own_thread: bool = False


@dataclass(frozen=True)
class Workload:
    """
    One line of the table: *ours* against *other*.

    *figure* is CPU microseconds a task, or the median wall milliseconds of a lap. *rungs* are the settings
    whose successive differences are the parts of it; the first is measured whole.
    """

    name: str
    says: str
    ours: Setting
    other: Setting
    figure: Kind = "cpu"
    bar: Bar | None = None
    rungs: tuple[Rung, ...] = ()


@dataclass(frozen=True)
class Program:
    """
    A whole process: *ours* against *other*, each the arguments of a Python interpreter; wall or CPU
    milliseconds.
    """

    name: str
    says: str
    ours: tuple[str, ...]
    other: tuple[str, ...]
    figure: Literal["wall", "import"]
    bar: Bar


def rungs(ours: Setting, *, store: bool = True) -> tuple[Rung, ...]:
    """
    Give the steps that lead up to *ours*: to a store in memory and no tracer, or from there to everything on.
    """
    off = ours.at("off")
    first = (
        Rung("life", replace(off, work=f"{off.work}_bare"), own_thread=True),
        Rung("bind", off, own_thread=True),
        Rung("journal", ours.at("memory")),
    )
    return (*first, Rung("store", ours.at("sqlite")), Rung("span", ours.at("all"))) if store else first


FLOOR = Setting("floor", "sequential", TASKS)
OURS = Setting("ours", "sequential", TASKS)
BLOCKING = Setting("ours", "sequential_blocking", TASKS)
LOGGING = Setting("ours", "sequential", TASKS, log_level="INFO")
LARGE = Setting("ours", "large", laps=9)
LARGE_STATES = Setting("ours", "large_states", laps=9)
WARM = Setting("ours", "warm", laps=300)
WARM_ASYNC = Setting("ours", "warm_async", laps=300)

WORKLOADS = (
    Workload(
        "sequential",
        "awaited no-op tasks in an async flow, one after another, everything on",
        OURS,
        FLOOR,
        bar=Bar("ratio", 0.6, aim=0.3),
        rungs=rungs(OURS),
    ),
    Workload(
        "memory",
        "the same with HEADRACE_DATABASE_URL=memory: and no tracer; the floor still with everything on",
        OURS.at("memory"),
        FLOOR,
        bar=Bar("ratio", 0.25),
        rungs=rungs(OURS, store=False),
    ),
    Workload(
        "sync",
        "calls of a sync no-op task in a sync flow, against the async ones (they stand under 'floor')",
        BLOCKING,
        OURS,
        bar=Bar("ratio", 1.3),
        rungs=rungs(BLOCKING),
    ),
    Workload(
        "large",
        "an async flow of one task that is given a list of 1,000,000 ints, recorded before it returns",
        LARGE,
        Setting("floor", "large", laps=9),
        figure="lap",
        bar=Bar("value", 50.0),
        rungs=rungs(LARGE),
    ),
    Workload(
        "large-states",
        "the same in a program that has a state in hand, so that arguments are searched for states",
        LARGE_STATES,
        Setting("floor", "large", laps=9),
        figure="lap",
        bar=Bar("value", 50.0),
        rungs=rungs(LARGE_STATES),
    ),
    Workload(
        "warm",
        "a warm sync flow of one task, called by blocking code, recorded before it returns",
        WARM,
        Setting("floor", "warm", laps=300),
        figure="lap",
        bar=Bar("value", 1.0),
        rungs=rungs(WARM),
    ),
    Workload(
        "warm-async",
        "the same with an async flow and task, through headrace.run",
        WARM_ASYNC,
        Setting("floor", "warm", laps=300),
        figure="lap",
        rungs=rungs(WARM_ASYNC),
    ),
    Workload(
        "logging",
        "the sequential workload with HEADRACE_LOG_LEVEL=INFO, stderr in a file; the floor logs nothing",
        LOGGING,
        FLOOR,
        rungs=(*rungs(OURS), Rung("log", LOGGING)),
    ),
)

PROGRAMS = (
    Program(
        "hello",
        "a hello world of one task as a whole process, its database new each time",
        ("benchmarks/hello_ours.py",),
        ("benchmarks/hello_floor.py",),
        "wall",
        Bar("value", 400.0),
    ),
    Program(
        "command",
        "what `headrace flow-run ls` loads before it reads, against click alone, each in a fresh process",
        ("-c", "import headrace.cli.flow_run, headrace._stores.sqlite"),
        ("-c", "import click"),
        "import",
        Bar("value", 250.0),
    ),
    Program(
        "import",
        "`from headrace import flow, task` against `import attrs, anyio`, each in a fresh process",
        ("-c", "from headrace import flow, task"),
        ("-c", "import attrs, anyio"),
        "import",
        Bar("ratio", 2.0),
    ),
)
