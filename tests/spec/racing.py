"""What tests of races share: tasks that end when the test says so, and how code of either form waits for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headrace import aio, futures, race, task
from headrace.futures import DoneAndNotDoneFutures, Future
from tests.spec.durable_crashes import World
from tests.spec.forms import Form, Latch


async def decided(form: Form, *entrants: Any, **options: Any) -> Any:
    """Give the winner of a race, as code of the form asks for it."""
    return await aio.race(*entrants, **options) if form.is_async else race(*entrants, **options)


async def ended(form: Form, awaited: Iterable[Future[Any]], **options: Any) -> DoneAndNotDoneFutures:
    """Wait for *awaited*, as code of the form does."""
    return await aio.wait(awaited, **options) if form.is_async else futures.wait(awaited, **options)


class Gates:
    """Latches by name; those of *names* are open."""

    def __init__(self, *names: str) -> None:
        self.latches: dict[str, Latch] = {}
        self.all = False
        self.let(*names)

    def latch(self, name: str) -> Latch:
        """Give the latch *name*."""
        return self.latches.setdefault(name, Latch())

    def let(self, *names: str) -> None:
        """Open the latches *names*."""
        for name in names:
            self.latch(name).open()

    def let_all(self) -> None:
        """Let whoever comes from now on pass."""
        self.all = True

    async def passed(self, name: str) -> None:
        """Wait until the latch *name* is open."""
        if not self.all:
            await self.latch(name).passed()


def runner(world: World, gates: Gates) -> Any:
    """Give a task that notes NAME, passes the gate of that name, and gives it; one whose name begins with bad fails."""

    @task
    async def runs(name: str) -> str:
        world.visit(name)
        await gates.passed(name)
        if name.startswith("bad"):
            raise ConnectionError(name)
        return name

    return runs
