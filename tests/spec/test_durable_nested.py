"""Tasks within tasks, subflows and generators of durable flows are resumed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import flow, task
from tests.spec.durable_crashes import STORES, World, doubling, path
from tests.spec.forms import Form, call


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


# -- nested ---------------------------------------------------------------------------------------------------


def test_tasks_within_a_task_are_not_run_again_where_it_is(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.task()
    async def outer(x: int) -> int:
        world.visit(f"outer {x}")
        return sum([await call(step, x + y) for y in range(3)])

    @form.flow(durable=True)
    async def nests() -> int:
        first: int = await call(outer, 0)
        then: int = await call(outer, 10)
        return first + then

    run_id = world.crashes(form, nests, at="step 11")
    assert world.seen() == ["outer 0", "step 0", "step 1", "step 2", "outer 10", "step 10", "step 11"]

    assert world.resumes(form, run_id) == 6 + 66
    assert world.seen() == ["outer 10", "step 11", "step 12"]


def test_a_step_of_the_flow_and_one_of_a_task_are_two_steps(form: Form, world: World) -> None:
    step, last = doubling(world, form), doubling(world, form, name="last")

    @form.task()
    async def outer() -> int:
        value: int = await call(step, 1)
        return value + 100

    @form.flow(durable=True)
    async def nests() -> list[int]:
        return [await call(outer), await call(step, 1), await call(last, 9)]

    run_id = world.crashes(form, nests, at="last 9")
    assert world.seen() == ["step 1", "step 1", "last 9"]

    assert world.resumes(form, run_id) == [102, 2, 18]
    assert world.seen() == ["last 9"]


# -- subflows -------------------------------------------------------------------------------------------------


def test_a_finished_subflow_is_not_run_again(form: Form, world: World) -> None:
    step, last = doubling(world, form), doubling(world, form, name="last")

    @form.flow()
    async def part(x: int) -> int:
        world.visit(f"part {x}")
        value: int = await call(step, x)
        return value

    @form.flow(durable=True)
    async def whole() -> list[int]:
        return [await call(part, 1), await call(part, 2), await call(last, 9)]

    run_id = world.crashes(form, whole, at="last 9")
    world.seen()

    assert world.resumes(form, run_id) == [2, 4, 18]
    assert world.seen() == ["last 9"]
    assert [run.flow_name for run in world.flow_runs()] == ["whole", "part", "part"]


def test_a_subflow_cut_short_goes_on_where_it_was(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow()
    async def part(x: int) -> int:
        world.visit(f"part {x}")
        return sum([await call(step, x + y) for y in range(3)])

    @form.flow(durable=True)
    async def whole() -> int:
        first: int = await call(part, 0)
        then: int = await call(part, 10)
        return first + then

    run_id = world.crashes(form, whole, at="step 11")
    before = [run.id for run in world.flow_runs()]
    world.seen()

    assert world.resumes(form, run_id) == 6 + 66
    assert world.seen() == ["part 10", "step 11", "step 12"]
    runs = world.flow_runs()
    assert [run.id for run in runs] == before
    assert {run.state.name for run in runs} == {"Completed"}
    assert len(world.task_runs()) == 6


def test_a_failed_subflow_raises_its_exception_again(form: Form, world: World) -> None:
    last = doubling(world, form, name="last")

    @form.flow()
    async def part() -> None:
        world.visit("part")
        raise ValueError("no")

    @form.flow(durable=True)
    async def whole() -> list[Any]:
        with pytest.raises(ValueError, match="no"):
            await call(part)
        state = await call(part, return_state=True)
        return [state.name, await call(last, 9)]

    run_id = world.crashes(form, whole, at="last 9")
    assert world.seen() == ["part", "part", "last 9"]

    assert world.resumes(form, run_id) == ["Failed", 18]
    assert world.seen() == ["last 9"]


def test_submitted_subflows_are_not_run_again(form: Form, world: World) -> None:
    step, last = doubling(world, form), doubling(world, form, name="last")

    @form.flow()
    async def part(x: int) -> int:
        world.visit(f"part {x}")
        value: int = await call(step, x)
        return value

    @form.flow(durable=True)
    async def whole() -> list[int]:
        futures = [part.submit(x) for x in range(3)]
        values = [await form.got(future) for future in futures]
        return [*values, *(await form.got(part.map([5, 6]))), await call(last, 9)]

    run_id = world.crashes(form, whole, at="last 9")
    world.seen()

    assert world.resumes(form, run_id) == [0, 2, 4, 10, 12, 18]
    assert world.seen() == ["last 9"]


def test_a_durable_subflow_of_a_plain_flow_is_resumed_alone(form: Form, world: World) -> None:
    """The plain flow is gone with its process; what was durable in it goes on by itself."""
    step = doubling(world, form)

    @form.flow(durable=True)
    async def part() -> int:
        return sum([await call(step, x) for x in range(3)])

    @form.flow()
    async def whole() -> int:
        value: int = await call(part)
        return value

    with world.runtime():
        pass
    world.crashes(form, whole, at="step 2")
    (inner,) = [run for run in world.flow_runs() if run.flow_name == "part"]
    world.seen()

    assert world.resumes(form, inner.id) == 6
    assert world.seen() == ["step 2"]
    assert [path(run) for run in world.flow_runs() if run.id == inner.id] == [
        ["Running", "Crashed", "Running", "Completed"]
    ]


def test_a_subflow_that_is_not_durable_runs_again(form: Form, world: World) -> None:
    step, last = doubling(world, form), doubling(world, form, name="last")

    @form.flow(durability="batched")
    async def part(x: int) -> int:
        value: int = await call(step, x)
        return value

    @form.flow(durable=True)
    async def whole() -> list[int]:
        return [await call(part, 1), await call(last, 9)]

    run_id = world.crashes(form, whole, at="last 9")
    world.seen()

    assert world.resumes(form, run_id) == [2, 18]
    assert world.seen() == ["step 1", "last 9"]


def test_a_task_of_a_subflow_that_a_task_calls_is_not_run_again(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow()
    async def part(x: int) -> int:
        return sum([await call(step, x + y) for y in range(2)])

    @form.task()
    async def outer(x: int) -> int:
        value: int = await call(part, x)
        return value

    @form.flow(durable=True)
    async def whole() -> int:
        first: int = await call(outer, 0)
        then: int = await call(outer, 10)
        return first + then

    run_id = world.crashes(form, whole, at="step 11")
    world.seen()

    assert world.resumes(form, run_id) == 2 + 42
    assert world.seen() == ["step 11"]


# -- generators -----------------------------------------------------------------------------------------------


def test_a_task_that_yields_and_keeps_nothing_runs_again(form: Form, world: World) -> None:
    last = doubling(world, form, name="last")

    @task(persist_result=False)
    async def apages() -> AsyncIterator[int]:
        world.visit("pages")
        for page in range(3):
            yield page

    @task(persist_result=False)
    def pages() -> Iterator[int]:
        world.visit("pages")
        yield from range(3)

    @form.flow(durable=True)
    async def reads() -> list[int]:
        found: list[int] = [page async for page in apages()] if form.is_async else list(pages())
        return [*found, await call(last, 9)]

    run_id = world.crashes(form, reads, at="last 9")
    assert world.seen() == ["pages", "last 9"]

    assert world.resumes(form, run_id) == [0, 1, 2, 18]
    assert world.seen() == ["pages", "last 9"]


def test_a_durable_flow_that_yields_gives_its_items(world: World) -> None:
    step = doubling(world, Form("sync"))

    @flow(durable=True)
    def yields() -> Any:
        for x in range(3):
            yield step(x)

    @flow
    def reads() -> list[Any]:
        return list(yields())

    with world.runtime():
        assert reads() == [0, 2, 4]
    assert headrace.runtime.flow_run.id is None
