"""Limits as users give them: what one may be called, and how many slots it may have; pure. `slots` has the sharing."""

from __future__ import annotations

import math
from typing import Any, Final

from headrace.errors import OptionError, OptionTypeError, short

KEY: Final = "\x1f"  # between the name of a limit and the key that has one of its own
MOST: Final = (1 << 63) - 1  # what a database keeps as a whole number


def checked_limit(name: Any, slots: Any, decay: Any) -> None:
    """
    See that a limit can be.

    Raises:
        OptionError, OptionTypeError: It cannot.
    """
    checked_names("Limit", name)
    if type(slots) is not int:
        raise OptionTypeError(f"slots of the limit {name!r} must be a whole number, not {short(slots)}.")
    if slots < 0:
        raise OptionError(f"slots of the limit {name!r} must be 0 or more, not {slots}.")
    if slots > MOST:
        raise OptionError(f"slots of the limit {name!r} must be {MOST} or fewer, not {short(slots)}.")
    if decay is None:
        return
    if isinstance(decay, bool) or not isinstance(decay, int | float):
        raise OptionTypeError(f"slot_decay_per_second of the limit {name!r} must be a number, not {short(decay)}.")
    if not 0 < decay < math.inf:
        raise OptionError(f"slot_decay_per_second of the limit {name!r} must be more than 0, not {decay:g}.")


def checked_names(what: str, names: Any) -> tuple[str, ...]:
    """Give *names* of limits, each once."""
    if isinstance(names, str) and can_be_seen(names):
        return (names,)
    found = (names,) if isinstance(names, str) else tuple(names) if hasattr(names, "__iter__") else None
    if found is None or not all(isinstance(name, str) for name in found):
        raise OptionTypeError(f"names of {what} must be the name of a limit, or several, not {short(names)}.")
    if not found or not all(map(can_be_seen, found)):
        raise OptionError(f"names of {what} must be names of limits that can be seen, not {short(names)}.")
    return tuple(dict.fromkeys(found))


def can_be_seen(name: str) -> bool:
    """Tell whether a limit may be called *name*."""
    return bool(name.strip()) and name.isprintable()
