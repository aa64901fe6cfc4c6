"""
Carried traces: what stands in a worker process for the trace of the run it was handed, and for the runs' light spans.

What is set on a span here is noted, and set on the run's own where that is: no span of ours is made in a worker.
"""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Mapping
from typing import Any

from opentelemetry import context as otel
from opentelemetry import trace as api
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.util.types import Attributes, AttributeValue

from headrace._engine.runs import Run
from headrace._model import ids
from headrace._telemetry.light import LABELLING, described
from headrace._telemetry.traces import SAMPLED
from headrace.errors import short

Mark = tuple[str, tuple[Any, ...]]


class CarriedSpan(api.Span):
    """
    The span of a run that is told of elsewhere.

    Attributes:
        marks: What was set on it and not handed on yet: names of methods, with arguments.
        used: Whether somebody asked for its context, and may have opened a span below.
    """

    def __init__(self, context: SpanContext) -> None:
        self.context = context
        self.marks: list[Mark] = []
        self.used = False
        self.closed = False

    def get_span_context(self) -> SpanContext:
        """Give the run's span context."""
        if not sys._getframe(1).f_globals.get("__name__", "").startswith(LABELLING):  # pyright: ignore[reportPrivateUsage]
            self.used = True
        return self.context

    def is_recording(self) -> bool:
        """Tell whether attributes and events are still kept: until the run has ended."""
        return not self.closed

    def close(self) -> None:
        """Keep nothing that is set from now on."""
        self.closed = True

    def note(self, method: str, *args: Any) -> None:
        """Note that *method* is to be called on the run's span."""
        if self.closed:
            return
        try:
            pickle.dumps(args)
        except Exception:  # no attribute that a span takes, either
            args = tuple(short(one) for one in args)
        self.marks.append((method, args))

    def taken(self) -> tuple[Mark, ...]:
        """Give what was noted since the last time."""
        taken, self.marks = tuple(self.marks), []
        return taken

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Note an attribute."""
        self.note("set_attribute", key, value)

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Note attributes."""
        for key, value in attributes.items():
            self.note("set_attribute", key, value)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Note an event, of this moment where no other is given."""
        given = None if attributes is None else dict(attributes)
        self.note("add_event", name, given, time.time_ns() if timestamp is None else timestamp)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Note a link."""
        self.note("add_link", context, None if attributes is None else dict(attributes))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Note *exception* as an event."""
        self.add_event("exception", {**described(exception, escaped), **(attributes or {})}, timestamp)

    def attempt_failed(self, exception: BaseException, *, escaped: bool = False) -> None:
        """Note the exception that ended an attempt of the run."""
        self.add_event("exception", described(exception, escaped))

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Note a status."""
        self.note("set_status", status if isinstance(status, Status) else Status(status, description))

    def update_name(self, name: str) -> None:
        """Do nothing: a run's span is named for its flow or task."""

    def end(self, end_time: int | None = None) -> None:
        """Do nothing: the span ends when the run does."""


class CarriedTrace:
    """The trace of one scope, as a worker knows it."""

    def __init__(self, trace_id: int, prefix: str, sampled: bool, state: str) -> None:
        self.trace_id = trace_id
        self.prefix = prefix
        self.sampled = sampled
        self.state = state
        self.base = ids.span_base(prefix)
        self.states = TraceState.from_header([state]) if state else None

    def attach(self, run: Any) -> object:
        """Make the span of *run* current: one that notes, or where nothing is sampled one that says so."""
        flags = SAMPLED if self.sampled else TraceFlags(TraceFlags.DEFAULT)
        here = api.get_current_span()
        context = SpanContext(self.trace_id, ids.span_id(self.base, run.number), run.away, flags, self.states)
        if not self.sampled:
            return otel.attach(api.set_span_in_context(NonRecordingSpan(context)))
        run.span = span = CarriedSpan(context)
        above = here.get_span_context()
        if above.trace_id == self.trace_id and not isinstance(here, CarriedSpan):
            span.note("place_below", above.trace_id, above.span_id)  # one that the body has opened
        return otel.attach(api.set_span_in_context(span))

    def renamed(self, run: Any) -> None:
        """Do nothing: what is on record is found again where it is recorded."""

    def detach(self, token: Any) -> None:
        """Make what was current before current again."""
        otel.detach(token)

    def carried(self) -> tuple[int, bool, str]:
        """Give what a further process has to know to go on in this trace."""
        return self.trace_id, self.sampled, self.state


class Carrier:
    """The observer in a worker: has runs go on in the trace of those that call them."""

    def open(self, run: Run) -> CarriedTrace | None:
        """Give the trace of *run*'s scope; a run that no other calls is not traced."""
        above = None if run.parent is None else run.parent.scope.trace
        if not isinstance(above, CarriedTrace):
            return None
        return CarriedTrace(above.trace_id, run.scope.prefix, above.sampled, above.state)

    def ended(self, run: Any, transitions: object) -> None:
        """Do nothing: spans are made elsewhere."""

    def began(self, run: Any) -> None:
        """Do nothing, as in `ended`."""

    def undone(self, run: Any, at: int) -> None:
        """Hear of nothing: runs are rolled back where they are recorded."""

    def grouped(self, group: Any, at: int) -> None:
        """Do nothing, as in `ended`."""
