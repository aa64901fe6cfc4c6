"""What the converter keeps, makes and leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import GenericAlias
from typing import Any, TypeVar

import attrs
import pytest

from headrace._engine.converter import converter

T = TypeVar("T")


@dataclass
class Point:
    x: int


@dataclass
class Named(Point):
    name: str = ""


@attrs.define
class Box:
    size: int


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Named(1, "a"), Point),
        ([Point(1)], list[Point]),
        (Point(1), Point | None),
        ({"here": Point(1)}, dict[str, Point]),
        ([Box(2)], list[Box]),
    ],
)
def test_instances_of_records_are_kept_wherever_they_stand(value: Any, kind: Any) -> None:
    """Flows annotated so once refused them: cattrs by itself makes records of dicts only."""
    assert converter().structure(value, kind) == value


def test_a_record_is_made_of_a_dict() -> None:
    assert converter().structure([{"x": "1"}], list[Point]) == [Point(1)]


def test_what_is_no_record_and_no_dict_is_refused_by_its_type() -> None:
    with pytest.raises(ValueError, match="it is int"):
        converter().structure(3, Point)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(len, Callable[[str], int]), (iter([1]), Iterator[int]), (int, type[int]), ([3], GenericAlias(list, (T,)))],
)
def test_what_there_is_no_rule_for_is_left_alone(value: Any, kind: Any) -> None:
    """A flow that took a callable or an iterator was once refused with 'Register a structure hook'."""
    made = converter().structure(value, kind)

    assert made is value or made == value
