"""What stands around steps keeps its meaning in durable flows: hooks, caches, transactions, logs, tags."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import flow, get_run_logger, task, transaction
from headrace.cache_policies import INPUTS
from tests.spec.durable_crashes import STORES, World, doubling, resume
from tests.spec.forms import Form, call


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


# -- hooks ----------------------------------------------------------------------------------------------------


def test_hooks_of_recorded_steps_are_not_called_again(form: Form, world: World) -> None:
    told: list[str] = []

    def hook(name: str) -> Any:
        def heard(_task: Any, run: Any, state: Any) -> None:
            if not world.dead:
                told.append(f"{name} {run.task_name} {state.name}")

        return heard

    @form.task(on_running=[hook("running")], on_completion=[hook("completion")])
    async def works_well() -> None: ...

    @form.task(on_failure=[hook("failure")])
    async def fails() -> None:
        raise ValueError

    last = doubling(world, form, name="last")

    @form.flow(durable=True)
    async def works() -> None:
        await call(works_well)
        await call(fails, return_state=True)
        await call(last, 9)

    run_id = world.crashes(form, works, at="last 9")
    assert told == ["running works_well Running", "completion works_well Completed", "failure fails Failed"]
    told.clear()

    world.resumes(form, run_id)
    assert told == []


def test_hooks_of_a_resumed_flow_are_called_at_its_end(form: Form, world: World) -> None:
    told: list[str] = []
    step = doubling(world, form)

    def heard(_flow: Any, _run: Any, state: Any) -> None:
        if not world.dead:
            told.append(state.name)

    @form.flow(durable=True, on_completion=[heard])
    async def works() -> None:
        await call(step, 9)

    run_id = world.crashes(form, works, at="step 9")
    world.resumes(form, run_id)

    assert told == ["Completed"]


# -- caches ---------------------------------------------------------------------------------------------------


def test_a_cached_step_is_recorded_under_its_own_run(form: Form, world: World) -> None:
    answers = [1]

    @form.task(cache_policy=INPUTS)
    async def cached(_x: int) -> int:
        world.visit("cached")
        return answers[0]

    @form.task(cache_policy=INPUTS, refresh_cache=True)
    async def other(_x: int) -> int:
        return 0

    last = doubling(world, form, name="last")

    @form.flow(durable=True)
    async def works() -> list[int]:
        return [await call(cached, 5), await call(cached, 5), await call(last, 9)]

    run_id = world.crashes(form, works, at="last 9")
    assert world.seen() == ["cached", "last 9"]
    answers[0] = 2
    with world.runtime():
        refreshed = cached.with_options(refresh_cache=True)
        assert form.run(refreshed, 5) == 2
    world.seen()

    assert world.resumes(form, run_id) == [1, 1, 18]
    assert world.seen() == ["last 9"]


def test_a_step_found_in_a_cache_says_so_again(form: Form, world: World) -> None:
    @form.task(cache_policy=INPUTS)
    async def cached(x: int) -> int:
        world.visit("cached")
        return x

    last = doubling(world, form, name="last")

    @form.flow(durable=True)
    async def works() -> list[str]:
        states = [await call(cached, 5, return_state=True) for _ in range(2)]
        await call(last, 9)
        return [state.name for state in states]

    run_id = world.crashes(form, works, at="last 9")

    assert world.resumes(form, run_id) == ["Completed", "Cached"]


# -- transactions ---------------------------------------------------------------------------------------------


def test_a_transaction_cut_short_is_gone_through_again(world: World) -> None:
    form = Form("sync")
    told: list[str] = []

    @task(cache_policy=INPUTS)
    def writes(x: int) -> int:
        world.visit(f"write {x}")
        return x

    @writes.on_commit
    def committed(_transaction: Any) -> None:
        if not world.dead:
            told.append("committed")

    last = doubling(world, form, name="last")

    @flow(durable=True)
    def works() -> int:
        with transaction():
            value: int = writes(1)
        last(9)
        return value

    run_id = world.crashes(form, works, at="last 9")
    assert told == ["committed"]
    told.clear()

    assert world.resumes(form, run_id) == 1
    assert world.seen()[-1] == "last 9"
    assert told == []


# -- logs -----------------------------------------------------------------------------------------------------


def test_what_a_recorded_step_logged_is_not_logged_again(form: Form, world: World) -> None:
    @form.task()
    async def speaks(x: int) -> None:
        get_run_logger().warning("said %d", x)
        world.visit(f"said {x}")

    @form.flow(durable=True)
    async def works() -> None:
        for x in range(3):
            await call(speaks, x)

    run_id = world.crashes(form, works, at="said 1")
    world.resumes(form, run_id)

    with world.runtime() as runtime:
        kept = asyncio.run(runtime.store.logs([run_id]))
    assert [line.message for line in kept if line.message in ("said 0", "said 2")] == ["said 0", "said 2"]


def test_resuming_says_what_goes_on(form: Form, world: World, caplog: pytest.LogCaptureFixture) -> None:
    step = doubling(world, form)

    @form.flow(durable=True, flow_run_name="mine")
    async def works() -> None:
        for x in range(3):
            await call(step, x)

    run_id = world.crashes(form, works, at="step 2")
    caplog.clear()
    caplog.set_level(logging.INFO, "headrace")
    world.resumes(form, run_id)

    lines = [record.getMessage() for record in caplog.records if record.name.startswith("headrace.engine")]
    assert lines[0] == "Flow run 'mine' goes on where it was left, with 2 finished steps on record"
    assert not any("Created" in line for line in lines)


# -- tags and names -----------------------------------------------------------------------------------


def test_tags_of_the_call_are_those_of_the_resumed_run_and_of_its_tasks(form: Form, world: World) -> None:
    seen: list[Any] = []

    @form.task(tags={"own"})
    async def tagged(x: int) -> None:
        if not world.dead:
            seen.append((headrace.runtime.flow_run.tags, headrace.runtime.task_run.tags))
        world.visit(f"tagged {x}")

    @form.flow(durable=True)
    async def works() -> None:
        await call(tagged, 1)

    with headrace.tags("nightly"):
        run_id = world.crashes(form, works, at="tagged 1")
    with world.runtime(), headrace.tags("other"):
        resume(form, run_id)

    assert seen == [(["nightly"], ["nightly", "own"])] * 2


def test_a_recorded_step_keeps_its_name(form: Form, world: World) -> None:
    @form.task(task_run_name="for {x}")
    async def named(x: int) -> None:
        world.visit(f"named {x}")

    @form.flow(durable=True)
    async def works() -> None:
        for x in range(3):
            await call(named, x)

    run_id = world.crashes(form, works, at="named 2")
    world.resumes(form, run_id)

    assert [task.name for task in world.task_runs()] == ["for 0", "for 1", "for 2"]
