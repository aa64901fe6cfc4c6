"""Runs that were unloaded come back, each once, though processes are killed while they wait, leave and come back."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace import runs, signals
from headrace.errors import NoDatabaseYet
from tests.chaos.databases import SHARED, Start, programs_of
from tests.chaos.processes import until

LONG = os.environ.get("CHAOS") == "long"
KILLS, FLOWS = (60, 100) if LONG else (5, 12)
SEED = int(os.environ.get("CHAOS_SEED", "20240229"))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture(params=SHARED)
def start(request: pytest.FixtureRequest, home: Path) -> Iterator[Start]:
    with programs_of("tests.chaos.sleeping", request, home, HEADRACE_UNLOAD_AFTER="0") as start:
        yield start


def states() -> Counter[str]:
    """Count the flow runs by the names of their states."""
    try:
        return Counter(run.state.name for run in runs.flow_runs(limit=1_000))
    except NoDatabaseYet:
        return Counter()


def ledger(home: Path) -> list[tuple[str, ...]]:
    """Read what the workers wrote."""
    path = home / "ledger"
    return [tuple(line.split()) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.timeout(600 if LONG else 120)
def test_kills_lose_no_run_and_double_none(start: Start, home: Path) -> None:
    chance = random.Random(SEED)
    workers = [start("works", FLOWS), start("works", 0)]
    until(lambda: sum(states().values()) == FLOWS)
    for number, run in enumerate(runs.flow_runs(limit=1_000)):
        signals.send(run, "go", number, key="once")
    killed = 0
    while killed < KILLS:
        workers[-1].said("open")
        time.sleep(chance.uniform(0, 0.3))
        workers.pop(0).send(signal.SIGKILL)
        workers.append(start("works", 0))
        killed += 1
    until(lambda: states() == {"Completed": FLOWS}, within=60)
    (home / "enough").touch()

    went: set[tuple[str, ...]] = set()
    for what, *step in ledger(home):
        assert what == "went" or tuple(step) not in went, f"{step} was done again, though its caller had gone on"
        went |= {tuple(step)} if what == "went" else set()
    assert len(went) == 3 * FLOWS
    found = runs.flow_runs(limit=1_000)
    assert sorted(run.state.result() for run in found) == list(range(FLOWS))
    assert sum(name == "Suspended" for run in found for _, name, _, _ in run.transitions) > FLOWS
    print(f"{killed} kills, {FLOWS} runs, none lost, none doubled (seed {SEED})")


def test_another_process_has_it_go_on_when_that_which_began_it_is_killed(start: Start, home: Path) -> None:
    first = start("naps", 2.5)
    until(lambda: states() == {"Suspended": 1})
    first.send(signal.SIGKILL)
    start("works", 0)
    until(lambda: ledger(home))

    ((what, late),) = ledger(home)
    assert what == "late"
    assert 0 <= float(late) < 1


def test_a_process_that_stood_still_has_nothing_go_on_twice(start: Start, home: Path) -> None:
    first = start("naps", 2.5)
    until(lambda: states() == {"Suspended": 1})
    first.send(signal.SIGSTOP)
    start("works", 0)
    until(lambda: states() == {"Completed": 1})
    first.send(signal.SIGCONT)
    time.sleep(1)

    assert len(ledger(home)) == 1
    (run,) = runs.flow_runs()
    assert [name for _, name, _, _ in run.transitions] == ["Running", "Suspended", "Running", "Completed"]
    assert run.epoch == 2
