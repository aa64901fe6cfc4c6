"""A block of code that is entered and left, as `with` block or as decorator, around sync and async functions alike."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar, cast

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


class Around(Generic[T]):
    """
    What `with` enters, made anew each time by *make*.

    contextlib's own decorator form would leave an async function's block before the coroutine has begun.
    """

    def __init__(self, make: Callable[[], AbstractContextManager[T]]) -> None:
        self._make = make
        self._entered: list[AbstractContextManager[T]] = []

    def __enter__(self) -> T:
        block = self._make()
        value = block.__enter__()
        self._entered.append(block)
        return value

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered.pop().__exit__(kind, error, trace)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Enter before each call of *function*, or of its coroutine, and leave after it."""
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaited(*args: P.args, **kwargs: P.kwargs) -> Any:
                with self._make():
                    return await cast("Awaitable[Any]", function(*args, **kwargs))

            return cast("Callable[P, R]", awaited)

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            with self._make():
                return function(*args, **kwargs)

        return called


def replace(undo: contextlib.ExitStack, owner: Any, name: str, value: object) -> None:
    """Set *owner*'s attribute *name* until *undo* is done."""
    undo.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)
