"""Chance: the one place where the runtime draws numbers that tests may want to foresee."""

from __future__ import annotations


def draw() -> float:
    """Draw a number in [0, 1)."""
    import random  # noqa: PLC0415 - 5 ms to import, for runs that are retried with jitter

    return random.random()
