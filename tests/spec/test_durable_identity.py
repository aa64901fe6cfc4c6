"""Steps of durable flows are known by what they are; a flow that goes another way than recorded is told so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from headrace import flow, task
from headrace.durable import NonDeterministicFlow
from headrace.errors import OptionError
from tests.spec.durable_crashes import STORES, World, doubling
from tests.spec.forms import Form, call


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


class Way:
    """What a flow's way hangs on, other than on what is recorded: its code, as changed between two processes."""

    def __init__(self, *steps: Any) -> None:
        self.steps = steps


# -- the order of steps ---------------------------------------------------------------------------------------


def test_steps_may_come_in_another_order(form: Form, world: World) -> None:
    step = doubling(world, form)
    way = Way(1, 2, 3, 4)

    @form.flow(durable=True)
    async def walks() -> dict[int, int]:
        return {x: await call(step, x) for x in way.steps}

    run_id = world.crashes(form, walks, at="step 4")
    world.seen()
    way.steps = (3, 4, 1, 2)

    assert world.resumes(form, run_id) == {1: 2, 2: 4, 3: 6, 4: 8}
    assert world.seen() == ["step 4"]


def test_branches_that_race_keep_what_they_did(world: World) -> None:
    form = Form("async")
    step = doubling(world, form)

    @flow(durable=True)
    async def races() -> list[int]:
        async def branch(first: int) -> int:
            total = 0
            for x in range(first, first + 3):
                total += await step(x)
                await asyncio.sleep(0)
            return total

        return list(await asyncio.gather(branch(0), branch(10), branch(20)))

    run_id = world.crashes(form, races, at="step 12")
    done = set(world.seen()) - {"step 12"}
    recorded = {f"step {x}" for x in range(30) if f"step {x}" in done}

    assert world.resumes(form, run_id) == [6, 66, 126]
    again = set(world.seen())
    assert "step 12" in again
    assert len(again & recorded) <= 3  # those in flight at the crash


def test_a_step_added_at_the_end_is_run(form: Form, world: World) -> None:
    step = doubling(world, form)
    way = Way(1, 2)

    @form.flow(durable=True)
    async def walks() -> list[int]:
        return [await call(step, x) for x in way.steps]

    run_id = world.crashes(form, walks, at="step 2")
    world.seen()
    way.steps = (1, 2, 3)

    assert world.resumes(form, run_id) == [2, 4, 6]
    assert world.seen() == ["step 2", "step 3"]


def test_a_step_added_before_recorded_ones_is_run(form: Form, world: World) -> None:
    step = doubling(world, form)
    way = Way(1, 2)

    @form.flow(durable=True)
    async def walks() -> list[int]:
        return [await call(step, x) for x in way.steps]

    run_id = world.crashes(form, walks, at="step 2")
    world.seen()
    way.steps = (0, 1, 2)

    assert world.resumes(form, run_id) == [0, 2, 4]
    assert world.seen() == ["step 0", "step 2"]


# -- drift ----------------------------------------------------------------------------------------------------


def test_a_recorded_step_that_is_not_asked_for_is_told_with_both_sides(form: Form, world: World) -> None:
    step = doubling(world, form)
    way = Way(1, 2, 3)

    @form.flow(durable=True)
    async def walks() -> list[int]:
        return [await call(step, x) for x in way.steps]

    run_id = world.crashes(form, walks, at="step 3")
    way.steps = (1, 7, 3)

    with pytest.raises(NonDeterministicFlow) as caught:
        world.resumes(form, run_id)
    assert (caught.value.recorded, caught.value.asked[0]) == (("step(2)",), "step(7)")
    (run,) = world.flow_runs()
    assert run.state.name == "Failed"


def test_a_step_in_progress_at_the_crash_may_be_left_out(form: Form, world: World) -> None:
    """It has no result on record, so nothing of it is lost."""
    step = doubling(world, form)
    way = Way(1, 2)

    @form.flow(durable=True)
    async def walks() -> list[int]:
        return [await call(step, x) for x in way.steps]

    run_id = world.crashes(form, walks, at="step 2")
    way.steps = (1,)

    assert world.resumes(form, run_id) == [2]


def test_a_flow_that_fails_on_another_way_raises_its_own_exception(form: Form, world: World) -> None:
    step = doubling(world, form)
    way = Way(1, 2)

    @form.flow(durable=True)
    async def walks() -> None:
        for x in way.steps:
            await call(step, x)
        raise ValueError("no")

    run_id = world.crashes(form, walks, at="step 2")
    way.steps = ()

    with pytest.raises(ValueError, match="no"):
        world.resumes(form, run_id)


def test_another_count_of_equal_calls_is_drift(form: Form, world: World) -> None:
    step = doubling(world, form)
    way = Way(1, 1, 1, 2)

    @form.flow(durable=True)
    async def walks() -> list[int]:
        return [await call(step, x) for x in way.steps]

    run_id = world.crashes(form, walks, at="step 2")
    way.steps = (1, 1, 2)

    with pytest.raises(NonDeterministicFlow) as caught:
        world.resumes(form, run_id)
    assert caught.value.recorded == ("step(1)",)


def test_many_steps_that_are_not_asked_for_are_counted(form: Form, world: World) -> None:
    step = doubling(world, form)
    way = Way(*range(20))

    @form.flow(durable=True)
    async def walks() -> list[int]:
        return [await call(step, x) for x in way.steps]

    run_id = world.crashes(form, walks, at="step 19")
    way.steps = ()

    with pytest.raises(NonDeterministicFlow, match=r"step\(4\) and 14 more\. Asked for now, and not recorded: nothing"):
        world.resumes(form, run_id)


def test_a_task_of_another_name_is_another_step(form: Form, world: World) -> None:
    first, second = (form.task(name=name)(body_of(world, name)) for name in ("first", "second"))
    last = doubling(world, form)
    way = Way(first)

    @form.flow(durable=True)
    async def walks() -> Any:
        for step in way.steps:
            await call(step, 1)
        return await call(last, 1)

    run_id = world.crashes(form, walks, at="step 1")
    way.steps = (second,)

    with pytest.raises(NonDeterministicFlow) as caught:
        world.resumes(form, run_id)
    assert (caught.value.recorded, caught.value.asked[0]) == (("first(1)",), "second(1)")


def body_of(world: World, name: str) -> Any:
    async def body(x: int) -> int:
        world.visit(f"{name} {x}")
        return x

    return body


# -- keys -----------------------------------------------------------------------------------------------------


def its_order(parameters: dict[str, Any]) -> str:
    """Tell a step by its order."""
    return str(parameters["order"])


def no_string(_parameters: dict[str, Any]) -> Any:
    """Give what is no key."""
    return 7


@pytest.mark.parametrize("key", ["{order}", its_order], ids=["template", "function"])
def test_a_step_of_a_key_is_known_by_it(form: Form, world: World, key: Any) -> None:
    @form.task(step_key=key)
    async def ship(order: str) -> str:
        world.visit(order)
        return order.upper()

    way = Way("a", "b", "c")

    @form.flow(durable=True)
    async def ships() -> list[str]:
        return [await call(ship, order) for order in way.steps]

    run_id = world.crashes(form, ships, at="c")
    world.seen()
    way.steps = ("b", "a", "c")

    assert world.resumes(form, run_id) == ["B", "A", "C"]
    assert world.seen() == ["c"]


def test_a_step_of_one_key_with_other_arguments_fails_at_once(form: Form, world: World) -> None:
    @form.task(step_key="{order}")
    async def ship(order: str, count: int) -> int:
        world.visit(f"{order} {count}")
        return count

    way = Way(1)
    after: list[str] = []

    @form.flow(durable=True)
    async def ships() -> None:
        await call(ship, "a", way.steps[0])
        after.append("went on")
        await call(ship, "b", 1)

    run_id = world.crashes(form, ships, at="b 1")
    after.clear()
    way.steps = (2,)

    with pytest.raises(NonDeterministicFlow) as caught:
        world.resumes(form, run_id)
    assert (caught.value.recorded, caught.value.asked) == (("ship('a', 1)",), ("ship('a', 2)",))
    assert after == []


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("{nobody}", "step_key '{nobody}' of task 'ship' failed with KeyError"),
        (no_string, "step_key of task 'ship' gave 7; it must give a string"),
    ],
    ids=["unknown", "no string"],
)
def test_a_key_that_cannot_be_made_is_told(form: Form, world: World, key: Any, said: str) -> None:
    @form.task(step_key=key)
    async def ship(order: str) -> None:
        world.visit(order)

    @form.flow(durable=True)
    async def ships() -> None:
        await call(ship, "a")

    with world.runtime(), pytest.raises(OptionError, match=said):
        form.run(ships)
    assert world.seen() == []


# -- arguments ------------------------------------------------------------------------------------------------


@attrs.define
class Order:
    """Something that a step is told apart by."""

    number: int
    lines: list[str]


def test_arguments_are_told_apart_by_their_content(form: Form, world: World) -> None:
    @form.task()
    async def ship(order: Order, **more: Any) -> int:
        world.visit(f"ship {order.number} {sorted(more)}")
        return order.number

    @form.flow(durable=True)
    async def ships() -> list[int]:
        return [
            await call(ship, Order(1, ["x"])),
            await call(ship, Order(2, ["y"]), b={1, 2}, a=(1, 2)),
            await call(ship, Order(3, ["x"])),
        ]

    run_id = world.crashes(form, ships, at="ship 3 []")
    world.seen()

    assert world.resumes(form, run_id) == [1, 2, 3]
    assert world.seen() == ["ship 3 []"]


def endless() -> Iterator[int]:
    """Give something that has no content to be told apart by."""
    while True:
        yield 1


def test_arguments_without_content_are_told_apart_by_their_turn(form: Form, world: World) -> None:
    @form.task()
    async def uses(place: int, handle: object) -> int:
        world.visit(f"use {place}")
        return place

    @form.flow(durable=True)
    async def works() -> list[int]:
        return [await call(uses, place, endless()) for place in range(3)]

    run_id = world.crashes(form, works, at="use 2")
    world.seen()

    assert world.resumes(form, run_id) == [0, 1, 2]
    assert world.seen() == ["use 2"]


def test_an_argument_changed_after_the_call_changes_nothing(form: Form, world: World) -> None:
    @form.task()
    async def fills(basket: list[int]) -> int:
        world.visit(f"fill {len(basket)}")
        basket.append(1)
        return len(basket)

    @form.flow(durable=True)
    async def works() -> list[int]:
        return [await call(fills, [0] * size) for size in range(3)]

    run_id = world.crashes(form, works, at="fill 2")
    world.seen()

    assert world.resumes(form, run_id) == [1, 2, 3]
    assert world.seen() == ["fill 2"]


def test_a_task_called_with_a_task_as_argument_is_known_again(form: Form, world: World) -> None:
    @task
    def helper() -> None: ...

    @form.task()
    async def uses(what: Any, x: int) -> int:
        world.visit(f"use {x}")
        return x

    @form.flow(durable=True)
    async def works() -> list[int]:
        return [await call(uses, helper, x) for x in range(2)]

    run_id = world.crashes(form, works, at="use 1")
    world.seen()

    assert world.resumes(form, run_id) == [0, 1]
    assert world.seen() == ["use 1"]
