"""
The testing kit: what users, and our own suite, test flows with. Never imported by a run.

Names resolve on first touch, because the pytest plugin in here is loaded in every test run where Headrace is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.testing.counting import counting_ids as counting_ids
    from headrace.testing.crashes import CrashFound as CrashFound
    from headrace.testing.crashes import Sweep as Sweep
    from headrace.testing.crashes import crash_at_every_commit as crash_at_every_commit
    from headrace.testing.harness import Harness as Harness
    from headrace.testing.harness import headrace_test_harness as headrace_test_harness
    from headrace.testing.refusals import VirtualTimeError as VirtualTimeError
    from headrace.testing.replays import Verdict as Verdict
    from headrace.testing.replays import replay as replay
    from headrace.testing.stubs import stubbed as stubbed
    from headrace.testing.traces import trace_as_text as trace_as_text
    from headrace.testing.virtual import VirtualTime as VirtualTime
    from headrace.testing.virtual import virtual_time as virtual_time

_PLACES = {
    "CrashFound": "headrace.testing.crashes",
    "Harness": "headrace.testing.harness",
    "Sweep": "headrace.testing.crashes",
    "Verdict": "headrace.testing.replays",
    "VirtualTime": "headrace.testing.virtual",
    "VirtualTimeError": "headrace.testing.refusals",
    "counting_ids": "headrace.testing.counting",
    "crash_at_every_commit": "headrace.testing.crashes",
    "headrace_test_harness": "headrace.testing.harness",
    "replay": "headrace.testing.replays",
    "stubbed": "headrace.testing.stubs",
    "trace_as_text": "headrace.testing.traces",
    "virtual_time": "headrace.testing.virtual",
}
__all__ = [
    "CrashFound",
    "Harness",
    "Sweep",
    "Verdict",
    "VirtualTime",
    "VirtualTimeError",
    "counting_ids",
    "crash_at_every_commit",
    "headrace_test_harness",
    "replay",
    "stubbed",
    "trace_as_text",
    "virtual_time",
]


def __getattr__(name: str) -> Any:
    """Import *name* from where it lives, once."""
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module 'headrace.testing' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(importlib.import_module(place), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List what users import."""
    return sorted(__all__)
