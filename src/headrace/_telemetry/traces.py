"""Traces: which trace a run's spans belong to, and its light span made current around its body. Makes no SDK spans."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from opentelemetry import context as otel
from opentelemetry import trace as api
from opentelemetry.context.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from headrace._engine.groups import Group
from headrace._engine.runs import Run
from headrace._model import ids
from headrace._telemetry.groups import GroupSpan
from headrace._telemetry.light import Bounds, ItemSpan, LightSpan

SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
# Under which key a context holds its current span, asked of the API: two dict operations instead of its 0.8 µs.
KEY: Final[str] = next(iter(api.set_span_in_context(api.INVALID_SPAN, Context())))
get_current: Final[Callable[[], Context]] = otel.get_current
NOTHING: Final = SpanContext(0, 0, False)
_first: Final = threading.Lock()


class TraceOfRun:
    """
    The trace of one scope.

    Attributes:
        base: The number from which the span ids of its runs are worked out.
        state: The W3C trace state that the sampler decided on.
        above: The span of another process that a root goes on from; None where there is none.
        noted: Attributes that the sampler added, for the root's span.
    """

    __slots__ = ("above", "base", "bounds", "noted", "sampled", "state", "trace_id")

    def __init__(self, trace_id: int, base: int, sampled: bool, bounds: Bounds) -> None:
        self.trace_id = trace_id
        self.base = base
        self.sampled = sampled
        self.bounds = bounds
        self.state: TraceState | None = None
        self.above: SpanContext | None = None
        self.noted: Mapping[str, Any] | None = None

    def attach(self, run: Any) -> object:
        """Make *run*'s light span current; in a trace that is not sampled only a root's context, so that all agree."""
        around = get_current()
        if not self.sampled:
            if run.number:
                return None
            silent = SpanContext(self.trace_id, ids.span_id(self.base, 0), False, None, self.state)
            return otel.attach(Context({**around, KEY: NonRecordingSpan(silent)}))
        span = run.span
        if span is None and (run.group is None or (span := self.left_out(run, around)) is None):
            own = SpanContext(self.trace_id, ids.span_id(self.base, run.number), False, SAMPLED, self.state)
            here = around.get(KEY)
            if type(here) is LightSpan:
                above = here.context
            else:
                above = here.get_span_context() if isinstance(here, api.Span) else NOTHING
            if above[0] == self.trace_id:
                run.span = span = LightSpan(own, above, self.bounds)
            else:
                run.span = span = self.elsewhere(run, own, above)
        return otel.attach(Context({**around, KEY: span}))

    def renamed(self, run: Any) -> None:
        """Have the span of *run*, which was attached, be that of the id which it has by now."""
        if not run.number:
            self.base = ids.span_base(run.scope.prefix)
        span = run.span
        if type(span) is LightSpan:
            trace_id, _, remote, flags, state = span.context[:5]
            span.context = SpanContext(trace_id, ids.span_id(self.base, run.number), remote, flags, state)

    def carried(self) -> tuple[int, bool, str]:
        """Give what another process has to know to go on in the trace."""
        return self.trace_id, self.sampled, "" if self.state is None else self.state.to_header()

    def left_out(self, run: Run, around: Context) -> ItemSpan | None:
        """Make the light span of an item whose map or stream is shown in its place; None for one shown as any run."""
        group: Group = run.group
        limit = self.bounds.map_limit
        span: GroupSpan | None = group.span
        if span is None:
            if not limit or not group.number or (group.total is not None and group.total <= limit):
                return None
            span = self.group_span(run, group, around)
        if not span.takes(limit):
            return None
        run.span = item = ItemSpan(self.base, run.number, span.light)
        return item

    def group_span(self, run: Run, group: Group, around: Context) -> GroupSpan:
        """Make what stands for *group*, where its first item *run* begins; its parent is what is current there."""
        with _first:  # items begin in many threads
            if group.span is None:
                caller = group.parent
                trace = self if caller is None or not isinstance(caller.scope.trace, TraceOfRun) else caller.scope.trace
                own = SpanContext(self.trace_id, ids.span_id(trace.base, group.number), False, SAMPLED, self.state)
                here = around.get(KEY)
                above = here.get_span_context() if isinstance(here, api.Span) else NOTHING
                same = above[0] == self.trace_id
                light = LightSpan(own, above, self.bounds) if same else self.elsewhere(run, own, above)
                group.span = GroupSpan(group, light)
        found: GroupSpan = group.span
        return found

    def elsewhere(self, run: Run, own: SpanContext, above: SpanContext) -> LightSpan:
        """Make the light span of a run called where no span of its trace is current; linked to the one that is."""
        caller = run.parent
        parent = self.above if caller is None or caller.span is None else caller.span.get_span_context()
        span = LightSpan(own, parent, self.bounds)
        if above.is_valid:
            span.add_link(above)
        return span

    def detach(self, token: Any) -> None:
        """Make what was current before current again."""
        if token is not None:
            otel.detach(token)
