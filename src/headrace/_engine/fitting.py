"""Fitting: whether a value already is what an annotation says. Looks only; what does not fit is made to, next door."""

from __future__ import annotations

import datetime as dt
import types
import typing
from collections.abc import Iterable
from typing import Any, Final, Literal

UNIONS: Final = (typing.Union, types.UnionType)
# Containers that stand for the abstract kinds of them; a text is a sequence of texts, too, but rarely meant as one.
DICT: type[Any] = dict
PLAIN: Final[frozenset[type[Any]]] = frozenset({list, tuple, set, frozenset, dict})


def fits(value: Any, kind: Any) -> bool:
    """
    Tell whether *value* surely is a *kind*, with all that is in it; False where only converting it would tell.

    The types of a container's items are gathered in C, so a list of a million numbers takes some 15 ms.
    """
    if kind is Any or kind is object:
        return True
    if kind is None:
        return value is None
    origin = typing.get_origin(kind)
    if origin is None:
        return isinstance(kind, type) and is_one(value, kind)
    parts = typing.get_args(kind)
    if origin in UNIONS:
        return any(fits(value, part) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if not isinstance(origin, type) or type(value) not in PLAIN or not isinstance(value, origin):
        return False
    return contents_fit(value, origin, parts)


def is_one(value: Any, kind: type) -> bool:
    """Tell whether *value* is an instance of *kind* that stands for itself: True is no number, a moment no day."""
    if type(value) is kind:
        return True
    if (kind is int and isinstance(value, bool)) or (kind is dt.date and isinstance(value, dt.datetime)):
        return False
    try:
        return isinstance(value, kind)
    except TypeError:
        return False  # a typed dict or a protocol, which have no instances


def contents_fit(value: Any, origin: type, parts: tuple[Any, ...]) -> bool:
    """Tell whether all that is in the container *value* fits *parts*, the arguments of *origin*."""
    if type(value) is DICT:
        if len(parts) == 1:
            return all_fit(value, parts[0])
        return len(parts) == 2 and all_fit(value, parts[0]) and all_fit(value.values(), parts[1])
    if origin is tuple and not (len(parts) == 2 and parts[1] is ...):
        return len(value) == len(parts) and all(map(fits, value, parts))
    return bool(parts) and all_fit(value, parts[0])


def all_fit(items: Iterable[Any], kind: Any) -> bool:
    """Tell whether each of *items* fits *kind*; by their types alone where those say it."""
    if kind is Any or kind is object:
        return True
    exact = types_of(kind)
    if exact and set(map(type, items)) <= exact:
        return True
    return all(fits(item, kind) for item in items)


def types_of(kind: Any) -> frozenset[Any]:
    """Give the types whose own instances surely fit *kind*: itself, or the plain types of a union."""
    if typing.get_origin(kind) in UNIONS:
        return frozenset(part for part in typing.get_args(kind) if type(part) is type)
    return frozenset({kind}) if type(kind) is type else frozenset()
