"""Programs with durable flows that are stopped, left behind, raced for, and that end their own process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import headrace
from headrace import _owners, _rounds, aio, durable, flow, get_run_logger, task
from headrace.errors import LostRun, RunHeld
from headrace.task_runners import ConcurrentTaskRunner
from tests.chaos.processes import rows

TESTS = os.getppid()
LEASE = 1.5  # seconds, a tenth of the usual
STEPS, GATE = 8, 4


def brief() -> None:
    """Have leases last a moment only, and be renewed as often as that asks for."""
    setattr(_rounds, "LEASE", LEASE)  # noqa: B010 - it is final for all others
    setattr(_rounds, "RENEW_EVERY", LEASE / 5)  # noqa: B010
    setattr(_owners, "SILENCE", int(LEASE * 1e9))  # noqa: B010


def home() -> Path:
    return Path(os.environ["HEADRACE_HOME"])


def note(line: str) -> int:
    """Add a line to the ledger; give how often it is in there by now."""
    with open(home() / "ledger", "a+", encoding="utf-8") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())
        file.seek(0)
        return file.read().splitlines().count(line)


def opens(gate: str) -> None:
    """Wait until the file *gate* is there; not for longer than the tests are."""
    while not (home() / gate).exists() and os.getppid() == TESTS:
        time.sleep(0.002)


async def opened(gate: str) -> None:
    """Wait as `opens` does."""
    while not (home() / gate).exists() and os.getppid() == TESTS:  # noqa: ASYNC110 - other processes' doing
        await asyncio.sleep(0.002)


# -- stopped and gone on -----------------------------------------------------------------------------------------------


@task
async def step(number: int) -> int:
    """Give the process that it ran in; the one in the middle waits until that process may go on."""
    note(f"step {number} {os.getpid()}")
    if number == GATE:
        await opened(f"go {os.getpid()}")
    if number >= GATE:
        get_run_logger().warning("step %d in process %d", number, os.getpid())
    return os.getpid()


@task
def step_here(number: int) -> int:
    note(f"step {number} {os.getpid()}")
    if number == GATE:
        opens(f"go {os.getpid()}")
    if number >= GATE:
        get_run_logger().warning("step %d in process %d", number, os.getpid())
    return os.getpid()


@flow(durable=True)
async def awaits() -> list[int]:
    return [await step(number) for number in range(STEPS)]


@flow(durable=True)
def blocks() -> list[int]:
    return [step_here(number) for number in range(STEPS)]


@flow(durable=True)
async def gathers() -> list[int]:
    """Have steps under way, and submitted ones, while one waits in the middle."""
    first = [await step(number) for number in range(GATE)]
    rest = await asyncio.gather(*(step(number) for number in range(GATE, STEPS - 1)))
    return [*first, *rest, await step.submit(STEPS - 1)]


FLOWS: dict[str, Any] = {"awaits": awaits, "blocks": blocks, "gathers": gathers}


def is_stopped(kind: str) -> None:
    """Run a flow, during which this process is stopped for a while; say what its caller got."""
    brief()
    called = FLOWS[kind]
    try:
        print("returned", headrace.run(called()) if called.spec.is_async else called())
    except LostRun as error:
        print("lost", error)


def takes_up() -> None:
    """Take up what others leave behind, until the file `enough`."""
    brief()
    with headrace.Runtime():
        print("open")
        opens("enough")


def takes_up_one_by_one() -> None:
    """Take up what others leave behind, of which one is at work at a time."""
    brief()
    with headrace.Runtime(task_runner=ConcurrentTaskRunner(1)):
        opens("enough")


def takes_up_in_the_last() -> None:
    """Take up what others leave behind after the runtime that was opened first was left."""
    brief()
    first, last = headrace.Runtime(), headrace.Runtime()
    first.__enter__()
    with last:
        first.__exit__(None, None, None)
        opens("enough")


# -- resumed by two ----------------------------------------------------------------------------------------------------


@task
async def waits_for(gate: str) -> str:
    note(f"waits {gate} {os.getpid()}")
    await opened(gate)
    return f"{gate} {os.getpid()}"


@flow(durable=True)
async def is_raced_for(gate: str) -> str:
    return await waits_for(gate)


async def begins(count: str) -> None:
    """Begin flows that wait."""
    async with headrace.Runtime(recover=False) as runtime:
        await asyncio.gather(*(runtime.submit(is_raced_for, f"end {turn}") for turn in range(int(count))))


def resumes(form: str, *run_ids: str) -> None:
    """Resume one run after the other, each once its gate is open; say what came of it."""
    for turn, run_id in enumerate(run_ids):
        print("ready", turn)
        opens(f"begin {turn}")
        try:
            value = durable.resume(run_id) if form == "blocking" else asyncio.run(resumed(run_id))
        except RunHeld as error:
            print("held", turn, error)
        else:
            print("won", turn, value)


async def resumed(run_id: str) -> Any:
    return await aio.resume(run_id)


# -- crash loops -------------------------------------------------------------------------------------------------------


@task
def falls(place: int, times: int) -> int:
    """End the process, so many times."""
    if note(f"falls {place}") <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return place


@flow(durable=True)
def fragile(*times: int) -> int:
    return sum(falls(place, often) for place, often in enumerate(times))


@task
def falls_late() -> None:
    """End the process once it is on record that this is in progress."""
    while ("RUNNING",) not in rows(home(), "SELECT state_type FROM task_run WHERE task_name = 'falls_late'"):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


@flow(durable=True)
def falls_over() -> None:
    falls_late()


def is_fragile_late() -> None:
    falls_over()


def is_fragile(*times: str) -> None:
    """Run a flow whose steps end the process, each so many times."""
    fragile(*map(int, times))


# -- plain runs --------------------------------------------------------------------------------------------------------


@task
def rests(gate: str) -> None:
    note(f"rests {gate} {os.getpid()}")
    opens(gate)


@flow
def plain(gate: str) -> None:
    rests(gate)


@flow
def keeps_running(gate: str) -> None:
    """Run short tasks."""
    while not (home() / gate).exists() and os.getppid() == TESTS:
        passes()


@task
def passes() -> None:
    time.sleep(0.002)


def runs_plain(gate: str) -> None:
    brief()
    plain(gate)


def runs_flows(gate: str) -> None:
    brief()
    keeps_running(gate)


if __name__ == "__main__":
    program: Callable[..., Any] = globals()[sys.argv[1]]
    made = program(*sys.argv[2:])
    if asyncio.iscoroutine(made):
        asyncio.run(made)
