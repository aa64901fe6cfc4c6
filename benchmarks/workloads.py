"""
What is measured, against what, and the bar: data only. How it is asked, compared and printed is elsewhere.

Whatever is not said otherwise runs with everything on: SQLite journal, every span exported to an exporter
that discards, log level WARNING. Only `logging`, `rows` and `hello` run at the default INFO, with stderr going
to a file. Every task makes its spans; where it is said that large maps are collapsed, they are as by default.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.sample import Setting

TASKS = 20_000
ITEMS = 10_000
COLLAPSED = 500
Kind = Literal["cpu", "wall", "lap", "crowd", "stream", "lag", "web"]


PARTS = (("life", "off"), ("journal", "memory"), ("store", "sqlite"))


@dataclass(frozen=True)
class Bar:
    """
    *limit* holds for the ratio of ours to the other side, for what ours is more, or for our own figure; *aim*
    is hoped for, not asked. *figure* is the name of one, by default the first of the workload's.
    """

    of: Literal["ratio", "more", "value"]
    limit: float
    aim: float | None = None
    figure: str = ""
    unit: str = "ms"


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

    *figure* is what it is about, which decides what is shown of it. *rungs* are the settings whose successive
    differences are the parts of the first; the first rung is measured whole. A *long* one is measured in half
    as many rounds.
    """

    name: str
    says: str
    ours: Setting
    other: Setting
    figure: Kind = "cpu"
    bars: tuple[Bar, ...] = ()
    rungs: tuple[Rung, ...] = ()
    long: bool = False


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
    bare = Rung("life", replace(off, work=f"{off.work}_bare"), own_thread=True)
    first = (bare, Rung("bind", off, own_thread=True), Rung("journal", ours.at("memory")))
    return (*first, Rung("store", ours.at("sqlite")), Rung("span", ours)) if store else first


def levels(ours: Setting, plain: Setting | None = None) -> tuple[Rung, ...]:
    """Give the steps that lead up to *ours* from the *plain* program, where there is one."""
    first = () if plain is None else (Rung("plain", plain),)
    return (*first, *(Rung(part, ours.at(level)) for part, level in PARTS), Rung("span", ours))


FLOOR = Setting("floor", "sequential", TASKS)
OURS = Setting("ours", "sequential", TASKS)
BLOCKING = Setting("ours", "sequential_blocking", TASKS)
LOGGING = Setting("ours", "sequential", TASKS, log_level="INFO")
LARGE = Setting("ours", "large", laps=9)
LARGE_STATES = Setting("ours", "large_states", laps=9)
FAN_OUT = Setting("ours", "fan_out", ITEMS)
WARM = Setting("ours", "warm", laps=300)
WARM_ASYNC = Setting("ours", "warm_async", laps=300)

THREADS = Setting("ours", "threads", ITEMS)
NAPS = Setting("ours", "naps", 50_000, trace_map_limit=COLLAPSED)
PLAIN_NAPS = Setting("plain", "naps", 50_000, level="off")
CROWD = Setting("ours", "crowd", 100_000, trace_map_limit=COLLAPSED)
PLAIN_CROWD = Setting("plain", "crowd", 100_000, level="off")
SUBMITTED = Setting("ours", "crowd_submitted", 50_000)
STREAM = Setting("ours", "stream", 1_000_000, trace_map_limit=COLLAPSED)
WEB = Setting("ours", "web", 5_000)
PLAIN_WEB = Setting("plain", "web", 5_000)
LAG = Setting("ours", "lagging", 100_000, trace_map_limit=COLLAPSED)
ROWS = Setting("ours", "rows_one_by_one", ITEMS, laps=3, log_level="INFO")
BATCHES = Setting("ours", "rows_in_batches", ITEMS // 100, laps=9, log_level="INFO")

WORKLOADS = (
    Workload(
        "sequential",
        "awaited no-op tasks in an async flow, one after another, everything on",
        OURS,
        FLOOR,
        bars=(Bar("ratio", 0.6, aim=0.3),),
        rungs=rungs(OURS),
    ),
    Workload(
        "memory",
        "the same with HEADRACE_DATABASE_URL=memory: and no tracer; the floor still with everything on",
        OURS.at("memory"),
        FLOOR,
        bars=(Bar("ratio", 0.25),),
        rungs=rungs(OURS, store=False),
    ),
    Workload(
        "sync",
        "calls of a sync no-op task in a sync flow, against the async ones (they stand under 'floor')",
        BLOCKING,
        OURS,
        bars=(Bar("ratio", 1.3),),
        rungs=rungs(BLOCKING),
    ),
    Workload(
        "large",
        "an async flow of one task that is given a list of 1,000,000 ints, recorded before it returns",
        LARGE,
        Setting("floor", "large", laps=9),
        figure="lap",
        bars=(Bar("value", 50.0),),
        rungs=rungs(LARGE),
    ),
    Workload(
        "large-states",
        "the same in a program that has a state in hand, so that arguments are searched for states",
        LARGE_STATES,
        Setting("floor", "large", laps=9),
        figure="lap",
        bars=(Bar("value", 50.0),),
        rungs=rungs(LARGE_STATES),
    ),
    Workload(
        "warm",
        "a warm sync flow of one task, called by blocking code, recorded before it returns",
        WARM,
        Setting("floor", "warm", laps=300),
        figure="lap",
        bars=(Bar("value", 1.0),),
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
    Workload(
        "fan-out",
        "a map of no-op async tasks, gathered, against one anyio task and one turn of the limiter an item",
        FAN_OUT,
        Setting("floor", "fan_out", ITEMS),
        bars=(Bar("ratio", 0.6, aim=0.3),),
        rungs=levels(FAN_OUT),
    ),
    Workload(
        "fan-out-pooled",
        "the same against 256 workers by hand that take the next item",
        FAN_OUT,
        Setting("floor", "pooled", ITEMS),
    ),
    Workload(
        "fan-out-submitted",
        "the same by a submit for each item, against our own map",
        Setting("ours", "submitted", ITEMS),
        FAN_OUT,
    ),
    Workload(
        "threads",
        "a map of sync no-op tasks in a sync flow, against a pool of 64 threads and the floor's recording",
        THREADS,
        Setting("floor", "threaded", ITEMS),
        figure="wall",
        bars=(Bar("value", 250, unit="µs"), Bar("value", 250, unit="µs", figure="CPU µs a task")),
        rungs=levels(THREADS),
    ),
    Workload(
        "io",
        "tasks that sleep 0.1 s, 1,000 at a time, collapsed, against 1,000 anyio workers that record nothing",
        NAPS,
        PLAIN_NAPS,
        figure="wall",
        bars=(Bar("ratio", 1 / 0.9),),
        rungs=levels(NAPS, PLAIN_NAPS),
        long=True,
    ),
    Workload(
        "crowd",
        "100,000 tasks of one map that wait at once, collapsed, against as many anyio tasks that record nothing",
        CROWD,
        PLAIN_CROWD,
        figure="crowd",
        bars=(Bar("value", 6, unit="KB"),),
        rungs=levels(CROWD),
        long=True,
    ),
    Workload(
        "crowd-submitted",
        "50,000 that were submitted one by one, with spans of each, against 100,000 of anyio",
        SUBMITTED,
        PLAIN_CROWD,
        figure="crowd",
        bars=(Bar("value", 6, unit="KB"),),
        long=True,
    ),
    Workload(
        "stream",
        "a stream of 1,000,000 no-op tasks, 100 in flight, against five of 10,000 (they stand under 'by hand')",
        STREAM,
        replace(STREAM, units=ITEMS, laps=5),
        figure="stream",
        bars=(
            Bar("ratio", 1.2),
            Bar("value", 10, unit="MB", figure="RSS MB grown between"),
            Bar("value", 200, unit="MB", figure="peak RSS MB"),
        ),
        long=True,
    ),
    Workload(
        "lag",
        "a loop on which 100,000 no-op tasks are mapped, collapsed, against an idle one",
        LAG,
        Setting("plain", "idle", level="off"),
        figure="lag",
        bars=(Bar("value", 20),),
    ),
    Workload(
        "lag-spans",
        "the same with spans of every task, against an idle loop",
        replace(LAG, trace_map_limit=0),
        Setting("plain", "idle", level="off"),
        figure="lag",
        bars=(Bar("value", 20),),
    ),
    Workload(
        "web",
        "a traced FastAPI handler, asked 200 times a second, that awaits a flow of five tasks, against one without",
        WEB,
        PLAIN_WEB,
        figure="web",
        bars=(Bar("more", 1.0), Bar("value", 20, figure="loop lag ms, p99")),
        # The framework makes four spans a request of its own; here they stand under "span", too.
        rungs=levels(WEB, PLAIN_WEB.at("off")),
    ),
    Workload(
        "rows",
        "10,000 rows, each a call of a sync task, against a hundred rows a task, submitted (under 'by hand'); at INFO",
        ROWS,
        BATCHES,
        figure="lap",
        long=True,
    ),
    Workload(
        "rows-mapped",
        "the same rows by one map",
        replace(ROWS, work="rows_mapped"),
        BATCHES,
        figure="lap",
        long=True,
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
