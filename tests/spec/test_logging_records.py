"""Log records of runs: the ids on them, the levels at which they are made, and who else may listen."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import headrace
from headrace import flow, get_run_logger, task
from headrace.logging import get_logger
from tests.spec.forms import Form, Record, call
from tests.spec.seen import Kept, application

Said = Callable[[], list[str]]


@pytest.fixture
def level() -> Iterator[Callable[[int], None]]:
    top = logging.getLogger("headrace")
    before = top.level
    yield top.setLevel
    top.setLevel(before)


# -- ids on records ---------------------------------------------------------------------------------------------

NAMES = (
    "flow_run_id", "flow_run_name", "flow_name", "task_run_id", "task_run_name", "task_name", "trace_id", "span_id",
)  # fmt: skip


def ids_on(about: dict[str, Any]) -> dict[str, str]:
    return {name: about[name] for name in NAMES}


def test_the_filter_puts_run_ids_on_any_loggers_records(record: Record, kept: Kept, form: Form) -> None:
    library = logging.getLogger("some.library")

    @form.task()
    async def step() -> None:
        library.warning("in the task")

    @form.flow()
    async def work() -> None:
        library.warning("in the flow")
        await call(step)

    library.warning("outside")
    form.run(work)

    run, child = record.flow_run(), record.task_run()
    flow_ids = {"flow_run_id": run.id, "flow_run_name": run.name, "flow_name": "work"}
    nothing = dict.fromkeys(NAMES, "")
    assert ids_on(kept.about("outside")) == nothing
    assert ids_on(kept.about("in the flow")) == nothing | flow_ids
    task_ids = {"task_run_id": child.id, "task_run_name": child.name, "task_name": "step"}
    assert ids_on(kept.about("in the task")) == nothing | flow_ids | task_ids


def test_while_nothing_is_traced_trace_ids_are_empty(record: Record, kept: Kept, form: Form) -> None:
    @form.flow()
    async def work() -> None:
        get_run_logger().info("here")

    form.run(work)

    assert (kept.about("here")["trace_id"], kept.about("here")["span_id"]) == ("", "")


def test_traced_records_carry_the_innermost_span_of_the_runs_trace(kept: Kept, form: Form) -> None:
    library = logging.getLogger("some.library")
    with application() as app:

        @form.task()
        async def step() -> None:
            get_run_logger().info("in the task")
            with app.tracer.start_as_current_span("parse"):
                library.warning("in the user's span")

        @form.flow()
        async def work() -> None:
            await call(step)

        form.run(work)
        with app.tracer.start_as_current_span("request"):
            library.warning("outside of runs")

        spans = app.spans()

    for message, name in (
        ("in the task", "step"),
        ("in the user's span", "parse"),
        ("outside of runs", "request"),
        ("Created flow run %r for flow 'work'" % kept.about("in the task")["flow_run_name"], "work"),  # noqa: UP031
    ):
        about = kept.about(message)
        assert (about["trace_id"], about["span_id"]) == (spans.one(name).trace, spans.one(name).id)


def test_a_record_about_a_run_made_outside_its_context_carries_the_runs_span(kept: Kept) -> None:
    with application() as app:

        @task
        def step() -> None:
            logger = get_run_logger()
            thread = threading.Thread(target=lambda: logger.info("from a bare thread"))
            thread.start()
            thread.join()

        @flow
        def work() -> None:
            step()

        work()

        about, span = kept.about("from a bare thread"), app.spans().one("step")
    assert (about["trace_id"], about["span_id"]) == (span.trace, span.id)
    assert about["task_run_id"] == span.run_id


def test_records_of_a_run_that_is_not_sampled_carry_the_trace_that_others_were_told(kept: Kept, form: Form) -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    with application(ALWAYS_OFF) as app:

        @form.flow()
        async def work() -> None:
            get_run_logger().info("here")

        form.run(work)

        assert kept.about("here")["trace_id"] == app.record.flow_run().trace_id


# -- levels -----------------------------------------------------------------------------------------------------


@pytest.fixture
def made() -> Iterator[list[str]]:
    """Count the records that are made."""
    messages: list[str] = []
    before = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        found = before(*args, **kwargs)
        messages.append(found.getMessage())
        return found

    logging.setLogRecordFactory(factory)
    yield messages
    logging.setLogRecordFactory(before)


def test_no_record_is_made_while_the_level_is_off(
    record: Record, made: list[str], level: Callable[[int], None], form: Form
) -> None:
    class Careful:
        def __str__(self) -> str:
            raise AssertionError("formatted for nothing")

    def hook(*_: object) -> None: ...

    @form.task(retries=1, log_prints=True, on_completion=[hook])
    async def step() -> None:
        print(Careful())
        get_run_logger().error("%s", Careful())
        if not counted:
            counted.append(1)
            raise ValueError

    @form.flow()
    async def work() -> None:
        await call(step)

    counted: list[int] = []
    level(logging.CRITICAL + 1)
    form.run(work)

    assert made == []
    assert record.lines() == []


def test_at_warning_only_what_needs_attention_is_made(
    record: Record, made: list[str], level: Callable[[int], None], form: Form
) -> None:
    @form.flow(log_prints=True)
    async def work() -> None:
        print("not this")
        get_run_logger().info("nor this")
        get_run_logger().warning("this")

    level(logging.WARNING)
    form.run(work)

    assert made == ["this"]


def test_loggers_below_headrace_are_the_libraries_own_to_use(record: Record, said: Said) -> None:
    get_logger("mine").info("of a module")

    assert said() == ["INFO | headrace.mine - of a module"]
    assert get_logger().name == "headrace"


def test_caplog_sees_what_runs_say(record: Record, caplog: pytest.LogCaptureFixture, form: Form) -> None:
    @form.flow()
    async def work() -> None:
        get_run_logger().warning("look here")

    with caplog.at_level(logging.WARNING, "headrace"):
        form.run(work)

    assert [(entry.name, entry.getMessage()) for entry in caplog.records] == [("headrace.flow_runs", "look here")]


def test_async_tasks_side_by_side_each_speak_for_themselves(record: Record) -> None:
    @task
    async def step(city: str) -> None:
        await anyio.lowlevel.checkpoint()
        get_run_logger().info(city)

    @flow
    async def work() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(step, "Oslo")
            group.start_soon(step, "Rome")

    headrace.run(work())

    runs = {run.id for run in record.task_runs()}
    assert {line.run_id for line in record.lines()} == runs
    assert sorted(line.message for line in record.lines()) == ["Oslo", "Rome"]
