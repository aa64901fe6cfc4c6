"""`headrace flow-run inspect`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.cli.recorded import Teller, record

BAR = re.compile(r"▕(.*)▏")


def names(shown: str) -> list[str]:
    """The first two words of each line of a tree: its sign and its name, behind the branches."""
    lines = [line for line in shown.splitlines() if BAR.search(line)]
    return [" ".join(line.split(" (")[0].lstrip("│├└─ ").split()[:2]) for line in lines]


def test_a_tree_shows_each_call_under_what_called_it(tell: Teller) -> None:
    shown = tell("flow-run", "inspect", tell.id_of("pipeline")).stdout

    assert names(shown) == ["✓ pipeline", "✓ flaky-001", "✓ twice", "✓ add-003", "✓ child", "✓ add-001", "✗ broken-004"]
    assert "│  └─ ✓ add-003" in shown
    assert "├─ ✓ twice of 3 (002)" in shown


def test_a_failed_task_is_followed_by_what_it_said(tell: Teller) -> None:
    lines = tell("flow-run", "inspect", tell.id_of("pipeline")).stdout.splitlines()
    place = next(place for place, line in enumerate(lines) if "broken-004" in line)

    assert "ValueError: no such column: price\\x1b[2J" in lines[place + 1]


def test_a_bar_tells_waiting_running_and_retrying_apart(tell: Teller) -> None:
    lines = tell("flow-run", "inspect", tell.id_of("pipeline")).stdout.splitlines()
    flaky = next(line for line in lines if "flaky-001 x3" in line)
    bar = BAR.search(flaky)

    assert bar
    assert set(bar[1].strip()) == {"█", "░", "▓"}
    assert re.match(r" *█+░+", bar[1]), "it ran, and waited for another attempt"
    assert "░ waits  █ runs  ▓ retries" in lines


def test_what_is_known_of_a_run_stands_above_its_tree(tell: Teller) -> None:
    run_id = tell.id_of("pipeline")
    above = tell("flow-run", "inspect", run_id[:8]).stdout.partition("\n\n")[0]
    known = {line[:10].strip(): line[12:] for line in above.splitlines()}

    assert known["Flow"] == "pipeline, version 7"
    assert (known["State"], known["Id"], known["Attempts"]) == ("Completed()", run_id, "1")
    assert (known["Tags"], known["Parameters"]) == ("blue, nightly", "x = 3, folder = 'out'")
    assert known["Log lines"] == f"3: headrace flow-run logs {run_id[:8]}"
    assert known["Kept in"] == str(tell.home / "headrace.db")
    assert re.fullmatch(r"process \d+ on \S+", known["Ran in"])


def test_the_command_that_is_shown_for_a_task_run_works(tell: Teller) -> None:
    last = tell("flow-run", "inspect", tell.id_of("pipeline")).stdout.splitlines()[-1]

    assert tell(*last.partition("headrace ")[2].split()).stdout.startswith("Task run  flaky-001\n")


def test_programs_get_every_task_run_and_the_subflow_runs(tell: Teller) -> None:
    run = tell.json("flow-run", "inspect", tell.id_of("pipeline"))

    assert [task["name"] for task in run["task_runs"]] == ["flaky-001", "twice of 3", "add-003", "broken-004"]
    assert [flow["flow_name"] for flow in run["subflow_runs"]] == ["child"]
    assert run["task_runs"][2]["parent_task_run_id"] == run["task_runs"][1]["id"]
    assert [state["name"] for state in run["task_runs"][0]["transitions"]] == [
        *("Running", "AwaitingRetry", "Retrying", "AwaitingRetry", "Retrying", "Completed"),
    ]
    assert run["task_runs"][3]["state"]["type"] == "FAILED"
    assert run["log_count"] == 3


def test_a_run_whose_process_was_killed_says_so(tell: Teller) -> None:
    shown = tell("flow-run", "inspect", tell.id_of("killed")).stdout

    assert re.search(r"^State +Running\(\), but its process ended without a word$", shown, re.MULTILINE)
    assert names(shown) == ["✗ killed", "✗ stopped_short-001", "✓ kept-002"]


def test_looking_at_a_dead_run_leaves_its_record_alone(tell_own: Teller) -> None:
    before = (tell_own.home / "headrace.db").read_bytes()

    tell_own("flow-run", "inspect", tell_own.id_of("killed"))

    assert (tell_own.home / "headrace.db").read_bytes() == before


@pytest.mark.parametrize("columns", ["20", "40", "60", "200"])
def test_no_line_of_a_tree_is_wider_than_the_page(tell: Teller, columns: str) -> None:
    shown = tell("flow-run", "inspect", tell.id_of("pipeline"), COLUMNS=columns).stdout
    drawn = [line for line in shown.splitlines() if BAR.search(line) or "─" in line]

    assert len(drawn) >= 7 or columns == "20"
    assert max(map(len, drawn), default=0) <= int(columns)


def test_a_page_of_ascii_gets_a_tree_of_ascii(tell: Teller) -> None:
    run_id = tell.id_of("pipeline")
    from click.testing import CliRunner

    from headrace.cli import headrace

    shown = CliRunner(charset="ascii").invoke(headrace, ["flow-run", "inspect", run_id], env=dict(tell.settings))

    assert shown.exit_code == 0
    assert "|- * flaky-001 x3" in shown.output
    assert shown.output.isascii()


MANY = """
from headrace import flow, task

@task
def square(x):
    if x == 4000:
        raise ValueError(x)
    return x * x

@flow
def deep(levels):
    if levels:
        deep(levels - 1)

@flow
def many():
    for x in range(5000):
        square(x, return_state=True)

many()
deep(15)
"""


@pytest.fixture(scope="module")
def tell_many(tmp_path_factory: pytest.TempPathFactory) -> Teller:
    home = tmp_path_factory.mktemp("many") / "home"
    record(MANY, home)
    return Teller(home)


def test_a_large_run_is_shown_by_its_first_slowest_and_failed_task_runs(tell_many: Teller) -> None:
    shown = tell_many("flow-run", "inspect", tell_many.id_of("many"), "--limit", "12").stdout

    assert {"✓ square-001", "✓ square-002", "✓ square-003", "✗ square-fa1"} < set(names(shown))
    assert len(names(shown)) <= 1 + 3 + 3 + 3
    assert re.search(r"└─ … 4,99\d more task runs \(of all 5,000: 4,999 completed, 1 failed\)", shown)


def test_a_deep_run_ends_where_a_page_would(tell_many: Teller) -> None:
    outermost = tell_many.json("flow-run", "ls", "--limit", "16")[-1]

    shown = tell_many("flow-run", "inspect", outermost["id"]).stdout

    assert outermost["parent_id"] is None
    assert len(names(shown)) == 13
    assert "… its calls are deeper than is shown" in shown


def test_a_subflow_of_a_task_stands_under_that_task(tmp_path: Path) -> None:
    home = tmp_path / "home"
    record(
        "from headrace import flow, task\n@flow\ndef inner(): pass\n@task\ndef calls(): inner()\n"
        "@flow\ndef outer(): calls()\nouter()\n",
        home,
    )
    tell = Teller(home)

    shown = tell("flow-run", "inspect", tell.id_of("outer")).stdout

    assert names(shown) == ["✓ outer", "✓ calls-001", "✓ inner"]
    assert "   └─ ✓ inner (" in shown
