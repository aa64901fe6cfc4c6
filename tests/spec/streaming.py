"""How tests read streams: whole or in part, in code of either form. Knows nothing of what is streamed."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from headrace import task
from tests.spec.forms import Form


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


async def asynchronous(items: Iterable[Any]) -> AsyncIterator[Any]:
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
