"""A database server in the place of a file: programs that record there, at whatever moment, and who reads it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

import headrace
from tests.chaos.processes import until
from tests.contract.postgres_server import PASSWORD, Server

TASKS = """
import asyncio, atexit, os
from headrace import flow, runs, task
from headrace.cache_policies import INPUTS

@task(cache_policy=INPUTS)
def double(x):
    print("doubling", x, flush=True)
    return 2 * x

@flow(persist_result=True)
def doubles(count):
    return [double(x) for x in range(count)]

@flow
def late():
    return 1

@flow
async def late_too():
    return 1

@flow
async def long():
    print("long", flush=True)
    await asyncio.sleep(60)
"""


class Programs:
    """Programs that use one database, by its port and with a password."""

    def __init__(self, server: Server, folder: Path) -> None:
        self.server = server
        self.name = server.database()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "OTEL_"))},
            "HEADRACE_HOME": str(folder / "home"),
            # By a name, which has to be looked up at whatever moment.
            "HEADRACE_DATABASE_URL": server.by_port(self.name).replace("127.0.0.1", "localhost"),
            "PYTHONPATH": str(Path(headrace.__file__).parents[1]),
            "PYTHONWARNINGS": "error",
        }

    def started(self, program: str, **more: Any) -> subprocess.Popen[str]:
        """Start a program."""
        return subprocess.Popen(
            [sys.executable, "-c", TASKS + program],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )

    def ran(self, program: str) -> list[str]:
        """Run a program to its end; give the lines that it printed."""
        running = self.started(program)
        out, err = running.communicate(timeout=60)
        assert running.returncode == 0, err
        assert "Traceback" not in err, err
        assert PASSWORD not in err
        return out.splitlines()

    def told(self, *words: str) -> str:
        """Give what the command line says."""
        done = subprocess.run(
            [sys.executable, "-m", "headrace", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        return done.stdout

    def states(self, flow: str) -> list[str]:
        """Give the names of the states of the runs of *flow*, oldest first."""
        if not self.server.psql("SELECT 1 FROM pg_tables WHERE schemaname = 'headrace'", self.name):
            return []
        statement = f"SELECT state_name FROM headrace.flow_run WHERE flow_name = '{flow}' ORDER BY created"
        return [row[0] for row in self.server.psql(statement, self.name)]


@pytest.fixture
def programs(postgresql: Server, tmp_path: Path) -> Programs:
    return Programs(postgresql, tmp_path)


def test_a_run_that_one_process_recorded_others_list_and_read(programs: Programs) -> None:
    assert programs.ran("print(doubles(3))")[-1] == "[0, 2, 4]"

    (run,) = orjson.loads(programs.told("flow-run", "ls", "--output", "json"))
    assert (run["flow_name"], run["state"]["name"]) == ("doubles", "Completed")
    assert programs.told("flow-run", "inspect", "last").count("double-00") == 3
    assert programs.ran("print(runs.flow_runs()[0].state.result())") == ["[0, 2, 4]"]


def test_what_one_process_computed_another_finds(programs: Programs) -> None:
    assert programs.ran("doubles(2)") == ["doubling 0", "doubling 1"]
    assert programs.ran("doubles(3)") == ["doubling 2"]


def test_the_doctor_says_where_and_how_runs_are_kept_and_measures_no_disk_of_this_machine(programs: Programs) -> None:
    programs.ran("doubles(1)")

    facts = orjson.loads(programs.told("doctor", "--output", "json"))["facts"]

    shown = f"postgresql://postgres:***@localhost:{programs.server.port}/{programs.name}"
    assert (facts["database url"], facts["database"]) == (shown, shown)
    assert (facts["flow runs"], facts["task runs"]) == (1, 1)
    assert facts["synchronous commit"] == "off; on for durable flows"
    assert "fsync, median ms" not in facts


def test_the_doctor_says_that_nothing_was_recorded_yet(programs: Programs) -> None:
    facts = orjson.loads(programs.told("doctor", "--output", "json"))["facts"]

    assert facts["database"].endswith(f"/{programs.name} (it holds no Headrace tables)")


def test_flows_that_run_while_the_interpreter_ends_are_recorded(programs: Programs) -> None:
    programs.ran("late()\natexit.register(late)\natexit.register(lambda: asyncio.run(late_too()))")

    assert programs.states("late") == ["Completed", "Completed"]
    assert programs.states("late-too") == ["Completed"]


def test_a_program_whose_first_run_is_its_last_deed_is_recorded(programs: Programs) -> None:
    programs.ran("late()")

    assert programs.states("late") == ["Completed"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_and_its_parent_go_on_each_with_a_connection_of_its_own(programs: Programs) -> None:
    programs.ran(
        """
late()
child = os.fork()
for _ in range(3):
    late()
if child:
    os.waitpid(child, 0)
    late()
"""
    )

    assert programs.states("late") == ["Completed"] * 8


def test_a_run_is_cancelled_from_another_process(programs: Programs) -> None:
    running = programs.started("asyncio.run(long())")
    assert running.stdout is not None
    assert running.stdout.readline() == "long\n"
    until(lambda: programs.states("long") == ["Running"])

    programs.told("flow-run", "cancel", "last")
    running.communicate(timeout=60)

    assert programs.states("long") == ["Cancelled"]


def test_a_run_of_a_process_that_was_killed_is_known_to_be_dead(programs: Programs) -> None:
    running = programs.started("asyncio.run(long())")
    assert running.stdout is not None
    assert running.stdout.readline() == "long\n"
    until(lambda: programs.states("long") == ["Running"])
    running.send_signal(signal.SIGKILL)
    running.communicate(timeout=60)

    assert orjson.loads(programs.told("doctor", "--output", "json"))["facts"]["of them dead"] == 1


def test_without_a_server_a_plain_flow_runs_and_says_once_that_it_is_not_recorded(programs: Programs) -> None:
    programs.environment["HEADRACE_DATABASE_URL"] = f"postgresql://ann:{PASSWORD}@localhost:1/runs"
    running = programs.started("print(doubles(2))")
    out, err = running.communicate(timeout=60)

    assert out.splitlines()[-1] == "[0, 2]"
    assert err.count("Cannot use the database postgresql://ann:***@localhost:1/runs: no server answers there") == 1
    assert PASSWORD not in err
