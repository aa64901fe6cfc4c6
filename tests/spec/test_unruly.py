"""Unruly bodies: what one submitted run or callback does to its own task, thread or loop costs none of the others."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from headrace import flow, task
from headrace.errors import CancelledRun
from headrace.futures import Future
from headrace.task_runners import ConcurrentTaskRunner

WITHIN = 20.0


@task
async def fine(x: Any) -> Any:
    return x


@task
async def cancels_itself() -> None:
    """Cancel the task it runs in, as code does that keeps `asyncio.current_task()` as a handle of its job."""
    current = asyncio.current_task()
    assert current is not None
    current.cancel()
    await asyncio.sleep(0)


@pytest.mark.parametrize("limit", [None, 1, 2])
def test_a_body_that_cancels_its_own_task_costs_no_worker_and_no_place(limit: int | None) -> None:
    @flow(task_runner=ConcurrentTaskRunner(limit=limit))
    async def main() -> Any:
        for _ in range(3):
            with pytest.raises(CancelledRun):
                await cancels_itself.submit()
        return await asyncio.wait_for(fine.submit(2), WITHIN)

    assert asyncio.run(main()) == 2


@task
async def interrupts() -> None:
    await asyncio.sleep(0)
    raise KeyboardInterrupt


@task
async def exits_the_loop() -> int:
    asyncio.get_running_loop().call_soon(sys.exit, 3)
    await asyncio.sleep(0.01)
    return 1


def test_what_wants_to_end_the_loop_of_sync_flows_ends_no_flow() -> None:
    @flow
    def interrupted() -> Any:
        return interrupts.submit().result(timeout=WITHIN)

    @flow
    def exited() -> Any:
        return exits_the_loop.submit().result(timeout=WITHIN)

    @flow
    def after() -> Any:
        return fine.submit(1).result(timeout=WITHIN)

    with pytest.raises(CancelledRun):
        interrupted()
    assert (exited(), after()) == (1, 1)


def test_a_done_callback_that_exits_is_logged_and_the_others_are_called(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []

    def leave(_future: Future[Any]) -> None:
        sys.exit(2)

    @flow
    def main() -> int:
        future = fine.submit(2)
        future.add_done_callback(leave)
        future.add_done_callback(lambda one: heard.append(one.name))
        return 1

    assert main() == 1
    assert len(heard) == 1
    assert "A done callback of" in caplog.text


DEAD = """
import asyncio
from headrace import flow, task

kept = []

@task
async def waits():
    await asyncio.Event().wait()

@task
async def takes(x):
    return x

@flow
async def abandoned():
    kept.append(waits.submit())
    kept.append(takes.map([1], wait_for=[kept[0]]))
    await kept[0]

loop = asyncio.new_event_loop()
running = loop.create_task(abandoned())
loop.run_until_complete(asyncio.sleep(0.01))
loop.close()
for one in kept:
    try:
        one.result(timeout=20)
    except Exception as error:
        print(type(error).__name__, "event loop was closed" in str(error))
"""


def test_a_future_of_a_loop_that_was_closed_is_a_cancelled_one(tmp_path: Path) -> None:
    """Nobody would ever settle it: the loop's tasks are gone. In a process of its own, for they complain as they go."""
    env = {**os.environ, "HEADRACE_HOME": str(tmp_path), "HEADRACE_LOG_LEVEL": "OFF"}
    done = subprocess.run(
        [sys.executable, "-c", DEAD], env=env, capture_output=True, text=True, timeout=60, check=False
    )

    assert done.stdout.splitlines() == ["CancelledRun True", "CancelledRun True"]


def test_a_map_that_has_ended_keeps_nothing_of_its_arguments_alive() -> None:
    class Item:
        pass

    alive: list[weakref.ref[Item]] = []

    @task
    def drop(_item: Item) -> None:
        return None

    @flow
    def main() -> int:
        items = [Item() for _ in range(50)]
        alive.extend(weakref.ref(item) for item in items)
        futures = drop.map(items)
        del items
        futures.wait()
        deadline = time.monotonic() + WITHIN  # the last thread lets go of its last call a moment later
        while any(one() is not None for one in alive):
            assert time.monotonic() < deadline
            gc.collect()
        return len(futures)

    assert main() == 50
