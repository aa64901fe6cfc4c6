"""Upstreams: `wait_for`, futures that did not complete, failures that are allowed, and what is quoted."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from headrace import State, allow_failure, flow, quote, task, unmapped
from headrace.errors import OptionTypeError, UpstreamTaskError
from headrace.futures import Future
from headrace.states import Cancelled, Crashed
from tests.spec.forms import Form, Latch, Record, call
from tests.spec.steps import BOOM, Steps


@pytest.fixture
def steps(inner: Form) -> Steps:
    return Steps(inner)


@dataclass
class Box:
    inside: Any
    label: str = "a box"


# -- wait_for -----------------------------------------------------------------------------------------------


def test_wait_for_takes_futures_and_hands_nothing_over(form: Form, inner: Form, steps: Steps) -> None:
    latch, order = Latch(), list[str]()

    @inner.task()
    async def first() -> None:
        await latch.passed()
        order.append("first")

    @inner.task()
    async def then() -> None:
        order.append("then")

    async def body() -> None:
        future = then.submit(wait_for=[first.submit()])
        latch.open()
        await form.got(future)

    form.in_flow(body)

    assert order == ["first", "then"]


WAITED: list[Callable[[Any], Any]] = [
    lambda one: [one],
    lambda one: (one,),
    lambda one: iter([one]),
    lambda one: one,
    lambda one: [[one]],
    lambda one: {"a": one},
]


@pytest.mark.parametrize("wrap", WAITED)
def test_wait_for_may_be_any_iterable_or_one_future(form: Form, steps: Steps, wrap: Callable[[Any], Any]) -> None:
    async def body() -> Any:
        return await form.got(steps.take.submit(1, wait_for=wrap(steps.one.submit())))

    assert form.in_flow(body) == 1


@pytest.mark.parametrize("wrap", WAITED)
def test_a_failure_in_wait_for_keeps_the_run_from_beginning(
    form: Form, steps: Steps, wrap: Callable[[Any], Any], record: Record
) -> None:
    """In an iterator, too, which is looked through twice, and in a dict."""

    async def body() -> None:
        future = steps.take.submit(1, wait_for=wrap(steps.bad.submit()))
        with pytest.raises(UpstreamTaskError) as caught:
            await form.got(future)
        assert caught.value.__cause__ is BOOM

    form.in_flow(body)

    assert steps.handed == []


def test_a_map_in_wait_for_is_all_its_runs(form: Form, inner: Form, steps: Steps) -> None:
    latch, ended = Latch(), list[int]()

    @inner.task()
    async def wait(number: int) -> None:
        await latch.passed()
        ended.append(number)

    @inner.task()
    async def count() -> int:
        return len(ended)

    async def body() -> Any:
        future = count.submit(wait_for=wait.map(range(5)))
        latch.open()
        return await form.got(future)

    assert form.in_flow(body) == 5


@pytest.mark.parametrize("wrong", [5, "future", b"x"])
def test_a_wait_for_that_is_no_list_is_refused_and_nothing_begins(
    form: Form, steps: Steps, wrong: Any, record: Record
) -> None:
    async def body() -> None:
        with pytest.raises(OptionTypeError, match="wait_for takes a list of futures or states, not"):
            steps.take.submit(1, wait_for=wrong)

    form.in_flow(body)

    assert record.task_runs() == []


# -- upstreams that did not complete ------------------------------------------------------------------------


def test_a_failed_upstream_keeps_a_run_from_beginning_and_is_its_cause(
    form: Form, steps: Steps, record: Record
) -> None:
    states: list[State[Any]] = []

    async def body() -> None:
        future = steps.take.submit([steps.bad.submit()])
        with pytest.raises(UpstreamTaskError, match=r"Task run 'take-\w+' was not started: the upstream run") as caught:
            await form.got(future)
        assert caught.value.__cause__ is BOOM
        states.append(future.state)

    form.in_flow(body)

    assert steps.handed == []
    assert [(state.type.value, state.name) for state in states] == [("PENDING", "NotReady")]
    assert {run.task_name: run.state.name for run in record.task_runs()} == {"bad": "Failed", "take": "NotReady"}


def test_the_first_failure_is_the_cause_all_the_way_down(form: Form, steps: Steps) -> None:
    async def body() -> Any:
        future = steps.bad.submit()
        for _ in range(3):
            future = steps.take.submit(future)
        with pytest.raises(UpstreamTaskError) as caught:
            await form.got(future)
        causes: list[BaseException] = []
        error: BaseException | None = caught.value
        while error is not None:
            causes.append(error)
            error = error.__cause__
        return quote(causes)

    causes = form.in_flow(body).unwrap()
    assert causes[-1] is BOOM
    assert all(isinstance(error, UpstreamTaskError) for error in causes[:-1])


@pytest.mark.parametrize("end", [Cancelled, Crashed])
def test_a_run_that_was_cancelled_or_crashed_is_no_upstream_even_where_failures_are_allowed(
    form: Form, inner: Form, steps: Steps, end: Callable[[], State[Any]]
) -> None:
    @inner.task()
    async def ends() -> Any:
        return end()

    async def body() -> None:
        with pytest.raises(UpstreamTaskError, match=end.__name__):
            await form.got(steps.take.submit(allow_failure(ends.submit())))
        with pytest.raises(UpstreamTaskError, match=end.__name__):
            await form.got(steps.take.submit(1, wait_for=[allow_failure(ends.submit())]))

    form.in_flow(body)

    assert steps.handed == []


# -- allow_failure ------------------------------------------------------------------------------------------


def test_an_allowed_failure_is_its_exception_which_is_false(form: Form, inner: Form, steps: Steps) -> None:
    @inner.task()
    async def choose(primary: Any, fallback: str) -> Any:
        return [primary if primary else fallback, isinstance(primary, RuntimeError), str(primary), bool(BOOM)]

    async def body() -> Any:
        return await form.got(choose.submit(allow_failure(steps.bad.submit()), "fallback"))

    assert form.in_flow(body) == ["fallback", True, "boom", True]


def test_an_allowed_failure_that_did_not_happen_is_the_value(form: Form, steps: Steps) -> None:
    async def body() -> None:
        await form.got(steps.take.submit(allow_failure(steps.one.submit(7)), allow_failure(5)))

    form.in_flow(body)

    assert steps.handed == [(7, 5)]


ALLOWED: list[tuple[Callable[[Any], Any], Callable[[Any], Any]]] = [
    (lambda one: [allow_failure(one)], lambda handed: handed[0]),
    (lambda one: allow_failure([one]), lambda handed: handed[0]),
    (lambda one: {"a": allow_failure(one)}, lambda handed: handed["a"]),
    (lambda one: Box(allow_failure(one)), lambda handed: handed.inside),
    (lambda one: allow_failure({"a": Box(one)}), lambda handed: handed["a"].inside),
]


@pytest.mark.parametrize(("wrap", "unwrap"), ALLOWED)
def test_failures_are_allowed_in_containers(
    form: Form, steps: Steps, wrap: Callable[[Any], Any], unwrap: Callable[[Any], Any]
) -> None:
    async def body() -> None:
        await form.got(steps.take.submit(wrap(steps.bad.submit())))

    form.in_flow(body)

    (handed,) = steps.handed
    assert isinstance(unwrap(handed), RuntimeError)
    assert not unwrap(handed)


def test_a_failure_allowed_in_one_place_is_not_allowed_in_another(form: Form, steps: Steps) -> None:
    async def body() -> None:
        failed = steps.bad.submit()
        with pytest.raises(UpstreamTaskError):
            await form.got(steps.take.submit([allow_failure(failed), failed]))

    form.in_flow(body)


def test_a_failure_is_allowed_in_wait_for(form: Form, steps: Steps) -> None:
    async def body() -> Any:
        return await form.got(steps.take.submit(1, wait_for=[allow_failure(steps.bad.submit())]))

    assert form.in_flow(body) == 1


def test_what_was_not_started_because_of_a_failure_is_allowed_too(form: Form, steps: Steps) -> None:
    async def body() -> None:
        stopped = steps.one.submit(steps.bad.submit())
        await form.got(steps.take.submit(allow_failure(stopped)))

    form.in_flow(body)

    (error,) = steps.handed
    assert isinstance(error, UpstreamTaskError)
    assert not error
    assert error.__cause__ is BOOM


def test_a_failure_is_allowed_in_a_direct_call(form: Form, inner: Form) -> None:
    @inner.task()
    async def bad() -> None:
        raise BOOM

    @form.task()
    async def take(value: Any) -> Any:
        return [type(value).__name__, bool(value)]

    async def body() -> Any:
        failed = bad.submit()
        await form.ended([failed])
        return await call(take, allow_failure(failed))

    assert form.in_flow(body) == ["RuntimeError", False]


def test_an_allowed_failure_travels_and_is_still_false(form: Form, steps: Steps) -> None:
    async def body() -> None:
        await form.got(steps.take.submit(allow_failure(steps.bad.submit())))

    form.in_flow(body)

    (error,) = steps.handed
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert isinstance(back, RuntimeError)
    assert (bool(back), str(back), back.args) == (False, "boom", ("boom",))
    with pytest.raises(RuntimeError, match="boom"):
        raise error


# -- quote, unmapped ----------------------------------------------------------------------------------------


def test_what_is_quoted_is_handed_over_as_it_is_and_not_waited_for(form: Form, inner: Form) -> None:
    latch = Latch()

    @inner.task()
    async def slow() -> None:
        await latch.passed()

    @inner.task()
    async def look(values: Any) -> list[bool]:
        return [isinstance(values[0], Future), values[0].done()]

    async def body() -> Any:
        future = slow.submit()
        seen = await form.got(look.submit(quote([future])))
        latch.open()
        return seen

    assert form.in_flow(body) == [True, False]


def test_what_is_unmapped_is_its_value_where_nothing_is_mapped(form: Form, steps: Steps) -> None:
    async def body() -> None:
        await form.got(steps.take.submit(unmapped([1, 2]), unmapped(steps.one.submit(3))))

    form.in_flow(body)

    assert steps.handed == [([1, 2], 3)]


def test_annotations_are_equal_by_what_they_say_and_of_what() -> None:
    assert allow_failure(1) == allow_failure(1)
    assert allow_failure(1) != allow_failure(2)
    assert allow_failure(1) != unmapped(1)
    assert unmapped(1) != 1
    assert len({quote(1), quote(1), unmapped(1)}) == 2
    assert [repr(quote("a")), quote("a").unwrap()] == ["quote('a')", "a"]


# -- of others ----------------------------------------------------------------------------------------------


def test_a_future_of_another_flow_run_can_be_an_argument(form: Form, steps: Steps) -> None:
    kept: list[Future[Any]] = []

    async def first() -> None:
        kept.append(steps.one.submit("from before"))

    async def second() -> None:
        await form.got(steps.take.submit(kept[0]))

    form.in_flow(first)
    form.in_flow(second)

    assert steps.handed == ["from before"]


def test_a_future_of_the_flow_around_can_be_an_argument_of_a_subflow_s_task(form: Form, steps: Steps) -> None:
    latch = Latch()

    @task
    def slow() -> str:
        assert latch.event.wait(20)
        return "from above"

    @flow
    async def child(future: Any) -> None:
        taking = steps.take.submit(future.unwrap() if isinstance(future, quote) else future)
        latch.open()
        await taking

    @flow
    async def main() -> None:
        await child.submit(quote(quote(slow.submit())))

    Form("async").run(main)

    assert steps.handed == ["from above"]
