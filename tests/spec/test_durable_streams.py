"""Streams over a cursor in durable flows: what has ended is neither run nor read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.task_runners import ProcessPoolTaskRunner
from tests.spec.bodies import square
from tests.spec.cursors import Late, Numbered
from tests.spec.durable_crashes import STORES, World, doubling
from tests.spec.forms import Form, call
from tests.spec.streaming import read


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


def steps(first: int, last: int) -> list[str]:
    return [f"step {x}" for x in range(first, last + 1)]


# -- going on ---------------------------------------------------------------------------------------------------


def test_neither_finished_items_nor_their_inputs_are_asked_for_again(form: Form, inner: Form, world: World) -> None:
    step, source = doubling(world, inner), Numbered(7)

    @form.flow(durable=True)
    async def streams() -> list[int]:
        return await read(form, step.stream(source.cursor(), limit=1))

    run_id = world.crashes(form, streams, at="step 5")
    assert (world.seen(), source.seen()) == (steps(1, 5), ([None], [1, 2, 3, 4, 5]))

    assert world.resumes(form, run_id) == [2, 4, 6, 8, 10, 12, 14]
    assert (world.seen(), source.seen()) == (steps(5, 7), ([4], [5, 6, 7]))
    assert len(world.task_runs()) == 7


def test_an_async_source_is_read_on_too(inner: Form, world: World) -> None:
    form, source = Form("async"), Numbered(6)
    step = doubling(world, inner)

    @form.flow(durable=True)
    async def streams() -> list[int]:
        return await read(form, step.stream(source.cursor("async"), limit=1))

    run_id = world.crashes(form, streams, at="step 4")
    world.seen()
    source.seen()

    assert world.resumes(form, run_id) == [2, 4, 6, 8, 10, 12]
    assert (world.seen(), source.seen()) == (steps(4, 6), ([3], [4, 5, 6]))


def test_a_run_that_crashes_again_and_again_reads_each_input_of_a_finished_item_once(form: Form, world: World) -> None:
    step, source = doubling(world, form), Numbered(9)

    @form.flow(durable=True)
    async def streams() -> list[int]:
        return await read(form, step.stream(source.cursor(), limit=1))

    run_id = world.crashes(form, streams, at="step 3")
    world.crashes_again(form, run_id, at="step 6")
    world.crashes_again(form, run_id, at="step 9")

    assert world.resumes(form, run_id) == [2 * x for x in range(1, 10)]
    assert source.seen() == ([None, 2, 5, 8], [1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9])


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "as they end"])
def test_of_items_that_ended_out_of_turn_only_the_missing_ones_are_read(
    form: Form, inner: Form, world: World, ordered: bool
) -> None:
    late, source = Late(world, inner), Numbered(6)
    orders = [False, ordered]

    @form.flow(durable=True)
    async def streams() -> list[int]:
        stream = late.step.stream(source.cursor(), limit=4, ordered=orders[0])
        return await read(form, stream, late.others(5))

    run_id = world.crashes(form, streams, at="step 2")
    assert sorted(world.seen()) == steps(1, 6)
    source.seen()
    orders.pop(0)

    came = world.resumes(form, run_id)
    assert sorted(came) == [2, 4, 6, 8, 10, 12]
    assert came == sorted(came) or not ordered
    assert (world.seen(), source.given) == (["step 2"], [2])
    assert source.behind in ([1], [1, 6])  # whether its end was on record, or was looked for again


def test_what_is_on_record_comes_before_what_is_read(form: Form, world: World) -> None:
    step, source = doubling(world, form), Numbered(4)
    told: list[int] = []

    @form.flow(durable=True)
    async def streams() -> None:
        def hear(result: int) -> None:
            told.append(result)
            told.extend(-given for given in source.seen()[1])

        await read(form, step.stream(source.cursor(), limit=1), hear)

    run_id = world.crashes(form, streams, at="step 3")
    told.clear()
    source.seen()

    world.resumes(form, run_id)
    assert told == [2, 4, 6, -3, 8, -4]


def test_a_source_that_has_ended_stays_as_it_was(form: Form, world: World) -> None:
    step, last, source = doubling(world, form), doubling(world, form, name="last"), Numbered(3)

    @form.flow(durable=True)
    async def streams() -> int:
        found = await read(form, step.stream(source.cursor()))
        total: int = await call(last, sum(found))
        return total

    run_id = world.crashes(form, streams, at="last 12")
    world.seen()
    source.seen()
    source.numbers += [4, 5]

    assert world.resumes(form, run_id) == 24
    assert (world.seen(), source.seen()) == (["last 12"], ([], []))


def test_a_source_that_has_not_ended_gives_what_has_come_since(form: Form, world: World) -> None:
    step, source = doubling(world, form), Numbered(3)

    @form.flow(durable=True)
    async def streams() -> list[int]:
        return await read(form, step.stream(source.cursor(), limit=1))

    run_id = world.crashes(form, streams, at="step 3")
    source.numbers += [4, 5]

    assert world.resumes(form, run_id) == [2, 4, 6, 8, 10]


def test_what_has_ended_may_be_gone_from_the_source(form: Form, world: World) -> None:
    step, source = doubling(world, form), Numbered(5)

    @form.flow(durable=True)
    async def streams() -> list[int]:
        return await read(form, step.stream(source.cursor(), limit=1))

    run_id = world.crashes(form, streams, at="step 4")
    source.numbers = [4, 5]

    assert world.resumes(form, run_id) == [2, 4, 6, 8, 10]


# -- where it is ------------------------------------------------------------------------------------------------


def test_two_streams_over_one_source_are_told_apart_by_their_turns(form: Form, world: World) -> None:
    step, source = doubling(world, form), Numbered(3)

    @form.flow(durable=True)
    async def streams() -> list[int]:
        first = await read(form, step.stream(source.cursor(), limit=1))
        second = await read(form, step.stream(source.cursor(), limit=1))
        last: int = await call(doubling(world, form, name="last"), 9)
        return [*first, *second, last]

    run_id = world.crashes(form, streams, at="last 9")
    assert world.seen() == [*steps(1, 3), *steps(1, 3), "last 9"]
    source.seen()

    assert world.resumes(form, run_id) == [2, 4, 6, 2, 4, 6, 18]
    assert (world.seen(), source.seen()) == (["last 9"], ([], []))


def test_streams_with_other_arguments_beside_the_source_are_other_streams(form: Form, world: World) -> None:
    source = Numbered(2)

    @form.task()
    async def scale(x: int, factor: int) -> int:
        world.visit(f"scale {x} {factor}")
        return x * factor

    factors = [2, 3]

    @form.flow(durable=True)
    async def streams() -> list[int]:
        found: list[int] = []
        for factor in factors:
            found += await read(form, scale.stream(source.cursor(), factor, limit=1))
        return found

    run_id = world.crashes(form, streams, at="scale 2 3")
    world.seen()
    factors.reverse()

    assert world.resumes(form, run_id) == [3, 6, 2, 4]
    assert world.seen() == ["scale 2 3"]


def test_a_stream_beside_another_over_the_same_source_has_a_name(world: World) -> None:
    form, source = Form("async"), Numbered(4)
    step = doubling(world, form)

    @form.flow(durable=True)
    async def streams() -> list[tuple[int, int]]:
        first, second = (step.stream(source.cursor(name=name), limit=1) for name in ("first", "second"))
        async with first as ones, second as others:
            return [(one, await anext(aiter(others))) async for one in ones]

    run_id = world.crashes(form, streams, at="step 4")
    world.seen()

    assert world.resumes(form, run_id) == [(2, 2), (4, 4), (6, 6), (8, 8)]
    assert set(world.seen()) <= {"step 3", "step 4"}


@pytest.mark.parametrize("place", ["subflow", "task", "function"])
def test_a_stream_goes_on_wherever_it_is_read(form: Form, world: World, place: str) -> None:
    step, source = doubling(world, form), Numbered(5)

    async def body() -> list[int]:
        return await read(form, step.stream(source.cursor(), limit=1))

    around = {"subflow": form.flow(), "task": form.task(), "function": form.fn}[place](body)

    @form.flow(durable=True)
    async def streams() -> list[int]:
        found: list[int] = await call(around)
        return found

    run_id = world.crashes(form, streams, at="step 3")
    world.seen()
    source.seen()

    assert world.resumes(form, run_id) == [2, 4, 6, 8, 10]
    assert (world.seen(), source.seen()) == (steps(3, 5), ([2], [3, 4, 5]))


def test_items_may_be_flows(form: Form, world: World) -> None:
    step, source = doubling(world, form), Numbered(4)

    @form.flow()
    async def part(x: int) -> int:
        value: int = await call(step, x)
        return value

    @form.flow(durable=True)
    async def streams() -> list[int]:
        return await read(form, part.stream(source.cursor(), limit=1))

    run_id = world.crashes(form, streams, at="step 3")
    world.seen()
    source.seen()

    assert world.resumes(form, run_id) == [2, 4, 6, 8]
    assert (world.seen(), source.seen()) == (steps(3, 4), ([2], [3, 4]))
    assert len(world.flow_runs()) == 5


def test_items_may_run_in_other_processes(form: Form, world: World) -> None:
    last, source = doubling(world, form, name="last"), Numbered(3)

    @form.flow(durable=True, task_runner=ProcessPoolTaskRunner(max_workers=1))
    async def streams() -> list[int]:
        found = await read(form, square.stream(source.cursor()))
        return [*found, await call(last, 9)]

    run_id = world.crashes(form, streams, at="last 9")
    source.seen()

    assert world.resumes(form, run_id) == [1, 4, 9, 18]
    assert source.seen() == ([], [])
