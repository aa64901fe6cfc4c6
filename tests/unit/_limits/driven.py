"""Desks that a test drives by hand: their clocks stand still unless it says so, and so does the back office."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from headrace._engine.life import drive
from headrace._limits.counter import Held, Waiter
from headrace._limits.desk import Desk
from headrace._model.slots import Limit, marked
from headrace._ports import Store
from headrace._stores.memory import MemoryStore
from headrace.errors import StoreUnavailable

NOON = 1_700_000_000_000_000_000
Errand = tuple[str, Callable[[Store], Any], Callable[[Any, Exception | None], None]]


class World:
    """
    A store, and the processes that share it.

    Attributes:
        ticks: The clock that nobody sets, in nanoseconds.
        skew: By how much the other clock, which somebody does set, is wrong.
        gone: Processes that are proved to have ended.
        killed: Processes that do nothing any more.
        trouble: What the store raises, in place of an answer.
        at_work: Called while the store is at work for somebody.
        busy: How many say that the back office is at work for them.
    """

    def __init__(self, store: Store | None = None, complete: Callable[[Coroutine[Any, Any, Any]], Any] = drive) -> None:
        self.store: Store = store or MemoryStore()
        self.complete = complete
        self.ticks = 1_000_000_000_000
        self.skew = 0
        self.gone: set[str] = set()
        self.killed: set[str] = set()
        self.trouble: StoreUnavailable | None = None
        self.at_work: Callable[[], object] = lambda: None
        self.busy = 0
        self.settlements = 0
        self.errands: deque[Errand] = deque()
        self.timers: list[tuple[int, int, str, Callable[[], None]]] = []
        self.numbers = itertools.count()

    # -- what is asked of it --------------------------------------------------------------------------------------

    def desk(self, name: str) -> Desk:
        """Open the desk of one process."""

        def errand(work: Any, answer: Any) -> None:
            self.errands.append((name, work, answer))

        def later(seconds: float, function: Callable[[], None]) -> None:
            heapq.heappush(self.timers, (self.ticks + int(seconds * 1e9), next(self.numbers), name, function))

        return Desk(
            f"{name}:1",
            gone=self.gone.__contains__,
            errand=errand,
            later=later,
            now=lambda: NOON + self.ticks + self.skew,
            ticks=lambda: self.ticks,
            mark=lambda at: marked("boot", at),
            clock=self,
        )

    def started(self) -> None:
        """Hear that the back office is at work."""
        self.busy += 1

    def finished(self) -> None:
        """Hear that it is done."""
        self.busy -= 1

    # -- what happens ---------------------------------------------------------------------------------------------

    def define(self, name: str, slots: int, decay: float | None = None, *, active: bool = True) -> None:
        """Have a limit be so."""
        self.complete(self.store.limits.define(Limit(name, slots, decay, active)))

    def remove(self, name: str) -> None:
        """Delete a limit."""
        self.complete(self.store.limits.remove(name))

    def settle(self) -> None:
        """Have the back offices do what they were asked to."""
        while self.errands:
            name, work, answer = self.errands.popleft()
            if name in self.killed:
                continue
            value, error = None, None
            self.settlements += 1
            try:
                value = self.complete(self.watched(work))
            except StoreUnavailable as raised:
                error = raised
            answer(value, error)

    async def watched(self, work: Callable[[Store], Any]) -> Any:
        """Do *work* with a store during whose work something happens."""
        watched: Any = Watched(self)
        return await work(watched)

    def advance(self, seconds: float) -> None:
        """Let time pass, and have done what is due meanwhile."""
        until = self.ticks + round(seconds * 1e9)
        self.settle()
        while self.timers and self.timers[0][0] <= until:
            at, _, name, function = heapq.heappop(self.timers)
            self.ticks = max(self.ticks, at)
            if name not in self.killed:
                function()
            self.settle()
        self.ticks = until

    def kill(self, name: str) -> None:
        """End a process without a word."""
        self.killed.add(name)
        self.timers = [timer for timer in self.timers if timer[2] != name]
        heapq.heapify(self.timers)


class Watched:
    """A store that tells the world when it has answered, and nobody has heard it yet."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.limits = self

    async def settle(self, *args: Any) -> Any:
        """Settle, and tell."""
        if self.world.trouble is not None:
            raise self.world.trouble
        leases = await self.world.store.limits.settle(*args)
        self.world.at_work()
        return leases

    async def listed(self) -> Any:
        """List all limits."""
        return await self.world.store.limits.listed()


def take(
    desk: Desk, *names: str, occupy: int = 1, priority: int = 0, key: str = "", size: int | None = None
) -> Held | Waiter:
    """Ask *desk* for slots of the limits *names*."""
    return desk.take([(name, size) for name in names], occupy, None, priority, key)


def waits(desk: Desk, *names: str, **options: Any) -> Waiter:
    """Ask for slots, and see that one has to wait."""
    got = take(desk, *names, **options)
    assert isinstance(got, Waiter)
    return got


def has(desk: Desk, *names: str, **options: Any) -> Held:
    """Ask for slots, and see that they are there at once."""
    got = take(desk, *names, **options)
    if isinstance(got, Waiter):
        assert got.held is not None
        return got.held
    return got


def granted(world: World, desk: Desk, *names: str, **options: Any) -> Held:
    """Ask for slots, and see that they are there once the store was asked."""
    got = take(desk, *names, **options)
    world.settle()
    if isinstance(got, Waiter):
        assert got.held is not None, "it waits"
        return got.held
    return got


def opened(*waiters: Waiter) -> list[bool]:
    """Tell which of *waiters* have what they wait for."""
    return [waiter.held is not None for waiter in waiters]
