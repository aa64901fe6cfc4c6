"""The filter of keys: what it was told it never denies, and what it was not it mostly does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from headrace._model.filters import BITS, KeyFilter


@given(some.lists(some.text()))
def test_a_key_that_it_was_told_is_never_denied(keys: list[str]) -> None:
    known = KeyFilter()
    known.add(keys)

    assert all(known.may_hold(key) for key in keys)


def test_few_keys_that_it_was_not_told_are_taken_to_be_there() -> None:
    known = KeyFilter()
    known.add(f"{number:032x}" for number in range(60_000))
    assert not known.full()

    taken = sum(known.may_hold(f"{number:032x}") for number in range(60_000, 160_000))

    assert taken < 3_000


def test_one_that_is_full_is_followed_by_a_larger_one() -> None:
    known = KeyFilter()
    known.add(str(number) for number in range(len(known.bits) * 8 // BITS + 1))

    assert known.full()
    larger = known.larger()
    assert (len(larger.bits), larger.count, larger.full()) == (4 * len(known.bits), 0, False)


def test_it_is_complete_once_it_knows_as_of_when() -> None:
    known = KeyFilter()
    assert not known.complete
    known.version = 1
    assert known.complete
