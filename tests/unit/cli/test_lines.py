"""Lines of the log as the command line shows them: what a message holds does nothing to the terminal it is shown on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.recorded import Teller, record

HOSTILE = "\x1b[2J\x1b]0;title\x07\r\nfake line\u202e"
FORGED = "done\n12:00:00.000 | INFO    | Flow run 'nimble-falcon' - all is well\n\tand\u2028so on\x85"
PROGRAM = f"""
from headrace import flow, get_run_logger, task

@task(task_run_name="work on {{text}}")
def work(text):
    get_run_logger().info(text)
    raise ValueError(text)

@flow(flow_run_name="{HOSTILE!r}"[1:-1].encode().decode("unicode_escape"))
def hostile():
    get_run_logger().info({FORGED!r})
    work({HOSTILE!r}, return_state=True)
    work({HOSTILE!r}, return_state=True)

hostile()
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Teller:
    """Runs whose names, messages and errors hold what a terminal would obey."""
    home: Path = tmp_path_factory.mktemp("hostile") / "home"
    record(PROGRAM, home)
    return Teller(home)


def seen(text: str) -> bool:
    """Whether *text* is lines of signs that can be seen, and tabs."""
    return text.replace("\n", "").replace("\t", "").isprintable()


def test_signs_for_the_terminal_are_escaped_in_lines_of_the_log(told: Teller) -> None:
    shown = told("flow-run", "logs", told.id_of("hostile")).stdout

    assert seen(shown)
    assert r" - \x1b[2J\x1b]0;title\x07\r" + "\n" + r"    fake line\u202e" + "\n" in shown


def test_a_message_of_several_lines_is_indented_so_that_none_looks_like_a_record(told: Teller) -> None:
    shown = told("flow-run", "logs", told.id_of("hostile")).stdout

    assert (
        " - done\n    12:00:00.000 | INFO    | Flow run 'nimble-falcon' - all is well\n"
        "    \tand\\u2028so on\\x85\n" in shown
    )


def test_a_traceback_is_indented_as_well(told: Teller) -> None:
    shown = told("flow-run", "logs", told.id_of("hostile")).stdout

    assert "\n    Traceback (most recent call last):\n      File " in shown


@pytest.mark.parametrize("noun", ["flow-run", "task-run"])
def test_what_is_inspected_does_nothing_to_the_terminal(told: Teller, noun: str) -> None:
    number = ".1" if noun == "task-run" else ""
    shown = told(noun, "inspect", told.id_of("hostile")[:13] + number).stdout

    assert seen(shown)
    assert r"\x1b[2J" in shown


def test_the_list_and_errors_that_name_runs_do_nothing_to_the_terminal(told: Teller) -> None:
    listed = told("flow-run", "ls").stdout
    several = told("task-run", "inspect", told.id_of("hostile")[:13], status=1).stderr

    assert seen(listed)
    assert several.startswith("Several task runs have ids")
    assert (seen(several), several.count("\n")) == (True, 1)
