"""Programs whose flows go on until they are cancelled from outside. Each is a function; the first argument names it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace import _rounds, flow, task
from headrace.errors import CancelledRun

LONG = 300.0


def hooked(_flow: Any, _run: Any, state: Any) -> None:
    """Say that the hook was called, and in which state."""
    print("hook", state.name, "|", state.message)


@task
async def wait() -> None:
    try:
        await asyncio.sleep(LONG)
    finally:
        print("task ends")


@flow(name="awaits", on_cancellation=[hooked])
async def awaits() -> None:
    print("ready")
    try:
        await asyncio.gather(wait(), wait(), wait())
    except asyncio.CancelledError:
        print("heard at", time.monotonic())
        raise


@task
def step() -> None:
    time.sleep(0.001)


@flow(name="steps", on_cancellation=[hooked])
def steps() -> None:
    print("ready")
    while True:
        step()


@flow(name="submits", on_cancellation=[hooked])
async def submits() -> None:
    futures = [wait.submit() for _ in range(3)]
    print("ready")
    await asyncio.gather(*futures)


@flow(name="tidies")
async def tidies() -> None:
    """Clean up until the file `enough` is in the home."""
    print("ready")
    try:
        await asyncio.sleep(LONG)
    finally:
        print("cleaning")
        while not (Path(os.environ["HEADRACE_HOME"]) / "enough").exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.005)
        print("cleaned")


@flow(name="tries again", retries=3, retry_delay_seconds=LONG)
def tries_again() -> None:
    print("ready")
    raise ConnectionError


@flow(name="inner", on_cancellation=[hooked])
async def inner() -> None:
    print("ready")
    await wait()


@flow(name="outer")
async def outer() -> str:
    try:
        await inner()
    except CancelledRun as error:
        return f"goes on without it: {error}"
    return "nothing was cancelled"


@flow(name="short")
def short() -> None:
    step()


def forks() -> None:
    """Fork amid a flow. The parent looks for nothing; the child has a flow of its own that waits to be cancelled."""

    @flow(name="parent")
    def parent() -> None:
        step()
        if os.fork() == 0:
            _rounds.LOOK_EVERY = 0.005
            try:
                asyncio.run(inner())
            except CancelledRun:
                print("child cancelled")
            os._exit(0)
        os.wait()

    _rounds.LOOK_EVERY = LONG
    parent()


def ended(run: Callable[[], object]) -> None:
    """Run a flow to its end, and print what its caller got of it."""
    try:
        print("returned", run())
    except CancelledRun as error:
        print("caller", error)


PROGRAMS: dict[str, Callable[[], object]] = {
    "awaits": lambda: ended(lambda: asyncio.run(awaits())),
    "forks": forks,
    "outer": lambda: ended(lambda: asyncio.run(outer())),
    "steps": lambda: ended(steps),
    "submits": lambda: ended(lambda: asyncio.run(submits())),
    "tidies": lambda: ended(lambda: asyncio.run(tidies())),
    "tries_again": lambda: ended(tries_again),
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]]()
