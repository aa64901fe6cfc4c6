"""
Owners, whatever happens: processes on one database begin runs, fall silent, take over, suspend, write late, and end.

50 histories for each store, or with CHAOS=long, as `nox -s chaos -- long` sets it, 2,000, drawn anew each time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from headrace._model.ids import run_id
from headrace._model.records import Owned, instant
from headrace._model.signals import Arrival, Signal
from headrace._owners import PROCESS, SILENCE, dead
from headrace._ports import Batch, Store
from headrace._stores.memory import MemoryStore
from headrace._stores.postgres import PostgresStore
from headrace._stores.sqlite import SQLiteStore
from headrace.errors import StaleRuns
from tests.contract.stores import NOON, SECOND, STORES, batch, flow_id, flow_row, log_row, prefix, task_row
from tests.contract.test_owners import GOING, begins
from tests.contract.test_results import persisted
from tests.contract.test_suspended import suspends

LONG = os.environ.get("CHAOS") == "long"
NAMES = ("one", "two", "three")
PROCESSES = some.sampled_from(NAMES)
ANY = some.integers(0, 1_000)
STEPS = some.integers(1, 2)
SIGNALS = some.sampled_from(("go", "stop"))


@attrs.frozen
class World:
    """One database, opened by each of the processes for itself; *complete* runs what is to be awaited."""

    stores: dict[str, Store]
    complete: Callable[[Any], Any]


@attrs.define
class Run:
    """
    A durable run, by our own count.

    Attributes:
        owner: Who has it; "" while it is suspended, None once it has ended.
        since: When that one took it up.
        state: The name of the state on record, as of the last write that counted.
        written: The epoch and the owner of that write.
        steps: The mark in the row of each step, by its number.
        results: What is kept of each, by its key.
        said: Its log.
        wake_at: When it is due, while it is suspended; None: not by itself.
        unread: The names of what was sent to it.
    """

    owner: str | None
    since: int
    written: tuple[int, str]
    epoch: int = 1
    state: str = "Running"
    steps: dict[int, str] = attrs.Factory(dict[int, str])
    results: dict[str, str] = attrs.Factory(dict[str, str])
    said: list[str] = attrs.Factory(list[str])
    wake_at: int | None = None
    unread: set[str] = attrs.Factory(set[str])

    def heeds(self, epoch: int) -> bool:
        """Tell whether what is written under *epoch* counts."""
        return self.owner is not None and epoch == self.epoch


class Owners(RuleBasedStateMachine):
    """
    Three processes and their runs.

    Which rules may come does not depend on who won a race, so that a history that fails can be drawn again.

    Attributes:
        had: The runs that each process has, or had once and may take for its own still, with the epoch it knows.
        seen: What each process took for left behind when it last looked, however long ago.
        due: What was due then.
        until: When the lease of each process ends.
        touched: The runs of which anything was written, or was to be, since their record was looked at.
    """

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.now = NOON
        self.marks = 0
        self.runs: dict[int, Run] = {}
        self.had: dict[str, list[tuple[int, int]]] = {name: [] for name in NAMES}
        self.seen: dict[str, list[Owned]] = {name: [] for name in NAMES}
        self.due: dict[str, list[Owned]] = {name: [] for name in NAMES}
        self.until: dict[str, int] = {}
        self.touched: set[int] = set()
        for name, store in world.stores.items():
            until = self.until[name] = NOON + SILENCE
            world.complete(store.results.claim(f"{PROCESS}{name}", name, now=NOON, until=until))

    def teardown(self) -> None:
        """See all runs once more, and leave the database empty for the next history: what is deleted is nobody's."""
        store, complete = self.world.stores["one"], self.world.complete
        try:
            self.see(self.runs)
        finally:
            for name in NAMES:
                complete(store.results.release(f"{PROCESS}{name}", name))
            for run in complete(store.flow_runs()):
                complete(store.delete(run.id))
        assert complete(store.owners.listed()) == []

    # -- what happens -------------------------------------------------------------------------------------------------

    @initialize()
    def two_begin(self) -> None:
        """Two processes have a run each."""
        self.begins("one")
        self.begins("two")

    @rule(name=PROCESSES)
    @precondition(lambda self: len(self.runs) < 4)
    def begins(self, name: str) -> None:
        """A process begins a run."""
        number = len(self.runs) + 1
        self.world.complete(self.world.stores[name].append(begins(number, name, self.now - NOON)))
        self.runs[number] = Run(name, self.now, (1, name))
        self.had[name].append((number, 1))
        self.touched.add(number)

    @rule(name=PROCESSES, steps=some.lists(some.tuples(ANY, STEPS), min_size=1, max_size=3))
    def records(self, name: str, steps: list[tuple[int, int]]) -> None:
        """A process records steps of runs that it has, or had once, in one batch."""
        made, epochs, marks = Batch(strict=True), dict[int, int](), dict[int, tuple[int, str]]()
        for which, step in steps if self.had[name] else ():
            number, epoch = self.had[name][which % len(self.had[name])]
            if number not in epochs:
                epochs[number] = epoch
                marks[number] = step, self.record(made, name, number, epoch, step)
        if self.append(name, made, epochs):
            for number, (step, mark) in marks.items():
                self.note(name, number, epochs[number], step, mark)

    @rule(name=PROCESSES, which=ANY, step=STEPS)
    def records_one_alone(self, name: str, which: int, step: int) -> None:
        """A process records one step and nothing beside it, of a run that it has, or had once."""
        if not self.had[name]:
            return
        number, epoch = self.had[name][which % len(self.had[name])]
        mark = self.mark(number, epoch)
        made = batch(stepped(number, step, mark), strict=True)
        made.fences[flow_id(number)] = epoch
        if self.append(name, made, {number: epoch}):
            self.runs[number].steps[step] = mark

    @rule(name=PROCESSES, which=ANY, completed=some.booleans())
    def ends(self, name: str, which: int, completed: bool) -> None:
        """A process ends a run that it has, or had once; or is shut down, and leaves it to others."""
        if not self.had[name]:
            return
        number, epoch = self.had[name][which % len(self.had[name])]
        self.touched.add(number)
        state = "Completed" if completed else "Crashed"
        columns: dict[str, Any] = {"state_type": state.upper(), "state_name": state, "owner": name, "epoch": epoch}
        made = batch(flow_row(number, durability="strict", **columns), strict=True)
        made.fences[flow_id(number)] = epoch
        if completed:
            made.released.append(flow_id(number))
        if self.append(name, made, {number: epoch}):
            run = self.runs[number]
            run.state, run.written = state, (epoch, name)
            run.owner = None if completed else run.owner

    @rule(name=PROCESSES, which=ANY, step=STEPS)
    def writes_behind_the_end(self, name: str, which: int, step: int) -> None:
        """A process that takes a run to be over writes of a recorded step once more, and names no epoch for that."""
        known = [(number, epoch) for number, epoch in self.had[name] if step in self.runs[number].steps]
        if not known:
            return
        number, epoch = known[which % len(known)]
        mark = self.mark(number, epoch)
        self.world.complete(self.world.stores[name].append(batch(stepped(number, step, mark))))
        kept = self.runs[number].steps
        if epoch >= int(kept[step].partition(" ")[0]):
            kept[step] = mark

    @rule(name=PROCESSES)
    def falls_silent(self, name: str) -> None:
        """A process says nothing for longer than its lease lasts, while the others do."""
        self.now += SILENCE + SECOND
        for other in NAMES:
            if other != name:
                self.says_that_it_lives(other)

    @rule(name=PROCESSES)
    def says_that_it_lives(self, name: str) -> None:
        """A process renews its lease, maybe after it was taken for dead."""
        self.until[name] = self.now + SILENCE
        self.world.complete(self.world.stores[name].results.renew([f"{PROCESS}{name}"], name, self.until[name]))

    @rule(name=PROCESSES)
    def looks(self, name: str) -> None:
        """A process sees which runs were left behind: their owners were silent for too long."""
        store = self.world.stores[name]
        leases = self.world.complete(store.owners.leases(PROCESS))
        listed = self.world.complete(store.owners.listed())
        self.seen[name] = [one for one in listed if dead(one.owner, leases, one.since, self.now)]
        assert {one.owner for one in self.seen[name]} <= {one for one in NAMES if self.until[one] <= self.now}

    @rule(name=PROCESSES, which=ANY, at_once=some.booleans())
    def takes_over(self, name: str, which: int, at_once: bool) -> None:
        """A process takes a run that it sees left behind, or saw so before: another was faster, or it has ended."""
        if at_once:
            self.looks(name)
        if not self.seen[name]:
            return
        owned = self.seen[name][which % len(self.seen[name])]
        came = self.world.complete(self.take(name, owned))
        run = self.runs[number_of(owned)]
        assert came == (run.heeds(owned.epoch) and run.owner == owned.owner)
        if came:
            self.has(name, number_of(owned))

    @rule(name=PROCESSES, which=ANY, signal=SIGNALS, seconds=some.none() | some.integers(0, 40))
    def suspends(self, name: str, which: int, signal: str, seconds: int | None) -> None:
        """A process leaves a run that it has, or had once, to the store, until some time or a signal comes."""
        if not self.had[name]:
            return
        number, epoch = self.had[name][which % len(self.had[name])]
        self.touched.add(number)
        wake_at = None if seconds is None else self.now + seconds * SECOND
        if self.append(name, suspends(number, wake_at, signal, epoch=epoch), {number: epoch}):
            run = self.runs[number]
            run.owner, run.state, run.written = "", "Suspended", (epoch, "")
            run.wake_at = 0 if signal in run.unread else wake_at

    @rule(name=PROCESSES, which=ANY, signal=SIGNALS)
    def sends(self, name: str, which: int, signal: str) -> None:
        """A process sends a signal to a run, wherever that is."""
        number = which % len(self.runs) + 1
        run = self.runs[number]
        sent = Signal(flow_id(number), signal, "1", instant(self.now))
        came = self.world.complete(self.world.stores[name].signals.send(sent))
        assert came is (None if run.owner is None else Arrival.NEW if run.owner else Arrival.WAKES)
        run.unread.add(signal)
        run.wake_at = 0

    @rule(name=PROCESSES, at_once=some.booleans())
    def claims(self, name: str, at_once: bool) -> None:
        """A process claims all that is due, or was so when it looked before."""
        owners = self.world.stores[name].owners
        waiting = [(number, run) for number, run in self.runs.items() if run.owner == ""]
        times = {flow_id(number): run.wake_at for number, run in waiting if run.wake_at is not None}
        before, self.due[name] = self.due[name], self.world.complete(owners.due(self.now, 10))[0]
        assert {one.run_id: one.wake_at for one in self.due[name]} == {
            run_id: at for run_id, at in times.items() if at <= self.now
        }
        wanted = self.due[name] if at_once else before
        got = self.world.complete(owners.claim(wanted, name, self.now))
        epochs = {flow_id(number): run.epoch for number, run in waiting}
        assert got == {one.run_id for one in wanted if epochs.get(one.run_id) == one.epoch}
        for one in wanted:
            if one.run_id in got:
                self.has(name, number_of(one))

    @rule(which=ANY, step=STEPS, late=some.booleans())
    def is_raced_for(self, which: int, step: int, late: bool) -> None:
        """Two processes take a run at the same moment, in which its owner records a step."""
        going = [number for number, run in self.runs.items() if run.owner]
        if not going:
            return
        number = going[which % len(going)]
        run = self.runs[number]
        owner, epoch = str(run.owner), run.epoch
        rivals = [name for name in NAMES if name != owner]
        owned = Owned(flow_id(number), owner, epoch, run.since)
        made = Batch(strict=True)
        mark = self.record(made, owner, number, epoch, step)

        async def all_of_them() -> list[Any]:
            takes = [self.take(name, owned) for name in rivals]
            write = self.world.stores[owner].append(made)
            return [*await asyncio.gather(*([*takes, write] if late else [write, *takes]), return_exceptions=True)]

        came: list[Any] = self.world.complete(all_of_them())
        took, written = (came[:2], came[2]) if late else (came[1:], came[0])
        assert sorted(took) == [False, True], came
        if written is None:
            self.note(owner, number, epoch, step, mark)
        else:
            assert (type(written), written.run_ids) == (StaleRuns, (flow_id(number),))
        self.has(rivals[took.index(True)], number)

    # -- how that is done ---------------------------------------------------------------------------------------------

    def mark(self, number: int, epoch: int) -> str:
        """Give what tells one write from all others, and under which epoch it is."""
        self.touched.add(number)
        self.marks += 1
        return f"{epoch} {self.marks}"

    def record(self, made: Batch, name: str, number: int, epoch: int, step: int) -> str:
        """Add what a step comes to, to the batch *made*: its row, its result, a line, and its run; give its mark."""
        mark = self.mark(number, epoch)
        made.flow_runs.append(flow_row(number, **GOING, owner=name, epoch=epoch))
        made.task_runs.append(stepped(number, step, mark))
        made.logs.append(log_row(self.marks, mark, of=flow_id(number)))
        made.results.append(persisted(step, of=number, data=mark.encode()))
        made.fences[flow_id(number)] = epoch
        return mark

    def append(self, name: str, made: Batch, epochs: dict[int, int]) -> bool:
        """Write a batch, of which either everything counts or nothing; tell whether it does."""
        stale = {flow_id(number) for number, epoch in epochs.items() if not self.runs[number].heeds(epoch)}
        if not stale:
            self.world.complete(self.world.stores[name].append(made))
            return True
        with pytest.raises(StaleRuns) as caught:
            self.world.complete(self.world.stores[name].append(made))
        assert set(caught.value.run_ids) == stale
        return False

    def note(self, name: str, number: int, epoch: int, step: int, mark: str) -> None:
        """Count a step that was recorded."""
        run = self.runs[number]
        run.steps[step] = run.results[run_id(prefix(number), step)] = mark
        run.said.append(mark)
        run.state, run.written = "Running", (epoch, name)

    async def take(self, name: str, owned: Owned) -> bool:
        """Have a process take a run."""
        return await self.world.stores[name].owners.take(owned, name, now=self.now, crashes=0, steps=0)

    def has(self, name: str, number: int) -> None:
        """Count a run that was taken."""
        run = self.runs[number]
        run.owner, run.since, run.epoch = name, self.now, run.epoch + 1
        self.had[name].append((number, run.epoch))

    # -- what holds ---------------------------------------------------------------------------------------------------

    @invariant()
    def each_run_has_one_owner_until_it_ends(self) -> None:
        """Who began it, or was the last to take it, under an epoch that in our count only grows."""
        store = self.world.stores["one"]
        listed = self.world.complete(store.owners.listed())
        ours = {flow_id(number): (run.owner, run.epoch) for number, run in self.runs.items() if run.owner}
        assert len(listed) == len(ours)
        assert {one.run_id: (one.owner, one.epoch) for one in listed} == ours

    @invariant()
    def what_counted_is_on_record_and_nothing_else(self) -> None:
        """No step is lost, none is overwritten by an older epoch, and of a batch that was refused there is nothing."""
        touched, self.touched = self.touched, set()
        self.see(touched)

    def see(self, numbers: Iterable[int]) -> None:
        """See that the record of some runs is what we count."""
        store, complete = self.world.stores["two"], self.world.complete
        for number in numbers:
            run = self.runs[number]
            (row,) = complete(store.flow_runs(begins=flow_id(number)))
            results = complete(store.results.under(prefix(number)))
            steps = {run_id(prefix(number), step): mark for step, mark in run.steps.items()}
            assert (row.state.name, row.epoch, row.owner) == (run.state, *run.written)
            assert {one.id: one.state.message for one in complete(store.task_runs(prefix(number)))} == steps
            assert {key: one.data.decode() for key, one in results.items()} == run.results
            assert [line.message for line in complete(store.logs([flow_id(number)]))] == run.said


def stepped(number: int, step: int, mark: str) -> Any:
    """Give the row of a step of a run, with *mark*, which begins with the epoch that it is written under."""
    return task_row(step, of=number, state_name="Completed", message=mark, epoch=int(mark.partition(" ")[0]))


def number_of(owned: Owned) -> int:
    """Give the number of a run."""
    return int(owned.run_id[:8], 16)


def opening(kind: str, folder: Path, request: pytest.FixtureRequest) -> Callable[[], Store]:
    """Give what opens the one database there is for a kind of store."""
    if kind == "memory":
        store = MemoryStore()
        return lambda: store
    if kind == "sqlite":
        return lambda: SQLiteStore(folder / "owners.db")
    server = request.getfixturevalue("postgresql")
    url = server.url(server.database())
    return lambda: PostgresStore(url)


@pytest.fixture(params=sorted(STORES))
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    opened = opening(request.param, tmp_path, request)
    with asyncio.Runner() as runner:
        stores = {name: opened() for name in NAMES}
        for store in stores.values():
            runner.run(store.open())
        yield World(stores, runner.run)
        for store in stores.values():
            runner.run(store.close())


@pytest.mark.timeout(
    3_600 if LONG else 480
)  # of which ours takes 15: the rest is to find the shortest history that fails
def test_a_run_has_one_owner_and_its_record_is_that_one_s(world: World) -> None:
    class OwnersHere(Owners):
        def __init__(self) -> None:
            super().__init__(world)

    run_state_machine_as_test(
        OwnersHere,
        settings=settings(max_examples=2_000 if LONG else 50, stateful_step_count=40, derandomize=not LONG),
    )
