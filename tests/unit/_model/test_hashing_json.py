"""Two digests are equal exactly where types and content are; among JSON values, which have a road of their own, too."""

from __future__ import annotations

import decimal
import enum
import math
import random
import types
import uuid
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace._model.canonical import class_of
from headrace._model.hashing import combined, digest, dumped

NAN = float("nan")
# Held as `type[Any]`, so that a checker goes on knowing nothing of the values once they are told apart.
LISTS: tuple[type[Any], ...] = (list, tuple)
SETS: tuple[type[Any], ...] = (set, frozenset)
DICTS: tuple[type[Any], ...] = (dict,)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 2),
    st.sampled_from([0.0, -0.0, 1.0, 2.0, 0.5, NAN, math.inf, -math.inf, 1e16, 1e300]),
    st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**30]),
    st.text("ab1☃", max_size=2),
    st.sampled_from(["null", "NaN", "1e+16", "\ud800", "[]", '{"a":1}']),
    st.sampled_from([b"", b"a", b"1", decimal.Decimal(1), decimal.Decimal("1.0")]),
)
hashable = st.one_of(scalars, st.tuples(scalars), st.frozensets(scalars, max_size=2))
mixed = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(hashable, max_size=3),
        st.dictionaries(hashable, inner, max_size=3),
        st.dictionaries(st.text("ab", max_size=1), inner, max_size=3),
    ),
    max_leaves=8,
)
json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, min_value=-1e15, max_value=1e15),
        st.text(st.characters(exclude_categories=["Cs"])),
    ),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)),
)


def same(one: Any, other: Any) -> bool:
    """Tell whether two values have the same types and content, all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    if isinstance(one, decimal.Decimal):
        return str(one) == str(other)
    if isinstance(one, LISTS):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, DICTS):
        return paired(list(one.items()), list(other.items()))
    if isinstance(one, SETS):
        return paired(list(one), list(other))
    return bool(one == other)


def paired(one: list[Any], other: list[Any]) -> bool:
    """Tell whether each of *one* has a partner of its own among *other*, and none is left."""
    left = list(other)
    for each in one:
        found = next((place for place, candidate in enumerate(left) if same(each, candidate)), None)
        if found is None:
            return False
        del left[found]
    return not left


def shuffled(value: Any, draw: random.Random) -> Any:
    """Give an equal value that shares nothing with *value*, its dicts in another order."""
    if isinstance(value, LISTS):
        return [shuffled(item, draw) for item in value]
    if isinstance(value, DICTS):
        items: list[tuple[Any, Any]] = [(key, shuffled(item, draw)) for key, item in value.items()]
        draw.shuffle(items)
        return dict(items)
    return value


def twisted(value: Any, draw: random.Random) -> Any:
    """Give a value that is like *value* but for the type of one part, or none."""
    kind = class_of(value)
    if kind in LISTS and value and draw.random() < 0.7:
        place = draw.randrange(len(value))
        return kind([*value[:place], twisted(value[place], draw), *value[place + 1 :]])
    if kind is dict and value and draw.random() < 0.7:
        key = draw.choice(list(value))
        return {**value, key: twisted(value[key], draw)}
    others: dict[type, list[Any]] = {
        list: [tuple],
        tuple: [list],
        int: [float, bool, str],
        bool: [int, str],
        str: [str.encode],
    }
    choices = [] if kind is str and not value.isascii() else others.get(kind, [])
    return draw.choice(choices)(value) if choices else value


@given(json_values, st.randoms(use_true_random=False))
def test_equal_json_in_another_order_has_the_same_digest(value: Any, draw: random.Random) -> None:
    assert digest(shuffled(value, draw)) == digest(value)


@given(mixed, mixed)
def test_digests_are_equal_exactly_where_values_are(one: Any, other: Any) -> None:
    assert (digest(one) == digest(other)) == same(one, other)


@given(mixed, st.randoms(use_true_random=False))
def test_a_part_of_another_type_makes_another_digest(value: Any, draw: random.Random) -> None:
    other = twisted(value, draw)

    assert (digest(value) == digest(other)) == same(value, other)


@given(json_values)
def test_values_of_json_take_the_road_of_json(value: Any) -> None:
    assert dumped(value) == orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


@given(mixed)
def test_what_takes_the_road_of_json_comes_back_from_it_as_it_was(value: Any) -> None:
    dump = dumped(value)

    assert dump is None or same(orjson.loads(dump), value)


class Word(enum.StrEnum):
    A = "a"


class Count(enum.IntEnum):
    ONE = 1


class Text(str):
    __slots__ = ()


class Map(dict[str, int]):
    pass


LOOKALIKES: list[tuple[Any, Any]] = [
    ([NAN], [None]),
    ({"a": math.inf}, {"a": None}),
    ({"a": [1.5, {"b": -math.inf}], "c": "null"}, {"a": [1.5, {"b": None}], "c": "null"}),
    ([[1, (2,)]], [[1, [2]]]),
    ([()], [[]]),
    ({"a": Word.A}, {"a": "a"}),
    ([Count.ONE], [1]),
    ([Text("a")], ["a"]),
    ({Text("a"): 1}, {"a": 1}),
    ([Map(a=1)], [{"a": 1}]),
    ([uuid.UUID(int=1)], [str(uuid.UUID(int=1))]),
    ({"a": {1: 2}}, {"a": {"1": 2}}),
    ([1e16], [10**16]),
    (["1e+16", 1.5], ["1e16", 1.5]),
]


@pytest.mark.parametrize(("one", "other"), LOOKALIKES)
def test_what_json_writes_alike_has_digests_of_its_own(one: Any, other: Any) -> None:
    assert digest(one) != digest(other)
    assert digest({"in": [one]}) != digest({"in": [other]})


def test_nan_is_nan_and_other_floats_beside_none_are_what_they_are() -> None:
    assert digest({"a": [NAN, None]}) == digest({"a": [-NAN, None]})
    assert dumped({"a": [0.5, None], "b": "null"}) is not None
    assert dumped({"a": [1e15] * 20, "b": None}) is not None
    assert dumped([0.5, "+e+"]) is not None
    assert dumped([1e16]) is None


def test_the_dict_of_a_living_object_is_looked_into() -> None:
    one, other = types.SimpleNamespace(a=(1,), b=NAN), types.SimpleNamespace(a=[1], b=None)
    mixture = [{}, {"a": 1, 2: 3}, {"x": vars(one)}, "text"]

    assert digest(vars(one)) == digest(dict(vars(one))) != digest(vars(other))
    assert digest([vars(one), {}]) != digest([vars(other), {}])
    assert digest(mixture) == digest([*mixture[:2], {"x": {"a": (1,), "b": NAN}}, "text"])
    assert digest(vars(types.SimpleNamespace(a=1))) == digest({"a": 1})


def test_a_dict_that_once_had_other_keys_is_an_ordinary_one() -> None:
    value: dict[Any, Any] = {1: 2, "a": [1]}
    del value[1]

    assert digest(value) == digest({"a": [1]})


def test_wide_values_are_looked_into_to_their_end() -> None:
    def wide(last: Any) -> list[Any]:
        return [*([number] for number in range(140_000)), last]

    assert dumped(wide([1])) is not None
    assert dumped(wide([(1,)])) is None
    assert dumped(wide(vars(types.SimpleNamespace(a=[(1,)])))) is None
    assert digest(wide([NAN])) != digest(wide([None]))


def test_what_is_held_twice_counts_as_if_it_were_two() -> None:
    shared = {"a": (1, 2)}

    assert digest([shared, shared]) == digest([{"a": (1, 2)}, {"a": (1, 2)}])
    assert digest((shared["a"], shared["a"])) == digest(((1, 2), (1, 2)))


def test_a_value_that_holds_one_part_many_times_over_is_not_written_out() -> None:
    value: Any = ()
    for _ in range(200):
        value = (value, value)
    lists: Any = []
    for _ in range(24):
        lists = [lists, lists]

    assert digest(value) != digest((value, value))
    assert digest(lists) != digest([[[[0] * 999] * 999] * 999] * 999)


@pytest.mark.parametrize("depth", [100, 253, 254, 255, 256, 300, 499])
def test_deep_values_have_digests_whichever_road_they_take(depth: int) -> None:
    def nested(levels: int) -> Any:
        value: Any = 1
        for level in range(levels):
            value = [value] if level % 2 else {"a": value}
        return value

    assert digest(nested(depth)) == digest(nested(depth))
    assert digest(nested(depth)) != digest(nested(depth - 1))


def test_parts_are_combined_in_their_order_and_do_not_run_together() -> None:
    every = [
        ("a", "b"),
        ("b", "a"),
        ("ab",),
        ("ab", ""),
        ("ab", None),
        ("", "ab"),
        ("a",),
        (),
        ("",),
        (None,),
        ("\ud800",),
    ]

    assert len({combined(*parts) for parts in every}) == len(every)
    assert combined("a", None) == combined("a", None)
    assert len(combined("x" * 1_000)) == 32
