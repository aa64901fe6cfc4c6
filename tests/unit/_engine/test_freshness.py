"""When a kept result counts: before it expires, and as long as the clock says that it was made before now."""

from __future__ import annotations

import pytest

from headrace._engine.keeping import SKEW, fresh
from headrace._model.records import StoredResult

MADE = 1_000_000_000_000_000
HOUR = 3_600_000_000_000


def result(expires: int | None) -> StoredResult:
    """Give a result that was made at MADE."""
    return StoredResult("k", "r", "t", MADE, expires, "json", 1, "d", data=b"1")


@pytest.mark.parametrize("now", [0, MADE - HOUR, MADE, MADE + 1_000 * HOUR])
def test_one_that_never_expires_counts_whatever_the_clock_says(now: int) -> None:
    assert fresh(result(None), now)


@pytest.mark.parametrize(
    ("now", "counts"),
    [
        (MADE, True),
        (MADE + HOUR - 1, True),
        (MADE + HOUR, False),
        (MADE - SKEW, True),  # the clock of another machine
        (MADE - SKEW - 1, False),  # the clock went back: nobody knows how old it is
    ],
)
def test_one_that_expires_counts_until_then_and_not_before_it_was_made(now: int, counts: bool) -> None:
    assert fresh(result(MADE + HOUR), now) is counts
