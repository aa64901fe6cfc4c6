"""
`python -m benchmarks.limits`: what slots of limits cost: one that is free, 10,000 tasks through five, eight processes.

A free slot: CPU of all threads, in microseconds a block around nothing, the least of five rounds, in a process of its
own with an empty home. Tasks through five slots: whole runs take turns in one process, with a limit's block in the
body, with a tag, and with an `anyio.CapacityLimiter(5)` in the body; medians of seven rounds, and the ratio of them.
Eight processes on one SQLite file, and with `--postgres URL` on that database, share 20 slots for bodies that sleep
20 ms, and count themselves on a board that all of them lock; their rate over two seconds, of the most that 20 slots let
through. `--quick` takes a tenth of the tasks.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.table import aligned, surroundings

BLOCKS = 2_000
ROUNDS = 5
TASKS = 10_000
TURNS = 7
SLOTS, BODY, PROCESSES, LANES, SECONDS = 20, 0.02, 8, 10, 2.0
CELLS = "qqq"  # how many are in, the most that were, and how many have left


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    parser.add_argument("line", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("board", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--postgres", metavar="URL", help="have eight processes on this database, too")
    asked = parser.parse_args()
    tasks = TASKS // 10 if asked.quick else TASKS
    if asked.line is not None:
        measure(asked.line, tasks, asked.board)
        return 0
    print(f"{surroundings()}\n")
    sync, awaited = fresh("sync")[0], fresh("async")[0]
    by_hand, block, tag = fresh("through", *["--quick"] * asked.quick)
    ratio = block / by_hand
    rows = [
        ("a free slot, sync", "µs CPU a block", f"{sync:.1f}", "", "<= 15", met(sync <= 15)),
        ("a free slot, async", "µs CPU a block", f"{awaited:.1f}", "", "<= 15", met(awaited <= 15)),
        (f"{tasks:,} tasks, by hand", "µs CPU a task", f"{by_hand:.1f}", "", "", ""),
        ("with a block", "µs CPU a task", f"{block:.1f}", f"{ratio:.2f}", "<= 1.3", met(ratio <= 1.3)),
        ("with a tag", "µs CPU a task", f"{tag:.1f}", f"{tag / by_hand:.2f}", "", ""),
        *shared("eight processes", None),
        *(shared("the same, PostgreSQL", asked.postgres) if asked.postgres else ()),
    ]  # fmt: skip
    print(aligned(("what", "figure", "ours", "ratio", "bar", "met"), rows))
    return 0


def shared(what: str, url: str | None) -> list[tuple[str, ...]]:
    """Measure eight processes; give their rows."""
    rate, most = crowd(url)
    used = rate * BODY / SLOTS
    return [
        (what, "bodies a second", f"{rate:.0f}", f"{used:.2f}", ">= 0.8", met(used >= 0.8)),
        (what, "at once, at most", f"{most}", "", f"<= {SLOTS}", met(most <= SLOTS)),
    ]


def met(there: bool) -> str:
    return "yes" if there else "NO"


def fresh(line: str, *more: str) -> Sequence[float]:
    """Measure *line* in a process of its own; give its figures."""
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "benchmarks.limits", line, *more]
        out = subprocess.run(command, env=at_home(home), capture_output=True, text=True, check=True).stdout
    return [float(word) for word in out.split()]


def at_home(home: str, url: str | None = None) -> dict[str, str]:
    """Give the environment of a process that keeps its runs in *home*, or in the database *url*."""
    named = {} if url is None else {"HEADRACE_DATABASE_URL": url}
    return {**os.environ, "HEADRACE_HOME": home, "HEADRACE_LOG_LEVEL": "WARNING", **named}


def measure(line: str, tasks: int, board: str | None) -> None:
    """Measure *line* here, and print its figures."""
    from headrace.concurrency import Limit

    if line == "works":
        assert board is not None
        work(board)
        return
    Limit("five", 5).ensure()
    if line == "sync":
        print(sync_block())
    elif line == "async":
        print(asyncio.run(async_block()))
    else:
        print(*asyncio.run(in_turns(tasks)))


# -- a free slot --------------------------------------------------------------------------------------------------


def sync_block() -> float:
    """Give the CPU of a block around nothing in a sync flow, in microseconds."""
    from headrace import flow
    from headrace.concurrency import concurrency

    @flow
    def blocks() -> float:
        with concurrency("five"):
            pass
        best = float("inf")
        for _ in range(ROUNDS):
            before = time.process_time()
            for _ in range(BLOCKS):
                with concurrency("five"):
                    pass
            best = min(best, (time.process_time() - before) / BLOCKS * 1e6)
        return best

    return blocks()


async def async_block() -> float:
    """Give the CPU of a block around nothing in an async flow, in microseconds."""
    from headrace import flow
    from headrace.concurrency import concurrency

    @flow
    async def blocks() -> float:
        async with concurrency("five"):
            pass
        best = float("inf")
        for _ in range(ROUNDS):
            before = time.process_time()
            for _ in range(BLOCKS):
                async with concurrency("five"):
                    pass
            best = min(best, (time.process_time() - before) / BLOCKS * 1e6)
        return best

    return await blocks()


# -- many through few ---------------------------------------------------------------------------------------------


async def in_turns(tasks: int) -> list[float]:
    """Give the CPU of a task in a flow of many, in microseconds: with anyio's limiter, with a block, and with a tag."""
    import anyio

    from headrace import flow, task
    from headrace.concurrency import concurrency

    limiter = anyio.CapacityLimiter(5)

    @task
    async def by_hand(x: int) -> int:
        async with limiter:
            await asyncio.sleep(0)
        return x

    @task
    async def block(x: int) -> int:
        async with concurrency("five"):
            await asyncio.sleep(0)
        return x

    @task(tags=["five"])
    async def tagged(x: int) -> int:
        await asyncio.sleep(0)
        return x

    @flow
    async def many(chosen: Any) -> None:
        await asyncio.gather(*[chosen(number) for number in range(tasks)])

    took: dict[Any, list[float]] = {by_hand: [], block: [], tagged: []}
    for _ in range(TURNS + 1):
        for chosen, times in took.items():
            before = time.process_time()
            await many(chosen)
            times.append((time.process_time() - before) / tasks * 1e6)
    return [statistics.median(times[1:]) for times in took.values()]  # the first warms up


# -- eight processes ----------------------------------------------------------------------------------------------


def crowd(url: str | None = None) -> tuple[float, int]:
    """Give how many bodies a second eight processes run in slots they share, and how many ran at once at most."""
    with tempfile.TemporaryDirectory() as home:
        board = os.path.join(home, "board")
        with open(board, "wb") as file:
            file.write(struct.pack(CELLS, 0, 0, 0))
        set_up = f"from headrace.concurrency import Limit; Limit('shared', {SLOTS}).ensure()"
        subprocess.run([sys.executable, "-c", set_up], env=at_home(home, url), check=True)
        command = [sys.executable, "-m", "benchmarks.limits", "works", board]
        working = [subprocess.Popen(command, env=at_home(home, url)) for _ in range(PROCESSES)]

        def done() -> int:
            with open(board, "rb") as file:
                return int(struct.unpack(CELLS, file.read())[2])

        while done() < 10 * PROCESSES * LANES:
            time.sleep(0.01)
        time.sleep(0.5)
        first, began = done(), time.monotonic()
        time.sleep(SECONDS)
        last, ended = done(), time.monotonic()
        os.truncate(board, 0)
        for one in working:
            assert one.wait() == 0
        with open(f"{board}.most", encoding="utf-8") as file:
            return (last - first) / (ended - began), int(file.read())


def work(board: str) -> None:
    """Run bodies in ten lanes until the board is taken away; the last to go says how many ran at once at most."""
    from headrace import flow, task
    from headrace.concurrency import concurrency

    file = os.open(board, os.O_RDWR)
    most = 0

    def counted(step: int) -> bool:
        nonlocal most
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            cells = os.pread(file, struct.calcsize(CELLS), 0)
            if not cells:
                return False
            here, most, done = struct.unpack(CELLS, cells)
            here += step
            most = max(most, here)
            os.pwrite(file, struct.pack(CELLS, here, most, done + (step < 0)), 0)
            return True
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)

    @task
    async def one() -> bool:
        async with concurrency("shared"):
            counted(1)
            await asyncio.sleep(BODY)
            return counted(-1)

    @flow
    async def every() -> None:
        async def lane() -> None:
            while await one():
                pass

        await asyncio.gather(*[lane() for _ in range(LANES)])

    asyncio.run(every())
    fcntl.flock(file, fcntl.LOCK_EX)
    with open(f"{board}.most", "a+", encoding="utf-8") as said:
        said.seek(0)
        most = max(most, int(said.read() or 0))
        said.truncate(0)
        said.write(str(most))


if __name__ == "__main__":
    sys.exit(main())
