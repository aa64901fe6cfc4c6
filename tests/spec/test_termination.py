"""SIGTERM beside other tasks, loops and processes: what lives ends in order, recorded, and the process with it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, multiprocessing, os, signal, threading
from headrace import flow, task

def terminate(): os.kill(os.getpid(), signal.SIGTERM)
def heard(flow, run, state): print("hook", state.name, flush=True)

@task
async def wait(x):
    terminate() if x == 2 else None
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(0)
        print("cleaned", flush=True)

@flow(on_cancellation=[heard])
async def gathered():
    await asyncio.gather(*(wait(x) for x in range(3)))

@flow(on_cancellation=[heard])
async def grouped():
    async with asyncio.TaskGroup() as group:
        for x in range(3):
            group.create_task(wait(x))

@flow(on_cancellation=[heard])
async def nested():
    await asyncio.gather(gathered(), wait(0))

@flow
async def alone(x):
    await wait(x)

async def several():
    await asyncio.gather(*(alone(x) for x in range(3)))

async def beside():
    own = asyncio.create_task(wait.fn(0))
    await alone(2)
    await own

def abandoned():
    loop = asyncio.new_event_loop()
    task = loop.create_task(alone(0))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    terminate()
    print("survived")

@flow
def small(x):
    return x * 2

@flow
def pooled():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(small, range(6))
"""


def left(tmp_path: Path, ending: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run the program with *ending*; give how it ended, and the states its runs were left in."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM + "\nif __name__ == '__main__':\n    " + ending + "\n", encoding="utf-8")
    home = tmp_path / "home"
    settings = {"HEADRACE_HOME": str(home), "HEADRACE_LOG_LEVEL": "OFF"}
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    with sqlite3.connect(home / "headrace.db") as database:
        rows = database.execute("SELECT state_type FROM flow_run UNION ALL SELECT state_type FROM task_run").fetchall()
    database.close()
    return done, [state for (state,) in rows]


@pytest.mark.parametrize(
    ("ending", "runs", "hooks"),
    [
        ("asyncio.run(gathered())", 4, 1),
        ("asyncio.run(grouped())", 4, 1),
        ("asyncio.run(nested())", 6, 2),
        ("asyncio.run(several())", 6, 0),
    ],
)
def test_sigterm_ends_all_that_runs_side_by_side_in_order(tmp_path: Path, ending: str, runs: int, hooks: int) -> None:
    done, states = left(tmp_path, ending)

    assert states == ["CANCELLED"] * runs
    assert done.stdout.count("cleaned") == sum(1 for _ in range(runs)) - {4: 1, 6: 2 if hooks else 3}[runs]
    assert done.stdout.count("hook Cancelled") == hooks
    assert (done.returncode, done.stderr) == (143, "")


@pytest.mark.parametrize("run", ["asyncio.run(beside())", "import uvloop; uvloop.run(beside())"])
def test_tasks_of_the_program_s_own_clean_up_after_the_flows(tmp_path: Path, run: str) -> None:
    """The loop stopped once more, in the midst of their cleanup: a traceback, and status 1."""
    done, states = left(tmp_path, run)

    assert states == ["CANCELLED"] * 2
    assert done.stdout == "cleaned\ncleaned\n"
    assert (done.returncode, done.stderr) == (143, "")


def test_sigterm_ends_a_process_whose_loop_was_abandoned(tmp_path: Path) -> None:
    done, _ = left(tmp_path, "abandoned()")

    assert (done.returncode, "survived" in done.stdout) in {(143, False), (-15, False)}


def test_a_pool_of_forked_processes_within_a_flow_loses_no_run(tmp_path: Path) -> None:
    done, states = left(tmp_path, "print(pooled())")

    assert done.stdout == "[0, 2, 4, 6, 8, 10]\n"
    assert states == ["COMPLETED"] * 7
