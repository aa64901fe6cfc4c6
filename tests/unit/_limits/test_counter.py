"""Counters: what a process has of one limit, and what it says that it wants."""

from __future__ import annotations

import itertools
import json
import math

import pytest

from headrace._limits.counter import IDLE, LATELY, PLENTY, SHOWN, Counter, Waiter
from headrace._model.slots import PATIENCE, Lease, Limit

SECOND = 1_000_000_000
NUMBERS = itertools.count()


def counter(
    slots: int = 5, decay: float | None = None, *, held: int | None = None, share: int | None = None
) -> Counter:
    """Give what there is of a limit of which all was leased, if nothing else is said."""
    made = Counter("api")
    held = slots if held is None else held
    made.hear(Lease(Limit("api", slots, decay), held, held if share is None else share, float(held)), 0)
    return made


def waits(one: Counter, occupy: int = 1, at: int = 0) -> Waiter:
    """Have somebody wait."""
    waiter = Waiter((one,), occupy, 0, "", next(NUMBERS), None, 7, at)
    one.line.add(waiter)
    one.waiting += occupy
    return waiter


def test_there_is_no_room_before_the_store_was_asked() -> None:
    assert Counter("api").room(0) == 0


def test_a_limit_that_does_not_exist_or_is_disabled_has_room_for_all() -> None:
    none, off = Counter("api"), Counter("api")
    none.hear(Lease(None), 0)
    off.hear(Lease(Limit("api", 1, active=False)), 0)

    assert none.room(0) == off.room(0) == math.inf
    assert not none.misfit(waits(none, 99))
    assert not off.misfit(waits(off, 99))


def test_there_is_room_for_what_is_due_of_what_is_held() -> None:
    one = counter(5, held=4, share=3)
    one.take(2, 0)

    assert one.room(0) == 1
    one.take(1, 0)
    one.give(2)
    assert one.room(0) == 2


def test_of_a_rate_what_was_used_comes_free_by_itself() -> None:
    one = counter(4, 2.0)
    one.take(4, 0)

    assert one.room(0) == 0
    assert one.room(SECOND // 2) == 1
    assert one.room(SECOND) == 2
    assert one.room(100 * SECOND) == 4, "no more than there is"


def test_of_a_share_of_a_rate_so_does_a_share() -> None:
    one = counter(4, 2.0, held=2)
    one.take(2, 0)

    assert one.room(SECOND) == 1


def test_a_rate_tells_when_it_will_have_room() -> None:
    one = counter(4, 2.0)
    one.take(4, 0)
    first = waits(one, 3)

    assert one.due(first, 0) == 1.5
    assert one.due(first, SECOND) == 0.5
    assert one.due(first, 2 * SECOND) == math.inf, "it has"
    assert one.due(waits(one), 0) == math.inf, "others come before"
    assert counter(1).due(waits(one), 0) == math.inf, "it is no rate"


def test_a_limit_may_be_too_small() -> None:
    one = counter(2)

    assert not one.misfit(waits(one, 2))
    assert one.misfit(waits(one, 3))


def test_what_is_wanted_is_what_is_in_use_and_waited_for() -> None:
    one = counter(5)
    one.take(3, 0)
    waits(one, 4)

    claim = one.ask("me:1", 8, 0)

    assert (claim.held, claim.used, claim.wanted, claim.since, claim.beat) == (5, 3, 7, 7, 8)


def test_what_the_first_needs_is_said_once_it_has_waited_for_a_while() -> None:
    one = counter(9)
    one.take(3, 0)
    waits(one, 4)
    waits(one, 5)

    assert one.ask("me:1", 1, PATIENCE - 1).need == 0
    assert one.ask("me:1", 2, PATIENCE).need == 4, "what is in use comes free by itself"


def test_what_may_be_handed_out_meanwhile_is_said() -> None:
    one = counter(5, share=2)
    one.take(1, 0)

    assert one.ask("me:1", 1, 0).kept == 2
    assert one.ask("me:1", 2, 0).wanted == 1


def test_what_was_wanted_a_moment_ago_is_still_wanted() -> None:
    one = counter(5)
    one.take(3, 0)
    one.ask("me:1", 1, 0)
    one.give(3)

    assert [one.ask("me:1", 2, beat * (LATELY + 1)).wanted for beat in range(1, 5)] == [3, 3, 0, 0]


def test_what_nobody_uses_for_a_while_is_not_wanted() -> None:
    one = counter(5, 1.0)
    one.take(1, 0)

    assert one.ask("me:1", 1, IDLE).wanted == PLENTY
    assert one.ask("me:1", 2, IDLE + 1).wanted == 0
    waits(one)
    assert one.ask("me:1", 3, IDLE + 1).wanted == PLENTY


def test_of_a_rate_who_waits_needs_no_more_than_it_asked_for() -> None:
    one = counter(5, 1.0)
    one.take(3, 0)
    waits(one, 4)

    assert one.ask("me:1", 1, PATIENCE).need == 4


def test_a_rate_that_is_leased_anew_may_be_used_as_far_as_it_rested() -> None:
    one = counter(4, 2.0, held=2)
    one.take(2, 0)
    one.hear(Lease(Limit("api", 4, 2.0), 4, 4, 1.5), 0)

    assert one.room(0) == 1.5
    one.hear(Lease(Limit("api", 4, 2.0), 1, 1), 0)
    assert one.room(0) == 1


@pytest.mark.parametrize("moment", [0, SECOND])
def test_a_clock_that_stands_still_lets_nothing_through(moment: int) -> None:
    one = counter(1, 1.0)
    one.refill(moment)
    one.take(1, moment)

    assert [one.room(moment) for _ in range(3)] == [0, 0, 0]


def test_people_see_who_has_slots_and_who_waits_but_not_thousands() -> None:
    one = counter(5)
    for _ in range(2 * SHOWN):
        waits(one, 2)
    shown = json.loads(one.shown())

    assert shown["holders"] == []
    assert shown["waiters"] == [["", 2, 7]] * SHOWN
