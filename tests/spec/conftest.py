"""Fixtures of the promises: both forms of a function, a store to look into, the lines that were said."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import attrs
import pytest

from headrace import _runtime
from headrace._stores.memory import MemoryStore
from headrace.settings import Settings
from tests.spec.forms import Form, Record
from tests.spec.seen import Kept, Tracing, application


@pytest.fixture(params=["sync", "async"])
def form(request: pytest.FixtureRequest) -> Form:
    """Run the test once with sync functions and once with async ones."""
    return Form(request.param)


@pytest.fixture(params=["sync", "async"])
def inner(request: pytest.FixtureRequest) -> Form:
    """Run the test once with sync functions submitted, and once with async ones, by a flow of either form."""
    return Form(request.param)


@pytest.fixture(params=["task", "flow"])
def kind(request: pytest.FixtureRequest) -> str:
    """Run the test once with tasks and once with flows."""
    return str(request.param)


@pytest.fixture
def record() -> Iterator[Record]:
    """Keep what the test's runs tell in a store of its own."""
    store = MemoryStore()
    runtime = _runtime.Runtime(attrs.evolve(Settings.read(), database_url="memory:"), store)
    before = _runtime.replace(runtime)
    yield Record(store)
    _runtime.replace(before)
    runtime.close()


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Give a function that lists the lines said so far, as the console shows them, without time and colour."""
    caplog.set_level(logging.DEBUG, "headrace")

    def lines() -> list[str]:
        return [
            f"{entry.levelname} | {getattr(entry, 'run_label', None) or entry.name} - {entry.getMessage()}"
            for entry in caplog.records
            if entry.name.startswith("headrace")
        ]

    return lines


@pytest.fixture
def app() -> Iterator[Tracing]:
    """Give an application that traces, and what it exports."""
    with application() as tracing:
        yield tracing


@pytest.fixture
def kept() -> Iterator[Kept]:
    """Listen at the root logger, as an application does."""
    handler = Kept()
    root = logging.getLogger()
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
