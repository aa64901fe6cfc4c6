"""Durable flows that are cancelled, interrupted, limited, lost, or that crash again and again."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace import aio, durable, flow, runs, task
from headrace._engine.life import drive
from headrace.durable import CrashLoop, LostRun, NotResumable
from tests.spec.durable_crashes import STORES, World, doubling
from tests.spec.forms import Form, Latch, call


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


# -- cancelled ------------------------------------------------------------------------------------------------


def test_a_cancelled_durable_run_is_over(world: World) -> None:
    step, there = doubling(world, Form("async")), Latch()

    @flow(durable=True)
    async def works() -> None:
        await step(1)
        there.open()
        await asyncio.Event().wait()

    async def cancels() -> None:
        running = asyncio.create_task(works())
        await there.passed()
        running.cancel()
        await asyncio.wait([running])

    with world.runtime():
        asyncio.run(cancels())
        run = runs.flow_runs()[-1]
        assert run.state.name == "Cancelled"
        with pytest.raises(NotResumable, match="it has ended as Cancelled"):
            durable.resume(run.id)


def test_a_resumed_run_can_be_cancelled(world: World) -> None:
    step, there = doubling(world, Form("async")), Latch()

    @flow(durable=True)
    async def works() -> None:
        await step(1)
        await step(2)
        there.open()
        await asyncio.Event().wait()

    run_id = world.crashes(Form("async"), works, at="step 2")
    world.seen()

    async def cancels() -> None:
        running = asyncio.create_task(aio.resume(run_id))
        await there.passed()
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()

    with world.runtime():
        asyncio.run(cancels())
        assert runs.flow_run(run_id).state.name == "Cancelled"


def test_a_step_that_was_cancelled_runs_again(world: World) -> None:
    """Cancelled is no outcome that a resumed flow could go on from."""
    step = doubling(world, Form("async"))

    waiting = asyncio.Event()

    @task
    async def waits() -> str:
        world.visit("waits")
        if world.ran.count("waits") == 1:
            waiting.set()
            await asyncio.Event().wait()
        return "in time"

    @flow(durable=True)
    async def works() -> list[Any]:
        going, signal = asyncio.ensure_future(waits()), asyncio.ensure_future(waiting.wait())
        await asyncio.wait([going, signal], return_when=asyncio.FIRST_COMPLETED)
        signal.cancel()
        going.cancel()
        came = "late" if (await asyncio.wait([going]))[0].pop().cancelled() else going.result()
        return [came, await step(9)]

    run_id = world.crashes(Form("async"), works, at="step 9")
    world.ran = ["waits"]
    waiting.clear()

    assert world.resumes(Form("async"), run_id) == ["in time", 18]


# -- lost -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory"])
def test_a_run_taken_over_meanwhile_is_lost_to_its_first_owner(form: Form, kind: str, tmp_path: Path) -> None:
    """Nothing that the first one does from there on is recorded, and its caller is told."""
    world = World(kind, tmp_path)
    step = doubling(world, form)

    @form.task()
    async def stolen() -> int:
        world.visit("stolen")
        owners = runtime.store.owners
        for one in drive(owners.listed()):
            assert drive(owners.take(one, "other:1:1:1", now=one.since, crashes=0, steps=0))
        return 1

    @form.flow(durable=True)
    async def works() -> int:
        first: int = await call(step, 1)
        second: int = await call(stolen)
        third: int = await call(step, 3)
        return first + second + third

    with world.runtime() as runtime, pytest.raises(LostRun) as caught:
        form.run(works)

    (run,) = world.flow_runs()
    assert str(caught.value).startswith(f"Flow run {run.id} was taken over by another process")
    assert world.seen() == ["step 1", "stolen"]
    assert run.state.name == "Running"
    assert [task.state.is_completed() for task in world.task_runs() if task.task_name == "stolen"] in ([], [False])


# -- crash loops ----------------------------------------------------------------------------------------------


def test_a_run_that_ends_its_process_five_times_is_told(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def works() -> int:
        value: int = await call(step, 1)
        return value

    run_id = world.crashes(form, works, at="step 1")
    for _ in range(4):
        world.crashes_again(form, run_id, at="step 1")
    world.seen()

    with pytest.raises(CrashLoop) as caught:
        world.resumes(form, run_id)
    assert str(caught.value).startswith(f"Flow run {run_id} is in a crash loop: 5 processes in a row ended")
    assert world.seen() == []
    assert [run.state.name for run in world.flow_runs()] == ["Failed"]


def test_a_run_that_comes_further_each_time_is_in_no_crash_loop(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def works() -> int:
        return sum([await call(step, x) for x in range(9)])

    run_id = world.crashes(form, works, at="step 0")
    for x in range(1, 8):
        world.crashes_again(form, run_id, at=f"step {x}")

    assert world.resumes(form, run_id) == 72


# -- real ends ------------------------------------------------------------------------------------------------

PROGRAM = """
import os, sys
from headrace import flow, task, aio, durable, runs

@task
async def step(x: int) -> int:
    print("ran", x, flush=True)
    if x == 3 and sys.argv[1] == "kill":
        os.kill(os.getpid(), 9)
    return x

@task
def here(x: int) -> int:
    print("here", x, flush=True)
    return x

@flow
async def part(x: int) -> int:
    return await step(x) + here(x)

@flow(durable=True)
async def works(key: float) -> list:
    drawn = durable.random()
    first = await step(1)
    second = sum(await here.map(range(3)))
    third = await part(2)
    return [first, second, third, await step(3), drawn == drawn]

if __name__ == "__main__":
    if sys.argv[1] == "kill":
        import asyncio
        asyncio.run(works(0.5))
    else:
        run = runs.flow_runs()[-1]
        print(durable.resume(run.id))
"""


def test_a_process_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {"HEADRACE_HOME": str(tmp_path), "PATH": os.environ.get("PATH", "")}

    def program(what: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "program.py", what],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    killed = program("kill")
    assert killed.returncode == -9, killed.stderr
    ran = killed.stdout.split("\n")
    assert sorted(ran) == sorted(["ran 1", "here 0", "here 1", "here 2", "ran 2", "here 2", "ran 3", ""])

    resumed = program("resume")
    assert resumed.stdout.splitlines() == ["ran 3", "[1, 3, 4, 3, True]"], resumed.stderr
