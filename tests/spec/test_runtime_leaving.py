"""How `headrace.Runtime` ends what goes on in it: drained in time, cancelled after that, never left behind unsaid."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from headrace import Runtime, flow, task
from headrace.errors import CancelledRun, CrewGone
from headrace.futures import Future
from headrace.runtime import cancelled
from headrace.testing import virtual_time
from tests.chaos.processes import database, until
from tests.spec.forms import Latch, Record
from tests.spec.streaming import double


class Job:
    """A flow with a task that takes *seconds*, and what became of them."""

    def __init__(self, seconds: float, cleanup: float = 0) -> None:
        self.begun = Latch()
        self.story = list[str]()

        @task
        async def wait() -> str:
            self.begun.open()
            try:
                await asyncio.sleep(seconds)
                return "done"
            except asyncio.CancelledError:
                self.story.append("cancelled")
                raise
            finally:
                if cleanup:
                    with anyio.CancelScope(shield=True):
                        await asyncio.sleep(cleanup)
                self.story.append("cleaned")

        @flow
        async def work() -> str:
            return await wait()

        self.flow = work


def states(record: Record) -> list[str]:
    """Give the states of the flow runs, then of the task runs."""
    return [run.state.name for run in record.flow_runs()] + [run.state.name for run in record.task_runs()]


# -- drained ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("drain", [30, 20.0, timedelta(seconds=25)])
async def test_leaving_waits_for_what_was_submitted(record: Record, drain: Any) -> None:
    job = Job(seconds=20)

    with virtual_time() as time:
        async with Runtime(drain_seconds=drain) as opened:
            future = opened.submit(job.flow)
        assert time.elapsed == 20

    assert future.result() == "done"
    assert states(record) == ["Completed"] * 2


def test_so_it_does_in_blocking_code(record: Record) -> None:
    job = Job(seconds=20)

    with virtual_time() as time:
        with Runtime() as opened:
            future = opened.submit(job.flow)
        assert time.elapsed == 20

    assert future.result() == "done"
    assert states(record) == ["Completed"] * 2


async def test_what_runs_meanwhile_may_go_on_submitting(record: Record) -> None:
    @flow
    async def chain(left: int) -> None:
        await asyncio.sleep(1)
        if left:
            _ = opened.submit(chain, left - 1)

    with virtual_time() as time:
        async with Runtime() as opened:
            _ = opened.submit(chain, 5)
        assert time.elapsed == 6

    assert states(record) == ["Completed"] * 6


async def test_failures_of_what_was_submitted_do_not_leave_the_block(record: Record) -> None:
    @flow
    async def fails() -> None:
        raise LookupError("in the background")

    async with Runtime() as opened:
        futures = [opened.submit(fails), opened.submit(double, 1)]

    assert states(record) == ["Failed", "Completed"]
    with pytest.raises(LookupError, match="in the background"):
        futures[0].result()


# -- not in time --------------------------------------------------------------------------------------------


async def test_after_the_deadline_what_is_left_is_cancelled_and_cleans_up(record: Record) -> None:
    job = Job(seconds=3_600, cleanup=3)

    with virtual_time() as time:
        async with Runtime(drain_seconds=10) as opened:
            future = opened.submit(job.flow)
            quick = opened.submit(double, 1)
        assert time.elapsed == 13

    assert job.story == ["cancelled", "cleaned"]
    assert sorted(states(record)) == ["Cancelled", "Cancelled", "Completed"]
    assert quick.result() == 2
    with pytest.raises(CancelledRun, match=r"was cancelled: its runtime was left 10 s before\."):
        future.result()


def test_so_it_is_in_blocking_code(record: Record) -> None:
    job = Job(seconds=3_600)

    with virtual_time() as time:
        with Runtime(drain_seconds=10) as opened:
            future = opened.submit(job.flow)
        assert time.elapsed == 10

    assert states(record) == ["Cancelled"] * 2
    with pytest.raises(CancelledRun):
        future.result()


async def test_a_deadline_of_nothing_cancels_at_once(record: Record) -> None:
    job = Job(seconds=3_600)

    with virtual_time() as time:
        async with Runtime(drain_seconds=0) as opened:
            _ = opened.submit(job.flow)
            await job.begun.passed()
        assert time.elapsed == 0

    assert states(record) == ["Cancelled"] * 2


async def test_what_waits_for_its_turn_is_recorded_as_cancelled_too(record: Record) -> None:
    job = Job(seconds=3_600)

    with virtual_time():
        async with Runtime(drain_seconds=1) as opened:
            first = opened.submit(job.flow)
            second = opened.submit(double, first)

    assert states(record) == ["Cancelled"] * 3
    with pytest.raises(CancelledRun, match="It was stopped before it began"):
        second.result()


async def test_a_blocking_body_is_told_to_stop(record: Record) -> None:
    begun = threading.Event()

    @flow
    def spin() -> None:
        begun.set()
        until(cancelled)

    async with Runtime(drain_seconds=0) as opened:
        _ = opened.submit(spin)
        assert await asyncio.to_thread(begun.wait, 30)

    assert states(record) == ["Cancelled"]


async def test_what_outlasts_its_cancellation_is_left_behind_and_named(
    record: Record, said: Callable[[], list[str]]
) -> None:
    job = Job(seconds=3_600, cleanup=3_600)

    with virtual_time() as time:
        async with Runtime(drain_seconds=5) as opened:
            future = opened.submit(job.flow.with_options(flow_run_name="deaf"))
        assert time.elapsed == 15  # HEADRACE_CLEANUP_SECONDS is 10
        (line,) = [line for line in said() if line.startswith("WARNING") and "A runtime was left" in line]
        assert "'deaf'" in line
        with pytest.raises(CancelledRun):
            future.result()
        await asyncio.sleep(3_600)

    assert job.story == ["cancelled", "cleaned"]
    until(lambda: states(record) == ["Cancelled"] * 2)  # nobody waits for the commit of what was left behind


async def test_a_flow_that_was_called_in_the_block_is_not_the_blocks_to_wait_for(record: Record) -> None:
    job = Job(seconds=100)

    with virtual_time() as time:
        async with Runtime():
            called = asyncio.create_task(job.flow())
            await job.begun.passed()
        assert time.elapsed == 0
        assert await called == "done"

    assert states(record) == ["Completed"] * 2


async def test_such_a_flow_is_recorded_though_the_database_it_began_in_was_closed(tmp_path: Path) -> None:
    go_on = asyncio.Event()
    begun = asyncio.Event()

    @flow
    async def work() -> str:
        begun.set()
        await go_on.wait()
        return f"{await double(1)}"

    async with Runtime(database_url=f"sqlite:///{tmp_path}/own.db"):
        called = asyncio.create_task(work())
        await begun.wait()
    go_on.set()

    assert await asyncio.wait_for(called, 30) == "2"
    with database(tmp_path / "own.db") as connection:
        assert connection.execute("SELECT state_type FROM flow_run").fetchall() == [("COMPLETED",)]
        assert connection.execute("SELECT state_type FROM task_run").fetchall() == [("COMPLETED",)]


# -- by an exception ----------------------------------------------------------------------------------------


async def test_left_by_an_exception_it_cancels_at_once_and_the_exception_comes_out(record: Record) -> None:
    job = Job(seconds=3_600, cleanup=2)
    futures = list[Future[str]]()

    async def main() -> None:
        async with Runtime() as opened:
            futures.append(opened.submit(job.flow))
            await job.begun.passed()
            raise LookupError("mine")

    with virtual_time() as time:
        with pytest.raises(LookupError, match="mine") as caught:
            await main()
        assert time.elapsed == 2

    assert caught.value.__context__ is None
    assert job.story == ["cancelled", "cleaned"]
    assert states(record) == ["Cancelled"] * 2
    with pytest.raises(CancelledRun, match="its runtime was left by LookupError"):
        futures[0].result()


def test_so_it_is_with_blocking_code(record: Record) -> None:
    job = Job(seconds=3_600)

    def main() -> None:
        with Runtime() as opened:
            _ = opened.submit(job.flow)
            assert job.begun.event.wait(30)
            raise LookupError("mine")

    with virtual_time() as time:
        with pytest.raises(LookupError, match="mine"):
            main()
        assert time.elapsed == 0
    assert states(record) == ["Cancelled"] * 2


@pytest.mark.parametrize("where", ["inside", "draining"])
@pytest.mark.parametrize("how", ["task", "scope"])
async def test_cancelled_from_outside_it_ends_what_it_holds(record: Record, where: str, how: str) -> None:
    job = Job(seconds=3_600, cleanup=2)
    inside = asyncio.Event()

    async def main() -> None:
        async with Runtime(drain_seconds=60) as opened:
            _ = opened.submit(job.flow)
            await job.begun.passed()
            inside.set()
            if where == "inside":
                await asyncio.Event().wait()

    with virtual_time() as time:
        if how == "task":
            running = asyncio.create_task(main())
            await inside.wait()
            await asyncio.sleep(1)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
        else:
            with anyio.move_on_after(1):
                await main()
        assert time.elapsed == pytest.approx(3)

    assert job.story == ["cancelled", "cleaned"]
    assert states(record) == ["Cancelled"] * 2


async def test_after_it_was_told_to_stop_it_takes_nothing_more(record: Record) -> None:
    refused = list[str]()

    @task
    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            try:
                _ = opened.submit(double, 1)
            except CrewGone as error:
                refused.append(str(error))

    with virtual_time():
        async with Runtime(drain_seconds=1) as opened:
            _ = opened.submit(stubborn)

    (sentence,) = refused
    assert sentence.startswith(
        "The runtime is to stop (its runtime was left 1 s before), so nothing can be submitted in"
    )


PROGRAM = """
import asyncio, os, signal, threading
from headrace import Runtime, flow, runtime, task

@task
async def wait():
    os.kill(os.getpid(), signal.SIGTERM)
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        print("cleaned up", flush=True)

@flow
async def work():
    await wait()

@flow
def spin():
    os.kill(os.getpid(), signal.SIGTERM)
    while not runtime.cancelled():
        threading.Event().wait(0.01)
    print("cleaned up", flush=True)

async def looping(what):
    async with Runtime():
        await what.submit()

def blocking(what):
    with Runtime():
        what.submit().result()
"""


@pytest.mark.parametrize("what", ["work", "spin"])
@pytest.mark.parametrize("program", ["asyncio.run(looping({}))", "blocking({})"])
def test_sigterm_ends_a_program_in_order_that_has_one_open(tmp_path: Path, program: str, what: str) -> None:
    script, home = tmp_path / "program.py", tmp_path / "home"
    script.write_text(f"{PROGRAM}\n{program.format(what)}\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"HEADRACE_HOME": str(home), "HEADRACE_LOG_LEVEL": "OFF"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout) == (143, "cleaned up\n"), done.stderr
    with database(home / "headrace.db") as connection:
        assert connection.execute("SELECT state_type FROM flow_run").fetchall() == [("CANCELLED",)]


# -- beside others ------------------------------------------------------------------------------------------


async def test_it_composes_with_other_context_managers(record: Record) -> None:
    story = list[str]()

    @contextlib.asynccontextmanager
    async def pool() -> AsyncGenerator[str]:
        story.append("pool opened")
        yield "pool"
        story.append("pool closed")

    @flow
    async def use(what: str) -> None:
        await asyncio.sleep(1)
        story.append(f"used {what}")

    with virtual_time():
        async with contextlib.AsyncExitStack() as stack:
            opened = await stack.enter_async_context(pool())
            runtime = await stack.enter_async_context(Runtime())
            _ = runtime.submit(use, opened)

    assert story == ["pool opened", "used pool", "pool closed"]


async def test_it_may_be_entered_and_left_in_different_contexts(record: Record) -> None:
    """As by a test framework's fixtures."""
    runtime = Runtime()

    await asyncio.create_task(runtime.__aenter__())
    assert await runtime.submit(double, 2) == 4
    assert await double.submit(3) == 6
    await asyncio.create_task(runtime.__aexit__(None, None, None))

    assert states(record) == ["Completed"] * 2
    assert await double(4) == 8
