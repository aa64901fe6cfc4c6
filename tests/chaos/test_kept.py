"""Kills while results are kept: at every step of it, and whatever is found afterwards is whole and right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from headrace import runs
from tests.chaos.processes import database
from tests.spec.keeping import runtime_at

RIGHT = "['[1, 1, 1, 1,', \"{'x': 2}\", '[3, 3, 3, 3,', \"{'x': 4}\"]"


def program(home: Path, kill_at: int) -> subprocess.CompletedProcess[str]:
    """Run the program of cached tasks; killed before step *kill_at* of what it does to keep them, 0 for never."""
    environment = {**os.environ, "HEADRACE_HOME": str(home), "HEADRACE_LOG_LEVEL": "WARNING"}
    return subprocess.run(
        [sys.executable, "-m", "tests.chaos.keeping", str(kill_at)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_kill_at_any_step_of_keeping_leaves_nothing_half_visible(tmp_path: Path) -> None:
    whole = program(tmp_path / "whole", 0)
    *_, value, steps = whole.stdout.splitlines()
    assert value == RIGHT
    last = int(steps.removeprefix("steps "))
    assert last >= 6  # else nothing of it was cut short

    killed = 0
    for step in range(1, last + 1):
        home = tmp_path / str(step)
        cut = program(home, step)
        killed += cut.returncode == -signal.SIGKILL
        after = program(home, 0)
        *computed, value, _ = after.stdout.splitlines()

        assert (value, after.stderr) == (RIGHT, ""), step
        # What was computed before and is computed again was not recorded; what was recorded is not computed again.
        assert set(computed) <= {f"computing {x}" for x in (1, 2, 3, 4)}
        with database(home / "headrace.db") as connection:
            assert connection.execute("SELECT count(*) FROM result").fetchone() == (4,)
        with runtime_at(home):
            newest = runs.flow_runs(limit=1)
            assert [str(run.state.result())[:6] for run in runs.task_runs(newest[0])] == [
                "[1, 1,",
                "{'x': ",
                "[3, 3,",
                "{'x': ",
            ]
    assert killed > last // 2  # a run whose batches were fewer may have ended before its step came
