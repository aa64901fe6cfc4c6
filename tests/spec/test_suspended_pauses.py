"""Pauses and unloading: a durable run that waits for people leaves the memory, and comes back when it is resumed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import attrs
import pytest

import headrace
from headrace import _runtime, aio
from headrace.errors import FlowPauseTimeout, InvalidRunInput, PauseContextError
from headrace.testing import virtual_time
from tests.spec.durable_crashes import STORES, World, doubling, path
from tests.spec.forms import Form, Record, call
from tests.spec.pausing import People, pause
from tests.spec.unloading import HOUR, UNLOADED, come_to, opened, state, the_run


@attrs.frozen
class Approval:
    approved: bool


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


async def suspend(form: Form, kind: Any = None, **more: Any) -> Any:
    """Suspend as code of this form does."""
    return await aio.suspend_flow_run(kind, **more) if form.is_async else headrace.suspend_flow_run(kind, **more)


def test_a_suspended_run_is_unloaded_at_once_and_comes_back_with_the_input(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def asks() -> Any:
        await call(step, 1)
        return await suspend(form, Approval)

    async def main(runtime: Any) -> None:
        future = runtime.submit(asks)
        await asyncio.sleep(1)
        run = await the_run()
        assert (run.state.name, run.state.message) == ("Suspended", "It waits to be resumed.")
        assert not _runtime.current().journal.live
        with pytest.raises(InvalidRunInput, match="approved: It is missing"):
            await aio.resume_flow_run(run)
        await aio.resume_flow_run(run, {"approved": True})
        assert await come_to(future) == Approval(True)

    with virtual_time():
        opened(world, main)
    assert world.seen() == ["step 1"]
    (run,) = world.flow_runs()
    assert path(run) == ["Running", "Paused", "Suspended", "Running", "Paused", "Running", "Completed"]


def test_a_paused_run_is_unloaded_after_a_while(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def asks() -> Any:
        return await pause(form, int, timeout=10 * HOUR)

    async def main(runtime: Any) -> None:
        future = runtime.submit(asks)
        await asyncio.sleep(5)
        assert await state() == "Paused"
        await asyncio.sleep(UNLOADED)
        run = await the_run()
        assert run.state.name == "Suspended"
        assert (run.state.message or "").startswith("It waits to be resumed, until 20")
        await aio.resume_flow_run(run, 7)
        assert await come_to(future) == 7

    with virtual_time():
        opened(world, main)


def test_it_comes_back_when_nobody_resumed_it_in_time(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def asks() -> Any:
        with pytest.raises(FlowPauseTimeout, match="was paused for 3600 s"):
            await suspend(form, timeout=HOUR)
        return time.elapsed

    async def main(runtime: Any) -> None:
        future = runtime.submit(asks)
        await asyncio.sleep(UNLOADED)
        assert await state() == "Suspended"
        assert await come_to(future) == HOUR

    with virtual_time() as time:
        opened(world, main)


def test_an_input_that_only_the_type_refuses_suspends_it_again(world: World) -> None:
    def judged(_: Any, __: Any, number: int) -> None:
        if number < 0:
            raise ValueError("it is below 0")

    @attrs.frozen
    class Amount:
        number: int = attrs.field(validator=judged)

    @headrace.flow(durable=True)
    async def asks() -> int:
        return (await aio.suspend_flow_run(Amount)).number

    async def main(runtime: Any) -> None:
        future = runtime.submit(asks)
        await asyncio.sleep(1)
        await aio.resume_flow_run(
            await the_run(), {"number": -1}
        )  # its code is not at work, so the schema alone judges
        await asyncio.sleep(UNLOADED)
        assert await state() == "Suspended"
        await aio.resume_flow_run(await the_run(), {"number": 1})
        assert await come_to(future) == 1

    with virtual_time():
        opened(world, main)


def test_a_suspended_run_of_which_somebody_waits_is_paused(form: Form, record: Record) -> None:
    people = People()
    people.resume(5)

    async def asks() -> Any:
        return await suspend(form, int)

    assert form.in_flow(asks, durable=True) == 5
    people.leave()
    assert record.path(record.flow_run()) == ["Running", "Paused", "Running", "Completed"]


def test_a_run_that_is_not_durable_is_not_suspended(form: Form, record: Record) -> None:
    async def asks() -> None:
        with pytest.raises(PauseContextError, match="this one is not durable"):
            await suspend(form)

    form.in_flow(asks)
