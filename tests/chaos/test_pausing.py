"""Paused runs and kills: each pause is answered once, by one of several, whichever process has the run."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import headrace
from headrace import runs
from headrace.errors import NoDatabaseYet, NotPausedError
from tests.chaos.databases import SHARED, Start, programs_of
from tests.chaos.processes import Child, until
from tests.spec.pausing import pause_of, waiting

KILLS = 60 if os.environ.get("CHAOS") == "long" else 3
SEED = int(os.environ.get("CHAOS_SEED", "20240229"))


@pytest.fixture(params=SHARED)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    with programs_of("tests.chaos.pausing", request, tmp_path / "home") as start:
        yield start


def answered(given: int) -> bool:
    """Answer the pause of the one run there is; tell whether that could be done."""
    try:
        headrace.resume_flow_run(runs.flow_runs()[0], given)
    except (NotPausedError, NoDatabaseYet, IndexError):
        return False
    return True


def answered_by(child: Child, given: int) -> bool:
    """Answer the pause of the run that *child* has."""
    assert child.process.poll() is None, child.err
    return answered(given)


def test_kills_lose_no_answer_and_ask_for_none_again(start: Start) -> None:
    chance = random.Random(SEED)
    count = 3 * KILLS
    child = start("asks", count)
    sent = killed = 0
    while sent < count:
        until(partial(answered_by, child, sent))
        sent += 1
        if killed < KILLS and sent < count and chance.random() < 0.7:
            # Right behind the answer, while it is read, or paused again; and answered once more before it is taken up.
            time.sleep(chance.choice([0, 0.002, 0.02]))
            run = runs.flow_runs()[0]
            child.send(signal.SIGKILL)
            child.ended()
            killed += 1
            if answered(sent):
                sent += 1
            child = start("resumes", run.id)

    ended = child.ended()

    assert ended.status == 0, ended.err
    assert ended.out.splitlines()[-1] == f"returned {list(range(count))}"
    assert killed >= KILLS // 2
    print(f"{killed} kills, {count} pauses, each answered once (seed {SEED})")


def test_another_process_goes_on_for_what_is_left_of_the_time(start: Start) -> None:
    child = start("asks", 1)
    deadline = pause_of(waiting()).until
    child.send(signal.SIGKILL)
    child.ended()

    child = start("resumes", runs.flow_runs()[0].id)
    until(lambda: len(runs.flow_runs()[0].transitions) > 3)

    assert pause_of(waiting()).until == deadline
    assert answered(7)
    assert child.ended().out.endswith("returned [7]\n")


def test_a_suspended_run_goes_on_in_the_process_that_is_there_when_it_is_resumed(start: Start) -> None:
    child = start("suspends", 3)
    until(lambda: "Suspended" in states())
    child.send(signal.SIGKILL)
    child.ended()
    assert states() == ["Suspended"]  # and not Crashed: it was nobody's

    child = start("serves", 0)
    assert answered(4)
    child.said("returned 7")

    until(lambda: states() == ["Completed"])


def states() -> list[str]:
    """Give the states of the runs there are."""
    try:
        return [run.state.name for run in runs.flow_runs()]
    except NoDatabaseYet:
        return []
