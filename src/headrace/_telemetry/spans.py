"""
Spans: made from the journal's transitions after their commit, with ids worked out from run ids, and handed to the SDK.

A run is a span under the name of its flow or task, and so is each state it spent time in; other transitions are
events on the run's span. On the caller's thread a traced run costs one light span attached around its body. Span
processors' `on_start` sees nothing of ours: when a span of ours is made, it has ended.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from opentelemetry import context as otel
from opentelemetry import trace as api
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from headrace._engine.runs import FlowRunning, Run
from headrace._model import ids
from headrace._model.events import Transition, clipped
from headrace._telemetry.light import LightSpan
from headrace.errors import MissingExtra

log: Final = logging.getLogger("headrace.traces")
SCOPE: Final = InstrumentationScope("headrace")
SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
UNSET: Final = Status(StatusCode.UNSET)
OK: Final = Status(StatusCode.OK)
LASTING: Final = frozenset({"PENDING", "RUNNING", "SCHEDULED", "PAUSED", "CANCELLING"})
STARTED: Final = 1_000_000  # the segment of the zero-length span that shows a flow run before it ends
QUEUE: Final = "100000"
RESULTS: Final = {
    "COMPLETED": "success",
    "FAILED": "failure",
    "CRASHED": "error",
    "CANCELLED": "cancellation",
}


class TraceOfRun:
    """The trace of one scope: its id, and the number from which the span ids of its runs are worked out."""

    __slots__ = ("base", "now", "sampled", "trace_id")

    def __init__(self, trace_id: int, base: int, sampled: bool, now: Callable[[], int]) -> None:
        self.trace_id = trace_id
        self.base = base
        self.sampled = sampled
        self.now = now

    def attach(self, run: Any) -> object:
        """Make *run*'s light span current; in a trace that is not sampled only a root's context, so that all agree."""
        around = otel.get_current()
        if not self.sampled:
            if run.number:
                return None
            silent = SpanContext(self.trace_id, ids.span_id(self.base, run.number), False)
            return otel.attach(api.set_span_in_context(NonRecordingSpan(silent), around))
        span = run.span
        if span is None:
            above = api.get_current_span(around).get_span_context()
            parent = above if above.trace_id == self.trace_id else None
            own = SpanContext(self.trace_id, ids.span_id(self.base, run.number), False, SAMPLED)
            run.span = span = LightSpan(own, parent, self.now)
        return otel.attach(api.set_span_in_context(span, around))

    def detach(self, token: Any) -> None:
        """Make what was current before current again."""
        if token is not None:
            otel.detach(token)


class SpanMaker:
    """Hands the spans of committed runs to the span processors of *provider*."""

    def __init__(self, provider: TracerProvider, now: Callable[[], int]) -> None:
        self.provider = provider
        self.now = now
        # The SDK has no public way to hand a finished span over; every exporter setup hangs below this one processor.
        self.processor = provider._active_span_processor

    def open(self, run: Run) -> TraceOfRun:
        """Decide on sampling for a root run, once for all below it; a subflow goes on in its parent's trace."""
        base = ids.span_base(run.scope.prefix)
        parent = run.parent.scope.trace if run.parent is not None else None
        if isinstance(parent, TraceOfRun):
            return TraceOfRun(parent.trace_id, base, parent.sampled, self.now)
        around = otel.get_current()
        above = api.get_current_span(around).get_span_context()
        trace_id = above.trace_id if above.is_valid else ids.trace_id(run.id)
        kind = SpanKind.INTERNAL
        decision = self.provider.sampler.should_sample(around, trace_id, run.spec.name, kind, {}, ()).decision
        return TraceOfRun(trace_id, base, decision is Decision.RECORD_AND_SAMPLE, self.now)

    def began(self, run: Run) -> None:
        """Show a flow run before it ends: a span of no length, so that a long run is seen at once."""
        trace = run.scope.trace
        span = run.span
        if not isinstance(trace, TraceOfRun) or not trace.sampled or span is None or not run.transitions:
            return
        at = run.transitions[0][1]
        own = SpanContext(trace.trace_id, ids.segment_id(span.context.span_id, STARTED), False, SAMPLED)
        self.hand(
            ReadableSpan(
                "run started",
                own,
                span.context,
                self.provider.resource,
                None,
                (),
                (),
                SpanKind.INTERNAL,
                None,
                UNSET,
                at,
                at,
                SCOPE,
            )
        )

    def ended(self, run: Run, transitions: Sequence[Transition]) -> None:
        """Make the spans of a run that has ended: of the states it spent time in, and its own."""
        trace = run.scope.trace
        span = run.span
        if not isinstance(trace, TraceOfRun) or not trace.sampled or not isinstance(span, LightSpan):
            return
        resource = self.provider.resource
        context = span.context
        attempt = 0
        for place, (stamp, at, _) in enumerate(transitions[:-1]):
            kind, name = stamp
            if kind not in LASTING:
                continue
            about: dict[str, Any] | None = None
            if kind == "RUNNING":
                attempt += 1
                if attempt > 1 or run.attempt > 1:
                    about = {"headrace.state.name": name, "headrace.attempt": attempt}
                name = "Running"
            own = SpanContext(trace.trace_id, ids.segment_id(context.span_id, place + 1), False, SAMPLED)
            until = transitions[place + 1][1]
            self.hand(
                ReadableSpan(
                    name,
                    own,
                    context,
                    resource,
                    about,
                    (),
                    (),
                    SpanKind.INTERNAL,
                    None,
                    UNSET,
                    at,
                    until,
                    SCOPE,
                )
            )
        (kind, name), end, said = transitions[-1]
        status = OK if kind == "COMPLETED" else Status(StatusCode.ERROR, clipped(said, 1_000) or name)
        if span.status is not None and kind == "COMPLETED":
            status = span.status
        attributes = self.attributes(run, kind)
        if span.attributes:
            attributes |= span.attributes
        events = [Event(name, timestamp=end)]
        if span.events:
            events = [Event(event, about, at) for event, at, about in span.events] + events
        links = tuple(span.links or ())
        self.hand(
            ReadableSpan(
                run.spec.name,
                context,
                span.parent,
                resource,
                attributes,
                events,
                links,
                SpanKind.INTERNAL,
                None,
                status,
                transitions[0][1],
                end,
                SCOPE,
            )
        )

    def hand(self, span: ReadableSpan) -> None:
        """Hand *span* to the processors."""
        self.processor.on_end(span)

    def attributes(self, run: Run, kind: str) -> dict[str, Any]:
        """Give what a run's span says of it; parameters are never among it."""
        spec = run.spec
        if isinstance(run, FlowRunning):
            about: dict[str, Any] = {
                "headrace.flow.name": spec.name,
                "headrace.flow_run.id": run.id,
                "headrace.flow_run.name": run.name,
                "cicd.pipeline.name": spec.name,
                "cicd.pipeline.run.id": run.id,
                "cicd.pipeline.result": RESULTS.get(kind, "error"),
            }
        else:
            about = {"headrace.task.name": spec.name, "headrace.task_run.id": run.id}
            if run.scope.flow_run_id is not None:
                about["headrace.flow_run.id"] = run.scope.flow_run_id
        about["headrace.state.type"] = kind
        about["headrace.attempt"] = run.attempt
        about["code.function.name"] = spec.function_name
        if run.tags:
            about["headrace.tags"] = tuple(sorted(run.tags))
        if run.error_type is not None:
            about["error.type"] = run.error_type
        return about


def observer(now: Callable[[], int], *, export: bool) -> SpanMaker | None:
    """
    Give the maker of spans for the application's tracer provider.

    Where the application has set none and *export* is asked for, one is set up that sends to the OTLP endpoint of the
    environment; without the packages for that, it is said once in the log, and nothing is traced.
    """
    provider = api.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        return SpanMaker(provider, now)
    if not export:
        return None
    try:
        return SpanMaker(exporting_provider(), now)
    except MissingExtra as error:
        log.warning("%s; until then nothing is traced", error)
        return None


def exporting_provider() -> TracerProvider:
    """
    Set up a tracer provider that sends to OTEL_EXPORTER_OTLP_ENDPOINT, and make it the application's.

    Raises:
        MissingExtra: The exporter is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtra("Sending traces to OTEL_EXPORTER_OTLP_ENDPOINT", "otlp") from error
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - only where we set up the provider ourselves

    # Spans come in batches as large as the journal's; the SDK's default queue of 2,048 would drop most of one.
    size = int(os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") or QUEUE)
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create(None if named else {"service.name": "headrace"})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=size))
    api.set_tracer_provider(provider)
    return provider
