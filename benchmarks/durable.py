"""
`python -m benchmarks.durable`: what a step of a durable flow costs, and how soon a run goes on in another process.

Two sides are two processes that stay, each with a database of its own, and take turns of a fraction of a second; a
ratio is the median of the rounds' ratios. Everything is on, spans included, unless said. The floor is in
`durable_floor.py`. DBOS takes part where `benchmarks/peers/dbos_durable.py` says to install it, or `--dbos PYTHON`.
PostgreSQL does with `--postgres URL`, of a database that may be filled. `--quick` takes two rounds a line: does it
still run, not how fast.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from benchmarks import durable_past
from benchmarks.fresh import ROOT, Broken, environment, home
from benchmarks.table import aligned, surroundings

DBOS = Path.home() / ".cache" / "peer-dbos" / "bin" / "python"
PEER = ROOT / "benchmarks" / "peers" / "dbos_durable.py"
ROUNDS, LONG_ROUNDS, PAST_ROUNDS = 15, 7, 5
STEPS, FLOWS, FLOWS_OF, FINISHED, ITEMS = 400, 1_000, 10, 10_000, 20_000
LEASE = 15.0  # seconds that a process is taken to live after its last sign, where its end is not proved
Row = tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """A process that answers `WORK COUNT` with what that took."""

    command: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    counted: bool = True


@dataclass(frozen=True)
class Bar:
    """What is wanted of a line: that a ratio is at most, or at least, so much; of its wall time or another figure."""

    limit: float
    least: bool = False
    of: str = "wall"


@dataclass(frozen=True)
class Line:
    """One comparison: both sides do *work* *count* times a turn, which is so many *steps*."""

    name: str
    other: Side
    ours: Side
    work: str
    bar: Bar | None
    count: int = STEPS
    steps: int = STEPS
    rounds: int = ROUNDS
    other_count: int | None = None  # where the other side is much slower


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.durable", description=__doc__)
    parser.add_argument("lines", nargs="*", metavar="WORD", help="only lines with such a word in their names")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--dbos", type=Path, default=DBOS, metavar="PYTHON")
    parser.add_argument("--postgres", metavar="URL")
    asked = parser.parse_args()
    print(f"{surroundings()}\n")
    rows: list[Row] = []
    broken: list[str] = []
    for name, measure in measures(asked):
        if asked.lines and not any(word in name for word in asked.lines):
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            rows += measure()
        except Broken as reason:
            broken.append(f"{name}: {reason}")
    print(aligned(("what", "figure", "other", "ours", "ratio", "from - to", "bar", "met"), rows))
    for sentence in broken:
        print(f"\nBROKEN {sentence}", file=sys.stderr)
    return 1 if broken else 0


def measures(asked: argparse.Namespace) -> list[tuple[str, Callable[[], list[Row]]]]:
    """Give what is to be measured, each with its name."""
    lines = [*against_floor(), *against_unkept(), *against_dbos(asked.dbos)]
    lines += on_postgres(asked.postgres) if asked.postgres else []
    found: list[tuple[str, Callable[[], list[Row]]]] = []
    for line in lines:
        rounds = 2 if asked.quick else line.rounds
        found.append((line.name, lambda line=line, rounds=rounds: compared(line, rounds)))  # type: ignore[misc]
    rounds, finished = (2, FINISHED // 10) if asked.quick else (PAST_ROUNDS, FINISHED)
    for name in durable_past.FLOWS:
        found.append((f"resume, {name}", lambda name=name: resumed(name, finished, rounds)))  # type: ignore[misc]
        found.append((f"take-over, {name}", lambda name=name: [taken_over(name, rounds)]))  # type: ignore[misc]
    return found


# -- sides --------------------------------------------------------------------------------------------------------


def floor(synchronous: str, *more: str) -> Side:
    return Side((sys.executable, "-m", "benchmarks.durable_side", "floor", "--synchronous", synchronous, *more))


def ours(synchronous: str, *more: str) -> Side:
    variables = {"HEADRACE_SQLITE_SYNCHRONOUS": synchronous, "HEADRACE_LOG_LEVEL": "WARNING"}
    return Side((sys.executable, "-m", "benchmarks.durable_side", "ours", *more), variables)


def against_floor() -> list[Line]:
    """Give the comparisons with the same by hand."""
    lines = [
        Line(f"step, {work}, {synchronous}", floor(synchronous, "--spans"), ours(synchronous, "--spans"), work, bar)
        for synchronous, bar in (("NORMAL", Bar(1.0)), ("FULL", Bar(1.2)))
        for work in ("async", "sync")
    ]
    for name, more, bar in (("without spans", (), Bar(2.0)), ("with spans", ("--spans",), None)):
        many = f"{FLOWS:,} flows at once, {name}, FULL"
        sides = floor("FULL", *more), ours("FULL", *more)
        lines.append(Line(many, *sides, "many", bar, FLOWS, FLOWS * FLOWS_OF, LONG_ROUNDS))
    return lines


def against_unkept() -> list[Line]:
    """Give the comparisons of a generator task whose items are on record with one whose are not."""
    command = (sys.executable, "-m", "benchmarks.durable_side", "unkept", "--synchronous", "NORMAL")
    other = replace(ours("NORMAL"), command=command, counted=False)
    own = replace(ours("NORMAL"), counted=False)
    return [
        Line(f"items, {name}, NORMAL", other, own, work, None, ITEMS, ITEMS)
        for name, work in (("async", "items"), ("sync", "items-sync"))
    ]


def against_dbos(python: Path) -> list[Line]:
    """Give the comparisons with DBOS, where it is installed."""
    if not python.exists():
        print(f"DBOS is left out: there is no {python}\n")
        return []
    return [
        Line(
            f"DBOS, {name}, {work}",
            Side((str(python), str(PEER), "--stay", *more), counted=False),
            ours(synchronous),
            work,
            Bar(bar, least=True),
            other_count=STEPS // 4,
        )
        for name, more, synchronous, bar in (
            ("WAL NORMAL", ("--wal",), "NORMAL", 10.0),
            ("its default, ours FULL", (), "FULL", 8.0),
        )
        for work in ("async", "sync")
    ]


def on_postgres(url: str) -> list[Line]:
    """Give the comparisons of PostgreSQL, in the database at *url*."""
    command = (sys.executable, "-m", "benchmarks.durable_side")
    other = Side((*command, "postgres"), {"BENCH_POSTGRES": url}, counted=False)
    own = Side((*command, "ours"), {"HEADRACE_DATABASE_URL": url, "HEADRACE_LOG_LEVEL": "WARNING"}, counted=False)
    many = Line("PostgreSQL, 200 flows at once", other, own, "many", None, 200, 200 * FLOWS_OF, LONG_ROUNDS)
    steps = [
        Line(f"PostgreSQL, step, {work}", other, own, work, bar)
        for work, bar in (("async", Bar(2.0, of="p50")), ("sync", None))
    ]
    return [*steps, many]


# -- taking turns -------------------------------------------------------------------------------------------------


class Worker:
    """The process of a side, as long as it is open."""

    def __init__(self, side: Side, directory: Path) -> None:
        self.side = side
        self.errors = directory / "stderr"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                side.command, cwd=ROOT, env=environment(directory) | dict(side.variables), text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip

    def ask(self, question: str) -> str:
        """
        Give the answer to *question*.

        Raises:
            Broken: There is none.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(question, file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            tail = "\n".join(self.errors.read_text(errors="replace").splitlines()[-15:])
            raise Broken(f"{' '.join(self.side.command)} does not answer\n{tail}")
        return answer

    def turn(self, work: str, count: int) -> dict[str, float]:
        """Have *work* be done *count* times; give what that took."""
        took: dict[str, float] = json.loads(self.ask(f"{work} {count}"))
        return took

    def close(self) -> None:
        """End the process."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        self.process.wait()


@contextmanager
def working(side: Side) -> Generator[Worker]:
    with home() as directory:
        worker = Worker(side, directory)
        try:
            yield worker
        finally:
            worker.close()


def compared(line: Line, rounds: int) -> list[Row]:
    """
    Measure both sides of *line*, in turns, after one that does not count.

    Raises:
        Broken: A side failed, or has fewer steps on record than it was asked for.
    """
    counts = (line.other_count or line.count, line.count)
    taken: list[list[dict[str, float]]] = []
    with working(line.other) as other, working(line.ours) as own:
        for number in range(rounds + 1):
            order = (0, 1) if number % 2 else (1, 0)
            both = {side: (other, own)[side].turn(works(line, side), counts[side]) for side in order}
            taken.append([both[0], both[1]])
        for worker, count in zip((other, own), counts, strict=True):
            wanted = (rounds + 1) * count * (line.steps // line.count)
            if worker.side.counted and int(worker.ask("total 0")) != wanted:
                raise Broken(f"{' '.join(worker.side.command)} has not {wanted:,} steps on record")
    return described(line, taken[1:], counts)


def works(line: Line, side: int) -> str:
    """Give what a side is to do: a server has nothing to compare many flows with, but a step."""
    return "async" if side == 0 and line.other.command[-1] == "postgres" else line.work


def described(line: Line, taken: Sequence[Sequence[Mapping[str, float]]], counts: tuple[int, int]) -> list[Row]:
    """Give the rows of *line*: wall, from step to step, and CPU, in microseconds a step; the bar stands at its own."""
    each = [line.steps // line.count if works(line, side) == "many" else 1 for side in (0, 1)]
    rows: list[Row] = []
    for key, figure in (("wall", "wall µs a step"), ("p50", "p50 µs a step"), ("cpu", "CPU µs a step")):
        by = [1 if key == "p50" else count * more for count, more in zip(counts, each, strict=True)]
        both = [[turn[side][key] / by[side] * 1e6 for turn in taken] for side in (0, 1)]
        if not all(both[0]) or not all(both[1]):
            continue
        flipped = line.bar is not None and line.bar.least
        ratios = sorted(a / b if flipped else b / a for a, b in zip(*both, strict=True))
        spread = f"{ratios[len(ratios) // 4]:.2f} - {ratios[-1 - len(ratios) // 4]:.2f}"
        judged = judgement(median(ratios), line.bar if line.bar is not None and line.bar.of == key else None)
        name = "" if rows else line.name
        medians = [f"{median(values):,.{int(median(values) < 10)}f}" for values in both]
        rows.append((name, figure, *medians, f"{median(ratios):.2f}", spread, *judged))
    if line.work == "many":
        rates = [f"{line.steps / median(turn[side]['wall'] for turn in taken):,.0f}" for side in (0, 1)]
        beside = rates[0] if works(line, 0) == "many" else ""
        bar = (">= 5,000", "yes" if float(rates[1].replace(",", "")) >= 5_000 else "NO") if not beside else ("", "")
        rows.append(("", "steps a second", beside, rates[1], "", "", *bar))
    return rows


def judgement(value: float, bar: Bar | None) -> tuple[str, str]:
    """Give a bar as text, and whether it is met."""
    if bar is None:
        return "", ""
    met = value >= bar.limit if bar.least else value <= bar.limit
    return f"{'>=' if bar.least else '<='} {bar.limit:g}", "yes" if met else "NO"


# -- going on -----------------------------------------------------------------------------------------------------


def resumed(name: str, finished: int, rounds: int) -> list[Row]:
    """Measure how long it takes to go on with a run of so many *finished* steps."""
    with home() as directory:
        run_id = durable_past.left_behind(name, finished, directory)
        took = [durable_past.resuming(name, run_id, directory) for _ in range(rounds)]
    seconds, cpu = zip(*took, strict=True)
    return [
        gone_on(f"resume, {name}, {finished:,} steps", "seconds", seconds, 1.0),
        gone_on("", "CPU seconds", cpu),
    ]


def taken_over(name: str, rounds: int) -> Row:
    """Measure how long it takes until an open runtime has taken over from a process that was killed."""
    took = [durable_past.taking_over(name) for _ in range(rounds)]
    return gone_on(f"take-over, {name}", "seconds", took, LEASE + 1.0)


def gone_on(name: str, figure: str, took: Sequence[float], bar: float | None = None) -> Row:
    """Give the row of what *took* so many seconds."""
    spread = f"{min(took):.2f} - {max(took):.2f}"
    judged = judgement(median(took), None if bar is None else Bar(bar))
    return (name, figure, "", f"{median(took):.2f}", "", spread, *judged)


if __name__ == "__main__":
    sys.exit(main())
