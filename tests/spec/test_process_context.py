"""Context, logs, prints and what bodies call: in a worker process as in a thread, recorded where the flow runs."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace as api

from headrace import flow, tags
from headrace._engine.life import drive
from headrace._model.records import LogLine, TaskRun
from headrace._runtime import current
from headrace.errors import CancelledRun, WorkerDied
from headrace.runtime import flow_run
from headrace.task_runners import ConcurrentTaskRunner, ProcessPoolTaskRunner
from tests.spec import bodies, speaking_bodies
from tests.spec.forms import Record
from tests.spec.processing import Ledger, in_processes, kept, until
from tests.spec.seen import Kept, Tracing, application


@pytest.fixture(scope="module", autouse=True)
def some_workers() -> Iterator[None]:
    with kept():
        yield


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


# -- the run around ----------------------------------------------------------------------------------------------------


def test_a_body_knows_its_run_its_flow_and_its_tags() -> None:
    @flow(name="outer", version="3", task_runner=ProcessPoolTaskRunner(max_workers=2))
    def outer(day: str) -> tuple[Any, dict[str, Any]]:
        token = speaking_bodies.WORD.set("set by the flow")
        with tags("nightly"):
            future = speaking_bodies.look_around.submit(number=5)
        speaking_bodies.WORD.reset(token)
        mine = (flow_run.id, flow_run.name, "outer", "3")
        return (future.task_run_id, mine), future.result()

    (task_run_id, mine), seen = outer("monday")

    assert seen["task_run"][0] == task_run_id
    assert seen["task_run"][1:] == (f"look_around-{task_run_id[-3:]}", "look_around")
    assert seen["tags"] == ["heavy", "nightly"]
    assert (seen["parameters"], seen["count"]) == ({"number": 5}, 1)
    assert (seen["flow_run"], seen["root"]) == (mine, mine[0])
    assert seen["flow_parameters"] == {"day": "monday"}
    assert (seen["task"], seen["same"]) == ("TaskRunContext", "look_around")


def test_context_variables_of_the_users_stay_behind() -> None:
    speaking_bodies.WORD.set("mine")

    assert in_processes(lambda: speaking_bodies.look_around.submit(1).result())["word"] == "unset"


def test_a_body_knows_the_name_and_options_that_its_task_was_given() -> None:
    renamed = speaking_bodies.look_around.with_options(name="watch", tags=["light"], task_run_name="watch {number}")

    seen = in_processes(lambda: renamed.submit(4).result())

    assert seen["task_run"][1:] == ("watch 4", "watch")
    assert (seen["tags"], seen["same"]) == (["light"], "watch")


def test_the_arguments_of_a_method_are_named_without_its_instance() -> None:
    assert in_processes(lambda: bodies.Factory(2).parameters.submit(7).result()) == {"number": 7}


def lines(record: Record) -> list[LogLine]:
    """Give the lines that were kept with the one task run."""
    found: list[LogLine] = drive(record.store.logs([record.task_run().id]))
    return found


# -- lines and prints --------------------------------------------------------------------------------------------------


def test_lines_are_kept_with_the_run_and_shown_where_the_flow_is(record: Record, said: Callable[[], list[str]]) -> None:
    in_processes(lambda: speaking_bodies.talk.submit(4).result())

    (run,) = record.task_runs()
    assert [(line.level, line.message) for line in lines(record)] == [
        (logging.INFO, "first of 4"),
        (logging.WARNING, "third"),
    ]
    assert f"INFO | Task run '{run.name}' - first of 4" in said()
    assert f"WARNING | Task run '{run.name}' - third" in said()


def test_a_line_comes_with_the_ids_of_its_run_and_what_the_user_added(record: Record, kept: Kept) -> None:
    in_processes(lambda: speaking_bodies.talk.submit(4).result())

    (line,) = [entry for entry in kept.records if entry.getMessage() == "first of 4"]
    (run,) = record.task_runs()
    assert (line.__dict__["part"], line.__dict__["task_run_id"]) == (4, run.id)
    assert line.funcName == "talk"
    assert line.process != os.getpid()


def test_lines_of_any_logger_reach_the_handlers_of_the_application(kept: Kept) -> None:
    in_processes(lambda: speaking_bodies.talk.submit(4).result())

    assert ("tests.bodies", "fourth, of a logger of my own") in [(one.name, one.getMessage()) for one in kept.records]


def test_lines_below_the_level_of_the_flows_process_are_not_sent(record: Record) -> None:
    top = logging.getLogger("headrace")
    before = top.level
    top.setLevel(logging.WARNING)
    try:
        in_processes(lambda: speaking_bodies.talk.submit(4).result())
    finally:
        top.setLevel(before)

    assert [line.message for line in lines(record)] == ["third"]


def test_a_traceback_in_a_line_is_kept(record: Record) -> None:
    in_processes(lambda: speaking_bodies.fail_aloud.submit().result())

    (line,) = lines(record)
    assert line.message.startswith("It was caught\nTraceback (most recent call last):\n")
    assert line.message.endswith("ValueError: seen")


def test_prints_go_to_the_streams_of_the_flows_process(capsys: pytest.CaptureFixture[str]) -> None:
    in_processes(lambda: speaking_bodies.write_both.submit().result())

    out, err = capsys.readouterr()
    assert out == "to stdout\nwithout an end"
    assert "to stderr\n" in err


def test_prints_become_lines_where_the_task_wants_it(record: Record) -> None:
    in_processes(lambda: speaking_bodies.talk_aloud.submit().result())

    assert [line.message for line in lines(record)] == ["one", "two words"]


def test_prints_become_lines_where_the_flow_wants_it(record: Record) -> None:
    @flow(log_prints=True, task_runner=ProcessPoolTaskRunner(max_workers=2))
    def pipeline() -> None:
        speaking_bodies.talk.submit(1).result()

    pipeline()

    assert [line.message for line in lines(record)] == ["first of 1", "second, printed", "third"]


class Here(logging.Handler):
    """Writes lines to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), file=sys.stderr)


def test_lines_and_prints_come_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    here = Here()
    logging.getLogger("headrace.task_runs").addHandler(here)
    try:
        in_processes(lambda: speaking_bodies.count_aloud.submit(50).result())
    finally:
        logging.getLogger("headrace.task_runs").removeHandler(here)

    err = capsys.readouterr().err
    places = [err.index(f"{kind} {number} ") for number in range(50) for kind in ("printed", "logged")]
    assert places == sorted(places)


# -- what bodies call --------------------------------------------------------------------------------------------------


def drawn(
    record: Record, act: Callable[[], Any], runner: Any
) -> list[tuple[str, str | None, str, int, tuple[str, ...]]]:
    """Give the task runs that *act* leaves in a flow with *runner*: task, caller, state, attempts, tags."""

    @flow(task_runner=runner)
    def pipeline() -> Any:
        return act()

    pipeline()
    runs = {run.id: run for run in record.task_runs()}
    return sorted(
        (run.task_name, caller_of(run, runs), run.state.name, run.run_count, run.tags) for run in runs.values()
    )


def caller_of(run: TaskRun, runs: dict[str, TaskRun]) -> str | None:
    above = runs.get(run.parent_task_run_id or "")
    return None if above is None else above.task_name


@pytest.mark.parametrize("runner", [ConcurrentTaskRunner(), ProcessPoolTaskRunner(2)], ids=["threads", "processes"])
def test_tasks_that_a_body_calls_are_recorded_as_anywhere(runner: Any, ledger: Ledger, record: Record) -> None:
    found = drawn(record, lambda: speaking_bodies.call_others.submit(str(ledger)).result(), runner)

    assert found == [
        ("call_others", None, "Completed", 1, ()),
        ("flaky", "call_others", "Completed", 2, ("inner",)),
        ("square", "call_others", "Completed", 1, ("inner",)),
    ]
    assert len({run.flow_run_id for run in record.task_runs()}) == 1


def test_ids_of_what_bodies_call_never_meet(record: Record) -> None:
    in_processes(lambda: [speaking_bodies.call_others_later.submit() for _ in range(6)])

    ids = [run.id for run in record.task_runs()]
    assert len(ids) == len(set(ids)) == 18


def test_a_subflow_that_a_body_calls_is_a_flow_run_below_the_task(record: Record) -> None:
    assert in_processes(lambda: speaking_bodies.call_flow.submit(3).result()) == 18

    outer, inner = record.flow_runs()
    caller = next(run for run in record.task_runs() if run.task_name == "call_flow")
    assert (inner.flow_name, inner.parent_id, inner.state.name) == ("below", caller.id, "Completed")
    assert inner.parameters == {"number": 3}
    assert [run.flow_run_id for run in record.task_runs()].count(inner.id) == 2
    assert outer.state.is_completed()


def test_a_subflow_in_a_worker_can_be_cancelled_by_its_own_id(ledger: Ledger, record: Record) -> None:
    def act() -> str:
        future = speaking_bodies.call_slow_flow.submit(str(ledger))
        ledger.wait_for("began")
        until(lambda: len(current().journal.live) == 2)
        list(current().journal.live.values())[-1].stop("only this one")
        error = future.result(raise_on_failure=False)
        assert isinstance(error, CancelledRun)
        return str(error)

    assert "only this one" in in_processes(act)
    assert sorted(run.state.name for run in record.flow_runs()) == ["Cancelled", "Completed"]


def test_what_a_dead_worker_left_unfinished_is_recorded_as_crashed(record: Record) -> None:
    with pytest.raises(WorkerDied):
        in_processes(lambda: speaking_bodies.call_and_die.submit().result())

    assert sorted((run.task_name, run.state.name) for run in record.task_runs()) == [
        ("call_and_die", "Crashed"),
        ("die_within", "Crashed"),
        ("square", "Completed"),
    ]


def test_a_task_called_in_a_bodys_own_thread_is_recorded_by_itself(record: Record) -> None:
    assert in_processes(lambda: speaking_bodies.in_a_thread_of_its_own.submit().result()) == 25

    assert sorted((run.task_name, run.flow_run_id is None) for run in record.task_runs()) == [
        ("in_a_thread_of_its_own", False),
        ("square", True),
    ]


def test_what_a_body_left_behind_takes_no_other_runs_place(ledger: Ledger, record: Record) -> None:
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def pipeline() -> None:
        speaking_bodies.leave_a_caller.submit(str(ledger)).result()
        speaking_bodies.meet_the_caller.submit(str(ledger)).result()

    pipeline()

    runs = record.task_runs()
    assert sorted((run.task_name, run.flow_run_id is None) for run in runs) == [
        ("leave_a_caller", False),
        ("meet_the_caller", False),
        ("square", False),
        ("square", True),
    ]
    assert len({run.id for run in runs}) == 4


def test_a_body_may_call_thousands_of_tasks(record: Record) -> None:
    assert in_processes(lambda: speaking_bodies.call_many.submit(1_000).result()) == 332_833_500

    assert [run.state.name for run in record.task_runs()] == ["Completed"] * 1_001
    assert max(int(run.id[-12:], 16) for run in record.task_runs()) < 1_100


def test_a_destructor_that_prints_amid_a_print_harms_nobody() -> None:
    assert in_processes(lambda: speaking_bodies.print_in_destructors.submit(300).result()) == 300


def test_nothing_is_recorded_of_what_bodies_call_where_the_flow_is_not(record: Record) -> None:
    @flow(durability="off", task_runner=ProcessPoolTaskRunner(max_workers=2))
    def pipeline() -> int:
        return speaking_bodies.call_others_later.submit().result()

    assert pipeline() == 8
    assert (record.task_runs(), record.flow_runs()) == ([], [])


def test_a_durable_flows_body_goes_on_once_what_it_called_is_committed(record: Record) -> None:
    @flow(durable=True, task_runner=ProcessPoolTaskRunner(max_workers=2))
    def pipeline() -> int:
        return speaking_bodies.call_others_later.submit().result()

    assert pipeline() == 8
    assert [run.state.name for run in record.task_runs()] == ["Completed"] * 3


# -- traces ------------------------------------------------------------------------------------------------------------


def test_what_a_body_sets_on_its_span_is_on_the_runs_span(app: Tracing) -> None:
    in_processes(lambda: speaking_bodies.mark_span.submit(3).result())

    span = app.spans().one("mark_span")
    assert span.attributes["rows"] == 3
    assert span.event("half way") == {"row": 1}
    assert span.event("exception")["exception.type"] == "KeyError"


def test_runs_in_workers_stand_in_the_trace_as_in_threads(app: Tracing, ledger: Ledger) -> None:
    in_processes(lambda: speaking_bodies.call_others.submit(str(ledger)).result())

    spans = app.spans().whole()
    caller = spans.one("call_others")
    assert [span.name for span in spans.below(caller) if span.is_run] == ["flaky", "square"]
    assert spans.one("flaky").event("exception")["exception.message"] == "not yet"
    assert spans.parent_name(caller) == "in processes"


def test_the_current_span_in_a_worker_is_that_of_the_run(app: Tracing) -> None:
    trace_id, span_id, remote, sampled, line = in_processes(lambda: speaking_bodies.tell_span.submit().result())

    span = app.spans().one("tell_span")
    assert (trace_id, span_id) == (span.trace, span.id)
    assert (remote, sampled) == (True, True)
    assert line == (span.trace, span.id)


def test_a_large_map_in_workers_is_one_span_but_for_the_items_that_hold_others() -> None:
    with application(map_limit=10) as app:
        in_processes(lambda: bodies.square.map(range(30)).result())
        in_processes(lambda: speaking_bodies.open_spans.map(range(30)).result())
        spans = app.spans()

    (plain,) = [span for span in spans.all if span.is_group and span.name.endswith("square")]
    assert plain.attributes["headrace.items.count"] == 30
    assert len(spans.named("square")) <= 10
    assert len(spans.named("open_spans")) == 30


def test_nothing_is_traced_in_a_worker_where_the_flow_is_not() -> None:
    trace_id, *_ = in_processes(lambda: speaking_bodies.tell_span.submit().result())

    assert trace_id == f"{api.INVALID_TRACE_ID:032x}"
