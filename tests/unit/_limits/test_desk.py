"""The desk: hands out what its process has leased, in order, and sees to it that it has what it needs."""

from __future__ import annotations

import threading

import pytest

from headrace._limits.desk import CAUTION, HASTE
from headrace.errors import LimitTooSmall, StoreUnavailable
from tests.unit._limits.driven import World, granted, has, opened, waits

# -- taking and giving back -----------------------------------------------------------------------------------


def test_the_first_asks_the_store_and_the_next_need_not(world: World) -> None:
    desk = world.desk("a")
    first, second = waits(desk, "api"), waits(desk, "api")
    world.settle()
    asked = world.settlements

    assert opened(first, second) == [True, True]
    for waiter in (first, second):
        assert waiter.held is not None
        desk.give_back(waiter.held)
    has(desk, "api", occupy=2)
    assert (world.settlements, asked, len(world.errands)) == (asked, 1, 0)


def test_who_came_first_is_served_first_and_nobody_slips_past(world: World) -> None:
    desk = world.desk("a")
    held = granted(world, desk, "two", occupy=2)
    big, small = waits(desk, "two", occupy=2), waits(desk, "two")
    other = granted(world, desk, "one")
    desk.give_back(other)

    assert opened(big, small) == [False, False]
    desk.give_back(held)
    assert opened(big, small) == [True, False]
    assert big.held is not None
    desk.give_back(big.held)
    assert opened(big, small) == [True, True]


def test_a_small_one_does_not_slip_past_a_big_one_that_was_there_before(world: World) -> None:
    desk = world.desk("a")
    first, second = granted(world, desk, "two"), granted(world, desk, "two")
    big, small = waits(desk, "two", occupy=2), waits(desk, "two")
    desk.give_back(first)

    assert opened(big, small) == [False, False]
    desk.give_back(second)
    assert opened(big, small) == [True, False]


def test_who_has_a_higher_priority_is_served_first(world: World) -> None:
    desk = world.desk("a")
    held = granted(world, desk, "one")
    low, high = waits(desk, "one"), waits(desk, "one", priority=1)
    desk.give_back(held)

    assert opened(low, high) == [False, True]


def test_keys_are_served_in_turns(world: World) -> None:
    desk = world.desk("a")
    held = granted(world, desk, "one", key="a")
    waiters = [waits(desk, "one", key=key) for key in "a" * 10 + "b"]
    desk.give_back(held)
    order: list[str] = []
    for _ in waiters:
        (waiter,) = [one for one in waiters if one.held is not None]
        order.append(waiter.key)
        had, waiter.held = waiter.held, None
        assert had is not None
        desk.give_back(had)

    assert "".join(order) == "b" + "a" * 10, "a had its turn"


def test_of_several_limits_all_are_taken_or_none(world: World) -> None:
    desk = world.desk("a")
    held = granted(world, desk, "one")
    both = waits(desk, "api", "one")
    world.settle()

    assert opened(both) == [False]
    assert desk.counters["api"].used == 0
    desk.give_back(held)
    assert opened(both) == [True]
    assert (desk.counters["api"].used, desk.counters["one"].used) == (1, 1)


def test_who_is_behind_one_that_is_served_elsewhere_is_served_too(world: World) -> None:
    desk = world.desk("a")
    held = granted(world, desk, "one")
    granted(world, desk, "two", occupy=2)
    desk.give_back(granted(world, desk, "api"))
    both, behind = waits(desk, "api", "one"), waits(desk, "api")
    world.settle()
    desk.give_back(held)

    assert opened(both, behind) == [True, True]


def test_who_waits_for_more_is_not_passed_by_who_waits_for_several(world: World) -> None:
    desk = world.desk("a")
    one, two = granted(world, desk, "one"), [granted(world, desk, "two") for _ in range(2)]
    big, several = waits(desk, "two", occupy=2), waits(desk, "one", "two")
    world.settle()
    desk.give_back(two[0])
    desk.give_back(one)

    assert opened(big, several) == [False, False]
    desk.give_back(two[1])
    assert opened(big, several) == [True, False]


def test_who_withdraws_takes_nothing_and_lets_others_pass(world: World) -> None:
    desk = world.desk("a")
    first, second = granted(world, desk, "two"), granted(world, desk, "two")
    big, small = waits(desk, "two", occupy=2), waits(desk, "two")
    desk.give_back(first)
    desk.withdraw(big)

    assert opened(big, small) == [False, True]
    assert (desk.counters["two"].used, desk.counters["two"].waiting) == (2, 0)
    desk.withdraw(big)
    desk.give_back(second)
    assert desk.counters["two"].used == 1


def test_who_withdraws_when_its_turn_has_come_gives_it_on(world: World) -> None:
    desk = world.desk("a")
    held = granted(world, desk, "one")
    first, second = waits(desk, "one"), waits(desk, "one")
    desk.give_back(held)
    assert opened(first, second) == [True, False]
    desk.withdraw(first)

    assert opened(first, second) == [False, True]
    assert (desk.counters["one"].used, desk.counters["one"].waiting) == (1, 0)


def test_giving_back_twice_is_giving_back_once(world: World) -> None:
    desk = world.desk("a")
    first = granted(world, desk, "two")
    granted(world, desk, "two")
    desk.give_back(first)
    desk.give_back(first)

    assert desk.counters["two"].used == 1


# -- what cannot be -------------------------------------------------------------------------------------------


def test_more_than_there_is_is_refused_and_others_are_served(world: World) -> None:
    desk = world.desk("a")
    big, small = waits(desk, "two", occupy=3), waits(desk, "two")
    world.settle()

    assert isinstance(big.error, LimitTooSmall)
    assert opened(big, small) == [False, True]
    assert big.opened


def test_so_is_who_waits_when_the_limit_is_lowered(world: World) -> None:
    desk = world.desk("a")
    held = granted(world, desk, "two")
    big, small = waits(desk, "two", occupy=2), waits(desk, "two")
    world.define("two", 1)
    world.advance(1)

    assert isinstance(big.error, LimitTooSmall)
    assert opened(big, small) == [False, False]
    desk.give_back(held)
    assert opened(big, small) == [False, True]


def test_what_was_leased_of_a_limit_that_is_lowered_is_not_handed_out_where_others_have_all() -> None:
    for ahead in range(10):  # whoever's turn it is
        world = World()
        world.ticks += ahead * 100_000_000
        world.define("two", 2)
        one, other = world.desk("a"), world.desk("b")
        granted(world, one, "two")
        waits(other, "two", occupy=2)
        small = waits(other, "two")
        world.advance(1)
        world.define("two", 1)
        world.advance(1)

        assert opened(small) == [False]


@pytest.mark.parametrize("change", ["deleted", "disabled", "raised"])
def test_who_waits_goes_on_when_the_limit_is(change: str, world: World) -> None:
    desk = world.desk("a")
    held, other = granted(world, desk, "one"), waits(desk, "one")
    if change == "deleted":
        world.remove("one")
    else:
        world.define("one", 2 if change == "raised" else 1, active=change == "raised")
    world.advance(1)

    assert opened(other) == [True]
    desk.give_back(held)
    assert desk.counters["one"].used == 1


def test_a_store_that_fails_reaches_who_waits_and_nobody_else(world: World) -> None:
    desk = world.desk("a")
    desk.give_back(granted(world, desk, "two", occupy=2))
    held = has(desk, "two")
    world.trouble = StoreUnavailable("here", "it is broken")
    waiter = waits(desk, "two", occupy=2)
    world.advance(HASTE)

    assert waiter.error is world.trouble
    assert waiter.opened
    assert desk.counters["two"].waiting == 0
    other = has(desk, "two")  # what it has leased is still its own
    world.trouble = None
    desk.give_back(held)
    desk.give_back(other)
    world.advance(1)
    granted(world, desk, "two", occupy=2)


def test_what_a_store_failed_to_renew_is_not_handed_out_for_long(world: World) -> None:
    desk = world.desk("a")
    desk.give_back(granted(world, desk, "two", occupy=2))
    world.trouble = StoreUnavailable("here", "it is broken")
    world.ticks += CAUTION
    waiter = waits(desk, "two")

    assert opened(waiter) == [False], "others may have it by now"
    world.trouble = None
    world.advance(HASTE)
    assert opened(waiter) == [True]


# -- the back office ------------------------------------------------------------------------------------------


def test_many_who_wait_ask_the_store_once(world: World) -> None:
    desk = world.desk("a")
    for _ in range(1_000):
        waits(desk, "api")
    world.settle()

    assert world.settlements <= 2


def test_a_desk_of_which_nobody_wants_anything_leaves_the_store_alone(world: World) -> None:
    desk = world.desk("a")
    desk.give_back(granted(world, desk, "api"))
    world.advance(5)
    asked = world.settlements
    world.advance(60)

    assert (world.settlements, world.timers) == (asked, [])


def test_a_clock_hears_of_each_work_for_somebody_that_it_ended(world: World) -> None:
    desk = world.desk("a")
    desk.give_back(granted(world, desk, "api"))
    world.advance(5)

    assert world.busy == 0


def test_who_says_that_work_has_begun_says_that_it_has_ended(world: World) -> None:
    desk = world.desk("a")
    told: list[int] = []
    world.started = world.finished = lambda: told.append(threading.get_ident())  # type: ignore[method-assign]
    waits(desk, "api")
    office = threading.Thread(target=world.settle)
    office.start()
    office.join()

    assert len(set(told)) <= 1, "clocks count the threads at work, each by itself"


def test_the_names_of_limits_are_learned(world: World) -> None:
    desk = world.desk("a")
    desk.relearn()
    world.settle()

    assert desk.names == {"one", "two", "api"}
    assert desk.learned_at == world.ticks
    assert not desk.would_wait(["api"]), "nobody knows"
    granted(world, desk, "one")
    assert desk.would_wait(["one"])
    assert not desk.would_wait([])
