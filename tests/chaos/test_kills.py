"""kill -9 amid flows: the file stays whole, and of a durable flow no task run is lost whose caller went on."""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

import pytest

from headrace._model.ids import FIRST, prefix_of
from tests.chaos.processes import Child, database, until

KILLS = {"chain": 16, "fan": 8}
SEED = 20_240_229


def noted(ledger: Path) -> list[str]:
    """Read the ids in a ledger; a last one without its end was never forced to the disk."""
    return [line for line in ledger.read_text().split("\n")[:-1] if line] if ledger.exists() else []


def kill_one(program: str, durability: str, folder: Path, number: int, after: float) -> list[str]:
    """
    Start a program, kill it *after* seconds of work, and give the task runs whose callers went on.

    Not before there is a file: of a flow that waits for no commit it is made a moment later.
    """
    ledger = folder / f"ledger {number}"
    file = folder / "home" / "headrace.db"
    child = Child("tests.chaos.crowds", program, ledger, durability, home=folder / "home")
    until(lambda: (noted(ledger) and file.exists()) or child.process.poll() is not None)
    time.sleep(after)
    assert child.process.poll() is None, child.err
    child.process.kill()
    child.process.wait()
    return noted(ledger)


def completed(connection: sqlite3.Connection) -> set[str]:
    """Give the ids of the task runs that are recorded as completed: none in a file whose first commit never came."""
    if not connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'task_run'").fetchone()[0]:
        return set()
    return {one for (one,) in connection.execute("SELECT id FROM task_run WHERE state_type = 'COMPLETED'")}


@pytest.mark.required
@pytest.mark.parametrize("program", sorted(KILLS))
def test_a_killed_durable_flow_has_lost_no_task_run_whose_caller_went_on(tmp_path: Path, program: str) -> None:
    chance = random.Random(SEED)
    faults, gone_past = 0, 0
    for number in range(KILLS[program]):
        ids = kill_one(program, "strict", tmp_path, number, chance.uniform(0.0, 0.1))
        with database(tmp_path / "home" / "headrace.db") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            lost = set(ids) - completed(connection)
            (state,) = connection.execute(
                "SELECT state_type FROM flow_run WHERE id = ?", (prefix_of(ids[0]) + FIRST,)
            ).fetchone()
        assert (lost, state, len(set(ids))) == (set(), "RUNNING", len(ids))
        faults += 1
        gone_past += len(ids)

    print(f"{faults} kills, {gone_past} task runs gone past, 0 lost (seed {SEED})")
    assert faults == KILLS[program]
    assert gone_past > 3 * faults


def test_a_killed_plain_flow_leaves_a_whole_file_and_all_but_its_last_moments(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    faults, gone_past = 0, 0
    for number in range(6):
        ids = kill_one("chain", "batched", tmp_path, number, chance.uniform(0.05, 0.15))
        with database(tmp_path / "home" / "headrace.db") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            kept = completed(connection)
        there = [one in kept for one in ids]
        assert there == sorted(there, reverse=True), "what is missing is not a last part"
        faults += 1
        gone_past += len(ids)

    assert faults == 6
    assert gone_past > 3 * faults


def test_a_file_whose_writer_was_killed_is_written_on_by_the_next(tmp_path: Path) -> None:
    first = kill_one("chain", "strict", tmp_path, 1, 0.05)
    second = kill_one("chain", "strict", tmp_path, 2, 0.05)

    with database(tmp_path / "home" / "headrace.db") as connection:
        assert set(first) | set(second) <= completed(connection)
