"""The pytest plugin, seen from a user's suite: its fixtures work, and it costs a run nothing that does not use them."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

SUITE = """
import time
from headrace import task


def test_a_retry_of_an_hour(headrace_harness, headrace_virtual_time):
    left = [1]

    @task(retries=1, retry_delay_seconds=3600)
    def fetch():
        if left:
            raise OSError(left.pop())

    fetch()

    assert headrace_virtual_time.elapsed == 3600
    assert [run.run_count for run in headrace_harness.task_runs()] == [2]


def test_real_time():
    assert abs(__import__("headrace._hosts.clock", fromlist=["wall"]).wall.now() - time.time_ns()) < 1e9
"""
HEAVY = ("asyncio", "headrace._engine", "headrace._runtime", "headrace.testing.harness", "opentelemetry", "anyio")


def test_the_fixtures_work_in_a_suite_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(SUITE, encoding="utf-8")

    installed = [point for point in importlib.metadata.entry_points(group="pytest11") if point.name == "headrace"]
    plugin = ["-p", "headrace" if installed else "headrace.testing.plugin"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin, "-c", os.devnull, "."]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_loading_the_plugin_loads_nothing_heavy() -> None:
    check = "import pytest, sys; before = set(sys.modules); import headrace.testing.plugin; "
    check += "print(*set(sys.modules) - before)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", check]
    loaded = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()

    assert "headrace.testing.plugin" in loaded
    assert [name for name in loaded if name.startswith(HEAVY)] == []
