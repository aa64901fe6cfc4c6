"""Spans as a backend sees them, from the SDK's exporter or from OTLP, and what must hold of every trace."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, Final

import attrs
import pytest
from opentelemetry import trace as api
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from headrace import _runtime
from headrace._stores.memory import MemoryStore
from headrace.logging import RunContextFilter
from headrace.settings import Settings
from tests.spec.forms import Record

STATES: Final = {"Running", "AwaitingRetry", "Pending", "Paused", "Scheduled", "Cancelling"}


@attrs.frozen
class Seen:
    """One span, whoever exported it."""

    trace: str
    id: str
    parent: str | None
    name: str
    start: int
    end: int
    attributes: Mapping[str, Any]
    events: tuple[tuple[str, int, Mapping[str, Any]], ...]
    status: str
    description: str
    scope: str
    links: tuple[str, ...] = ()

    @property
    def is_run(self) -> bool:
        """Whether it is a flow run's or task run's own span."""
        return "headrace.state.type" in self.attributes

    @property
    def is_group(self) -> bool:
        """Whether it is the span of a map or stream that collapsed."""
        return "headrace.items.count" in self.attributes

    @property
    def is_state(self) -> bool:
        """Whether it is the span of a state that a run spent time in."""
        return self.scope == "headrace" and not self.is_run and not self.is_group and self.name != "run started"

    @property
    def run_id(self) -> str:
        """The id of the run whose own span it is."""
        return str(self.attributes.get("headrace.task_run.id") or self.attributes["headrace.flow_run.id"])

    def event(self, name: str) -> Mapping[str, Any]:
        """Give the attributes of its one event *name*."""
        (found,) = [attributes for event, _, attributes in self.events if event == name]
        return found


def seen(span: ReadableSpan) -> Seen:
    """Read a span of the SDK's."""
    context = span.context
    assert context is not None
    assert span.start_time is not None
    assert span.end_time is not None
    return Seen(
        trace=f"{context.trace_id:032x}",
        id=f"{context.span_id:016x}",
        parent=None if span.parent is None else f"{span.parent.span_id:016x}",
        name=span.name,
        start=span.start_time,
        end=span.end_time,
        attributes=dict(span.attributes or {}),
        events=tuple((event.name, event.timestamp, dict(event.attributes or {})) for event in span.events),
        status=span.status.status_code.name,
        description=span.status.description or "",
        scope="" if span.instrumentation_scope is None else span.instrumentation_scope.name,
        links=tuple(f"{link.context.span_id:016x}" for link in span.links),
    )


class Spans:
    """The spans of one test."""

    def __init__(self, spans: Iterable[Seen]) -> None:
        self.all = list(spans)

    def named(self, name: str) -> list[Seen]:
        """Give the spans *name* in the order of their starts."""
        return sorted((span for span in self.all if span.name == name), key=lambda span: span.start)

    def one(self, name: str) -> Seen:
        """Give the one span *name*."""
        (found,) = self.named(name)
        return found

    def below(self, parent: Seen) -> list[Seen]:
        """Give the children of *parent* in the order of their starts."""
        return sorted((span for span in self.all if span.parent == parent.id), key=lambda span: (span.start, span.end))

    def states(self, run: Seen) -> list[Seen]:
        """Give the states that *run* spent time in."""
        return [span for span in self.below(run) if span.is_state]

    def parent_name(self, span: Seen) -> str | None:
        """Give the name of the parent of *span*; None for a root."""
        return next((above.name for above in self.all if above.id == span.parent), None)

    def whole(self, *, traces: int = 1, outside: str | None = None, late: Iterable[str] = ()) -> Spans:
        """
        See that the spans are whole traces: ids, parents and times as they must be.

        *outside* is the id of a span of another process; *late* names spans that may end after their parent.
        """
        ids = {span.id for span in self.all}
        by_id = {span.id: span for span in self.all}
        assert len(ids) == len(self.all)
        assert len({span.trace for span in self.all}) == traces
        for span in self.all:
            assert len(span.trace) == 32
            assert int(span.trace, 16)
            assert len(span.id) == 16
            assert int(span.id, 16)
            assert span.start <= span.end
            if span.parent is None or span.parent == outside:
                continue
            above = by_id[span.parent]
            assert above.trace == span.trace
            assert above.start <= span.start, (above.name, span.name)
            assert span.end <= above.end or span.name in set(late), (above.name, span.name)
        for run in (span for span in self.all if span.is_run):
            edges = [run.start, *(state.end for state in self.states(run))]
            assert edges == [*(state.start for state in self.states(run)), run.end]
        return self


class Tracing:
    """An application's own tracer provider, and a runtime of the test's own that finds it."""

    def __init__(self, provider: TracerProvider, exporter: InMemorySpanExporter, store: MemoryStore) -> None:
        self.provider = provider
        self.exporter = exporter
        self.record = Record(store)
        self.tracer = provider.get_tracer("the application")

    def spans(self) -> Spans:
        """Give what was exported so far."""
        return Spans(seen(span) for span in self.exporter.get_finished_spans())


@contextmanager
def application(
    sampler: Sampler | None = None,
    *,
    processors: Iterable[SpanProcessor] = (),
    limits: SpanLimits | None = None,
    map_limit: int = 500,
) -> Generator[Tracing]:
    """Be an application that has set up the SDK; nothing of it is left behind."""
    exporter = InMemorySpanExporter()
    resource = Resource.create({"service.name": "app"})
    provider = TracerProvider(sampler, resource, shutdown_on_exit=False, span_limits=limits)
    for processor in processors:
        provider.add_span_processor(processor)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    store = MemoryStore()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "_TRACER_PROVIDER", provider)  # set_tracer_provider works once a process
        runtime = _runtime.Runtime(
            attrs.evolve(Settings.read(), database_url="memory:", trace_map_limit=map_limit), store
        )
        before = _runtime.replace(runtime)
        try:
            yield Tracing(provider, exporter, store)
        finally:
            _runtime.replace(before)
            runtime.close()
            provider.shutdown()


class Kept(logging.Handler):
    """A handler of the application's own, with our filter on it."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(RunContextFilter())
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def about(self, message: str) -> dict[str, Any]:
        """Give the attributes of the one record that says *message*."""
        (found,) = [record for record in self.records if record.getMessage() == message]
        return found.__dict__


class Pick:
    """Succeeds at the *n*-th call."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self) -> str:
        self.left -= 1
        if self.left:
            raise ConnectionError(f"{self.left} to go")
        return "there"
