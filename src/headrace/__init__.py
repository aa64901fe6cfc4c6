"""
Headrace: an async-first workflow runtime for Python.

What users import. Names resolve on first touch, so that importing one of them does not load the others.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace import runtime as runtime
    from headrace._embedding import Runtime as Runtime
    from headrace._engine.context import tags as tags
    from headrace._model.annotations import allow_failure as allow_failure
    from headrace._model.annotations import quote as quote
    from headrace._model.annotations import unmapped as unmapped
    from headrace._model.states import State as State
    from headrace._racing import race as race
    from headrace._sleeping import sleep as sleep
    from headrace.flow_runs import pause_flow_run as pause_flow_run
    from headrace.flow_runs import resume_flow_run as resume_flow_run
    from headrace.flow_runs import suspend_flow_run as suspend_flow_run
    from headrace.flows import Flow as Flow
    from headrace.flows import flow as flow
    from headrace.logging import get_run_logger as get_run_logger
    from headrace.sync import run as run
    from headrace.tasks import Task as Task
    from headrace.tasks import task as task
    from headrace.transactions import Transaction as Transaction
    from headrace.transactions import transaction as transaction

    __version__: str

_PLACES = {
    "Flow": "headrace.flows",
    "Runtime": "headrace._embedding",
    "State": "headrace._model.states",
    "Task": "headrace.tasks",
    "Transaction": "headrace.transactions",
    "allow_failure": "headrace._model.annotations",
    "flow": "headrace.flows",
    "get_run_logger": "headrace.logging",
    "pause_flow_run": "headrace.flow_runs",
    "quote": "headrace._model.annotations",
    "race": "headrace._racing",
    "resume_flow_run": "headrace.flow_runs",
    "run": "headrace.sync",
    "runtime": "headrace.runtime",
    "sleep": "headrace._sleeping",
    "suspend_flow_run": "headrace.flow_runs",
    "tags": "headrace._engine.context",
    "task": "headrace.tasks",
    "transaction": "headrace.transactions",
    "unmapped": "headrace._model.annotations",
}
__all__ = [
    "Flow",
    "Runtime",
    "State",
    "Task",
    "Transaction",
    "__version__",
    "allow_failure",
    "flow",
    "get_run_logger",
    "pause_flow_run",
    "quote",
    "race",
    "resume_flow_run",
    "run",
    "runtime",
    "sleep",
    "suspend_flow_run",
    "tags",
    "task",
    "transaction",
    "unmapped",
]


def __getattr__(name: str) -> Any:
    """Import *name* from where it lives, once."""
    if name == "__version__":
        return _version()
    place = _PLACES.get(name)
    if place is None:
        asking = sys._getframe(1).f_code.co_name  # pyright: ignore[reportPrivateUsage]
        raise _missing(name, imported=asking == "_handle_fromlist")
    module = importlib.import_module(place)
    value = module if place == f"{__name__}.{name}" else getattr(module, name)
    globals()[name] = value
    return value


def _missing(name: str, *, imported: bool) -> Exception:
    """
    Give the error for *name*, which is not there, with the nearest that is or what to do today.

    `from headrace import name` asks for the attribute first and then for a module, and of an AttributeError it tells
    nothing. So where there is no such module either it gets an ImportError, whose sentence people see.
    """
    from importlib.machinery import PathFinder  # noqa: PLC0415 - for what is not there

    if name.startswith("_") or PathFinder.find_spec(f"{__name__}.{name}", __path__):
        return AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    from headrace._model.later import NAMES  # noqa: PLC0415 - see above
    from headrace.errors import nearest  # noqa: PLC0415 - see above

    today = NAMES.get(name)
    hint = nearest(name, _PLACES) if today is None else f" yet. {today}"
    if imported:
        return ImportError(f"cannot import name {name!r} from {__name__!r}{hint}", name=__name__, path=__file__)
    return AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")


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
