"""Programs that write one database beside others of their kind, and that are killed while they do."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias, cast

from headrace import flow, get_run_logger, task
from headrace.context import get_task_run

Level: TypeAlias = Literal["batched", "strict"]


@task
def step(number: int) -> int:
    return number


@task
async def astep(number: int) -> int:
    return number


@flow(name="crowd")
def crowd(tasks: int) -> int:
    get_run_logger().warning("a line of %d tasks", tasks)
    return sum(step(number) for number in range(tasks))


@flow(name="crowd", durable=True)
async def strict_crowd(tasks: int) -> int:
    get_run_logger().warning("a line of %d tasks", tasks)
    return sum(await asyncio.gather(*(astep(number) for number in range(tasks))))


def together(gate: str, flows: str, tasks: str) -> None:
    """Run flows, half of them durable, in two threads, once the file *gate* is there."""
    print("ready")
    while not Path(gate).exists():
        time.sleep(0.0005)

    def plain() -> None:
        for _ in range(int(flows)):
            crowd(int(tasks))

    thread = threading.Thread(target=plain)
    thread.start()
    for _ in range(int(flows)):
        asyncio.run(strict_crowd(int(tasks)))
    thread.join()
    print("done")


class Ledger:
    """A file to which ids are added and forced to the disk."""

    def __init__(self, path: str) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def add(self, *ids: str) -> None:
        """Note that the callers of the task runs *ids* went on."""
        os.write(self.file, "".join(f"{one}\n" for one in ids).encode())
        os.fsync(self.file)


@task
def noted(ledger: Ledger, before: str) -> str:
    """Note the run *before*, whose caller went on, else it could not be handed over; give the own id."""
    if before:
        ledger.add(before)
    return get_task_run().id


@task
async def anoted(ledger: Ledger, before: str) -> str:
    if before:
        ledger.add(before)
    await asyncio.sleep(0)
    return get_task_run().id


def chain(path: str, durability: str) -> None:
    """Run task after task, each of which notes the one before, for ever."""
    ledger = Ledger(path)

    @flow(name="chain", durability=cast(Level, durability))
    def chained() -> None:
        last = ""
        while True:
            last = noted(ledger, last)

    chained()


def fan(path: str, durability: str) -> None:
    """Run eight chains of async tasks at once, for ever."""
    ledger = Ledger(path)

    async def one() -> None:
        last = ""
        while True:
            last = await anoted(ledger, last)

    @flow(name="fan", durability=cast(Level, durability))
    async def fanned() -> None:
        await asyncio.gather(*(one() for _ in range(8)))

    asyncio.run(fanned())


if __name__ == "__main__":
    program: Callable[..., None] = globals()[sys.argv[1]]
    program(*sys.argv[2:])
