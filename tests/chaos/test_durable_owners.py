"""Who has a run: processes that are stopped, race for a durable one, fall over it, and leave plain ones behind."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headrace import runs
from tests.chaos.durable_programs import GATE, STEPS
from tests.chaos.processes import Child, recorded, rows, states, until
from tests.spec.keeping import runtime_at

Start = Callable[..., Child]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Give a function that starts a program; none outlives the test."""
    children: list[Child] = []

    def started(program: str, *args: object) -> Child:
        child = Child("tests.chaos.durable_programs", program, *args, home=home)
        children.append(child)
        return child

    yield started
    for child in children:
        child.process.kill()
        child.process.wait()


def ledger(home: Path) -> list[str]:
    """Read what the steps wrote."""
    path = home / "ledger"
    return path.read_text().splitlines() if path.exists() else []


def stop(child: Child, home: Path) -> None:
    """Stop a process, not amid a commit: SQLite would have all others wait until it goes on."""

    def stopped() -> bool:
        child.send(signal.SIGSTOP)
        os.waitid(os.P_PID, child.process.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            with closing(sqlite3.connect(home / "headrace.db", timeout=0, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            child.send(signal.SIGCONT)
            return False
        return True

    until(stopped)


def kill(child: Child) -> None:
    child.process.kill()
    assert child.process.wait() == -signal.SIGKILL


def results(home: Path) -> dict[str, Any]:
    """Give what the steps returned whose ends are on record."""
    with runtime_at(home):
        (run,) = runs.flow_runs()
        return {one.id: one.state.result() for one in runs.task_runs(run) if one.state.is_completed()}


def said(home: Path, pid: int) -> list[Any]:
    """Give what steps in one process said that is on record."""
    return rows(home, "SELECT message FROM log WHERE message LIKE ?", f"step {GATE} in process {pid}")


# -- split brain -------------------------------------------------------------------------------------------------------


@pytest.mark.required
@pytest.mark.parametrize("when", ["meanwhile", "afterwards"])
@pytest.mark.parametrize("kind", ["awaits", "blocks", "gathers"])
def test_what_a_process_writes_that_was_stopped_past_its_lease_is_refused(
    home: Path, start: Start, kind: str, when: str
) -> None:
    first = start("is_stopped", kind)
    one = first.process.pid
    until(lambda: f"step {GATE} {one}" in ledger(home))
    stop(first, home)
    before, said_before = results(home), said(home, one)
    second = start("takes_up")
    other = second.process.pid
    until(lambda: f"step {GATE} {other}" in ledger(home))

    def second_ends() -> None:
        (home / f"go {other}").touch()
        until(lambda: states(home, kind) == ["Completed"])

    if when == "afterwards":
        second_ends()
    (home / f"go {one}").touch()
    first.send(signal.SIGCONT)
    end = first.ended()
    if when == "meanwhile":
        assert states(home, kind) == ["Running"]
        second_ends()
    (home / "enough").touch()
    assert (second.ended().status, second.err.count("Traceback")) == (0, 0)

    assert end.out.startswith("lost Flow run"), end
    assert len(end.lines("headrace.store - Flow run")) == 1, end.err
    after = results(home)
    assert set(before.values()) == {one}
    assert len(after) == STEPS > len(before) >= GATE
    assert after == {**dict.fromkeys(after, other), **before}
    assert said(home, one) == said_before
    ((owner, epoch, told),) = rows(home, "SELECT owner, epoch, history FROM flow_run")
    assert (owner.split(":")[1], epoch) == (str(other), 2)
    assert [name for _, name, _, _ in json.loads(told)] == ["Running", "Crashed", "Running", "Completed"]
    assert rows(home, "SELECT DISTINCT state_type FROM task_run") == [("COMPLETED",)]


# -- raced for ---------------------------------------------------------------------------------------------------------


@pytest.mark.required
@pytest.mark.parametrize("form", ["blocking", "async"])
def test_of_two_that_resume_a_run_at_once_one_goes_on_with_it_and_the_other_is_told(
    home: Path, start: Start, form: str
) -> None:
    turns = 4
    leave_behind(home, start, turns)
    found = rows(home, "SELECT id, parameters FROM flow_run")
    run_ids = {json.loads(called)["gate"]: run_id for run_id, called in found}
    order = [run_ids[f"end {turn}"] for turn in range(turns)]
    pair = [start("resumes", form, *order) for _ in range(2)]
    for turn in range(turns):
        for child in pair:
            child.said(f"ready {turn}")
        (home / f"begin {turn}").touch()
        until(lambda turn=turn: any(f"held {turn} " in child.out for child in pair))  # type: ignore[misc]
        (home / f"end {turn}").touch()

    lines = [child.ended().out.splitlines() for child in pair]
    assert [child.err for child in pair if "Traceback" in child.err] == []
    for turn, run_id in enumerate(order):
        won, held = sorted((next(line for line in one if f" {turn} " in line) for one in lines), reverse=True)
        assert won.startswith(f"won {turn} end {turn} ")
        assert held.startswith(f"held {turn} Flow run {run_id} is not to be resumed here")
        assert len([line for line in ledger(home) if f"end {turn} " in line]) == 2  # the killed one's, and the winner's
    assert rows(home, "SELECT state_name, epoch FROM flow_run") == [("Completed", 2)] * turns


# -- taken up by themselves --------------------------------------------------------------------------------------------


def leave_behind(home: Path, start: Start, count: int) -> None:
    """Have so many runs that wait be left behind."""
    first = start("begins", count)
    until(lambda: len(ledger(home)) == count)
    kill(first)


def test_runs_that_wait_for_their_turn_are_taken_up_once(home: Path, start: Start) -> None:
    leave_behind(home, start, 3)
    child = start("takes_up_one_by_one")
    looks: set[Any] = set()

    def looked() -> bool:
        looks.update(rows(home, "SELECT expires FROM lease WHERE owner LIKE ?", f"%:{child.process.pid}:%"))
        return len(looks) > 4

    until(lambda: rows(home, "SELECT epoch FROM run_owner") == [(2,)] * 3)
    until(looked)
    assert len(ledger(home)) == 3 + 1
    assert rows(home, "SELECT epoch, crashes FROM run_owner") == [(2, 1)] * 3
    for turn in range(3):
        (home / f"end {turn}").touch()
    until(lambda: states(home, "is-raced-for") == ["Completed"] * 3)
    (home / "enough").touch()
    end = child.ended()
    assert (end.status, end.err) == (0, "")


def test_what_waited_for_its_turn_in_a_process_that_was_killed_had_no_part_in_that(home: Path, start: Start) -> None:
    leave_behind(home, start, 2)
    for crashes in (1, 2):
        child = start("takes_up_one_by_one")
        until(lambda crashes=crashes: rows(home, "SELECT epoch FROM run_owner") == [(crashes + 1,)] * 2)  # type: ignore[misc]
        until(lambda crashes=crashes: len(ledger(home)) == 2 + crashes)  # type: ignore[misc]
        kill(child)
    start("takes_up_one_by_one")
    until(lambda: rows(home, "SELECT epoch FROM run_owner") == [(4,)] * 2)
    assert sum(crashes for (crashes,) in rows(home, "SELECT crashes FROM run_owner")) == 2 + 2


def test_runs_are_taken_up_by_the_runtime_that_is_open_still(home: Path, start: Start) -> None:
    leave_behind(home, start, 1)
    (home / "end 0").touch()
    child = start("takes_up_in_the_last")
    until(lambda: states(home, "is-raced-for") == ["Completed"])
    (home / "enough").touch()
    assert child.ended().status == 0


# -- crash loops -------------------------------------------------------------------------------------------------------


def recovered_until_it_ends(home: Path, start: Start) -> int:
    """Have process after process take up what is left behind; count those that fell over it."""
    fallen = 0
    while rows(home, "SELECT * FROM run_owner"):
        child = start("takes_up")
        until(lambda child=child: child.process.poll() is not None or not rows(home, "SELECT * FROM run_owner"))  # type: ignore[misc]
        if child.process.poll() is None:
            (home / "enough").touch()
            assert child.ended().status == 0
        else:
            assert child.process.returncode == -signal.SIGKILL, child.err
            fallen += 1
    return fallen


@pytest.mark.required
def test_a_run_that_five_processes_in_a_row_fell_over_fails_as_a_crash_loop(home: Path, start: Start) -> None:
    assert start("is_fragile", 99).ended().status == -signal.SIGKILL
    assert recovered_until_it_ends(home, start) == 4

    ((state, why),) = rows(home, "SELECT state_name, message FROM flow_run")
    assert state == "Failed"
    assert "is in a crash loop: 5 processes in a row ended while they ran it" in why
    assert ledger(home) == ["falls 0"] * 5


@pytest.mark.required
def test_a_step_in_between_is_none_of_a_crash_loop(home: Path, start: Start) -> None:
    assert start("is_fragile", 4, 4, 0, 1).ended().status == -signal.SIGKILL
    assert recovered_until_it_ends(home, start) == 8

    assert states(home, "fragile") == ["Completed"]
    assert ledger(home) == [*["falls 0"] * 5, *["falls 1"] * 5, "falls 2", *["falls 3"] * 2]


def test_a_step_that_crashed_with_its_process_is_no_progress(home: Path, start: Start) -> None:
    def crashed() -> bool:
        return rows(home, "SELECT state_type FROM task_run WHERE task_name = 'falls_late'") == [("CRASHED",)]

    start("runs_flows", "enough")
    assert start("is_fragile_late").ended().status == -signal.SIGKILL
    for crashes in (1, 2):
        until(crashed)
        assert start("takes_up").ended().status == -signal.SIGKILL
        assert rows(home, "SELECT crashes, steps FROM run_owner") == [(crashes, 0)]


# -- plain runs --------------------------------------------------------------------------------------------------------


@pytest.mark.required
@pytest.mark.parametrize("program", ["takes_up", "runs_flows"])
def test_a_plain_run_whose_process_was_killed_becomes_crashed_and_one_that_goes_on_does_not(
    home: Path, start: Start, program: str
) -> None:
    killed, living = start("runs_plain", "never"), start("runs_plain", "end")
    until(lambda: len(ledger(home)) == 2)
    until(lambda: recorded(home) and rows(home, "SELECT count(*) FROM task_run") == [(2,)])
    kill(killed)
    other = start(program, *(["enough"] if program == "runs_flows" else []))

    def crashed() -> list[tuple[Any, ...]]:
        return rows(home, "SELECT id, message FROM flow_run WHERE state_type = 'CRASHED'")

    until(crashed)
    ((run_id, why),) = crashed()
    until(lambda: rows(home, "SELECT * FROM lease WHERE name LIKE ?", f"%:{killed.process.pid}:%") == [])
    assert len(rows(home, "SELECT * FROM lease WHERE name LIKE ?", f"%:{living.process.pid}:%")) == 1
    (home / "enough").touch()
    assert other.ended().status == 0
    assert f":{killed.process.pid}:" in why
    assert why.startswith("Its process ended without a word: ")
    assert rows(home, "SELECT state_name, message FROM task_run WHERE flow_run_id = ?", run_id) == [("Crashed", why)]
    (home / "end").touch()
    assert living.ended().status == 0
    assert sorted(states(home, "plain")) == ["Completed", "Crashed"]
