"""Words: durations, counts, and text that must not do anything to a terminal."""

from __future__ import annotations

import pytest

from headrace._model.columns import plain, shortened, width
from headrace.cli.output import Page, Signs, facts
from headrace.cli.wording import counted, duration, weighed


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, ""),
        (0.0000421, "42 us"),
        (0.00421, "4.2 ms"),
        (0.421, "421 ms"),
        (4.21, "4.21 s"),
        (42.1, "42.1 s"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (3720, "1 h 2 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration_is_said_in_its_largest_units(seconds: float | None, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1_000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (4_200_000_000, "4.2 GB"),
        (12_345_678_900_000_000, "12,345.7 TB"),
    ],
)
def test_a_number_of_bytes_is_said_in_its_largest_unit(size: int, said: str) -> None:
    assert weighed(size) == said


def test_one_thing_is_not_many() -> None:
    assert (counted(1, "run"), counted(0, "run"), counted(1_000, "run")) == ("1 run", "0 runs", "1,000 runs")


def test_signs_that_move_the_cursor_are_written_out() -> None:
    assert plain("a\x1b[2J\nb\u202ec") == "a\\x1b[2J\\nb\\u202ec"


def test_wide_signs_count_double_and_are_cut_whole() -> None:
    assert (width("航空"), shortened("航空", 3)) == (4, "航")


def test_an_id_is_never_broken_on_a_narrow_page() -> None:
    run_id = "3f2a9c1e-0000-4000-8000-000000000000"

    assert facts(Page(40, False, Signs()), [("Parameters", "a"), ("Id", run_id)])[2] == f"  {run_id}"
