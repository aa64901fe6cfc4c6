"""Places: counted exactly, given in order of arrival, and never lost, whatever becomes of who waits for one."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from headrace import flow, task
from headrace._engine.calls import Call
from headrace._runners.places import Places
from headrace.testing import virtual_time
from tests.spec.forms import Latch
from tests.spec.watched import Watched


class Lane:
    """A lane that takes a place whenever it is stirred, as long as it has calls."""

    def __init__(self, places: Places, calls: int = 1_000) -> None:
        self.places = places
        self.calls = calls
        self.stirred = 0
        self.at_work = 0

    def stir(self) -> bool:
        """Take a place for the next call; tell whether there is one to take it for."""
        self.stirred += 1
        if not self.calls:
            return False
        if self.places.take(self):
            self.calls -= 1
            self.at_work += 1
        return True


def a_call() -> Call:
    """Give a call that holds a place."""
    call: Call = object.__new__(Call)
    call.asides = 0
    return call


def test_as_many_places_are_given_as_there_are() -> None:
    places = Places(2)
    lane = Lane(places)

    assert [places.take(lane) for _ in range(3)] == [True, True, False]
    assert places.taken == 2


def test_a_lane_that_found_no_place_is_stirred_once_when_there_is_one() -> None:
    places = Places(1)
    first, second = Lane(places), Lane(places)
    assert places.take(first)
    assert not places.take(second)
    assert not places.take(second)

    places.give()
    assert (second.stirred, second.at_work, places.taken) == (1, 1, 1)

    places.give()
    assert (second.stirred, places.taken) == (1, 0)


def test_hungry_lanes_are_stirred_in_the_order_in_which_they_came() -> None:
    places = Places(1)
    lanes = [Lane(places) for _ in range(3)]
    assert places.take(lanes[0])
    for lane in lanes[1:]:
        assert not places.take(lane)

    places.give()
    assert [lane.at_work for lane in lanes] == [0, 1, 0]
    places.give()
    assert [lane.at_work for lane in lanes] == [0, 1, 1]


def test_a_lane_that_needs_its_place_no_more_leaves_it_to_the_next() -> None:
    """Its calls were cancelled, or ran in a place it found another way."""
    places = Places(1)
    holder, sated, hungry = Lane(places), Lane(places, calls=0), Lane(places)
    assert places.take(holder)
    assert not places.take(sated)
    assert not places.take(hungry)

    places.give()

    assert (hungry.at_work, places.taken) == (1, 1)


def test_who_waits_gives_its_place_to_others_and_takes_the_next_one_before_new_calls() -> None:
    places = Places(1)
    lane = Lane(places)
    back: list[str] = []
    waits = a_call()
    assert places.take(lane)

    places.aside(waits)
    assert places.taken == 0
    assert places.take(lane)
    assert not places.back(waits, lambda: back.append("first"))
    assert not places.take(lane)
    places.give()

    assert (back, places.taken, lane.at_work) == (["first"], 1, 0)
    places.give()
    assert (places.taken, lane.at_work) == (1, 1)


def test_several_waits_of_one_body_give_its_place_back_once() -> None:
    places = Places(1)
    lane = Lane(places)
    waits = a_call()
    assert places.take(lane)

    places.aside(waits)
    places.aside(waits)
    assert places.taken == 0
    assert places.back(waits, lambda: None)
    assert places.taken == 0
    assert places.back(waits, lambda: None)
    assert places.taken == 1


def test_who_is_in_a_hurry_goes_beyond_the_total_and_is_made_up_for() -> None:
    places = Places(1)
    lane = Lane(places)
    waits = a_call()
    assert places.take(lane)
    places.aside(waits)
    assert places.take(lane)

    places.hurry(waits)
    assert places.taken == 2
    assert not places.take(lane)
    places.give()
    assert (places.taken, lane.at_work) == (1, 0)
    places.give()
    assert (places.taken, lane.at_work) == (1, 1)


def test_who_stops_waiting_for_a_place_in_the_moment_it_comes_has_one() -> None:
    places = Places(1)
    lane = Lane(places)
    waits = a_call()

    def arrived() -> None: ...

    for comes_first in (True, False):
        assert places.take(lane)
        places.aside(waits)
        assert places.take(lane)
        assert not places.back(waits, arrived)
        if comes_first:
            places.give()
        places.hurry(waits, arrived)
        assert places.taken == (1 if comes_first else 2)
        while places.taken:
            places.give()
        lane.at_work = 0


def test_an_ended_call_whose_leftovers_still_wait_holds_no_place() -> None:
    places = Places(1)
    lane = Lane(places)
    waits = a_call()
    assert places.take(lane)
    places.aside(waits)

    assert not places.ended(waits)
    assert places.back(waits, lambda: None)
    assert places.taken == 0


# -- as runs see them ---------------------------------------------------------------------------------------


async def test_a_run_cancelled_while_it_comes_back_to_a_place_leaves_none_taken() -> None:
    runner = Watched(limit=1)
    busy, latch = Latch(), Latch()

    @task
    async def quick() -> str:
        return "there"

    @task
    async def hog() -> None:
        busy.open()
        await latch.passed()

    @task
    async def waits() -> str:
        future = quick.submit()
        hogging = hog.submit()
        try:
            async with asyncio.timeout(60):
                return await future
        except TimeoutError:
            return f"late, hog is {hogging.state.name}"

    @flow(task_runner=runner)
    async def main() -> str:
        future = waits.submit()
        await busy.passed()
        value = await future
        latch.open()
        return value

    with virtual_time():
        assert await main() == "late, hog is Running"
    assert runner.rests()


async def test_a_place_that_async_runs_need_no_more_is_found_by_a_sync_run() -> None:
    latches = [Latch(), Latch()]
    begun = [Latch(), Latch()]

    @task
    async def suspends(x: int) -> None:
        begun[x].open()
        await latches[x].passed()

    @task
    def blocks() -> str:
        return "at last"

    @flow(task_runner=Watched(limit=1))
    async def main() -> str:
        first, second = suspends.submit(0), suspends.submit(1)
        await begun[0].passed()
        latches[0].open()
        await begun[1].passed()
        future = blocks.submit()
        latches[1].open()
        await first
        await second
        return await future

    assert await main() == "at last"


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_a_run_that_waits_and_goes_on_is_never_one_too_many(limit: int) -> None:
    guard = threading.Lock()
    now, most = [0], [0]

    def at_work(by: int) -> None:
        with guard:
            now[0] += by
            most[0] = max(most[0], now[0])

    @task
    async def leaf(x: int) -> int:
        at_work(1)
        await asyncio.sleep(0)
        at_work(-1)
        return x

    @task
    def blocking(x: int) -> int:
        at_work(1)
        at_work(-1)
        return x

    @task
    async def branch(x: int) -> int:
        at_work(1)
        own = (leaf if x % 2 else blocking).map(range(5))
        at_work(-1)
        values: list[Any] = await own
        at_work(1)
        await asyncio.sleep(0)
        at_work(-1)
        return sum(values)

    runner = Watched(limit)

    @flow(task_runner=runner)
    async def main() -> list[int]:
        return await branch.map(range(10))

    assert asyncio.run(main()) == [10] * 10
    assert 1 <= most[0] <= limit
    assert runner.rests()
