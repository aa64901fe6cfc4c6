"""Slots: how those of a limit are shared out, among whoever wants however many."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as some

from headrace._model.slots import (
    Claim,
    Limit,
    asked_for,
    between,
    evenly,
    leased,
    marked,
    refilled,
    returned,
    settled,
    shares,
)

SECOND = 1_000_000_000
OWNERS = "abcdefgh"
SLOTS = some.integers(0, 30)
TURNS = some.integers(0, 10_000)
WANTED = some.dictionaries(some.sampled_from(OWNERS), some.integers(0, 40), max_size=8)


@some.composite
def claims(draw: some.DrawFn, *, waiting: bool = True) -> list[Claim]:
    """Give what some processes have and want; *waiting*, where some of them wait for several slots."""
    found: list[Claim] = []
    for owner, wanted in draw(WANTED).items():
        need = draw(some.integers(0, wanted)) if waiting and wanted else 0
        found.append(Claim("api", owner, wanted=wanted, need=need, since=draw(some.integers(1, 9))))
    return found


# -- evenly ---------------------------------------------------------------------------------------------------


@given(SLOTS, WANTED, TURNS)
def test_nobody_gets_more_than_it_wants_and_all_together_no_more_than_there_is(
    slots: int, wanted: dict[str, int], turn: int
) -> None:
    share = evenly(slots, wanted, turn)

    assert share.keys() == wanted.keys()
    assert all(0 <= share[owner] <= wanted[owner] for owner in wanted)
    assert sum(share.values()) == min(slots, sum(wanted.values())), "none is left over while somebody wants one"


@given(SLOTS, WANTED, TURNS)
def test_who_gets_less_than_it_wants_gets_at_most_one_less_than_anybody(
    slots: int, wanted: dict[str, int], turn: int
) -> None:
    share = evenly(slots, wanted, turn)

    for owner, count in wanted.items():
        if share[owner] < count:
            assert share[owner] >= max(share.values()) - 1


@given(some.integers(1, 8), some.integers(0, 30), TURNS)
def test_the_slots_left_over_go_round_so_that_all_get_as_many(count: int, slots: int, turn: int) -> None:
    wanted = dict.fromkeys(OWNERS[:count], 99)
    turns = [evenly(slots, wanted, turn + passed) for passed in range(count)]

    assert {sum(share[owner] for share in turns) for owner in wanted} == {slots}


@given(SLOTS, WANTED, TURNS)
def test_everybody_works_out_the_same_in_whatever_order_it_reads(slots: int, wanted: dict[str, int], turn: int) -> None:
    assert evenly(slots, wanted, turn) == evenly(slots, dict(reversed(wanted.items())), turn)


# -- shares ---------------------------------------------------------------------------------------------------


@given(SLOTS, claims(), TURNS)
def test_shares_are_no_more_than_there_is_and_than_anybody_wants(slots: int, asked: list[Claim], turn: int) -> None:
    share = shares(slots, asked, turn)
    wanted = {claim.owner: claim.wanted for claim in asked}

    assert all(0 <= count <= wanted[owner] for owner, count in share.items())
    assert sum(share.values()) == min(slots, sum(wanted.values()))


@given(SLOTS, claims(waiting=False), TURNS)
def test_shares_of_those_who_wait_for_nothing_large_are_even(slots: int, asked: list[Claim], turn: int) -> None:
    wanted = {claim.owner: min(claim.wanted, slots) for claim in asked if claim.wanted}

    assert shares(slots, asked, turn) == evenly(slots, wanted, turn)


@given(some.integers(1, 30), claims(), TURNS)
def test_of_those_who_wait_for_more_than_an_even_share_the_one_who_waits_longest_gets_it(
    slots: int, asked: list[Claim], turn: int
) -> None:
    share = shares(slots, asked, turn)
    wanted = {claim.owner: min(claim.wanted, slots) for claim in asked if claim.wanted}
    most = max(evenly(slots, wanted, turn).values(), default=0)
    short = [claim for claim in asked if most < claim.need <= slots]
    if not short:
        assert share == evenly(slots, wanted, turn)
        return
    first = min(short, key=lambda claim: (claim.since, claim.owner))

    assert share[first.owner] == first.need
    others = [share[claim.owner] for claim in asked if claim.wanted > share.get(claim.owner, 0) and claim is not first]
    assert not others or max(others) - min(others) <= 1, "what is left is even"


@given(some.integers(1, 30), claims(), TURNS)
def test_what_can_never_be_had_is_waited_for_by_nobody_else(slots: int, asked: list[Claim], turn: int) -> None:
    vain = [attrs.evolve(claim, need=slots + 1) for claim in asked]

    assert shares(slots, vain, turn) == shares(slots, [attrs.evolve(claim, need=0) for claim in asked], turn)


# -- leases ---------------------------------------------------------------------------------------------------


class Party:
    """Processes that settle in turn, each saying what it has in use."""

    def __init__(self, slots: int) -> None:
        self.limit = Limit("api", slots)
        self.claims: dict[str, Claim] = {}

    def settle(self, owner: str, used: int, wanted: int, now: int) -> tuple[int, int]:
        """Have *owner* use so many of its slots, as far as it has them, and want so many; give held and share."""
        held = self.claims[owner].held if owner in self.claims else 0
        used = min(used, held)
        mine = Claim("api", owner, held, used, max(wanted, used))
        others = [claim for claim in self.claims.values() if claim.owner != owner]
        new, share = settled(self.limit, others, mine, held, now)
        assert used <= new <= max(mine.wanted, used), "what is in use stays, and nothing is had that is not wanted"
        self.claims[owner] = attrs.evolve(mine, held=new)
        return new, share


STEPS = some.lists(
    some.tuples(some.sampled_from("abc"), some.integers(0, 9), some.integers(0, 12), some.integers(0, 5)), max_size=40
)


@given(some.integers(0, 9), STEPS)
def test_never_more_is_leased_than_there_is(slots: int, steps: list[tuple[str, int, int, int]]) -> None:
    party = Party(slots)
    for owner, used, wanted, now in steps:
        party.settle(owner, used, wanted, now * SECOND)

        assert sum(claim.held for claim in party.claims.values()) <= slots


@given(some.integers(0, 9), STEPS, some.integers(0, 9))
def test_a_limit_that_is_lowered_takes_back_what_is_not_in_use(
    slots: int, steps: list[tuple[str, int, int, int]], lowered: int
) -> None:
    party = Party(slots)
    for owner, used, wanted, now in steps:
        party.settle(owner, used, wanted, now * SECOND)
    party.limit = Limit("api", lowered)
    for _ in range(2):
        for owner, claim in list(party.claims.items()):
            party.settle(owner, claim.used, 9, 0)

    used = sum(claim.used for claim in party.claims.values())
    assert sum(claim.held for claim in party.claims.values()) <= max(lowered, used)


@given(some.integers(1, 9), some.dictionaries(some.sampled_from("abc"), some.integers(1, 12), min_size=1))
def test_all_have_their_share_when_each_has_settled_twice(slots: int, wanted: dict[str, int]) -> None:
    party = Party(slots)
    for _ in range(2):
        for owner, count in wanted.items():
            party.settle(owner, 0, count, 0)
    found = {owner: party.settle(owner, 0, count, 0) for owner, count in wanted.items()}

    assert all(held == share for held, share in found.values())
    assert sum(held for held, _ in found.values()) == min(slots, sum(wanted.values()))


def test_a_slot_that_may_be_handed_out_while_it_asks_stays_with_who_asks() -> None:
    mine = Claim("api", "a", 5, used=1, wanted=1, kept=4)

    assert settled(Limit("api", 5), [], mine, 5, 0) == (4, 1)


@given(some.integers(1, 9), some.integers(0, 20), some.integers(0, 100))
def test_what_is_new_of_a_rate_may_be_used_as_far_as_it_rested(slots: int, wanted: int, tenths: int) -> None:
    rate = Limit("api", slots, 1.0)
    mine = Claim("api", "a", wanted=wanted)
    now = tenths * SECOND // 10
    unused, _ = leased(rate, None, [], mine, now, marked("boot", now))
    rested, _ = leased(rate, marked("boot", 0), [], mine, now, marked("boot", now))
    elsewhere, _ = leased(rate, marked("another boot", 0), [], mine, now, marked("boot", now))

    assert (unused.held, unused.fresh) == (min(slots, wanted), min(slots, wanted))
    assert rested.fresh == pytest.approx(min(rested.held, rested.held / slots * tenths / 10))
    assert elsewhere.fresh == 0, "nobody can compare two clocks"


@given(some.integers(1, 9), some.integers(0, 9), some.floats(0, 9), some.integers(0, 50))
def test_what_is_given_back_of_a_rate_is_had_by_the_next_and_no_more(
    slots: int, held: int, tokens: float, tenths: int
) -> None:
    held, tokens = min(held, slots), min(tokens, held, slots)
    rate, begin, end = Limit("api", slots, 1.0), marked("boot", 100 * SECOND), 100 * SECOND + tenths * SECOND // 10
    had = Claim("api", "a", held, wanted=held)
    back = Claim("api", "a", held, tokens=tokens)
    _, rested = leased(rate, marked("boot", 100 * SECOND), [had], back, 0, begin)
    lease, _ = leased(rate, rested, [], Claim("api", "b", wanted=slots), 0, marked("boot", end))

    assert lease.fresh <= min(slots, tokens + tenths / 10) + 1e-6


def test_who_has_nothing_may_give_it_back_where_others_have_all() -> None:
    rate, begin = Limit("api", 2, 1.0), marked("boot", 100 * SECOND)

    assert returned(rate, begin, [Claim("api", "a"), Claim("api", "b", 2)], 0, 0.0, begin) == begin


# -- rests and marks ------------------------------------------------------------------------------------------


@given(some.integers(0, 9), some.integers(1, 9), some.integers(-SECOND, 100 * SECOND))
def test_what_rests_fills_and_never_overflows(slots: int, decay: int, nanoseconds: int) -> None:
    rate = Limit("api", 9, float(decay))
    found = refilled(rate, slots, nanoseconds)

    assert 0 <= found <= slots
    assert found <= refilled(rate, slots, nanoseconds + SECOND)
    assert refilled(rate, slots, None) == refilled(Limit("api", 9), slots, nanoseconds) == slots


@given(some.text(max_size=9), some.integers(0, 1 << 62), some.integers(0, 1 << 62))
def test_marks_of_one_clock_can_be_compared(boot: str, earlier: int, later: int) -> None:
    found = between(marked(boot, earlier), marked(boot, later))

    assert found == (max(later - earlier, 0) if boot else 0)
    assert between(marked(boot, earlier), marked(f"{boot}, another", later)) == 0


def test_a_limit_of_a_key_is_there_because_somebody_asks_for_it() -> None:
    assert asked_for(Claim("api of a", "me", size=3)) == Limit("api of a", 3)
    assert asked_for(Claim("api", "me")) is None
