"""The thread's host: async in name only. Its methods block, so a life runs by one send in the caller's thread."""

from __future__ import annotations

import contextvars
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from headrace._engine import lines
from headrace._engine.journal import Journal
from headrace._engine.runs import Run
from headrace._engine.steps import Elapsed
from headrace._hosts.clock import acquired, wall
from headrace._hosts.rooted import ANSWER_WITHIN, Rooted
from headrace.errors import StoreUnavailable


class ThreadHost(Rooted):
    """Blocks the calling thread where a life waits."""

    on_loop = False

    async def call(
        self,
        run: Run,
        seconds: float,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
    ) -> Any:
        """
        Run *function* on a daemon thread of its own and leave it there after *seconds*.

        The thread sees a copy of the context. What it returns late is dropped, and the process does not wait for it.

        Raises:
            Elapsed: It took longer.
        """
        outcome: list[tuple[bool, Any]] = []
        done = threading.Lock()
        done.acquire()

        def work() -> None:
            try:
                outcome.append((True, function(*args, **kwargs)))
            except BaseException as error:  # carried over to the caller's thread, whatever it is
                outcome.append((False, error))
            finally:
                wall.finished(done)

        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(work,), name=f"headrace {run.name}", daemon=True)
        wall.started()
        try:
            thread.start()
        except BaseException:
            wall.finished()
            raise
        if not wall.wait(done, seconds):
            raise Elapsed
        ok, value = outcome[0]
        if ok:
            return value
        raise value

    async def sleep(self, seconds: float) -> None:
        """Block this thread for *seconds*; on the thread of a running event loop, that stalls the loop, so say so."""
        if seconds and on_loop():
            lines.ENGINE.warning(
                "A retry delay of %g s blocks the event loop on this thread, because the function is not async; "
                "make it async to let the loop go on meanwhile",
                seconds,
            )
        wall.sleep(seconds)

    async def settled(self, desk: Journal) -> Exception | None:
        """Block until what *desk* was told so far is committed; give what went wrong instead."""
        done = threading.Lock()
        done.acquire()
        problem: list[Exception | None] = []

        def answer(error: Exception | None) -> None:
            problem.append(error)
            done.release()

        desk.ask(answer)
        if not acquired(done, ANSWER_WITHIN):
            return StoreUnavailable("in use", f"it did not answer within {ANSWER_WITHIN:g} s")
        return problem[0]

    async def answer(self, value: Awaitable[Any]) -> Any:
        """Run a hook's coroutine to its end, in another thread where an event loop runs on this one."""
        import asyncio  # noqa: PLC0415 - 45 ms to import, for hooks that are async in flows that are not

        if not on_loop():
            return asyncio.run(awaiting(value))
        result: list[Any] = []
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=lambda: result.append(caught(lambda: context.run(asyncio.run, awaiting(value))))
        )
        thread.start()
        thread.join()
        ok, outcome = result[0]
        if not ok:
            raise outcome
        return outcome


def on_loop() -> bool:
    """Tell whether an event loop runs on this thread."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def awaiting(value: Awaitable[Any]) -> Coroutine[Any, Any, Any]:
    """Give any awaitable as a coroutine."""

    async def wait() -> Any:
        return await value

    return wait()


def caught(work: Callable[[], Any]) -> tuple[bool, Any]:
    """Do *work*; give whether it returned, with its value or exception."""
    try:
        return True, work()
    except BaseException as error:
        return False, error
