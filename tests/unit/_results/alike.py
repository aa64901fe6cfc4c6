"""What the tests of results ask of a value that came back: that nothing tells it from the one that went."""

from __future__ import annotations

import enum
import io
import struct
from collections import OrderedDict
from typing import Any, BinaryIO, cast

import attrs

from headrace._ports import Codec


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


class Name(str):
    """A str of its own type, equal to a plain one."""


class Count(int):
    """An int of its own type, equal to a plain one."""


class Table(dict[str, int]):
    """A dict of its own type, equal to a plain one."""


@attrs.frozen
class Point:
    x: int
    y: Any = None


MAPPINGS: tuple[type[Any], ...] = (dict,)


def same(one: Any, other: Any) -> bool:
    """Whether *one* and *other* are equal and of the same types all the way down, in the same order."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return struct.pack("d", one) == struct.pack("d", other)
    if isinstance(one, complex):
        return same(one.real, other.real) and same(one.imag, other.imag)
    if isinstance(one, MAPPINGS):
        return all_same(flat(one), flat(other))
    if isinstance(one, list | tuple):
        return all_same(list(cast("list[Any]", one)), list(other))
    if isinstance(one, set | frozenset):
        return all_same(sorted(cast("set[Any]", one), key=order), sorted(other, key=order))
    if isinstance(one, Point):
        return same(one.x, other.x) and same(one.y, other.y)
    return bool(one == other)


def order(item: Any) -> tuple[str, str, str]:
    """By which items of sets are sorted: two that are no numbers may differ, too."""
    number = item if isinstance(item, float | complex) else 0j
    parts = struct.pack("dd", complex(number).real, complex(number).imag)
    return type(item).__name__, repr(item), parts.hex()


def flat(mapping: dict[Any, Any]) -> list[Any]:
    return [part for pair in mapping.items() for part in pair]


def all_same(ones: list[Any], others: list[Any]) -> bool:
    return len(ones) == len(others) and all(same(one, other) for one, other in zip(ones, others, strict=True))


def written(codec: Codec, value: Any) -> bytes:
    """What *codec* writes of *value*."""
    file = io.BytesIO()
    codec.dump(value, file)
    return file.getvalue()


def read(codec: Codec, data: bytes) -> Any:
    """What *codec* makes of *data*."""
    return codec.load(io.BytesIO(data))


def back(codec: Codec, value: Any) -> Any:
    """What comes back of *value*."""
    return read(codec, written(codec, value))


class Trickle(io.BufferedIOBase):
    """A file that keeps what it is given, and notes how much that was at once."""

    def __init__(self) -> None:
        self.largest = 0
        self.kept = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self.largest = max(self.largest, view.nbytes)
        self.kept += view
        return view.nbytes

    def file(self) -> BinaryIO:
        return cast("BinaryIO", self)


ODD: dict[str, Any] = {
    "a tuple": (1, 2),
    "a tuple within": {"a": [(1,)]},
    "an empty tuple": [()],
    "a set": {1},
    "bytes": b"x",
    "a bytearray": bytearray(b"x"),
    "a key that is an int": {1: 2},
    "a key that is None": {None: 1},
    "a key of a str's subclass": {Name("a"): 1},
    "a key that is a StrEnum": {Word.YES: 1},
    "an enum": Colour.RED,
    "an IntEnum": [Level.LOW],
    "a StrEnum": [Word.YES],
    "a str's subclass": [Name("x")],
    "an int's subclass": Count(1),
    "a dict's subclass": Table(a=1),
    "an OrderedDict": OrderedDict(a=1),
    "nan": float("nan"),
    "inf": [float("-inf")],
    "a complex number": 1j,
    "an int of 65 bits": 1 << 64,
    "an int below 64 bits": -(1 << 63) - 1,
    "half of a surrogate pair": "\ud800",
    "half of one in a key": {"\udfff": 1},
    "an object": Point(1),
    "a type": int,
    "an ellipsis": ...,
}
