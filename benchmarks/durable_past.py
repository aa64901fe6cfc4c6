"""
Runs that go on in another process: how long that takes.

`python -m benchmarks.durable_past begin FLOW STEPS` runs a flow of `durable_flows.py`, whose last step waits for the
end of its process; `resume FLOW RUN` goes on with it, and prints since when; `open` is an open runtime that takes up
what was left behind. They are started, killed and timed from here.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.fresh import ROOT, Broken, environment, home

NOTED = "BENCH_NOTED"
SETTINGS = {"HEADRACE_LOG_LEVEL": "WARNING", "HEADRACE_SQLITE_SYNCHRONOUS": "NORMAL"}
PATIENCE = 300.0
FLOWS = {"async": "long", "sync": "long_blocking"}


def main() -> None:
    from benchmarks import durable_flows as flows

    what, *more = sys.argv[1:]
    if what == "open":
        asyncio.run(opened())
    elif what == "begin":
        name, steps = more
        work: Any = getattr(flows, FLOWS[name])
        asyncio.run(work(int(steps))) if name == "async" else work(int(steps))
    else:
        name, run_id = more
        resumed(name, run_id)


async def opened() -> None:
    """Have a runtime be open, and say so."""
    from headrace import Runtime

    async with Runtime():
        print("open", flush=True)
        await asyncio.sleep(PATIENCE)


def resumed(name: str, run_id: str) -> None:
    """Go on with a run; print the moment before."""
    from headrace import aio, durable

    print(time.monotonic(), time.process_time(), flush=True)
    if name == "async":
        asyncio.run(aio.resume(run_id))
    else:
        durable.resume(run_id)


# -- asking -------------------------------------------------------------------------------------------------------


def left_behind(name: str, steps: int, directory: Path) -> str:
    """Have a run of so many *steps* be killed in the one after them; give its id."""
    noted = directory / "noted"
    with process(("begin", name, str(steps)), directory, noted) as running:
        wait_for(noted, running)
    noted.unlink()
    with closing(sqlite3.connect(directory / "headrace.db")) as database:
        return str(database.execute("select id from flow_run").fetchone()[0])


def resuming(name: str, run_id: str, original: Path) -> tuple[float, float]:
    """
    Give the seconds, and those of CPU, from the call of resume to the body of the first new step.

    On a copy of *original*, where the run was left behind.
    """
    with home() as directory:
        copy = directory / "copy"
        shutil.copytree(original, copy)
        noted = copy / "noted"
        with process(("resume", name, run_id), copy, noted) as running:
            assert running.stdout is not None
            wall, cpu = map(float, running.stdout.readline().split())
            ended = wait_for(noted, running)
            return ended[0] - wall, ended[1] - cpu


def taking_over(name: str) -> float:
    """Give the seconds from the kill of a run's process until an open runtime has the run's next step begin."""
    with home() as directory:
        first, second = directory / "first", directory / "second"
        with process(("open",), directory, second) as heir:
            assert heir.stdout is not None
            if heir.stdout.readline() != "open\n":
                raise Broken("no runtime was opened")
            with process(("begin", name, "10"), directory, first) as owner:
                wait_for(first, owner)
                killed = time.monotonic()
                owner.kill()
                return wait_for(second, heir)[0] - killed


def wait_for(noted: Path, running: subprocess.Popen[str]) -> tuple[float, float]:
    """
    Give the moment that a process has noted, and the CPU seconds that it had taken by then.

    Raises:
        Broken: It has ended without, or took too long.
    """
    deadline = time.monotonic() + PATIENCE
    while not noted.exists():
        if running.poll() is not None or time.monotonic() > deadline:
            raise Broken(f"{noted} was not written; exit code {running.poll()}")
        time.sleep(0.002)
    wall, cpu = map(float, noted.read_text().split())
    return wall, cpu


@contextmanager
def process(asked: tuple[str, ...], directory: Path, noted: Path) -> Generator[subprocess.Popen[str]]:
    """Start a process of this module in *directory*; it is killed at the end."""
    variables = environment(directory) | SETTINGS | {NOTED: str(noted)}
    command = (sys.executable, "-m", "benchmarks.durable_past", *asked)
    running = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True)
    try:
        yield running
    finally:
        if running.poll() is None:
            os.kill(running.pid, signal.SIGKILL)
        running.wait()
        if running.stdout is not None:
            running.stdout.close()


if __name__ == "__main__":
    main()
