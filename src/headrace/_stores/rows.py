"""Rows: the columns of the three kinds of row in a batch, and the records that rows are read as. For all stores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from headrace._model.ids import FIRST, prefix_of
from headrace._model.records import FlowRun, LogLine, Request, TaskRun, instant, moment, stored_state, task_run_name
from headrace._model.signals import Signal

FLOW_COLUMNS: Final = (
    "id", "name", "flow_name", "flow_version", "state_type", "state_name", "message", "created", "start_time",
    "end_time", "run_count", "tags", "parameters", "parent_id", "durability", "owner", "trace_id", "history",
    "result_key", "flow_attempt", "step_id", "step_args", "entrypoint", "epoch",
)  # fmt: skip
TASK_COLUMNS: Final = (
    "id", "flow_run_id", "task_name", "state_type", "start_time", "end_time",
    "name", "parent_task_run_id", "state_name", "message", "run_count", "tags", "history", "flow_attempt",
    "result_key", "cached_from", "step_id", "step_args", "data", "epoch",
)  # fmt: skip
HOLDS: Final = "data IS NOT NULL"
TASK_READ: Final = tuple(HOLDS if column == "data" else column for column in TASK_COLUMNS)
LOG_COLUMNS: Final = ("run_id", "at", "level", "logger", "message")
RESULT_COLUMNS: Final = (
    "key", "run_id", "task_name", "created", "expires", "codec", "size", "digest", "storage", "name",
    "trace_id", "data",
)  # fmt: skip
TASK_HEAD: Final = 6
LAST: Final = chr(0x10FFFF)  # sorts behind every other sign

Transitions = tuple[tuple[str, str, Any, str | None], ...]


def flow_record(row: Sequence[Any]) -> FlowRun:
    """Read a flow run's row."""
    run_id, name, flow_name, version, kind, state_name, message, created, start, end, *more = row
    count, tags, parameters, parent, level, owner, trace, history, result_key, *durable = more
    attempt, step, args, entrypoint, epoch = durable
    state = stored_state((kind, state_name), message, end or start or created, flow_run_id=run_id)
    return FlowRun(
        id=run_id,
        name=name,
        flow_name=flow_name,
        flow_version=version,
        state=state,
        parameters=loaded(parameters) or {},
        parent_id=parent,
        start_time=moment(start),
        end_time=moment(end),
        run_count=count or 1,
        tags=tuple(loaded(tags) or ()),
        durability=level,
        owner=owner,
        trace_id=trace,
        transitions=transitions(loaded(history), start, end, (kind, state_name), message),
        result_key=result_key,
        flow_attempt=attempt or 1,
        step_id=step,
        step_args=args,
        entrypoint=entrypoint,
        epoch=epoch or 1,
    )


def task_record(row: Sequence[Any]) -> TaskRun:
    """Read a task run's row. Of a step, which is always a flow's, it need not say what follows from the id."""
    (
        run_id,
        flow_run_id,
        task_name,
        kind,
        start,
        end,
        name,
        parent,
        state_name,
        message,
        count,
        tags,
        history,
        attempt,
        result_key,
        cached_from,
        step,
        step_args,
        holds,
        _,
    ) = row
    if step is not None:
        flow_run_id = flow_run_id or f"{prefix_of(run_id)}{FIRST}"
        result_key = result_key or (run_id if holds else None)
    stamp = (kind, state_name or kind.title())
    return TaskRun(
        id=run_id,
        name=name or task_run_name(task_name, run_id),
        task_name=task_name,
        state=stored_state(stamp, message, end or start, flow_run_id=flow_run_id, task_run_id=run_id),
        flow_run_id=flow_run_id,
        parent_task_run_id=parent,
        start_time=moment(start),
        end_time=moment(end),
        run_count=count or 1,
        tags=tuple(loaded(tags) or ()),
        transitions=transitions(loaded(history), start, end, stamp, message),
        result_key=result_key,
        cached_from=cached_from,
        flow_attempt=attempt or 1,
        step_id=step,
        step_args=step_args,
    )


def log_record(row: Sequence[Any]) -> LogLine:
    """Read a log line's row."""
    run_id, at, level, logger, message = row
    return LogLine(run_id=run_id, at=instant(at), level=level, logger=logger, message=message)


def asked_for(row: Sequence[Any]) -> Request:
    """Read a request's row."""
    run_id, what, why, at = row
    return Request(run_id=run_id, what=what, why=why, at=instant(at))


def sent(row: Sequence[Any]) -> Signal:
    """Read a signal's row."""
    run_id, name, data, at, key, asked, number = row
    return Signal(run_id, name, data, instant(at), key, bool(asked), number)


def transitions(
    history: Any, start: int | None, end: int | None, stamp: tuple[str, str], message: str | None
) -> Transitions:
    """Give each state a run was in; where no history was kept, start, end and final state tell it."""
    if history:
        return tuple((kind, name, moment(at), said) for kind, name, at, said in history)
    known: list[tuple[str, str, Any, str | None]] = []
    if start is not None:
        known.append(("RUNNING", "Running", moment(start), None))
    if end is not None:
        known.append((*stamp, moment(end), message))
    return tuple(known)


def loaded(value: Any) -> Any:
    """Read a column of JSON; rows kept in memory hold the value itself."""
    return orjson.loads(value) if isinstance(value, str | bytes) else value


def padded(row: Sequence[Any], columns: Sequence[str]) -> tuple[Any, ...]:
    """Give *row* with what was left out at its end."""
    return (*row, *(None,) * (len(columns) - len(row)))


def with_key(row: Sequence[Any]) -> tuple[Any, ...]:
    """Give the row of a task run that is its head, and behind it the key of its result, with all its columns."""
    *head, key = row
    return (*head, *[key if column == "result_key" else None for column in TASK_COLUMNS[TASK_HEAD:]])
