"""
Runs that wait: what one costs in memory once it is unloaded, how late it wakes, and how fast a burst is drained.

`python -m benchmarks.waiting` measures 100,000 of them in a file of SQLite, `--runs 2000` fewer; `--database URL` in
another database, which should be empty. Ends with one line a figure.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from headrace import Runtime, aio, flow, task
from headrace._runtime import current

WOKEN: list[float] = []
BURST = 1_000


@task
async def step(moment: float) -> float:
    """Be a step, before the wait and after it."""
    return moment


@flow(durable=True)
async def sleeps(until: float) -> None:
    """Take a step, sleep, and take another one."""
    await step(until)
    await aio.sleep(until=datetime.fromtimestamp(until, UTC))
    WOKEN.append(time.time() - until)
    await step(until + 1)


@flow(durable=True)
async def receives() -> None:
    """Wait for a signal, and say how long it took."""
    sent = await aio.receive("go", float)
    WOKEN.append(time.time() - sent)


def resident() -> int:
    """Give the bytes of memory that this process has."""
    gc.collect()
    with open("/proc/self/statm", encoding="utf-8") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def until(condition: Callable[[], object]) -> None:
    """Look again and again until *condition* holds."""
    while not condition():  # noqa: ASYNC110 - what is waited for is not to be waited for by what is measured
        await asyncio.sleep(0.005)


async def at_rest() -> None:
    """Wait until no run is in memory, and all is on record."""
    journal = current().journal
    await until(lambda: not journal.live and not journal.told)


async def asleep(runtime: Runtime, count: int, until: float) -> None:
    """Have *count* runs sleep until that moment, as many at once as fit."""
    for first in range(0, count, BURST):
        for _ in range(min(BURST, count - first)):
            runtime.submit(sleeps, until)
        await asyncio.sleep(0.1)
        await at_rest()


def percentiles(values: list[float]) -> str:
    """Give the median, the 99th percentile and the largest of *values*, in milliseconds."""
    ordered = sorted(values)
    picked = (statistics.median(ordered), ordered[int(len(ordered) * 0.99)], ordered[-1])
    return "p50 {:.0f} ms, p99 {:.0f} ms, worst {:.0f} ms".format(*(1e3 * one for one in picked))


async def memory(count: int) -> None:
    """Measure what a run that sleeps costs while a process has it on its list of runs to wake."""
    async with Runtime() as runtime:
        far = time.time() + 86_400
        await asleep(runtime, 2 * BURST, far)
        before, began, spent = resident(), time.time(), time.process_time()
        await asleep(runtime, count, far)
        took, worked = time.time() - began, time.process_time() - spent
        each = (resident() - before) / count
        print(
            f"unloaded: {count / took:,.0f} a second, {1e6 * worked / count:,.0f} us of CPU and {each:,.0f} bytes each"
        )


async def lateness() -> None:
    """Measure how late runs wake of which 1,000 are due in one second, beside all others that sleep."""
    WOKEN.clear()
    async with Runtime() as runtime:
        soon = time.time() + 10
        for number in range(BURST):
            runtime.submit(sleeps, soon + number / BURST)
        await until(lambda: len(WOKEN) == BURST)
        print(f"1,000 due in one second: {percentiles(WOKEN)}")


async def drain(count: int) -> None:
    """Measure how fast runs go on that were all due while no process was there."""
    WOKEN.clear()
    due = time.time() + 5 + count / 200
    async with Runtime() as runtime:
        await asleep(runtime, count, due)
    if time.time() > due:
        sys.exit("Some were due before all slept. Take fewer: --runs 1000")
    await asyncio.sleep(due - time.time())
    began, spent = time.time(), time.process_time()
    async with Runtime():
        await until(lambda: len(WOKEN) == count)
        await at_rest()
        took, worked = time.time() - began, time.process_time() - spent
        print(f"drained: {count / took:,.0f} a second, {1e6 * worked / count:,.0f} us of CPU each")


async def signals(count: int) -> None:
    """Measure the time from a signal to the line behind `receive`, each to another run."""
    WOKEN.clear()
    async with Runtime() as runtime:
        ids = [str(runtime.submit(receives).flow_run_id) for _ in range(count)]
        await asyncio.sleep(1)
        await at_rest()
        for number, run_id in enumerate(ids, 1):
            await aio.send(run_id, "go", time.time())
            await until(lambda number=number: len(WOKEN) == number)
        print(f"signal to wake-up: {percentiles(WOKEN)}")


async def main(asked: Any) -> None:
    """Measure all of it."""
    await memory(asked.runs)
    await lateness()
    await signals(200)
    await drain(min(asked.runs, 10_000))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--database", default=None)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(HEADRACE_HOME=folder, HEADRACE_UNLOAD_AFTER="0", HEADRACE_LOG_LEVEL="WARNING")
        if given.database:
            os.environ["HEADRACE_DATABASE_URL"] = given.database
        asyncio.run(main(given))
