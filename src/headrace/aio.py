"""Awaitable forms of functions that block. What is a coroutine already, or gives futures at once, needs none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextvars import copy_context
from typing import Any

from headrace import _runtime, runs
from headrace._engine.upstream import found, results, states
from headrace._model.records import FlowRun, TaskRun
from headrace._resuming import claimed, going_on
from headrace.futures import DoneAndNotDoneFutures, Future, as_completed, gathered, parted, seconds

__all__ = [
    "as_completed",
    "flow_run",
    "flow_runs",
    "resolve_futures_to_results",
    "resolve_futures_to_states",
    "resume",
    "task_runs",
    "wait",
]


async def wait(futures: Iterable[Future[Any]], timeout: float | None = None) -> DoneAndNotDoneFutures:
    """
    Await that all *futures* have ended, or *timeout* seconds. Never raises what a run raised.

    Raises:
        OptionTypeError: *futures* holds something else.
        OptionError: *timeout* is negative or no number.
    """
    awaited = gathered(futures)
    await _runtime.host_for(True).until(awaited, seconds(timeout))
    return parted(awaited)


async def resolve_futures_to_results(value: Any) -> Any:
    """
    Await the futures in *value*, and give *value* with their results in their place.

    Raises:
        Exception: What the one run that failed raised.
        ExceptionGroup: Several failed.
    """
    promises = list(found(value))
    await _runtime.host_for(True).until(promises)
    return results(value, promises)


async def resolve_futures_to_states(value: Any) -> Any:
    """Await the futures in *value*, and give *value* with their final states in their place."""
    await _runtime.host_for(True).until(list(found(value)))
    return states(value)


async def resume(run_id: str) -> Any:
    """
    Go on with the durable flow run *run_id*, which its process has left behind; gives what it returns.

    As `headrace.durable.resume`, and raises what that raises. A sync flow runs in a thread.
    """
    host = _runtime.host_for(True)
    flow, past, args, kwargs = await claimed(host, _runtime.journal_here(), run_id)
    if flow.spec.is_async:
        return await asyncio.create_task(
            going_on(past, lambda: flow(*args, **kwargs)), context=going_on(past, copy_context)
        )
    return await host.aside(lambda: going_on(past, lambda: flow(*args, **kwargs)))


async def flow_runs(*, limit: int = 100, state: str | None = None) -> list[FlowRun]:
    """
    List at most *limit* flow runs, newest first; only those in *state*, a type or a name, where given.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    return await runs.listed(limit, state)


async def flow_run(run_id: str) -> FlowRun:
    """
    Give the flow run *run_id*; the beginning of an id will do. `.state.result()` gives its value where that is kept.

    Raises:
        RunNotFound: There is none.
        AmbiguousRunId: Several begin alike.
        StoreUnavailable: The database cannot be read.
    """
    return await runs.one(run_id)


async def task_runs(flow_run: FlowRun | str) -> list[TaskRun]:
    """
    List the task runs of *flow_run*, a flow run or the id of one, in the order of their calls.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    return await runs.tasks_of(flow_run)
