"""Futures among arguments: where they are found, and how they are waited for."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import attrs
import pydantic
import pytest

from headrace import task
from headrace.runtime import flow_run
from headrace.task_runners import ConcurrentTaskRunner
from headrace.testing import virtual_time
from tests.spec.forms import Form, Latch, Record, call
from tests.spec.steps import Steps
from tests.spec.watched import Watched


@pytest.fixture
def steps(inner: Form) -> Steps:
    return Steps(inner)


# -- where they are found -----------------------------------------------------------------------------------


class Point(NamedTuple):
    x: Any
    y: Any = 0


@dataclass
class Box:
    inside: Any
    label: str = "a box"


@dataclass(frozen=True)
class Sealed:
    inside: Any


@dataclass(frozen=True, slots=True)
class Slotted:
    inside: Any


@dataclass(kw_only=True)
class Base:
    inside: Any


@dataclass(kw_only=True)
class Derived(Base):
    more: Any


@attrs.define
class Open:
    inside: Any


@attrs.frozen
class Shut:
    inside: Any
    more: Any = 3


class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    inside: Any
    more: list[Any] = []


class Fixed(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)
    inside: Any


class Named(dict[str, Any]):
    """A user's own kind of dict."""


PLACES: dict[str, Callable[[Any], Any]] = {
    "itself": lambda one: one,
    "list": lambda one: [one, 2],
    "tuple": lambda one: (0, one),
    "set": lambda one: {one},
    "frozenset": lambda one: frozenset({one}),
    "dict": lambda one: {"a": one, "b": 2},
    "own dict": lambda one: Named(a=one),
    "ordered dict": lambda one: OrderedDict[str, Any](a=one, b=2),
    "default dict": lambda one: defaultdict(list, {"a": one}),
    "named tuple": lambda one: Point(one),
    "dataclass": lambda one: Box(one),
    "frozen dataclass": lambda one: Sealed(one),
    "slotted dataclass": lambda one: Slotted(one),
    "derived dataclass": lambda one: Derived(inside=one, more=[one]),
    "attrs": lambda one: Open(one),
    "frozen attrs": lambda one: Shut(one, more=[one]),
    "pydantic": lambda one: Model(inside=one, more=[one]),
    "frozen pydantic": lambda one: Fixed(inside=one),
    "deep": lambda one: [({"a": Box(Point(Shut([one])))},)],
}


@pytest.mark.parametrize("place", PLACES)
def test_a_future_is_its_result_wherever_it_stands(form: Form, steps: Steps, place: str) -> None:
    make = PLACES[place]

    async def body() -> None:
        await form.got(steps.take.submit(make(steps.one.submit("there"))))

    form.in_flow(body)

    (handed,) = steps.handed
    assert handed == make("there")
    assert type(handed) is type(make("there"))


@pytest.mark.parametrize("place", PLACES)
def test_a_direct_call_gets_results_in_place_of_futures_too(form: Form, inner: Form, place: str) -> None:
    make = PLACES[place]
    handed: list[Any] = []

    @inner.task()
    async def one() -> str:
        return "there"

    @form.task()
    async def take(value: Any) -> None:
        handed.append(value)

    async def body() -> None:
        future = one.submit()
        await form.ended([future])
        await call(take, make(future))

    form.in_flow(body)

    assert handed == [make("there")]


def test_what_holds_a_future_is_left_as_it_was(form: Form, steps: Steps) -> None:
    kept: list[Any] = []

    async def body() -> None:
        future = steps.one.submit()
        containers = [make(future) for make in PLACES.values()]
        kept.extend([future, containers, copy.copy(containers)])
        await form.got(steps.take.submit(containers))

    form.in_flow(body)

    future, containers, before = kept
    assert all(one is other for one, other in zip(containers, before, strict=True))
    assert containers[list(PLACES).index("dataclass")].inside is future
    assert containers[list(PLACES).index("dict")]["a"] is future


def test_what_holds_no_future_is_handed_on_as_it_is(form: Form, steps: Steps) -> None:
    given = [make("no future") for make in PLACES.values()]

    async def body() -> None:
        await form.got(steps.take.submit(given, steps.one.submit()))

    form.in_flow(body)

    assert steps.handed[0][0] is given


def test_one_future_in_several_places_is_one_value(form: Form, steps: Steps) -> None:
    async def body() -> None:
        future = steps.one.submit(["shared"])
        await form.got(steps.take.submit([future, {"a": future}]))

    form.in_flow(body)

    first, second = steps.handed[0]
    assert first is second["a"]


def test_futures_by_name_and_among_several_are_found(form: Form, steps: Steps) -> None:
    async def body() -> None:
        await form.got(steps.take.submit(steps.one.submit(1), 2, key=steps.one.submit(3)))

    form.in_flow(body)

    assert steps.handed == [((1, 2), {"key": 3})]


def test_the_list_that_map_gives_is_the_list_of_results(form: Form, steps: Steps) -> None:
    async def body() -> None:
        mapped = steps.one.map([1, 2, 3])
        await form.got(steps.take.submit(mapped, {"all": mapped}))

    form.in_flow(body)

    assert steps.handed == [([1, 2, 3], {"all": [1, 2, 3]})]


def test_flows_are_handed_results_and_record_them(form: Form, inner: Form, record: Record) -> None:
    @inner.flow(name="child")
    async def child(x: int, more: list[int]) -> Any:
        return x, more, dict(flow_run.parameters)

    @inner.task()
    async def one(x: int) -> int:
        return x

    async def body() -> Any:
        return await form.got(child.submit(one.submit(1), more=[one.submit(2)]))

    assert form.in_flow(body) == (1, [2], {"x": 1, "more": [2]})
    assert next(run for run in record.flow_runs() if run.flow_name == "child").parameters == {"x": 1, "more": [2]}


@pytest.mark.parametrize("value", [[], {}, (), [[]], None, Box(None)], ids=repr)
def test_a_result_may_be_anything(form: Form, steps: Steps, value: Any) -> None:
    async def body() -> None:
        await form.got(steps.take.submit([steps.one.submit(value)]))

    form.in_flow(body)

    assert steps.handed == [[value]]


def test_a_large_list_beside_a_future_is_not_copied(form: Form, steps: Steps) -> None:
    numbers = list(range(200_000))

    async def body() -> None:
        await form.got(steps.take.submit({"numbers": numbers, "one": steps.one.submit()}))

    form.in_flow(body)

    assert steps.handed[0]["numbers"] is numbers


# -- how they are waited for --------------------------------------------------------------------------------


def test_a_run_that_waits_for_its_arguments_holds_no_place(form: Form, inner: Form) -> None:
    latch = Latch()

    @inner.task()
    async def first() -> str:
        await latch.passed()
        return "first"

    @inner.task()
    async def give(value: str) -> str:
        return value

    async def body() -> list[str]:
        slow = first.submit()
        waiting = [give.submit(slow) for _ in range(20)]
        others = [give.submit(str(number)) for number in range(3)]
        values = [await form.got(other) for other in others]
        latch.open()
        return values + [await form.got(one) for one in waiting[-1:]]

    runner = Watched(limit=2)
    assert form.in_flow(body, task_runner=runner) == ["0", "1", "2", "first"]
    assert runner.rests()


def test_a_run_begins_when_the_last_of_its_futures_has_ended(form: Form, inner: Form) -> None:
    latches = [Latch(), Latch(), Latch()]
    story: list[str] = []

    @inner.task()
    async def wait(number: int) -> int:
        await latches[number].passed()
        story.append(f"{number} ended")
        return number

    @inner.task()
    async def add(numbers: Sequence[int]) -> int:
        story.append("added")
        return sum(numbers)

    async def body() -> int:
        waited = [wait.submit(number) for number in range(3)]
        future = add.submit(waited)
        for number in (1, 0, 2):
            latches[number].open()
            await form.ended([waited[number]])
        value: int = await form.got(future)
        return value

    assert form.in_flow(body) == 3
    assert story == ["1 ended", "0 ended", "2 ended", "added"]


def test_the_wait_for_a_future_is_in_the_record(form: Form, inner: Form, record: Record) -> None:
    begun, latch = Latch(), Latch()

    @inner.task()
    async def slow() -> str:
        begun.open()
        await latch.passed()
        return "x"

    @inner.task()
    async def take(value: str) -> None: ...

    async def body() -> None:
        future = take.submit(slow.submit())
        await begun.passed()
        time.advance(5)
        latch.open()
        await form.ended([future])

    with virtual_time() as time:
        form.in_flow(body)

    run = next(run for run in record.task_runs() if run.task_name == "take")
    assert record.path(run) == ["Pending", "Running", "Completed"]
    assert run.transitions[1][2] == run.start_time


def test_a_chain_of_runs_that_wait_for_each_other_runs_with_one_place(form: Form, steps: Steps) -> None:
    async def body() -> Any:
        future = steps.one.submit(0)
        for _ in range(100):
            future = steps.one.submit(future)
        return await form.got(future)

    assert form.in_flow(body, task_runner=ConcurrentTaskRunner(limit=1)) == 0


def test_a_generator_s_call_waits_for_its_futures_too(form: Form, inner: Form) -> None:
    latch = Latch()

    @inner.task()
    async def slow() -> str:
        await latch.passed()
        return "there"

    @task
    def items(value: Any) -> Iterator[Any]:
        yield value

    @task
    async def async_items(value: Any) -> AsyncIterator[Any]:
        yield value

    async def body() -> Any:
        future = slow.submit()
        opening = threading.Timer(0.02, latch.open)
        opening.start()
        values = [one async for one in async_items([future])] if form.is_async else list(items([future]))
        opening.join()
        return values

    assert form.in_flow(body) == [["there"]]
