"""What tests of results share: runtimes on either store, and tasks that count how often their bodies run."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Unpack

import attrs
import pytest

from headrace import _runtime
from headrace._runtime import Runtime
from headrace.settings import Settings
from headrace.tasks import TaskOptions
from tests.spec.forms import Form


@contextmanager
def runtime_at(home: Path, *, memory: bool = False, url: str | None = None, **settings: Any) -> Generator[Runtime]:
    """
    Use a runtime whose store and storages lie in *home*; what an earlier one of that home kept is there.

    Args:
        url: The database, where it does not lie there.
    """
    url = url or ("memory:" if memory else f"sqlite:///{home / 'headrace.db'}")
    given = attrs.evolve(Settings.read(), home=str(home), database_url=url, **settings)
    runtime = Runtime(given)
    before = _runtime.replace(runtime)
    try:
        yield runtime
    finally:
        _runtime.replace(before)
        runtime.close()


STORES = ["memory", "postgresql", "sqlite"]


@contextmanager
def runtime_on(kind: str, home: Path, request: pytest.FixtureRequest) -> Generator[Runtime]:
    """Use a runtime on an empty store of that *kind*."""
    server = request.getfixturevalue("postgresql") if kind == "postgresql" else None
    url = None if server is None else server.url(server.database())
    with runtime_at(home, memory=kind == "memory", url=url) as made:
        yield made


NUMBER = object()  # an answer: how often the body ran so far


class Counted:
    """A task of either form whose body says how often it ran."""

    def __init__(
        self, form: Form, answer: Callable[[Any], Any] | object = None, **options: Unpack[TaskOptions]
    ) -> None:
        self.form = form
        self.calls: list[tuple[Any, ...]] = []

        async def counted(x: Any = None, y: Any = None) -> Any:
            self.calls.append((x, y))
            if answer is NUMBER:
                return len(self.calls)
            return answer(x) if callable(answer) else x if answer is None else answer

        self.task = form.task(**options)(counted)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it outside of flows."""
        return self.form.run(self.task, *args, **kwargs)
