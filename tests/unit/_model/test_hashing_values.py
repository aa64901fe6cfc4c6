"""Values of many types, each with a digest of its own. Needs no pytest: other processes and Pythons import it, too."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import io
import ipaddress
import operator
import pathlib
import re
import types
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, NamedTuple

import attrs

from headrace._model.hashing import code_digest, digest


class Color(enum.Enum):
    RED = 1
    BLUE = "blue"


class Number(enum.IntEnum):
    ONE = 1


class Bits(enum.Flag):
    LOW = 1
    HIGH = 2


class Marker(enum.Enum):
    """An enum whose members are told apart by name alone."""

    HERE = object()
    THERE = object()


class Point(NamedTuple):
    x: int
    y: int


class Texts(str):
    __slots__ = ()


class Numbers(list[int]):
    pass


class Elements(set[str]):
    pass


class Entries(dict[str, int]):
    pass


class Plain:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def method(self) -> int:
        return 1


class Slotted:
    __slots__ = ("left", "right")

    def __init__(self, left: Any) -> None:
        self.left = left


class Both(Slotted):
    def __init__(self, left: Any, extra: Any) -> None:
        super().__init__(left)
        self.extra = extra


class Stated:
    def __init__(self, key: str) -> None:
        self.key = key
        self.lock = object()

    def __headrace_hash__(self) -> Any:
        return {"key": self.key}


@dataclasses.dataclass
class Record:
    name: str
    rows: list[int]
    cache: Any = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Tight:
    name: str


@attrs.frozen
class Frozen:
    name: str


@attrs.define(slots=False)
class Loose:
    name: str


UTC = dt.UTC
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")
NOON = dt.datetime.fromisoformat("2024-01-02T12:00")

VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2**63 - 1,
        2**63,
        2**64,
        -(2**63) - 1,
        10**400,
        1.0,
        0.1,
        float("nan"),
        float("inf"),
    ),
    *(
        float("-inf"),
        1e16,
        -1e16,
        1e-7,
        5e-324,
        1j,
        complex(1, 0),
        "",
        "1",
        "a",
        "ü☃",
        "\ud800",
        "null",
        "NaN",
        "x" * 100,
    ),
    *(
        b"",
        b"1",
        b"x" * 100,
        bytearray(b"1"),
        memoryview(b"1"),
        ...,
        NotImplemented,
        range(3),
        range(0, 4, 2),
        slice(1, 2),
    ),
    *(
        [],
        (),
        set[int](),
        frozenset[int](),
        {},
        [1],
        (1,),
        {1},
        frozenset([1]),
        {1: 1},
        {"1": 1},
        [1.0],
        [True],
        ["1"],
        [[1]],
    ),
    *(
        [(1,)],
        ([1],),
        [None],
        [float("nan")],
        [float("inf")],
        [1e16],
        [1, 2],
        [2, 1],
        {"a": 1},
        {"a": "1"},
        {"a": None},
    ),
    *({"a": 1, "b": 2}, {"a": 2, "b": 1}, {1, 2, 3}, {"a", "b", 1, None}, {"a": {"b": {"c": [1, (2, 3), {4}]}}}),
    *({(1, 2): "x"}, {None: 1, "a": 2, 3: 4, 2.5: 6, b"x": 7}, {"a": 1}.keys(), {"a": 1}.values(), {"a": 1}.items()),
    *(Color.RED, Color.BLUE, Number.ONE, Bits.LOW, Bits.LOW | Bits.HIGH, Marker.HERE, Marker.THERE, Texts("a"), Color),
    *(Point(1, 2), Point(2, 1), (1, 2), Numbers([1]), Elements("ab"), Entries(a=1), types.SimpleNamespace(a=1)),
    *(collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1), collections.Counter("aab")),
    *(
        collections.defaultdict(str, a="1"),
        collections.defaultdict(int, a=1),
        collections.deque([1]),
        collections.deque([1], 3),
    ),
    *(Plain(), Plain(a=1), Plain(a=(1,)), Plain(b=1), Slotted(1), Slotted((1,)), Both(1, 2), Both(2, 1), Stated("a")),
    *(
        Record("a", [1]),
        Record("a", [2]),
        Tight("a"),
        Frozen("a"),
        Loose("a"),
        ValueError("a"),
        KeyError("a"),
        vars(Plain(a=2)),
    ),
    *(NOON, NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=BERLIN), NOON.replace(fold=1), NOON.date(), NOON.time()),
    *(
        NOON.timetz().replace(tzinfo=UTC),
        UTC,
        BERLIN,
        dt.timedelta(1),
        dt.timezone(dt.timedelta(hours=1)),
        iter([1, 2]),
    ),
    *(pathlib.PurePosixPath("a/b"), pathlib.PureWindowsPath("a/b"), uuid.UUID(int=1), decimal.Decimal("1.0")),
    *(
        decimal.Decimal("1.00"),
        decimal.Decimal("NaN"),
        fractions.Fraction(1, 2),
        re.compile("a"),
        re.compile("a", re.I),
    ),
    *(
        re.compile(b"a"),
        ipaddress.ip_address("10.0.0.1"),
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_address("::1"),
    ),
    *(
        ipaddress.ip_interface("10.0.0.1/8"),
        int,
        Plain,
        collections.OrderedDict,
        types,
        operator,
        len,
        Numbers().append,
        str.upper,
    ),
    *(
        dict.fromkeys,
        operator.itemgetter(1),
        functools.partial(int, base=2),
        list[int],
        io.BytesIO(b"a"),
        io.StringIO("a"),
    ),
    *(
        array.array("d", [1.0]),
        array.array("f", [1.0]),
        types.MappingProxyType({"a": 1}),
        collections.ChainMap({"a": 1}),
    ),
]


def recursive() -> Callable[[int], int]:
    def factorial(number: int) -> int:
        return number * factorial(number - 1) if number else 1

    return factorial


def closing_over(value: Any) -> Callable[[], Any]:
    return lambda: value


def with_default(value: int = 1, *, mode: str = "x") -> set[str]:
    return {mode, str(value), "constant"} & {"a", "b", "c", "d"}


FUNCTIONS: list[Any] = [
    *(recursive, recursive(), closing_over(1), closing_over((1,)), closing_over([1]), with_default, Plain.method),
    *(Plain(a=1).method, Plain(a=2).method, functools.partial(with_default, 1), functools.lru_cache(with_default)),
]


def digests() -> list[str]:
    """Give the digests of all values that do not depend on the version of Python."""
    return [digest(value) for value in VALUES]


def function_digests() -> list[str]:
    """Give the digests of functions, and of what they do."""
    return [digest(function) for function in FUNCTIONS] + [code_digest(function) for function in FUNCTIONS]


def test_each_of_these_values_has_a_digest_of_its_own() -> None:
    every = digests() + [digest(function) for function in FUNCTIONS]

    assert len(set(every)) == len(VALUES) + len(FUNCTIONS)
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in every)
