"""
Headrace: an async-first workflow runtime for Python.

What users import. Names resolve on first touch, so that importing one of them does not load the others.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace._engine.context import tags as tags
    from headrace._model.states import State as State
    from headrace.flows import Flow as Flow
    from headrace.flows import flow as flow
    from headrace.logging import get_run_logger as get_run_logger
    from headrace.sync import run as run
    from headrace.tasks import Task as Task
    from headrace.tasks import task as task

    __version__: str

_PLACES = {
    "Flow": "headrace.flows",
    "State": "headrace._model.states",
    "Task": "headrace.tasks",
    "flow": "headrace.flows",
    "get_run_logger": "headrace.logging",
    "run": "headrace.sync",
    "tags": "headrace._engine.context",
    "task": "headrace.tasks",
}
__all__ = ["Flow", "State", "Task", "__version__", "flow", "get_run_logger", "run", "tags", "task"]


def __getattr__(name: str) -> Any:
    """Import *name* from where it lives, once."""
    if name == "__version__":
        return _version()
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'headrace' has no attribute {name!r}; it has {', '.join(sorted(_PLACES))}")
    value = getattr(importlib.import_module(place), name)
    globals()[name] = value
    return value


def _version() -> str:
    """Give the installed version; a source tree that was never installed has none."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - 20 ms, for who asks

    try:
        return version("headrace")
    except PackageNotFoundError:
        return "0+source"


def __dir__() -> list[str]:
    """List what users import."""
    return sorted(__all__)
