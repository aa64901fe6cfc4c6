"""`headrace task-run inspect`, and the ids by which task runs are found."""

from __future__ import annotations

import pytest

from tests.unit.cli.recorded import Teller


@pytest.mark.parametrize("number", ["1", "001", "000000000001"])
def test_a_task_run_is_found_by_its_number_in_its_flow_run(tell: Teller, number: str) -> None:
    run = tell.json("task-run", "inspect", f"{tell.id_of('pipeline')[:8]}.{number}")

    assert (run["name"], run["state"]["type"], run["run_count"]) == ("flaky-001", "COMPLETED", 3)


def test_a_task_run_is_found_by_its_whole_id(tell: Teller) -> None:
    whole = tell.json("flow-run", "inspect", tell.id_of("pipeline"))["task_runs"][1]["id"]

    assert tell.json("task-run", "inspect", whole)["name"] == "twice of 3"
    assert tell.json("task-run", "inspect", whole.replace("-", "").upper())["name"] == "twice of 3"


def test_a_task_run_shows_its_states_calls_and_lines(tell: Teller) -> None:
    flow = tell.id_of("pipeline")[:8]

    retried = tell("task-run", "inspect", f"{flow}.1").stdout
    calling = tell("task-run", "inspect", f"{flow}.2").stdout
    called = tell("task-run", "inspect", f"{flow}.3").stdout

    assert "AwaitingRetry: Attempt 1 of 3 failed: ConnectionError(" in retried
    assert "└─ ✓ add-003" in calling
    assert f"Called by  {flow}.002" in called
    assert called.endswith("| INFO    | Task run 'add-003' - adding 3\n")


def test_what_a_state_said_is_never_cut(tell: Teller) -> None:
    shown = tell("task-run", "inspect", f"{tell.id_of('pipeline')[:8]}.1", COLUMNS="40").stdout

    assert "AwaitingRetry: Attempt 1 of 3 failed: ConnectionError('the server is away'); the next starts in" in (
        " ".join(shown.split())
    )


def test_programs_get_the_lines_with_the_task_run(tell: Teller) -> None:
    run = tell.json("task-run", "inspect", f"{tell.id_of('pipeline')[:8]}.3")

    assert [(line["level_name"], line["message"]) for line in run["logs"]] == [("INFO", "adding 3")]


def test_a_beginning_that_several_share_is_answered_with_their_short_ids(tell: Teller) -> None:
    flow = tell.id_of("pipeline")[:8]

    said = tell("task-run", "inspect", flow, status=1).stderr

    assert said.startswith(f"Several task runs have ids that begin with '{flow}': {flow}.001 (flaky-001), {flow}.002")


@pytest.mark.parametrize("asked", ["zz", "ffffffff.1", "\udcff", "%", "1.2.3", ""])
def test_a_task_run_that_is_not_there_is_one_sentence(tell: Teller, asked: str) -> None:
    result = tell("task-run", "inspect", asked, status=1)

    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert result.stderr.startswith("No ")


def test_a_task_called_outside_flows_is_found_by_its_beginning(tmp_path_factory: pytest.TempPathFactory) -> None:
    from tests.unit.cli.recorded import record

    home = tmp_path_factory.mktemp("alone") / "home"
    record(
        "from headrace import task\nfrom headrace.context import get_run_context\n"
        "@task\ndef inner(): pass\n"
        "@task\ndef alone():\n    inner()\n    open('id.txt', 'w').write(get_run_context().task_run.id)\n"
        f"import os; os.chdir({str(home.parent)!r})\nalone()\n",
        home,
    )
    run_id = (home.parent / "id.txt").read_text(encoding="utf-8")
    tell = Teller(home)

    assert tell.json("task-run", "inspect", run_id[:8])["name"] == "alone"
    assert tell.json("task-run", "inspect", f"{run_id[:8]}.1")["name"] == "inner-001"
    assert "└─ ✓ inner-001" in tell("task-run", "inspect", run_id[:8]).stdout
    said = tell("flow-run", "inspect", run_id[:8], status=1).stderr
    assert said.endswith(f"A task run's id may: headrace task-run inspect {run_id[:8]}\n")
