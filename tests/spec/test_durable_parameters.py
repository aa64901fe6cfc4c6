"""What a durable flow was called with is recorded before its body runs, and its code is found again."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import attrs
import pydantic
import pytest

import headrace
from headrace import flow
from headrace.durable import NotResumable
from headrace.errors import SerializationError
from tests.spec.durable_crashes import STORES, World, doubling
from tests.spec.forms import Form, call


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


@dataclass
class Point:
    x: int
    y: int = 0


@attrs.frozen
class Order:
    number: int


class Config(pydantic.BaseModel):
    size: int
    names: list[str] = []


# -- parameters -----------------------------------------------------------------------------------------------


def test_parameters_of_all_kinds_come_back(form: Form, world: World) -> None:
    step = doubling(world, form)
    seen: list[Any] = []

    @form.flow(durable=True)
    async def works(a: int, /, b: Point, *rest: Order, c: Config, d: set[int] | None = None, **more: Any) -> None:
        seen.append((a, b, rest, c, d, more))
        await call(step, 1)

    given = Config(size=3, names=["x"])
    run_id = world.crashes(form, works, 1, Point(2), Order(3), Order(4), c=given, d={5}, e=(6,), at="step 1")
    world.resumes(form, run_id)

    assert seen[0] == seen[1] == (1, Point(2), (Order(3), Order(4)), given, {5}, {"e": (6,)})


def test_parameters_are_recorded_as_the_body_got_them(form: Form, world: World) -> None:
    """Those that were converted are not converted a second time from what they were."""
    step = doubling(world, form)
    seen: list[Any] = []

    @form.flow(durable=True)
    async def works(x: int, config: Config) -> None:
        seen.append((x, config))
        await call(step, 1)

    run_id = world.crashes(form, works, "7", {"size": "3"}, at="step 1")
    world.resumes(form, run_id)

    assert seen[0] == seen[1] == (7, Config(size=3))


def test_a_parameter_that_the_body_changes_comes_back_as_it_was_given(form: Form, world: World) -> None:
    step = doubling(world, form)
    seen: list[list[int]] = []

    @form.flow(durable=True)
    async def works(basket: list[int]) -> None:
        seen.append(list(basket))
        basket.append(1)
        await call(step, 1)

    run_id = world.crashes(form, works, [7], at="step 1")
    world.resumes(form, run_id)

    assert seen == [[7], [7]]


def test_a_parameter_that_cannot_be_kept_stops_the_run_before_its_body(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def works(handle: Any) -> None:
        world.visit("body")

    with world.runtime(), pytest.raises(SerializationError) as caught:
        form.run(works, threading.Lock())
    assert str(caught.value).startswith(
        "The parameters of the durable flow 'works' cannot be recorded, so it could not be resumed: "
    )
    assert world.seen() == []
    assert [run.state.name for run in world.flow_runs()] == ["Failed"]


def test_defaults_are_those_of_the_call(form: Form, world: World) -> None:
    """A default that is changed meanwhile does not change a run in progress."""
    step = doubling(world, form)
    seen: list[int] = []

    async def body(x: int = 1) -> None:
        seen.append(x)
        await call(step, 1)

    works = form.flow(durable=True, name="works")(body)
    run_id = world.crashes(form, works, at="step 1")
    world.resumes(form, run_id)

    assert seen == [1, 1]


def test_parameters_of_a_subflow_need_not_be_kept(form: Form, world: World) -> None:
    """It is called again by the flow around it, with what that has."""
    step = doubling(world, form)

    @form.flow()
    async def part(handle: Any) -> int:
        value: int = await call(step, 1)
        return value

    @form.flow(durable=True)
    async def whole() -> int:
        value: int = await call(part, threading.Lock())
        return value

    assert world.survives(form, whole, at="step 1") == 2


# -- methods --------------------------------------------------------------------------------------------------


@attrs.define
class Shop:
    """A class whose method is a flow."""

    rate: int
    calls: list[str] = attrs.Factory(list[str])

    @flow(durable=True)
    def sells(self, step: Any, count: int) -> int:
        value: int = step(count)
        return value * self.rate

    @flow(durable=True)
    @classmethod
    def opens(cls, step: Any, count: int) -> str:
        return f"{cls.__name__} {step(count)}"

    @flow(durable=True)
    @staticmethod
    def closes(step: Any, count: int) -> int:
        value: int = step(count)
        return value


CURRENT: list[World] = []


@headrace.task
def sold(x: int) -> int:
    CURRENT[-1].visit(f"sold {x}")
    return x


@pytest.fixture
def shop(world: World) -> Iterator[World]:
    CURRENT.append(world)
    yield world
    CURRENT.clear()


@pytest.mark.parametrize(
    ("called", "value"),
    [(Shop(3).sells, 6), (Shop.opens, "Shop 2"), (Shop.closes, 2)],
    ids=["method", "class", "static"],
)
def test_methods_are_resumed(shop: World, called: Any, value: Any) -> None:
    run_id = shop.crashes(Form("sync"), called, sold, 2, at="sold 2")
    shop.seen()

    assert shop.resumes(Form("sync"), run_id) == value
    assert shop.seen() == ["sold 2"]


# -- copies ---------------------------------------------------------------------------------------------------


def test_a_flow_made_durable_by_its_options_is_resumed_as_that(form: Form, world: World) -> None:
    step = doubling(world, form)

    async def body() -> int:
        return sum([await call(step, x) for x in range(3)])

    plain = form.flow(name="works")(body)
    copies = [plain.with_options(durable=True), *(plain.with_options(retries=n) for n in range(8))]

    run_id = world.crashes(form, copies[0], at="step 2")
    world.seen()

    assert world.resumes(form, run_id) == 6
    assert world.seen() == ["step 2"]


# -- parameters whose classes are gone ------------------------------------------------------------------------


def test_parameters_that_cannot_be_read_are_told_and_tried_again_later(
    form: Form, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def works(point: Point) -> int:
        value: int = await call(step, point.x)
        return value

    run_id = world.crashes(form, works, Point(3), at="step 3")
    with monkeypatch.context() as patch:
        patch.delattr(sys.modules[__name__], "Point")
        for _ in range(7):
            with pytest.raises(NotResumable, match=r"called with cannot be read: .*[^.]\. Run it anew\.$"):
                world.resumes(form, run_id)

    assert world.resumes(form, run_id) == 6
