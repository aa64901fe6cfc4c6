"""`headrace flow-run cancel` and the process that hears it: within a second, in order, and nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace._model.records import Request
from headrace._stores.sqlite import SQLiteStore
from tests.chaos.processes import Child, recorded, rows, states, until
from tests.unit.cli.recorded import Teller, environment

WHY = "headrace flow-run cancel asked for it"
Start = Callable[[str], Child]
PATIENTLY = ("--wait", "60")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Give a function that starts a program and waits until its flow waits, and is recorded; none outlives the test."""
    children: list[Child] = []

    def started(program: str) -> Child:
        children.append(child := Child("tests.chaos.cancelled", program, home=home))
        child.said("ready")
        until(lambda: recorded(home))
        return child

    yield started
    for child in children:
        child.process.kill()
        child.process.wait()


def id_of(home: Path, flow: str) -> str:
    """Give the id of the run of *flow*, once it is recorded."""
    until(lambda: rows(home, "SELECT 1 FROM flow_run WHERE flow_name = ?", flow))
    ((run_id,),) = rows(home, "SELECT id FROM flow_run WHERE flow_name = ?", flow)
    return str(run_id)


def message(home: Path, flow: str) -> str:
    """Give the message of the state in which the run of *flow* is."""
    ((said,),) = rows(home, "SELECT message FROM flow_run WHERE flow_name = ?", flow)
    return str(said)


def task_states(home: Path) -> set[str]:
    return {state for (state,) in rows(home, "SELECT coalesce(state_name, state_type) FROM task_run")}


def test_an_async_flow_is_cancelled_with_its_tasks_and_everyone_is_told(home: Path, start: Start) -> None:
    child = start("awaits")
    said = Teller(home)("flow-run", "cancel", "last", *PATIENTLY).stdout
    end = child.ended()

    assert said.endswith(" was cancelled.\n")
    assert states(home, "awaits") == ["Cancelled"]
    assert task_states(home) == {"Cancelled"}
    assert WHY in message(home, "awaits")
    assert end.out.count("task ends") == 3
    (hook,) = [line for line in end.out.splitlines() if line.startswith("hook")]
    assert hook.startswith("hook Cancelled | ")
    assert WHY in hook
    (caller,) = [line for line in end.out.splitlines() if line.startswith("caller")]
    assert WHY in caller
    assert (end.status, rows(home, "SELECT * FROM request")) == (0, [])


def test_its_body_hears_it_within_a_second(home: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock runs from the moment at which the command writes; the monotonic clock is one for all processes."""
    written: list[float] = []
    request = SQLiteStore.request

    async def noted(self: SQLiteStore, asked: Request) -> bool:
        written.append(time.monotonic())
        return await request(self, asked)

    monkeypatch.setattr(SQLiteStore, "request", noted)
    child = start("awaits")
    Teller(home)("flow-run", "cancel", "last", *PATIENTLY)
    (heard,) = [line.split()[-1] for line in child.ended().out.splitlines() if line.startswith("heard at")]

    assert 0 < float(heard) - written[0] <= 1.0


def test_a_sync_flow_is_stopped_at_its_next_call_of_a_task(home: Path, start: Start) -> None:
    child = start("steps")
    said = Teller(home)("flow-run", "cancel", "last", *PATIENTLY).stdout
    end = child.ended()

    assert said.endswith(" was cancelled.\n")
    assert states(home, "steps") == ["Cancelled"]
    assert WHY in message(home, "steps")
    assert task_states(home) <= {"COMPLETED", "Cancelled"}
    assert "hook Cancelled" in end.out
    assert "caller" in end.out
    assert end.status == 0


def test_what_a_flow_submitted_is_cancelled_with_it(home: Path, start: Start) -> None:
    child = start("submits")
    until(lambda: len(rows(home, "SELECT 1 FROM task_run")) == 3)
    Teller(home)("flow-run", "cancel", "last", *PATIENTLY)
    end = child.ended()

    assert states(home, "submits") == ["Cancelled"]
    assert task_states(home) == {"Cancelled"}
    assert end.out.count("task ends") == 3


def test_a_flow_that_waits_to_try_again_is_cancelled_then_and_there(home: Path, start: Start) -> None:
    child = start("tries_again")
    until(lambda: states(home, "tries again") == ["AwaitingRetry"])
    Teller(home)("flow-run", "cancel", "last", *PATIENTLY)
    end = child.ended()

    assert states(home, "tries again") == ["Cancelled"]
    assert WHY in message(home, "tries again")
    assert "caller" in end.out
    assert end.status == 0


def test_a_second_cancel_leaves_the_first_ones_cleanup_alone(home: Path, start: Start) -> None:
    child = start("tidies")
    tell = Teller(home)
    first = tell("flow-run", "cancel", "last", "--wait", "2").stdout
    child.said("cleaning")
    until(lambda: rows(home, "SELECT count(*) FROM request") == [(0,)])
    second = tell("flow-run", "cancel", "last", "--wait", "2").stdout
    until(lambda: rows(home, "SELECT count(*) FROM request") == [(0,)])
    (home / "enough").touch()
    end = child.ended()

    assert "was asked to cancel" in first
    assert "was asked to cancel" in second
    assert end.out.split()[:3] == ["ready", "cleaning", "cleaned"]
    assert states(home, "tidies") == ["Cancelled"]


def test_a_flow_that_cleans_up_is_still_ending(home: Path, start: Start) -> None:
    child = start("tidies")
    tell = Teller(home)
    tell("flow-run", "cancel", "last", "--no-wait")
    child.said("cleaning")
    until(lambda: states(home, "tidies") == ["Cancelling"])

    said = tell("flow-run", "cancel", "last", "--wait", "3").stdout
    (home / "enough").touch()
    child.ended()

    assert said.endswith("was asked to cancel; its tasks are still ending.\n")
    assert states(home, "tidies") == ["Cancelled"]


def test_of_two_processes_with_one_database_only_the_asked_one_stops(home: Path, start: Start) -> None:
    asked = start("awaits")
    other = start("steps")
    Teller(home)("flow-run", "cancel", id_of(home, "awaits"), *PATIENTLY)

    assert asked.ended().status == 0
    assert other.process.poll() is None
    assert (states(home, "awaits"), states(home, "steps")) == (["Cancelled"], ["Running"])
    Teller(home)("flow-run", "cancel", id_of(home, "steps"), *PATIENTLY)
    assert other.ended().status == 0


def test_a_subflow_can_be_cancelled_by_itself_and_its_caller_goes_on(home: Path, start: Start) -> None:
    child = start("outer")
    Teller(home)("flow-run", "cancel", id_of(home, "inner"), *PATIENTLY)
    end = child.ended()

    assert (states(home, "outer"), states(home, "inner")) == (["Completed"], ["Cancelled"])
    assert "returned goes on without it: " in end.out
    assert "hook Cancelled" in end.out


def test_a_flow_takes_its_subflows_along(home: Path, start: Start) -> None:
    child = start("outer")
    Teller(home)("flow-run", "cancel", id_of(home, "outer"), *PATIENTLY)
    end = child.ended()

    assert (states(home, "outer"), states(home, "inner")) == (["Cancelled"], ["Cancelled"])
    assert WHY in message(home, "outer")
    assert "hook Cancelled" in end.out
    assert "caller" in end.out


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_leaves_to_its_parent_what_is_asked_of_its_parents_run(home: Path, start: Start) -> None:
    child = start("forks")
    parent, inner = id_of(home, "parent"), id_of(home, "inner")
    tell = Teller(home)
    tell("flow-run", "cancel", parent, "--no-wait")
    tell("flow-run", "cancel", inner, *PATIENTLY)
    child.said("child cancelled")

    assert child.ended().status == 0
    assert rows(home, "SELECT run_id FROM request") == [(parent,)]
    assert states(home, "parent") == ["Completed"]


def test_the_command_is_a_process_of_its_own(home: Path, start: Start) -> None:
    child = start("awaits")
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "flow-run", "cancel", "last", *PATIENTLY],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(" was cancelled.\n")
    assert child.ended().status == 0
