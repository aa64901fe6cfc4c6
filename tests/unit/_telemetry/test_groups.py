"""Groups: which items of a map or stream are shown, and what nobody is left below, whatever comes late."""

from __future__ import annotations

import threading
from typing import Any, Final

import pytest
from opentelemetry import trace as api
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from headrace import flow, task
from headrace._engine.groups import Group
from headrace._engine.journal import Journal
from headrace._engine.runs import FlowRunning, Run, Scope, TaskRunning
from headrace._model.events import AWAITING_RETRY, COMPLETED, PENDING, RETRYING, RUNNING, Stamp, Transition
from headrace._telemetry.groups import FAILED, SLOWEST, GroupSpan
from headrace._telemetry.light import ItemSpan, LightSpan
from headrace._telemetry.spans import SpanMaker
from headrace._telemetry.traces import TraceOfRun
from tests.spec.seen import Seen, Spans, seen

PREFIX: Final = "3f2c1b7e-1111-4222-8333-"
NOTHING: Final[frozenset[str]] = frozenset()
FAILURE: Final[Stamp] = ("FAILED", "Failed")
MS: Final = 1_000_000


@task
def step() -> None: ...


@flow
def work() -> None: ...


@flow
def below() -> None: ...


class Desk:
    """One flow run in progress, and a span maker that has heard of it."""

    def __init__(self, limit: int) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.maker = SpanMaker(self.provider, lambda: 5, map_limit=limit)
        self.journal = Journal(draw=lambda: PREFIX, level="batched", now=lambda: 0)
        self.run = FlowRunning(work.spec, Scope(self.journal, PREFIX, "batched", flow=True), None, 0, NOTHING)
        self.run.scope.trace = self.maker.open(self.run)
        self.enter(self.run)

    def group(self, total: int | None, parent: Run | None = None) -> Group:
        """Make the group of a map, or of a stream without *total*."""
        caller = parent or self.run
        group = Group(step.spec, caller, total, 0)
        group.number = next(caller.scope.counter)
        return group

    def item(self, group: Group | None, parent: Run | None = None) -> TaskRunning:
        """Begin an item of *group*, within the span of the run that called the map."""
        caller = parent or self.run
        run = TaskRunning(step.spec, caller.scope, caller, next(caller.scope.counter), NOTHING)
        run.group = group
        with api.use_span(caller.span):
            self.enter(run)
        return run

    def enter(self, run: Run) -> None:
        """Make the span of *run* current for a moment."""
        trace = run.scope.trace
        assert isinstance(trace, TraceOfRun)
        trace.detach(trace.attach(run))

    def end(self, run: Run, duration: int = MS, stamp: Stamp = COMPLETED) -> None:
        """End *run*."""
        self.maker.ended(run, ((RUNNING, 0, None), (stamp, duration, None)))

    def spans(self) -> Spans:
        """Give what was exported so far."""
        return Spans(map(seen, self.exporter.get_finished_spans()))

    def close(self, group: Group) -> Seen:
        """Say that *group* has ended; give its span."""
        self.maker.grouped(group, 3_600_000 * MS)
        return self.spans().one(f"{group.verb} step")

    def shown(self) -> set[str]:
        """Give the ids of the runs that have spans."""
        return {span.run_id for span in self.spans().all if span.is_run}


@pytest.fixture
def desk() -> Desk:
    return Desk(3)


# -- what collapses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("total", "limit", "collapses"), [(3, 3, False), (4, 3, True), (50, 0, False), (1, 0, False)])
def test_a_map_collapses_above_the_limit_and_never_at_zero(total: int, limit: int, collapses: bool) -> None:
    desk = Desk(limit)
    group = desk.group(total)
    runs = [desk.item(group) for _ in range(total)]
    for run in runs:
        desk.end(run)
    desk.maker.grouped(group, MS)

    assert len(desk.spans().named("map step")) == collapses
    assert {type(run.span) for run in runs} == {ItemSpan if collapses else LightSpan}
    (parent,) = {span.parent for span in desk.spans().named("step")}
    assert parent == (desk.spans().one("map step").id if collapses else f"{desk.run.span.context.span_id:016x}")


def test_of_a_stream_the_first_are_shown_as_ever_and_the_rest_collapse(desk: Desk) -> None:
    group = desk.group(None)
    runs = [desk.item(group) for _ in range(SLOWEST + 5)]
    for place, run in enumerate(runs):
        desk.end(run, duration=place * MS)
    span = desk.close(group)

    assert [type(run.span) for run in runs[:4]] == [LightSpan, LightSpan, LightSpan, ItemSpan]
    assert len(desk.spans().below(span)) == SLOWEST
    assert desk.shown() == {run.id for run in runs[:3] + runs[5:]}
    assert (span.attributes["headrace.items.count"], span.attributes["headrace.items.shown"]) == (15, 13)
    assert "headrace.items.total" not in span.attributes


def test_a_stream_that_stays_below_the_limit_has_no_span(desk: Desk) -> None:
    group = desk.group(None)
    for run in [desk.item(group) for _ in range(3)]:
        desk.end(run)
    desk.maker.grouped(group, MS)

    assert {span.name for span in desk.spans().all} == {"step", "Running"}


def test_a_map_that_is_cut_short_stays_collapsed(desk: Desk) -> None:
    group = desk.group(1_000)
    first = desk.item(group)
    group.total = 2
    second = desk.item(group)
    desk.end(first)
    desk.end(second, stamp=("CANCELLED", "Cancelled"))
    span = desk.close(group)

    assert len(desk.spans().below(span)) == 2
    assert (span.attributes["headrace.items.total"], span.attributes["headrace.items.count"]) == (1_000, 2)
    assert span.status == "UNSET"


def test_a_group_without_a_number_is_no_group_of_the_traces(desk: Desk) -> None:
    group = Group(step.spec, desk.run, 1_000, 0)

    assert type(desk.item(group).span) is LightSpan
    assert group.span is None


# -- which items are shown --------------------------------------------------------------------------------------


def test_the_slowest_are_shown_when_all_have_ended(desk: Desk) -> None:
    group = desk.group(100)
    runs = [desk.item(group) for _ in range(100)]
    for place, run in enumerate(runs):
        desk.end(run, duration=(place * 37 % 100) * MS)
    assert desk.spans().all == []

    desk.close(group)
    assert desk.shown() == {run.id for place, run in enumerate(runs) if place * 37 % 100 >= 100 - SLOWEST}


def test_failed_items_are_shown_at_once_and_so_many_at_most(desk: Desk) -> None:
    group = desk.group(1_000)
    for _ in range(FAILED + 50):
        desk.end(desk.item(group), stamp=FAILURE)
    assert len(desk.shown()) == FAILED
    for _ in range(1_000 - FAILED - 50):
        desk.end(desk.item(group), duration=2 * MS)
    span = desk.close(group)

    assert len(desk.shown()) == FAILED + SLOWEST
    assert (span.attributes["headrace.items.failed"], span.attributes["headrace.items.failed_not_shown"]) == (150, 50)
    assert (span.status, span.description) == ("ERROR", "150 of 1,000 items failed")


def test_what_is_set_on_an_item_keeps_it(desk: Desk) -> None:
    group = desk.group(1_000)
    runs = [desk.item(group) for _ in range(6)]
    attribute, event, link, status, exception, _ = (run.span for run in runs)
    attribute.set_attribute("rows", 3)
    event.add_event("halfway")
    link.add_link(desk.run.span.context)
    status.set_status(StatusCode.ERROR)
    exception.record_exception(KeyError("caught"))
    for run in runs:
        desk.end(run, duration=0)

    assert desk.shown() == {run.id for run in runs[:5]}


def test_who_asks_for_an_items_context_keeps_it_and_who_labels_lines_with_it_does_not(desk: Desk) -> None:
    group = desk.group(1_000)
    runs = [desk.item(group) for _ in range(6)]
    with api.use_span(runs[0].span):
        desk.provider.get_tracer("the application").start_span("GET").end()
    runs[1].span.get_span_context()
    for run, module in zip(
        runs[2:],
        (
            "opentelemetry.instrumentation.logging",
            "opentelemetry.sdk._logs._internal",
            "headrace._telemetry.logs",
            "app",
        ),
        strict=True,
    ):
        asks: dict[str, Any] = {"__name__": module, "span": run.span}
        exec("span.get_span_context()", asks)
    for run in runs:
        desk.end(run, duration=0)

    assert desk.shown() == {runs[0].id, runs[1].id, runs[5].id}


def test_an_item_with_a_run_below_it_is_kept(desk: Desk) -> None:
    group = desk.group(1_000)
    item = desk.item(group)
    desk.end(desk.item(None, item), duration=0)
    desk.end(item, duration=0)

    assert {span.parent for span in desk.spans().named("step")} == {
        f"{item.span.context.span_id:016x}",
        f"{group.span.light.context.span_id:016x}",
    }


def test_a_map_within_an_item_keeps_it_and_stands_below_it(desk: Desk) -> None:
    outer = desk.group(1_000)
    item = desk.item(outer)
    inner = desk.group(1_000, item)
    desk.end(desk.item(inner, item))
    span = desk.close(inner)
    desk.end(item, duration=0)

    assert item.id in desk.shown()
    assert span.parent == f"{item.span.context.span_id:016x}"


def test_a_retry_alone_does_not_keep_an_item_but_is_counted(desk: Desk) -> None:
    group = desk.group(1_000)
    items = [desk.item(group) for _ in range(SLOWEST)]
    retried = desk.item(group)
    retried.span.attempt_failed(ConnectionError("busy"))
    retried.attempt = 2
    steps: list[Transition] = [(RUNNING, 0, None), (AWAITING_RETRY, 1, None), (RETRYING, 2, None), (COMPLETED, 3, None)]
    desk.maker.ended(retried, steps)
    for item in items:
        desk.end(item)
    span = desk.close(group)

    assert retried.id not in desk.shown()
    assert span.attributes["headrace.items.retried"] == 1


def test_a_slow_item_that_was_retried_shows_its_attempts_and_exceptions(desk: Desk) -> None:
    group = desk.group(1_000)
    retried = desk.item(group)
    retried.span.attempt_failed(ConnectionError("busy"))
    retried.attempt = 2
    steps: list[Transition] = [(RUNNING, 0, None), (AWAITING_RETRY, 1, None), (RETRYING, 2, None), (COMPLETED, 3, None)]
    desk.maker.ended(retried, steps)
    desk.close(group)

    item = desk.spans().one("step")
    assert item.event("exception")["exception.message"] == "busy"
    assert [span.name for span in desk.spans().states(item)] == ["Running", "AwaitingRetry", "Running"]


# -- what comes late --------------------------------------------------------------------------------------------


def test_what_opens_below_an_item_that_was_not_shown_hangs_below_the_map(desk: Desk) -> None:
    group = desk.group(1_000)
    fast = desk.item(group)
    desk.end(fast, duration=0)
    for _ in range(SLOWEST):
        desk.end(desk.item(group))

    with api.use_span(fast.span):
        desk.provider.get_tracer("the application").start_span("late").end()
    span = desk.close(group)

    assert fast.id not in desk.shown()
    assert desk.spans().one("late").parent == span.id
    assert not fast.span.is_recording()


def test_an_item_that_was_relied_on_while_it_waited_among_the_slowest_is_kept(desk: Desk) -> None:
    group = desk.group(1_000)
    item = desk.item(group)
    desk.end(item, duration=0)
    late = item.span.get_span_context()
    for _ in range(SLOWEST):
        desk.end(desk.item(group))

    assert desk.shown() == {item.id}
    assert f"{late.span_id:016x}" in {span.id for span in desk.spans().named("step")}


def test_an_item_that_its_stream_gave_up_is_not_shown_when_it_ends_at_last(desk: Desk) -> None:
    group = desk.group(1_000)
    late = desk.item(group)
    span = desk.close(group)
    desk.end(late)
    with api.use_span(late.span):
        desk.provider.get_tracer("the application").start_span("after all").end()

    assert desk.shown() == set()
    assert desk.spans().one("after all").parent == span.id


def test_whoever_asks_at_the_moment_of_hiding_gets_a_span_that_is_made(desk: Desk) -> None:
    group = desk.group(1_000)
    items = [desk.item(group) for _ in range(2_000)]
    asked: list[int] = []
    gate = threading.Barrier(2)

    def ask() -> None:
        gate.wait()
        asked.extend(item.span.get_span_context().span_id for item in items)

    asker = threading.Thread(target=ask)
    asker.start()
    gate.wait()
    for item in items:
        desk.end(item)
    asker.join()
    desk.close(group)

    made = {span.id for span in desk.spans().all}
    assert not [one for one in asked if f"{one:016x}" not in made]


# -- what the group's span says ---------------------------------------------------------------------------------


def test_the_span_of_a_map_says_what_became_of_its_items(desk: Desk) -> None:
    group = desk.group(1_000)
    for place in range(990):
        desk.end(desk.item(group), duration=(100 + place) * MS)
    for stamp in [FAILURE, ("CRASHED", "Crashed"), ("CANCELLED", "Cancelled"), ("PENDING", "NotReady")]:
        desk.end(desk.item(group), duration=MS, stamp=stamp)
    span = desk.close(group)

    assert span.parent == f"{desk.run.span.context.span_id:016x}"
    assert (span.start, span.end) == (0, 3_600_000 * MS)
    about = dict(span.attributes)
    assert about.pop("headrace.items.seconds.p50") == pytest.approx(0.593, rel=0.1)
    assert about.pop("headrace.items.seconds.p95") == pytest.approx(1.04, rel=0.1)
    assert about == {
        "headrace.task.name": "step",
        "code.function.name": f"{__name__}.step",
        "headrace.flow_run.id": desk.run.id,
        "headrace.items.count": 994,
        "headrace.items.total": 1_000,
        "headrace.items.completed": 990,
        "headrace.items.failed": 2,
        "headrace.items.cancelled": 1,
        "headrace.items.other": 1,
        "headrace.items.retried": 0,
        "headrace.items.shown": 12,
        "headrace.items.seconds.min": 0.001,
        "headrace.items.seconds.max": 1.089,
        "headrace.items.seconds.mean": 0.5921,
        "headrace.items.histogram": (
            "500 µs to 1 ms: 4",
            "1 ms to 2 ms: 0",
            "2 ms to 5 ms: 0",
            "5 ms to 10 ms: 0",
            "10 ms to 20 ms: 0",
            "20 ms to 50 ms: 0",
            "50 ms to 100 ms: 1",
            "100 ms to 200 ms: 100",
            "200 ms to 500 ms: 300",
            "500 ms to 1 s: 500",
            "1 s to 2 s: 89",
        ),
    }


def test_an_item_stopped_before_it_began_is_counted_without_a_duration(desk: Desk) -> None:
    group = desk.group(1_000)
    desk.end(desk.item(group), duration=5 * MS)
    never = TaskRunning(step.spec, desk.run.scope, desk.run, next(desk.run.scope.counter), NOTHING)
    never.group = group
    desk.maker.ended(never, ((PENDING, 0, None), (("CANCELLED", "Cancelled"), 1, None)))
    span = desk.close(group)

    assert (span.attributes["headrace.items.count"], span.attributes["headrace.items.cancelled"]) == (2, 1)
    assert span.attributes["headrace.items.seconds.min"] == 0.005


def test_all_completed_is_ok(desk: Desk) -> None:
    group = desk.group(4)
    for run in [desk.item(group) for _ in range(4)]:
        desk.end(run)

    assert desk.close(group).status == "OK"


def test_its_parent_is_the_span_around_the_call_of_the_map(desk: Desk) -> None:
    group = desk.group(4)
    runs = [TaskRunning(step.spec, desk.run.scope, desk.run, next(desk.run.scope.counter), NOTHING) for _ in range(4)]
    tracer = desk.provider.get_tracer("the application")
    with api.use_span(desk.run.span), tracer.start_as_current_span("all cities"):
        for run in runs:
            run.group = group
            desk.enter(run)
    for run in runs:
        desk.end(run)

    span = desk.close(group)
    assert desk.spans().parent_name(span) == "all cities"
    assert {item.parent for item in desk.spans().named("step")} == {span.id}


def test_called_within_another_trace_it_stays_in_its_flows_and_links_there(desk: Desk) -> None:
    group = desk.group(4)
    other = desk.provider.get_tracer("the application").start_span("another trace")
    run = TaskRunning(step.spec, desk.run.scope, desk.run, next(desk.run.scope.counter), NOTHING)
    run.group = group
    with api.use_span(other):
        desk.enter(run)
    desk.end(run)
    span = desk.close(group)

    assert span.parent == f"{desk.run.span.context.span_id:016x}"
    assert span.links == (f"{other.get_span_context().span_id:016x}",)
    assert desk.spans().one("step").links == ()


def test_subflows_are_items_too_and_begin_unseen(desk: Desk) -> None:
    group = Group(below.spec, desk.run, 1_000, 0)
    group.number = next(desk.run.scope.counter)
    run = FlowRunning(below.spec, Scope(desk.journal, PREFIX[:-2] + "4-", "batched", flow=True), desk.run, 0, NOTHING)
    run.group = group
    run.scope.trace = desk.maker.open(run)
    with api.use_span(desk.run.span):
        desk.enter(run)
    run.transitions = [(RUNNING, 0, None)]
    desk.maker.began(run)
    assert desk.spans().all == []

    desk.end(run)
    desk.maker.grouped(group, MS)
    spans = desk.spans()
    assert spans.one("below").parent == spans.one("map below").id
    assert spans.one("map below").attributes["headrace.flow.name"] == "below"


def test_the_ids_of_a_group_and_its_items_are_worked_out() -> None:
    def made() -> list[str]:
        desk = Desk(3)
        group = desk.group(4)
        for run in [desk.item(group) for _ in range(4)]:
            desk.end(run)
        desk.close(group)
        return [span.id for span in desk.spans().all]

    assert made() == made()
    assert len(set(made())) == len(made()) == 9


def test_many_threads_begin_the_items_of_one_group(desk: Desk) -> None:
    group = desk.group(None)
    gate = threading.Barrier(8)
    spans: list[Any] = []

    def begin() -> None:
        gate.wait()
        spans.extend(desk.item(group).span for _ in range(100))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert isinstance(group.span, GroupSpan)
    assert sum(type(span) is LightSpan for span in spans) == 3
    assert {id(span.group) for span in spans if type(span) is ItemSpan} == {id(group.span.light)}
