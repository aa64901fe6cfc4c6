"""
Headrace as the harness runs it: the flows and tasks a user would write for the same work, and a look into its
file.

The look is plain SQL on a connection of its own: what was recorded is not taken from Headrace's own word.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Generator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Literal

from benchmarks import ours_many
from benchmarks.sample import Notes, Recorded, Works
from headrace import State, flow, run, task


@cache
def numbers() -> list[int]:
    """Make the large argument, in the lap that warms up and only where it is asked for: it is 40 MB."""
    return list(range(1_000_000))


@task
async def noop(i: int) -> int:
    return i


@task
def noop_blocking(i: int) -> int:
    return i


@task
async def bare() -> None:
    """Do nothing, with nothing."""


@task
def bare_blocking() -> None:
    """Do nothing, with nothing."""


@task
async def take(argument: object) -> None:
    """Do nothing with an argument of any size."""


async def sequential(tasks: int) -> None:
    for i in range(tasks):
        await noop(i)


def sequential_blocking(tasks: int) -> None:
    for i in range(tasks):
        noop_blocking(i)


async def sequential_bare(tasks: int) -> None:
    for _ in range(tasks):
        await bare()


def sequential_blocking_bare(tasks: int) -> None:
    for _ in range(tasks):
        bare_blocking()


async def large(_: int) -> None:
    await take(numbers())


@cache
def handed_out() -> State[int]:
    """Have a state in the program: only then are the arguments of calls searched for states."""
    return noop_blocking(1, return_state=True)


async def large_states(_: int) -> None:
    handed_out()
    await take(numbers())


async def large_states_bare(_: int) -> None:
    handed_out()
    await bare()


def warm(_: int) -> None:
    noop_blocking(1)


def warm_bare(_: int) -> None:
    bare_blocking()


async def warm_async(_: int) -> None:
    await noop(1)


async def one_bare(_: int) -> None:
    await bare()


@contextmanager
def works(*, home: Path, level: str) -> Generator[Works]:
    durability: Literal["off", "batched"] = "off" if level == "off" else "batched"
    recorded = flow(durability=durability)
    one, one_without = recorded(warm_async), recorded(one_bare)
    awaited: dict[str, Callable[[int], Awaitable[Notes | None]]] = {
        "sequential": recorded(sequential),
        "sequential_bare": recorded(sequential_bare),
        "large": recorded(large),
        "large_bare": one_without,
        "large_states": recorded(large_states),
        "large_states_bare": recorded(large_states_bare),
    }
    blocking: dict[str, Callable[[int], Notes | None]] = {
        "sequential_blocking": recorded(sequential_blocking),
        "sequential_blocking_bare": recorded(sequential_blocking_bare),
        "warm": recorded(warm),
        "warm_bare": recorded(warm_bare),
        "warm_async": lambda units: run(one(units)),
        "warm_async_bare": lambda units: run(one_without(units)),
    }
    awaited |= ours_many.awaited(durability)
    blocking |= ours_many.blocking(durability)
    path = home / "headrace.db"
    yield Works(awaited, blocking, lambda: _recorded(path))


def _recorded(path: Path) -> Recorded:
    if not path.exists():
        return Recorded()
    with closing(sqlite3.connect(path)) as database:
        tables = database.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'")
        rows = sum(database.execute(f'select count(*) from "{table}"').fetchone()[0] for (table,) in tables)
        query = "select count(*) from task_run where state_type = 'COMPLETED'"
        (finished,) = database.execute(query).fetchone()
    return Recorded(rows, finished)
