"""Runs, for users: the record, read by programs, in this process and in later ones. Blocks; `headrace.aio` awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from headrace import _runtime
from headrace._kept import with_result, with_results
from headrace._model.ids import prefix_of
from headrace._model.records import FlowRun, TaskRun
from headrace._resuming import one_of
from headrace._runtime import Runtime
from headrace.errors import NoDatabaseYet, RunningLoopError

__all__ = ["FlowRun", "TaskRun", "flow_run", "flow_runs", "task_runs"]

T = TypeVar("T")


def flow_runs(*, limit: int = 100, state: str | None = None) -> list[FlowRun]:
    """
    List at most *limit* flow runs, newest first; only those in *state*, a type or a name, where given.

    Raises:
        RunningLoopError: An event loop runs on this thread: `await headrace.aio.flow_runs(...)`.
        StoreUnavailable: The database cannot be read. As NoDatabaseYet: there is none; in a `Runtime` that is open,
            which makes one, there are just no runs yet.
    """
    return waited(listed(limit, state), "flow_runs")


def flow_run(run_id: str) -> FlowRun:
    """
    Give the flow run *run_id*; the beginning of an id will do. `.state.result()` gives its value where that is kept.

    Raises:
        RunNotFound: There is none.
        AmbiguousRunId: Several begin alike.
        RunningLoopError: An event loop runs on this thread: `await headrace.aio.flow_run(...)`.
        StoreUnavailable: The database cannot be read.
    """
    return waited(one(run_id), "flow_run")


def task_runs(flow_run: FlowRun | str) -> list[TaskRun]:
    """
    List the task runs of *flow_run*, a flow run or the id of one, in the order of their calls.

    Raises:
        RunningLoopError: An event loop runs on this thread: `await headrace.aio.task_runs(...)`.
        StoreUnavailable: The database cannot be read.
    """
    return waited(tasks_of(flow_run), "task_runs")


def waited(work: Coroutine[Any, Any, T], name: str) -> T:
    """Run *work* to its end, on a loop of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    work.close()
    raise RunningLoopError(f"headrace.runs.{name}", f"`await headrace.aio.{name}(...)`")


async def settled() -> Runtime:
    """Give the runtime around, once all that was told to it is recorded."""
    around = _runtime.opening()
    runtime = _runtime.current() if around is None else around.runtime
    problem = await _runtime.host_for(True).settled(runtime.journal, whole=True)
    if problem is not None:
        raise problem
    return runtime


async def listed(limit: int, state: str | None) -> list[FlowRun]:
    """List flow runs."""
    runtime = await settled()
    try:
        found = await runtime.store.flow_runs(limit=limit, state=state)
    except NoDatabaseYet:
        if _runtime.opening() is None:
            raise
        return []  # the first run that begins in the block around makes it
    return with_results(found, runtime.store, runtime.journal.ledger.vault)


async def one(run_id: str) -> FlowRun:
    """Give one flow run."""
    runtime = await settled()
    return with_result(await one_of(runtime.store, run_id), runtime.store, runtime.journal.ledger.vault)


async def tasks_of(flow_run: FlowRun | str) -> list[TaskRun]:
    """List task runs."""
    runtime = await settled()
    whole = flow_run if isinstance(flow_run, str) else flow_run.id
    found = await runtime.store.task_runs(prefix_of(whole))
    return with_results(found, runtime.store, runtime.journal.ledger.vault)
