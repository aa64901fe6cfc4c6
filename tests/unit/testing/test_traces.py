"""Traces as text: a whole trace that compares, and what is shown of a span."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode

from headrace import flow, task
from headrace.testing import headrace_test_harness, trace_as_text, virtual_time


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Spans of the application's provider, for one test."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()


def traced(exporter: InMemorySpanExporter) -> str:
    """Run a small pipeline; give its trace."""
    left = [1]

    @task(retries=1, retry_delay_seconds=10)
    def fetch() -> None:
        with trace.get_tracer("user").start_as_current_span("request"):
            if left:
                raise ConnectionError(left.pop())

    @task
    def clean() -> None:
        pass

    @flow
    def pipeline() -> None:
        fetch()
        clean()

    with headrace_test_harness(counting=True), virtual_time(start=datetime(2030, 1, 1, tzinfo=UTC)):
        pipeline()
    return trace_as_text(exporter.get_finished_spans(), attributes=["headrace.attempt", "headrace.task_run.id"])


def test_a_whole_trace_compares_as_text(exporter: InMemorySpanExporter) -> None:
    first = traced(exporter)
    exporter.clear()
    second = traced(exporter)

    assert first == second
    assert first.splitlines()[:4] == [
        "pipeline [10 s] headrace.attempt=1",
        "  run started [0 s]",
        "  Running [10 s]",
        "  fetch [10 s] headrace.attempt=2 headrace.task_run.id=00000001-0000-4000-8000-000000000001",
    ]
    assert "    AwaitingRetry [10 s]" in first.splitlines()
    assert first.splitlines()[-2:] == [
        "  clean [0 s] headrace.attempt=1 headrace.task_run.id=00000001-0000-4000-8000-000000000002",
        "    Running [0 s]",
    ]


def test_the_users_own_spans_stand_in_virtual_time_under_their_run(exporter: InMemorySpanExporter) -> None:
    lines = traced(exporter).splitlines()

    wait = lines.index("    AwaitingRetry [10 s]")
    requests = [place for place, line in enumerate(lines) if line.startswith("    request [0 s]")]
    assert [place < wait for place in requests] == [True, False]
    assert "ERROR: ConnectionError: 1" in lines[requests[0]]


def test_durations_events_and_errors_are_shown_as_asked(exporter: InMemorySpanExporter) -> None:
    tracer = trace.get_tracer("user")
    with tracer.start_as_current_span("outside", start_time=0, end_on_exit=False) as outside:
        inside = tracer.start_span("inside", start_time=500_000_000)
        inside.add_event("noticed")
        inside.set_status(Status(StatusCode.ERROR))
        inside.end(2_000_000_000)
    outside.end(2_500_000_000)
    spans = exporter.get_finished_spans()

    assert trace_as_text(spans) == "outside [2.5 s]\n  inside [1.5 s] ERROR"
    assert trace_as_text(spans, durations=False, events=True) == "outside\n  inside +noticed ERROR"


def test_a_span_whose_parent_is_not_there_stands_at_the_left(exporter: InMemorySpanExporter) -> None:
    tracer = trace.get_tracer("user")
    with tracer.start_as_current_span("never ended", end_on_exit=False):
        tracer.start_span("child", start_time=0).end(0)

    assert trace_as_text(exporter.get_finished_spans()) == "child [0 s]"
    assert trace_as_text([]) == ""
