"""What surely fits an annotation, and that a doubt is no fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Literal, Protocol, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace._engine.coercion import fit
from headrace._engine.fitting import fits


class Typed(TypedDict):
    x: int


class Going(Protocol):
    def go(self) -> None: ...


class Word(str): ...


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, int),
        (1, float),
        (datetime(2024, 1, 1, tzinfo=UTC), date),
        ({"x": 1}, Typed),
        (object(), Going),
        ("abc", Sequence[str]),
        ([True], list[int]),
        ([1, "2"], list[int]),
        ((1,), list[int]),
        ((1, 2), tuple[int]),
        ((), tuple[int]),
        ({"a": "1"}, dict[str, int]),
        ({1: 1}, dict[str, int]),
        ([[1], ["2"]], list[list[int]]),
        (iter([1]), Iterable[int]),
        (1, Literal[True]),
        (None, int),
        (5, None),
    ],
)
def test_a_doubt_is_no_fit(value: Any, kind: Any) -> None:
    assert not fits(value, kind)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Word("a"), str),
        (Word("a"), str | None),
        ([Word("a"), "b"], list[str]),
        ([1, None, "a"], list[int | str | None]),
        ([[1], []], list[list[int]]),
        ({"a": (1, "b")}, Mapping[str, tuple[int, str]]),
        ({"a", "b"}, Iterable[str]),
        ({"a": 1}, Iterable[str]),
        ((1, 2, 3), Sequence[int]),
        ((), tuple[int, ...]),
        ([], list[int]),
        ([{"a": 1.5}], list[dict[str, Any]]),
    ],
)
def test_what_fits_is_known_to(value: Any, kind: Any) -> None:
    assert fits(value, kind)
    assert fit(value, kind) is value


KINDS: list[Any] = [int, float, str, list[int], dict[str, int], tuple[int, ...], int | None, list[str | int]]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)


@given(VALUES, st.sampled_from(KINDS))
def test_what_was_made_to_fit_fits_and_stays_equal_when_it_did_before(value: Any, kind: Any) -> None:
    try:
        made = fit(value, kind)
    except Exception:
        assert not fits(value, kind)
    else:
        assert fits(made, kind)
        if fits(value, kind):
            assert made is value
