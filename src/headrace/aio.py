"""Awaitable forms of functions that block. What is a coroutine already, or gives futures at once, needs none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headrace import _runtime
from headrace._engine.upstream import found, results, states
from headrace.futures import DoneAndNotDoneFutures, Future, as_completed, gathered, parted, seconds

__all__ = ["as_completed", "resolve_futures_to_results", "resolve_futures_to_states", "wait"]


async def wait(futures: Iterable[Future[Any]], timeout: float | None = None) -> DoneAndNotDoneFutures:
    """
    Await that all *futures* have ended, or *timeout* seconds. Never raises what a run raised.

    Raises:
        OptionTypeError: *futures* holds something else.
        OptionError: *timeout* is negative or no number.
    """
    awaited = gathered(futures)
    await _runtime.host_for(True).until(awaited, seconds(timeout))
    return parted(awaited)


async def resolve_futures_to_results(value: Any) -> Any:
    """
    Await the futures in *value*, and give *value* with their results in their place.

    Raises:
        Exception: What the one run that failed raised.
        ExceptionGroup: Several failed.
    """
    promises = list(found(value))
    await _runtime.host_for(True).until(promises)
    return results(value, promises)


async def resolve_futures_to_states(value: Any) -> Any:
    """Await the futures in *value*, and give *value* with their final states in their place."""
    await _runtime.host_for(True).until(list(found(value)))
    return states(value)
