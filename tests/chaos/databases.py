"""Programs of a chaos module on one of the databases that several processes can share, and the test's runtime on it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.chaos.processes import Child
from tests.spec.keeping import runtime_at

Start: TypeAlias = Callable[..., Child]
SHARED = ["sqlite", "postgresql"]


@contextmanager
def programs_of(module: str, request: pytest.FixtureRequest, home: Path, **settings: str) -> Generator[Start]:
    """Give what starts programs of *module* in *home*, on the database that *request* is for; in the end kill them."""
    more = dict[str, Any](settings)
    if request.param == "postgresql":
        server = request.getfixturevalue("postgresql")
        more["HEADRACE_DATABASE_URL"] = server.url(server.database())
    begun: list[Child] = []

    def child(*args: object) -> Child:
        begun.append(Child(module, *map(str, args), home=home, **more))
        return begun[-1]

    home.mkdir()
    with runtime_at(home, url=more.get("HEADRACE_DATABASE_URL"), progress=False):
        yield child
    for one in begun:
        one.process.kill()
        one.process.wait()
