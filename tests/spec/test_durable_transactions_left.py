"""Transactions of durable runs that are stopped: those that are only left behind undo nothing, and go on."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

import headrace
from headrace import runs
from headrace._engine.life import drive
from headrace.durable import LostRun
from headrace.errors import TerminationSignal
from tests.spec.durable_crashes import STORES, World
from tests.spec.forms import Form, Latch, call
from tests.spec.test_durable_transactions import doing
from tests.spec.test_transactions import Block


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


def test_a_run_that_sigterm_interrupts_takes_its_transaction_along(form: Form, world: World) -> None:
    a, b, first = doing(world, form, "a"), doing(world, form, "b"), [True]

    @form.flow(durable=True)
    async def works() -> list[int]:
        async with Block(form):
            done = await call(a, 1)
            if first:
                first.clear()
                raise TerminationSignal
            return [done, await call(b, 2)]

    with world.runtime():
        with pytest.raises(TerminationSignal):
            form.run(works)
        assert world.seen() == ["a"]
        (run,) = runs.flow_runs()
        assert run.state.name == "Crashed"

    assert world.resumes(form, run.id) == [1, 2]
    assert world.seen() == ["b", "commit a", "commit b"]


@pytest.mark.parametrize("how", ["waits", "waits for tasks", "goes on"])
def test_a_run_that_a_runtime_did_not_wait_for_takes_its_transaction_along(world: World, how: str) -> None:
    """Unless it does not hear that it is to stop, and ends by itself."""
    form = Form("async")
    a, b, gate = doing(world, form, "a"), doing(world, form, "b"), Latch()

    @form.task()
    async def waits(_x: int) -> None:
        if not gate.event.is_set():
            gate.open()
            await asyncio.get_running_loop().create_future()

    @form.flow(durable=True)
    async def works() -> list[int]:
        async with Block(form):
            done = await a(1)
            if how == "waits for tasks":
                await waits.map(range(2))
            elif not gate.event.is_set():
                gate.open()
                with contextlib.suppress(*[asyncio.CancelledError] if how == "goes on" else ()):
                    await asyncio.get_running_loop().create_future()
            return [done, 2 if how == "goes on" else await b(2)]

    async def leaves() -> None:
        async with headrace.Runtime(drain_seconds=0) as opened:
            opened.submit(works)
            await gate.passed()

    with world.runtime():
        asyncio.run(leaves())
    (run,) = world.flow_runs()

    if how == "goes on":
        assert (run.state.name, world.seen()) == ("Completed", ["a", "commit a"])
        return
    assert (run.state.name, world.seen()) == ("Crashed", ["a"])
    assert world.resumes(form, run.id) == [1, 2]
    assert world.seen() == ["b", "commit a", "commit b"]


def test_a_run_that_another_process_has_by_now_undoes_nothing_here(form: Form, tmp_path: Path) -> None:
    world = World("memory", tmp_path)
    a = doing(world, form, "a")

    @form.task()
    async def stolen() -> None:
        owners = runtime.store.owners
        for one in drive(owners.listed()):
            assert drive(owners.take(one, "other:1:1:1", now=one.since, crashes=0, steps=0))

    @form.flow(durable=True)
    async def works() -> None:
        async with Block(form):
            await call(a)
            await call(stolen)

    with world.runtime() as runtime, pytest.raises(LostRun):
        form.run(works)

    assert world.seen() == ["a"]


def test_a_cancelled_run_undoes_what_was_done_before_the_crash(world: World) -> None:
    form = Form("async")
    a, b = doing(world, form, "a"), doing(world, form, "b")
    there = asyncio.Event()

    @form.flow(durable=True)
    async def works() -> None:
        async with Block(form):
            await a()
            await b()
            there.set()
            await asyncio.get_running_loop().create_future()

    run_id = world.crashes(form, works, at="b")
    world.seen()

    async def cancels() -> None:
        running = asyncio.create_task(headrace.aio.resume(run_id))
        await there.wait()
        running.cancel()
        await asyncio.wait([running])

    with world.runtime():
        asyncio.run(cancels())

    assert world.seen() == ["b", "undo b", "undo a"]
    assert [run.state.name for run in world.flow_runs()] == ["Cancelled"]
