"""However a process ends, short of being killed: what it ran is recorded, and it does not hang."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.processes import Child, Ended, count, database, rows, states

Start = Callable[..., Child]
COLUMNS = "SELECT state_type, state_name, message FROM flow_run WHERE flow_name = ?"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def start(home: Path) -> Start:
    """Give what starts a program of `exits`."""

    def begin(program: str, *args: str) -> Child:
        return Child("tests.chaos.exits", program, *args, home=home)

    return begin


@pytest.fixture
def ended(start: Start) -> Callable[..., Ended]:
    """Give what runs a program of `exits` to its end."""

    def end(program: str, *args: str) -> Ended:
        return start(program, *args).ended()

    return end


def test_a_program_that_returns_leaves_its_runs_complete(ended: Callable[..., Ended], home: Path) -> None:
    assert ended("returns") == Ended(0, "3\n", "")
    assert states(home, "work") == ["Completed"]
    assert count(home) == 3


def test_sys_exit_in_a_flow_ends_the_process_with_its_status_and_the_run_as_crashed(
    ended: Callable[..., Ended], home: Path
) -> None:
    assert ended("exits_within").status == 3
    assert rows(home, COLUMNS, "leaves") == [("CRASHED", "Crashed", "Execution was ended by sys.exit(3).")]
    assert count(home) == 1


def test_sys_exit_after_a_flow_loses_nothing(ended: Callable[..., Ended], home: Path) -> None:
    assert ended("exits_after").status == 4
    assert states(home, "work") == ["Completed"]
    assert count(home) == 4


def test_an_unhandled_exception_is_recorded_and_shown(ended: Callable[..., Ended], home: Path) -> None:
    end = ended("raises")

    assert end.status == 1
    assert end.err.endswith("LookupError: nothing there\n")
    ((kind, _, message),) = rows(home, COLUMNS, "breaks")
    assert (kind, message) == ("FAILED", "Flow run encountered an exception: LookupError: nothing there")


@pytest.mark.parametrize("program", ["is_ended", "is_ended_async", "ends_async_in_sync"])
def test_sigterm_ends_the_process_with_143_and_the_runs_as_cancelled(start: Start, home: Path, program: str) -> None:
    child = start(program)
    child.said("ready")
    child.send(signal.SIGTERM)
    end = child.ended(10)

    assert (end.status, "not reached" in end.out) == (143, False)
    assert {name for (name,) in rows(home, "SELECT state_name FROM flow_run")} == {"Cancelled"}
    ((message,),) = rows(home, "SELECT message FROM flow_run WHERE parent_id IS NULL")
    assert message == "Execution was ended by a termination signal."
    assert count(home) == 1


@pytest.mark.parametrize("program", ["is_ended", "is_ended_async", "ends_async_in_sync"])
def test_ctrl_c_ends_the_process_and_the_runs_as_cancelled(start: Start, home: Path, program: str) -> None:
    child = start(program)
    child.said("ready")
    child.send(signal.SIGINT)
    end = child.ended(10)

    assert (end.status, "not reached" in end.out) == (-signal.SIGINT, False)
    assert {name for (name,) in rows(home, "SELECT state_name FROM flow_run")} == {"Cancelled"}
    assert count(home) == 1


def test_a_second_ctrl_c_is_obeyed_at_once(start: Start, home: Path) -> None:
    child = start("cleans_up_long")
    child.said("ready")
    child.send(signal.SIGINT)
    child.said("cleaning")
    child.send(signal.SIGINT)

    assert child.ended(10).status == -signal.SIGINT
    assert states(home, "waits") == ["Cancelled"]


def test_sigterm_during_the_clean_up_after_ctrl_c_ends_it(start: Start, home: Path) -> None:
    child = start("cleans_up_long")
    child.said("ready")
    child.send(signal.SIGINT)
    child.said("cleaning")
    child.send(signal.SIGTERM)

    assert child.ended(10).status == 143
    assert states(home, "waits") == ["Cancelled"]


def test_a_handler_of_the_users_own_gets_sigterm_and_stays(start: Start, home: Path) -> None:
    child = start("handles_itself")
    child.said("ready")
    child.send(signal.SIGTERM)

    assert child.ended().out.splitlines()[-1] == "got it: True kept: True"
    assert states(home, "heeds") == ["Completed"]


def test_sigterm_is_handled_only_while_a_flow_runs(start: Start) -> None:
    child = start("restores")
    child.said("ready")
    child.send(signal.SIGTERM)
    end = child.ended()

    assert end.out.splitlines()[0] == "default within: False after: True"
    assert end.status == -signal.SIGTERM


def test_a_handler_that_a_flow_sets_is_not_taken_away_after_it(ended: Callable[..., Ended]) -> None:
    assert ended("sets_one_within").out == "mine\nkept: True\n"


def test_os_exit_keeps_its_status_and_at_most_loses_the_last_moments(ended: Callable[..., Ended], home: Path) -> None:
    assert ended("cuts").status == 5
    if (home / "headrace.db").exists() and rows(home, "SELECT 1 FROM sqlite_master"):
        assert set(states(home, "cuts")) <= {"Running"}


def test_a_daemon_thread_in_a_flow_does_not_hold_the_process(ended: Callable[..., Ended], home: Path) -> None:
    began = time.monotonic()
    end = ended("leaves_daemon")

    assert (end.status, end.err) == (0, "")
    assert time.monotonic() - began < 10
    assert states(home, "work") == ["Completed"]
    assert set(states(home, "waits")) <= {"Running"}


def test_a_flow_in_a_thread_that_outlives_main_is_waited_for(ended: Callable[..., Ended], home: Path) -> None:
    assert ended("leaves_thread").status == 0
    assert states(home, "slow") == ["Completed"]


def test_flows_in_many_threads_that_outlive_main_are_all_recorded(ended: Callable[..., Ended], home: Path) -> None:
    assert ended("many_threads").err == ""
    assert states(home, "work") == ["Completed"] * 8
    assert count(home) == 8 * 200


@pytest.mark.parametrize("whats", [("before",), ("before", "flow"), ("flow", "after"), ("before", "flow", "after")])
def test_flows_in_atexit_handlers_run_and_are_recorded(
    ended: Callable[..., Ended], home: Path, whats: tuple[str, ...]
) -> None:
    began = time.monotonic()
    end = ended("at_exit", *whats)

    assert (end.status, end.err) == (0, "")
    assert time.monotonic() - began < 10
    lates = [("before" in whats), ("after" in whats)].count(True)
    assert end.out.count("late 1\n") == lates + ("before" in whats)
    assert states(home, "late") == ["Completed"] * lates
    assert states(home, "async late") == ["Completed"] * ("before" in whats)
    assert count(home) == 3 * ("flow" in whats) + lates + 2 * ("before" in whats)


def test_where_no_thread_can_be_started_runs_are_recorded_all_the_same(ended: Callable[..., Ended], home: Path) -> None:
    end = ended("starts_no_thread")

    assert end.out == "sync 3 task 4\nasync 1\nthread: False\n"
    assert states(home, "work") + states(home, "async late") == ["Completed"] * 2
    assert count(home) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_child_records_its_own_runs_and_leaves_its_parents_alone(
    ended: Callable[..., Ended], home: Path
) -> None:
    assert ended("forks").status == 0
    assert states(home, "forks") == ["Completed"]
    assert states(home, "late") == ["Completed"]
    assert count(home) == 4


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_of_processes_in_a_flow_loses_no_run(ended: Callable[..., Ended], home: Path, method: str) -> None:
    end = ended("pools", method)

    assert (end.status, end.out) == (0, "45 12\n"), end.err
    assert states(home, "pools") == ["Completed"]
    assert states(home, "work") == ["Completed"] * 4
    assert count(home) == 2 + 10 + 4 * 3


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_beside_flows_record_theirs(ended: Callable[..., Ended], home: Path, method: str) -> None:
    end = ended("processes", method)

    assert (end.out, end.err) == ("[0, 0, 0]\n", "")
    assert states(home, "work") == ["Completed"] * 4
    assert count(home) == 12


def test_what_a_thread_says_after_its_flow_has_ended_is_kept(ended: Callable[..., Ended], home: Path) -> None:
    assert ended("logs_late").status == 0
    assert rows(home, "SELECT message FROM log") == [("said late",)]


@pytest.fixture
def lock(home: Path) -> sqlite3.Connection:
    """Give a connection of somebody else's to an existing database."""
    Child("tests.chaos.exits", "returns", home=home).ended()
    return sqlite3.connect(home / "headrace.db", isolation_level=None)


def test_a_database_that_others_hold_for_long_costs_the_record_and_one_line_but_not_the_run(
    start: Start, lock: sqlite3.Connection
) -> None:
    lock.execute("BEGIN IMMEDIATE")
    end = start("meets_lock", "plain").ended(20)
    lock.close()

    assert (end.status, end.out) == (0, "ready\nvalue 3 3\nbounded: True\n")
    assert "locked" not in end.err
    assert len(end.lines("another process has held it for more than 1 s")) == 1, end.err


def test_a_durable_flow_does_not_begin_while_others_hold_the_database(start: Start, lock: sqlite3.Connection) -> None:
    lock.execute("BEGIN IMMEDIATE")
    end = start("meets_lock", "durable").ended(20)
    lock.close()

    assert "BODY" not in end.out
    assert "refused: Cannot use the database" in end.out


def test_ctrl_c_ends_a_program_whose_database_blocks(start: Start, lock: sqlite3.Connection, home: Path) -> None:
    lock.execute("BEGIN IMMEDIATE")
    child = start("blocks")
    child.said("ready")
    # The first may come while the body still runs, and then has the end of the run to wait for; the next is obeyed.
    for _ in range(5):
        child.send(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(3)
            break
    end = child.ended(1)

    assert end.status in {-signal.SIGINT, 1}, end.err
    lock.execute("ROLLBACK")
    with database(home / "headrace.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    lock.close()
