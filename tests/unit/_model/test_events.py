"""What a list of events amounts to as it is stored, and moments to and from nanoseconds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace._model.events import COMPLETED, RETRYING, RUNNING, Transition, clipped, history
from headrace._model.records import elapsed, moment, nanoseconds

FAILED = ("FAILED", "Failed")


@pytest.mark.parametrize(
    "transitions",
    [
        [(RUNNING, 1, None)],
        [(RUNNING, 1, None), (COMPLETED, 2, None)],
        [(RUNNING, 1, None), (FAILED, 2, "why")],
    ],
)
def test_a_short_life_is_told_by_its_row_alone(transitions: list[Transition]) -> None:
    assert history(transitions) is None


def test_a_longer_life_is_stored_state_by_state() -> None:
    lived: list[Transition] = [(RUNNING, 1, None), (RETRYING, 2, "x" * 9_000), (COMPLETED, 3, None)]

    stored = history(lived)

    assert stored is not None
    assert [entry[:3] for entry in stored] == [
        ["RUNNING", "Running", 1],
        ["RUNNING", "Retrying", 2],
        ["COMPLETED", "Completed", 3],
    ]
    assert stored[1][3] == "x" * 8_000 + "… (cut: 9,000 characters)"


@given(st.none() | st.text(max_size=20), st.integers(1, 30))
def test_a_text_within_the_limit_is_kept_and_a_longer_one_says_how_long_it_was(text: str | None, limit: int) -> None:
    kept = clipped(text, limit)

    if text is None or len(text) <= limit:
        assert kept == text
    else:
        assert kept == f"{text[:limit]}… (cut: {len(text):,} characters)"


@given(st.integers(0, 4_000_000_000_000_000))
def test_a_moment_is_exact_to_the_microsecond(microseconds: int) -> None:
    at = microseconds * 1_000
    found = moment(at)

    assert found is not None
    assert found.tzinfo is not None
    assert nanoseconds(found) == at


def test_what_has_not_ended_took_no_time_yet() -> None:
    assert moment(None) is None
    assert elapsed(moment(0), None) is None
    assert elapsed(moment(1_000_000_000), moment(3_500_000_000)) == 2.5
