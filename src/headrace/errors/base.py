"""Base: what all errors share, and how they show the value that they are about."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which of *known* looks most like *word*, as the end of a sentence."""
    import difflib  # noqa: PLC0415 - 1 ms to import, for a word that was mistyped

    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else "."


def short(value: object, limit: int = 120) -> str:
    """Give the repr of *value* on one line of at most *limit* characters, even if its __repr__ raises."""
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def rebuilt(kind: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    """Make a *kind* that says what one with *args* said, without the __init__ that built its sentence."""
    made = kind.__new__(kind, *args)
    # That of ValueError, ImportError and the like: it fills in what they keep beside the args.
    builtin: Any = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    builtin.__init__(made, *args)
    return made


def taken_apart(error: BaseException) -> tuple[Any, ...]:
    """Give what pickle makes *error* of again: an exception's own way calls __init__ with a whole sentence."""
    return rebuilt, (type(error), error.args), error.__dict__


class HeadraceError(Exception):
    """What all of our ordinary errors share."""

    def __reduce__(self) -> tuple[Any, ...]:
        return taken_apart(self)


class OptionError(HeadraceError, ValueError):
    """An option of @flow or @task has a value it cannot have, or contradicts another."""


class OptionTypeError(HeadraceError, TypeError):
    """An option of @flow or @task is unknown or of the wrong type."""


def wrong_type(owner: str, option: str, wanted: str, value: Any) -> OptionTypeError:
    """Build the error for an *option* of *owner* whose *value* is of the wrong type."""
    return OptionTypeError(f"{option} of {owner} must be {wanted}, not {short(value)} ({type(value).__name__}).")
