"""
Whole processes compared: what a program costs before and after its own work. Says nothing of a task's cost.
"""

from __future__ import annotations

import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.compare import Line, Parts, in_turns
from benchmarks.fresh import Broken, Ended, home, started
from benchmarks.workloads import Bar, Program

TIMED_IMPORT = "import time; _start = time.process_time(); {}; print(time.process_time() - _start)"
IMPORTED = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")


def compared(program: Program, repeats: int) -> list[Line]:
    """
    Run both sides of *program* in turns.

    Raises:
        Broken: A process failed, or its one task was not found in the store.
    """
    sides = (program.other, program.ours)
    for arguments in sides:
        _ran(program, arguments)  # not counted: it writes the byte code of what it imports
    pairs = list(in_turns(lambda side: _ran(program, sides[side]), 2, repeats))

    def line(figure: str, take: Callable[[Ended], float], bar: Bar | None = None) -> Line:
        others, ours = ([take(pair[side]) for pair in pairs] for side in (0, 1))
        return Line(program.name, figure, others, ours, bar=bar)

    if program.figure == "import":
        return [line("CPU ms of the import", lambda ended: float(ended.out) * 1e3, program.bar)]
    return [
        line("wall ms a process", lambda ended: ended.wall * 1e3, program.bar),
        line("CPU ms a process", lambda ended: ended.cpu * 1e3),
    ]


def parted(program: Program, repeats: int) -> Parts:
    """
    Say what ours is made of.

    Raises:
        Broken: A process failed.
    """
    if program.figure == "import":
        return Parts(program.name, "ms", _by_package(program.ours), {})
    memory = {"HEADRACE_DATABASE_URL": "memory:"}
    rungs: list[tuple[str, Sequence[str], dict[str, str]]] = [
        ("interpreter", ("-c", "pass"), {}),
        ("import", ("-c", "from headrace import flow, task"), {}),
        ("run", program.ours, memory),
        ("store", program.ours, {}),
    ]

    def wall(side: int) -> float:
        _, arguments, more = rungs[side]
        with home() as directory:
            return started(arguments, directory, more).wall * 1e3

    rounds = list(in_turns(wall, len(rungs), repeats))
    least = [min(answers) for answers in zip(*rounds, strict=True)]
    parts = {part: figure - before for (part, *_), figure, before in zip(rungs, least, [0.0, *least[:-1]], strict=True)}
    return Parts(program.name, "ms", parts, {})


def _ran(program: Program, arguments: Sequence[str]) -> Ended:
    with home() as directory:
        if program.figure == "import":
            return started(("-c", TIMED_IMPORT.format(arguments[-1])), directory)
        ended = started(arguments, directory)
        if not _recorded(directory):
            raise Broken(f"{program.name}: {arguments[-1]} ended well, and no task run is recorded")
        return ended


def _recorded(directory: Path) -> bool:
    for name, query in (
        ("headrace.db", "select count(*) from task_run where state_type = 'COMPLETED'"),
        ("floor.db", "select count(*) from state where state = 'Completed' and run != flow_run"),
    ):
        if (directory / name).exists():
            with closing(sqlite3.connect(directory / name)) as database:
                return bool(database.execute(query).fetchone()[0])
    return False


def _by_package(arguments: Sequence[str]) -> dict[str, float]:
    """
    Give the import's own milliseconds by top-level package, the standard library's as one, dearest first.
    """
    with home() as directory:
        timed = started(("-X", "importtime", *arguments), directory)
        bare = started(("-X", "importtime", "-c", "pass"), directory)
    before = {name for _, name in IMPORTED.findall(bare.err)}
    spent: Counter[str] = Counter()
    for microseconds, name in IMPORTED.findall(timed.err):
        if name not in before:
            package = name.partition(".")[0]
            spent["stdlib" if package in sys.stdlib_module_names else package] += int(microseconds)
    dear = {package: own / 1e3 for package, own in spent.most_common() if own >= 1_000}
    return dear | {"others": spent.total() / 1e3 - sum(dear.values())}
