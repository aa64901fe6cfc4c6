"""Context: which run the code on this stack belongs to, and the tags around it. Variables only; decides nothing."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

from headrace._engine.runs import Run
from headrace._model.ids import prefix_of
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
resuming: ContextVar[Any] = ContextVar("headrace_past", default=None)
current_attempt: ContextVar[Attempt | None] = ContextVar("headrace_attempt", default=None)
current_tags: ContextVar[frozenset[str]] = ContextVar("headrace_tags", default=NO_TAGS)


def drawn(journal: Any) -> str:
    """Give the first four groups of a new root's id: drawn, or those of the durable run that is taken up here."""
    past = resuming.get()
    if past is None or past.taken or current_run.get() is not None:
        prefix: str = journal.draw()
        return prefix
    past.taken = True
    return prefix_of(past.root_id)


def resumed(prefix: str) -> bool:
    """Tell whether the root under *prefix*, which begins, is a durable run that is taken up here."""
    past = resuming.get()
    return past is not None and prefix_of(past.root_id) == prefix


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
