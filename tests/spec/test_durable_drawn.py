"""What a durable flow draws is the same at each resume: times, numbers and ids."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from headrace import durable, flow
from tests.spec.durable_crashes import STORES, World, doubling
from tests.spec.forms import Form, call


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


def test_what_was_drawn_comes_back(form: Form, world: World) -> None:
    step = doubling(world, form)
    seen: list[list[Any]] = []

    @form.flow(durable=True)
    async def draws() -> None:
        drawn: list[Any] = [durable.now(), durable.random(), durable.uuid(), durable.random(), durable.now()]
        seen.append(drawn)
        await call(step, 1)
        await call(step, 2)

    run_id = world.crashes(form, draws, at="step 2")
    world.resumes(form, run_id)

    assert seen[0] == seen[1]
    first, number, name, other, last = seen[0]
    assert (type(first), first.tzinfo) == (datetime, UTC)
    assert first <= last
    assert (type(name), name.version) == (UUID, 4)
    assert 0 <= number < 1
    assert number != other


def test_what_a_task_draws_comes_back_where_it_was_cut_short(form: Form, world: World) -> None:
    step = doubling(world, form)
    seen: list[float] = []

    @form.task()
    async def outer() -> float:
        number = durable.random()
        seen.append(number)
        await call(step, 1)
        await call(step, 2)
        return number

    @form.flow(durable=True)
    async def draws() -> float:
        value: float = await call(outer)
        return value

    run_id = world.crashes(form, draws, at="step 2")
    assert world.resumes(form, run_id) == seen[0] == seen[1]


def test_what_a_subflow_draws_comes_back(form: Form, world: World) -> None:
    step = doubling(world, form)
    seen: list[UUID] = []

    @form.flow()
    async def part() -> None:
        seen.append(durable.uuid())
        await call(step, len(seen))
        await call(step, 10)

    @form.flow(durable=True)
    async def draws() -> None:
        await call(part)

    run_id = world.crashes(form, draws, at="step 10")
    seen_before = list(seen)
    seen.clear()
    world.resumes(form, run_id)

    assert seen == seen_before


def test_each_attempt_of_a_flow_draws_the_same(form: Form, world: World) -> None:
    """A retry goes the way of the attempt before it, so that it finds its finished steps."""
    seen: list[Any] = []
    step = doubling(world, form)

    @form.flow(durable=True, retries=1)
    async def draws() -> None:
        seen.append((durable.random(), durable.uuid()))
        await call(step, 1)
        if len(seen) == 1:
            raise ConnectionError

    with world.runtime():
        form.run(draws)

    assert seen[0] == seen[1]
    assert world.seen() == ["step 1"]


def test_draws_that_decide_the_way_keep_it(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def walks() -> list[int]:
        way = sorted(range(6), key=lambda _: durable.random())
        return [await call(step, x) for x in way]

    run_id = world.crashes(form, walks, at="step 3")
    before = world.seen()

    world.resumes(form, run_id)
    after = world.seen()
    assert after[0] == "step 3"
    assert sorted(before[:-1] + after) == [f"step {x}" for x in range(6)]


def test_runs_draw_each_for_themselves(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def draws() -> float:
        return durable.random()

    with world.runtime():
        assert form.run(draws) != form.run(draws)


def test_outside_of_durable_runs_nothing_is_kept(form: Form, world: World) -> None:
    @form.flow()
    async def plain() -> tuple[Any, ...]:
        return durable.now(), durable.random(), durable.uuid()

    with world.runtime():
        assert form.run(plain) != form.run(plain)
    assert durable.now() <= datetime.now(UTC)
    assert durable.uuid() != durable.uuid()


def test_draws_in_branches_that_race_are_each_recorded(world: World) -> None:
    step = doubling(world, Form("async"))
    seen: list[list[float]] = []

    @flow(durable=True)
    async def draws() -> None:
        async def branch() -> float:
            await asyncio.sleep(0)
            return durable.random()

        seen.append(sorted(await asyncio.gather(*(branch() for _ in range(5)))))
        await step(1)
        await step(2)

    run_id = world.crashes(Form("async"), draws, at="step 2")
    world.resumes(Form("async"), run_id)

    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 5


def test_what_is_drawn_within_a_replayed_task_is_not_asked_for(form: Form, world: World) -> None:
    @form.task()
    async def draws() -> float:
        world.visit("draws")
        return durable.random()

    step = doubling(world, form)

    @form.flow(durable=True)
    async def works() -> list[float]:
        return [await call(draws), await call(draws), await call(step, 1)]

    run_id = world.crashes(form, works, at="step 1")
    world.seen()
    first, second, _ = world.resumes(form, run_id)

    assert first != second
    assert world.seen() == ["step 1"]
