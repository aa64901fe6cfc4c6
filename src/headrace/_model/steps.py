"""Steps: what a call within a durable run is called, so that it is found again when the run is resumed. Arithmetic."""

from __future__ import annotations

from typing import Any, Final

from headrace._model.hashing import Unhashable, combined, digest

SIZE: Final = 32  # signs of a digest
IN_ROW: Final = 800  # bytes of JSON that a step's row holds without a page of its own
SHOWN: Final = 160  # characters of a call's arguments that are kept for people


def arguments(given: dict[str, Any]) -> str | None:
    """Give a digest of what a step is called with; None where it has no content to be told apart by."""
    try:
        return digest(given)
    except Unhashable:
        return None


def step_id(parent: str, what: str, args: str | None, nth: int) -> str:
    """
    Name a step by what it is: called by the step *parent*, the function *what*, with *args*, the *nth* such call there.

    Not by its turn: branches that race may come in any order.
    """
    return combined(parent, what, args, str(nth))


def told(args: str | None, shown: str) -> str:
    """Give what is recorded of a step's arguments: their digest, and the beginning of what people read."""
    return f"{args or '-' * SIZE}{shown[:SHOWN]}"


def as_called(name: str, said: str | None) -> str:
    """Give a step as people read it, from its name and what was recorded of its arguments."""
    return name if said is None else f"{name}({said[SIZE:]})"
