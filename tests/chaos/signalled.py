"""Programs whose flows go on until a signal comes. Each is a function; the first argument names it."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from headrace import flow, task
from headrace.runtime import cancelled
from tests.chaos.processes import until
from tests.spec.cancelling import Wide

LONG = 300.0


# -- everything at once -------------------------------------------------------------------------------------


def awaits() -> None:
    """Run the flow that has everything in it; say when all of it is at work, and what it was told."""

    async def program() -> None:
        wide = Wide(time.monotonic)
        ready = asyncio.create_task(tells(wide))
        try:
            await wide.flow()
        finally:
            await ready
            print("heard", len(wide.heard) + wide.elsewhere == wide.TASKS, "cleaned", wide.cleaned == wide.TASKS)
            print("threads", {kind.__name__ for kind in wide.stopped}, "tidied", wide.tidied)
            print("hooks", len(wide.hooks), {state for _, state in wide.hooks})

    async def tells(wide: Wide) -> None:
        while not wide.at_work():  # noqa: ASYNC110 - what it waits for happens in two loops and several threads
            await asyncio.sleep(0.005)
        print("ready")

    asyncio.run(program())


class Blocking:
    """A sync flow with runs of all kinds, which waits on the main thread for the first of them."""

    COUNT = 20 + 5 + 2 + 3

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.begun = self.cleaned = 0
        self.story: list[str] = []

        @task
        async def endless(_x: int) -> None:
            self.at_work()
            try:
                await asyncio.sleep(LONG)
            finally:
                await asyncio.sleep(0)
                self.tidied()

        @task
        def polls() -> None:
            self.at_work()
            until(cancelled, LONG)
            self.tidied()

        @task
        def tidy() -> str:
            return "tidied"

        @flow(name="below", on_cancellation=[self.hook])
        def below() -> None:
            for x in range(2):
                endless.submit(x)
            endless.submit(2).result()

        @flow(name="main", on_cancellation=[self.hook, self.async_hook])
        def main() -> None:
            futures = [endless.submit(x) for x in range(20)]
            endless.map(range(5))
            polls.submit()
            polls.submit()
            below.submit()
            try:
                futures[0].result()
            finally:
                self.story.append(tidy())

        self.main: Callable[[], None] = main

    def hook(self, _flow: Any, run: Any, state: Any) -> None:
        """Note that it was called."""
        self.story.append(f"{run.flow_name} {state.name}")

    async def async_hook(self, _flow: Any, run: Any, state: Any) -> None:
        """Note that it was called, after a wait."""
        await asyncio.sleep(0)
        self.story.append(f"async {run.flow_name} {state.name}")

    def at_work(self) -> None:
        """Count one more body that is at work; say when all are."""
        with self.guard:
            self.begun += 1
            if self.begun == self.COUNT:
                print("ready")

    def tidied(self) -> None:
        """Count one more body that has cleaned up."""
        with self.guard:
            self.cleaned += 1


def blocks() -> None:
    """Run the sync flow that has everything in it on the main thread, and say what it was told."""
    blocking = Blocking()
    try:
        blocking.main()
    finally:
        print("cleaned", blocking.cleaned == blocking.COUNT)
        print("story", sorted(blocking.story))


# -- what does not want to end ------------------------------------------------------------------------------


@task
async def slow_to_end() -> None:
    print("ready")
    try:
        await asyncio.sleep(LONG)
    finally:
        print("cleaning")
        await asyncio.sleep(LONG)
        print("CLEANED")


@task
def deaf() -> None:
    print("ready")
    time.sleep(LONG)


@flow(name="main")
async def awaits_slow_cleanup() -> None:
    await slow_to_end.submit()


@flow(name="main")
def waits_for_slow_cleanup() -> None:
    slow_to_end.submit().result()


@flow(name="main")
def waits_for_a_deaf_thread() -> None:
    try:
        deaf.submit().result()
    finally:
        print("cleaning")


@flow(name="main")
async def awaits_a_deaf_thread() -> None:
    try:
        await deaf.submit()
    finally:
        print("cleaning")


# -- whom nothing wakes -------------------------------------------------------------------------------------


def sleeps(thread: int) -> bool:
    """Tell whether a thread of this process waits in the kernel, each time it is looked at."""
    for _ in range(20):
        status = Path(f"/proc/self/task/{thread}/stat").read_text()
        if status.rpartition(")")[2].split()[0] != "S":
            return False
        time.sleep(0.002)
    return True


def elsewhere(number: signal.Signals) -> None:
    """Get a signal in a thread that is not the main one, while that waits for what never comes."""
    main = threading.main_thread().native_id or 0
    until(lambda: sleeps(main))
    print("ready")
    signal.pthread_kill(threading.get_ident(), number)


@flow(name="main")
async def awaits_nothing(number: signal.Signals) -> None:
    threading.Thread(target=elsewhere, args=(number,), daemon=True).start()
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        print("cleaned")


def uvloop_run(started: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine on a loop of uvloop's."""
    import uvloop

    uvloop.run(started)


PROGRAMS: dict[str, Callable[[], object]] = {
    "awaits": awaits,
    "awaits a deaf thread": lambda: asyncio.run(awaits_a_deaf_thread()),
    "awaits slow cleanup": lambda: asyncio.run(awaits_slow_cleanup()),
    "awaits nothing, SIGINT": lambda: asyncio.run(awaits_nothing(signal.SIGINT)),
    "awaits nothing, SIGTERM": lambda: asyncio.run(awaits_nothing(signal.SIGTERM)),
    "awaits nothing on uvloop, SIGINT": lambda: uvloop_run(awaits_nothing(signal.SIGINT)),
    "awaits nothing on uvloop, SIGTERM": lambda: uvloop_run(awaits_nothing(signal.SIGTERM)),
    "blocks": blocks,
    "waits for a deaf thread": waits_for_a_deaf_thread,
    "waits for slow cleanup": waits_for_slow_cleanup,
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]]()
