"""Programs whose flows read what other processes send. The first argument names one."""

from __future__ import annotations

import asyncio
import sys
import time

from headrace import aio, durable, flow, signals, task


@task
def note(number: int) -> int:
    return number


@flow(durable=True)
def reads(count: int) -> list[int]:
    found: list[int] = []
    for _ in range(count):
        found.append(note(signals.receive("go", int)))
        print("read", found[-1], flush=True)
    return found


@flow(durable=True)
async def times(count: int) -> None:
    """Say how long each signal took, which is the moment at which it was sent."""
    for number in range(count):
        sent = await aio.receive("go", float)
        print(f"{number}: {time.time() - sent:.4f}", flush=True)


@flow
async def doubles() -> None:
    while True:
        asked = await aio.receive_request("double", int | None)
        await asked.answer(None if asked.value is None else 2 * asked.value)
        if asked.value is None:
            return


def resumes(run_id: str) -> list[int]:
    """Go on with a run of `reads`."""
    found: list[int] = durable.resume(run_id)
    return found


if __name__ == "__main__":
    name, *given = sys.argv[1:]
    if name == "reads":
        print("returned", reads(int(given[0])))
    elif name == "times":
        asyncio.run(times(int(given[0])))
    elif name == "doubles":
        asyncio.run(doubles())
    else:
        print("returned", resumes(given[0]))
