"""Context: which run the code on this stack belongs to, and the tags around it. Variables only; decides nothing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

from headrace._engine.runs import Run
from headrace.errors import OptionTypeError, short

NO_TAGS: frozenset[str] = frozenset()

current_run: ContextVar[Run | None] = ContextVar("headrace_run", default=None)
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
