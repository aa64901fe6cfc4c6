"""Run contexts: a run in progress, as users see it: what was called, with what, and how it stands."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import attrs

from headrace._engine.present import parameters
from headrace._engine.runs import FlowRunning, Run
from headrace._model.records import FlowRun, TaskRun
from headrace._model.states import State, StateType


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

    @classmethod
    def of(cls, run: FlowRunning) -> FlowRunContext:
        """Give *run* as it stands."""
        record = flow_record(run)
        return cls(run.spec.public, record, parameters(run), record.start_time)


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

    @classmethod
    def of(cls, run: Run) -> TaskRunContext:
        """Give *run* as it stands."""
        record = task_record(run)
        return cls(run.spec.public, record, parameters(run), record.start_time)


def flow_record(run: FlowRunning) -> FlowRun:
    """Give the record of a flow run in progress."""
    return run.record(as_it_stands(run))


def task_record(run: Run) -> TaskRun:
    """Give the record of a task run in progress."""
    record: TaskRun = run.record(as_it_stands(run))
    return record


def as_it_stands(run: Run) -> State[Any]:
    """Give the state of a run in progress."""
    return State(StateType.RUNNING, "Running" if run.attempt == 1 else "Retrying", flow_run_id=run.scope.flow_run_id)
