"""Progress as a user sees it: programs on a terminal, with log lines and prints amid a map, and programs off it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from headrace.errors import SettingError
from headrace.settings import Settings
from tests.spec.receiver import environment, program
from tests.spec.screen import Terminal, terminal

# Forty pages come at once, ten when the test says "end".
HARVEST = """
import logging, subprocess, sys, threading
from headrace import _runtime, flow, get_run_logger, task

go = threading.Event()

@task
def fetch(page):
    if page >= 40:
        go.wait()
    if page % 10 == 7:
        raise ValueError(page)

@task(log_prints=True)
def talk():
    print("a print that became a line")

@flow
def harvest():
    pages = fetch.map(range(50))
    for order in sys.stdin:
        if order == "talk\\n":
            for number in range(3):
                print("print", number)
                get_run_logger().error("log %d", number)
            logging.getLogger("some.library").warning("a strange date")
            talk()
        if order == "alone\\n":
            subprocess.run(["echo", "a child"], check=True)
            print("back", flush=True)
        if order == "end\\n":
            break
    go.set()
    return len([page.state for page in pages])

print(harvest(), _runtime.current().progress is None)
"""
LINE = r"fetch  ━+─+  40 of 50 · 4 failed · [\d,.]+/(s|min) · \d+ s left"
SUMMARY = r"fetch  50 done in \d+\.\d s · 5 failed · [\d.]+/s"
QUIET = "CRITICAL"


@contextmanager
def on_a_terminal(source: str, home: Path, **more: str) -> Generator[tuple[Terminal, subprocess.Popen[str]]]:
    """Run *source* with a terminal as its stdout and stderr; wait for its end."""
    with terminal(100, 30) as tty:
        given = environment(home, **{"TERM": "xterm", "NO_COLOR": "1", "HEADRACE_LOG_LEVEL": QUIET, **more})
        process = subprocess.Popen(
            [sys.executable, "-c", source],
            stdin=subprocess.PIPE,
            stdout=tty.theirs,
            stderr=tty.theirs,
            env=given,
            text=True,
        )
        tty.leave()
        try:
            yield tty, process
            orders(process).close()
            tty.wait_for_the_end()
        finally:
            process.kill()
            process.wait()


def orders(process: subprocess.Popen[str]) -> IO[str]:
    """Give the pipe on which *process* hears what to do."""
    assert process.stdin is not None
    return process.stdin


def tell(process: subprocess.Popen[str], order: str) -> None:
    """Have *process* obey *order*."""
    orders(process).write(f"{order}\n")
    orders(process).flush()


def shows(lines: list[str], *expected: str) -> bool:
    """Whether *lines* match the patterns *expected*, one by one."""
    return len(lines) == len(expected) and all(map(re.fullmatch, expected, lines))


def test_a_map_shows_how_far_it_is_and_leaves_one_line(tmp_path: Path) -> None:
    with on_a_terminal(HARVEST, tmp_path) as (tty, process):
        tty.wait_for(lambda lines: shows(lines, "", LINE))
        tell(process, "end")

    assert shows(tty.lines, SUMMARY, "50 False"), tty.lines


def test_the_line_goes_on_while_nothing_else_happens(tmp_path: Path) -> None:
    with on_a_terminal(HARVEST, tmp_path) as (tty, process):
        first = tty.wait_for(lambda lines: shows(lines, "", LINE))
        tty.wait_for(lambda lines: shows(lines, "", LINE) and lines != first)
        tell(process, "end")


def test_log_lines_and_prints_amid_it_stand_in_rows_of_their_own(tmp_path: Path) -> None:
    moment = r"\d\d:\d\d:\d\d\.\d{3} \| "
    said = [
        row
        for number in range(3)
        for row in (f"print {number}", rf"{moment}ERROR   \| Flow run '[a-z-]+' - log {number}")
    ]
    said += ["a strange date", rf"{moment}INFO    \| Task run 'talk-[\da-f]+' - a print that became a line"]
    finished = rf"{moment}INFO    \| .* - Finished in state Completed\(\)"
    with on_a_terminal(HARVEST, tmp_path, HEADRACE_LOG_LEVEL="INFO") as (tty, process):
        tty.wait_for(lambda lines: bool(lines) and bool(re.fullmatch(LINE, lines[-1])))
        before = len(tty.lines) - 2
        tell(process, "talk")
        tty.wait_for(lambda lines: shows(lines[before:], *said, finished, "", LINE))
        tell(process, "end")


def test_what_another_process_writes_is_whole(tmp_path: Path) -> None:
    with on_a_terminal(HARVEST, tmp_path) as (tty, process):
        tty.wait_for(lambda lines: shows(lines, "", LINE))
        tell(process, "alone")
        tty.wait_for(lambda lines: shows(lines, "a child", "back", "", LINE))
        tell(process, "end")

    assert shows(tty.lines, "a child", "back", SUMMARY, "50 False"), tty.lines


def test_a_stream_shows_how_many_are_done_and_leaves_one_line(tmp_path: Path) -> None:
    source = """
import asyncio, sys
from headrace import flow, task

@task
async def fetch(page):
    return page

async def pages():
    for page in range(40):
        yield page
    await asyncio.to_thread(sys.stdin.readline)
    yield 40

@flow
async def harvest():
    async with fetch.stream(pages(), limit=8) as results:
        return [page async for page in results]

asyncio.run(harvest())
"""
    with on_a_terminal(source, tmp_path) as (tty, process):
        tty.wait_for(lambda lines: shows(lines, "", r"fetch  40 done · [\d,.]+/(s|min)"))
        tell(process, "end")

    assert shows(tty.lines, r"fetch  41 done in \d+\.\d s · [\d.]+/s"), tty.lines


def test_a_stream_that_nobody_closed_has_no_line_once_its_flow_has_ended(tmp_path: Path) -> None:
    source = """
import sys
from headrace import flow, task

@task
def fetch(page):
    return page

@flow
def harvest():
    kept.append(iter(fetch.stream(range(50), limit=2)))
    next(kept[0])
    sys.stdin.readline()

kept = []
harvest()
sys.stdin.readline()
"""
    with on_a_terminal(source, tmp_path) as (tty, process):
        tty.wait_for(lambda lines: shows(lines, "", "fetch  . done · .*"))
        tell(process, "end of the flow")
        tty.wait_for(lambda lines: shows(lines, r"fetch  \d done in .*"))
        tell(process, "end")


def test_ctrl_c_leaves_no_half_line(tmp_path: Path) -> None:
    source = """
import asyncio
from headrace import flow, task

@task
async def fetch(page):
    await asyncio.sleep(0 if page < 40 else 600)

@flow
async def harvest():
    await fetch.map(range(50))

asyncio.run(harvest())
"""
    with on_a_terminal(source, tmp_path) as (tty, process):
        tty.wait_for(lambda lines: bool(lines) and "40 of 50" in lines[-1])
        process.send_signal(signal.SIGINT)

    assert re.fullmatch(r"fetch  50 done in \d+\.\d s · 10 failed · [\d.]+/s", tty.lines[0]), tty.lines
    assert tty.lines[-1] == "KeyboardInterrupt"
    assert not [line for line in tty.lines if "left" in line or "─" in line]


@pytest.mark.parametrize("off", [{"HEADRACE_PROGRESS": "0"}, {"TERM": "dumb"}])
def test_switched_off_nothing_is_shown(tmp_path: Path, off: dict[str, str]) -> None:
    with on_a_terminal(HARVEST, tmp_path, **off) as (tty, process):
        tell(process, "end")

    assert tty.lines == ["50 True"]
    assert "\x1b" not in tty.written


def test_where_stderr_is_no_terminal_nothing_is_shown(tmp_path: Path) -> None:
    ran = program(HARVEST, tmp_path, HEADRACE_LOG_LEVEL=QUIET)

    assert (ran.out, ran.lines) == ("50 True\n", [])


def test_a_process_that_multiprocessing_made_leaves_the_terminal_to_its_parent(tmp_path: Path) -> None:
    source = """
import multiprocessing
from headrace import _runtime

def shown():
    return _runtime.current().progress is not None

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(1) as pool:
        print(pool.apply(shown), shown())
"""
    with on_a_terminal(source, tmp_path) as (tty, _):
        pass

    assert tty.lines == ["False True"]


def test_a_value_that_cannot_be_is_a_sentence() -> None:
    with pytest.raises(SettingError, match=r"^HEADRACE_PROGRESS is 'maybe'; it must be one of 0, 1\."):
        Settings.read({"HEADRACE_PROGRESS": "maybe"})


@pytest.mark.parametrize(("value", "shown"), [("", True), ("1", True), ("0", False)])
def test_one_and_zero_switch_it(value: str, shown: bool) -> None:
    assert Settings.read({"HEADRACE_PROGRESS": value}).progress is shown
