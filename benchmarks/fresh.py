"""
Fresh processes: a setting answered by one, a program timed as one. All that is started from here is waited
for here.

Each gets a directory of its own, stderr in a file there, and an environment from which every variable that
could tilt a measurement is gone. Nothing here compares two of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from time import perf_counter

from benchmarks.sample import Sample, Setting

ROOT = Path(__file__).resolve().parent.parent
TILTING = ("HEADRACE_", "OTEL_", "PYTHON", "TRACEPARENT", "TRACESTATE", "BAGGAGE")
TIMEOUT = 600
PATH = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]


class Broken(Exception):
    """A measurement that measures nothing: the process failed, or did less work than it was asked for."""


@dataclass(frozen=True)
class Ended:
    """A process that ended well: seconds of wall and CPU time, what it printed on stdout and on stderr."""

    wall: float
    cpu: float
    out: str
    err: str


def answered(setting: Setting) -> Sample:
    """
    Have *setting* measured in a fresh process.

    Raises:
        Broken: The process failed, or fewer tasks were found finished in the store than were run.
    """
    asked = [setting.side, setting.work, f"--units={setting.units}", f"--laps={setting.laps}"]
    asked += [f"--level={setting.level}", f"--log-level={setting.log_level}"]
    asked += [f"--trace-map-limit={setting.trace_map_limit}"]
    with home() as directory:
        ended = started(("-m", "benchmarks.child", *asked, f"--home={directory}"), directory)
    sample = Sample.parse(ended.out.splitlines()[-1])
    if setting.kept and sample.finished != sample.units:
        raise Broken(f"{setting}: {sample.units:,} tasks were run, {sample.finished:,} are recorded as finished")
    if setting.spanned and sample.spans < sample.units:
        raise Broken(f"{setting}: {sample.units:,} tasks were run, {sample.spans:,} spans were exported")
    return sample


def started(arguments: Sequence[str], directory: Path, more: Mapping[str, str] | None = None) -> Ended:
    """
    Run a Python interpreter with *arguments* until it ends.

    Raises:
        Broken: It ended with an error, or not within ten minutes.
    """
    out, err = directory / "stdout", directory / "stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        start = perf_counter()
        process = subprocess.Popen(
            (sys.executable, *arguments),
            cwd=ROOT,
            env=environment(directory) | dict(more or {}),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
        # Not `process.wait(timeout)`: it polls, up to 50 ms apart, and would show in the figure.
        guard = Timer(TIMEOUT, process.kill)
        guard.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = perf_counter() - start
        guard.cancel()
    code = process.returncode = os.waitstatus_to_exitcode(status)
    if code:
        reason = f"not ended after {TIMEOUT} s" if wall > TIMEOUT else f"exit code {code}"
        tail = "\n".join(err.read_text(errors="replace").splitlines()[-15:])
        raise Broken(f"python {' '.join(arguments)}: {reason}\n{tail}")
    return Ended(wall, usage.ru_utime + usage.ru_stime, out.read_text(), err.read_text(errors="replace"))


def environment(directory: Path) -> dict[str, str]:
    """
    Give this process's environment without what tilts, the import path kept and this repository's root before
    it.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(TILTING)}
    path = [str(ROOT), *(str(Path(entry).resolve()) for entry in PATH)]
    return kept | {"PYTHONPATH": os.pathsep.join(path), "HEADRACE_HOME": str(directory)}


@contextmanager
def home() -> Generator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-home-") as directory:
        yield Path(directory)
