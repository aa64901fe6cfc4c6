"""The loop's host: suspends where a life waits, through anyio. Never blocks the loop, never leaves a task behind."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import anyio

from headrace._engine import lines
from headrace._engine.journal import Journal
from headrace._engine.runs import Run
from headrace._engine.steps import Elapsed
from headrace._hosts.clock import wall
from headrace._hosts.rooted import ANSWER_WITHIN, Rooted
from headrace.errors import StoreUnavailable

PATIENCE: Final = 5.0


class LoopHost(Rooted):
    """Suspends the calling task where a life waits."""

    on_loop = True

    async def call(
        self,
        run: Run,
        seconds: float,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
    ) -> Any:
        """
        Await *function*'s coroutine, and cancel it after *seconds*.

        A body that swallows the cancellation is waited for, since nothing may be left running, and named in the log.

        Raises:
            Elapsed: It took longer, even if it returned a value after all: a body that blocks is not cancelled.
        """
        loop = asyncio.get_running_loop()

        def complain() -> None:
            lines.warn(
                run,
                "Was cancelled %g s ago, at its timeout of %g s, but its body goes on: it swallows the cancellation",
                PATIENCE,
                seconds,
            )

        watch = loop.call_later(seconds + PATIENCE, complain)
        value = None
        try:
            with anyio.move_on_after(seconds) as scope:
                value = await function(*args, **kwargs)
        finally:
            watch.cancel()
        if scope.cancelled_caught or scope.cancel_called or loop.time() >= scope.deadline:
            raise Elapsed
        return value

    async def sleep(self, seconds: float) -> None:
        """Suspend for *seconds*."""
        await anyio.sleep(seconds)

    async def settled(self, desk: Journal) -> Exception | None:
        """Suspend, shielded, until what *desk* was told so far is committed; give what went wrong instead."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Exception | None] = loop.create_future()

        def arrived(error: Exception | None) -> None:
            if not future.done():
                future.set_result(error)

        desk.ask(lambda error: quietly(loop, arrived, error))
        wall.started()
        try:
            with anyio.move_on_after(ANSWER_WITHIN, shield=True):
                return await future
        finally:
            wall.finished()
        return StoreUnavailable("in use", f"it did not answer within {ANSWER_WITHIN:g} s")

    async def answer(self, value: Awaitable[Any]) -> Any:
        """Await a hook's coroutine; also in a scope cancelled by now, where no hook of a cancelled run could wait."""
        with anyio.CancelScope(shield=anyio.current_effective_deadline() == -math.inf):
            return await value


def quietly(loop: asyncio.AbstractEventLoop, function: Callable[..., Any], *args: Any) -> None:
    """Have *function* called on *loop*, unless the loop was closed meanwhile: then nobody waits for it any more."""
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        if not loop.is_closed():
            raise
