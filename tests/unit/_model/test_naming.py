"""Names worked out from numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace._model import naming
from headrace._model.records import task_run_name

LISTS: tuple[tuple[str, ...], ...] = (naming.ADJECTIVES, naming.NOUNS)


@given(st.integers(0, 2**128))
def test_a_slug_is_two_words_and_always_the_same_for_a_number(number: int) -> None:
    slug = naming.slug(number)
    adjective, noun = slug.split("-")

    assert adjective in naming.ADJECTIVES
    assert noun in naming.NOUNS
    assert naming.slug(number) == slug


def test_every_pair_of_words_is_some_numbers() -> None:
    pairs = len(naming.ADJECTIVES) * len(naming.NOUNS)

    assert len({naming.slug(number) for number in range(pairs)}) == pairs


def test_the_words_are_each_there_once_and_can_stand_in_a_name() -> None:
    for words in LISTS:
        assert len(set(words)) == len(words)
        assert all(word.isalpha() and word.islower() for word in words)


def test_the_number_of_a_task_run_is_at_least_three_digits() -> None:
    prefix = "45a66923-114d-499f-98e3-"

    assert task_run_name("fetch", prefix + f"{10:012x}") == "fetch-00a"
    assert task_run_name("fetch", prefix + f"{4096:012x}") == "fetch-1000"
    assert task_run_name("fetch", prefix + "0" * 12) == "fetch"
