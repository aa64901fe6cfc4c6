"""`headrace flow-run delete`."""

from __future__ import annotations

from tests.unit.cli.recorded import Teller


def flows(tell: Teller) -> list[str]:
    return [run["flow_name"] for run in tell.json("flow-run", "ls")]


def test_a_run_is_deleted_with_its_subflow_runs_and_they_are_counted(tell_own: Teller) -> None:
    run_id = tell_own.id_of("pipeline")

    shown = tell_own("flow-run", "delete", run_id[:8], "--yes").stdout

    assert shown.startswith("Deleted flow run '")
    assert shown.endswith("' and 1 subflow run.\n")
    assert flows(tell_own) == ["killed", "fails"]
    tell_own("task-run", "inspect", f"{run_id[:8]}.1", status=1)


def test_programs_are_told_how_many_went(tell_own: Teller) -> None:
    run_id = tell_own.id_of("pipeline")

    assert tell_own.json("flow-run", "delete", run_id, "--yes") == {"id": run_id, "deleted_flow_runs": 2}


def test_without_a_terminal_and_yes_nothing_is_deleted(tell_own: Teller) -> None:
    said = tell_own("flow-run", "delete", tell_own.id_of("fails"), answers="y\n", status=2).stderr

    assert "Add --yes to delete the run." in said
    assert "fails" in flows(tell_own)


def test_a_run_that_is_not_there_is_not_asked_about(tell_own: Teller) -> None:
    said = tell_own("flow-run", "delete", "ffffffff-ffff", status=1).stderr

    assert said == ("No flow run has an id that begins with 'ffffffff-ffff'. List them: headrace flow-run ls\n")
