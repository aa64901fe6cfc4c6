"""A flow's parameters: made to fit their annotations, handed on as they are, or refused with a sentence each."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import functools
import pathlib
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, NewType, Optional, Protocol, TypedDict, TypeVar

import attrs
import pydantic
import pytest

from headrace import flow, task
from headrace.errors import ParameterTypeError
from tests.spec.forms import Form

if TYPE_CHECKING:
    from nowhere import Missing  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports, reportUnknownVariableType]


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    path: list[int] = field(default_factory=list[int])


@dataclass
class Named(Point):
    name: str = ""


@attrs.frozen
class Box:
    size: int


class Model(pydantic.BaseModel):
    x: int


class Outer(pydantic.BaseModel):
    one: Model
    many: list[Model] = []


@attrs.frozen
class Holds:
    model: Model
    colour: Colour


class Typed(TypedDict):
    x: int


class Pair(NamedTuple):
    left: int
    right: str = "r"


class Plain: ...


class Going(Protocol):
    def go(self) -> None: ...


UserId = NewType("UserId", int)
T = TypeVar("T")
PLAIN = Plain()


def flow_of(kind: Any) -> Any:
    """A flow that gives its one parameter, which is annotated as a *kind*."""

    def give(x: Any) -> Any:
        return x

    give.__annotations__ = {"x": kind}
    return flow(name="give")(give)


@pytest.mark.parametrize(
    ("kind", "given", "made"),
    [
        (int, "5", 5),
        (int, 5.0, 5),
        (int, True, 1),
        (float, "1.5", 1.5),
        (float, 1, 1.0),
        (bytes, "ä", "ä".encode()),
        (bool, "yes", True),
        (bool, " Off ", False),
        (bool, 1, True),
        (Colour, "red", Colour.RED),
        (Optional[int], "5", 5),  # noqa: UP045 - as older code writes it
        (int | None, "5", 5),
        (list[int], ["1", 2], [1, 2]),
        (list[int], (1, 2), [1, 2]),
        (list[int] | None, ["1"], [1]),
        (list[list[int]], [["1"]], [[1]]),
        (tuple[int, str], ["1", "b"], (1, "b")),
        (tuple[int, ...], ["1", 2], (1, 2)),
        (set[int], ["1", 1], {1}),
        (frozenset[int], [1], frozenset({1})),
        (dict[str, int], {"a": "1"}, {"a": 1}),
        (dict[int, str], {"1": "a"}, {1: "a"}),
        (Sequence[int], ["1"], [1]),
        (Mapping[str, int], {"a": "1"}, {"a": 1}),
        (collections.deque[int], [1], collections.deque([1])),
        (dt.datetime, "2024-05-20T10:00:00+00:00", dt.datetime(2024, 5, 20, 10, tzinfo=dt.UTC)),
        (dt.datetime, 0, dt.datetime(1970, 1, 1, tzinfo=dt.UTC)),
        (dt.date, "2024-05-20", dt.date(2024, 5, 20)),
        (dt.date, dt.datetime(2024, 5, 20, 10, tzinfo=dt.UTC), dt.date(2024, 5, 20)),
        (dt.time, "10:30", dt.time(10, 30)),
        (dt.timedelta, 90, dt.timedelta(seconds=90)),
        (uuid.UUID, "12345678-1234-5678-1234-567812345678", uuid.UUID("12345678-1234-5678-1234-567812345678")),
        (decimal.Decimal, "1.50", decimal.Decimal("1.50")),
        (decimal.Decimal, 1.5, decimal.Decimal("1.5")),
        (pathlib.Path, "a/b", pathlib.Path("a/b")),
        (Point, {"x": "1", "path": ["2"]}, Point(1, [2])),
        (list[Point], [{"x": 1}], [Point(1)]),
        (Box, {"size": "3"}, Box(3)),
        (Model, {"x": "1"}, Model(x=1)),
        (Outer, {"one": {"x": 1}, "many": [{"x": "2"}]}, Outer(one=Model(x=1), many=[Model(x=2)])),
        (list[Model], [{"x": 1}], [Model(x=1)]),
        (dict[str, Model], {"a": {"x": 1}}, {"a": Model(x=1)}),
        (Model | None, {"x": 1}, Model(x=1)),
        (Holds, {"model": {"x": "1"}, "colour": "red"}, Holds(Model(x=1), Colour.RED)),
        (Typed, {"x": "1"}, {"x": 1}),
        (Pair, ["1", "b"], Pair(1, "b")),
        (Pair, {"left": "1"}, Pair(1)),
        (UserId, "5", 5),
        (Annotated[int, "a note"], "5", 5),
        (pydantic.PositiveInt, "5", 5),
        (pydantic.HttpUrl, "http://a/", pydantic.HttpUrl("http://a/")),
    ],
)
def test_a_value_is_made_to_fit(kind: Any, given: Any, made: Any) -> None:
    result = flow_of(kind)(given)

    assert result == made
    assert type(result) is type(made)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (int, 10**400),
        (str, "a"),
        (int | str, "5"),
        (float | int, 5),
        (int | None, None),
        (None, None),
        (Colour, Colour.RED),
        (Literal["a", 1], "a"),
        (list, [1]),
        (list[int], [1, 2]),
        (list[int | None], [1, None]),
        (list[Any], [PLAIN]),
        (list[Plain], [PLAIN]),
        (dict[str, list[int]], {"a": [1]}),
        (dict[str, Any], {"a": PLAIN}),
        (tuple[int, str], (1, "b")),
        (tuple[int, ...], (1, 2)),
        (tuple[()], ()),
        (set[str], {"a"}),
        (Sequence[int], [1]),
        (Iterable[int], (1,)),
        (Mapping[str, int], {"a": 1}),
        (Point, Point(1)),
        (Point, Named(1)),
        (list[Point], [Named(1)]),
        (Box | None, Box(1)),
        (Model, Model(x=1)),
        (list[Model], [Model(x=1)]),
        (Pair, Pair(1, "b")),
        (Plain, PLAIN),
        (Going, PLAIN),
        (Any, PLAIN),
        (object, PLAIN),
        (T, PLAIN),
        (Callable[[int], int], len),
        (Callable, len),
        (type[int], int),
        (Iterator[int], iter([1])),
        (Exception, ValueError("x")),
        (BaseException | None, ValueError("x")),
        (dt.date, dt.date(2024, 5, 20)),
        (pathlib.Path, pathlib.Path("a")),
        ("Missing", PLAIN),
    ],
)
def test_a_value_that_fits_is_handed_on_as_the_same_object(kind: Any, given: Any) -> None:
    assert flow_of(kind)(given) is given


@pytest.mark.parametrize(
    ("kind", "given", "reason"),
    [
        (int, "five", "'five' is not a valid int: invalid literal"),
        (int, 5.5, "5.5 is not a valid int: it is no whole number"),
        (int, float("inf"), "inf is not a valid int: it is no whole number"),
        (int, None, "None is not a valid int: write a whole number"),
        (float, "x", "'x' is not a valid float"),
        (str, 5, "5 is not a valid str: it is int, not text"),
        (str, b"a", "it is bytes, not text"),
        (bool, "maybe", "'maybe' is not a valid bool: write true or false"),
        (bool, 2, "2 is not a valid bool"),
        (Colour, "blue", "'blue' is not a valid Colour: 'blue' is not a valid Colour"),
        (Literal["a", 1], "b", "'b' is not a valid typing.Literal['a', 1]"),
        (list[int], "12", "'12' is not a valid list[int]: it is text, not a container of values"),
        (list[str] | None, "abc", "it is text, not a container of values"),
        (Sequence[str], "abc", "it is text, not a container of values"),
        (list[int], [1, "x"], "[1, 'x'] is not a valid list[int]: invalid literal for int()"),
        (list[int], 5, "5 is not a valid list[int]"),
        (dict[str, int], {"a": "x"}, "is not a valid dict[str, int]: invalid literal"),
        (dt.date, "tomorrow", "'tomorrow' is not a valid date: Invalid isoformat string"),
        (dt.datetime, [], "write it as ISO 8601 text"),
        (uuid.UUID, "x", "'x' is not a valid UUID"),
        (Point, {"y": 1}, "is not a valid Point"),
        (Point, 5, "5 is not a valid Point: it is int"),
        (Plain, 5, "5 is not a valid Plain: it is int"),
        (Pair, [1, "b", 3], "it has 3 items, not 2"),
        (Pair, {"right": "b"}, "missing 1 required positional argument: 'left'"),
        (int | float, "x", "'x' is not a valid int | float"),
        (Model, {"x": "no"}, "x: Input should be a valid integer"),
        (Outer, {"one": {"x": "no"}}, "one.x: Input should be a valid integer"),
        (pydantic.PositiveInt, -1, "Input should be greater than 0"),
        (Annotated[int, pydantic.Field(lt=3)], 3, "Input should be less than 3"),
    ],
)
def test_a_value_that_cannot_fit_is_refused_with_the_reason(kind: Any, given: Any, reason: str) -> None:
    with pytest.raises(ParameterTypeError) as caught:
        flow_of(kind)(given)

    assert str(caught.value).startswith("The flow 'give' received invalid parameters:\n - x: ")
    assert reason in str(caught.value)
    assert "Register" not in str(caught.value)


def test_every_parameter_that_does_not_fit_is_named(form: Form) -> None:
    @form.flow(name="many")
    async def many(a: int, b: int, c: str, *rest: int, **more: int) -> None: ...

    with pytest.raises(ParameterTypeError) as caught:
        form.run(many, "x", 1, 2, 3, "y", d="z")

    assert [name for name, _ in caught.value.problems] == ["a", "c", "rest", "more"]
    assert isinstance(caught.value, TypeError)


def test_what_a_signature_gathers_is_validated_too(form: Form) -> None:
    @form.flow()
    async def gather(*rest: int, **more: float) -> Any:
        return rest, more

    assert form.run(gather, "1", 2, a="1.5") == ((1, 2), {"a": 1.5})


def test_defaults_are_used_and_validated(form: Form) -> None:
    @form.flow()
    async def defaults(a: int, b: int = "7", *, c: list[int] | None = None) -> Any:  # type: ignore[assignment]  # pyright: ignore[reportArgumentType]
        return a, b, c

    assert form.run(defaults, "1") == (1, 7, None)


def test_without_validation_values_come_as_they_are(form: Form) -> None:
    @form.flow(validate_parameters=False)
    async def raw(x: int, y: list[int]) -> Any:
        return x, y

    assert form.run(raw, "5", "12") == ("5", "12")


def test_parameters_of_tasks_are_never_touched(form: Form) -> None:
    @form.task()
    async def raw(x: int) -> Any:
        return x

    assert form.run(raw, "5") == "5"


def test_an_annotation_that_cannot_be_resolved_leaves_the_others_checked(form: Form) -> None:
    @form.flow()
    async def partly(a: Missing, b: int) -> Any:  # pyright: ignore[reportUnknownParameterType]
        return a, b

    assert form.run(partly, "anything", "5") == ("anything", 5)
    with pytest.raises(ParameterTypeError, match="b: 'x' is not a valid int"):
        form.run(partly, "anything", "x")


def test_annotations_of_methods_partials_and_objects_count() -> None:
    class Adder:
        def __call__(self, x: int) -> int:
            return x + 1

        @flow
        def method(self, x: int) -> int:
            return x + 1

    def add(x: int, y: int) -> int:
        return x + y

    called: Any
    for called in (flow(Adder()), Adder().method, flow(functools.partial(add, y=1))):
        assert called("1") == 2


def test_a_flow_called_by_a_flow_validates_for_itself(form: Form) -> None:
    @form.flow()
    async def inner(x: int) -> int:
        return x

    @form.flow()
    async def outer(x: str) -> Any:
        return await inner(x) if form.is_async else inner(x)

    assert form.run(outer, "5") == 5


def counted(work: Callable[[], Any]) -> tuple[Any, int]:
    """Do *work*; give what it gives, and how many functions written in Python were called meanwhile, by this thread."""
    calls = 0

    def look(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    sys.setprofile(look)
    try:
        return work(), calls
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("kind", [list[int], Sequence[int], list[int | None], list, list[Any]])
def test_a_list_of_a_million_numbers_is_looked_through_in_no_time(kind: Any) -> None:
    given = list(range(1_000_000))
    looks = flow_of(kind)
    looks(given[:1])

    same, calls = counted(lambda: looks(given))

    assert same is given
    assert calls < 2_000


def test_a_task_given_a_million_numbers_takes_them_as_they_are() -> None:
    given = list(range(1_000_000))

    @task
    def take(x: list[int]) -> list[int]:
        return x

    same, calls = counted(lambda: take(given))

    assert same is given
    assert calls < 2_000
