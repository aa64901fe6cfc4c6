"""Many processes write one SQLite file at once: nobody sees a lock, nothing is missing, readers see it grow."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from headrace._model.ids import PREFIX_LENGTH
from headrace._stores.sqlite import SQLiteStore
from headrace.errors import NoDatabaseYet
from tests.chaos.processes import Child, count, database, rows

PROCESSES = 8


def gather_at(gate: Path, home: Path, flows: int, tasks: int) -> list[Child]:
    """Start eight processes on one home, and let them all begin at the same moment."""
    crowd = [Child("tests.chaos.crowds", "together", gate, flows, tasks, home=home) for _ in range(PROCESSES)]
    for child in crowd:
        child.said("ready")
    gate.touch()
    return crowd


def check(crowd: list[Child], home: Path, flows: int, tasks: int) -> None:
    """See that every process ended well and silent, and that all they ran is there."""
    warnings = f"a line of {tasks} tasks"
    for child in crowd:
        end = child.ended(60)
        strange = [line for line in end.err.splitlines() if warnings not in line]
        assert (end.status, end.out, strange) == (0, "ready\ndone\n", [])
    runs = PROCESSES * flows * 2
    assert rows(home, "SELECT state_type, count(*) FROM flow_run GROUP BY 1") == [("COMPLETED", runs)]
    assert rows(home, f"SELECT count(*) FROM task_run GROUP BY substr(id, 1, {PREFIX_LENGTH})") == [(tasks,)] * runs
    assert count(home) == runs * tasks
    assert rows(home, "SELECT count(*), count(DISTINCT run_id) FROM log") == [(runs, runs)]
    assert rows(home, "SELECT count(DISTINCT owner) FROM flow_run") == [(PROCESSES,)]
    with database(home / "headrace.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.required
async def test_eight_processes_write_one_fresh_file_and_readers_see_it_grow(tmp_path: Path) -> None:
    home = tmp_path / "home"
    crowd = gather_at(tmp_path / "gate", home, flows=4, tasks=60)
    store = SQLiteStore(home / "headrace.db")
    seen: list[int] = []

    while any(child.process.poll() is None for child in crowd):
        try:
            runs = await store.flow_runs(limit=1_000)
            await store.task_counts("")
            seen.append(len(runs))
            await store.logs([run.id for run in runs])
            await store.children([run.id for run in runs])
        except NoDatabaseYet:
            await asyncio.sleep(0.001)

    assert seen == sorted(seen)
    assert len(seen) > 3
    check(crowd, home, flows=4, tasks=60)


@pytest.mark.parametrize("turn", range(2))
def test_eight_processes_create_one_file_at_the_same_moment(tmp_path: Path, turn: int) -> None:
    home = tmp_path / f"home {turn}"
    check(gather_at(tmp_path / "gate", home, flows=1, tasks=1), home, flows=1, tasks=1)
