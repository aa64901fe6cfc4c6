"""Generator tasks of both forms, written once, and flows that take their items."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import headrace
from tests.spec.durable_crashes import World
from tests.spec.forms import Form

Source = Callable[..., Iterator[Any]]
Hear = Callable[[Any], Awaitable[object]]


def yielding(form: Form, body: Source, **options: Any) -> Any:
    """Give a task that yields what *body* does, and takes what it takes."""

    @functools.wraps(body)
    async def flowing(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        for item in body(*args, **kwargs):
            yield item

    return headrace.task(**options)(flowing if form.is_async else body)


def pages(world: World, form: Form, **options: Any) -> Any:
    """Give a task that yields so many numbers from the one to resume from on, and notes each, as in `page 3`."""

    def page(count: int, *, resume_from: int = 0) -> Iterator[int]:
        for number in range(resume_from, count):
            world.visit(f"page {number}")
            yield number

    return yielding(form, page, **options)


def anew(world: World, form: Form, values: Callable[[int], Any] = lambda number: number, **options: Any) -> Any:
    """Give a task that yields the *values* of so many numbers, always from the first, and notes each."""

    def page(count: int) -> Iterator[Any]:
        for number in range(count):
            world.visit(f"page {number}")
            yield values(number)

    return yielding(form, page, **options)


async def taken(stream: Any, hear: Hear | None = None) -> list[Any]:
    """Take all items of a generator of either form, and have each be heard of."""
    found: list[Any] = []
    if hasattr(stream, "__aiter__"):
        async for item in stream:
            found.append(item)
            if hear is not None:
                await hear(item)
    else:
        for item in stream:
            found.append(item)
            if hear is not None:
                await hear(item)
    return found


def noted(first: int, last: int) -> list[str]:
    """Give what is noted when the pages from *first* to *last* are made."""
    return [f"page {number}" for number in range(first, last + 1)]
