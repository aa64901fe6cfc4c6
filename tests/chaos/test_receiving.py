"""Signals between processes: none is lost or doubled by kills, and they are heard at once where the store can ring."""

from __future__ import annotations

import os
import random
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace import runs, signals
from headrace.errors import NoDatabaseYet
from tests.chaos.databases import SHARED, Start, programs_of
from tests.chaos.processes import until

KILLS = 60 if os.environ.get("CHAOS") == "long" else 8
SEED = int(os.environ.get("CHAOS_SEED", "20240229"))


@pytest.fixture(params=SHARED)
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    with programs_of("tests.chaos.receiving", request, tmp_path / "home") as start:
        yield start


def begun() -> Any:
    """Give the flow run that a program has begun, once it has."""
    found: list[Any] = []

    def looked() -> bool:
        try:
            found.extend(runs.flow_runs())
        except NoDatabaseYet:
            return False
        return bool(found)

    until(looked)
    return found[0]


def test_kills_lose_no_signal_and_double_none(start: Start) -> None:
    chance = random.Random(SEED)
    count = 5 * KILLS
    child = start("reads", count)
    run = begun()
    sent = killed = 0
    while killed < KILLS:
        for _ in range(chance.randint(3, 5)):
            if sent < count:
                signals.send(run, "go", sent, key=str(sent))
                sent += 1
        time.sleep(chance.uniform(0, 0.05))
        if "read" in child.out or sent == count:
            child.send(signal.SIGKILL)
            child.ended()
            killed += 1
            child = start("resumes", run.id)
    for number in range(count):
        assert signals.send(run, "go", number, key=str(number)) is (number >= sent)

    ended = child.ended()

    assert ended.status == 0, ended.err
    assert ended.out.splitlines()[-1] == f"returned {list(range(count))}"
    print(f"{killed} kills, {count} signals, none lost, none doubled (seed {SEED})")


def test_what_another_process_sends_is_heard_soon(start: Start, request: pytest.FixtureRequest) -> None:
    count = 20
    child = start("times", count)
    run = begun()
    for number in range(count):
        signals.send(run, "go", time.time())
        child.said(f"{number}: ")

    assert child.ended().status == 0
    took = [float(line.split()[1]) for line in child.out.splitlines()]
    # In a file they are looked for every 0.5 s; a server rings. Once it is listened to, 0.3 s after the first batch.
    assert statistics.median(took[5:]) < (0.75 if "sqlite" in request.node.name else 0.2)
    print(f"median {statistics.median(took[5:]) * 1e3:.1f} ms")


def test_another_process_answers(start: Start) -> None:
    child = start("doubles")
    run = begun()

    assert [signals.ask(run, "double", number, int, timeout=30) for number in range(3)] == [0, 2, 4]
    assert signals.ask(run, "double", timeout=30) is None

    assert child.ended().status == 0
