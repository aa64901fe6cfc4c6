"""How tests read streams: whole or in part, in code of either form. Knows nothing of what is streamed."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

from headrace import task
from tests.spec.forms import Form, Latch, Record


async def read(form: Form, stream: Any, enough: Callable[[Any], object] = lambda _result: False) -> list[Any]:
    """
    Give the results of *stream* as code of this form gets them, up to the first that is *enough*.

    What *enough* gives may have to be awaited.
    """
    found: list[Any] = []

    async def had_enough(result: Any) -> bool:
        found.append(result)
        verdict = enough(result)
        return bool(await verdict if inspect.isawaitable(verdict) else verdict)

    if form.is_async:
        async with stream as results:
            async for result in results:
                if await had_enough(result):
                    break
    else:
        with stream as results:
            for result in results:
                if await had_enough(result):
                    break
    return found


def in_flow(form: Form, body: Callable[[], Any], **options: Any) -> Any:
    """Run *body* as the body of a flow."""
    return form.run(form.flow(**options)(body))


async def asynchronous(items: Iterable[Any]) -> AsyncGenerator[Any, None]:
    """Give *items* as an async source does that never has to wait."""
    for item in items:
        yield item


@task
async def double(x: int) -> int:
    return 2 * x


@task
def triple(x: int) -> int:
    return 3 * x


class Counted:
    """
    A source that counts: how many items were pulled of it, and how many of their results were handed on.

    Attributes:
        most: The most that were pulled and not handed on at one time.
    """

    def __init__(self, items: Iterable[Any]) -> None:
        self.items = iter(items)
        self.pulled = self.handed = self.most = 0

    def __iter__(self) -> Counted:
        return self

    def __next__(self) -> Any:
        item = next(self.items)
        self.pulled += 1
        self.most = max(self.most, self.pulled - self.handed)
        return item

    def hand(self, _result: Any) -> None:
        """Note that a result was handed on."""
        self.handed += 1


class Story:
    """
    Runs that are at work until they are told to end, and what became of them.

    The first ends by itself, once *count* are at work; all others wait to be cancelled, and take a moment to clean up.
    """

    def __init__(self, count: int = 5) -> None:
        self.begun = list[int]()
        self.cleaned = list[int]()
        self.together = Latch()
        self.number = itertools.count(1)

        @task
        async def work(x: int) -> int:
            self.begun.append(x)
            if next(self.number) == count:
                self.together.open()
            if x == 0:
                await self.together.passed()
                return x
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                self.cleaned.append(x)
            return x

        self.work = work


def enough(_result: Any) -> bool:
    """Have had enough of a stream at the first result."""
    return True


def kinds(kind: str, items: Any) -> Any:
    """Give *items* as a source of the *kind*."""
    return items if kind == "plain" else asynchronous(items)


def state_counts(record: Record) -> dict[str, int]:
    """Count the states of the task runs."""
    found: dict[str, int] = {}
    for run in record.task_runs():
        found[run.state.name] = found.get(run.state.name, 0) + 1
    return found


def trace_of(error: BaseException) -> list[str]:
    """Give the files of the frames that *error* came through, Headrace's own and the tests'."""
    files: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        files.append(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    return [file.rpartition("/")[2] for file in files if "headrace/" in file or "tests/" in file]
