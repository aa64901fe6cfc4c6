"""Retries and timeouts keep their meaning in durable flows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import flow, task
from headrace.errors import TaskRunTimeoutError
from tests.spec.durable_crashes import STORES, World, doubling, path
from tests.spec.forms import Form, call


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


# -- retries --------------------------------------------------------------------------------------------------


def test_a_retried_task_that_completed_is_not_run_again(form: Form, world: World) -> None:
    @form.task(retries=2)
    async def flaky() -> int:
        attempt = headrace.runtime.task_run.run_count or 0
        world.visit(f"attempt {attempt}")
        if attempt < 3:
            raise ConnectionError
        return attempt

    last = doubling(world, form, name="last")

    @form.flow(durable=True)
    async def works() -> list[int]:
        return [await call(flaky), await call(last, 9)]

    run_id = world.crashes(form, works, at="last 9")
    assert world.seen() == ["attempt 1", "attempt 2", "attempt 3", "last 9"]

    assert world.resumes(form, run_id) == [3, 18]
    assert world.seen() == ["last 9"]


def test_a_task_cut_short_in_a_retry_has_all_its_attempts_again(form: Form, world: World) -> None:
    @form.task(retries=2)
    async def flaky() -> int:
        attempt = headrace.runtime.task_run.run_count or 0
        world.visit(f"attempt {len(world.ran) + 1}")
        if attempt < 3:
            raise ConnectionError
        return attempt

    @form.flow(durable=True)
    async def works() -> int:
        value: int = await call(flaky)
        return value

    run_id = world.crashes(form, works, at="attempt 2")
    world.seen()

    assert world.resumes(form, run_id) == 3


def test_a_retry_of_a_durable_flow_keeps_its_finished_steps(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.task()
    async def flaky() -> int:
        attempt = headrace.runtime.flow_run.run_count
        world.visit(f"flaky {attempt}")
        if attempt == 1:
            raise ConnectionError
        return 100

    @form.flow(durable=True, retries=1)
    async def works() -> int:
        first: int = await call(step, 1)
        then: int = await call(flaky)
        return first + then

    with world.runtime():
        assert form.run(works) == 102
    assert world.seen() == ["step 1", "flaky 1", "flaky 2"]


def test_a_retry_keeps_what_a_submitted_map_did(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True, retries=1)
    async def works() -> int:
        values: list[int] = await form.got(step.map(range(4)))
        if headrace.runtime.flow_run.run_count == 1:
            raise ConnectionError
        return sum(values)

    with world.runtime():
        assert form.run(works) == 12
    assert sorted(world.seen()) == ["step 0", "step 1", "step 2", "step 3"]


def test_a_retry_resumed_goes_on_in_its_attempt(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True, retries=1)
    async def works() -> list[Any]:
        attempt = headrace.runtime.flow_run.run_count
        world.visit(f"attempt {attempt}")
        first = await call(step, 1)
        if attempt == 1:
            raise ConnectionError
        return [first, await call(step, 2), await call(step, 3), attempt]

    run_id = world.crashes(form, works, at="step 3")
    assert world.seen() == ["attempt 1", "step 1", "attempt 2", "step 2", "step 3"]

    assert world.resumes(form, run_id) == [2, 4, 6, 2]
    assert world.seen() == ["attempt 2", "step 3"]
    (run,) = world.flow_runs()
    assert path(run)[-3:] == ["Crashed", "Running", "Completed"]


def test_a_resumed_flow_has_the_retries_that_were_left(form: Form, world: World) -> None:
    step, last = doubling(world, form), doubling(world, form, name="last")
    attempts: list[int | None] = []

    @form.flow(durable=True, retries=2)
    async def works() -> None:
        attempt = headrace.runtime.flow_run.run_count
        attempts.append(attempt)
        await call(step, attempt)
        await call(last, attempt)
        raise ConnectionError

    run_id = world.crashes(form, works, at="last 2")
    attempts.clear()

    with pytest.raises(ConnectionError):
        world.resumes(form, run_id)
    assert attempts == [2, 3]


def test_a_failed_step_runs_again_in_the_next_attempt_and_its_failure_comes_back_in_the_same(
    form: Form, world: World
) -> None:
    @form.task()
    async def fails() -> None:
        world.visit("fails")
        raise ConnectionError

    last = doubling(world, form, name="last")

    @form.flow(durable=True, retries=1)
    async def works() -> int:
        value = 0
        try:
            await call(fails)
        except ConnectionError:
            value = await call(last, 9)
        if headrace.runtime.flow_run.run_count == 1:
            raise LookupError
        return value

    run_id = world.crashes(form, works, at="last 9")
    world.seen()

    assert world.resumes(form, run_id) == 18
    assert world.seen() == ["last 9", "fails"]


def test_a_subflow_retried_keeps_its_finished_steps(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(retries=1)
    async def part() -> int:
        first: int = await call(step, 1)
        if headrace.runtime.flow_run.run_count == 1:
            raise ConnectionError
        return first

    @form.flow(durable=True)
    async def whole() -> int:
        value: int = await call(part)
        return value

    with world.runtime():
        assert form.run(whole) == 2
    assert world.seen() == ["step 1"]


def test_what_failed_a_subflow_runs_again_in_the_next_attempt_of_the_flow_around(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.task()
    async def flaky() -> int:
        world.visit("flaky")
        if world.ran.count("flaky") == 1:
            raise ConnectionError
        return 100

    @form.flow()
    async def part() -> int:
        return int(await call(step, 1)) + int(await call(flaky))

    @form.flow(durable=True, retries=1)
    async def whole() -> int:
        value: int = await call(part)
        return value

    with world.runtime():
        assert form.run(whole) == 102
    assert world.seen() == ["step 1", "flaky", "flaky"]


def test_a_subflow_is_kept_by_a_retry_of_the_flow_around(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow()
    async def part() -> int:
        world.visit("part")
        value: int = await call(step, 1)
        return value

    @form.flow(durable=True, retries=1)
    async def whole() -> int:
        value: int = await call(part)
        if headrace.runtime.flow_run.run_count == 1:
            raise ConnectionError
        return value

    with world.runtime():
        assert form.run(whole) == 2
    assert world.seen() == ["part", "step 1"]


def test_a_task_retried_keeps_the_tasks_it_called(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.task(retries=1)
    async def outer() -> int:
        value: int = await call(step, 1)
        if headrace.runtime.task_run.run_count == 1:
            raise ConnectionError
        return value

    @form.flow(durable=True)
    async def works() -> list[int]:
        return [await call(outer), await call(step, 9)]

    run_id = world.crashes(form, works, at="step 9")
    world.seen()

    assert world.resumes(form, run_id) == [2, 18]
    assert world.seen() == ["step 9"]


def test_drift_is_not_tried_again(form: Form, world: World) -> None:
    step = doubling(world, form)
    way = [1, 2]
    attempts: list[int] = []

    @form.flow(durable=True, retries=3)
    async def walks() -> None:
        attempts.append(1)
        for x in way:
            await call(step, x)

    run_id = world.crashes(form, walks, at="step 2")
    attempts.clear()
    way[0] = 7

    with pytest.raises(headrace.durable.NonDeterministicFlow):
        world.resumes(form, run_id)
    assert len(attempts) == 1


# -- timeouts -------------------------------------------------------------------------------------------------


def test_a_recorded_timeout_comes_back(world: World) -> None:
    @task(timeout_seconds=0.01)
    async def slow() -> None:
        world.visit("slow")
        await asyncio.Event().wait()

    step = doubling(world, Form("async"))

    @flow(durable=True)
    async def works() -> list[Any]:
        state = await slow(return_state=True)
        with pytest.raises(TaskRunTimeoutError, match="took longer than its timeout"):
            state.result()
        return [state.name, await step(9)]

    run_id = world.crashes(Form("async"), works, at="step 9")
    world.seen()

    assert world.resumes(Form("async"), run_id) == ["TimedOut", 18]
    assert world.seen() == ["step 9"]


def test_a_durable_flow_with_a_timeout_is_resumed(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True, timeout_seconds=30)
    async def works() -> list[int]:
        return [await call(step, 1), await call(step, 9)]

    run_id = world.crashes(form, works, at="step 9")
    world.seen()

    assert world.resumes(form, run_id) == [2, 18]
    assert world.seen() == ["step 9"]
