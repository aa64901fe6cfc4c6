"""Time bars, as arithmetic."""

from __future__ import annotations

from datetime import UTC, datetime

from headrace._model.records import TaskRun
from headrace._model.states import State, StateType
from headrace.cli.bars import parts, strip

SIGNS = {"waits": "w", "runs": "r", "retries": "R", "": "."}


def bar(*found: tuple[str, float, float], end: float = 10.0) -> str:
    return "".join(SIGNS[cell] for cell in strip(found, 0.0, end, 10))


def run(*states: tuple[str, str, float]) -> TaskRun:
    moments = [(kind, name, datetime.fromtimestamp(at, UTC), None) for kind, name, at in states]
    ended = moments[-1][2] if moments[-1][0] == "FAILED" else None
    return TaskRun("id", "a-001", "a", State(StateType(moments[-1][0])), end_time=ended, transitions=tuple(moments))


def test_each_piece_shows_what_fills_most_of_it() -> None:
    assert bar(("waits", 0, 2), ("runs", 2, 6.6), ("retries", 6.6, 9)) == "wwrrrrrRR."


def test_a_run_that_is_too_short_to_fill_a_piece_is_seen() -> None:
    assert bar(("runs", 4.1, 4.2)) == "....r....."
    assert bar(("runs", 10, 10)) == ".........r"


def test_a_short_wait_is_seen_within_a_long_run() -> None:
    assert bar(("runs", 0, 5.3), ("waits", 5.3, 5.4), ("retries", 5.4, 10)) == "rrrrrwRRRR"


def test_a_short_attempt_hides_nothing_that_is_seen_nowhere_else() -> None:
    assert bar(("runs", 3, 4), ("waits", 3.2, 3.3)) == "...r......"


def test_a_run_that_took_no_time_at_all_has_a_bar() -> None:
    assert bar(("runs", 0, 0), end=0) == "r........."


def test_waiting_is_what_is_neither_running_nor_ended() -> None:
    states = (
        ("PENDING", "Pending", 0.0),
        ("RUNNING", "Running", 1.0),
        ("SCHEDULED", "AwaitingRetry", 2.0),
        ("RUNNING", "Retrying", 5.0),
        ("FAILED", "Failed", 6.0),
    )

    assert parts(run(*states), 99.0) == [
        *(("waits", 0.0, 1.0), ("runs", 1.0, 2.0), ("waits", 2.0, 5.0), ("retries", 5.0, 6.0)),
    ]


def test_a_run_that_has_not_ended_goes_on_until_now() -> None:
    assert parts(run(("RUNNING", "Running", 1.0)), 99.0) == [("runs", 1.0, 99.0)]
