"""Counting ids: runs numbered in order instead of drawn at random, so that ids and names are the same in every run."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator

from headrace import _runtime
from headrace.testing.around import Around


def counter() -> Callable[[], str]:
    """Give what gives the first four groups of ids: 00000001-0000-4000-8000-, 00000002-0000-4000-8000- and so on."""
    numbers = itertools.count(1)
    return lambda: f"{next(numbers):08x}-0000-4000-8000-"


def counting_ids() -> Around[None]:
    """
    Number the runs that begin inside from 1 on, in the runtime in force; a `with` block or a decorator.

    The first flow run is 00000001-0000-4000-8000-000000000000, its first task run ends in 1; names, trace ids and span
    ids follow from ids. Meant for a harness or a memory: store. In a database that is kept, a second process would
    overwrite the runs of the first.
    """
    return Around(counted)


@contextlib.contextmanager
def counted() -> Generator[None, None, None]:
    """Let the journal in force count."""
    journal = _runtime.current().journal
    before = journal.draw
    journal.draw = counter()
    try:
        yield
    finally:
        journal.draw = before
