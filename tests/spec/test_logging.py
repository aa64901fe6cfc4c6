"""Logging inside an application: run loggers, prints, ids on records, what is kept with runs, and what is free."""

from __future__ import annotations

import contextvars
import io
import logging
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

import pytest

from headrace import flow, get_run_logger
from headrace.errors import MissingContextError
from headrace.states import Cancelled, Completed, Crashed, Failed, Scheduled, State
from headrace.testing import virtual_time
from tests.spec.forms import Form, Record, call
from tests.spec.seen import Kept

Said = Callable[[], list[str]]


# -- the run logger ---------------------------------------------------------------------------------------------


def test_the_run_logger_speaks_for_the_run_it_is_asked_in(record: Record, said: Said, form: Form) -> None:
    @form.task()
    async def step() -> None:
        get_run_logger().warning("in %s", "the task")

    @form.flow(flow_run_name="nightly")
    async def work() -> None:
        get_run_logger().info("in the flow")
        await call(step)

    form.run(work)

    name = record.task_run().name
    assert "INFO | Flow run 'nightly' - in the flow" in said()
    assert f"WARNING | Task run '{name}' - in the task" in said()


def test_outside_of_a_run_the_run_logger_is_refused_with_the_next_step() -> None:
    with pytest.raises(MissingContextError) as refused:
        get_run_logger()

    assert str(refused.value) == (
        "The run logger is only there inside a flow or task run, and none is active here. "
        "Ask for it in a function decorated with @flow or @task."
    )


def test_what_a_run_logger_says_is_kept_with_its_run(record: Record, form: Form) -> None:
    @form.task()
    async def step() -> None:
        get_run_logger().error("of the task")

    @form.flow()
    async def work() -> None:
        get_run_logger().info("of the flow")
        await call(step)

    form.run(work)

    assert [(line.run_id, line.level, line.logger, line.message) for line in record.lines()] == [
        (record.flow_run().id, logging.INFO, "headrace.flow_runs", "of the flow"),
        (record.task_run().id, logging.ERROR, "headrace.task_runs", "of the task"),
    ]


def test_a_kept_line_falls_between_its_runs_start_and_end(record: Record, form: Form) -> None:
    @form.flow()
    async def work() -> None:
        get_run_logger().info("within")

    form.run(work)

    run, (line,) = record.flow_run(), record.lines()
    assert run.start_time is not None
    assert run.end_time is not None
    assert run.start_time <= line.at <= run.end_time


def test_lines_about_states_are_shown_and_not_kept(record: Record, said: Said, form: Form) -> None:
    @form.flow()
    async def work() -> None: ...

    form.run(work)

    name = record.flow_run().name
    assert said() == [
        f"INFO | headrace.engine - Created flow run '{name}' for flow 'work'",
        f"INFO | Flow run '{name}' - Finished in state Completed()",
    ]
    assert record.lines() == []


@pytest.mark.parametrize(
    ("state", "level"),
    [(Completed(), "INFO"), (Cancelled(), "INFO"), (Failed(), "ERROR"), (Crashed(), "ERROR"), (Scheduled(), "ERROR")],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_what_somebody_wanted_is_no_error(state: State[None], level: str, said: Said, form: Form, kind: str) -> None:
    @form.decorate(kind)
    async def ends() -> State[None]:
        return state

    form.run(ends, return_state=True)

    assert said()[-1].startswith(f"{level} | {kind.title()} run ")
    assert f" - Finished in state {state.name}" in said()[-1]


def test_a_traceback_is_kept_with_the_run(record: Record, form: Form, kind: str) -> None:
    @form.decorate(kind)
    async def broken() -> None:
        raise LookupError("no such city")

    with pytest.raises(LookupError):
        form.run(broken)

    (line,) = record.lines()
    assert line.message.startswith("Failed with an exception\nTraceback (most recent call last):\n")
    assert line.message.endswith("LookupError: no such city")


def test_extra_of_the_logger_and_of_the_call_are_on_the_record(record: Record, kept: Kept, form: Form) -> None:
    @form.flow()
    async def work() -> None:
        get_run_logger(city="Oslo").info("read", extra={"rows": 3})

    form.run(work)

    assert (kept.about("read")["city"], kept.about("read")["rows"]) == ("Oslo", 3)


def test_a_record_names_the_users_line_as_its_place(record: Record, kept: Kept, form: Form) -> None:
    @form.flow(log_prints=True)
    async def work() -> None:
        get_run_logger().info("logged")
        print("printed")

    form.run(work)

    logged, printed = kept.about("logged"), kept.about("printed")
    assert (logged["filename"], printed["filename"]) == ("test_logging.py", "test_logging.py")
    assert printed["lineno"] == logged["lineno"] + 1
    assert printed["funcName"] == "work"


@contextmanager
def aside() -> Generator[None]:
    """Keep our lines from the root's handlers, pytest's and xdist's, which choke on some; only while a test runs."""
    top = logging.getLogger("headrace")
    top.propagate = False
    try:
        yield
    finally:
        top.propagate = True


def test_arguments_that_do_not_fit_the_format_are_kept_beside_it(record: Record) -> None:
    @flow
    def work() -> None:
        get_run_logger().info("%d cities", "three")

    with aside():
        work()

    assert [line.message for line in record.lines()] == ["%d cities ('three',)"]


@pytest.mark.parametrize(
    ("text", "stored"),
    [("caf\xe9 \N{SNOWMAN}", "caf\xe9 \N{SNOWMAN}"), ("\ud800 alone", "\\ud800 alone")],
    ids=["beyond ASCII", "lone surrogate"],
)
def test_a_message_that_cannot_be_encoded_is_kept_escaped(record: Record, form: Form, text: str, stored: str) -> None:
    @form.flow()
    async def work() -> None:
        get_run_logger().info(text)

    with aside():
        form.run(work)

    assert [line.message for line in record.lines()] == [stored]


def test_a_long_message_is_cut_and_says_so(record: Record, form: Form) -> None:
    @form.flow()
    async def work() -> None:
        get_run_logger().info("x" * 1_000_000)

    form.run(work)

    (line,) = record.lines()
    assert line.message.endswith("x… (cut: 1,000,000 characters)")
    assert len(line.message) < 65_000


def test_under_a_virtual_clock_kept_lines_fall_in_order_with_the_states(record: Record) -> None:
    failures = [ValueError("once")]

    @flow(retries=1, retry_delay_seconds=3600)
    def work() -> None:
        get_run_logger().info("begun")
        if failures:
            raise failures.pop()

    with virtual_time():
        work()

    run, (first, second) = record.flow_run(), record.lines()
    assert [(second.at - first.at).total_seconds()] == [pytest.approx(3600, abs=1)]
    assert run.start_time is not None
    assert run.end_time is not None
    assert run.start_time <= first.at <= second.at <= run.end_time


# -- prints -----------------------------------------------------------------------------------------------------


def test_prints_become_lines_of_the_run_and_are_kept(record: Record, said: Said, form: Form, kind: str) -> None:
    @form.decorate(kind, log_prints=True)
    async def work() -> None:
        print("rows:", 3, sep=" ", end="!\n")
        print("to stderr", file=sys.stderr)

    form.run(work)

    run = record.flow_run() if kind == "flow" else record.task_run()
    assert [line for line in said() if "rows" in line or "stderr" in line] == [
        f"INFO | {kind.title()} run '{run.name}' - rows: 3!",
        f"INFO | {kind.title()} run '{run.name}' - to stderr",
    ]
    assert [(line.run_id, line.message) for line in record.lines()] == [(run.id, "rows: 3!"), (run.id, "to stderr")]


def test_a_print_of_several_lines_is_one_record(record: Record, form: Form) -> None:
    @form.flow(log_prints=True)
    async def work() -> None:
        print("a\nb\n")
        print()

    form.run(work)

    assert [line.message for line in record.lines()] == ["a\nb\n", ""]


def test_tasks_and_subflows_print_as_the_flow_above_unless_they_say(
    record: Record, capsys: pytest.CaptureFixture[str], form: Form
) -> None:
    @form.task()
    async def inherits() -> None:
        print("inherited")

    @form.task(log_prints=False)
    async def own_way() -> None:
        print("on paper")

    @form.flow()
    async def below() -> None:
        print("subflow")

    @form.flow(log_prints=True)
    async def work() -> None:
        await call(inherits)
        await call(own_way)
        await call(below)

    form.run(work)

    assert [line.message for line in record.lines()] == ["inherited", "subflow"]
    assert capsys.readouterr().out == "on paper\n"


def test_prints_into_a_file_stay_there(record: Record, form: Form) -> None:
    class File(io.StringIO):
        def __hash__(self) -> int:
            raise TypeError("unhashable type: 'File'")

    file = File()

    @form.flow(log_prints=True)
    async def work() -> None:
        print("row", file=file)

    form.run(work)

    assert (file.getvalue(), record.lines()) == ("row\n", [])


def test_prints_of_a_thread_are_the_runs_where_its_context_was_copied(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    @flow(log_prints=True)
    def work() -> None:
        context = contextvars.copy_context()
        for target in (lambda: context.run(print, "of the run"), lambda: print("of nobody")):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()

    work()

    assert [line.message for line in record.lines()] == ["of the run"]
    assert capsys.readouterr().out == "of nobody\n"


def test_prints_of_a_body_on_its_timeouts_thread_are_the_runs(record: Record) -> None:
    @flow(log_prints=True, timeout_seconds=60)
    def work() -> None:
        print("from there")

    work()

    assert [line.message for line in record.lines()] == ["from there"]


def test_print_is_itself_again_after_the_run(record: Record, form: Form) -> None:
    import builtins

    before = builtins.print

    @form.flow(log_prints=True)
    async def work() -> None:
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        form.run(work)

    assert builtins.print is before
