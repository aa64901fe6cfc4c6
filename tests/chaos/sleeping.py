"""
Durable flows that wait, in workers that unload them at once. Run as a program: a worker, which begins so many of them.

What their tasks do goes to the file `ledger` in HEADRACE_HOME, and so does that their callers went on.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import headrace
from headrace import Runtime, _resuming, aio, flow, signals, task


def home() -> Path:
    """Where the ledger lies, and the file that ends the workers."""
    return Path(os.environ["HEADRACE_HOME"])


def write(*words: object) -> None:
    """Write a line to the ledger."""
    line = " ".join(map(str, words)) + "\n"
    with open(home() / "ledger", "ab", buffering=0) as ledger:
        ledger.write(line.encode())


@task
async def note(number: int, place: str) -> None:
    """Come to a *place*."""
    write("did", number, place)


@task
def note_here(number: int, place: str) -> None:
    """Come to a *place*."""
    write("did", number, place)


@flow(durable=True)
async def waits(number: int) -> int:
    """Sleep, receive, and sleep again."""
    await note(number, "first")
    write("went", number, "first")
    await aio.sleep(0.3)
    await note(number, "second")
    write("went", number, "second")
    got = await aio.receive("go", int)
    await note(number, "third")
    write("went", number, "third")
    await aio.sleep(0.1)
    return got


@flow(durable=True)
def waits_here(number: int) -> int:
    """Do so in code that blocks."""
    note_here(number, "first")
    write("went", number, "first")
    headrace.sleep(0.3)
    note_here(number, "second")
    write("went", number, "second")
    got = signals.receive("go", int)
    note_here(number, "third")
    write("went", number, "third")
    headrace.sleep(0.1)
    return got


@flow(durable=True)
async def sleeps(until: float) -> None:
    """Say how late it woke."""
    await aio.sleep(until=datetime.fromtimestamp(until, UTC))
    write("late", time.time() - until)


async def works(count: str) -> None:
    """Begin so many flows, and have all go on that are due, until the file `enough` is there."""
    setattr(_resuming, "CRASHES", 1_000)  # noqa: B010 - it is final for all others
    tests = os.getppid()
    async with Runtime(drain_seconds=60) as runtime:
        for number in range(int(count)):
            runtime.submit(waits if number % 2 else waits_here, number)
        print("open", flush=True)
        while not (home() / "enough").exists() and os.getppid() == tests:  # noqa: ASYNC110 - other processes' doing
            await asyncio.sleep(0.01)


async def naps(seconds: str) -> None:
    """Begin one that sleeps for so long, and stay."""
    async with Runtime() as runtime:
        runtime.submit(sleeps, time.time() + float(seconds))
        await asyncio.sleep(60)


if __name__ == "__main__":
    asyncio.run((works if sys.argv[1] == "works" else naps)(sys.argv[2]))
