"""`headrace flow-run logs`."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing

from tests.unit.cli.recorded import Teller


def test_lines_of_a_flow_run_and_its_task_runs_stand_as_on_the_console(tell: Teller) -> None:
    lines = tell("flow-run", "logs", tell.id_of("pipeline")).stdout.splitlines()

    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} \| WARNING \| Flow run '[a-z]+-[a-z]+' - begins with 3", lines[0])
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} \| INFO    \| Task run 'add-003' - adding 3", lines[1])


def test_a_failure_is_there_with_its_traceback(tell: Teller) -> None:
    shown = tell("flow-run", "logs", tell.id_of("fails")).stdout

    assert "| ERROR   | Flow run" in shown
    assert shown.endswith("RuntimeError: ends badly\n")


def test_a_line_of_another_day_has_its_date(tell_own: Teller) -> None:
    with closing(sqlite3.connect(tell_own.home / "headrace.db")) as database, database:
        database.execute("UPDATE log SET at = at - 3 * 86400000000000")

    first = tell_own("flow-run", "logs", tell_own.id_of("pipeline")).stdout.splitlines()[0]

    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \| WARNING", first)


def test_lines_are_objects_for_programs(tell: Teller) -> None:
    lines = tell.json("flow-run", "logs", tell.id_of("pipeline"))

    assert [(line["level"], line["level_name"]) for line in lines] == [(30, "WARNING"), (20, "INFO"), (40, "ERROR")]
    assert [line["run_name"] for line in lines[1:]] == ["add-003", "broken-004"]
    assert lines[1]["message"] == "adding 3"
    assert lines[0]["run_id"] == tell.id_of("pipeline")


def test_a_run_that_logged_nothing_says_so_beside_stdout(tell: Teller) -> None:
    result = tell("flow-run", "logs", tell.id_of("killed"))

    assert result.stdout == ""
    assert "logged nothing. See what it did: headrace flow-run inspect" in result.stderr
    assert tell.json("flow-run", "logs", tell.id_of("killed")) == []
