"""`log_prints`: which prints become log lines, of which run, and what stays as it was."""

from __future__ import annotations

import builtins
import inspect
import io
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from headrace import flow, task
from tests.spec.forms import Form, Record, call

Lines = Callable[[], list[str]]
Printed = pytest.CaptureFixture[str]


def prints(lines: list[str]) -> list[str]:
    """Leave out what the engine itself says."""
    return [line.removeprefix("INFO | ") for line in lines if "Finished" not in line and "Created" not in line]


def test_a_print_becomes_a_line_of_its_run(form: Form, kind: str, record: Record, said: Lines, capsys: Printed) -> None:
    @form.decorate(kind, log_prints=True, **{f"{kind}_run_name": "this run"})
    async def talks() -> None:
        print("hello", 5)

    form.run(talks)

    assert prints(said()) == [f"{kind.title()} run 'this run' - hello 5"]
    assert [line.message for line in record.lines()] == ["hello 5"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("option", [None, False])
def test_without_the_option_prints_stay_prints(
    form: Form, kind: str, said: Lines, capsys: Printed, option: bool | None
) -> None:
    @form.decorate(kind, log_prints=option)
    async def talks() -> None:
        print("hello")

    form.run(talks)

    assert (prints(said()), capsys.readouterr().out) == ([], "hello\n")


@pytest.mark.parametrize(
    ("of_flow", "of_task", "logged"),
    [
        (True, None, True),
        (True, False, False),
        (False, None, False),
        (False, True, True),
        (None, None, False),
        (None, True, True),
    ],
)
def test_a_task_does_as_its_flow_unless_it_says_otherwise(
    form: Form, said: Lines, capsys: Printed, of_flow: bool | None, of_task: bool | None, logged: bool
) -> None:
    @form.task(log_prints=of_task, task_run_name="inner")
    async def talks() -> None:
        print("hello")

    @form.flow(log_prints=of_flow)
    async def pipeline() -> None:
        await call(talks)

    form.run(pipeline)

    assert prints(said()) == (["Task run 'inner' - hello"] if logged else [])
    assert capsys.readouterr().out == ("" if logged else "hello\n")


def test_a_subflow_and_its_tasks_do_as_the_flow_above(form: Form, said: Lines) -> None:
    @form.task(task_run_name="leaf")
    async def leaf() -> None:
        print("from the leaf")

    @form.flow(flow_run_name="sub")
    async def sub() -> None:
        print("from the subflow")
        await call(leaf)

    @form.flow(log_prints=True)
    async def top() -> None:
        await call(sub)

    form.run(top)

    assert prints(said()) == ["Flow run 'sub' - from the subflow", "Task run 'leaf' - from the leaf"]


def test_sep_and_end_are_kept_but_for_the_last_line_break(form: Form, said: Lines) -> None:
    @form.flow(log_prints=True, flow_run_name="f")
    async def talks() -> None:
        print("a", "b", sep="-")
        print("a", "b", sep=None, end=None)
        print("no break", end="")
        print("two\nlines")
        print("other end", end="!\n")
        print()

    form.run(talks)

    assert prints(said()) == [
        "Flow run 'f' - a-b",
        "Flow run 'f' - a b",
        "Flow run 'f' - no break",
        "Flow run 'f' - two\nlines",
        "Flow run 'f' - other end!",
        "Flow run 'f' - ",
    ]


def test_only_what_goes_to_the_console_is_logged(form: Form, said: Lines, capsys: Printed) -> None:
    file = io.StringIO()

    @form.flow(log_prints=True, flow_run_name="f")
    async def talks() -> None:
        print("to a file", file=file)
        print("to stdout", file=sys.stdout)
        print("to stderr", file=sys.stderr, flush=True)

    form.run(talks)

    assert prints(said()) == ["Flow run 'f' - to stdout", "Flow run 'f' - to stderr"]
    assert file.getvalue() == "to a file\n"
    assert capsys.readouterr().out == ""


def test_a_percent_sign_is_only_a_sign(form: Form, said: Lines) -> None:
    @form.flow(log_prints=True, flow_run_name="f")
    async def talks() -> None:
        print("100 %s done")

    form.run(talks)

    assert prints(said()) == ["Flow run 'f' - 100 %s done"]


def test_the_record_points_to_the_line_that_printed(caplog: pytest.LogCaptureFixture) -> None:
    @flow(log_prints=True)
    def talks() -> int:
        print("here")
        frame = inspect.currentframe()
        assert frame is not None
        return frame.f_lineno

    with caplog.at_level("INFO", "headrace"):
        line = talks()

    (record,) = [record for record in caplog.records if record.getMessage() == "here"]
    assert (record.filename, record.lineno, record.funcName) == ("test_prints.py", line - 3, "talks")


def test_print_is_restored_after_the_run_also_a_failed_one(form: Form, kind: str) -> None:
    before = builtins.print

    @form.decorate(kind, log_prints=True)
    async def fails() -> None:
        assert builtins.print is not before
        raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        form.run(fails)

    assert builtins.print is before


def test_a_wrapper_that_somebody_puts_around_print_meanwhile_is_left_alone(said: Lines, capsys: Printed) -> None:
    before = builtins.print
    theirs: list[Any] = []

    @flow(log_prints=True, flow_run_name="f")
    def wraps() -> None:
        ours = builtins.print

        def wrapper(*values: Any, **options: Any) -> None:
            theirs.append(values)
            ours(*values, **options)

        builtins.print = wrapper
        print("one")

    @flow(log_prints=True, flow_run_name="f")
    def talks(word: str) -> None:
        print(word)

    try:
        wraps()
        print("two")
        talks("three")
    finally:
        builtins.print = before
    talks("four")
    print("five")

    assert theirs == [("one",), ("two",), ("three",)]
    assert prints(said()) == ["Flow run 'f' - one", "Flow run 'f' - three", "Flow run 'f' - four"]
    assert capsys.readouterr().out == "two\nfive\n"


def test_prints_of_threads_outside_the_run_stay_prints(said: Lines, capsys: Printed) -> None:
    @flow(log_prints=True)
    def pipeline() -> None:
        thread = threading.Thread(target=lambda: print("outside"))
        thread.start()
        thread.join()

    pipeline()

    assert prints(said()) == []
    assert capsys.readouterr().out == "outside\n"


def test_prints_of_a_task_in_a_thread_of_its_own_are_its_lines(said: Lines) -> None:
    @task(task_run_name="inner", timeout_seconds=60)
    def talks() -> None:
        print("from the thread")

    @flow(log_prints=True)
    def pipeline() -> None:
        talks()

    pipeline()

    assert prints(said()) == ["Task run 'inner' - from the thread"]


def test_two_threads_with_runs_of_their_own_do_not_mix(said: Lines) -> None:
    both_in = threading.Barrier(2, timeout=10)

    @task(log_prints=True)
    def talks() -> None:
        both_in.wait()
        print("in", threading.current_thread().name)
        both_in.wait()

    threads = [threading.Thread(target=talks.with_options(task_run_name=name), name=name) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(prints(said())) == ["Task run 'one' - in one", "Task run 'two' - in two"]
    assert builtins.print.__module__ == "builtins"


def test_what_raises_while_it_is_printed_raises_in_the_body(form: Form) -> None:
    class Shy:
        def __str__(self) -> str:
            raise LookupError("no words")

    @form.flow(log_prints=True)
    async def talks() -> None:
        print(Shy())

    with pytest.raises(LookupError, match="no words"):
        form.run(talks)
