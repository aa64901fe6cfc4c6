"""Waiting for some of several runs: for the first that ends, or the first that does not end well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from headrace.errors import OptionError
from tests.spec.forms import Form
from tests.spec.racing import ended
from tests.spec.turns import Turns


@pytest.fixture
def turns(inner: Form) -> Iterator[Turns]:
    turns = Turns(inner)
    yield turns
    turns.end(*turns.latches)


def test_a_wait_for_the_first_lets_the_others_go_on(form: Form, turns: Turns) -> None:
    async def body() -> list[Any]:
        a, b = turns.start("a", "b")
        turns.end("b")
        done, not_done = await ended(form, [a, b], return_when="FIRST_COMPLETED")
        turns.end("a")
        return [done == {b}, not_done == {a}, await form.got(a)]

    assert form.in_flow(body) == [True, True, "a"]


def test_one_that_ended_badly_is_a_first_that_ended(form: Form, turns: Turns) -> None:
    async def body() -> bool:
        a, bad = turns.start("a", "bad")
        turns.end("bad")
        done, _ = await ended(form, [a, bad], return_when="FIRST_COMPLETED")
        turns.end("a")
        return done == {bad}

    assert form.in_flow(body)


def test_a_wait_for_an_exception_passes_over_what_ends_well(form: Form, turns: Turns) -> None:
    async def body() -> list[bool]:
        a, b, bad = turns.start("a", "b", "bad")
        turns.end("a")
        await form.got(a)
        turns.end("bad")
        done, not_done = await ended(form, [a, b, bad], return_when="FIRST_EXCEPTION")
        turns.end("b")
        return [done == {a, bad}, not_done == {b}]

    assert form.in_flow(body) == [True, True]


def test_a_wait_for_an_exception_ends_with_the_last_where_there_is_none(form: Form, turns: Turns) -> None:
    async def body() -> int:
        awaited = turns.start("a", "b")
        turns.end("a", "b")
        return len((await ended(form, awaited, return_when="FIRST_EXCEPTION")).done)

    assert form.in_flow(body) == 2


def test_a_wait_for_the_first_ends_when_time_is_up(form: Form, turns: Turns) -> None:
    async def body() -> list[int]:
        awaited = turns.start("a", "b")
        found = await ended(form, awaited, timeout=0.01, return_when="FIRST_COMPLETED")
        turns.end("a", "b")
        return [len(part) for part in found]

    assert form.in_flow(body) == [0, 2]


@pytest.mark.parametrize("when", ["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"])
def test_a_wait_for_nothing_ends_at_once(form: Form, when: str) -> None:
    async def body() -> list[int]:
        return [len(part) for part in await ended(form, [], return_when=when)]

    assert form.in_flow(body) == [0, 0]


def test_waiting_again_and_again_leaves_nothing_on_futures_that_go_on(form: Form, turns: Turns) -> None:
    async def body() -> list[Any]:
        a, b = turns.start("a", "b")
        turns.end("b")
        for _ in range(3):
            await ended(form, [a, b], return_when="FIRST_COMPLETED")
        left = [a.watcher, a.others]
        turns.end("a")
        return left

    assert form.in_flow(body) in ([None, None], [None, []])


def test_what_a_wait_cannot_wait_for_is_refused(form: Form, turns: Turns) -> None:
    async def body() -> None:
        (a,) = turns.start("a")
        turns.end("a")
        with pytest.raises(OptionError, match=r"return_when is 'FIRST_COMPLETE', .* did you mean 'FIRST_COMPLETED'"):
            await ended(form, [a], return_when="FIRST_COMPLETE")

    form.in_flow(body)
