"""Task runners: where the calls that a flow submits run, and how many at once. Given to `@flow(task_runner=...)`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from headrace.errors import OptionError, OptionTypeError, short

if TYPE_CHECKING:
    from headrace._runners.concurrent import Lanes, Shop
    from headrace._runners.processes import ProcessLanes

__all__ = ["ConcurrentTaskRunner", "ProcessPoolTaskRunner", "ThreadPoolTaskRunner"]


class ConcurrentTaskRunner:
    """
    Run async bodies on the flow's event loop and sync bodies in threads. What every flow does that does not say.

    The async bodies of a sync flow, which has no loop, run on one loop, which all sync flows share, in a thread of its
    own.

    Args:
        limit: How many calls of one flow run may be at work at once, of both kinds together; at least 1. A call that
            waits for another gives its place back meanwhile. None: as many async ones as there are, and sync ones up to
            64 in the whole process.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = None if limit is None else places("limit", limit)

    def open(self, shop: Shop, crew: Any, home: Any) -> Lanes:
        """Make the lanes for what one flow run submits. Called by flow runs."""
        return shop.lanes(crew, home, self.limit)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(limit={self.limit})"


class ThreadPoolTaskRunner(ConcurrentTaskRunner):
    """
    Run at most *max_workers* calls of one flow run at once: sync bodies in threads, async ones on the flow's loop.

    Args:
        max_workers: At least 1. None: as ConcurrentTaskRunner without a limit.
    """

    def __init__(self, max_workers: int | None = None) -> None:
        super().__init__(None if max_workers is None else places("max_workers", max_workers))

    @property
    def max_workers(self) -> int | None:
        """How many calls may be at work at once."""
        return self.limit

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_workers={self.limit})"


class ProcessPoolTaskRunner:
    """
    Run the bodies of submitted tasks, sync and async ones, in up to *max_workers* worker processes.

    For work that keeps a CPU busy, and for what must be stoppable: a body that takes too long, or that goes on after it
    was cancelled, is ended with its process. Function, arguments and result have to be picklable. What the flow calls
    directly, and submitted flows, run as with any runner.

    Args:
        max_workers: At least 1. None: as many as this process may use CPUs.
    """

    def __init__(self, max_workers: int | None = None) -> None:
        self.max_workers = cpus() if max_workers is None else places("max_workers", max_workers)

    def open(self, shop: Shop, crew: Any, home: Any) -> ProcessLanes:
        """Make the lanes for what one flow run submits. Called by flow runs."""
        return shop.process_lanes(crew, home, self.max_workers)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_workers={self.max_workers})"


def cpus() -> int:
    """Give how many CPUs this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed is not None else os.cpu_count() or 1


def places(option: str, value: Any) -> int:
    """
    Give *value* back.

    Raises:
        OptionTypeError: It is no whole number.
        OptionError: It is less than 1.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise OptionTypeError(f"{option} of a task runner must be a whole number or None, not {short(value)}.")
    if value < 1:
        raise OptionError(f"{option} of a task runner is {value}; it must be 1 or more, or None for no limit.")
    return value
