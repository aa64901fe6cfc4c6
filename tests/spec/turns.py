"""Tasks that end when a test says so, in an order of its choice."""

from __future__ import annotations

from typing import Any, Final

from headrace.futures import Future
from tests.spec.forms import Form, Latch

BOOM: Final = ValueError("boom")


class Turns:
    """Tasks of one form, each of which ends when it is told to."""

    def __init__(self, inner: Form) -> None:
        self.latches: dict[Any, Latch] = {}

        async def take(name: str) -> str:
            await self.latches[name].passed()
            if name.startswith("bad"):
                raise BOOM
            return name

        self.task = inner.task(name="take")(take)

    def start(self, *names: str) -> list[Future[str]]:
        """Submit a task for each of *names*."""
        for name in names:
            self.latches[name] = Latch()
        return [self.task.submit(name) for name in names]

    def end(self, *names: str) -> None:
        """Let the tasks *names* end."""
        for name in names:
            self.latches[name].open()
