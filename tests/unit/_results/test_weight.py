"""The guess whether making bytes of a value takes long: right for what is clearly small or large, and always quick."""

from __future__ import annotations

import datetime
import decimal
import time
import uuid
from collections import deque
from typing import Any

import pytest
from hypothesis import given

from headrace._results.weight import heavy
from tests.unit._results.alike import Colour, Point
from tests.unit._results.test_plain import ANY

ROW = {"id": 17, "name": "berlin", "ok": True, "score": 1.5, "tags": ["a", "b"]}
SMALL: dict[str, Any] = {
    "nothing": None,
    "a row": ROW,
    "a hundred rows": [ROW] * 100,
    "a thousand numbers": list(range(1_000)),
    "text": "x" * 60_000,
    "an object": Point(1, [1, 2]),
    "objects": [Point(1, "x")] * 100,
    "a moment": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    "an id": uuid.UUID(int=7),
    "a decimal": decimal.Decimal("1.5"),
    "an enum": Colour.RED,
    "a type": Point,
    "a function": pytest.raises,
}
LARGE: dict[str, Any] = {
    "text": "x" * 70_000,
    "bytes within": {"a": 1, "b": [b"x" * 70_000]},
    "rows": [ROW] * 400,
    "rows within": {"page": 1, "rows": [ROW] * 400},
    "numbers": list(range(2_001)),
    "a set": set(range(2_001)),
    "a queue": deque(range(2_001)),
    "a deep tree": [[[[[number] * 5] * 5] * 5] * 5 for number in range(5)],
    "long keys": {"x" * 40_000: 1, "y" * 40_000: 1},
    "within an object": Point(1, "x" * 70_000),
}


@pytest.mark.parametrize("name", SMALL)
def test_what_is_small_is_not_heavy(name: str) -> None:
    assert not heavy(SMALL[name])


@pytest.mark.parametrize("name", LARGE)
def test_what_is_large_is_heavy(name: str) -> None:
    assert heavy(LARGE[name])


@pytest.mark.required
def test_arrays_are_heavy_by_their_size_and_frames_always() -> None:
    numpy, pandas, pyarrow = (pytest.importorskip(name) for name in ("numpy", "pandas", "pyarrow"))

    assert not heavy(numpy.ones(100))
    assert heavy(numpy.ones(10_000))
    assert heavy({"model": [numpy.ones(10_000)]})
    assert heavy(pandas.DataFrame({"a": [1]}))
    assert heavy(pyarrow.table({"a": [1]}))


def test_a_value_that_cannot_be_looked_into_is_heavy() -> None:
    class Closed:
        @property
        def nbytes(self) -> int:
            raise OSError("closed")

    assert heavy(Closed())
    assert heavy([1, Closed()])


def test_what_is_nested_in_itself_has_a_weight() -> None:
    ring: list[Any] = []
    ring += [ring] * 50

    assert heavy(ring) in {True, False}


@given(ANY)
def test_every_value_has_a_weight(value: Any) -> None:
    assert heavy(value) in {True, False}


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_the_guess_is_quick(name: str) -> None:
    value = SMALL.get(name, LARGE.get(name))

    def taken() -> float:
        began = time.perf_counter()
        heavy(value)
        return time.perf_counter() - began

    assert min(taken() for _ in range(200)) < 200e-6  # ten times what is promised, for slow machines
