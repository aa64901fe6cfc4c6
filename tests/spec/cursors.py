"""What tests of cursors share: a source that notes from where it is read, and what of it; an item that ends late."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

from headrace.durable import Cursor
from tests.spec.durable_crashes import World
from tests.spec.forms import Form, Latch


class Numbered:
    """
    A source of the numbers from 1 to *count*, each of which is its own position.

    Attributes:
        numbers: What there is to be read.
        behind: The positions behind which it was asked for more.
        given: What was read of it.
        closed: How many readings were ended.
    """

    def __init__(self, count: int) -> None:
        self.numbers = list(range(1, count + 1))
        self.behind: list[int | None] = []
        self.given: list[int] = []
        self.closed = 0

    def read(self, after: int | None) -> Iterator[tuple[int, int]]:
        """Give what lies behind *after*."""
        self.behind.append(after)
        try:
            for number in [number for number in self.numbers if after is None or number > after]:
                self.given.append(number)
                yield number, number
        finally:
            self.closed += 1

    async def read_async(self, after: int | None) -> AsyncIterator[tuple[int, int]]:
        """Do the same, to be awaited."""
        for pair in self.read(after):
            yield pair

    def cursor(self, kind: str = "plain", name: str | None = None) -> Cursor[int]:
        """Give a cursor that reads it: plain, or async."""
        return Cursor(self.read if kind == "plain" else self.read_async, name=name)

    def seen(self) -> tuple[list[int | None], list[int]]:
        """Give from where it was read, and what, since the last question."""
        behind, self.behind = self.behind, []
        given, self.given = self.given, []
        return behind, given


class Late:
    """A task whose item 2 ends its process, after those behind it have ended; the others double."""

    def __init__(self, world: World, form: Form) -> None:
        self.world = world
        self.gate = Latch()

        async def step(x: int) -> int:
            if x == 2:
                await self.gate.passed()
            world.visit(f"step {x}")
            return 2 * x

        self.step = form.task()(step)

    def others(self, count: int) -> Callable[[int], None]:
        """Give what hears of each result, and lets item 2 go on at the last of *count*."""
        left = [count]

        def hear(_result: int) -> None:
            left[0] -= 1
            if not left[0]:
                self.gate.open()

        return hear
