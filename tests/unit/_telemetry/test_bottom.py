"""The bottom line: on a terminal of the kernel's, among others that write there."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
import termios
import threading
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

import pytest

from headrace._telemetry.bottom import BottomLine
from tests.spec.screen import Terminal, terminal


@contextmanager
def standing() -> Generator[tuple[Terminal, BottomLine]]:
    """
    Make a terminal this process's stderr, and by another file its stdout; give it with a line on it.

    Not a fixture: pytest puts its own streams back between a test's fixtures and the test.
    """
    before = sys.stdout, sys.stderr
    with terminal(40, 6) as tty, tty.file() as stdout, tty.file() as stderr:
        sys.stdout, sys.stderr = stdout, stderr
        line = BottomLine(stderr)
        try:
            yield tty, line
        finally:
            line.hide()
            sys.stdout, sys.stderr = before


def shown(bottom: BottomLine, text: str) -> bool:
    return bottom.show(lambda columns: text[:columns])


def test_the_line_stands_in_the_row_below_the_cursor() -> None:
    with standing() as (tty, bottom):
        print("before", file=sys.stderr)
        shown(bottom, "1 of 3")

        assert tty.lines == ["before", "", "1 of 3"]
        assert (tty.screen.row, tty.screen.column) == (1, 0)


def test_a_line_drawn_again_takes_the_place_of_the_one_before() -> None:
    with standing() as (tty, bottom):
        shown(bottom, "99 of 100")
        shown(bottom, "all")

        assert tty.lines == ["", "all"]


def test_nothing_is_left_of_a_line_that_is_hidden() -> None:
    with standing() as (tty, bottom):
        print("before", file=sys.stderr)
        shown(bottom, "1 of 3")
        bottom.hide()
        print("after", file=sys.stderr)

        assert tty.lines == ["before", "after"]


def test_a_line_may_end_with_words_that_stay() -> None:
    with standing() as (tty, bottom):
        print("before", file=sys.stderr)
        shown(bottom, "1 of 3")
        bottom.hide(lambda columns: "3 done")
        print("after", file=sys.stderr)

        assert tty.lines == ["before", "3 done", "after"]


def test_a_line_that_never_stood_there_leaves_no_last_words() -> None:
    with standing() as (tty, bottom):
        bottom.hide(lambda columns: "3 done")

        assert tty.written == ""


@pytest.mark.parametrize("many", [1, 2, 20])
def test_prints_stand_above_the_line_each_in_a_row_of_its_own(many: int) -> None:
    with standing() as (tty, bottom):
        shown(bottom, "1 of 3")
        for number in range(many):
            print("row", number)

        assert tty.lines == [*(f"row {number}" for number in range(many)), "", "1 of 3"]


def test_prints_to_stdout_and_stderr_keep_their_order() -> None:
    with standing() as (tty, bottom):
        shown(bottom, "1 of 3")
        for number in range(4):
            print(number, file=sys.stderr if number % 2 else sys.stdout)

        assert tty.lines == ["0", "1", "2", "3", "", "1 of 3"]


def test_lines_of_a_handler_made_long_before_stand_above_the_line() -> None:
    with standing() as (tty, bottom):
        handler = logging.StreamHandler(sys.stderr)
        bottom = BottomLine(sys.stderr)
        shown(bottom, "1 of 3")
        for number in range(3):
            handler.emit(logging.makeLogRecord({"msg": f"said {number}"}))

        assert tty.lines == ["said 0", "said 1", "said 2", "", "1 of 3"]
        bottom.hide()


def test_a_print_longer_than_a_row_leaves_nothing_of_the_line_between() -> None:
    with standing() as (tty, bottom):
        shown(bottom, "1 of 3, and many words that fill the row")
        print("a" * 100)

        assert tty.lines == ["a" * 40, "a" * 40, "a" * 20, "", "1 of 3, and many words that fill the ro"]


def test_a_row_that_is_not_ended_goes_on_after_the_line_was_drawn() -> None:
    with standing() as (tty, bottom):
        print("asking... ", end="", flush=True)
        shown(bottom, "1 of 3")
        assert tty.lines == ["asking...", "1 of 3"]

        print("still... ", end="", flush=True)
        shown(bottom, "2 of 3")
        print("done")

        assert tty.lines == ["asking... still... done", "", "2 of 3"]


def test_last_words_begin_a_row_of_their_own_where_one_is_not_ended() -> None:
    with standing() as (tty, bottom):
        print("asking... ", end="", flush=True)
        shown(bottom, "1 of 3")
        bottom.hide(lambda columns: "3 done")

        assert tty.lines == ["asking...", "3 done"]


def test_what_another_process_writes_is_not_taken_away() -> None:
    with standing() as (tty, bottom):
        shown(bottom, "1 of 3")
        os.write(tty.theirs, b"from a child\n")
        shown(bottom, "2 of 3")

        assert tty.lines == ["from a child", "", "2 of 3"]


def test_at_the_bottom_of_the_screen_all_moves_up() -> None:
    with standing() as (tty, bottom):
        for number in range(6):
            print(number)
        shown(bottom, "1 of 3")
        shown(bottom, "2 of 3")

        assert tty.lines == [*"012345", "", "2 of 3"]


def test_no_line_is_as_wide_as_the_terminal() -> None:
    with standing() as (_, bottom):
        shown(bottom, "-" * 100)

        assert len(bottom.text) == 39


def test_the_width_is_that_of_the_moment() -> None:
    with standing() as (tty, bottom):
        shown(bottom, "-" * 100)
        termios.tcsetwinsize(tty.theirs, (6, 20))
        shown(bottom, "-" * 100)

        assert len(bottom.text) == 19


def test_a_terminal_of_one_row_has_no_line() -> None:
    with standing() as (tty, bottom):
        termios.tcsetwinsize(tty.theirs, (1, 20))

        assert not shown(bottom, "1 of 3")
        assert tty.lines == []


def test_while_stderr_is_replaced_no_line_stands_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]
) -> None:
    with standing() as (tty, bottom):
        shown(bottom, "1 of 3")
        with open(os.path.join(tmp_path, "errors"), "w", encoding="utf-8") as file, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", file)

            assert not shown(bottom, "2 of 3")
        assert tty.lines == []


def test_where_stdout_is_no_terminal_prints_go_their_own_way() -> None:
    with standing() as (tty, bottom), redirect_stdout(io.StringIO()) as kept:
        shown(bottom, "1 of 3")
        print("kept")

        assert kept.getvalue() == "kept\n"
        assert tty.lines == ["", "1 of 3"]


def test_a_print_takes_the_line_away_only_with_the_end_of_its_row() -> None:
    with standing() as (tty, bottom):
        shown(bottom, "1 of 3")
        tty.read()
        before = len(tty.written)
        print("many", "words")
        tty.read()

        assert tty.written[before:].startswith("many words\x1b[J\r\n")


def test_streams_are_as_they_were_when_the_line_is_gone() -> None:
    with standing() as (_, bottom):
        shown(bottom, "1 of 3")
        assert {"write"} <= vars(sys.stderr).keys() & vars(sys.stdout).keys()
        bottom.hide()

        assert "write" not in vars(sys.stderr).keys() | vars(sys.stdout).keys()


def test_a_stream_that_somebody_wrapped_meanwhile_stays_so_and_works() -> None:
    with standing() as (tty, bottom):
        shown(bottom, "1 of 3")
        below = sys.stderr.write
        sys.stderr.write = lambda text: below(text.upper())  # type: ignore[method-assign]
        print("wrapped", file=sys.stderr)
        bottom.hide()
        print("hidden", file=sys.stderr)
        shown(bottom, "2 of 3")
        print("again", file=sys.stderr)

        assert tty.lines == ["WRAPPED", "HIDDEN", "AGAIN", "", "2 OF 3"]


def test_where_the_terminal_takes_no_text_nobody_waits_and_the_next_print_brings_the_line() -> None:
    with standing() as (tty, bottom):
        shown(bottom, "1 of 3")
        termios.tcflow(tty.theirs, termios.TCOOFF)
        shown(bottom, "2 of 3")
        termios.tcflow(tty.theirs, termios.TCOON)
        assert tty.lines == ["", "1 of 3"]

        print("flows again")
        assert tty.lines == ["flows again", "", "2 of 3"]


def test_a_line_that_is_hidden_while_the_terminal_takes_no_text_is_gone_once_it_does() -> None:
    with standing() as (tty, bottom):
        shown(bottom, "1 of 3")
        termios.tcflow(tty.theirs, termios.TCOOFF)
        hider = threading.Thread(target=lambda: bottom.hide(lambda columns: "3 done"))
        hider.start()
        while bottom.text:
            pass
        termios.tcflow(tty.theirs, termios.TCOON)
        hider.join()

        assert tty.lines == ["3 done"]


def test_while_another_thread_writes_nobody_waits_and_the_next_print_brings_the_line() -> None:
    with standing() as (tty, bottom):
        shown(bottom, "1 of 3")
        with bottom.lock:
            drawer = threading.Thread(target=shown, args=(bottom, "2 of 3"))
            drawer.start()
            drawer.join()
        assert tty.lines == ["", "1 of 3"]

        print("free again")
        assert tty.lines == ["free again", "", "2 of 3"]


def test_a_writer_does_not_wait_for_ever_for_one_who_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    with standing() as (tty, bottom):
        monkeypatch.setattr("headrace._telemetry.bottom.PATIENCE", 0.01)
        shown(bottom, "1 of 3")
        with bottom.lock:
            writer = threading.Thread(target=print, args=("all the same",))
            writer.start()
            writer.join()

        assert tty.lines[0] == "all the same"


def test_a_forked_child_draws_nothing_and_writes_as_ever() -> None:
    with standing() as (tty, bottom):
        shown(bottom, "1 of 3")
        before = len(tty.lines), tty.written
        child = os.fork()
        if not child:
            shown(bottom, "2 of 3")
            print("child", end="", flush=True)
            bottom.hide(lambda columns: "3 done")
            os._exit(0)
        os.waitpid(child, 0)

        assert before == (2, tty.written)
        assert tty.lines == ["child", "1 of 3"]
        assert tty.written.removeprefix(before[1]) == "child"


def test_a_terminal_that_goes_away_ends_the_line_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal() as made, made.file() as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        bottom = BottomLine(stderr)
        os.dup2(os.open(os.devnull, os.O_RDONLY), stderr.fileno())

        assert not shown(bottom, "1 of 3")
        assert isinstance(bottom.problem, OSError)
        bottom.hide(lambda columns: "3 done")


def test_a_terminal_that_goes_away_under_the_line_costs_no_print() -> None:
    with standing() as (tty, bottom):
        shown(bottom, "1 of 3")
        sys.stderr.close()
        print("all the same")

        assert tty.lines[0] == "all the same"


def test_a_stream_that_lets_nobody_stand_in_has_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with standing() as (_, bottom):

        class Closed:
            __slots__ = ("file",)

            def __init__(self, file: TextIO) -> None:
                self.file = file

            def __getattr__(self, name: str) -> object:
                return getattr(self.file, name)

        monkeypatch.setattr(sys, "stdout", Closed(sys.stdout))
        bottom = BottomLine(sys.stderr)

        assert not shown(bottom, "1 of 3")
        assert "write" not in vars(sys.stderr)


BEHIND_A_SHELL = """
import os, signal, sys
from headrace._telemetry.bottom import BottomLine

terminal = os.open(sys.argv[1], os.O_RDWR)  # the first that a session opens controls it
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
sys.stderr = open(terminal, "w")
child = os.fork()
if not child:
    os.setpgid(0, 0)
    line = BottomLine(sys.stderr)
    print(line.show(lambda columns: "behind"))
    os.tcsetpgrp(terminal, os.getpgrp())
    print(line.show(lambda columns: "in front"), flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def test_behind_a_shell_the_line_waits_until_the_program_is_in_front() -> None:
    with terminal() as tty:
        command = [sys.executable, "-c", BEHIND_A_SHELL, os.ttyname(tty.theirs)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, start_new_session=True, check=True, env=environment
        )

        assert done.stdout.split() == ["False", "True"]
        assert tty.lines == ["", "in front"]
