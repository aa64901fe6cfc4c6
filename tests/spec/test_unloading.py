"""A durable run of which all that is at work waits is unloaded, and comes back when it is due."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import _runtime, aio
from headrace.errors import WaitTimeoutError
from headrace.testing import virtual_time
from tests.spec.durable_crashes import STORES, World, doubling, path
from tests.spec.forms import Form, call
from tests.spec.unloading import HOUR, UNLOADED, come_to, opened, race, receive, sleep, state, the_run


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


def test_a_flow_that_sleeps_is_unloaded_and_comes_back_on_time(form: Form, world: World) -> None:
    step = doubling(world, form)
    begun: list[float] = []

    @form.flow(durable=True)
    async def waits() -> int:
        begun.append(time.elapsed)
        first: int = await call(step, 1)
        await sleep(form, HOUR)
        world.visit(f"woke at {time.elapsed:g}")
        return first + int(await call(step, 2))

    async def main(runtime: Any) -> None:
        runtime.submit(waits)
        await asyncio.sleep(UNLOADED)
        run = await the_run()
        assert (run.state.name, run.state.is_paused()) == ("Suspended", True)
        assert run.state.message is not None
        assert run.state.message.startswith("It sleeps until 20")
        assert not _runtime.current().journal.live
        await asyncio.sleep(HOUR)

    with virtual_time() as time:
        opened(world, main)

    assert world.seen() == ["step 1", "woke at 3600", "step 2"]
    assert begun == [0, HOUR]
    (run,) = world.flow_runs()
    assert path(run) == ["Running", "Suspended", "Running", "Completed"]


def test_it_comes_back_when_a_signal_comes(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def waits() -> str:
        return str(await receive(form, "approval"))

    async def main(runtime: Any) -> None:
        future = runtime.submit(waits)
        await asyncio.sleep(UNLOADED)
        run = await the_run()
        assert run.state.message == "It waits for the signal 'approval'."
        await aio.send(run, "approval", "granted")
        assert await come_to(future) == "granted"

    with virtual_time():
        opened(world, main)


def test_it_comes_back_when_no_signal_came_in_time(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def waits() -> list[Any]:
        return [await receive(form, "approval", timeout=HOUR, default="late"), time.elapsed]

    async def main(runtime: Any) -> None:
        future = runtime.submit(waits)
        await asyncio.sleep(UNLOADED)
        message = (await the_run()).state.message or ""
        assert message.startswith("It waits for the signal 'approval', until 20")
        assert message.endswith(" UTC at most.")
        assert await come_to(future) == ["late", HOUR]

    with virtual_time() as time:
        opened(world, main)


def test_its_future_is_settled_when_it_ends_after_all(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def waits() -> str:
        await sleep(form, HOUR)
        return "rested"

    async def main(runtime: Any) -> None:
        future = runtime.submit(waits)
        await asyncio.sleep(UNLOADED)
        assert (future.done(), future.state.name, repr(future)) == (False, "Suspended", repr(future))
        assert await future == "rested"

    with virtual_time() as time:
        opened(world, main)
    assert time.elapsed == HOUR


def test_it_is_unloaded_again_and_again(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def waits() -> float:
        for _ in range(3):
            await sleep(form, HOUR)
        return time.elapsed

    async def main(runtime: Any) -> None:
        future = runtime.submit(waits)
        assert await come_to(future) == 3 * HOUR

    with virtual_time() as time:
        opened(world, main)
    (run,) = world.flow_runs()
    assert path(run).count("Suspended") == 3
    assert run.epoch == 4


def test_branches_that_all_wait_are_unloaded_together(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow()
    async def part(hours: int) -> int:
        await sleep(form, hours * HOUR)
        return int(await call(step, hours))

    @form.flow(durable=True)
    async def waits() -> list[Any]:
        futures = [part.submit(hours) for hours in (1, 2)]
        return [await call(one.result) if not form.is_async else await one for one in futures]

    async def main(runtime: Any) -> None:
        future = runtime.submit(waits)
        await asyncio.sleep(UNLOADED)
        assert {run.state.name for run in await aio.flow_runs()} == {"Suspended"}
        await asyncio.sleep(1.5 * HOUR)
        assert world.seen() == ["step 1"]
        assert await come_to(future) == [2, 4]

    with virtual_time():
        opened(world, main)
    assert world.seen() == ["step 2"]


def test_a_race_is_decided_after_it_was_unloaded(form: Form, world: World) -> None:
    @form.flow()
    async def approved() -> str:
        return str(await receive(form, "approval"))

    @form.flow()
    async def late() -> str:
        await sleep(form, HOUR)
        return "late"

    @form.flow(durable=True)
    async def waits() -> str:
        entrants = (approved(), late()) if form.is_async else (approved.submit(), late.submit())
        return str((await race(form, *entrants)).value)

    async def main(runtime: Any) -> None:
        future = runtime.submit(waits)
        await asyncio.sleep(UNLOADED)
        assert await state() == "Suspended"
        assert await come_to(future) == "late"

    with virtual_time():
        opened(world, main)


def test_a_signal_to_a_flow_within_it_brings_it_back(form: Form, world: World) -> None:
    @form.flow()
    async def part() -> str:
        world.visit(str(headrace.runtime.flow_run.id))
        return str(await receive(form, "approval"))

    @form.flow(durable=True)
    async def waits() -> str:
        return str(await call(part))

    async def main(runtime: Any) -> None:
        future = runtime.submit(waits)
        await asyncio.sleep(UNLOADED)
        assert await state() == "Suspended"
        await aio.send(world.ran[0], "approval", "granted")
        assert await come_to(future) == "granted"

    with virtual_time():
        opened(world, main)


def test_the_delay_before_a_retry_is_waited_for_once(form: Form, world: World) -> None:
    @form.task(retries=2, retry_delay_seconds=HOUR)
    async def fails() -> str:
        world.visit(f"at {time.elapsed:g}")
        if time.elapsed < 2 * HOUR:
            raise LookupError("not there yet")
        return "found"

    @form.flow(durable=True)
    async def tries() -> str:
        return str(await call(fails))

    async def main(runtime: Any) -> None:
        future = runtime.submit(tries)
        await asyncio.sleep(UNLOADED)
        assert await state() == "Suspended"
        assert await come_to(future) == "found"

    with virtual_time() as time:
        opened(world, main)
    assert world.seen() == ["at 0", "at 3600", "at 7200"]
    (run,) = world.task_runs()
    assert run.run_count == 3


def test_a_flow_that_is_tried_again_later_is_unloaded_meanwhile(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True, retries=1, retry_delay_seconds=HOUR)
    async def tries() -> int:
        value: int = await call(step, 1)
        if time.elapsed < HOUR:
            raise LookupError("not there yet")
        return value

    async def main(runtime: Any) -> None:
        future = runtime.submit(tries)
        await asyncio.sleep(UNLOADED)
        assert await state() == "Suspended"
        assert await come_to(future) == 2

    with virtual_time() as time:
        opened(world, main)
    assert world.seen() == ["step 1"]


def test_a_blocking_program_has_its_runs_come_back(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def waits() -> float:
        await sleep(form, HOUR)
        return time.elapsed

    with virtual_time() as time, world.runtime(), headrace.Runtime() as runtime:
        future = runtime.submit(waits)
        headrace.sleep(UNLOADED)
        assert future.state.name == "Suspended"
        assert future.result() == HOUR


def test_the_time_of_a_race_goes_on_while_it_is_unloaded(form: Form, world: World) -> None:
    @form.flow()
    async def approved() -> str:
        return str(await receive(form, "approval"))

    @form.flow(durable=True)
    async def waits() -> float:
        entrant = approved() if form.is_async else approved.submit()
        with pytest.raises(WaitTimeoutError):
            await (aio.race(entrant, timeout=HOUR) if form.is_async else call(headrace.race, entrant, timeout=HOUR))
        return time.elapsed

    async def main(runtime: Any) -> None:
        future = runtime.submit(waits)
        await asyncio.sleep(UNLOADED)
        assert await state() == "Suspended"
        assert await come_to(future) == HOUR

    with virtual_time() as time:
        opened(world, main)
