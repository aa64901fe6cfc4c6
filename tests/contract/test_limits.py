"""What every store promises of limits: never more is leased than there is, and what is due comes."""

from __future__ import annotations

from typing import Any

import pytest

from headrace._model.slots import TURN, Claim, Lease, Limit, marked
from headrace._ports import Store

API = Limit("api", 5)


def never(_claim: Claim) -> bool:
    return False


def is_a(claim: Claim) -> bool:
    return claim.owner == "a"


async def ask(store: Store, owner: str, wanted: int, at: int = 0, dead: Any = never, **more: Any) -> Lease:
    """Have *owner* want so many slots of the limit "api", *at* so many nanoseconds."""
    claim = Claim("api", owner, wanted=wanted, **more)
    return (await store.limits.settle([claim], at, marked("boot", at), dead))["api"]


async def test_a_limit_is_kept_as_it_was_defined_until_it_is_removed(store: Store) -> None:
    rate = Limit("rps", 10, 2.5, active=False)

    assert await store.limits.listed() == []
    assert await store.limits.define(API)
    assert await store.limits.define(rate)
    assert not await store.limits.define(Limit("api", 7))
    assert await store.limits.listed() == [Limit("api", 7), rate]
    assert await store.limits.listed(["rps", "another"]) == [rate]
    assert await store.limits.remove("api")
    assert not await store.limits.remove("api")
    assert await store.limits.listed() == [rate]


async def test_of_a_limit_that_nobody_defined_nothing_is_leased(store: Store) -> None:
    assert await ask(store, "a", 1) == Lease(None)
    assert await store.limits.claims("api") == []


async def test_one_process_gets_what_it_wants_and_never_more_than_there_is(store: Store) -> None:
    await store.limits.define(API)

    assert await ask(store, "a", 2) == Lease(API, 2, 2, 2.0)
    assert (await ask(store, "a", 9)).held == 5
    assert [claim.held for claim in await store.limits.claims("api")] == [5]


async def test_two_processes_share_and_what_is_in_use_stays(store: Store) -> None:
    await store.limits.define(API)
    await ask(store, "a", 9)

    assert (await ask(store, "b", 9, used=0)).held == 0, "all is leased"
    less = await ask(store, "a", 9, used=4)
    assert less.held == 4 > less.share
    more = await ask(store, "b", 9)
    assert more.held == 1
    await ask(store, "a", 9, used=0)
    assert (await ask(store, "b", 9)).held == (await ask(store, "b", 9)).share >= 2


async def test_the_slot_that_is_left_over_goes_round(store: Store) -> None:
    await store.limits.define(Limit("api", 1))
    had: list[str] = []
    lease = Lease(None)
    for turn in range(6):
        for owner in "abab":
            lease = await ask(store, owner, 3, at=turn * TURN)
        had += [owner for owner in "ab" if (await ask(store, owner, 3, at=turn * TURN)).held]

    assert had in (["a", "b"] * 3, ["b", "a"] * 3)
    assert lease.limit == Limit("api", 1)


async def test_who_wants_nothing_gives_all_back(store: Store) -> None:
    await store.limits.define(API)
    await ask(store, "a", 9)

    assert (await ask(store, "a", 0)).held == 0
    assert await store.limits.claims("api") == []
    assert (await ask(store, "b", 9)).held == 5


async def test_what_the_dead_had_is_there_for_others(store: Store) -> None:
    await store.limits.define(API)
    await ask(store, "a", 9, used=5)

    assert (await ask(store, "b", 9)).held == 0
    assert (await ask(store, "b", 9, dead=is_a)).held == 5
    assert [claim.owner for claim in await store.limits.claims("api")] == ["b"]


async def test_what_was_taken_away_is_not_had_any_more(store: Store) -> None:
    await store.limits.define(API)
    await ask(store, "a", 9, used=5)
    await ask(store, "b", 9, dead=is_a)

    assert (await ask(store, "a", 9, used=5)).held == 0, "b has them now"


async def test_a_limit_that_is_lowered_takes_back_what_is_not_in_use(store: Store) -> None:
    await store.limits.define(API)
    await ask(store, "a", 9)
    await store.limits.define(Limit("api", 2))

    assert (await ask(store, "a", 9, used=4)).held == 4
    assert (await ask(store, "a", 9, used=1)).held == 2


async def test_several_limits_are_leased_at_once(store: Store) -> None:
    await store.limits.define(API)
    await store.limits.define(Limit("db", 3))
    asks = [Claim("api", "a", wanted=9), Claim("db", "a", wanted=2), Claim("none", "a", wanted=1)]

    leases = await store.limits.settle(asks, 0, marked("boot", 0), never)

    assert {name: lease.held for name, lease in leases.items()} == {"api": 5, "db": 2, "none": 0}


async def test_the_claims_on_all_limits_and_keys_are_listed_by_name_and_owner(store: Store) -> None:
    await store.limits.define(API)
    of_key = Claim("api\x1facme", "b", wanted=1, size=2)
    await store.limits.settle([of_key], 0, marked("boot", 0), never)
    await ask(store, "b", 1)
    await ask(store, "a", 1)

    assert [(one.name, one.owner) for one in await store.limits.claims()] == [
        ("api", "a"),
        ("api", "b"),
        ("api\x1facme", "b"),
    ]


async def test_all_slots_can_be_taken_back(store: Store) -> None:
    await store.limits.define(API)
    await ask(store, "a", 3, used=3)
    await ask(store, "b", 1)

    assert await store.limits.reset("api") == 4
    assert await store.limits.claims("api") == []


@pytest.mark.parametrize(("seconds", "fresh"), [(0, 0.0), (0.5, 2.0), (100, 4.0)])
async def test_what_comes_free_of_a_rate_must_refill(store: Store, seconds: float, fresh: float) -> None:
    await store.limits.define(Limit("api", 4, 4.0))

    assert (await ask(store, "a", 9, at=1)).fresh == 4.0, "nobody ever used it"
    await ask(store, "a", 0, at=1_000)
    assert (await ask(store, "b", 9, at=1_000 + int(seconds * 1e9))).fresh == pytest.approx(fresh)


async def test_what_people_look_at_is_kept(store: Store) -> None:
    await store.limits.define(API)
    await ask(store, "a", 3, used=2, need=3, since=7, beat=8, shown='{"x": "ü"}')

    assert await store.limits.claims("api") == [Claim("api", "a", 3, 2, 3, 3, 7, 8, '{"x": "ü"}')]


# -- what a process may still hand out while it asks ----------------------------------------------------------


async def test_nobody_gets_what_another_may_hand_out_before_it_has_heard(store: Store) -> None:
    await store.limits.define(API)
    await ask(store, "a", 9)
    await ask(store, "b", 9)

    first = await ask(store, "a", 9, used=1, kept=5)
    assert first.held == 5 > first.share
    assert (await ask(store, "b", 9)).held == 0
    assert (await ask(store, "a", 9, used=1, kept=first.share)).held == first.share
    assert (await ask(store, "b", 9)).held == 5 - first.share


async def test_of_a_limit_that_is_lowered_nobody_hands_out_what_others_use(store: Store) -> None:
    await store.limits.define(Limit("api", 2))
    for at in range(4):
        await ask(store, "a", 1, used=1, kept=1, at=at * TURN)
        await ask(store, "b", 1, used=0, kept=1, at=at * TURN)
    await store.limits.define(Limit("api", 1))

    for at in range(4):
        assert (await ask(store, "a", 1, used=1, kept=1, at=at * TURN)).held == 1
        assert (await ask(store, "b", 1, kept=1, at=at * TURN)).share == 0
    assert (await ask(store, "b", 1, kept=0)).held == 0


async def test_what_is_in_use_of_a_limit_that_is_deleted_counts_when_it_is_there_again(store: Store) -> None:
    await store.limits.define(API)
    await ask(store, "a", 9, used=4)
    await store.limits.remove("api")
    assert await ask(store, "a", 4, used=3) == Lease(None)
    await store.limits.define(API)

    assert (await ask(store, "b", 9)).held == 2
    await store.limits.remove("api")
    await ask(store, "a", 0)
    await ask(store, "b", 2)
    assert await store.limits.claims("api") == []


async def test_who_waits_for_more_than_an_even_share_gets_that_whatever_the_clock_says(store: Store) -> None:
    await store.limits.define(Limit("api", 4))
    await ask(store, "a", 9)
    await ask(store, "b", 4, need=4, since=1 << 60)

    assert (await ask(store, "a", 9, used=0)).held == 0
    assert (await ask(store, "b", 4, need=4, since=1 << 60)).held == 4


async def test_who_waits_for_one_has_turns_and_no_more_than_others(store: Store) -> None:
    await store.limits.define(Limit("api", 1))
    had: list[str] = []
    for turn in range(6):
        for owner in "abab":
            await ask(store, owner, 3, at=turn * TURN, need=1, since=ord(owner))
        had += [owner for owner in "ab" if (await ask(store, owner, 3, at=turn * TURN, need=1)).held]

    assert had in (["a", "b"] * 3, ["b", "a"] * 3)


async def test_what_may_be_used_of_a_rate_goes_with_its_slots(store: Store) -> None:
    await store.limits.define(Limit("api", 4, 4.0))
    await ask(store, "a", 9)
    second = 1_000_000_000
    await ask(store, "a", 0, at=second, tokens=2.0)

    assert (await ask(store, "b", 9, at=second)).fresh == pytest.approx(2.0)
    assert (await ask(store, "b", 9, kept=4, at=9 * second)).fresh == 0.0, "it fills in memory"
    await ask(store, "b", 2, kept=2, at=9 * second, tokens=1.0)
    assert (await ask(store, "b", 9, kept=2, at=9 * second + second // 2)).fresh == pytest.approx(2.0)


async def test_what_the_dead_had_of_a_rate_fills_anew_beside_what_was_free(store: Store) -> None:
    await store.limits.define(Limit("api", 4, 4.0))
    await ask(store, "a", 2)
    second = 1_000_000_000

    lease = await ask(store, "b", 9, at=second, dead=is_a)
    assert lease.held == 4
    assert lease.fresh == pytest.approx(2.0)


async def test_who_asks_again_and_again_for_what_it_has_is_told_the_same(store: Store) -> None:
    await store.limits.define(API)
    await ask(store, "a", 3)
    for at in range(0, 3_000_000_000, 300_000_000):
        assert await ask(store, "a", 3, at=at, held=3, used=1, kept=3, beat=at) == Lease(API, 3, 3, 0.0)
    assert (await store.limits.claims("api"))[0].beat > 1_500_000_000, "and others see that it goes on"

    await store.limits.define(Limit("api", 2))
    assert (await ask(store, "a", 3, at=3_000_000_000, held=3, used=1, kept=3)).share == 2
