"""What is unloaded and what stays in memory, and what the code of a run does while it is left."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import _runtime, aio, durable
from headrace._cancelling import cancel_left_behind
from headrace._engine.life import drive
from headrace._model.slots import Limit
from headrace._replaying import replayed
from headrace.concurrency.asyncio import concurrency
from headrace.durable import NonDeterministicFlow, Suspended
from headrace.errors import CancelledRun, PausedRun, RunNotFound
from headrace.testing import virtual_time
from headrace.transactions import transaction
from tests.spec.durable_crashes import World, doubling, path
from tests.spec.forms import Form, call
from tests.spec.limiting import used
from tests.spec.unloading import HOUR, UNLOADED, come_to, opened, receive, sleep, the_run


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World("memory", tmp_path)


# -- what stays -------------------------------------------------------------------------------------------------------


WHILE = 2 * UNLOADED


async def stays(runtime: Any, flow: Any) -> None:
    """See that a run of *flow*, which takes a while, is never unloaded."""
    future = runtime.submit(flow)
    await come_to(future)
    assert path(await the_run()) == ["Running", "Completed"]


def test_a_task_that_sleeps_keeps_its_flow(form: Form, world: World) -> None:
    @form.task()
    async def naps() -> None:
        await sleep(form, WHILE)

    @form.flow(durable=True)
    async def waits() -> None:
        await call(naps)

    with virtual_time():
        opened(world, lambda runtime: stays(runtime, waits))


def test_a_branch_at_work_keeps_the_others(form: Form, world: World) -> None:
    @form.task()
    async def works() -> None:
        await (asyncio.sleep(WHILE) if form.is_async else sleep(form, WHILE))

    @form.flow(durable=True)
    async def waits() -> None:
        works.submit()
        await sleep(form, WHILE)

    with virtual_time():
        opened(world, lambda runtime: stays(runtime, waits))


def test_a_step_called_beside_a_sleep_keeps_its_flow(world: World) -> None:
    @headrace.task
    async def works() -> None:
        await asyncio.sleep(WHILE)

    @headrace.flow(durable=True)
    async def waits() -> None:
        beside = asyncio.ensure_future(works())
        await aio.sleep(WHILE / 2)
        await beside

    with virtual_time():
        opened(world, lambda runtime: stays(runtime, waits))


@pytest.mark.parametrize("way", ["gather", "asyncio.sleep", "transaction", "timeout"])
def test_what_waits_by_other_means_stays(way: str, world: World) -> None:
    @headrace.flow(durable=True, timeout_seconds=2 * WHILE if way == "timeout" else None)
    async def waits() -> None:
        if way == "gather":
            await asyncio.gather(aio.sleep(WHILE), aio.sleep(WHILE))
        elif way == "asyncio.sleep":
            await asyncio.sleep(WHILE)
        elif way == "transaction":
            async with transaction():
                await aio.sleep(WHILE)
        else:
            await aio.sleep(WHILE)

    with virtual_time():
        opened(world, lambda runtime: stays(runtime, waits))


def test_what_somebody_waits_for_stays(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def waits() -> None:
        await sleep(form, WHILE)

    async def main(runtime: Any) -> None:
        await runtime.submit(waits)

    with virtual_time():
        opened(world, main)
    (run,) = world.flow_runs()
    assert path(run) == ["Running", "Completed"]


def test_what_nobody_would_take_up_stays(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def waits() -> None:
        await sleep(form, WHILE)

    with virtual_time():
        opened(world, lambda runtime: stays(runtime, waits), recover=False)


def test_what_sleeps_for_a_moment_stays(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def waits() -> None:
        for _ in range(10):
            await sleep(form, 15)

    with virtual_time():
        opened(world, lambda runtime: stays(runtime, waits))


# -- what begins to wait last -----------------------------------------------------------------------------------------


def test_what_all_waits_once_a_step_has_ended_is_unloaded_then(form: Form, world: World) -> None:
    @form.flow()
    async def part() -> None:
        await sleep(form, HOUR)

    @form.task()
    async def works() -> None:
        await sleep(form, 12)

    @form.flow(durable=True)
    async def waits() -> str:
        long, short = part.submit(), works.submit()
        for future in (short, long):
            await (future if form.is_async else call(future.result))
        return "rested"

    async def main(runtime: Any) -> None:
        future = runtime.submit(waits)
        await asyncio.sleep(11)
        assert (await the_run()).state.name == "Running"
        await asyncio.sleep(2)
        assert (await the_run()).state.name == "Suspended"
        assert await come_to(future) == "rested"

    with virtual_time():
        opened(world, main)


def test_what_all_waits_before_a_wait_is_old_is_unloaded_when_it_is(form: Form, world: World) -> None:
    @form.flow()
    async def part() -> None:
        await sleep(form, HOUR)

    @form.task()
    async def works() -> None:
        await sleep(form, 5)

    @form.flow(durable=True)
    async def waits() -> None:
        long, short = part.submit(), works.submit()
        for future in (short, long):
            await (future if form.is_async else call(future.result))

    async def main(runtime: Any) -> None:
        future = runtime.submit(waits)
        await asyncio.sleep(8)
        assert (await the_run()).state.name == "Running"
        await asyncio.sleep(4)
        assert (await the_run()).state.name == "Suspended"
        await come_to(future)

    with virtual_time():
        opened(world, main)


# -- on the way out ---------------------------------------------------------------------------------------------------


def test_what_code_asks_for_on_its_way_out_is_refused(form: Form, world: World, caplog: Any) -> None:
    step = doubling(world, form)
    refused: list[str] = []

    async def asks(what: str, ask: Any) -> None:
        try:
            await call(ask)
        except Suspended:
            refused.append(what)

    @form.flow(name="part")
    async def part() -> None:
        world.visit("part")

    hooks: list[str] = []

    def completed(*_of: Any) -> None:
        hooks.append("completed")

    def crashed(*_of: Any) -> None:
        hooks.append("crashed")

    @form.flow(durable=True, on_completion=[completed], on_crashed=[crashed])
    async def waits() -> str:
        try:
            await sleep(form, HOUR)
        finally:
            if not hooks and time.elapsed < HOUR:
                await asks("step", lambda: step(1))
                await asks("submit", lambda: step.submit(1))
                await asks("subflow", part)
                await asks("now", durable.now)
                await asks("sleep", lambda: sleep(form, 1))
                await asks("receive", lambda: receive(form, "x", timeout=1, default=None))
        return "rested"

    async def main(runtime: Any) -> None:
        assert await come_to(runtime.submit(waits)) == "rested"

    caplog.set_level(logging.WARNING, "headrace")
    with virtual_time() as time:
        opened(world, main)

    assert refused == ["step", "submit", "subflow", "now", "sleep", "receive"]
    assert world.seen() == []
    assert hooks == ["completed"]
    assert [record.getMessage() for record in caplog.records] == []
    assert len(world.task_runs()) == 0
    (run,) = world.flow_runs()
    assert path(run) == ["Running", "Suspended", "Running", "Completed"]


@pytest.mark.parametrize("way", ["returns", "raises"])
def test_what_it_comes_to_on_its_way_out_does_not_count(way: str, form: Form, world: World, caplog: Any) -> None:
    @form.flow(durable=True)
    async def waits() -> str:
        try:
            await sleep(form, HOUR)
        except BaseException:
            if way == "raises":
                raise LookupError("on the way out") from None
            return "early"
        return "rested"

    async def main(runtime: Any) -> None:
        assert await come_to(runtime.submit(waits)) == "rested"

    caplog.set_level(logging.WARNING, "headrace")
    with virtual_time():
        opened(world, main)
    assert [record.getMessage() for record in caplog.records] == []


def test_slots_of_a_limit_are_given_back_meanwhile(world: World) -> None:
    @headrace.flow(durable=True)
    async def waits() -> int:
        async with concurrency("door", strict=True):
            await aio.sleep(HOUR)
            return used("door")

    async def main(runtime: Any) -> None:
        future = runtime.submit(waits)
        await asyncio.sleep(1)
        assert used("door") == 1
        await asyncio.sleep(UNLOADED)
        assert used("door") == 0
        assert await come_to(future) == 1

    with virtual_time():
        drive(world.store().limits.define(Limit("door", 1)))
        opened(world, main)


def test_the_code_may_have_changed_when_it_comes_back(form: Form, world: World, caplog: Any) -> None:
    step = doubling(world, form)
    argument = 1

    @form.flow(durable=True)
    async def waits() -> None:
        await call(step, argument)
        await sleep(form, HOUR)

    async def main(runtime: Any) -> None:
        nonlocal argument
        future = runtime.submit(waits)
        await asyncio.sleep(UNLOADED)
        argument = 2
        with pytest.raises(NonDeterministicFlow):
            await come_to(future)

    with virtual_time():
        opened(world, main)
    assert [run.state.name for run in world.flow_runs()] == ["Failed"]


# -- who else has to do with it ---------------------------------------------------------------------------------------


def test_one_that_is_cancelled_meanwhile_ends_at_once(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def waits() -> None:
        await sleep(form, HOUR)

    async def main(runtime: Any) -> None:
        future = runtime.submit(waits)
        await asyncio.sleep(UNLOADED)
        run = await the_run()
        host = _runtime.host_for(True)
        journal = _runtime.current().journal

        async def cancel(store: Any) -> bool:
            return await cancel_left_behind(store, run, "enough", journal.owner, journal.now())

        assert await host.with_store(journal, cancel)
        with pytest.raises(CancelledRun):
            await future
        await asyncio.sleep(HOUR)

    with virtual_time():
        opened(world, main)
    (run,) = world.flow_runs()
    assert path(run) == ["Running", "Suspended", "Cancelled"]


def test_whoever_waits_for_one_that_is_deleted_meanwhile_hears_that(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def waits() -> None:
        await sleep(form, HOUR)

    async def main(runtime: Any) -> None:
        future = runtime.submit(waits)
        await asyncio.sleep(UNLOADED)
        run = await the_run()
        await _runtime.host_for(True).with_store(_runtime.current().journal, lambda store: store.delete(run.id))
        with pytest.raises(RunNotFound, match="deleted"):
            await asyncio.wait_for(asyncio.ensure_future(heard(future)), HOUR)

    async def heard(future: Any) -> None:
        await future

    with virtual_time():
        opened(world, main)


def test_leaving_its_runtime_does_not_wait_for_it(form: Form, world: World) -> None:
    futures: list[Any] = []

    @form.flow(durable=True)
    async def waits() -> float:
        await sleep(form, HOUR)
        world.visit(f"at {time.elapsed:g}")
        return time.elapsed

    async def leaves(runtime: Any) -> None:
        futures.append(runtime.submit(waits))
        await asyncio.sleep(UNLOADED)

    async def stays_open(_runtime: Any) -> None:
        await asyncio.sleep(2 * HOUR)

    with virtual_time() as time:
        opened(world, leaves)
        assert time.elapsed == UNLOADED
        with pytest.raises(PausedRun):
            futures[0].result()
        opened(world, stays_open)
    assert world.seen() == ["at 3600"]


def test_one_that_was_due_while_nothing_ran_comes_back_at_once(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def waits() -> None:
        await sleep(form, HOUR)
        world.visit(f"at {time.elapsed:g}")

    async def leaves(runtime: Any) -> None:
        runtime.submit(waits)
        await asyncio.sleep(UNLOADED)

    async def stays_open(_runtime: Any) -> None:
        await asyncio.sleep(1)

    with virtual_time() as time:
        opened(world, leaves)
        time.advance(2 * HOUR)
        opened(world, stays_open)
    assert world.seen() == [f"at {2 * HOUR + UNLOADED}"]


def test_what_waits_when_its_runtime_is_left_is_unloaded(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def waits() -> None:
        await sleep(form, HOUR)

    async def leaves(runtime: Any) -> None:
        runtime.submit(waits)
        await asyncio.sleep(1)

    with virtual_time() as time:
        opened(world, leaves, drain_seconds=2)
        assert time.elapsed == 3
    (run,) = world.flow_runs()
    assert path(run) == ["Running", "Suspended"]


def test_what_cannot_be_recorded_as_waiting_is_recorded_once_the_database_works_again(world: World) -> None:
    @headrace.flow(durable=True)
    async def waits() -> str:
        await aio.sleep(HOUR)
        return "rested"

    @headrace.flow
    async def another() -> None:
        """Have something recorded."""

    async def main(runtime: Any) -> None:
        future = runtime.submit(waits)
        await asyncio.sleep(1)
        world.fails = 1
        await asyncio.sleep(UNLOADED)
        await another()
        assert await state_of(waits) == "Suspended"
        assert await come_to(future) == "rested"

    async def state_of(flow: Any) -> str:
        (run,) = [run for run in await aio.flow_runs() if run.flow_name == flow.name]
        return run.state.name

    with virtual_time():
        opened(world, main)
    assert world.fails == 0


def test_what_waits_for_another_run_stays(world: World) -> None:
    @headrace.flow
    async def other() -> None:
        await asyncio.sleep(WHILE)

    @headrace.flow(durable=True)
    async def waits() -> None:
        await aio.race(futures[0], aio.sleep(HOUR))

    futures: list[Any] = []

    async def main(runtime: Any) -> None:
        futures.append(runtime.submit(other))
        future = runtime.submit(waits)
        await come_to(future)
        (run,) = [run for run in await aio.flow_runs() if run.flow_name == "waits"]
        assert path(run) == ["Running", "Completed"]

    with virtual_time():
        opened(world, main)


def test_a_history_that_waits_is_gone_through_without_waiting(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def waits() -> None:
        await sleep(form, HOUR)

    async def main(runtime: Any) -> None:
        runtime.submit(waits)
        await asyncio.sleep(UNLOADED)
        inner = _runtime.current()
        verdict = await replayed(inner.store, await the_run(), waits)
        assert (verdict.outcome, verdict.said) == ("goes on", "Behind 1 steps on record it goes on with a wait.")

    with virtual_time() as time:
        opened(world, main)
        assert time.elapsed == UNLOADED
