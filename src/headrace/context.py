"""Context for users: which run the code is in, and tags for the runs that begin inside a block."""

from __future__ import annotations

from headrace._engine import present
from headrace._engine.context import current_run, tags
from headrace._engine.contexts import FlowRunContext, TaskRunContext, flow_record, task_record
from headrace._engine.runs import FlowRunning
from headrace._model.records import FlowRun, TaskRun
from headrace.errors import MissingContextError

__all__ = ["FlowRunContext", "TaskRunContext", "get_flow_run", "get_run_context", "get_task_run", "tags"]


def get_run_context() -> FlowRunContext | TaskRunContext:
    """
    Give the run this code is in: the innermost.

    Raises:
        MissingContextError: It is in none.
    """
    run = current_run.get()
    if run is None:
        raise MissingContextError("The run context")
    return FlowRunContext.of(run) if isinstance(run, FlowRunning) else TaskRunContext.of(run)


def get_flow_run() -> FlowRun:
    """
    Give the flow run this code is in, also from within a task of it.

    Raises:
        MissingContextError: It is in none.
    """
    run = present.flow_around()
    if run is None:
        raise MissingContextError("The flow run")
    return flow_record(run)


def get_task_run() -> TaskRun:
    """
    Give the task run this code is in.

    Raises:
        MissingContextError: It is in none; a flow's own body is in none.
    """
    run = present.task_around()
    if run is None:
        raise MissingContextError("The task run")
    return task_record(run)
