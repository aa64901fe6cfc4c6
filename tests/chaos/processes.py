"""Real processes for tests: started, killed, waited for with a deadline. Knows nothing of what they do."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import headrace

ROOT = Path(__file__).parents[2]
LEFT_OUT = ("HEADRACE_", "OTEL_", "PYTHON")
WITHIN = 40.0


@dataclass(frozen=True, slots=True)
class Ended:
    """What a process leaves behind. A *status* below zero is the signal that killed it."""

    status: int
    out: str
    err: str

    def lines(self, holding: str) -> list[str]:
        """Give the lines on stderr that hold a text."""
        return [line for line in self.err.splitlines() if holding in line]


class Child:
    """A process at work. Its output goes to files, so that no full pipe ever stops it."""

    def __init__(
        self, module: str, program: str, *args: object, home: Path, outputs: Path | None = None, **environment: str
    ) -> None:
        folder = outputs or home.parent
        folder.mkdir(parents=True, exist_ok=True)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
        Child.count += 1
        self.outputs = [folder / f"{Child.count}.{kind}" for kind in ("out", "err")]
        with open(self.outputs[0], "wb") as out, open(self.outputs[1], "wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, program, *map(str, args)],
                cwd=ROOT,
                env={
                    **inherited,
                    "HEADRACE_HOME": str(home),
                    "HEADRACE_LOG_LEVEL": "WARNING",
                    "PYTHONPATH": str(Path(headrace.__file__).parents[1]),
                    "PYTHONUNBUFFERED": "1",
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    count = 0

    @property
    def out(self) -> str:
        """What it printed so far."""
        return self.outputs[0].read_text(errors="replace")

    @property
    def err(self) -> str:
        """What it said on stderr so far."""
        return self.outputs[1].read_text(errors="replace")

    def said(self, word: str) -> None:
        """Wait until it has printed *word*."""
        until(lambda: word in self.out or self.process.poll() is not None)
        assert word in self.out, f"ended with {self.process.returncode} before it said {word!r}:\n{self.err}"

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def ended(self, within: float = WITHIN) -> Ended:
        """Wait for its end; kill it and fail where that takes longer."""
        try:
            status = self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it hung for {within:g} s:\n{self.out}\n{self.err}") from None
        return Ended(status, self.out, self.err)


def until(condition: Callable[[], object], within: float = WITHIN) -> None:
    """Look again and again until *condition* holds; fail after *within* seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {within:g} s"
        time.sleep(0.002)


@contextmanager
def database(path: Path) -> Generator[sqlite3.Connection]:
    """Open a database as any other program would."""
    with closing(sqlite3.connect(path, timeout=WITHIN, isolation_level=None)) as connection:
        yield connection


def rows(home: Path, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Read from the database in *home*."""
    with database(home / "headrace.db") as connection:
        return connection.execute(statement, values).fetchall()


def recorded(home: Path) -> bool:
    """Tell whether a flow run is in the database; there may be none yet, or an empty one."""
    there = (home / "headrace.db").exists() and rows(home, "SELECT 1 FROM sqlite_master WHERE name = 'flow_run'")
    return bool(there and rows(home, "SELECT 1 FROM flow_run"))


def states(home: Path, flow: str) -> list[str]:
    """Give the names of the states of the runs of *flow*, oldest first."""
    found = rows(home, "SELECT state_name FROM flow_run WHERE flow_name = ? ORDER BY created", flow)
    return [name for (name,) in found]


def count(home: Path, state: str = "COMPLETED") -> int:
    """Count the task runs in a state."""
    ((found,),) = rows(home, "SELECT count(*) FROM task_run WHERE state_type = ?", state)
    return int(found)
