"""
Durable flows of all kinds of calls, whose every execution and acknowledgement is a line of a ledger.

A step's body writes `ran` before it returns, its caller writes `on` once it has the value. The ledger is one file that
all processes append to, so that its order is that of time. Run as a program, it is a worker that is to be killed.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any

import headrace
from headrace import Runtime, _resuming, durable, flow, task
from headrace.runtime import task_run

WIDE, FEW = 12, 4
PER_FAN = 1 + WIDE + FEW + WIDE + FEW + 2 * FEW + FEW  # steps: drawn, gather, submit, map, subflow, nested, retried
PER_LINE = 1 + WIDE + FEW + WIDE + FEW


def home() -> Path:
    return Path(os.environ["HEADRACE_HOME"])


@cache
def ledger() -> int:
    """Open the ledger."""
    return os.open(home() / "ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def ran(flow: int, place: str, value: object) -> None:
    """Note that the body of a step is at work, in which of its attempts, and force it to the disk."""
    os.write(ledger(), f"ran {flow} {place} {value} {task_run.run_count} {os.getpid()}\n".encode())
    os.fsync(ledger())


def went_on(flow: int, place: str, value: object) -> None:
    """Note that the caller of a step has its value."""
    os.write(ledger(), f"on {flow} {place} {value} 0 {os.getpid()}\n".encode())


# -- steps ------------------------------------------------------------------------------------------------------------


@task
async def double(flow: int, place: str, value: int) -> int:
    ran(flow, place, value)
    await asyncio.sleep(0)
    return 2 * value


@task
def double_here(flow: int, place: str, value: int) -> int:
    ran(flow, place, value)
    return 2 * value


@task
async def seen(flow: int, place: str, value: str) -> str:
    ran(flow, place, value)
    return value


@task(retries=2)
async def fails_at_first(flow: int, place: str, value: int) -> int:
    ran(flow, place, value)
    if task_run.run_count == 1:
        raise ConnectionError
    return 2 * value


@task
async def nests(flow: int, place: str, value: int) -> int:
    ran(flow, place, value)
    return int(await acknowledged(double, flow, f"{place}.inner", value))


async def acknowledged(step: Callable[..., Awaitable[Any]], flow: int, place: str, value: Any) -> Any:
    """Call a step, and note that its value is there."""
    got = await step(flow, place, value)
    went_on(flow, place, value)
    return got


async def gathered(step: Callable[..., Awaitable[Any]], flow: int, place: str, count: int) -> int:
    """Call a step so many times at once; give the sum."""
    return sum(await asyncio.gather(*(acknowledged(step, flow, place, value) for value in range(count))))


# -- flows ------------------------------------------------------------------------------------------------------------


@flow
async def part(number: int) -> int:
    return await gathered(double, number, "part", FEW)


@flow(durable=True)
async def fan(number: int) -> list[Any]:
    drawn = f"{durable.now().isoformat()}|{durable.random()}|{durable.uuid()}"
    await acknowledged(seen, number, "drawn", drawn)
    total = await gathered(double, number, "gather", WIDE)
    futures = [double_here.submit(number, "submit", value) for value in range(FEW)]
    for value, future in enumerate(futures):
        total += await future
        went_on(number, "submit", value)
    total += sum(await double.map(number, "map", range(WIDE)))
    for value in range(WIDE):
        went_on(number, "map", value)
    total += await part(number)
    total += await gathered(nests, number, "nested", FEW)
    total += await gathered(fails_at_first, number, "retried", FEW)
    return [number, total, drawn]


@flow
def part_here(number: int) -> int:
    return sum(double_acknowledged(number, "part", value) for value in range(FEW))


def double_acknowledged(number: int, place: str, value: int) -> int:
    """Call a step that blocks, and note that its value is there."""
    got = double_here(number, place, value)
    went_on(number, place, value)
    return got


@task
def seen_here(flow: int, place: str, value: str) -> str:
    ran(flow, place, value)
    return value


@flow(durable=True)
def line(number: int) -> list[Any]:
    drawn = f"{durable.now().isoformat()}|{durable.random()}|{durable.uuid()}"
    seen_here(number, "drawn", drawn)
    went_on(number, "drawn", drawn)
    total = sum(double_acknowledged(number, "each", value) for value in range(WIDE))
    futures = [double.submit(number, "submit", value) for value in range(FEW)]
    for value, future in enumerate(futures):
        total += future.result()
        went_on(number, "submit", value)
    total += sum(double_here.map(number, "map", range(WIDE)).result())
    for value in range(WIDE):
        went_on(number, "map", value)
    return [number, total + part_here(number), drawn]


def kind_of(number: int) -> Any:
    """Give the flow that runs as *number*: each third one blocks."""
    return fan if number % 3 else line


def right(number: int) -> int:
    """Give the sum that the flow *number* is to come to."""
    wide, few = sum(range(0, 2 * WIDE, 2)), sum(range(0, 2 * FEW, 2))
    return 2 * wide + few * (4 if number % 3 else 2)


def steps_of(number: int) -> int:
    """Give how many steps the flow *number* has."""
    return PER_FAN if number % 3 else PER_LINE


# -- the worker -------------------------------------------------------------------------------------------------------


async def works(first: str, count: str, at_once: str) -> None:
    """Run the flows from number *first* on, so many at once, and what others left behind, until the file `enough`."""
    # No flow is at fault here, but some have bad luck more often than a crash loop is allowed to last.
    setattr(_resuming, "CRASHES", 1_000)  # noqa: B010 - it is final for all others
    tests = os.getppid()
    numbers = itertools.islice(itertools.count(int(first)), int(count))
    async with headrace.Runtime(drain_seconds=60) as runtime:
        await asyncio.gather(*(in_turn(runtime, numbers) for _ in range(int(at_once))))
        while not (home() / "enough").exists() and os.getppid() == tests:  # noqa: ASYNC110 - other processes' doing
            await asyncio.sleep(0.01)


async def in_turn(runtime: Runtime, numbers: Any) -> None:
    """Run flows one after the other."""
    for number in numbers:
        assert (await runtime.submit(kind_of(number), number))[1] == right(number)


if __name__ == "__main__":
    asyncio.run(works(*sys.argv[1:]))
