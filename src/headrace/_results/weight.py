"""Weight: a guess, at once, of how much work it is to make bytes of a value. Makes none."""

from __future__ import annotations

import enum
import itertools
from collections import deque
from collections.abc import Iterable
from types import FunctionType, MethodType, ModuleType
from typing import Any, Final, cast

LIMIT: Final = 65_536
NODE: Final = 33  # so that 2,000 small values weigh as much as 64 kB in one
LOOKS: Final = 28
FIRST: Final = 24
DEPTH: Final = 6
SCALARS: Final = frozenset({int, float, bool, type(None)})
TEXTS: Final = frozenset({str, bytes, bytearray})
CONTAINERS: tuple[type[Any], ...] = (list, tuple, set, frozenset, deque)
MAPPINGS: tuple[type[Any], ...] = (dict,)
NAMED: tuple[type[Any], ...] = (type, enum.Enum, FunctionType, MethodType, ModuleType)  # kept by their names
FRAMES: Final = frozenset({"pandas", "polars", "pyarrow"})


def heavy(value: Any) -> bool:
    """
    Tell whether *value* seems to hold more than 64 kB or 2,000 small values, in some 20 µs at most.

    Of long containers only the first items are looked at, and no deeper than a few steps.
    """
    if type(value) in SCALARS:
        return False
    try:
        return weight(value, [LOOKS], 0) > LIMIT
    except Exception:  # of a property of the user's, or a container that another thread changes
        return True


def weight(value: Any, looks: list[int], depth: int) -> float:
    """Estimate how many bytes *value* comes to; look at no more parts than *looks* holds."""
    kind = cast("Any", type(value))
    if kind in TEXTS:
        return NODE + len(value)
    if isinstance(value, MAPPINGS):
        keys = sum([len(key) for key in itertools.islice(value, FIRST) if type(key) is str])
        return keys + whole(len(value), value.values(), looks, depth)
    if isinstance(value, CONTAINERS):
        return whole(len(value), value, looks, depth)
    if isinstance(value, NAMED):
        return NODE
    if kind.__module__.partition(".")[0] in FRAMES:  # the least of them takes a millisecond
        return LIMIT + 1
    if hasattr(kind, "nbytes"):
        return NODE + float(value.nbytes)
    fields = getattr(value, "__dict__", None) or slots(value, kind)
    return whole(len(fields), fields.values(), looks, depth)


def whole(count: int, items: Iterable[Any], looks: list[int], depth: int) -> float:
    """Estimate the weight of something with *count* items by those that come first."""
    if count * NODE > LIMIT or depth > DEPTH:
        return NODE + count * NODE
    seen, found, left = 0, 0.0, looks[0]
    for item in itertools.islice(items, FIRST):
        if left <= 0 or found > LIMIT:
            break
        seen += 1
        left -= 1
        if type(item) in SCALARS:
            found += NODE
        else:
            looks[0] = left
            found += weight(item, looks, depth + 1)
            left = looks[0]
    looks[0] = left
    return NODE + (found * count / seen if seen else count * NODE)


def slots(value: Any, kind: Any) -> dict[str, Any]:
    """Give the attributes of a value that has no dict of them."""
    names = getattr(kind, "__slots__", ())
    return {name: getattr(value, name, None) for name in ((names,) if isinstance(names, str) else names)}
