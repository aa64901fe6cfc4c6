"""Context: which run the code on this stack belongs to, and the tags around it. Variables only; decides nothing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

from headrace._engine.runs import Run
from headrace.errors import OptionTypeError, short

NO_TAGS: frozenset[str] = frozenset()


class Attempt:
    """
    One call of a blocking body that has a timeout, as the code in it sees it.

    Attributes:
        left: Whether the caller has gone on without it, so that nobody wants what it does.
    """

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = False


current_run: ContextVar[Run | None] = ContextVar("headrace_run", default=None)
current_attempt: ContextVar[Attempt | None] = ContextVar("headrace_attempt", default=None)
current_tags: ContextVar[frozenset[str]] = ContextVar("headrace_tags", default=NO_TAGS)


@contextmanager
def tags(*names: str) -> Generator[frozenset[str]]:
    """
    Add *names* to the tags of every flow run and task run that begins inside; gives all tags in force.

    Nested blocks add up.

    Raises:
        OptionTypeError: A name is not a string.
    """
    for name in names:
        if not isinstance(cast("object", name), str):
            raise OptionTypeError(f"A tag must be a string, not {short(name)} ({type(name).__name__}).")
    token = current_tags.set(current_tags.get() | set(names))
    try:
        yield current_tags.get()
    finally:
        current_tags.reset(token)
