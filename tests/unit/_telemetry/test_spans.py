"""Rendering: spans made of transitions, without a run around them."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from headrace import flow, task
from headrace._engine.journal import Journal
from headrace._engine.runs import FlowRunning, Run, Scope, TaskRunning
from headrace._model.events import AWAITING_RETRY, COMPLETED, PENDING, RETRYING, RUNNING, Transition
from headrace._telemetry.spans import SpanMaker
from headrace._telemetry.traces import TraceOfRun
from tests.spec.seen import Seen, Spans, seen

PREFIX = "3f2c1b7e-1111-4222-8333-"
NOTHING: frozenset[str] = frozenset()


@task
def step() -> None: ...


@flow
def work() -> None: ...


class Desk:
    """A span maker whose spans can be read."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.maker = SpanMaker(provider, lambda: 5)
        self.journal = Journal(draw=lambda: PREFIX, level="batched", now=lambda: 0)

    def flow(self) -> FlowRunning:
        """Begin a flow run; its span is current and gone again."""
        run = FlowRunning(work.spec, Scope(self.journal, PREFIX, "batched", flow=True), None, 0, NOTHING)
        run.scope.trace = self.maker.open(run)
        self.enter(run)
        return run

    def task(self, parent: FlowRunning) -> TaskRunning:
        """Begin a task run in *parent*."""
        run = TaskRunning(step.spec, parent.scope, parent, next(parent.scope.counter), NOTHING)
        self.enter(run)
        return run

    def enter(self, run: Run) -> None:
        """Make the span of *run* current for a moment."""
        trace = run.scope.trace
        assert isinstance(trace, TraceOfRun)
        trace.detach(trace.attach(run))

    def spans(self, run: Run, *transitions: Transition) -> Spans:
        """Give the spans of *run* when it ends after *transitions*."""
        self.exporter.clear()
        self.maker.ended(run, transitions)
        return Spans(map(seen, self.exporter.get_finished_spans()))


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_the_same_run_rendered_twice_has_the_same_ids() -> None:
    def rendered() -> list[Seen]:
        desk = Desk()
        run = desk.flow()
        child = desk.task(run)
        steps: list[Transition] = [(RUNNING, 1, None), (AWAITING_RETRY, 2, "why"), (RETRYING, 3, None)]
        return desk.spans(child, *steps, (COMPLETED, 4, None)).all + desk.spans(run, (COMPLETED, 5, None)).all

    assert rendered() == rendered()
    assert len({span.id for span in rendered()}) == len(rendered()) == 5


def test_a_clock_that_is_set_back_makes_no_span_end_before_it_begins(desk: Desk) -> None:
    run = desk.flow()

    for transitions in (
        [(RUNNING, 100, None), (COMPLETED, 40, None)],
        [(RUNNING, 100, None), (AWAITING_RETRY, 90, None), (RETRYING, 95, None), (COMPLETED, 40, None)],
    ):
        for span in desk.spans(run, *transitions).all:
            assert span.start <= span.end


def test_states_that_take_no_time_are_events_in_their_place(desk: Desk) -> None:
    cached: Transition = (("COMPLETED", "Cached"), 3, "from yesterday")
    spans = desk.spans(desk.flow(), (PENDING, 1, "for a slot"), (RUNNING, 2, None), cached, (COMPLETED, 4, None))

    run = spans.one("work")
    assert [(name, at) for name, at, _ in run.events] == [("Cached", 3), ("Completed", 4)]
    assert run.event("Cached") == {"headrace.state.message": "from yesterday"}
    assert [(span.name, span.start, span.end) for span in spans.states(run)] == [("Pending", 1, 2), ("Running", 2, 3)]
    assert spans.one("Pending").attributes == {"headrace.state.message": "for a slot"}


def test_a_run_that_failed_before_it_ran_is_a_span_of_no_length(desk: Desk) -> None:
    (span,) = desk.spans(desk.flow(), (("FAILED", "Failed"), 7, "no such parameter")).all

    assert (span.start, span.end, span.status, span.description) == (7, 7, "ERROR", "no such parameter")


def test_a_long_message_is_cut_on_the_span(desk: Desk) -> None:
    spans = desk.spans(desk.flow(), (RUNNING, 1, None), (("FAILED", "Failed"), 7, "x" * 50_000))

    assert spans.one("work").description.endswith("… (cut: 50,000 characters)")
    assert len(spans.one("work").description) < 1_100


def test_span_ids_of_many_runs_and_their_states_differ(desk: Desk) -> None:
    run = desk.flow()
    found: set[str] = set()
    for _ in range(2_000):
        found |= {span.id for span in desk.spans(desk.task(run), (RUNNING, 1, None), (COMPLETED, 2, None)).all}

    assert len(found) == 4_000
    assert all(int(span_id, 16) for span_id in found)
