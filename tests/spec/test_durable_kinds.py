"""Every kind of call in a durable flow is resumed: submitted, mapped, streamed, gathered."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from headrace import allow_failure, flow, task, unmapped
from headrace.errors import UpstreamTaskError
from headrace.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from tests.spec.durable_crashes import STORES, World, doubling
from tests.spec.forms import Form, call


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


# -- submitted ------------------------------------------------------------------------------------------------


def test_submitted_tasks_are_not_run_again(form: Form, inner: Form, world: World) -> None:
    step, last = doubling(world, inner), doubling(world, form, name="last")

    @form.flow(durable=True)
    async def submits() -> list[int]:
        values = [await form.got(future) for future in [step.submit(x) for x in range(5)]]
        return [*values, await call(last, 9)]

    run_id = world.crashes(form, submits, at="last 9")
    assert sorted(world.seen()) == ["last 9", *(f"step {x}" for x in range(5))]

    assert world.resumes(form, run_id) == [0, 2, 4, 6, 8, 18]
    assert world.seen() == ["last 9"]


def test_futures_as_arguments_are_the_same_step_as_their_values(form: Form, world: World) -> None:
    step, last = doubling(world, form), doubling(world, form, name="last")

    @form.flow(durable=True)
    async def chains() -> list[int]:
        first = step.submit(1)
        second = step.submit(first)
        third = step.submit(x=second)
        value: int = await form.got(third)
        return [value, await call(last, 9)]

    run_id = world.crashes(form, chains, at="last 9")
    assert world.seen() == ["step 1", "step 2", "step 4", "last 9"]

    assert world.resumes(form, run_id) == [8, 18]
    assert world.seen() == ["last 9"]


def test_futures_nobody_waited_for_are_not_run_again(form: Form, world: World) -> None:
    step, last = doubling(world, form), doubling(world, form, name="last")

    @form.flow(durable=True)
    async def leaves() -> int:
        for x in range(3):
            step.submit(x)
        await form.ended([step.submit(x) for x in range(3, 6)])
        value: int = await call(last, 9)
        return value

    run_id = world.crashes(form, leaves, at="last 9")
    done = [run.state.is_completed() for run in world.task_runs() if run.task_name == "step"]
    world.seen()

    assert world.resumes(form, run_id) == 18
    assert len([place for place in world.seen() if place != "last 9"]) == 6 - sum(done)


def test_a_recorded_failure_reaches_who_waits_for_it_again(form: Form, world: World) -> None:
    @form.task()
    async def fails() -> None:
        world.visit("fails")
        raise ValueError("no")

    step, last = doubling(world, form), doubling(world, form, name="last")

    @form.flow(durable=True)
    async def works() -> list[Any]:
        failed = fails.submit()
        follows = step.submit(failed)
        forgiven = shown.submit(allow_failure(failed))
        await form.ended([failed, follows, forgiven])
        with pytest.raises(ValueError, match="no"):
            await form.got(failed)
        with pytest.raises(UpstreamTaskError):
            await form.got(follows)
        value = await form.got(forgiven)
        return [value, failed.state.name, follows.state.name, await call(last, 9)]

    @form.task()
    async def shown(x: Any) -> str:
        world.visit("shown")
        return repr(x)

    run_id = world.crashes(form, works, at="last 9")
    assert sorted(world.seen()) == ["fails", "last 9", "shown"]

    value, *rest = world.resumes(form, run_id)
    assert "ValueError('no')" in value
    assert rest == ["Failed", "NotReady", 18]
    assert world.seen() == ["last 9"]


def test_wait_for_holds_on_the_way_again(form: Form, world: World) -> None:
    step, last = doubling(world, form), doubling(world, form, name="last")

    @form.flow(durable=True)
    async def waits() -> int:
        first = step.submit(1)
        second = step.submit(2, wait_for=[first])
        value: int = await call(last, 9, wait_for=[first, second])
        return value

    run_id = world.crashes(form, waits, at="last 9")
    assert world.seen() == ["step 1", "step 2", "last 9"]

    assert world.resumes(form, run_id) == 18
    assert world.seen() == ["last 9"]


def test_tasks_in_threads_of_a_runner_are_not_run_again(world: World) -> None:
    form = Form("sync")
    step, last = doubling(world, form), doubling(world, form, name="last")

    @flow(durable=True, task_runner=ThreadPoolTaskRunner(max_workers=2))
    def works() -> list[int]:
        values: list[int] = [future.result() for future in [step.submit(x) for x in range(6)]]
        return [*values, last(9)]

    run_id = world.crashes(form, works, at="last 9")
    world.seen()

    assert world.resumes(form, run_id) == [0, 2, 4, 6, 8, 10, 18]
    assert world.seen() == ["last 9"]


@task
def squares(x: int) -> int:
    return x * x


def test_tasks_in_processes_are_not_run_again(world: World) -> None:
    last = doubling(world, Form("sync"), name="last")

    @flow(durable=True, task_runner=ProcessPoolTaskRunner(max_workers=1))
    def works() -> list[int]:
        return [*squares.map(range(4)).result(), last(9)]

    run_id = world.crashes(Form("sync"), works, at="last 9")
    before = [run.id for run in world.task_runs() if run.task_name == "squares"]

    assert world.resumes(Form("sync"), run_id) == [0, 1, 4, 9, 18]
    assert [run.id for run in world.task_runs() if run.task_name == "squares"] == before


# -- mapped ---------------------------------------------------------------------------------------------------


def test_mapped_tasks_are_not_run_again(form: Form, inner: Form, world: World) -> None:
    @inner.task()
    async def adds(x: int, y: int) -> int:
        world.visit(f"add {x}")
        return x + y

    last = doubling(world, form, name="last")

    @form.flow(durable=True)
    async def maps() -> list[int]:
        values: list[int] = await form.got(adds.map(range(20), unmapped(100)))
        return [*values[:3], sum(values), await call(last, 9)]

    run_id = world.crashes(form, maps, at="last 9")
    assert len(world.seen()) == 21

    assert world.resumes(form, run_id) == [100, 101, 102, 2190, 18]
    assert world.seen() == ["last 9"]


def test_a_map_cut_short_goes_on_with_what_is_left(form: Form, inner: Form, world: World) -> None:
    @inner.task()
    async def adds(x: int) -> int:
        world.visit(f"add {x}")
        return x + 100

    @form.flow(durable=True)
    async def maps() -> int:
        return sum(await form.got(adds.map(range(50))))

    run_id = world.crashes(form, maps, at="add 30")
    done = [run for run in world.task_runs() if run.state.is_completed()]
    world.seen()

    assert world.resumes(form, run_id) == sum(range(100, 150))
    assert len(world.seen()) == 50 - len(done)
    completed = [run for run in world.task_runs() if run.state.is_completed()]
    assert len(completed) == 50


def test_failures_in_a_map_come_back(form: Form, world: World) -> None:
    @form.task()
    async def picky(x: int) -> int:
        world.visit(f"pick {x}")
        if x % 2:
            raise ValueError(f"odd: {x}")
        return x

    last = doubling(world, form, name="last")

    @form.flow(durable=True)
    async def maps() -> list[Any]:
        futures = picky.map(range(4))
        await form.ended(futures)
        states = [str(future.state) for future in futures]
        return [*states, await call(last, 9)]

    run_id = world.crashes(form, maps, at="last 9")
    world.seen()

    first, second, third, fourth, _ = world.resumes(form, run_id)
    assert (first, third) == ("Completed()", "Completed()")
    assert "odd: 1" in second
    assert "odd: 3" in fourth
    assert world.seen() == ["last 9"]


# -- streamed -------------------------------------------------------------------------------------------------


def test_streamed_tasks_are_not_run_again(world: World) -> None:
    @task
    async def adds(x: int) -> int:
        world.visit(f"add {x}")
        return x + 1

    last = doubling(world, Form("async"), name="last")

    @flow(durable=True)
    async def streams() -> list[int]:
        async with adds.stream(range(10), limit=3) as results:
            values = [value async for value in results]
        return [*values, await last(9)]

    run_id = world.crashes(Form("async"), streams, at="last 9")
    assert len(world.seen()) == 11

    assert world.resumes(Form("async"), run_id) == [*range(1, 11), 18]
    assert world.seen() == ["last 9"]


# -- gathered -------------------------------------------------------------------------------------------------


def test_gathered_tasks_are_not_run_again(world: World) -> None:
    step = doubling(world, Form("async"))

    @flow(durable=True)
    async def gathers() -> list[int]:
        first = await asyncio.gather(*(step(x) for x in range(8)))
        return [*first, await step(9)]

    run_id = world.crashes(Form("async"), gathers, at="step 9")
    world.seen()

    assert world.resumes(Form("async"), run_id) == [0, 2, 4, 6, 8, 10, 12, 14, 18]
    assert world.seen() == ["step 9"]


def test_equal_calls_gathered_come_back_each_once(world: World) -> None:
    counted: list[int] = []

    @task
    async def numbers() -> int:
        world.visit("number")
        counted.append(1)
        return len(counted)

    step = doubling(world, Form("async"))

    @flow(durable=True)
    async def gathers() -> list[int]:
        first = sorted(await asyncio.gather(*(numbers() for _ in range(5))))
        return [*first, await step(9)]

    run_id = world.crashes(Form("async"), gathers, at="step 9")
    world.seen()

    assert world.resumes(Form("async"), run_id) == [1, 2, 3, 4, 5, 18]
    assert world.seen() == ["step 9"]
