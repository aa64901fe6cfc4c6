"""A worker whose durable flows write to the database of their own record, and that is to be killed amid that."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from importlib import import_module
from pathlib import Path
from typing import Any

import aiosqlite

import headrace
from headrace import _resuming, durable, flow, task
from tests.chaos.processes import WITHIN

STEPS = 12
URL = os.environ.get("HEADRACE_DATABASE_URL", "")
SERVER = None if URL.startswith("sqlite") else URL
INSERT = "INSERT INTO payment VALUES ({}, {})"


def home() -> Path:
    return Path(os.environ["HEADRACE_HOME"])


@asynccontextmanager
async def connected() -> AsyncGenerator[Any]:
    """Connect to the database, as a task of its own does."""
    if SERVER is None:
        async with aiosqlite.connect(home() / "headrace.db", timeout=WITHIN) as connection:
            yield connection
        return
    connection = await import_module("asyncpg").connect(SERVER)
    try:
        yield connection
    finally:
        await connection.close()


@task
async def charge(number: int, step: int) -> list[int]:
    async with connected() as connection, durable.step_transaction(connection) as transaction:
        await connection.execute(INSERT.format(number, step))
        return transaction.returns([number, step])


@task
def charge_here(number: int, step: int) -> list[int]:
    made = sqlite3.connect(home() / "headrace.db", timeout=WITHIN) if SERVER is None else blocking()
    with closing(made) as connection, durable.step_transaction(connection) as transaction:
        connection.execute(INSERT.format(number, step))
        return transaction.returns([number, step])


def blocking() -> Any:
    """Connect to the server."""
    return import_module("psycopg").connect(SERVER)


@flow(durable=True)
async def pays(number: int) -> list[list[int]]:
    few = await asyncio.gather(*(charge(number, step) for step in range(STEPS // 2)))
    return [*few, *[await charge(number, step) for step in range(STEPS // 2, STEPS)]]


@flow(durable=True)
def pays_here(number: int) -> list[list[int]]:
    return [charge_here(number, step) for step in range(STEPS)]


async def works(first: str, count: str) -> None:
    """Run the flows from number *first* on, and what others left behind, until the file `enough`."""
    setattr(_resuming, "CRASHES", 1_000)  # noqa: B010 - it is final for all others; no flow is at fault here
    tests = os.getppid()
    numbers = range(int(first), int(first) + int(count))
    async with headrace.Runtime(drain_seconds=60) as runtime:
        futures = [runtime.submit(pays if number % 2 else pays_here, number) for number in numbers]
        for number, future in zip(numbers, futures, strict=True):
            assert await future == [[number, step] for step in range(STEPS)]
        while not (home() / "enough").exists() and os.getppid() == tests:  # noqa: ASYNC110 - other processes' doing
            await asyncio.sleep(0.01)


if __name__ == "__main__":
    asyncio.run(works(*sys.argv[2:]))
