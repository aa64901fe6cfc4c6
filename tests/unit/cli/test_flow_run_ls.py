"""`headrace flow-run ls`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.cli.recorded import Teller, record


def rows(shown: str) -> list[str]:
    """The lines of the table, without what stands below it."""
    return shown.partition("\n\n")[0].splitlines()


def test_runs_are_listed_newest_first(tell: Teller) -> None:
    lines = rows(tell("flow-run", "ls").stdout)

    assert lines[0].split() == ["ID", "NAME", "FLOW", "STATE", "STARTED", "TOOK"]
    assert [line.split()[2] for line in lines[1:]] == ["killed", "fails", "child", "pipeline"]


def test_a_run_is_an_object_for_programs(tell: Teller) -> None:
    run = next(run for run in tell.json("flow-run", "ls") if run["flow_name"] == "pipeline")

    assert re.fullmatch(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}0{12}", run["id"])
    assert re.fullmatch(r"[a-z]+-[a-z]+", run["name"])
    assert run["state"] == {"type": "COMPLETED", "name": "Completed", "message": None}
    assert run["parameters"] == {"x": 3, "folder": "out"}
    assert run["tags"] == ["blue", "nightly"]
    assert (run["parent_id"], run["run_count"], run["durability"]) == (None, 1, "batched")
    start, end = (datetime.fromisoformat(run[name]) for name in ("start_time", "end_time"))
    assert start.tzinfo is not None
    assert start.utcoffset() == UTC.utcoffset(None)
    assert run["total_run_time"] == pytest.approx((end - start).total_seconds())


def test_a_list_has_at_most_as_many_runs_as_asked_for(tell: Teller) -> None:
    assert [run["flow_name"] for run in tell.json("flow-run", "ls", "--limit", "2")] == ["killed", "fails"]


@pytest.mark.parametrize("state", ["failed", "FAILED", "Failed"])
def test_runs_are_picked_by_their_state(tell: Teller, state: str) -> None:
    assert [run["flow_name"] for run in tell.json("flow-run", "ls", "--state", state)] == ["fails"]


def test_a_misspelled_state_is_answered_with_the_nearest(tell: Teller) -> None:
    assert tell("flow-run", "ls", "--state", "compelted").stdout == (
        "No flow run is in state 'compelted'; did you mean 'completed'?\n"
    )


def test_a_state_that_is_no_text_is_just_not_there(tell: Teller) -> None:
    assert tell("flow-run", "ls", "--state", "\udcff").stdout == "No flow run is in state '?'.\n"


def test_a_run_whose_process_was_killed_is_shown_as_dead(tell: Teller) -> None:
    line = next(line for line in tell("flow-run", "ls").stdout.splitlines() if " killed " in line)
    run = tell.json("flow-run", "ls", "--limit", "1")[0]

    assert "✗ Running (dead)" in line
    assert (run["state"]["type"], run["process_ended"]) == ("RUNNING", True)


def test_a_narrow_page_leaves_out_columns_and_no_run(tell: Teller) -> None:
    lines = rows(tell("flow-run", "ls", COLUMNS="40").stdout)

    assert lines[0].split() == ["ID", "NAME", "FLOW", "STATE"]
    assert len(lines) == 5
    assert max(len(line) for line in lines) <= 40


def test_a_file_gets_all_columns_uncut(tell: Teller) -> None:
    assert "TOOK" in tell("flow-run", "ls", COLUMNS=None).stdout


def test_names_in_wide_signs_keep_the_columns_straight(tmp_path: Path) -> None:
    home = tmp_path / "home"
    record(
        "from headrace import flow\n@flow(name='航空データ', flow_run_name='東京')\ndef f(): pass\nf()\n"
        "@flow(name='plain', flow_run_name='a\\nb')\ndef g(): pass\ng()\n",
        home,
    )

    head, plain, wide = Teller(home)("flow-run", "ls").stdout.splitlines()

    # Ten columns of five wide signs: five fewer characters stand before the state.
    assert plain.index("✓") == head.index("STATE") == wide.index("✓") + len("航空データ東京")
    assert "a\\nb" in plain


def test_a_machine_without_runs_says_how_to_make_one(tell_fresh: Teller) -> None:
    shown = tell_fresh("flow-run", "ls").stdout

    assert shown.startswith("There are no flow runs yet. To make one, put this into hello.py and run: python hello.py")
    assert tell_fresh.json("flow-run", "ls") == []
    assert not tell_fresh.home.exists()


def test_the_flow_that_is_shown_to_beginners_runs(tell_fresh: Teller) -> None:
    shown = tell_fresh("flow-run", "ls").stdout

    record("\n".join(line[2:] for line in shown.splitlines()[2:]), tell_fresh.home)

    assert [run["flow_name"] for run in tell_fresh.json("flow-run", "ls")] == ["hello"]


def test_a_record_in_memory_is_said_to_be_gone(tell: Teller) -> None:
    result = tell("flow-run", "ls", HEADRACE_DATABASE_URL="memory:")

    assert result.stdout.startswith("Cannot use the database in memory: it ends with the process that filled it")
