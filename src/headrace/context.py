"""Context for users: which run the code is in, and tags for the runs that begin inside a block."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from headrace._engine import present
from headrace._engine.context import current_run, tags
from headrace._engine.runs import FlowRunning, Run
from headrace._model.records import FlowRun, TaskRun
from headrace._model.states import State, StateType
from headrace.errors import MissingContextError

__all__ = ["FlowRunContext", "TaskRunContext", "get_flow_run", "get_run_context", "get_task_run", "tags"]


@attrs.frozen
class FlowRunContext:
    """
    A flow run in progress: the flow, and the run as it stands.

    Attributes:
        parameters: What the flow was called with, by name: the body's own objects. Those of *flow_run* are as recorded.
        start_time: When its first attempt began; None before that, where its name is being made.
    """

    flow: Any
    flow_run: FlowRun
    parameters: dict[str, Any]
    start_time: datetime | None


@attrs.frozen
class TaskRunContext:
    """
    A task run in progress: the task, and the run as it stands.

    Attributes:
        parameters: What the task was called with, by name: the body's own objects.
        start_time: When its first attempt began; None before that, where its name is being made.
    """

    task: Any
    task_run: TaskRun
    parameters: dict[str, Any]
    start_time: datetime | None


def get_run_context() -> FlowRunContext | TaskRunContext:
    """
    Give the run this code is in: the innermost.

    Raises:
        MissingContextError: It is in none.
    """
    run = current_run.get()
    if run is None:
        raise MissingContextError("The run context")
    parameters = present.parameters(run)
    if isinstance(run, FlowRunning):
        flow_run = _flow_record(run)
        return FlowRunContext(run.spec.public, flow_run, parameters, flow_run.start_time)
    task_run = _record(run)
    return TaskRunContext(run.spec.public, task_run, parameters, task_run.start_time)


def get_flow_run() -> FlowRun:
    """
    Give the flow run this code is in, also from within a task of it.

    Raises:
        MissingContextError: It is in none.
    """
    run = present.flow_around()
    if run is None:
        raise MissingContextError("The flow run")
    return _flow_record(run)


def get_task_run() -> TaskRun:
    """
    Give the task run this code is in.

    Raises:
        MissingContextError: It is in none; a flow's own body is in none.
    """
    run = present.task_around()
    if run is None:
        raise MissingContextError("The task run")
    return _record(run)


def _flow_record(run: FlowRunning) -> FlowRun:
    return run.record(_now(run))


def _record(run: Run) -> TaskRun:
    record: TaskRun = run.record(_now(run))
    return record


def _now(run: Run) -> State[Any]:
    return State(StateType.RUNNING, "Running" if run.attempt == 1 else "Retrying", flow_run_id=run.scope.flow_run_id)
