"""Any program: what a deterministic flow returns is the same with caching and without, wherever results lie."""

from __future__ import annotations

import enum
import tempfile
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as some

from headrace import flow, task
from headrace.cache_policies import DEFAULT, FLOW_PARAMETERS, INPUTS, NO_CACHE, RUN_ID, TASK_SOURCE, CachePolicy
from tests.spec.keeping import runtime_at


class Colour(enum.IntEnum):
    """Numbers that are more than numbers."""

    RED = 1
    BLUE = 2


@attrs.frozen
class Pair:
    """A value of a class of the user's."""

    left: Any
    right: Any = None


# Held as `type[Any]`, so that a checker goes on knowing nothing of what is in them.
LISTS: tuple[type[Any], ...] = (list, tuple)
DICTS: tuple[type[Any], ...] = (dict,)
SETS: tuple[type[Any], ...] = (frozenset,)
PLAIN = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(-2, 2),
    some.integers(),
    some.floats(allow_nan=False),
    some.text(max_size=4),
    some.binary(max_size=4),
    some.sampled_from(Colour),
)
KEYS = some.one_of(some.text(max_size=2), some.integers(-2, 2), some.booleans())
VALUES = some.recursive(
    PLAIN,
    lambda inner: some.one_of(
        some.lists(inner, max_size=3),
        some.lists(inner, max_size=3).map(tuple),
        some.dictionaries(KEYS, inner, max_size=3),
        some.frozensets(PLAIN, max_size=3),
        some.builds(Pair, inner, inner),
    ),
    max_leaves=6,
)
POLICIES: list[CachePolicy] = [
    DEFAULT,
    INPUTS,
    INPUTS + TASK_SOURCE,
    INPUTS + RUN_ID,
    INPUTS + FLOW_PARAMETERS,
    NO_CACHE,
]


def told(value: Any) -> Any:
    """Give *value* with the types in it, so that equal values of other types differ."""
    if isinstance(value, LISTS):
        return type(value).__name__, [told(one) for one in value]
    if isinstance(value, DICTS):
        return "dict", sorted((repr(told(key)), told(one)) for key, one in value.items())
    if isinstance(value, SETS):
        return "frozenset", sorted(repr(told(one)) for one in value)
    if isinstance(value, Pair):
        return "Pair", told(value.left), told(value.right)
    return type(value).__name__, repr(value)


def describes(x: Any) -> tuple[str, Any]:
    """Do what sees every difference between two values."""
    return repr(told(x)), x


def doubles(x: Any) -> list[Any]:
    """Do something else with equal arguments."""
    return [x, x]


def nests(x: Any) -> Any:
    """Give a value that JSON has no form for."""
    return {(1, 2): Pair(x)}


@given(
    calls=some.lists(some.tuples(some.integers(0, 2), some.integers(0, 3)), min_size=1, max_size=10),
    pool=some.lists(VALUES, min_size=4, max_size=4),
    policy=some.sampled_from(POLICIES),
    inline=some.sampled_from([0, 40, 16_384]),
    memory=some.sampled_from([0, 2, 1_000]),
)
def test_caching_never_changes_what_a_deterministic_flow_returns(
    calls: list[tuple[int, int]], pool: list[Any], policy: CachePolicy, inline: int, memory: int
) -> None:
    functions = [describes, doubles, nests]
    tasks = [task(cache_policy=policy)(function) for function in functions]

    @flow
    def main(doing: Any) -> list[Any]:
        return [doing[which](pool[item]) for which, item in calls]

    expected = [functions[which](pool[item]) for which, item in calls]
    with tempfile.TemporaryDirectory() as home:
        for _ in range(2):
            with runtime_at(Path(home), result_inline_bytes=inline, result_memory=memory):
                found = [main(tasks), main(tasks)]
                assert [told(one) for one in found] == [told(expected)] * 2
