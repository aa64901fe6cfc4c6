"""Which runs on record have their spans made again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headrace._engine.past import SENT_WITHIN, Past
from headrace._engine.past_spans import MOST, by_caller
from headrace._model.ids import FIRST, run_id
from headrace._model.records import FlowRun, TaskRun
from headrace.states import Cancelled, Completed, Crashed, Failed, State

PREFIX = "0b9c2f6e-0000-4000-8000-"
ROOT = PREFIX + FIRST
PART = "0b9c2f6e-0000-4000-9000-" + FIRST
NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


def task(number: int, at: float | None = 1, state: State[Any] | None = None, within: int | None = None) -> TaskRun:
    """Give a task run of the root that ended *at* seconds after noon."""
    return TaskRun(
        run_id(PREFIX, number),
        f"step-{number:03x}",
        "step",
        state or Completed(),
        ROOT,
        None if within is None else run_id(PREFIX, within),
        start_time=NOON,
        end_time=None if at is None else NOON + timedelta(seconds=at),
        step_id=f"step {number}",
    )


def test_runs_that_ended_in_the_last_moments_stand_under_who_called_them() -> None:
    part = FlowRun(PART, "part", "part", Completed(), parent_id=run_id(PREFIX, 1), end_time=NOON + timedelta(seconds=2))
    inner, outer, early, going = task(2, within=1), task(1, 3), task(3, -1), task(4, None)

    found = by_caller([outer, inner, part, early, going], NOON)

    assert found == {ROOT: [outer], run_id(PREFIX, 1): [inner, part]}


@pytest.mark.parametrize("more", [0, 1])
def test_of_too_many_by_one_run_those_are_left_that_tell_something(more: int) -> None:
    """They were a large map, and one span."""
    simple = [task(number) for number in range(1, MOST - 1 + more)]
    bad = [task(MOST, state=Failed()), task(MOST + 1, state=Cancelled())]

    assert by_caller([*simple, *bad], NOON) == {ROOT: bad if more else [*simple, *bad]}


def test_a_crash_that_was_found_out_later_does_not_hide_what_ended_before() -> None:
    past = Past(ROOT)
    past.know([task(1, 5), task(2, 60, Crashed())])

    past.taken_over()

    assert past.sent_until == NOON + timedelta(seconds=5) - SENT_WITHIN
