"""How runs are named and found, and when a process is proved dead."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime

import attrs
import pytest

from headrace import _owners
from headrace._model.ids import short_id
from headrace._model.records import FlowRun
from headrace._model.states import State, StateType
from headrace._owners import boot, gone, owner
from headrace.cli.reading import is_dead, spelled
from tests.unit.cli.recorded import Teller, record

HERE = owner().rsplit(":", 3)[0]
RUNNING = FlowRun("id", "nimble-falcon", "one", State(StateType.RUNNING), owner=owner())


def test_a_run_of_a_living_process_is_not_dead() -> None:
    assert not is_dead(RUNNING)


def test_a_run_whose_process_number_belongs_to_another_now_is_dead() -> None:
    assert is_dead(attrs.evolve(RUNNING, owner=f"{HERE}:{os.getpid()}:1:{boot()}"))


def test_a_run_of_this_machine_before_it_was_booted_is_dead() -> None:
    assert is_dead(attrs.evolve(RUNNING, owner=f"{HERE}:1:1:00000000"))


def test_the_name_of_a_machine_may_hold_colons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "fe80::1:2")

    assert not gone(owner())
    assert gone(f"fe80::1:2:{os.getpid()}:1:{boot()}")
    assert not gone(f"fe80::1:{os.getpid()}:1:{boot()}")


def test_where_the_boot_of_the_machine_is_not_known_nobody_is_proved_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_owners, "boot", lambda: "")

    assert not gone(f"{HERE}:1:1:00000000")


def test_a_run_that_has_ended_is_not_dead() -> None:
    now = datetime.now(UTC)
    ended = attrs.evolve(RUNNING, state=State(StateType.FAILED), end_time=now, owner=f"{HERE}:{os.getpid()}:1:{boot()}")

    assert not is_dead(ended)


@pytest.mark.parametrize(
    "unproved",
    [
        None,
        "",
        "somewhere",
        f"elsewhere:1:1:{boot()}",
        f"{HERE}:1:1",
        f"of:this:name:{HERE}:1:1:{boot()}",
        f"{HERE}:1::{boot()}",
        f"{HERE}:1:1:",
        f"{HERE}:x:1:{boot()}",
        f"{HERE}:²:1:{boot()}",
    ],
)
def test_a_run_whose_owner_nobody_here_can_look_up_is_not_called_dead(unproved: str | None) -> None:
    assert not is_dead(attrs.evolve(RUNNING, owner=unproved))


@pytest.mark.parametrize(
    ("number", "shown"),
    [("000000000000", "3f2a9c1e"), ("00000000000c", "3f2a9c1e.00c"), ("0000000186a0", "3f2a9c1e.186a0")],
)
def test_an_id_is_shown_short_with_the_number_of_a_task_run(number: str, shown: str) -> None:
    assert short_id(f"3f2a9c1e-0000-4000-8000-{number}") == shown


def test_an_id_may_be_spelled_in_capitals_and_without_dashes() -> None:
    assert spelled(" 3F2A9C1E000040008000000000000000\n") == "3f2a9c1e-0000-4000-8000-000000000000"


@pytest.mark.parametrize("word", ["last", " LAST\n"])
def test_the_last_flow_run_is_the_newest(tell: Teller, word: str) -> None:
    assert tell.json("flow-run", "inspect", word)["flow_name"] == "killed"
    assert tell("flow-run", "logs", word).stderr.startswith("Flow run ")


def test_the_last_flow_run_is_none_that_another_called(tell_own: Teller) -> None:
    tell_own("flow-run", "delete", "last", "--yes")
    tell_own("flow-run", "delete", tell_own.id_of("fails"), "--yes")

    newest_first = [run["flow_name"] for run in tell_own.json("flow-run", "ls")]

    assert newest_first == ["child", "pipeline"]
    assert tell_own.json("flow-run", "inspect", "last")["flow_name"] == "pipeline"


def test_task_runs_of_the_last_flow_run_are_found_by_their_number(tell_own: Teller) -> None:
    assert tell_own.json("task-run", "inspect", "last.001")["name"] == "stopped_short-001"

    for _ in range(2):
        tell_own("flow-run", "delete", "last", "--yes")

    assert tell_own.json("task-run", "inspect", "last.3")["name"] == "add-003"
    said = tell_own("task-run", "inspect", "last.00c", status=1).stderr
    assert said.startswith("No task run has an id that begins with 'last.00c'. ")
    said = tell_own("flow-run", "inspect", "last.3", status=1).stderr
    assert said.endswith("A task run's id may: headrace task-run inspect last.3\n")


def test_a_subflow_run_that_a_task_outside_flows_called_can_be_the_last(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = tmp_path_factory.mktemp("alone") / "home"
    record("from headrace import flow, task\n@flow\ndef below(): pass\n@task\ndef alone(): below()\nalone()\n", home)

    assert Teller(home).json("flow-run", "inspect", "last")["flow_name"] == "below"


def test_where_there_is_no_flow_run_the_last_is_not_found(tell_own: Teller) -> None:
    for _ in range(3):
        tell_own("flow-run", "delete", "last", "--yes")

    for noun, asked in (("flow-run", "last"), ("task-run", "last.1")):
        said = tell_own(noun, "inspect", asked, status=1).stderr
        assert said == "No flow run has an id that begins with 'last'. There is none at all; run a flow first.\n"
