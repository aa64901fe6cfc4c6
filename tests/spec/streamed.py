"""
A program whose durable flow reads a stream over a cursor, and that kills itself amid it. Started again, it goes on.

What is read, run and handed on are lines of a ledger.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import headrace
from headrace import durable, flow, runs, task

COUNT, LIMIT = 40, 4
FATAL = (7, 20, 33)  # items that kill the process when they are first run


def note(line: str) -> int:
    """Add a line to the ledger; give how often it is in there by now."""
    with open(Path(os.environ["HEADRACE_HOME"]) / "ledger", "a+", encoding="utf-8") as file:
        file.write(f"{line}\n")
        file.flush()
        file.seek(0)
        return file.read().splitlines().count(line)


def visit(x: int) -> int:
    if note(f"ran {x}") == 1 and x in FATAL:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


@task
async def step(x: int) -> int:
    return visit(x)


@task
def step_here(x: int) -> int:
    return visit(x)


def read(after: int | None) -> Iterator[tuple[int, int]]:
    for x in range((after or 0) + 1, COUNT + 1):
        note(f"read {x}")
        yield x, x


@flow(durable=True)
async def awaits() -> list[int]:
    found: list[int] = []
    async with step.stream(durable.Cursor(read), limit=LIMIT) as results:
        async for x in results:
            note(f"on {x}")
            found.append(x)
    return found


@flow(durable=True)
def blocks() -> list[int]:
    found: list[int] = []
    for x in step_here.stream(durable.Cursor(read), limit=LIMIT):
        note(f"on {x}")
        found.append(x)
    return found


def main(name: str) -> None:
    ledger = Path(os.environ["HEADRACE_HOME"]) / "ledger"
    if ledger.exists():
        print(durable.resume(runs.flow_runs(limit=1)[0].id))
    else:
        print(headrace.run(awaits()) if name == "awaits" else blocks())


if __name__ == "__main__":
    main(sys.argv[1])
