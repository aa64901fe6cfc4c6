"""Progress: when the line speaks, of which map or stream, and what it leaves behind. On a clock that the tests turn."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest

from headrace import task
from headrace._engine.groups import Group
from headrace._telemetry.progress import Progress
from tests.spec.screen import Terminal, terminal

START = 1_700_000_000_000_000_000


@task
def fetch() -> None: ...


@task
def parse() -> None: ...


class Stage:
    """A progress on a terminal, with the hands that call it back and turn its clock."""

    def __init__(self, tty: Terminal) -> None:
        self.tty = tty
        self.elapsed = 0.0
        self.asked = 0
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.progress = Progress(sys.stderr, lambda: START + int(self.elapsed * 1e9), self.later)

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        self.asked += 1
        self.due.append((self.elapsed + seconds, function))

    def group(self, name: str = "fetch", total: int | None = 100) -> Group:
        """Begin a map or stream."""
        group = Group({"fetch": fetch, "parse": parse}[name].spec, None, total, START + int(self.elapsed * 1e9))
        self.progress.begin(group)
        return group

    def pass_(self, seconds: float) -> list[str]:
        """Let *seconds* pass; give the lines on the screen."""
        until = self.elapsed + seconds
        while self.due and min(self.due, key=lambda due: due[0])[0] <= until:
            self.due.sort(key=lambda due: due[0])
            self.elapsed, function = self.due.pop(0)
            function()
        self.elapsed = until
        return self.tty.lines


@contextmanager
def staged(columns: int = 80) -> Generator[Stage]:
    """Make a terminal this process's stderr for the block, with a progress on it."""
    before = sys.stderr
    with terminal(columns, 12) as tty, tty.file() as stderr:
        sys.stderr = stderr
        stage = Stage(tty)
        try:
            yield stage
        finally:
            stage.progress.close()
            sys.stderr = before


def test_what_takes_but_a_moment_is_never_shown() -> None:
    with staged() as stage:
        group = stage.group()
        stage.pass_(0.9)
        stage.progress.end(group)
        stage.pass_(5)

        assert stage.tty.written == ""


def test_after_a_second_the_line_is_there_and_goes_on_as_the_group_does() -> None:
    with staged() as stage:
        group = stage.group()
        group.done = 10
        assert stage.pass_(1.0) == ["", "fetch  ━───────────  10 of 100 · 10/s · 9 s left"]

        group.done, group.failed = 50, 2
        assert stage.pass_(1.0) == ["", "fetch  ━━━━━━──────  50 of 100 · 2 failed · 25/s · 2 s left"]


def test_the_line_is_drawn_five_to_ten_times_a_second() -> None:
    with staged() as stage:
        stage.group()
        stage.pass_(1.0)
        before = stage.tty.written.count("fetch")
        stage.pass_(10.0)

        assert 50 <= stage.tty.written.count("fetch") - before <= 100


def test_at_its_end_a_group_that_was_shown_leaves_one_line() -> None:
    with staged() as stage:
        group = stage.group()
        stage.pass_(4.0)
        group.done = 100
        stage.progress.end(group)

        assert stage.pass_(5.0) == ["fetch  100 done in 4.0 s · 25/s"]


def test_a_group_that_ends_early_says_how_far_it_came() -> None:
    with staged() as stage:
        group = stage.group()
        stage.pass_(4.0)
        group.done, group.failed, group.total = 30, 1, 30
        stage.progress.end(group)

        assert stage.tty.lines == ["fetch  30 of 100 done in 4.0 s · 1 failed · 7.5/s"]


def test_of_several_groups_the_one_that_began_first_has_the_line() -> None:
    with staged() as stage:
        first = stage.group("fetch", 10)
        second = stage.group("parse", None)
        first.done = second.done = 5

        assert stage.pass_(2.0) == ["", "fetch  ━━━━━━──────  5 of 10 · 2.5/s · 2 s left · 1 more in progress"]

        stage.progress.end(first)
        second.done = 8
        assert stage.pass_(2.0) == ["fetch  5 of 10 done in 2.0 s · 2.5/s", "", "parse  8 done · 2.0/s"]


def test_a_group_that_never_had_the_line_leaves_none() -> None:
    with staged() as stage:
        first = stage.group("fetch")
        second = stage.group("parse")
        stage.pass_(2.0)
        stage.progress.end(second)
        assert [line for line in stage.tty.lines if "parse" in line] == []

        stage.progress.end(first)
        assert stage.tty.lines == ["fetch  0 of 100 done in 2.0 s"]


def test_many_short_groups_in_a_row_are_looked_at_now_and_then_only() -> None:
    with staged() as stage:
        for _ in range(100):
            stage.progress.end(stage.group())
            stage.pass_(0.01)

        assert stage.asked <= 2


def test_a_map_of_nothing_is_not_waited_for() -> None:
    with staged() as stage:
        stage.group(total=0)

        assert stage.asked == 0


def test_when_nothing_is_in_progress_nobody_is_called_back() -> None:
    with staged() as stage:
        group = stage.group()
        stage.pass_(2.0)
        stage.progress.end(group)
        stage.pass_(2.0)
        assert stage.due == []

        stage.group("parse")
        assert stage.pass_(1.5)[-1].startswith("parse  ")


def test_the_line_is_gone_when_the_process_ends_amid_a_group() -> None:
    with staged() as stage:
        stage.group()
        stage.pass_(2.0)
        stage.progress.close()

        assert stage.tty.lines == []
        assert stage.pass_(2.0) == []


def test_a_clock_that_is_set_back_harms_nothing() -> None:
    with staged() as stage:
        stage.group()
        stage.pass_(2.0)
        stage.elapsed -= 3_600
        stage.progress.tick()

        assert stage.tty.lines == []


@pytest.mark.parametrize("columns", [30, 60, 120])
def test_the_line_fits_the_terminal(columns: int) -> None:
    with staged(columns) as stage:
        stage.group().done = 10
        stage.pass_(1.5)

        assert len(stage.tty.lines) == 2
        assert len(stage.tty.lines[1]) < columns


def test_a_terminal_without_such_signs_gets_others() -> None:
    before = sys.stderr
    with terminal() as tty, tty.file("ascii") as stderr:
        sys.stderr = stderr
        try:
            stage = Stage(tty)
            stage.group().done = 10
            stage.pass_(1.0)
            said = tty.lines
            stage.progress.close()
        finally:
            sys.stderr = before

    assert said == ["", "fetch  #-----------  10 of 100 | 10/s | 9 s left"]
