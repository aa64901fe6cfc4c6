"""The facade for blocking callers: a coroutine run to its end from code that cannot await."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from headrace.errors import OptionTypeError, RunningLoopError, short

T = TypeVar("T")


def run(awaitable: Awaitable[T]) -> T:
    """
    Run *awaitable* to its end and give its value: how sync code calls an async flow or task.

    A loop is made for the call and closed after it. The caller's context is kept: a flow run in here from a sync flow
    is its subflow. Works from any thread on which no event loop runs.

    Raises:
        RunningLoopError: An event loop runs on this thread; it would wait for itself.
        OptionTypeError: *awaitable* cannot be awaited.
    """
    if not inspect.isawaitable(awaitable):
        raise OptionTypeError(
            f"headrace.run takes what an async flow gives when called, as in run(my_flow(1)), not {short(awaitable)}."
        )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        loop_runs = False
    else:
        loop_runs = True
    # Outside the handler above: else its RuntimeError would be the context of whatever the user's code raises.
    if not loop_runs:
        return asyncio.run(_awaited(awaitable))
    if inspect.iscoroutine(awaitable):
        awaitable.close()
    raise RunningLoopError("headrace.run", "`await` before the call")


def _awaited(awaitable: Awaitable[T]) -> Coroutine[Any, Any, T]:
    if inspect.iscoroutine(awaitable):
        return awaitable

    async def wait() -> T:
        return await awaitable

    return wait()
