"""Lines: who comes next of those who wait."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as some

from headrace._limits.counter import Waiter
from headrace._limits.lines import MANY_KEYS, Line

NUMBERS = itertools.count()


def one(key: str = "", *, priority: int = 0, occupy: int = 1) -> Waiter:
    """Somebody who comes now."""
    return Waiter((), occupy, priority, key, next(NUMBERS), None, 0, 0)


def line_of(waiters: Iterable[Waiter]) -> Line:
    """Have *waiters* wait, in the order in which they came."""
    line = Line()
    for waiter in waiters:
        line.add(waiter)
    return line


def served(line: Line, most: int = 1 << 30) -> list[Waiter]:
    """Serve those who wait, one by one."""
    found: list[Waiter] = []
    while len(found) < most and (first := line.first()) is not None:
        line.served()
        found.append(first)
    return found


def leaves(line: Line, waiter: Waiter) -> None:
    """Have somebody wait no more."""
    waiter.over = True
    line.ended()


def keys(waiters: Iterable[Waiter]) -> str:
    """Give the keys of *waiters*, which are letters."""
    return "".join(waiter.key for waiter in waiters)


def test_nobody_is_first_where_nobody_waits() -> None:
    assert Line().first() is None


def test_of_one_key_who_came_first_is_first() -> None:
    waiters = [one(occupy=1 + number % 3) for number in range(20)]

    assert served(line_of(waiters)) == waiters


def test_who_has_a_higher_priority_comes_before_all_others() -> None:
    low, high, higher, late = one(priority=-1), one(priority=1), one("b", priority=2), one(priority=1)
    usual = one()

    assert served(line_of([low, usual, high, higher, late])) == [higher, high, late, usual, low]


def test_keys_are_served_in_turns_however_many_of_one_wait() -> None:
    line = line_of([*[one("a") for _ in range(100)], *[one("b") for _ in range(10)]])

    assert keys(served(line)) == "ab" * 10 + "a" * 90


def test_a_key_that_comes_later_waits_for_nobodys_backlog() -> None:
    line = line_of(one("a") for _ in range(100))
    before = served(line, 50)
    for _ in range(5):
        line.add(one("b"))
    after = served(line, 10)

    assert keys(before) == "a" * 50
    assert keys(after) in ("ab" * 5, "ba" * 5), "nor does it have saved anything up"


def test_a_key_that_comes_again_has_saved_nothing_up() -> None:
    line = line_of([one("a"), one("b")])
    served(line)
    for _ in range(50):
        line.add(one("a"))
    served(line, 40)
    for _ in range(5):
        line.add(one("b"))

    assert keys(served(line, 10)) in ("ab" * 5, "ba" * 5)


def test_who_asks_for_more_comes_less_often() -> None:
    line = line_of([*[one("a", occupy=3) for _ in range(10)], *[one("b") for _ in range(30)]])
    found = keys(served(line, 20))

    assert (found.count("a"), found.count("b")) == (5, 15)


def test_who_waits_no_more_is_passed_over() -> None:
    waiters = [one("a"), one("a"), one("b"), one("b")]
    line = line_of(waiters)
    for gone in (waiters[0], waiters[3]):
        leaves(line, gone)

    assert line.listed(9) == waiters[1:3]
    assert served(line) == waiters[1:3]
    assert line.first() is None
    assert not line.rows


@given(some.lists(some.tuples(some.sampled_from("abc"), some.booleans()), max_size=400))
def test_however_many_leave_those_who_stay_are_served_and_nothing_is_kept_of_the_others(
    asked: list[tuple[str, bool]],
) -> None:
    waiters = [one(key) for key, _ in asked]
    line = line_of(waiters)
    for waiter, (_, stays) in zip(waiters, asked, strict=True):
        if not stays:
            leaves(line, waiter)
    staying = [waiter for waiter, (_, stays) in zip(waiters, asked, strict=True) if stays]

    assert line.listed(999) == staying
    assert sum(len(row) for row in line.rows.values()) <= max(2 * len(staying), 64)
    assert sorted(waiter.number for waiter in served(line)) == [waiter.number for waiter in staying]
    assert (line.first(), line.rows, line.heap, line.size, line.over) == (None, {}, [], 0, 0)


def test_those_who_wait_are_listed_in_the_order_in_which_they_came() -> None:
    waiters = [one("b"), one("a", priority=3), one("b"), one("a")]
    line = line_of(waiters)

    assert line.listed(9) == waiters
    assert line.listed(2) == waiters[:2]


@pytest.mark.parametrize("together", [1, 7])
def test_no_more_is_remembered_of_keys_than_helps(together: int) -> None:
    line = Line()
    for number in range(3 * MANY_KEYS):
        line.add(one(str(number)))
        if number % together == 0:
            served(line)

    assert len(line.turns) <= MANY_KEYS + together


@given(some.lists(some.tuples(some.sampled_from("abc"), some.integers(0, 2), some.integers(1, 3)), max_size=30))
def test_everybody_is_served_once_by_priority_and_each_key_in_order(asked: list[tuple[str, int, int]]) -> None:
    waiters = [one(key, priority=priority, occupy=occupy) for key, priority, occupy in asked]
    found = served(line_of(waiters))

    assert sorted(found, key=id) == sorted(waiters, key=id)
    assert [waiter.priority for waiter in found] == sorted((waiter.priority for waiter in waiters), reverse=True)
    for place in {(waiter.priority, waiter.key) for waiter in waiters}:
        row = [waiter.number for waiter in found if (waiter.priority, waiter.key) == place]
        assert row == sorted(row)


@given(some.lists(some.sampled_from("abc"), min_size=1, max_size=40))
def test_no_key_that_waits_falls_behind_another_by_more_than_one(asked: list[str]) -> None:
    line = line_of(one(key) for key in asked)
    had = dict.fromkeys("abc", 0)
    while (first := line.first()) is not None:
        line.served()
        had[first.key] += 1
        waiting = {waiter.key for waiter in line.listed(99)}
        assert all(max(had.values()) - had[key] <= 1 for key in waiting)
