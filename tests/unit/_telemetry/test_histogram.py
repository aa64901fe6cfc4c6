"""Histograms: what is exact, how near the rest comes, and how it reads."""

from __future__ import annotations

import random

import pytest

from headrace._telemetry.histogram import BOUNDS, Histogram

MS = 1_000_000
SECOND = 1_000 * MS


def of(*durations: int) -> Histogram:
    """Give a histogram of *durations*."""
    made = Histogram()
    for duration in durations:
        made.add(duration)
    return made


def test_least_most_and_mean_are_exact() -> None:
    figures = of(*range(3, 5_004)).figures()

    assert (figures["min"], figures["max"], figures["mean"]) == (3, 5_003, 2_503)


def test_equal_durations_have_exactly_that_as_each_figure() -> None:
    assert set(of(*[100 * MS] * 1_234).figures().values()) == {100 * MS}


def test_one_duration_alone_is_each_figure() -> None:
    assert set(of(7 * SECOND).figures().values()) == {7 * SECOND}


def test_nothing_has_figures_of_zero_and_no_lines() -> None:
    assert set(of().figures().values()) == {0}
    assert of().lines() == []


@pytest.mark.parametrize("seed", range(5))
def test_percentiles_are_within_ten_per_cent(seed: int) -> None:
    draw = random.Random(seed)
    durations = [int(draw.lognormvariate(16, 2)) for _ in range(20_000)]
    figures = of(*durations).figures()

    for name, share in (("p50", 0.5), ("p95", 0.95)):
        assert figures[name] == pytest.approx(sorted(durations)[int(share * len(durations))], rel=0.1)


def test_lines_go_from_the_first_that_counts_to_the_last_in_round_steps() -> None:
    lines = of(30 * MS, 20 * MS + 1, 50 * MS, 150 * MS, 700 * MS, 3 * SECOND).lines()

    assert lines == [
        "20 ms to 50 ms: 3",
        "50 ms to 100 ms: 0",
        "100 ms to 200 ms: 1",
        "200 ms to 500 ms: 0",
        "500 ms to 1 s: 1",
        "1 s to 2 s: 0",
        "2 s to 5 s: 1",
    ]


def test_the_ends_have_lines_too() -> None:
    assert of(0, 1, 1_000).lines() == ["0 to 1 µs: 3"]
    assert of(1_001).lines() == ["1 µs to 2 µs: 1"]
    assert of(2 * 10**16).lines() == ["over 10,000,000 s: 1"]
    assert set(of(2 * 10**16).figures().values()) == {2 * 10**16}


def test_each_duration_is_in_one_line() -> None:
    draw = random.Random(1)
    durations = [int(10 ** draw.uniform(0, 17)) for _ in range(5_000)] + list(BOUNDS)
    lines = of(*durations).lines()

    assert sum(int(line.rpartition(" ")[2]) for line in lines) == len(durations)


def test_memory_does_not_grow_with_what_is_counted() -> None:
    made = of(*range(100_000))

    assert len(made.buckets) == len(BOUNDS) + 1
    assert len(made.waiting) < 1_000
