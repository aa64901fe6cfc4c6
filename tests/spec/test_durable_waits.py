"""What a wait told a durable flow, it tells again when that is resumed: which ended first, and that time was up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headrace import futures
from headrace.errors import NonDeterministicFlow, WaitTimeoutError
from tests.spec.durable_crashes import STORES, World, doubling
from tests.spec.forms import Form, call
from tests.spec.racing import Gates, ended, runner


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


def test_futures_come_in_the_same_order_and_then_as_they_end(form: Form, world: World) -> None:
    gates = Gates()
    runs, step = runner(world, gates), doubling(world, form)

    @form.flow(durable=True)
    async def orders() -> list[str]:
        entrants = [runs.submit(name) for name in "abc"]
        found = futures.as_completed(entrants)
        came: list[str] = []

        async def took() -> None:
            one = await anext(aiter(found)) if form.is_async else next(iter(found))
            came.append(one.result())

        gates.let("c")
        await took()
        gates.let("b")
        await took()
        try:
            await call(step, 1)
        finally:
            gates.let("a")  # the process has ended by now; here it waits for what it has submitted
        await took()
        return came

    run_id = world.crashes(form, orders, at="step 1")
    gates.let_all()
    world.seen()

    assert world.resumes(form, run_id) == ["c", "b", "a"]
    assert sorted(world.seen()) == ["a", "step 1"]


def test_as_completed_is_late_again_where_it_was(form: Form, world: World) -> None:
    gates = Gates("b")
    runs, step = runner(world, gates), doubling(world, form)

    @form.flow(durable=True)
    async def orders() -> list[Any]:
        entrants = [runs.submit(name) for name in "ab"]
        await ended(form, entrants[1:])
        try:
            with pytest.raises(WaitTimeoutError, match="1 of 2 futures"):
                await form.each(entrants, timeout=0.05)
        finally:
            gates.let("a")
        return [await call(step, 1)]

    run_id = world.crashes(form, orders, at="step 1")

    assert world.resumes(form, run_id) == [2]


@pytest.mark.parametrize("options", [{"return_when": "FIRST_COMPLETED"}, {"timeout": 0.05}], ids=["first", "timeout"])
def test_a_wait_tells_the_same_again(form: Form, world: World, options: Any) -> None:
    gates = Gates("b")
    runs, step = runner(world, gates), doubling(world, form)

    @form.flow(durable=True)
    async def waits() -> list[bool]:
        a, b = [runs.submit(name) for name in "ab"]
        await ended(form, [b])
        found = await ended(form, [a, b], **options)
        try:
            await call(step, 1)
        finally:
            gates.let("a")
        return [found.done == {b}, found.not_done == {a}]

    run_id = world.crashes(form, waits, at="step 1")
    gates.let_all()

    assert world.resumes(form, run_id) == [True, True]


def test_each_wait_has_its_own_record(form: Form, world: World) -> None:
    gates = Gates("b")
    runs, step = runner(world, gates), doubling(world, form)

    @form.flow(durable=True)
    async def waits() -> list[bool]:
        a, b, c = [runs.submit(name) for name in "abc"]
        first = await ended(form, [a, b, c], return_when="FIRST_COMPLETED")
        gates.let("c")
        second = await ended(form, [a, c], return_when="FIRST_COMPLETED")
        try:
            await call(step, 1)
        finally:
            gates.let("a")
        return [first.done == {b}, second.done == {c}]

    run_id = world.crashes(form, waits, at="step 1")
    gates.let_all()

    assert world.resumes(form, run_id) == [True, True]


def test_fewer_futures_than_recorded_are_noticed(form: Form, world: World) -> None:
    gates = Gates("a", "b")
    runs, step = runner(world, gates), doubling(world, form)
    names = ["a", "b"]

    @form.flow(durable=True)
    async def waits() -> None:
        await form.each([runs.submit(name) for name in names])
        await call(step, 1)

    run_id = world.crashes(form, waits, at="step 1")
    names.pop()

    with pytest.raises(NonDeterministicFlow, match=r"as_completed\(\) in Flow run .* went another way"):
        world.resumes(form, run_id)
