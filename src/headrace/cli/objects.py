"""Objects: runs and log lines as programs get them, with `--output json`. What is in them stays in them."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from headrace._model.records import FlowRun, LogLine, StoredResult, TaskRun, moment
from headrace.cli.reading import has_expired, is_cached, is_dead


def flow_object(run: FlowRun, resumable: Collection[str] = ()) -> dict[str, Any]:
    """Give *run* as an object of JSON; it can be resumed if it is one of *resumable*."""
    return {
        "id": run.id,
        "name": run.name,
        "flow_name": run.flow_name,
        "flow_version": run.flow_version,
        **outcome(run),
        "process_ended": run.state.is_final() or is_dead(run),
        "parameters": run.parameters,
        "tags": run.tags,
        "parent_id": run.parent_id,
        "run_count": run.run_count,
        "durability": run.durability,
        "times_resumed": run.epoch - 1,
        "resumable": run.id in resumable,
        "owner": run.owner,
        "trace_id": run.trace_id,
        "result_key": run.result_key,
        "transitions": transitions(run),
    }


def task_object(run: TaskRun) -> dict[str, Any]:
    """Give *run* as an object of JSON."""
    return {
        "id": run.id,
        "name": run.name,
        "task_name": run.task_name,
        **outcome(run),
        "tags": run.tags,
        "flow_run_id": run.flow_run_id,
        "parent_task_run_id": run.parent_task_run_id,
        "run_count": run.run_count,
        "result_key": run.result_key,
        "cached_from": run.cached_from,
        "transitions": transitions(run),
    }


def result_object(one: StoredResult, now: int) -> dict[str, Any]:
    """Give what is recorded of a result as an object of JSON, without its bytes; *now* in nanoseconds since 1970."""
    return {
        "key": one.key,
        "cached": is_cached(one),
        "run_id": one.run_id or None,
        "task_name": one.task_name,
        "created": moment(one.created),
        "expires": moment(one.expires),
        "expired": has_expired(one, now),
        "codec": one.codec,
        "size": one.size,
        "digest": one.digest,
        "storage": one.storage,
        "name": one.name,
    }


def outcome(run: FlowRun | TaskRun) -> dict[str, Any]:
    """Give what both kinds of run say alike."""
    return {
        "state": {"type": run.state.type.value, "name": run.state.name, "message": run.state.message},
        "start_time": run.start_time,
        "end_time": run.end_time,
        "total_run_time": run.total_run_time,
    }


def transitions(run: FlowRun | TaskRun) -> list[dict[str, Any]]:
    """Give the states *run* went through."""
    return [{"type": kind, "name": name, "at": at, "message": said} for kind, name, at, said in run.transitions]


def line_object(line: LogLine, name: str) -> dict[str, Any]:
    """Give a log line of the run called *name* as an object of JSON."""
    return {
        "run_id": line.run_id,
        "run_name": name,
        "time": line.at,
        "level": line.level,
        "level_name": logging.getLevelName(line.level),
        "logger": line.logger,
        "message": line.message,
    }
