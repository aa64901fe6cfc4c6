"""A runtime that opens takes up the durable runs that others left behind, where it has their flows."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import flow, runs
from headrace._decorated import FLOWS
from tests.chaos.processes import until
from tests.spec.durable_crashes import STORES, World, doubling, path
from tests.spec.forms import Form, Latch, call


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


def opened(form: Form, world: World, done: Latch, **options: Any) -> None:
    """Open a runtime of that form, until *done*."""

    async def block() -> None:
        async with headrace.Runtime(**options):
            await done.passed()

    with world.runtime():
        if form.is_async:
            asyncio.run(block())
        else:
            with headrace.Runtime(**options):
                assert done.event.wait(30)


@pytest.mark.parametrize("opener", ["sync", "async"])
def test_a_run_left_behind_goes_on_where_a_runtime_opens(form: Form, world: World, opener: Any) -> None:
    step, done = doubling(world, form), Latch()

    @form.flow(durable=True)
    async def works() -> int:
        total: int = sum([await call(step, x) for x in range(4)])
        done.open()
        return total

    run_id = world.crashes(form, works, at="step 2")
    world.seen()
    opened(Form(opener), world, done)

    assert world.seen() == ["step 2", "step 3"]
    (run,) = world.flow_runs()
    assert run.id == run_id
    assert path(run) == ["Running", "Crashed", "Running", "Completed"]
    with world.runtime():
        assert runs.flow_run(run_id).state.result() == 12


def test_all_runs_left_behind_go_on(form: Form, world: World) -> None:
    step, done = doubling(world, form), Latch()
    ended: list[int] = []

    @form.flow(durable=True)
    async def works(x: int) -> None:
        await call(step, x)
        ended.append(x)
        if len(ended) == 5:
            done.open()

    for x in range(5):
        world.crashes(form, works, x, at=f"step {x}")
    ended.clear()
    opened(Form("async"), world, done)

    assert sorted(ended) == [0, 1, 2, 3, 4]
    assert {run.state.name for run in world.flow_runs()} == {"Completed"}


def test_runs_of_other_programs_are_left_alone(form: Form, world: World) -> None:
    """Their code is not loaded: it is somewhere else, and may do anything."""
    step, done = doubling(world, form), Latch()

    @form.flow(durable=True)
    async def mine() -> None:
        await call(step, 1)
        done.open()

    @form.flow(durable=True)
    async def theirs() -> None:
        await call(step, 2)

    world.crashes(form, theirs, at="step 2")
    world.crashes(form, mine, at="step 1")
    done.event.clear()
    for key in [key for key, known in FLOWS.items() if known is theirs]:
        del FLOWS[key]
    world.seen()
    opened(Form("async"), world, done)

    assert world.seen() == ["step 1"]
    assert {run.flow_name: run.state.is_completed() for run in world.flow_runs()} == {"mine": True, "theirs": False}


def test_a_runtime_may_be_told_to_take_up_nothing(form: Form, world: World) -> None:
    step, done = doubling(world, form), Latch()

    @form.flow(durable=True)
    async def works() -> None:
        await call(step, 1)

    world.crashes(form, works, at="step 1")
    world.seen()
    done.open()
    opened(Form("async"), world, done, recover=False)

    assert world.seen() == []


def test_a_run_that_cannot_go_on_does_not_keep_others_from_it(
    form: Form, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    step, done = doubling(world, form), Latch()

    @form.flow(durable=True)
    async def works(x: Any) -> None:
        await call(step, x)
        if x == 2:
            done.open()

    broken = world.crashes(form, works, Breaks(1), at="step <breaks>")
    world.crashes(form, works, 2, at="step 2")
    done.event.clear()
    world.seen()
    Breaks.whole = False
    caplog.set_level(logging.WARNING, "headrace")
    caplog.clear()
    try:
        opened(Form("async"), world, done)
    finally:
        Breaks.whole = True

    assert world.seen() == ["step 2"]
    lines = [record.getMessage() for record in caplog.records if "cannot go on" in record.getMessage()]
    assert len(lines) == 1
    assert f"Flow run {broken} cannot be resumed: what it was called with cannot be read" in lines[0]


class Breaks:
    """A value that cannot be read back for a while."""

    whole = True

    def __init__(self, x: int) -> None:
        self.x = x

    def __repr__(self) -> str:
        return "<breaks>"

    def __mul__(self, other: int) -> int:
        return self.x * other

    __rmul__ = __mul__

    def __setstate__(self, state: dict[str, int]) -> None:
        if not self.whole:
            raise LookupError("broken")
        self.__dict__.update(state)


def test_a_run_that_fails_when_it_is_taken_up_is_told(
    form: Form, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    step, done = doubling(world, form), Latch()

    @form.flow(durable=True)
    async def works() -> None:
        await call(step, 1)
        done.open()
        raise LookupError("after the crash")

    world.crashes(form, works, at="step 1")
    caplog.clear()
    opened(Form("async"), world, done)

    assert [run.state.name for run in world.flow_runs()] == ["Failed"]
    assert any("after the crash" in record.getMessage() for record in caplog.records)


def test_a_run_in_progress_here_is_not_taken_up(form: Form, world: World) -> None:
    bodies: list[str] = []

    @form.flow(durable=True)
    async def works() -> None:
        bodies.append("begun")
        run_id = headrace.runtime.flow_run.id
        assert recovery is not None
        recovery([run_id])

    recovery: Any = None

    async def block() -> None:
        nonlocal recovery
        async with headrace.Runtime() as opening:
            recovery = runtime.journal.recovering
            await opening.submit(works)

    with world.runtime() as runtime:
        asyncio.run(block())

    assert bodies == ["begun"]
    assert [run.state.name for run in world.flow_runs()] == ["Completed"]


def test_a_run_is_left_to_the_next_look_while_the_database_is_away(form: Form, world: World) -> None:
    """It is no reason to leave a run where it is for good."""
    step, done = doubling(world, form), Latch()

    @form.flow(durable=True)
    async def works() -> None:
        await call(step, 1)
        done.open()

    world.crashes(form, works, at="step 1")
    done.event.clear()
    world.away = 1
    opened(Form("async"), world, done)

    assert [run.state.name for run in world.flow_runs()] == ["Completed"]


def test_a_durable_flow_that_yields_is_taken_up_by_nobody(world: World, caplog: pytest.LogCaptureFixture) -> None:
    form = Form("sync")
    step, done = doubling(world, form), Latch()

    @flow(durable=True)
    def yields() -> Any:
        for x in range(3):
            yield step(x)

    @flow(durable=True)
    def works() -> None:
        step(7)
        done.open()

    def reads() -> None:
        list(yields())

    world.crashes(form, reads, at="step 1")
    world.crashes(form, works, at="step 7")
    done.event.clear()
    world.seen()
    caplog.clear()
    opened(Form("async"), world, done)

    assert world.seen() == ["step 7"]


def test_two_openings_share_what_was_left_behind(form: Form, world: World) -> None:
    step, done = doubling(world, form), Latch()
    ended: list[int] = []

    @form.flow(durable=True)
    async def works(x: int) -> None:
        await call(step, x)
        ended.append(x)
        if len(ended) == 3:
            done.open()

    for x in range(3):
        world.crashes(form, works, x, at=f"step {x}")
    ended.clear()
    world.seen()

    async def block() -> None:
        async with headrace.Runtime(), headrace.Runtime():
            await done.passed()

    with world.runtime():
        asyncio.run(block())

    assert sorted(world.seen()) == ["step 0", "step 1", "step 2"]
    until(lambda: len(ended) == 3)


def test_a_run_that_a_runtime_did_not_wait_for_is_left_behind(world: World) -> None:
    form = Form("async")
    step, gate, done = doubling(world, form), Latch(), Latch()

    @flow(durable=True)
    async def works() -> int:
        first: int = await call(step, 1)
        if not gate.event.is_set():
            gate.open()
            await asyncio.get_running_loop().create_future()
        last: int = await call(step, 2)
        done.open()
        return first + last

    async def leaves() -> None:
        async with headrace.Runtime(drain_seconds=0) as runtime:
            runtime.submit(works)
            await gate.passed()

    with world.runtime():
        asyncio.run(leaves())
    (run,) = world.flow_runs()
    assert run.state.name == "Crashed"
    assert world.seen() == ["step 1"]

    opened(form, world, done)

    assert world.seen() == ["step 2"]
    (run,) = world.flow_runs()
    assert path(run) == ["Running", "Cancelling", "Crashed", "Running", "Completed"]
