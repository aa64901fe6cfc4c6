"""Logging for users: the logger of the current run, and a filter for run ids. Handlers live elsewhere."""

from __future__ import annotations

import logging
from typing import Any

from headrace._engine.context import current_run
from headrace._engine.lines import RUNS
from headrace._hosts.clock import wall
from headrace._telemetry import logs
from headrace._telemetry.logs import RunContextFilter, RunLogger
from headrace.errors import MissingContextError
from headrace.settings import Settings

__all__ = ["RunContextFilter", "get_logger", "get_run_logger"]


def get_run_logger(**extra: Any) -> RunLogger:
    """
    Give the logger of the current flow or task run; what it says is shown with the run's name and kept with the run.

    Args:
        extra: Attributes for each record.

    Raises:
        MissingContextError: No run is active here.
    """
    run = current_run.get()
    if run is None:
        raise MissingContextError("The run logger")
    return RunLogger(RUNS[run.spec.kind], run, extra)


def get_logger(name: str | None = None) -> logging.Logger:
    """
    Give the logger *name* below "headrace": shown like our own lines, not kept with runs.

    Raises:
        SettingError: HEADRACE_LOG_LEVEL is none of the levels.
    """
    if not logs.ready():
        logs.set_up(Settings.read().log_level, wall.read)
    return logging.getLogger(f"headrace.{name}" if name else "headrace")
