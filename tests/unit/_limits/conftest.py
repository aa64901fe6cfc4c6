"""Fixtures of the desks: a world to drive."""

from __future__ import annotations

import pytest

from tests.unit._limits.driven import World


@pytest.fixture
def world() -> World:
    """Give a world with limits of one, two and five slots."""
    made = World()
    for name, slots in (("one", 1), ("two", 2), ("api", 5)):
        made.define(name, slots)
    return made
