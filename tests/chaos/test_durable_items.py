"""Generators that are killed again and again: no step is done for an item that is another one afterwards."""

from __future__ import annotations

import ast
import os
import random
import signal
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from headrace import runs
from tests.chaos.processes import Child, until
from tests.chaos.yielding import EACH
from tests.spec.keeping import runtime_at

KILLS = 60 if os.environ.get("CHAOS") == "long" else 4
ITEMS = 600
SEED = int(os.environ.get("CHAOS_SEED", "20240229"))


@pytest.mark.required
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("form", "place"), [("async", "sqlite"), ("sync", "postgresql")])
def test_kills_change_no_item_that_a_step_has_followed(
    form: str, place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    home, more, chance = tmp_path / "home", dict[str, Any](), random.Random(SEED)
    home.mkdir()
    if place == "postgresql":
        server = request.getfixturevalue("postgresql")
        more["HEADRACE_DATABASE_URL"] = server.url(server.database())
    child, run_id = Child("tests.chaos.yielding", form, "begins", ITEMS, home=home, **more), ""
    for _ in range(KILLS):
        kill(child, home, chance.uniform(0, 0.05))
        with runtime_at(home, url=more.get("HEADRACE_DATABASE_URL"), progress=False):
            run_id = run_id or runs.flow_runs()[0].id
        child = Child("tests.chaos.yielding", form, "resumes", run_id, home=home, **more)
    end = child.ended()
    assert end.status == 0, end.err

    found = ast.literal_eval(end.out.partition("returned ")[2])
    made, steps = ledger(home, "made"), kept(home)
    again = sum(len(values) - 1 for values in made.values())
    print(f"\n{KILLS} kills, {len(found)} items, {again} made again, {len(steps)} steps (seed {SEED})")
    assert len(found) == ITEMS
    assert [made[number][-1] for number in range(ITEMS)] == found
    assert {number: set(values) for number, values in steps.items()} == {
        number: {found[number]} for number in range(EACH - 1, ITEMS, EACH)
    }
    assert again <= KILLS * EACH, "more was made again than what no step had followed"


def kill(child: Child, home: Path, seconds: float) -> None:
    """Kill a program so many seconds after its next step."""
    known = len(kept(home))
    until(lambda: len(kept(home)) > known or child.process.poll() is not None)
    time.sleep(seconds)
    child.process.kill()
    assert child.process.wait() == -signal.SIGKILL, f"it ended by itself: {child.out}{child.err}"


def ledger(home: Path, what: str) -> dict[int, list[int]]:
    """Give the values that were made, or kept, by their numbers."""
    found: dict[int, list[int]] = defaultdict(list)
    path = home / "ledger"
    for line in path.read_text().splitlines() if path.exists() else ():
        kind, number, value = line.split(" ")
        if kind == what:
            found[int(number)].append(int(value))
    return found


def kept(home: Path) -> dict[int, list[int]]:
    """Give the values for which a step was at work, by their numbers."""
    return ledger(home, "kept")
