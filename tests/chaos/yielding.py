"""
Programs whose flow takes items that are drawn by chance, and does a step for some of them, to be killed amid that.

What is made and what is done is a line of a ledger.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from headrace import aio, durable, flow, task

EACH = 4  # so many items for one step


def note(what: str, number: int, value: int) -> None:
    """Add a line to the ledger."""
    ledger = os.open(Path(os.environ["HEADRACE_HOME"]) / "ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(ledger, f"{what} {number} {value}\n".encode())
    os.close(ledger)


@task
async def adraws(count: int, *, resume_from: int = 0) -> AsyncIterator[int]:
    for number in range(resume_from, count):
        await asyncio.sleep(0.001)
        value = random.randrange(1 << 60)
        note("made", number, value)
        yield value


@task
def draws(count: int, *, resume_from: int = 0) -> Iterator[int]:
    for number in range(resume_from, count):
        value = random.randrange(1 << 60)
        note("made", number, value)
        yield value


@task
async def akeep(number: int, value: int) -> None:
    note("kept", number, value)


@task
def keep(number: int, value: int) -> None:
    note("kept", number, value)


@flow(durable=True)
async def areads(count: int) -> list[int]:
    found: list[int] = []
    async for value in adraws(count):
        found.append(value)
        if len(found) % EACH == 0:
            await akeep(len(found) - 1, value)
    return found


@flow(durable=True)
def reads(count: int) -> list[int]:
    found: list[int] = []
    for value in draws(count):
        found.append(value)
        if len(found) % EACH == 0:
            keep(len(found) - 1, value)
    return found


def main(form: str, what: str, given: str) -> Any:
    """Begin the flow of this form, or go on with a run of it."""
    if form == "async":
        return asyncio.run(areads(int(given)) if what == "begins" else aio.resume(given))
    return reads(int(given)) if what == "begins" else durable.resume(given)


if __name__ == "__main__":
    print("returned", main(*sys.argv[1:]))
