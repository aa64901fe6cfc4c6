"""`headrace flow-run watch`: a run is seen as it goes on, on a terminal and elsewhere, and how it ended."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import orjson
import pytest

from headrace.cli import watch
from tests.spec.screen import Terminal, terminal
from tests.unit.cli.recorded import Shop, Teller, environment


@contextmanager
def watching(shop: Shop, on: Terminal, *words: str) -> Generator[subprocess.Popen[bytes]]:
    """Watch the newest run on a terminal, in a process of its own."""
    command = [sys.executable, "-m", "headrace", "flow-run", "watch", "last", "--every", "0.05", *words]
    sized = environment(shop.home, PYTHONIOENCODING="utf-8")
    env = {name: value for name, value in sized.items() if name not in {"COLUMNS", "LINES"}}
    with on.file() as file:
        process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    on.leave()
    try:
        yield process
    finally:
        process.kill()
        process.wait(60)


def test_each_change_of_a_state_is_a_line_in_the_order_of_time(tell: Teller) -> None:
    lines = tell("flow-run", "watch", tell.id_of("pipeline"), COLUMNS=None).stdout.splitlines()

    told = [line.split("  ", 1)[1] for line in lines]
    assert told[0].startswith("▶ pipeline (")
    assert "· flaky-001  AwaitingRetry: Attempt 1 of 3 failed: ConnectionError('the server is away')" in told[2]
    assert (
        told[-2] == "✗ broken-004  Failed: Task run encountered an exception: ValueError: no such column: price\\x1b[2J"
    )
    assert told[-1].endswith("  Completed")
    assert [line[:12] for line in lines] == sorted(line[:12] for line in lines)


def test_programs_get_each_change_as_an_object(tell: Teller) -> None:
    run_id = tell.id_of("fails")

    lines = tell("flow-run", "watch", run_id, "--output", "json", status=1).stdout.splitlines()

    begun, failed = map(orjson.loads, lines)
    assert (begun["run_id"], begun["kind"], begun["name"]) == (run_id, "flow-run", "Running")
    assert failed["message"] == "Flow run encountered an exception: RuntimeError: ends badly"
    assert begun["at"] <= failed["at"]


def test_of_more_calls_than_are_read_those_are_told_that_did_not_complete(tell: Teller) -> None:
    told = tell("flow-run", "watch", tell.id_of("pipeline"), "--limit", "1").stdout

    assert "✗ broken-004  Failed" in told
    assert "twice" not in told


def test_a_durable_run_whose_process_ended_is_watched_for_as_long_as_somebody_may_take_it_up(
    tell: Teller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "ABANDONED", 0.1)

    told = tell("flow-run", "watch", tell.id_of("killed"), "--every", "0.05", status=1).stdout

    assert told.count(" killed ") == 1


def test_a_run_that_is_not_there_ends_with_1(tell: Teller) -> None:
    assert "No flow run has an id that begins with 'feed'" in tell("flow-run", "watch", "feed", status=1).stderr


def test_on_a_terminal_the_tree_is_drawn_again_where_it_stands(shop: Shop) -> None:
    shop.mend()
    with terminal(columns=40, rows=12) as on:
        with shop.shipping(str(shop.program), "order", "7"):
            with watching(shop, on) as process:
                on.wait_for(lambda lines: any("▶ ship-002" in line for line in lines) and "Running()" in lines)
                (shop.folder / "slow").unlink()
                on.wait_for_the_end()
                assert process.wait(60) == 0
            (shop.folder / "slow").touch()

        lines = on.lines
        assert [line.split(" (")[0].split("  ")[0] for line in lines[:3]] == [
            "✓ order",
            "├─ ✓ charge-001",
            "└─ ✓ ship-002",
        ]
        assert lines[-1] == "Completed()"
        assert len(lines) == 7
        assert on.written.count("order (") > 1


def test_what_a_terminal_has_no_rows_for_is_counted(shop: Shop) -> None:
    shop.mend()
    assert shop.ended(str(shop.program), "order", "lost").returncode == 1

    with terminal(columns=60, rows=5) as on:
        with watching(shop, on) as process:
            on.wait_for_the_end()
            assert process.wait(60) == 1
        lines = on.lines

    assert len(lines) == 4
    assert lines[2] == "… 5 more lines"
    assert lines[3].startswith("Failed('Flow run encountered an exception: LookupError: no ")


def test_ctrl_c_ends_the_watching_and_not_the_run(shop: Shop) -> None:
    shop.mend()
    with terminal() as on, shop.shipping(str(shop.program), "order", "7") as order:
        with watching(shop, on) as process:
            on.wait_for(lambda lines: "Running()" in lines)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        assert order.poll() is None

    assert order.returncode == 0
    assert Teller(shop.home).json("flow-run", "ls")[0]["state"]["name"] == "Completed"
