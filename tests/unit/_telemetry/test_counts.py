"""Counts: the words for how far a map or stream is, in any width and any encoding."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from headrace._model.columns import width
from headrace._telemetry.counts import PLAIN_SIGNS, Count, Signs, duration, line, signs_for, speed, summary

FINE = Signs()
FETCH = Count("fetch", 10_000, 3_214, 12, 3.02)


def test_a_map_says_how_many_are_done_and_failed_how_fast_and_how_long_it_goes_on() -> None:
    assert line(FETCH, 79, signs=FINE) == "fetch  ━━━─────────  3,214 of 10,000 · 12 failed · 1,064/s · 7 s left"


def test_a_stream_does_not_know_how_long_it_goes_on() -> None:
    stream = FETCH._replace(total=None)

    assert line(stream, 79, signs=FINE) == "fetch  3,214 done · 12 failed · 1,064/s"


def test_what_has_not_happened_is_not_said() -> None:
    assert line(Count("fetch", 20, 0, 0, 4.0), 79, signs=FINE) == "fetch  ────────────  0 of 20"


def test_what_is_done_has_no_time_left() -> None:
    assert line(Count("fetch", 20, 20, 0, 4.0), 79, signs=FINE) == "fetch  ━━━━━━━━━━━━  20 of 20 · 5.0/s"


def test_a_map_of_nothing_has_no_bar() -> None:
    assert line(Count("fetch", 0, 0, 0, 4.0), 79, signs=FINE) == "fetch  0 of 0"


def test_the_bar_is_full_only_when_all_is_done() -> None:
    assert "━" * 11 + "─" in line(Count("fetch", 10_000, 9_999, 0, 4.0), 79, signs=FINE)


def test_others_in_progress_are_counted() -> None:
    assert line(FETCH, 90, 2, FINE).endswith(" · 7 s left · 2 more in progress")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (90, "fetch  ━━━─────────  3,214 of 10,000 · 12 failed · 1,064/s · 7 s left · 2 more in progress"),
        (80, "fetch  3,214 of 10,000 · 12 failed · 1,064/s · 7 s left · 2 more in progress"),
        (60, "fetch  3,214 of 10,000 · 12 failed · 1,064/s · 7 s left"),
        (50, "fetch  3,214 of 10,000 · 12 failed · 7 s left"),
        (40, "fetch  3,214 of 10,000 · 12 failed"),
        (30, "fetch  3,214 of 10,000"),
        (12, "fetch  3,21…"),
        (1, "f"),
    ],
)
def test_a_narrow_terminal_loses_what_matters_least(columns: int, said: str) -> None:
    assert line(FETCH, columns, 2, FINE) == said


def test_a_long_name_is_cut_and_the_numbers_stay() -> None:
    said = line(FETCH._replace(name="fetch every page of the archive"), 60, signs=FINE)

    assert said == "fetch every page of…  3,214 of 10,000 · 12 failed · 7 s left"


def test_a_name_cannot_move_the_cursor() -> None:
    assert line(Count("a\x1b[2J\nb", None, 1, 0, 1.0), 79, signs=FINE) == "a\\x1b[2J\\nb  1 done · 1.0/s"


def test_wide_signs_take_the_room_that_they_need() -> None:
    assert line(Count("航空便の価格", 5, 1, 0, 1.0), 26, signs=FINE) == "航空便…  1 of 5 · 4 s left"


@settings(deadline=None)
@given(
    some.text(max_size=30),
    some.none() | some.integers(0, 10**9),
    some.integers(0, 10**9),
    some.floats(0, 1e9),
    some.integers(1, 120),
    some.sampled_from([FINE, PLAIN_SIGNS]),
)
def test_no_line_is_wider_than_the_terminal(
    name: str, total: int | None, done: int, seconds: float, columns: int, signs: Signs
) -> None:
    said = line(Count(name, total, done, done // 2, seconds), columns, 3, signs)

    assert width(said) <= columns
    assert said.isprintable()


def test_where_an_encoding_has_no_such_signs_others_stand_in() -> None:
    assert (signs_for("utf-8"), signs_for("ascii"), signs_for("latin-1")) == (FINE, PLAIN_SIGNS, PLAIN_SIGNS)
    assert line(FETCH, 79, signs=signs_for("ascii")) == (
        "fetch  ###---------  3,214 of 10,000 | 12 failed | 1,064/s | 7 s left"
    )


def test_an_encoding_that_nobody_knows_has_plain_signs() -> None:
    assert signs_for("klingon") == PLAIN_SIGNS


@pytest.mark.parametrize(
    ("per_second", "said"),
    [
        (1_064.2, "1,064/s"),
        (10, "10/s"),
        (3.21, "3.2/s"),
        (0.5, "30/min"),
        (0.05, "3.0/min"),
        (0.001, "3.6/h"),
        (0, ""),
    ],
)
def test_a_speed_is_said_in_the_unit_in_which_it_is_at_least_one(per_second: float, said: str) -> None:
    assert speed(per_second) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 s"), (59.1, "1 min"), (130, "2 min 10 s"), (3_600, "1 h"), (4_800, "1 h 20 min"), (90_000, "1 d 1 h")],
)
def test_a_time_left_is_rounded_up(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_the_end_says_how_many_how_long_and_how_fast() -> None:
    done = Count("fetch", 10_000, 10_000, 12, 9.4)

    assert summary(done, 79, FINE) == "fetch  10,000 done in 9.4 s · 12 failed · 1,064/s"


def test_an_early_end_says_of_how_many() -> None:
    assert summary(FETCH, 79, FINE) == "fetch  3,214 of 10,000 done in 3.0 s · 12 failed · 1,064/s"


def test_the_end_of_a_stream_says_how_many_there_were() -> None:
    assert summary(Count("fetch", None, 40, 0, 130.0), 79, FINE) == "fetch  40 done in 2 min 10 s · 18/min"


def test_an_end_before_anything_was_done_says_so() -> None:
    assert summary(Count("fetch", 20, 0, 0, 1.5), 79, FINE) == "fetch  0 of 20 done in 1.5 s"
