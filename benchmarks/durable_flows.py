"""The durable flows that are measured, as a user would write them. Loaded by whoever resumes them, too."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from headrace import flow, task

# What is called after each step; and the variable that says where the last one notes when it was called.
seen: Callable[[], object] = int
NOTED = "BENCH_NOTED"


@task
async def noop(i: int) -> int:
    return i


@task
def noop_blocking(i: int) -> int:
    return i


@flow(durable=True)
async def sequential(steps: int) -> None:
    for i in range(steps):
        await noop(i)
        seen()


@flow(durable=True)
def sequential_blocking(steps: int) -> None:
    for i in range(steps):
        noop_blocking(i)
        seen()


@task
async def tokens(count: int, *, resume_from: int = 0) -> AsyncIterator[str]:
    for i in range(resume_from, count):
        yield f"token {i}"


@task
def tokens_blocking(count: int, *, resume_from: int = 0) -> Iterator[str]:
    for i in range(resume_from, count):
        yield f"token {i}"


unkept, unkept_blocking = tokens.with_options(persist_result=False), tokens_blocking.with_options(persist_result=False)


@flow(durable=True)
async def reading(count: int, kept: bool) -> None:
    async for _ in (tokens if kept else unkept)(count):
        pass


@flow(durable=True)
def reading_blocking(count: int, kept: bool) -> None:
    for _ in (tokens_blocking if kept else unkept_blocking)(count):
        pass


@task
async def last() -> None:
    """Note when it was called, by a clock that all processes share, and after how much CPU; wait to be killed."""
    note()


@task
def last_blocking() -> None:
    """The same where nothing is async."""
    note()


@flow(durable=True)
async def long(steps: int) -> None:
    for i in range(steps):
        await noop(i)
    await last()


@flow(durable=True)
def long_blocking(steps: int) -> None:
    for i in range(steps):
        noop_blocking(i)
    last_blocking()


def note() -> None:
    """Note the moment, and wait for the end of the process."""
    noted = Path(os.environ[NOTED])
    noted.with_suffix(".new").write_text(f"{time.monotonic()} {time.process_time()}")
    noted.with_suffix(".new").rename(noted)  # so that whoever finds it finds all of it
    time.sleep(600)
