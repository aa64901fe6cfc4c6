"""
Spans: made from the journal's transitions after their commit, with ids worked out from run ids, and handed to the SDK.

A run is a span under the name of its flow or task, and so is each state it spent time in; other transitions are
events on the run's span. A large map or stream is one span in the place of its items. On the caller's thread a traced
run costs one light span attached around its body. Span processors' `on_start` sees nothing of ours: when a span of ours
is made, it has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from opentelemetry import context as otel
from opentelemetry import trace as api
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode

from headrace._engine.groups import Group
from headrace._engine.runs import FlowRunning, Run
from headrace._model import ids
from headrace._model.events import COMPLETED, ROLLED_BACK, RUNNING, Transition, clipped
from headrace._model.records import task_run_name
from headrace._telemetry.groups import BAD, GroupSpan
from headrace._telemetry.light import Bounds, ItemSpan, LightSpan, sound
from headrace._telemetry.traces import SAMPLED, TraceOfRun
from headrace.errors import ParameterTypeError

log: Final = logging.getLogger("headrace.traces")
SCOPE: Final = InstrumentationScope("headrace")
INTERNAL: Final = SpanKind.INTERNAL
UNSET: Final = Status(StatusCode.UNSET)
OK: Final = Status(StatusCode.OK)
LASTING: Final = frozenset({"PENDING", "RUNNING", "SCHEDULED", "PAUSED", "CANCELLING"})
STARTED: Final = 1_000_000  # the segment of the zero-length span that shows a flow run before it ends
DESCRIBED: Final = 1_000
RESULTS: Final = {
    "COMPLETED": "success",
    "FAILED": "failure",
    "CRASHED": "error",
    "CANCELLED": "cancellation",
}


class SpanMaker:
    """
    Hands the spans of committed runs to the span processors of *provider*.

    Attributes:
        incoming: The span of another process that root runs go on from where no span is current.
        lost: Runs whose spans a processor or sampler refused with an exception.
    """

    def __init__(
        self,
        provider: TracerProvider,
        now: Callable[[], int],
        incoming: SpanContext | None = None,
        map_limit: int = 0,
    ) -> None:
        self.provider = provider
        self.incoming = incoming
        self.lost = 0
        self.resource = provider.resource
        limits: SpanLimits = getattr(provider, "_span_limits", None) or SpanLimits()
        self.bounds = Bounds(limits, now, map_limit)
        # The SDK has no public way to hand a finished span over; every exporter setup hangs below this one processor.
        self.hand: Callable[[ReadableSpan], None] = provider._active_span_processor.on_end  # pyright: ignore[reportPrivateUsage]

    def open(self, run: Run) -> TraceOfRun | None:
        """Decide on sampling for a root run, once for all below it; a subflow goes on in its parent's trace."""
        base = ids.span_base(run.scope.prefix)
        parent = run.parent.scope.trace if run.parent is not None else None
        if isinstance(parent, TraceOfRun):
            trace = TraceOfRun(parent.trace_id, base, parent.sampled, self.bounds)
            trace.state = parent.state
            return trace
        try:
            return self.root(run, base)
        except Exception as error:
            self.failed(error)
            return None

    def root(self, run: Run, base: int) -> TraceOfRun:
        """Open the trace of a root run: that of the current span, of the process that started this one, or its own."""
        around = otel.get_current()
        above = api.get_current_span(around).get_span_context()
        incoming = self.incoming if not above.is_valid else None
        if incoming is not None:
            above = incoming
            around = api.set_span_in_context(NonRecordingSpan(incoming), around)
        trace_id = above.trace_id if above.is_valid else ids.trace_id(run.id)
        if run.scope.past is not None and run.scope.past.trace_id is not None:
            trace_id, incoming = run.scope.past.trace_id, None  # it goes on in the trace in which it began
        about = {f"headrace.{run.spec.kind}.name": run.spec.name, f"headrace.{run.spec.kind}_run.id": run.id}
        found = self.provider.sampler.should_sample(around, trace_id, run.spec.name, INTERNAL, about, ())
        trace = TraceOfRun(trace_id, base, found.decision is Decision.RECORD_AND_SAMPLE, self.bounds)
        trace.state = found.trace_state
        trace.above = incoming
        noted = cast("Mapping[str, Any]", found.attributes or {})  # pyright: ignore[reportUnknownMemberType]
        trace.noted = {key: value for key, value in noted.items() if key not in about} or None
        return trace

    def began(self, run: Run) -> None:
        """Show a flow run before it ends: a span of no length, so that a long run is seen at once."""
        span = run.span
        if type(span) is not LightSpan or not run.transitions:
            return
        at = [*run.earlier, *run.transitions][0][1]  # of one taken up, too: it is one span, however many send it
        try:
            self.segment("run started", span.context, STARTED, at, at)
        except Exception as error:
            self.failed(error)

    def ended(self, run: Run, transitions: Sequence[Transition]) -> None:
        """Make the spans of a run that has ended: of the states it spent time in, and its own."""
        group: GroupSpan | None = None if run.group is None else run.group.span
        span = run.span
        if transitions[-1][0] is ROLLED_BACK:
            transitions = transitions[:-1]  # told apart, by `undone`
        try:
            if group is not None:
                self.item(run, group, transitions)
            elif type(span) is LightSpan:
                self.render(run, span, transitions)
        except Exception as error:
            self.failed(error)

    def undone(self, run: Run, at: int) -> None:
        """Show that a run was rolled back, by a span of no length: its own has ended, and may be exported by now."""
        span = run.span
        if type(span) is not LightSpan or not run.transitions:
            return
        try:
            self.segment(ROLLED_BACK[1], span.context, len(run.transitions), at, at)
        except Exception as error:
            self.failed(error)

    def item(self, run: Run, group: GroupSpan, transitions: Sequence[Transition]) -> None:
        """Count an item of *group*; make its spans now, when all have ended, or never."""
        group.add(run, transitions)
        span = run.span
        if type(span) is ItemSpan and not span.used and not group.wants(transitions[-1][0][0]):
            faster = group.among_slowest(run, transitions)
            if faster is None:
                return
            run, transitions = faster
            span = run.span
            if span.hide():
                return
        if isinstance(span, LightSpan):
            group.shows(transitions)
            self.render(run, span, transitions)

    def grouped(self, group: Group, at: int) -> None:
        """Make the span of a map or stream that collapsed and ended *at* that time, and those of its slowest items."""
        about = group.span
        if not isinstance(about, GroupSpan) or not about.collapses:
            return
        slowest = about.close()
        try:
            self.render_group(about, at)
        except Exception as error:
            self.failed(error)
        for run, transitions in slowest:
            try:
                self.render(run, run.span, transitions)
            except Exception as error:
                self.failed(error)

    def render_group(self, group: GroupSpan, at: int) -> None:
        """Hand over the span of *group* itself."""
        light = group.light
        links = () if light.kept is None else light.kept.links
        self.hand(
            ReadableSpan(
                group.name,
                light.context,
                light.parent,
                self.resource,
                group.attributes(),
                (),
                links,
                INTERNAL,
                None,
                group.status(),
                group.started,
                max(at, group.started),
                SCOPE,
            )
        )

    def failed(self, error: Exception) -> None:
        """Note that a sampler or a processor of the application raised *error*; said once, counted always."""
        if not self.lost:
            log.error("Making spans failed; runs go on, some of their spans are missing", exc_info=error)
        self.lost += 1

    def segment(
        self,
        name: str,
        parent: SpanContext,
        number: int,
        start: int,
        end: int,
        attributes: Mapping[str, Any] | None = None,
        status: Status = UNSET,
    ) -> None:
        """Make the span of a state that the run whose span is *parent* spent time in."""
        trace_id, span_id, _, _, state, _ = parent
        own = SpanContext(trace_id, ids.segment_id(span_id, number), False, SAMPLED, state)
        # By position, here and below: names cost 0.2 µs a span.
        made = ReadableSpan(
            name, own, parent, self.resource, attributes, (), (), INTERNAL, None, status, start, end, SCOPE
        )
        self.hand(made)

    def render(self, run: Run, span: LightSpan, transitions: Sequence[Transition]) -> None:
        """Hand over the spans of *run*."""
        context = span.context
        begun, first, _ = transitions[0]
        last, end, said = transitions[-1]
        kind, name = last
        end = max(first, end)  # the clock may have been set back meanwhile
        events: Sequence[Event]
        if last is COMPLETED and begun is RUNNING and len(transitions) == 2 and said is None:
            # The usual run: one attempt that succeeded.
            self.segment("Running", context, 1, first, end)
            events, status = (Event(name, None, end),), OK
        else:
            events = [*self.states(run, context, transitions), self.told(name, None if kind in BAD else said, end)]
            status = OK if kind == "COMPLETED" else UNSET
            if kind in BAD:
                status = Status(StatusCode.ERROR, reason(run, name, said))
        attributes: Mapping[str, Any] = self.attributes(run, kind, name)
        links: Sequence[api.Link] = computed(run)
        kept = span.kept
        if kept is not None:
            span.close()
            attributes = merged(kept.attributes, attributes)
            for event in events:
                kept.events.append(event)
            events, links = kept.events, [*computed(run), *kept.links] if run.cached_trace else kept.links
            if kept.status is not None and kind == "COMPLETED":
                status = kept.status
        self.hand(
            ReadableSpan(
                run.spec.name,
                context,
                span.parent,
                self.resource,
                attributes,
                events,
                links,
                INTERNAL,
                None,
                status,
                first,
                end,
                SCOPE,
            )
        )

    def states(self, run: Run, context: SpanContext, transitions: Sequence[Transition]) -> list[Event]:
        """Hand over a span for each state that *run* spent time in; give the others but the last as events."""
        events: list[Event] = []
        attempt = 0
        for place, ((kind, name), at, said) in enumerate(transitions[:-1]):
            (next_kind, next_name), until, why = transitions[place + 1]
            if kind not in LASTING:
                events.append(self.told(name, said, at))
                continue
            about: dict[str, Any] = {}
            status = UNSET
            if kind == "RUNNING":
                attempt += not place or transitions[place - 1][0][0] != "PAUSED"
                if run.attempt > 1:
                    about = {"headrace.state.name": name, "headrace.attempt": attempt}
                if next_kind in BAD or next_name in {"AwaitingRetry", "Retrying"}:
                    status = Status(StatusCode.ERROR, reason(run, next_name, why))
                name = "Running"
            elif said is not None:
                about["headrace.state.message"] = sound(clipped(said, DESCRIBED) or "")
            self.segment(name, context, place + 1, at, max(at, until), about or None, status)
        return events

    def told(self, name: str, said: str | None, at: int) -> Event:
        """Make the event of a state that takes no time."""
        about = {} if said is None else {"headrace.state.message": sound(clipped(said, DESCRIBED) or "")}
        return self.bounds.event(name, about, at)

    def attributes(self, run: Run, kind: str, name: str) -> dict[str, Any]:
        """Give what a run's span says of it; parameters are never among it."""
        spec = run.spec
        scope = run.scope
        if isinstance(run, FlowRunning):
            about: dict[str, Any] = {
                "headrace.flow.name": spec.name,
                "headrace.flow_run.id": run.id,
                "headrace.flow_run.name": sound(run.name),
                "headrace.state.type": kind,
                "headrace.attempt": run.attempt,
                "code.function.name": spec.function_name,
                "cicd.pipeline.name": spec.name,
                "cicd.pipeline.run.id": run.id,
                "cicd.pipeline.result": "timeout" if name == "TimedOut" else RESULTS.get(kind, "error"),
            }
        else:
            run_id = run.id
            given = run.given_name
            about = {
                "headrace.task.name": spec.name,
                "headrace.task_run.id": run_id,
                "headrace.task_run.name": task_run_name(spec.name, run_id) if given is None else sound(given),
                "headrace.state.type": kind,
                "headrace.attempt": run.attempt,
                "code.function.name": spec.function_name,
            }
            if scope.flow_run_id is not None:
                about["headrace.flow_run.id"] = scope.flow_run_id
        if run.result_key is not None:
            about["headrace.result.key"] = sound(run.result_key)
        if run.cached_from is not None:
            about["headrace.cached_from"] = run.cached_from
        if run.tags:
            about["headrace.tags"] = tuple(sound(tag) for tag in sorted(run.tags))
        if kind in BAD:
            about["error.type"] = run.error_type or name
        if run.number == 0 and isinstance(scope.trace, TraceOfRun) and scope.trace.noted is not None:
            about = {**scope.trace.noted, **about}
        return about


def computed(run: Run) -> Sequence[api.Link]:
    """Give the link to the run that computed what *run* found; none where that is itself, or had no span."""
    if run.cached_from is None or run.cached_trace is None:
        return ()
    prefix, number = ids.prefix_of(run.cached_from), int(run.cached_from[ids.PREFIX_LENGTH :], 16)
    span_id = ids.span_id(ids.span_base(prefix), number)
    there = SpanContext(int(run.cached_trace, 16), span_id, True, SAMPLED)
    return (api.Link(there, {"headrace.link": "computed_by"}),)


def reason(run: Run, name: str, said: str | None) -> str:
    """Give the description of a bad end; a parameter that did not fit is never quoted."""
    if run.error_type == ParameterTypeError.__name__:
        return "Validation of flow parameters failed"
    return sound(clipped(said, DESCRIBED) or name)


def merged(users: BoundedAttributes, ours: Mapping[str, Any]) -> BoundedAttributes:
    """Give the attributes that the user set with ours; the user's come first to be dropped, and win over equal keys."""
    both = BoundedAttributes(users.maxlen, {**users, **{key: ours[key] for key in ours if key not in users}})
    both.dropped += users.dropped
    return both
