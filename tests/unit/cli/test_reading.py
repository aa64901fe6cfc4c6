"""How runs are named and found, and when a process is proved dead."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import attrs
import pytest

from headrace._model.records import FlowRun
from headrace._model.states import State, StateType
from headrace._office import boot, owner
from headrace.cli.reading import is_dead, short_id, spelled

HERE = owner().rsplit(":", 3)[0]
RUNNING = FlowRun("id", "nimble-falcon", "one", State(StateType.RUNNING), owner=owner())


def test_a_run_of_a_living_process_is_not_dead() -> None:
    assert not is_dead(RUNNING)


def test_a_run_whose_process_number_belongs_to_another_now_is_dead() -> None:
    assert is_dead(attrs.evolve(RUNNING, owner=f"{HERE}:{os.getpid()}:1:{boot()}"))


def test_a_run_that_has_ended_is_not_dead() -> None:
    now = datetime.now(UTC)
    ended = attrs.evolve(RUNNING, state=State(StateType.FAILED), end_time=now, owner=f"{HERE}:{os.getpid()}:1:{boot()}")

    assert not is_dead(ended)


@pytest.mark.parametrize(
    "unproved",
    [
        None,
        "",
        "somewhere",
        f"elsewhere:1:1:{boot()}",
        f"{HERE}:1:1:00000000",
        f"{HERE}:1::{boot()}",
        f"{HERE}:1:1:",
        f"{HERE}:x:1:{boot()}",
    ],
)
def test_a_run_whose_owner_nobody_here_can_look_up_is_not_called_dead(unproved: str | None) -> None:
    assert not is_dead(attrs.evolve(RUNNING, owner=unproved))


@pytest.mark.parametrize(
    ("number", "shown"),
    [("000000000000", "3f2a9c1e"), ("00000000000c", "3f2a9c1e.00c"), ("0000000186a0", "3f2a9c1e.186a0")],
)
def test_an_id_is_shown_short_with_the_number_of_a_task_run(number: str, shown: str) -> None:
    assert short_id(f"3f2a9c1e-0000-4000-8000-{number}") == shown


def test_an_id_may_be_spelled_in_capitals_and_without_dashes() -> None:
    assert spelled(" 3F2A9C1E000040008000000000000000\n") == "3f2a9c1e-0000-4000-8000-000000000000"
