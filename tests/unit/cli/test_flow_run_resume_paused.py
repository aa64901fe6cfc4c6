"""`headrace flow-run resume` of paused runs: from options and on a terminal, and what the run makes of it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.processes import recorded, rows, until
from tests.unit.cli.recorded import Teller, environment

PROGRAM = """
import sys, time
from dataclasses import dataclass
from headrace import Runtime, flow, pause_flow_run, suspend_flow_run

@dataclass
class Approval:
    approved: bool
    by: str = "nobody"
    amount: int | None = None

    def __post_init__(self):
        if (self.amount or 0) < 0:
            raise ValueError("the amount is below 0")

@flow(durable=bool({"durable", "suspended"} & {*sys.argv}))
def asks():
    if "suspended" in sys.argv:
        return str(suspend_flow_run(Approval))
    return str(pause_flow_run(Approval, timeout=600) if "plain" not in sys.argv else pause_flow_run(int))

if __name__ == "__main__":
    if "suspended" in sys.argv:
        with Runtime() as runtime:
            runtime.submit(asks)
            time.sleep(60)
    print(asks(), flush=True)
"""


class Asking:
    """A program whose flow is paused."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.home = folder / "home"
        self.out = folder / "out"
        program = folder / "asks.py"
        program.write_text(PROGRAM, encoding="utf-8")
        with self.out.open("w") as out, (folder / "err").open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, str(program), *words], env=environment(self.home), stdout=out, stderr=err
            )
        self.tell = Teller(self.home)
        name = "Suspended" if "suspended" in words else "Paused"
        paused = f"SELECT id FROM flow_run WHERE state_name = '{name}'"
        until(lambda: recorded(self.home) and rows(self.home, paused))
        ((self.run_id,),) = rows(self.home, paused)

    def spoken(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Speak the command *words* in a process of its own, without a terminal."""
        return subprocess.run(
            [sys.executable, "-m", "headrace", *words],
            env=environment(self.home),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def said(self) -> str:
        """Give what it printed, once it has ended."""
        assert self.process.wait(30) == 0
        return self.out.read_text()

    def on_a_terminal(self, *answers: str) -> tuple[int, str]:
        """Speak the command on a terminal, and answer what is asked; give the status, and what was shown."""
        ours, its = pty.openpty()
        with os.fdopen(ours, "wb", buffering=0) as typed:
            typed.write("".join(f"{one}\n" for one in answers).encode())
            done = subprocess.run(
                [sys.executable, "-m", "headrace", "flow-run", "resume", self.run_id],
                env=environment(self.home),
                stdin=its,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            os.close(its)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Asking]]:
    """Give what begins a program whose flow is paused."""
    begun: list[Asking] = []

    def asking(*words: str) -> Asking:
        begun.append(Asking(tmp_path, *words))
        return begun[-1]

    yield asking
    for one in begun:
        one.process.kill()
        one.process.wait()


def test_who_must_fill_the_input_sees_what_is_wanted(begin: Callable[..., Asking]) -> None:
    asking = begin()

    shown = asking.tell("flow-run", "inspect", asking.run_id).stdout
    assert "for an input: approved (true or false), by (a text, may be left out), amount" in shown
    assert " Paused " in asking.tell("flow-run", "ls").stdout
    pause = asking.tell.json("flow-run", "inspect", asking.run_id)["pause"]
    assert pause["schema"]["required"] == ["approved"]
    assert pause["schema"]["properties"]["by"] == {"type": "string", "default": "nobody"}

    refused = asking.tell("flow-run", "resume", asking.run_id, status=2).stderr
    assert refused.startswith("Flow run ")
    assert "waits for an input: approved (true or false)" in refused
    assert f"headrace flow-run resume {asking.run_id[:8]} -p approved=... -p by=... -p amount=..." in refused


def test_fields_are_given_as_people_write_them(begin: Callable[..., Asking]) -> None:
    asking = begin()
    resume = ("flow-run", "resume", asking.run_id)

    for given, why in (
        (
            ("-p", "approved=perhaps", "-p", "bye=Ada"),
            "approved: 'perhaps' is not true or false. bye: There is no such",
        ),
        (("--params", "[1]"), "[1] is not an object."),
        (("-p", "approved"), "'approved' is not NAME=VALUE."),
        (("--params", "{"), "is no JSON"),
        (("--params", "{}", "-p", "approved=true"), "Give the fields of the input by -p, or all of it by --params."),
    ):
        assert why in asking.tell(*resume, *given, status=2).stderr
    refused = asking.tell(*resume, "-p", "approved=yes", "-p", "amount=-1", status=2).stderr
    assert refused.startswith("The input does not fit: {'approved': 'yes', 'amount': -1} is not a valid Approval: ")
    assert "the amount is below 0" in refused

    done = asking.tell(*resume, "-p", "approved=yes", "-p", "by=7")

    assert done.stdout.endswith(" was resumed.\n")
    assert asking.said() == "Approval(approved=True, by='7', amount=None)\n"


def test_on_a_terminal_each_field_is_asked_for_until_it_fits(begin: Callable[..., Asking]) -> None:
    asking = begin()

    status, shown = asking.on_a_terminal("perhaps", "no", "", "many", "5")

    assert status == 0, shown
    assert "approved (true or false): " in shown
    assert "'perhaps' is not true or false." in shown
    assert 'by (a text) ["nobody"]: ' in shown
    assert "amount (a whole number or null) [null]: " in shown
    assert asking.said() == "Approval(approved=False, by='nobody', amount=5)\n"


def test_one_value_is_asked_for_as_such(begin: Callable[..., Asking]) -> None:
    asking = begin("plain")
    resume = ("flow-run", "resume", asking.run_id)
    assert "--params JSON" in asking.tell(*resume, status=2).stderr
    for given, step in ((("-p", "value=7"), "7"), (("-p", "value=x"), "JSON"), (("-p", "a=1", "-p", "b=2"), "JSON")):
        refused = asking.tell(*resume, *given, status=2).stderr
        assert refused.rstrip().endswith(f"is not a whole number. Give it by --params {step}.")

    assert asking.on_a_terminal("seven", "7")[0] == 0
    assert asking.said() == "7\n"


def test_one_that_was_left_behind_is_resumed_and_goes_on_here(begin: Callable[..., Asking]) -> None:
    asking = begin("durable")
    asking.process.kill()
    asking.process.wait()
    resume = ("flow-run", "resume", asking.run_id)

    assert "waits for an input" in asking.spoken("flow-run", "resume", "--all").stderr
    assert asking.spoken(*resume).returncode == 2
    done = asking.spoken(*resume, "-p", "approved=true")

    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("completed and returned \"Approval(approved=True, by='nobody', amount=None)\"\n")
    assert "is not paused, and takes no input" in asking.spoken(*resume, "-p", "approved=true").stderr


def test_a_plain_run_whose_process_has_ended_is_not_resumed(begin: Callable[..., Asking]) -> None:
    asking = begin()
    asking.process.kill()
    asking.process.wait()

    refused = asking.tell("flow-run", "resume", asking.run_id, "-p", "approved=true", status=2).stderr

    assert "cannot be resumed: its process has ended, and it is not durable" in refused


def test_one_that_is_unloaded_goes_on_where_a_process_is_there_for_it(begin: Callable[..., Asking]) -> None:
    asking = begin("suspended")

    done = asking.tell("flow-run", "resume", asking.run_id, "-p", "approved=no")

    assert done.stdout.endswith(" was resumed.\n")


def test_one_that_is_unloaded_goes_on_here_where_no_process_takes_it_up(begin: Callable[..., Asking]) -> None:
    asking = begin("suspended")
    asking.process.kill()
    asking.process.wait()

    done = asking.spoken("flow-run", "resume", asking.run_id, "-p", "approved=yes")

    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("completed and returned \"Approval(approved=True, by='nobody', amount=None)\"\n")
