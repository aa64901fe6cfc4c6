"""Signals: what is sent to a flow run in progress, as it is kept until the run reads it. Frozen values; sends none."""

from __future__ import annotations

import enum
import json
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, cast

import attrs
import orjson

from headrace.errors import OptionError, OptionTypeError, short
from headrace.errors.signals import SignalNotPlain, SignalTooLarge

LONGEST_NAME: Final = 100  # characters; of a key, too
LARGEST: Final = 1_000_000  # bytes of JSON: what is larger belongs into a file, and its name into the signal


class Arrival(enum.IntEnum):
    """What comes of a signal that a store was given; true where it is new."""

    KNOWN = 0  # one of its key was sent to the run before, read or not
    NEW = 1
    WAKES = 2  # new, and due from now on is the run that had been suspended


@attrs.frozen
class Signal:
    """
    Something that was sent to a flow run.

    Attributes:
        data: The value, as JSON.
        key: What it is told from others by: of several with one key the first counts. None: it is one of its own.
        asked: Whether who sent it waits for an answer.
        id: Grows with each that is sent to the run; 0 for one that was not sent yet.
    """

    run_id: str
    name: str
    data: str
    at: datetime
    key: str | None = None
    asked: bool = False
    id: int = 0

    @property
    def value(self) -> Any:
        """What was sent, as plain data."""
        return json.loads(self.data)


def named(name: str, what: str = "The name of a signal") -> str:
    """
    Give *name*, which is *what*.

    Raises:
        OptionTypeError: It is no text.
        OptionError: It is empty, longer than 100 characters, or has signs that are no text.
    """
    if not isinstance(cast("object", name), str):
        raise OptionTypeError(f"{what} must be a text, not {short(name)} ({type(name).__name__}).")
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise OptionError(f"{what} must have 1 to {LONGEST_NAME} printable characters, not {short(name)}.")
    return name


def as_data(name: str, value: Any) -> str:
    """
    Give the JSON of *value*, which is sent as *name*.

    Raises:
        SignalNotPlain: It has none.
        SignalTooLarge: It has more than a million bytes.
    """
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=plain)
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise SignalNotPlain(name, value, error) from None
    if size > LARGEST:
        raise SignalTooLarge(name, size, LARGEST)
    return text


def plain(value: Any) -> Any:
    """Give *value*, which JSON does not know, as what it does: records as dicts, moments and the like as text."""
    kind = cast("Any", type(value))
    if hasattr(kind, "__pydantic_validator__") and hasattr(kind, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(kind, "__attrs_attrs__"):
        return {field.name: getattr(value, field.name) for field in kind.__attrs_attrs__}
    if hasattr(kind, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in kind.__dataclass_fields__}
    return str(value) if kind is Decimal or hasattr(kind, "__fspath__") else orjson.loads(orjson.dumps(value))
