"""Limits, whatever happens: processes on one store take, wait, give back and die, and limits change meanwhile."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar

import attrs
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headrace._engine.life import drive
from headrace._limits.counter import Held, Waiter
from headrace._limits.desk import BEAT, LEASE, Desk
from headrace._ports import Store
from headrace._stores.memory import MemoryStore
from headrace._stores.sqlite import SQLiteStore
from tests.unit._limits.driven import World, take

DESKS = some.sampled_from("abc")
NAMES = some.sampled_from(["api", "db"])
RATE, BURST = 2.0, 3


@attrs.define(eq=False)
class Ask:
    """
    What somebody asked for in one process.

    Attributes:
        before: The limits that were made while it had what it asked for, and do not count it.
    """

    desk: str
    names: tuple[str, ...]
    occupy: int
    waiter: Waiter | None
    held: Held | None = None
    before: set[str] = attrs.Factory(set[str])


class Limits(RuleBasedStateMachine):
    """
    Two limits and a rate, three processes, and what they have by our own count.

    Attributes:
        sizes: The slots of each limit; None for one that does not exist.
        most: How many slots of each may be in use: of a limit that was lowered, what was in use before stays so.
        passed: When turns of the rate were let through, in seconds.
        patience: For how long who waits for all there is has to wait: who died in silence is taken to live for a while.
    """

    kept: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.loop = asyncio.new_event_loop()
        store: Store = SQLiteStore(Path(self.folder.name) / "limits.db", "off") if self.kept else MemoryStore()
        complete: Callable[[Coroutine[Any, Any, Any]], Any] = self.loop.run_until_complete if self.kept else drive
        complete(store.open())
        self.world = World(store, complete)
        self.desks: dict[str, Desk] = {}
        self.sizes: dict[str, int | None] = {"api": 3, "db": 2}
        self.asked: list[Ask] = []
        self.turns: list[tuple[str, Waiter]] = []
        self.passed: list[float] = []
        self.most: dict[str, int] = {}
        self.deaths = 0
        self.patience = 0.2
        for name, slots in self.sizes.items():
            self.world.define(name, slots or 0)
        self.world.define("rate", BURST, RATE)
        for letter in "abc":
            self.desks[letter] = self.world.desk(letter)

    def teardown(self) -> None:
        """Close the store."""
        self.world.complete(self.world.store.close())
        self.loop.close()
        self.folder.cleanup()

    # -- what happens -----------------------------------------------------------------------------------------

    @rule(desk=DESKS, names=some.lists(NAMES, min_size=1, max_size=2, unique=True), occupy=some.integers(1, 2))
    def asks(self, desk: str, names: list[str], occupy: int) -> None:
        """Somebody asks for slots."""
        got = take(self.desks[desk], *names, occupy=occupy)
        one = Ask(desk, tuple(names), occupy, got if isinstance(got, Waiter) else None)
        one.held = None if isinstance(got, Waiter) else got
        self.asked.append(one)
        self.look()

    @rule(which=some.integers(0, 1_000))
    @precondition(lambda self: any(one.held for one in self.asked))
    def gives_back(self, which: int) -> None:
        """Somebody gives back what it has."""
        have = [one for one in self.asked if one.held is not None]
        self.end(have[which % len(have)])

    @rule(which=some.integers(0, 1_000))
    @precondition(lambda self: any(one.held is None for one in self.asked))
    def withdraws(self, which: int) -> None:
        """Somebody waits no more."""
        wait = [one for one in self.asked if one.held is None]
        one = wait[which % len(wait)]
        assert one.waiter is not None
        self.asked.remove(one)
        self.desks[one.desk].withdraw(one.waiter)
        self.look()

    @rule()
    def settles(self) -> None:
        """The back offices do what they were asked to."""
        self.world.settle()
        self.look()

    @rule(seconds=some.sampled_from([0.01, 0.06, BEAT, 1.2, 5.0]))
    def waits(self, seconds: float) -> None:
        """Time passes."""
        for _ in range(max(1, round(seconds / 0.05))):
            self.world.advance(min(seconds, 0.05))
            self.look()

    @rule(name=NAMES, slots=some.integers(0, 4))
    def defines(self, name: str, slots: int) -> None:
        """A limit is changed, and everybody hears of it; what was leased before may be handed out until then."""
        self.most[name] = max(self.most.get(name, 0), self.sizes[name] or 0)
        if self.sizes[name] is None:
            for one in self.asked:
                if one.held is not None:
                    one.before.add(name)
        self.world.define(name, slots)
        self.sizes[name] = slots
        self.world.advance(2 * BEAT)
        self.look()

    @rule(name=NAMES)
    def deletes(self, name: str) -> None:
        """A limit is deleted, and everybody hears of it."""
        self.world.remove(name)
        self.sizes[name] = None
        self.world.advance(2 * BEAT)
        self.look()

    @rule(desk=DESKS, silent=some.booleans())
    @precondition(lambda self: self.deaths < 2)
    def dies(self, desk: str, silent: bool) -> None:
        """A process ends; nobody may know."""
        self.deaths += 1
        owner = self.desks[desk].owner.partition(":")[0]
        self.world.kill(owner)
        if not silent:
            self.world.gone.add(owner)
        else:
            self.patience = LEASE / 1e9 + 1
        self.asked = [one for one in self.asked if one.desk != desk]
        self.turns = [one for one in self.turns if one[0] != desk]
        self.desks[desk] = self.world.desk(f"{desk}{self.deaths}")
        self.look()

    @rule(desk=DESKS, occupy=some.integers(1, 2))
    def asks_for_a_turn(self, desk: str, occupy: int) -> None:
        """Somebody asks for a turn of the rate."""
        got = take(self.desks[desk], "rate", occupy=occupy)
        if isinstance(got, Waiter):
            self.turns.append((desk, got))
            got.when_done(lambda _waiter: self.passes(desk, got.held))
        else:
            self.passes(desk, got)
        self.look()

    def passes(self, desk: str, held: Held | None) -> None:
        """Somebody is let through by the rate."""
        if held is not None:
            self.passed += [self.world.ticks / 1e9] * held.occupy
            self.desks[desk].spent(held)

    def end(self, one: Ask) -> None:
        """Give back what *one* has."""
        assert one.held is not None
        self.asked.remove(one)
        self.desks[one.desk].give_back(one.held)
        self.look()

    def look(self) -> None:
        """Hear who has what it waited for."""
        for one in list(self.asked):
            if one.waiter is not None and one.held is None:
                one.held = one.waiter.held
                if one.waiter.error is not None:
                    self.asked.remove(one)
        self.turns = [(desk, waiter) for desk, waiter in self.turns if not waiter.over]
        for desk, waiter in self.turns:
            self.desks[desk].look(waiter)

    def used(self, name: str) -> int:
        """Count the slots of a limit that are in use."""
        counted = [one for one in self.asked if one.held is not None and name not in one.before]
        return sum(one.occupy for one in counted if name in one.names)

    # -- what holds -------------------------------------------------------------------------------------------

    @invariant()
    def never_more_are_in_use_than_there_were_when_the_last_was_taken(self) -> None:
        """Of a limit that was lowered, those in use stay so; nobody gets another until there are as few."""
        for name, slots in self.sizes.items():
            used = self.used(name)
            assert slots is None or used <= max(slots, self.most.get(name, 0)), (name, used, slots)
        self.most = {name: self.used(name) for name in self.sizes}

    @invariant()
    def each_process_serves_who_came_first(self) -> None:
        """Of those who ask for one limit alone, nobody has its slots before who came before it in its process."""
        for desk in self.desks:
            for name in self.sizes:
                waits = False
                for one in [one for one in self.asked if one.desk == desk and one.names == (name,)]:
                    assert not (waits and one.held is not None and one.waiter is not None), "it slipped past"
                    waits = waits or one.held is None

    @invariant()
    def a_rate_lets_no_more_through_in_any_time_than_comes_free_in_it(self) -> None:
        """Between any two turns there are at most the burst and what came free meanwhile."""
        for first, began in enumerate(self.passed):
            for last in range(first, len(self.passed)):
                count = last - first + 1
                assert count <= BURST + RATE * (self.passed[last] - began) + 1e-6, self.passed

    @rule()
    def everything_can_be_given_back(self) -> None:
        """Once nobody has or wants any, one process can have all."""
        for one in list(self.asked):
            if one.held is None:
                assert one.waiter is not None
                self.asked.remove(one)
                self.desks[one.desk].withdraw(one.waiter)
        self.look()
        for one in list(self.asked):
            self.end(one)
        self.world.advance(2)
        for name, slots in self.sizes.items():
            if not slots:
                continue
            got = take(self.desks["a"], name, occupy=slots)
            self.world.advance(self.patience)
            held = got.held if isinstance(got, Waiter) else got
            assert held is not None, (name, slots, self.world.complete(self.world.store.limits.claims(name)))
            self.desks["a"].give_back(held)
        self.look()


class KeptLimits(Limits):
    """The same on a file."""

    kept = True


TestLimitsInMemory = Limits.TestCase
TestLimitsInMemory.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLimitsInAFile = KeptLimits.TestCase
TestLimitsInAFile.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
