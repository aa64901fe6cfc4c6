"""Context for users: which run the code is in, and tags for the runs that begin inside a block."""

from __future__ import annotations

from typing import Any

import attrs

from headrace._engine.context import current_run, tags
from headrace._engine.runs import FlowRunning, Run, TaskRunning
from headrace._model.records import FlowRun, TaskRun
from headrace._model.states import State, StateType
from headrace.errors import MissingContextError

__all__ = ["FlowRunContext", "TaskRunContext", "get_flow_run", "get_run_context", "get_task_run", "tags"]


@attrs.frozen
class FlowRunContext:
    """A flow run in progress: the flow, and the run as it stands."""

    flow: Any
    flow_run: FlowRun


@attrs.frozen
class TaskRunContext:
    """A task run in progress: the task, and the run as it stands."""

    task: Any
    task_run: TaskRun


def get_run_context() -> FlowRunContext | TaskRunContext:
    """
    Give the run this code is in: the innermost.

    Raises:
        MissingContextError: It is in none.
    """
    run = current_run.get()
    if run is None:
        raise MissingContextError("The run context")
    return (
        FlowRunContext(run.spec.public, _flow_record(run))
        if isinstance(run, FlowRunning)
        else TaskRunContext(run.spec.public, _record(run))
    )


def get_flow_run() -> FlowRun:
    """
    Give the flow run this code is in, also from within a task of it.

    Raises:
        MissingContextError: It is in none.
    """
    run = current_run.get()
    while run is not None and not isinstance(run, FlowRunning):
        run = run.parent
    if run is None:
        raise MissingContextError("The flow run")
    return _flow_record(run)


def get_task_run() -> TaskRun:
    """
    Give the task run this code is in.

    Raises:
        MissingContextError: It is in none; a flow's own body is in none.
    """
    run = current_run.get()
    if not isinstance(run, TaskRunning):
        raise MissingContextError("The task run")
    return _record(run)


def _flow_record(run: FlowRunning) -> FlowRun:
    return run.record(_now(run))


def _record(run: Run) -> TaskRun:
    record: TaskRun = run.record(_now(run))
    return record


def _now(run: Run) -> State[Any]:
    return State(StateType.RUNNING, "Running" if run.attempt == 1 else "Retrying", flow_run_id=run.scope.flow_run_id)
