"""Ctrl-C and SIGTERM to processes whose flows have submitted all kinds of runs: these end in order, or at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.processes import Child, Ended, recorded, rows, until
from tests.unit.cli.recorded import Teller

Start = Callable[..., Child]
PATIENTLY = ("--wait", "60")
STOPS = {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: 143}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Give a function that starts a program and waits until all in it is at work; none outlives the test."""
    children: list[Child] = []

    def started(program: str, patience: int = 30) -> Child:
        environment = {"HEADRACE_CLEANUP_SECONDS": str(patience)}
        children.append(child := Child("tests.chaos.signalled", program, home=home, outputs=None, **environment))
        child.said("ready")
        return child

    yield started
    for child in children:
        child.process.kill()
        child.process.wait()


def ends(home: Path) -> set[str]:
    """Give the names of the states in which runs were left."""
    runs = "SELECT state_name FROM flow_run UNION SELECT coalesce(state_name, state_type) FROM task_run"
    return {state.lower() for (state,) in rows(home, runs)}


def said_nothing_more(end: Ended) -> bool:
    """Tell whether there is nothing on stderr but the KeyboardInterrupt that Python itself shows."""
    return not end.err or (end.err.count("Traceback") >= 1 and end.err.rstrip().endswith("KeyboardInterrupt"))


# -- in order -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_ends_all_that_an_async_flow_has_submitted(home: Path, start: Start, number: signal.Signals) -> None:
    child = start("awaits")
    child.send(number)
    end = child.ended()

    assert end.out.splitlines()[1:] == [
        "heard True cleaned True",
        "threads {'RunCancelled'} tidied True",
        "hooks 8 {'Cancelled'}",
    ]
    assert end.status == STOPS[number]
    assert said_nothing_more(end)
    assert ends(home) == {"cancelled", "completed"}


@pytest.mark.parametrize("number", STOPS)
def test_a_signal_ends_all_that_a_sync_flow_on_the_main_thread_waits_for(
    home: Path, start: Start, number: signal.Signals
) -> None:
    child = start("blocks")
    child.send(number)
    end = child.ended()

    assert end.out.splitlines()[1:] == [
        "cleaned True",
        "story ['async main Cancelled', 'below Cancelled', 'main Cancelled', 'tidied']",
    ]
    assert end.status == STOPS[number]
    assert said_nothing_more(end)
    assert ends(home) == {"cancelled", "completed"}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at the states of threads in /proc")
@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("program", ["awaits nothing", "awaits nothing on uvloop"])
def test_a_signal_that_another_thread_gets_is_heard_by_a_loop_that_nothing_else_wakes(
    home: Path, start: Start, program: str, number: signal.Signals
) -> None:
    if "uvloop" in program:
        pytest.importorskip("uvloop")
    end = start(f"{program}, {number.name}").ended()

    assert "cleaned" in end.out
    assert end.status == STOPS[number]
    assert ends(home) == {"cancelled"}


def id_of_run(home: Path, flow: str) -> str:
    """Wait until a run of *flow* is on record, which is a moment after it has begun, and give its id."""
    until(lambda: recorded(home))
    until(lambda: rows(home, "SELECT 1 FROM flow_run WHERE flow_name = ?", flow))
    ((run_id,),) = rows(home, "SELECT id FROM flow_run WHERE flow_name = ?", flow)
    return str(run_id)


@pytest.mark.parametrize("program", ["awaits", "blocks"])
def test_another_process_ends_all_of_it_as_well(home: Path, start: Start, program: str) -> None:
    child = start(program)
    name = {"awaits": "wide", "blocks": "main"}[program]
    run_id = id_of_run(home, name)
    said = Teller(home)("flow-run", "cancel", run_id, *PATIENTLY).stdout
    end = child.ended()

    assert said.endswith(" was cancelled.\n")
    assert "cleaned True" in end.out
    assert end.err.rstrip().splitlines()[-1].startswith("headrace.errors.CancelledRun: Flow run ")
    assert end.status == 1
    assert ends(home) == {"cancelled", "completed"}


# -- or not -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize(
    "program",
    ["awaits slow cleanup", "waits for slow cleanup", "awaits a deaf thread", "waits for a deaf thread"],
)
def test_who_sends_a_second_signal_waits_for_no_cleanup(
    home: Path, start: Start, program: str, number: signal.Signals
) -> None:
    child = start(program, patience=120)
    child.send(number)
    child.said("cleaning")
    before = time.monotonic()
    child.send(number)
    end = child.ended()

    assert time.monotonic() - before < 20
    assert end.status == STOPS[number]
    assert "CLEANED" not in end.out
    assert ends(home) == {"cancelled"}


@pytest.mark.parametrize("program", ["waits for slow cleanup", "awaits a deaf thread"])
def test_cleanup_is_not_waited_for_longer_than_the_setting_says(home: Path, start: Start, program: str) -> None:
    child = start(program, patience=1)
    child.send(signal.SIGTERM)
    end = child.ended()

    assert end.status == 143
    (warned,) = end.lines("WARNING")
    assert "Goes on without" in warned
    assert ends(home) == {"cancelled"}
