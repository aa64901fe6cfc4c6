"""Schemas: what a type wants, told so that data can be held against it without the type."""

from __future__ import annotations

import datetime as dt
import enum
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, Optional, TypedDict, TypeVar

import attrs
import pydantic
import pytest

from headrace._engine.schemas import refuse_no_type, schema_of
from headrace._model.pauses import Pause
from headrace._model.schemas import misfits, worded
from headrace.errors import OptionTypeError
from headrace.input import RunInput

Number = NewType("Number", int)


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


@dataclass
class Node:
    name: str
    below: list[Node] = field(default_factory=list["Node"])


@attrs.frozen
class Order:
    number: Number
    colour: Colour = Colour.RED
    at: dt.datetime | None = None
    hidden: int = attrs.field(init=False, default=1)


class Pair(NamedTuple):
    left: int
    right: float = 0.5


class Options(TypedDict):
    wide: bool
    long: NotRequired[int]


class Inner(pydantic.BaseModel):
    number: int = pydantic.Field(gt=0, description="how many")


class Outer(pydantic.BaseModel):
    inner: Inner
    more: list[Inner] = []
    maybe: Inner | None = None


class Unknown:
    pass


class Approval(RunInput):
    approved: bool


TEXT = {"type": "string"}
INTEGER = {"type": "integer"}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (int, INTEGER),
        (str | None, {"anyOf": [TEXT, {"type": "null"}]}),
        (list[int], {"type": "array", "items": INTEGER}),
        (tuple[int, ...], {"type": "array", "items": INTEGER}),
        (tuple[int, str], {"type": "array"}),
        (dict[str, int], {"type": "object", "additionalProperties": INTEGER}),
        (Literal["a", 1], {"enum": ["a", 1]}),
        (Colour, {"enum": ["red", 2]}),
        (Annotated[int, "a mark"], INTEGER),
        (Number, INTEGER),
        (dt.date, {"type": "string", "format": "date"}),
        (Any, {}),
        (Unknown, {}),
        (
            Order,
            {
                "type": "object",
                "properties": {
                    "number": INTEGER,
                    "colour": {"enum": ["red", 2], "default": "red"},
                    "at": {"anyOf": [{}, {"type": "null"}], "default": None},
                },
                "required": ["number"],
            },
        ),
        (
            Node,
            {
                "type": "object",
                "properties": {"name": TEXT, "below": {"type": "array", "items": {"type": "object"}}},
                "required": ["name"],
            },
        ),
        (
            Pair,
            {
                "type": "object",
                "properties": {"left": INTEGER, "right": {"type": "number", "default": 0.5}},
                "required": ["left"],
            },
        ),
        (
            Options,
            {"type": "object", "properties": {"wide": {"type": "boolean"}, "long": INTEGER}, "required": ["wide"]},
        ),
    ],
)
def test_a_type_has_the_schema_that_everybody_would_write(kind: Any, expected: Any) -> None:
    assert schema_of(kind) == expected


def test_references_within_a_schema_are_followed() -> None:
    schema = schema_of(Outer)

    assert misfits(schema, {"inner": {"number": 1}, "more": [{"number": "2"}], "maybe": None}) == []
    assert misfits(schema, {"inner": {}, "more": [{"number": "two"}], "maybe": 5}) == [
        ("inner.number", "It is missing."),
        ("more.0.number", "'two' is not a whole number."),
        ("maybe", "5 is not an object or null."),
    ]
    assert worded(schema["properties"]["maybe"], schema) == "an object or null"


FITTING: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
    ({"type": "boolean"}, [True, 0, "yes", "OFF"], [2, "maybe", None, []]),
    ({"type": "integer"}, [1, 1.0, "-7"], [1.5, True, "1.5", "x", None, float("inf")]),
    ({"type": "number"}, [1, 1.5, "2.5"], [True, "x", None]),
    ({"type": "string"}, ["", "x"], [1, None, ["x"]]),
    ({"type": ["string", "null"]}, ["x", None], [1]),
    ({"type": "array", "items": INTEGER}, [[], [1, "2"]], ["12", [None], {}]),
    ({"type": "object", "properties": {"a": INTEGER}}, [{}, {"a": 1}], [{"b": 1}, {"a": "x"}, []]),
    ({"type": "object", "properties": {}, "additionalProperties": True}, [{"b": 1}], [[]]),
    ({"enum": ["a", 1]}, ["a", 1], ["b", 2]),
    ({"allOf": [INTEGER]}, [1], ["x"]),
    ({}, [None, 1, {"a": [1]}], []),
]


@pytest.mark.parametrize(("schema", "fits", "does_not"), FITTING)
def test_data_fits_a_schema_or_does_not(schema: dict[str, Any], fits: list[Any], does_not: list[Any]) -> None:
    assert [value for value in fits if misfits(schema, value)] == []
    assert [value for value in does_not if not misfits(schema, value)] == []


def test_a_pause_says_what_it_waits_for() -> None:
    assert Pause("a").said == "It waits to be resumed."
    assert Pause("a", INTEGER, 1_900_000_000_000_000_000).said == (
        "It waits for an input: a whole number, until 2030-03-17 17:46:40 UTC."
    )
    assert (
        Pause("a", schema_of(Pair)).wanted == "for an input: left (a whole number), right (a number, may be left out)"
    )


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (
            Approval(approved=True),
            r"not Approval\(approved=True\). Give the class, Approval; Approval.with_initial_data\(...\) for defaults.",
        ),
        (Order(Number(1)), r"not Order\(.*\). Give the class, Order.$"),
        (5, "not 5. Give a type, such as int"),
        (lambda: int, "not <function .*>. Give a type"),
        ({"a": int}, "not {'a': <class 'int'>}. Give a type"),
        ("int", "not 'int'. Give a type"),
        ((int, str), r"not \(<class 'int'>, <class 'str'>\). Give a type"),
    ],
)
def test_what_is_no_type_is_refused(kind: Any, said: str) -> None:
    with pytest.raises(OptionTypeError, match=f"wait_for_input must be a type, {said}"):
        refuse_no_type(kind, "wait_for_input")


@pytest.mark.parametrize(
    "kind",
    [
        None,
        int,
        int | None,
        Optional[int],  # noqa: UP045 - as people still write it
        list[int],
        Literal["a"],
        Annotated[int, pydantic.Field(gt=0)],
        Any,
        Number,
        Options,
        Pair,
        Colour,
        Order,
        Inner,
        Approval,
        Approval.with_initial_data(approved=True),
        TypeVar("T"),
    ],
)
def test_what_annotations_may_be_is_a_type(kind: Any) -> None:
    refuse_no_type(kind, "wait_for_input")
