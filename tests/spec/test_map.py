"""What `map` makes a run for each item of, and what it hands to every run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pydantic
import pytest

from headrace import State, allow_failure, flow, quote, unmapped
from headrace.futures import Future
from tests.spec.forms import Form, Latch, Record, call
from tests.spec.mapping import Tasks, mapped

Lines = Callable[[], list[str]]
colour: ContextVar[str] = ContextVar("colour", default="none")


@pytest.fixture
def tasks(inner: Form) -> Tasks:
    return Tasks(inner)


# -- what is mapped over ------------------------------------------------------------------------------------


ITERABLES: list[tuple[Callable[[], Any], list[Any]]] = [
    (lambda: [1, 2, 3], [1, 2, 3]),
    (lambda: (1, 2), [1, 2]),
    (lambda: range(3), [0, 1, 2]),
    (lambda: {5}, [5]),
    (lambda: frozenset({5}), [5]),
    (lambda: {"a": 1, "b": 2}, ["a", "b"]),
    (lambda: {"a": 1}.items(), [("a", 1)]),
    (lambda: (x * x for x in range(3)), [0, 1, 4]),
    (lambda: iter([1, 2]), [1, 2]),
    (lambda: map(str, [1, 2]), ["1", "2"]),
    (lambda: zip("ab", "cd", strict=True), [("a", "c"), ("b", "d")]),
]


@pytest.mark.parametrize(("make", "items"), ITERABLES)
def test_each_item_of_an_iterable_is_a_run(form: Form, tasks: Tasks, make: Callable[[], Any], items: list[Any]) -> None:
    assert mapped(form, tasks.one, make()) == items


def test_several_iterables_go_side_by_side_by_place_and_by_name(form: Form, tasks: Tasks) -> None:
    assert mapped(form, tasks.give, [1, 2], ["a", "b"], z=(True, False)) == [
        (1, "a", ("z", True)),
        (2, "b", ("z", False)),
    ]


def test_iterables_may_be_given_by_name_alone(form: Form, tasks: Tasks) -> None:
    assert mapped(form, tasks.give, y=[1, 2], x=5) == [(("y", 1), ("x", 5)), (("y", 2), ("x", 5))]


class Stop(pydantic.BaseModel):
    name: str = "north"
    minutes: int = 5


@dataclass
class Line:
    stops: tuple[str, ...] = ("a", "b")

    def __iter__(self) -> Iterator[str]:
        return iter(self.stops)


WHOLE: list[Any] = [5, None, "text", b"bytes", bytearray(b"more"), Stop(), Line(), object, 1.5, threading.Lock]


@pytest.mark.parametrize("value", WHOLE, ids=repr)
def test_what_is_no_collection_of_items_goes_to_every_run_whole(form: Form, tasks: Tasks, value: Any) -> None:
    assert mapped(form, tasks.give, [1, 2], value) == [(1, value), (2, value)]


def test_an_open_file_goes_to_every_run_whole(form: Form, tasks: Tasks, tmp_path: Any) -> None:
    with (tmp_path / "lines").open("w") as file:
        assert mapped(form, tasks.give, [1], file) == [(1, file)]


def test_defaults_are_never_mapped(form: Form) -> None:
    @form.task()
    async def both(x: int, more: tuple[int, ...] = (7, 8, 9)) -> tuple[int, tuple[int, ...]]:
        return x, more

    assert mapped(form, both, [1, 2]) == [(1, (7, 8, 9)), (2, (7, 8, 9))]


def test_what_is_unmapped_goes_to_every_run_whole(form: Form, tasks: Tasks) -> None:
    assert mapped(form, tasks.give, [1, 2], unmapped([3, 4, 5]), z=unmapped("xy")) == [
        (1, [3, 4, 5], ("z", "xy")),
        (2, [3, 4, 5], ("z", "xy")),
    ]


def test_what_is_quoted_goes_to_every_run_as_it_is(form: Form, inner: Form, tasks: Tasks) -> None:
    given: list[Any] = []

    @inner.task()
    async def look(x: int, futures: Any) -> bool:
        return futures is given and isinstance(futures[0], Future)

    async def body() -> Any:
        given.append(tasks.one.submit(1))
        return await form.got(look.map([1, 2], quote(given)))

    assert form.in_flow(body) == [True, True]


def test_one_object_of_what_is_unmapped_is_shared_by_all_runs(form: Form, tasks: Tasks) -> None:
    shared = [object()]

    assert all(more is shared for _, more in mapped(form, tasks.give, range(3), unmapped(shared)))


def test_the_items_are_those_at_the_time_of_the_call(form: Form, tasks: Tasks) -> None:
    async def body() -> Any:
        items = [1, 2]
        results = tasks.one.map(items)
        items.append(3)
        return [len(results), await form.got(results)]

    assert form.in_flow(body) == [2, [1, 2]]


@pytest.mark.parametrize("empty", [list[int], dict[int, int], lambda: range(0), lambda: iter(())])
def test_nothing_to_map_over_makes_no_runs(form: Form, tasks: Tasks, record: Record, empty: Callable[[], Any]) -> None:
    async def body() -> Any:
        results = tasks.one.map(empty())
        return [len(results), list(results), await form.got(results), results.wait() if not form.is_async else True]

    assert form.in_flow(body) == [0, [], [], True]
    assert record.task_runs() == []


# -- futures and states mapped over -------------------------------------------------------------------------


def test_the_futures_of_a_map_are_mapped_over_one_by_one(form: Form, tasks: Tasks) -> None:
    async def body() -> Any:
        first = tasks.one.map([1, 2, 3])
        return await form.got(tasks.give.map(first, ["a", "b", "c"]))

    assert form.in_flow(body) == [(1, "a"), (2, "b"), (3, "c")]


def test_a_run_begins_once_its_own_item_is_there_whatever_the_others_do(form: Form, inner: Form) -> None:
    latches = [Latch(), Latch()]
    second = Latch()

    @inner.task()
    async def wait(i: int) -> int:
        await latches[i].passed()
        return i

    @inner.task()
    async def go_on(i: int) -> int:
        second.open()
        return i + 10

    async def body() -> Any:
        results = go_on.map(wait.map([0, 1]))
        latches[1].open()
        await second.passed()
        latches[0].open()
        return await form.got(results)

    assert form.in_flow(body) == [10, 11]


def test_a_list_of_futures_is_mapped_over_one_by_one(form: Form, tasks: Tasks) -> None:
    async def body() -> Any:
        return await form.got(tasks.one.map([tasks.one.submit(1), {"a": tasks.one.submit(2)}]))

    assert form.in_flow(body) == [1, {"a": 2}]


def test_the_result_of_a_future_is_mapped_over(tasks: Tasks) -> None:
    @flow
    def main() -> Any:
        return tasks.one.map(tasks.one.submit([1, 2, 3])).result()

    assert main() == [1, 2, 3]


async def test_the_result_of_a_future_that_has_ended_is_mapped_over_on_a_loop(tasks: Tasks) -> None:
    @flow
    async def main() -> Any:
        future = tasks.one.submit([1, 2, 3])
        await future
        return await tasks.one.map(future)

    assert await main() == [1, 2, 3]


def test_the_result_of_a_state_is_mapped_over(form: Form, tasks: Tasks) -> None:
    @form.task()
    async def pair() -> list[int]:
        return [1, 2]

    async def body() -> Any:
        done: State[Any] = await call(pair, return_state=True)
        return await form.got(tasks.one.map(done))

    assert form.in_flow(body) == [1, 2]


def test_what_failed_upstream_is_raised_when_it_is_to_be_mapped_over(tasks: Tasks) -> None:
    @flow
    def main() -> Any:
        return tasks.one.map(tasks.odd.submit(2)).result()

    with pytest.raises(ValueError, match="2"):
        main()


def test_allow_failure_is_about_each_item(form: Form, tasks: Tasks) -> None:
    async def body() -> Any:
        results = await form.got(tasks.one.map(allow_failure(tasks.odd.map([1, 2, 3]))))
        return quote([results[0], type(results[1]).__name__, bool(results[1]), results[2]])

    assert form.in_flow(body).unwrap() == [1, "ValueError", False, 3]


WRAPS: list[Callable[[Any], Any]] = [lambda one: unmapped(allow_failure(one)), lambda one: allow_failure(unmapped(one))]


@pytest.mark.parametrize("wrap", WRAPS)
def test_unmapped_and_allow_failure_may_stand_within_each_other(form: Form, tasks: Tasks, wrap: Any) -> None:
    async def body() -> Any:
        failed = tasks.odd.submit(2)
        results = await form.got(tasks.give.map([1, 2], wrap(failed)))
        return quote([(x, isinstance(error, ValueError)) for x, error in results])

    assert form.in_flow(body).unwrap() == [(1, True), (2, True)]


def test_a_forgiven_future_goes_to_every_run(form: Form, tasks: Tasks) -> None:
    async def body() -> Any:
        results = await form.got(tasks.give.map([1, 2], allow_failure(tasks.odd.submit(2))))
        return quote([isinstance(error, ValueError) for _, error in results])

    assert form.in_flow(body).unwrap() == [True, True]


def test_wait_for_holds_for_every_run(form: Form, inner: Form, tasks: Tasks, record: Record) -> None:
    async def body() -> Any:
        failed = tasks.odd.submit(2)
        results = tasks.one.map([1, 2], wait_for=[failed])
        await form.ended(results)
        return [result.state.name for result in results]

    assert form.in_flow(body) == ["NotReady", "NotReady"]


def test_wait_for_is_waited_for(form: Form, inner: Form, tasks: Tasks) -> None:
    latch, order = Latch(), list[str]()

    @inner.task()
    async def first() -> None:
        await latch.passed()
        order.append("first")

    @inner.task()
    async def then(x: int) -> None:
        order.append("then")

    async def body() -> None:
        results = then.map([1, 2], wait_for=[first.submit()])
        latch.open()
        await form.got(results)

    form.in_flow(body)

    assert order == ["first", "then", "then"]
