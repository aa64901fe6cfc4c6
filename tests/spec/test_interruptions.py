"""What is no failure: Ctrl-C, cancellation, sys.exit, a closed coroutine. Recorded, never retried, never kept."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

import headrace
from headrace import flow, task
from tests.spec.forms import Form, Record, call

Lines = Callable[[], list[str]]

STOPS: list[tuple[BaseException, str, str]] = [
    (KeyboardInterrupt(), "Cancelled", "Execution was interrupted by Ctrl-C."),
    (asyncio.CancelledError(), "Cancelled", "Execution was cancelled from outside."),
    (SystemExit(3), "Crashed", "Execution was ended by sys.exit(3)."),
    (BaseException("odd"), "Crashed", "Execution was interrupted: BaseException: odd"),
]


@pytest.mark.parametrize(("stop", "name", "message"), STOPS)
def test_an_interruption_is_recorded_raised_on_and_not_tried_again(
    kind: str, record: Record, stop: BaseException, name: str, message: str
) -> None:
    calls: list[int] = []

    @Form("sync").decorate(kind, retries=3)
    async def stops() -> None:
        calls.append(1)
        raise stop

    with pytest.raises(type(stop)) as caught:
        stops()

    assert caught.value is stop
    assert calls == [1]
    (run,) = record.flow_runs() or record.task_runs()
    assert (run.state.name, run.state.message) == (name, message)


def test_return_state_does_not_keep_an_interruption(kind: str) -> None:
    @Form("sync").decorate(kind)
    async def stops() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stops(return_state=True)


def test_an_interruption_ends_every_run_above(form: Form, record: Record) -> None:
    @form.task()
    async def leaf() -> None:
        raise SystemExit(1)

    @form.flow()
    async def inner() -> None:
        await call(leaf)

    @form.flow()
    async def outer() -> None:
        await call(inner)

    with pytest.raises(SystemExit):
        form.run(outer)

    assert [run.state.name for run in record.flow_runs()] == ["Crashed", "Crashed"]
    assert record.task_run().state.name == "Crashed"


async def test_a_cancelled_asyncio_task_cancels_its_runs(record: Record) -> None:
    @task
    async def leaf() -> None:
        await asyncio.sleep(10)

    @flow
    async def pipeline() -> None:
        await leaf()

    running = asyncio.create_task(pipeline())
    await asyncio.sleep(0.002)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert running.cancelled()
    assert (record.flow_run().state.name, record.task_run().state.name) == ("Cancelled", "Cancelled")


async def test_a_cancel_scope_of_the_user_works_as_ever(record: Record) -> None:
    @task(retries=3)
    async def leaf() -> None:
        await anyio.sleep(10)

    @flow
    async def pipeline() -> str:
        with anyio.move_on_after(0.002):
            await leaf()
        return "went on"

    assert await pipeline() == "went on"
    assert record.task_run().state.name == "Cancelled"
    assert record.flow_run().state.name == "Completed"


async def test_gathered_tasks_are_cancelled_one_by_one(record: Record) -> None:
    @task
    async def leaf(seconds: float) -> None:
        await asyncio.sleep(seconds)
        if seconds:
            return
        raise ValueError("first")

    @flow
    async def pipeline() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(leaf(10))
            group.create_task(leaf(0))

    with pytest.raises(ExceptionGroup):
        await pipeline()

    assert sorted(run.state.name for run in record.task_runs()) == ["Cancelled", "Failed"]
    assert record.flow_run().state.name == "Failed"


def test_a_coroutine_that_is_closed_is_recorded_and_closes(record: Record) -> None:
    """Once told as 'coroutine ignored GeneratorExit'."""

    @flow
    async def waits() -> None:
        await asyncio.sleep(10)

    async def close_early() -> None:
        life: Any = waits()
        life.send(None)
        life.close()

    asyncio.run(close_early())
    headrace.run(flow(name="after")(Form("async").fn(nothing))())

    (closed,) = [run for run in record.flow_runs() if run.flow_name == "waits"]
    assert (closed.state.name, closed.state.message) == ("Crashed", "The coroutine was closed before it ended.")


async def nothing() -> None: ...


PROGRAM = """
import sys, time
from headrace import flow, task

def tidy(flow, run, state):
    print("tidying", state.name, flush=True)
    {tidying}
    print("tidied", flush=True)

@task
{d}def step():
    print("at work", flush=True)
    {work}

@flow(on_cancellation=[tidy])
{d}def pipeline():
    {step}

if __name__ == "__main__":
    {run}
"""
FORMS: dict[str, dict[str, str]] = {
    "sync": {"d": "", "work": "time.sleep(30)", "step": "step()", "run": "pipeline()"},
    "async": {
        "d": "async ",
        "work": "import asyncio; await asyncio.sleep(30)",
        "step": "await step()",
        "run": "import asyncio; asyncio.run(pipeline())",
    },
}


class Program:
    """A program of one flow in a process of its own, whose lines are read as they come."""

    def __init__(self, folder: Path, form: str, tidying: str) -> None:
        path = folder / "program.py"
        path.write_text(PROGRAM.format(tidying=tidying, **FORMS[form]), encoding="utf-8")
        source = str(Path(headrace.__file__).parents[1])
        env = {**os.environ, "HEADRACE_HOME": str(folder / "home"), "PYTHONPATH": source}
        command = [sys.executable, str(path)]
        self.process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
        )

    def until(self, line: str) -> None:
        """Read lines up to *line*."""
        assert self.process.stdout is not None
        while found := self.process.stdout.readline():
            if found.strip() == line:
                return
        raise AssertionError(f"no line {line!r}; {self.process.communicate()[1]}")

    def ended(self) -> tuple[int, str, str]:
        """Give status, output and error output, once it has ended."""
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


@pytest.mark.parametrize("name", ["sync", "async"])
def test_ctrl_c_cancels_the_run_and_ends_the_process(tmp_path: Path, name: str) -> None:
    program = Program(tmp_path, name, "pass")
    program.until("at work")
    program.process.send_signal(signal.SIGINT)
    status, out, err = program.ended()

    assert status == -signal.SIGINT
    assert out.splitlines() == ["tidying Cancelled", "tidied"]
    assert err.count("Finished in state Cancelled(") == 2
    assert err.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize("name", ["sync", "async"])
def test_a_second_ctrl_c_during_the_end_is_obeyed_at_once(tmp_path: Path, name: str) -> None:
    program = Program(tmp_path, name, "time.sleep(30)")
    program.until("at work")
    program.process.send_signal(signal.SIGINT)
    program.until("tidying Cancelled")
    before = time.monotonic()
    program.process.send_signal(signal.SIGINT)
    status, out, _ = program.ended()

    assert time.monotonic() - before < 5
    assert status == -signal.SIGINT
    assert "tidied" not in out
