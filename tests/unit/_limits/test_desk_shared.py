"""Desks of several processes on one store: they share, fairly, and what the dead had is there for others."""

from __future__ import annotations

import pytest

from headrace._limits.counter import IDLE, Waiter
from headrace._limits.desk import BEAT, HASTE, LEASE, Desk
from tests.unit._limits.driven import World, granted, has, opened, take, waits


def test_two_processes_share_what_both_want(world: World) -> None:
    one, other = world.desk("a"), world.desk("b")
    mine = [granted(world, one, "api") for _ in range(5)]
    theirs = [waits(other, "api") for _ in range(5)]
    world.advance(1)

    assert opened(*theirs) == [False] * 5
    for held in mine:
        one.give_back(held)
        waits(one, "api")
    world.advance(1)
    assert sum(opened(*theirs)) in (2, 3)
    assert one.counters["api"].used + other.counters["api"].used == 5


def test_slots_that_nobody_uses_go_back_after_a_while(world: World) -> None:
    one, other = world.desk("a"), world.desk("b")
    one.give_back(granted(world, one, "api", occupy=5))
    world.advance(IDLE / 1e9 + 2 * BEAT)

    assert world.complete(world.store.limits.claims("api")) == []
    assert one.counters == {}
    granted(world, other, "api", occupy=5)


def test_slots_that_others_wait_for_go_back_at_the_next_beat(world: World) -> None:
    one, other = world.desk("a"), world.desk("b")
    one.give_back(granted(world, one, "api", occupy=5))
    waiter = waits(other, "api")
    world.advance(2 * BEAT + HASTE)

    assert opened(waiter) == [True]


def test_slots_that_are_given_back_and_others_wait_for_go_back_soon(world: World) -> None:
    one, other = world.desk("a"), world.desk("b")
    held = granted(world, one, "one")
    waiter = waits(other, "one")
    world.advance(1)
    one.give_back(held)
    world.advance(2 * BEAT)

    assert opened(waiter) == [True]


def test_what_is_taken_while_the_store_is_at_work_is_not_leased_to_others(world: World) -> None:
    one, other = world.desk("a"), world.desk("b")
    one.give_back(granted(world, one, "api", occupy=5))
    has(one, "api")
    world.advance(BEAT)

    def meanwhile() -> None:
        world.at_work = lambda: None
        take(one, "api", occupy=4)

    one.ring()
    world.at_work = meanwhile
    for _ in range(5):
        waits(other, "api")
    world.advance(1)

    assert one.counters["api"].used + other.counters["api"].used <= 5


class Crowd:
    """Runs of one process that ask again and again."""

    def __init__(self, desk: Desk, count: int) -> None:
        self.desk = desk
        self.waiters = [take(desk, "api") for _ in range(count)]
        self.served = 0

    def work(self) -> None:
        """Have all who have a slot give it back, and ask again."""
        had = [waiter for waiter in self.waiters if not isinstance(waiter, Waiter) or waiter.held is not None]
        for waiter in had:
            held = waiter.held if isinstance(waiter, Waiter) else waiter
            assert held is not None
            self.served += 1
            self.waiters.remove(waiter)
            self.desk.give_back(held)
            self.waiters.append(take(self.desk, "api"))


def test_a_big_one_is_served_in_the_end_though_others_want_all_there_is(world: World) -> None:
    crowd = Crowd(world.desk("a"), 8)
    world.advance(1)
    big = waits(world.desk("b"), "api", occupy=5)
    for _ in range(100):
        crowd.work()
        world.advance(HASTE)

    assert opened(big) == [True]


def test_no_process_gets_more_than_another_however_many_wait_in_it_and_for_how_long(world: World) -> None:
    many = Crowd(world.desk("a"), 200)
    world.advance(2)
    few = Crowd(world.desk("b"), 8)
    world.advance(1)
    before = many.served
    for _ in range(200):
        many.work()
        few.work()
        world.advance(HASTE)

    assert few.served > 0.6 * (many.served - before)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_set_changes_nothing(hours: int, world: World) -> None:
    one, other = world.desk("a"), world.desk("b")
    world.define("rate", 1, 1.0)
    granted(world, one, "rate")
    busy = [granted(world, one, "api") for _ in range(5)]
    queue = [waits(one, "api") for _ in range(9)]
    big = waits(other, "api", occupy=5)
    turn = waits(one, "rate")
    world.settle()
    world.skew = hours * 3_600_000_000_000
    one.look(turn)
    assert opened(turn, big, *queue) == [False] * 11
    world.advance(1)
    one.look(turn)
    for held in busy:
        one.give_back(held)
    world.advance(1)

    assert opened(turn, big) == [True, True]


def test_who_is_proved_to_have_ended_has_nothing_any_more(world: World) -> None:
    one, other = world.desk("a"), world.desk("b")
    granted(world, one, "one")
    waiter = waits(other, "one")
    world.kill("a")
    world.advance(1)
    assert opened(waiter) == [False]
    world.gone.add("a")
    world.advance(HASTE)

    assert opened(waiter) == [True]


def test_who_is_silent_has_ended_only_after_a_lease_on_our_own_clock(world: World) -> None:
    one, other = world.desk("a"), world.desk("b")
    granted(world, one, "one")
    world.advance(1)
    world.kill("a")
    world.advance(60)
    waiter = waits(other, "one")
    world.skew = 3_600_000_000_000
    world.advance(LEASE / 1e9 - 1)
    assert opened(waiter) == [False], "it was seen for the first time just now"
    world.advance(2)

    assert opened(waiter) == [True]


def test_who_goes_on_is_never_silent_however_long_it_has_its_slot(world: World) -> None:
    one, other = world.desk("a"), world.desk("b")
    granted(world, one, "one")
    waiter = waits(other, "one")
    world.advance(4 * LEASE / 1e9)

    assert opened(waiter) == [False]


# -- rates ----------------------------------------------------------------------------------------------------


def test_a_rate_serves_who_looks_when_it_is_time(world: World) -> None:
    world.define("rate", 2, 4.0)
    desk = world.desk("a")
    for _ in range(2):
        desk.spent(granted(world, desk, "rate"))
    waiter = waits(desk, "rate")

    assert desk.look(waiter) == 0.25
    world.ticks += 240_000_000
    assert desk.look(waiter) == pytest.approx(0.01)
    assert opened(waiter) == [False]
    world.ticks += 10_000_000
    desk.look(waiter)
    assert opened(waiter) == [True]


def test_a_turn_that_is_given_back_is_there_for_others(world: World) -> None:
    world.define("rate", 1, 0.001)
    desk = world.desk("a")
    desk.give_back(granted(world, desk, "rate"))

    has(desk, "rate")


def test_slots_in_use_of_a_limit_that_becomes_a_rate_are_forgotten_when_they_come_back(world: World) -> None:
    desk = world.desk("a")
    held = granted(world, desk, "two")
    world.define("two", 2, 1.0)
    world.advance(1)
    desk.give_back(held)
    world.advance(IDLE / 1e9 + 2 * BEAT)

    assert desk.counters == {}, "nobody uses it any more"


def test_turns_that_are_had_of_a_rate_that_becomes_a_limit_are_slots_in_use_from_then_on(world: World) -> None:
    world.define("two", 2, 1.0)
    desk = world.desk("a")
    turn = granted(world, desk, "two")
    world.define("two", 2)
    world.advance(BEAT)
    granted(world, desk, "two")

    assert desk.counters["two"].used == 2
    desk.give_back(turn)
    assert desk.counters["two"].used == 1
