"""Waiting for futures: for one, for all, for whichever comes first, and for so long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

from headrace import State, aio, flow, futures, quote, task
from headrace.errors import OptionError, OptionTypeError, WaitTimeoutError
from headrace.futures import Future
from headrace.testing import virtual_time
from tests.spec.forms import Form
from tests.spec.turns import BOOM, Turns

Lines = Callable[[], list[str]]


@pytest.fixture
def turns(inner: Form) -> Iterator[Turns]:
    turns = Turns(inner)
    yield turns
    turns.end(*turns.latches)


# -- one future ---------------------------------------------------------------------------------------------


def test_a_wait_with_a_timeout_ends_in_time_and_the_run_goes_on(turns: Turns) -> None:
    @flow
    def main() -> list[Any]:
        (future,) = turns.start("a")
        early = future.wait(timeout=0.01)
        with pytest.raises(WaitTimeoutError, match=r"Task run 'take-001' did not end within 0\.01 s"):
            future.result(timeout=0.01)
        with pytest.raises(TimeoutError):
            future.result(0)
        turns.end("a")
        return [early, future.wait(), future.wait(0), future.result()]

    assert main() == [False, True, True, "a"]


def test_a_timeout_is_counted_on_the_clock_of_the_runs() -> None:
    @task
    async def slow() -> str:
        await asyncio.sleep(100)
        return "there"

    @flow
    def main() -> list[Any]:
        future = slow.submit()
        told: list[Any] = [future.wait(40), future.wait(59.5), future.done(), future.wait(2), time.elapsed]
        return told

    with virtual_time() as time:
        assert main() == [False, False, False, True, 100.0]


def test_waiting_raises_nothing_of_what_the_run_raised(turns: Turns) -> None:
    @flow
    def main() -> bool:
        (future,) = turns.start("bad")
        turns.end("bad")
        return future.wait()

    assert main() is True


@pytest.mark.parametrize("wrong", [-1, -0.5, "5", True, float("nan")])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(form: Form, turns: Turns, wrong: Any) -> None:
    async def body() -> None:
        (future,) = turns.start("a")
        turns.end("a")
        await form.ended([future])
        for ask in (lambda: futures.wait([future], wrong), lambda: futures.as_completed([future], wrong)):
            with pytest.raises(OptionError, match="timeout must be a number of seconds, 0 or more, or None; not"):
                ask()
        with pytest.raises(OptionError, match="timeout must be a number"):
            await form.ended([future], wrong)

    form.in_flow(body)


# -- all of them --------------------------------------------------------------------------------------------


def test_wait_gives_the_done_once_all_are(form: Form, turns: Turns) -> None:
    async def body() -> list[Any]:
        awaited = turns.start("a", "bad", "c")
        turns.end("a", "bad", "c")
        done, not_done = await form.ended(awaited)
        return [done == set(awaited), not_done]

    assert form.in_flow(body) == [True, set()]


def test_wait_tells_the_done_from_the_others_when_time_is_up(form: Form, turns: Turns) -> None:
    async def body() -> list[Any]:
        a, b, c = turns.start("a", "b", "c")
        turns.end("b")
        await form.ended([b])
        found = await form.ended([a, b, c], timeout=0.01)
        turns.end("a", "c")
        return [found.done == {b}, found.not_done == {a, c}]

    assert form.in_flow(body) == [True, True]


def test_wait_takes_each_future_once_and_any_iterable(form: Form, turns: Turns) -> None:
    async def body() -> list[int]:
        a, b = turns.start("a", "b")
        turns.end("a", "b")
        twice = await form.ended(iter([a, b, a]))
        single: Any = a
        alone = await form.ended(single)
        return [len(twice.done), len(alone.done), len((await form.ended([])).done)]

    assert form.in_flow(body) == [2, 1, 0]


def test_wait_takes_the_list_that_map_gives(form: Form, inner: Form) -> None:
    @inner.task()
    async def double(x: int) -> int:
        return 2 * x

    async def body() -> list[Any]:
        mapped = double.map(range(3))
        done, not_done = await form.ended(mapped)
        return [done == set(mapped), not_done]

    assert form.in_flow(body) == [True, set()]


@pytest.mark.parametrize("wrong", [[5], ["future"], [None]])
def test_only_futures_can_be_waited_for(form: Form, wrong: Any) -> None:
    async def body() -> None:
        with pytest.raises(OptionTypeError, match="Futures are waited for, as `submit` and `map` give them, not"):
            await form.ended(wrong)
        with pytest.raises(OptionTypeError, match="Futures are waited for"):
            await form.each(wrong)

    form.in_flow(body)


# -- whichever comes first ----------------------------------------------------------------------------------


def test_as_completed_gives_futures_in_the_order_in_which_they_end(form: Form, turns: Turns) -> None:
    async def body() -> list[str]:
        a, bad, c = turns.start("a", "bad", "c")
        order: list[str] = []
        turns.end("c")
        found = futures.as_completed([a, bad, c])
        if form.is_async:
            async for future in found:
                order.append(future.name)
                turns.end("bad" if future is c else "a")
        else:
            for future in found:
                order.append(future.name)
                turns.end("bad" if future is c else "a")
        return order

    assert form.in_flow(body) == ["take-003", "take-002", "take-001"]


def test_as_completed_gives_those_first_that_have_ended_before(form: Form, turns: Turns) -> None:
    async def body() -> list[bool]:
        a, b, c = turns.start("a", "b", "c")
        turns.end("b")
        await form.ended([b])
        found = futures.as_completed([a, b, c, b])
        turns.end("a", "c")
        order = [one async for one in found] if form.is_async else list(found)
        return [order[0] is b, len(order) == 3]

    assert form.in_flow(body) == [True, True]


def test_as_completed_ends_with_an_error_when_time_is_up(form: Form, turns: Turns) -> None:
    async def body() -> None:
        a, b, c = turns.start("a", "b", "c")
        turns.end("b")
        await form.ended([b])
        with pytest.raises(WaitTimeoutError, match=r"2 of 3 futures did not end within 0\.01 s"):
            await form.each([a, b, c], timeout=0.01)
        turns.end("a", "c")

    form.in_flow(body)


def test_the_timeout_of_as_completed_is_for_all_together(form: Form) -> None:
    @task
    async def slow(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async def body() -> None:
        seen: list[float] = []
        running = [slow.submit(4.0), slow.submit(8.0), slow.submit(12.0)]
        found = futures.as_completed(running, timeout=10)

        async def collect() -> None:
            if form.is_async:
                async for future in found:
                    seen.append(future.result())
            else:
                for future in found:
                    seen.append(future.result())

        with pytest.raises(WaitTimeoutError, match="1 of 3 futures did not end within 10 s"):
            await collect()
        assert (seen, time.elapsed) == ([4.0, 8.0], 10.0)

    with virtual_time() as time:
        form.in_flow(body)


def test_leaving_as_completed_lets_the_others_go_on(form: Form, turns: Turns) -> None:
    async def body() -> list[Any]:
        a, b = turns.start("a", "b")
        turns.end("a")
        found = futures.as_completed([a, b])
        first = await anext(aiter(found)) if form.is_async else next(iter(found))
        turns.end("b")
        return [first is a, await form.got(b)]

    assert form.in_flow(body) == [True, "b"]


def test_as_completed_may_be_gone_on_with_later(form: Form, turns: Turns) -> None:
    async def body() -> list[str]:
        found = futures.as_completed(turns.start("a", "b"))
        turns.end("a", "b")
        names: set[str] = set()
        for _ in range(2):
            one = await anext(aiter(found)) if form.is_async else next(iter(found))
            names.add(await form.got(one))
        rest = [one async for one in found] if form.is_async else list(found)
        return [*sorted(names), *map(str, rest)]

    assert form.in_flow(body) == ["a", "b"]


# -- being told ---------------------------------------------------------------------------------------------


def test_a_done_callback_is_called_once_with_the_future(form: Form, turns: Turns) -> None:
    heard: list[Any] = []

    async def body() -> list[Any]:
        a, bad = turns.start("a", "bad")
        for future in (a, bad):
            future.add_done_callback(heard.append)
        before = list(heard)
        turns.end("a")
        await form.ended([a])
        turns.end("bad")
        await form.ended([bad])
        return [before, heard == [a, bad], a.done() and bad.done()]

    assert form.in_flow(body) == [[], True, True]


def test_a_done_callback_is_called_at_once_where_the_run_has_ended(form: Form, turns: Turns) -> None:
    async def body() -> bool:
        (a,) = turns.start("a")
        turns.end("a")
        await form.ended([a])
        heard: list[Any] = []
        a.add_done_callback(heard.append)
        return heard == [a]

    assert form.in_flow(body)


def test_what_a_done_callback_raises_is_logged_and_stops_nobody(form: Form, turns: Turns, said: Lines) -> None:
    heard: list[str] = []

    def fails(_future: Future[Any]) -> None:
        heard.append("first")
        raise BOOM

    async def body() -> Any:
        (a,) = turns.start("a")
        a.add_done_callback(fails)
        a.add_done_callback(lambda _: heard.append("second"))
        turns.end("a")
        return await form.got(a)

    assert form.in_flow(body) == "a"
    assert heard == ["first", "second"]
    assert [line for line in said() if line.startswith("ERROR")] == [
        "ERROR | headrace.futures - A done callback of <Future of task run 'take-001': Completed> failed"
    ]


# -- resolving ----------------------------------------------------------------------------------------------


@attrs.frozen
class Pair:
    left: Any
    right: Any


async def resolved(form: Form, value: Any) -> Any:
    """Resolve *value* to results as code of the form does."""
    return await aio.resolve_futures_to_results(value) if form.is_async else futures.resolve_futures_to_results(value)


async def resolved_states(form: Form, value: Any) -> Any:
    """Resolve *value* to states as code of the form does."""
    return await aio.resolve_futures_to_states(value) if form.is_async else futures.resolve_futures_to_states(value)


def test_futures_in_a_structure_are_resolved_to_results(form: Form, turns: Turns) -> None:
    async def body() -> Any:
        a, b = turns.start("a", "b")
        turns.end("a", "b")
        return quote(await resolved(form, {"deep": [a, (b, 3), Pair(a, {"b": b})], "plain": 5}))

    assert form.in_flow(body).unwrap() == {"deep": ["a", ("b", 3), Pair("a", {"b": "b"})], "plain": 5}


def test_a_structure_without_futures_is_given_back_as_it_is(form: Form) -> None:
    given = [1, {"a": (2, 3)}]

    async def body() -> bool:
        return await resolved(form, given) is given and await resolved_states(form, given) is given

    assert form.in_flow(body)


def test_a_failed_future_raises_its_own_exception_when_resolved(form: Form, turns: Turns) -> None:
    async def body() -> Any:
        a, bad = turns.start("a", "bad")
        turns.end("a", "bad")
        await resolved(form, [a, {"b": bad}])

    with pytest.raises(ValueError, match="boom") as caught:
        form.in_flow(body)
    assert caught.value is BOOM


def test_several_failed_futures_raise_a_group_when_resolved(form: Form, inner: Form) -> None:
    @inner.task()
    async def fails(x: int) -> None:
        raise ValueError(x)

    async def body() -> Any:
        await resolved(form, [fails.submit(1), {"b": fails.submit(2)}])

    with pytest.raises(ExceptionGroup) as caught:
        form.in_flow(body)
    assert [error.args for error in caught.value.exceptions] == [(1,), (2,)]


def test_futures_in_a_structure_are_resolved_to_states(form: Form, turns: Turns) -> None:
    found: list[Any] = []

    async def body() -> None:
        a, bad = turns.start("a", "bad")
        turns.end("a", "bad")
        found.append(await resolved_states(form, {"good": a, "rest": [bad, 5]}))

    form.in_flow(body)

    ((good, (bad, five)),) = (tuple(one.values()) for one in found)
    assert isinstance(good, State)
    assert (good.name, good.result(), bad.name, bad.data, five) == ("Completed", "a", "Failed", BOOM, 5)
