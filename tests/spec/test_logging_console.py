"""The console: what a program's stderr looks like, on a terminal and off it, whatever the program and its users set."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.spec.receiver import environment, program

WORK = """
from headrace import flow, get_run_logger, task

@task
def step():
    get_run_logger().debug("details")
    get_run_logger().warning("careful")
    return 1

@flow(name="My Pipeline")
def work():
    return step()

work()
"""
TIME = r"\d\d:\d\d:\d\d\.\d{3}"
NAME = r"[a-z]+-[a-z]+"


def matches(lines: list[str], *patterns: str) -> bool:
    return len(lines) == len(patterns) and all(
        re.fullmatch(pattern, line) for pattern, line in zip(patterns, lines, strict=True)
    )


def test_lines_have_the_form_of_the_console_and_go_to_stderr(tmp_path: Path) -> None:
    ran = program(WORK + "print('a result')", tmp_path)

    assert ran.out == "a result\n"
    assert matches(
        ran.lines,
        rf"{TIME} \| INFO    \| headrace\.engine - Created flow run '{NAME}' for flow 'My Pipeline'",
        rf"{TIME} \| WARNING \| Task run 'step-001' - careful",
        rf"{TIME} \| INFO    \| Task run 'step-001' - Finished in state Completed\(\)",
        rf"{TIME} \| INFO    \| Flow run '{NAME}' - Finished in state Completed\(\)",
    ), ran.lines


def test_a_subflow_and_a_failure_have_their_lines(tmp_path: Path) -> None:
    source = (
        "from headrace import flow\n@flow\ndef below():\n    raise ValueError('no rows')\n\n"
        "@flow\ndef work():\n    below(return_state=True)\n    return 1\n\nwork()\n"
    )
    ran = program(source, tmp_path)

    assert matches(
        ran.lines,
        rf"{TIME} \| INFO    \| headrace\.engine - Created flow run '{NAME}' for flow 'work'",
        rf"{TIME} \| INFO    \| headrace\.engine - Created subflow run '{NAME}' for flow 'below'",
        rf"{TIME} \| ERROR   \| Flow run '{NAME}' - Failed with an exception",
        r"Traceback \(most recent call last\):",
        r'  File ".*program\.py", line 4, in below',
        r"    raise ValueError\('no rows'\)",
        r"ValueError: no rows",
        rf"{TIME} \| ERROR   \| Flow run '{NAME}' - Finished in state "
        r"Failed\('Flow run encountered an exception: ValueError: no rows'\)",
        rf"{TIME} \| INFO    \| Flow run '{NAME}' - Finished in state Completed\(\)",
    ), ran.lines


def on_a_terminal(source: str, home: Path, **more: str) -> str:
    """Run *source* with a terminal as its stderr; give what was written there."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", source], stderr=theirs, env=environment(home, **{"TERM": "xterm", **more})
    )
    os.close(theirs)
    written = b""
    try:
        while piece := os.read(ours, 65_536):
            written += piece
    except OSError:
        pass  # how Linux tells that nobody holds the other end any more
    finally:
        os.close(ours)
    assert process.wait(30) == 0
    return written.decode()


def test_a_terminal_gets_colour_around_the_level(tmp_path: Path) -> None:
    shown = on_a_terminal(WORK, tmp_path)

    assert "| \x1b[36mINFO   \x1b[0m | headrace.engine - " in shown
    assert "| \x1b[33mWARNING\x1b[0m | Task run 'step-001' - careful" in shown


def test_signs_for_the_terminal_are_escaped_but_for_line_feeds_and_tabs(tmp_path: Path) -> None:
    hostile = "\x1b[2J\x1b]0;title\x07\r\n\tsecond line\u202e"
    source = (
        "from headrace import flow, get_run_logger, task\n@task(task_run_name='{text}')\ndef step(text):\n"
        "    get_run_logger().info(text)\n    raise ValueError(text)\n"
        f"@flow\ndef work():\n    step({hostile!r}, return_state=True)\nwork()\n"
    )
    shown = on_a_terminal(source, tmp_path)

    escaped = r"\x1b[2J\x1b]0;title\x07\r" + "\r\n" + r"	second line\u202e"
    assert f" - {escaped}\r\n" in shown
    assert f"ValueError: {escaped}\r\n" in shown
    assert not re.search(r"[\x07\u202e]|\x1b(?!\[[\d;]*m)|\r(?!\n)", shown)


@pytest.mark.parametrize("plain", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_that_shall_have_no_colour_gets_none(tmp_path: Path, plain: dict[str, str]) -> None:
    assert "\x1b" not in on_a_terminal(WORK, tmp_path, **plain)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["Created", "details", "careful", "Finished", "Finished"]),
        ("WARNING", ["careful"]),
        ("ERROR", []),
        ("OFF", []),
    ],
)
def test_the_level_comes_from_the_environment(tmp_path: Path, level: str, expected: list[str]) -> None:
    ran = program(WORK, tmp_path, HEADRACE_LOG_LEVEL=level)

    assert [line.partition(" - ")[2].split()[0] for line in ran.lines] == expected


def test_a_level_that_does_not_exist_is_a_sentence(tmp_path: Path) -> None:
    ran = program(WORK, tmp_path, HEADRACE_LOG_LEVEL="loud")

    assert ran.code == 1
    assert ran.lines[-1] == (
        "headrace.errors.SettingError: HEADRACE_LOG_LEVEL is 'loud'; it must be one of DEBUG, INFO, WARNING, ERROR, "
        "CRITICAL, OFF. Change or unset it."
    )


def test_an_application_that_configures_logging_sees_each_line_once_in_its_own_form(tmp_path: Path) -> None:
    ran = program("import logging; logging.basicConfig(format='%(name)s said %(message)s')\n" + WORK, tmp_path)

    assert matches(
        ran.lines,
        rf"headrace\.engine said Created flow run '{NAME}' for flow 'My Pipeline'",
        r"headrace\.task_runs said careful",
        r"headrace\.engine said Finished in state Completed\(\)",
        r"headrace\.engine said Finished in state Completed\(\)",
    ), ran.lines


def test_an_application_that_configures_logging_between_two_runs_has_no_line_twice(tmp_path: Path) -> None:
    ran = program(WORK + "import logging; logging.basicConfig()\nwork()\n", tmp_path)

    assert sum("careful" in line for line in ran.lines) == 2


def test_a_level_that_the_application_gave_our_logger_stays(tmp_path: Path) -> None:
    ran = program("import logging; logging.getLogger('headrace').setLevel('ERROR')\n" + WORK, tmp_path)

    assert ran.lines == []


def test_the_environments_level_wins_over_the_applications(tmp_path: Path) -> None:
    ran = program(
        "import logging; logging.getLogger('headrace').setLevel('ERROR')\n" + WORK, tmp_path, HEADRACE_LOG_LEVEL="DEBUG"
    )

    assert len(ran.lines) == 5


def test_the_filter_works_on_a_handler_of_the_applications(tmp_path: Path) -> None:
    source = (
        "import logging\nfrom headrace.logging import RunContextFilter\nhandler = logging.StreamHandler()\n"
        "handler.addFilter(RunContextFilter())\n"
        "form = '%(flow_name)s/%(task_name)s/%(flow_run_id).4s/%(trace_id)s/%(message)s'\n"
        "logging.basicConfig(handlers=[handler], format=form)\n"
    )
    ran = program(source + WORK + "logging.warning('after')\n", tmp_path)

    assert matches(
        ran.lines,
        r"My Pipeline//[0-9a-f]{4}//Created .*",
        r"My Pipeline/step/[0-9a-f]{4}//careful",
        r"My Pipeline/step/[0-9a-f]{4}//Finished .*",
        r"My Pipeline//[0-9a-f]{4}//Finished .*",
        r"////after",
    ), ran.lines


def test_signs_that_the_console_cannot_show_are_escaped(tmp_path: Path) -> None:
    said = WORK.replace('"careful"', '"caf\\xe9 \\u2603 \\ud800"')
    ran = program(said, tmp_path, PYTHONIOENCODING="ascii:strict", PYTHONUTF8="0")

    assert ran.code == 0
    assert ran.lines[1].endswith(r" - caf\xe9 \u2603 \ud800")


def test_arguments_that_do_not_fit_the_format_are_shown_beside_it(tmp_path: Path) -> None:
    ran = program(WORK.replace('"careful"', '"%d of them", "three"'), tmp_path)

    assert ran.lines[1].endswith("Task run 'step-001' - %d of them ('three',)")


def test_a_critical_line_and_a_stack_are_shown_whole(tmp_path: Path) -> None:
    ran = program(WORK.replace('.warning("careful")', '.critical("stop", stack_info=True)'), tmp_path)

    assert re.fullmatch(rf"{TIME} \| CRITICAL \| Task run 'step-001' - stop", ran.lines[1])
    assert ran.lines[2] == "Stack (most recent call last):"


@pytest.mark.parametrize(
    "gone",
    [
        "sys.stderr = None",
        "sys.stderr.close()",
        "sys.stderr = type('NoFile', (), {'flush': lambda self: None})()",
    ],
)
def test_a_program_without_a_usable_stderr_runs(tmp_path: Path, gone: str) -> None:
    ran = program(f"import sys\n{gone}\n{WORK}print(work())\n", tmp_path)

    assert (ran.code, ran.out) == (0, "1\n")


def test_stderr_that_is_replaced_later_is_followed(tmp_path: Path) -> None:
    ran = program("import sys; from headrace import flow\n" + WORK + "sys.stderr = sys.stdout\nwork()\n", tmp_path)

    assert (len(ran.lines), len(ran.out.splitlines())) == (4, 4)


def test_a_logger_below_ours_speaks_before_any_run(tmp_path: Path) -> None:
    ran = program("from headrace.logging import get_logger\nget_logger('mine').info('up')\n", tmp_path)

    assert matches(ran.lines, rf"{TIME} \| INFO    \| headrace\.mine - up"), ran.lines


def test_our_records_have_their_ids_at_a_root_handler_without_the_filter(tmp_path: Path) -> None:
    source = "import logging\nlogging.basicConfig(format='%(flow_name)s/%(task_name)s')\n"
    ran = program(source + WORK, tmp_path)

    assert ran.lines == ["My Pipeline/", "My Pipeline/step", "My Pipeline/step", "My Pipeline/"]
