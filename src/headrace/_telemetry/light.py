"""
Light spans: what is current while a traced body is at work. They collect; the real spans are made after the commit.
"""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import attrs
from opentelemetry import trace as api
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, SpanLimits
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, SpanContext, Status, StatusCode
from opentelemetry.util.types import Attributes, AttributeValue

from headrace._engine.inputs import own_frames
from headrace._model import ids
from headrace.errors import ParameterTypeError

_first: Final = threading.Lock()
# Who reads the current span's ids to put them on log lines and measurements. Nothing of theirs is below that span.
LABELLING: Final = (
    "headrace._telemetry.logs",
    "opentelemetry.instrumentation.logging",
    "opentelemetry._logs",
    "opentelemetry.sdk._logs",
    "opentelemetry.sdk.metrics",
)


@attrs.frozen
class Bounds:
    """
    What the spans of a provider share: how much of the user's they keep, the clock of events, when maps collapse.

    Attributes:
        limits: The provider's, or those of the environment.
        now: Gives nanoseconds since 1970.
        map_limit: A map or stream of more items is one span; 0 where none is.
    """

    limits: SpanLimits
    now: Callable[[], int]
    map_limit: int = 0

    def attributes(self) -> BoundedAttributes:
        """Make a place for attributes of a span; it cleans values as the SDK does."""
        return BoundedAttributes(
            self.limits.max_span_attributes, immutable=False, max_value_len=self.limits.max_span_attribute_length
        )

    def event(self, name: str, attributes: Attributes, timestamp: int | None) -> Event:
        """Make an event."""
        bounded = BoundedAttributes(
            self.limits.max_event_attributes, attributes, max_value_len=self.limits.max_attribute_length
        )
        return Event(sound(name), bounded, self.now() if timestamp is None else timestamp)

    def link(self, context: SpanContext, attributes: Attributes) -> Link:
        """Make a link."""
        bounded = BoundedAttributes(
            self.limits.max_link_attributes, attributes, max_value_len=self.limits.max_attribute_length
        )
        return Link(context, bounded)


class Kept:
    """What was set on a light span; most spans have none of it."""

    __slots__ = ("attributes", "events", "links", "status")

    def __init__(self, bounds: Bounds) -> None:
        self.attributes = bounds.attributes()
        self.events: BoundedList[Event] = BoundedList(bounds.limits.max_events)
        self.links: BoundedList[Link] = BoundedList(bounds.limits.max_links)
        self.status: Status | None = None


class LightSpan(api.Span):
    """
    A span with a real context, so that the user's spans nest under the run, and a place for what is set on it.

    Attributes:
        kept: What was set; None while nothing was, which spares most spans four containers.
    """

    __slots__ = ("bounds", "closed", "context", "kept", "parent")

    def __init__(self, context: SpanContext, parent: SpanContext | None, bounds: Bounds) -> None:
        self.context = context
        self.parent = parent
        self.bounds = bounds
        self.kept: Kept | None = None
        self.closed = False

    def get_span_context(self) -> SpanContext:
        """Give the run's span context."""
        return self.context

    def is_recording(self) -> bool:
        """Tell whether attributes and events are still kept: until the run has ended."""
        return not self.closed

    def place_below(self, trace_id: int, span_id: int) -> None:
        """Hang it below a span of the same trace that was opened in another process."""
        _, _, _, flags, state, _ = self.context
        self.parent = SpanContext(trace_id, span_id, True, flags, state)

    def close(self) -> None:
        """Keep nothing that is set from now on: the run has ended, and its span may be made at any moment."""
        self.closed = True

    def place(self) -> Kept:
        """Give where to keep things."""
        if self.kept is None:
            with _first:  # threads of one body may both come first
                if self.kept is None:
                    self.kept = Kept(self.bounds)
        return self.kept

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Keep an attribute for the run's span."""
        if not self.closed:
            self.place().attributes[key] = sound(value) if isinstance(value, str) else value

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Keep attributes for the run's span."""
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Keep an event for the run's span."""
        if not self.closed:
            self.place().events.append(self.bounds.event(name, attributes, timestamp))

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Keep a link for the run's span."""
        if not self.closed:
            self.place().links.append(self.bounds.link(context, attributes))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Keep *exception* as an event for the run's span."""
        if not self.closed:
            self.add_event("exception", {**described(exception, escaped), **(attributes or {})}, timestamp)

    def attempt_failed(self, exception: BaseException, *, escaped: bool = False) -> None:
        """Keep the exception that ended an attempt of the run: the one thing kept that no user has set."""
        if not self.closed:
            kept = LightSpan.place(self)
            kept.events.append(self.bounds.event("exception", described(exception, escaped), None))

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Keep a status, for a run that completes: that of one which ended badly wins. OK is final, as in the SDK."""
        given = status if isinstance(status, Status) else Status(status, description)
        if self.closed or given.is_unset:
            return
        kept = self.place()
        if kept.status is None or not kept.status.is_ok or given.is_ok:
            kept.status = given

    def update_name(self, name: str) -> None:
        """Do nothing: a run's span is named for its flow or task."""

    def end(self, end_time: int | None = None) -> None:
        """Do nothing: the span ends when the run does."""


class ItemSpan(LightSpan):
    """
    The light span of an item whose map or stream is shown as one span.

    It is not shown itself unless somebody relies on it: by opening a span or calling a run below it, or by setting
    something on it. Once it is known that it is not shown, its context is that of the map: what still opens below
    then, from a hook or a thread left behind, hangs there. Most are never asked for their context, so it is made then.

    Attributes:
        base, number: What its span id is worked out from.
        used: Whether somebody relies on it.
    """

    __slots__ = ("base", "group", "number", "used")

    def __init__(self, base: int, number: int, group: LightSpan) -> None:
        self.base = base
        self.number = number
        self.group = group
        self.parent = group.context
        self.bounds = group.bounds
        self.kept = None
        self.closed = False
        self.used = False

    if not TYPE_CHECKING:  # a checker would take it to have every attribute

        def __getattr__(self, name: str) -> SpanContext:
            """Make the context at its first use, when its place is still empty."""
            if name != "context":
                raise AttributeError(name=name, obj=self)
            self.context = own = self.own_context()
            return own

    def own_context(self) -> SpanContext:
        """Give the context of a span of its own."""
        trace_id, _, _, flags, state, _ = self.group.context
        return SpanContext(trace_id, ids.span_id(self.base, self.number), False, flags, state)

    def get_span_context(self) -> SpanContext:
        """Give the run's span context; who asks may hang a span below, unless it is known for labelling its own."""
        if not str(sys._getframe(1).f_globals.get("__name__")).startswith(LABELLING):  # pyright: ignore[reportPrivateUsage]
            self.used = True
        return self.context

    def place(self) -> Kept:
        """Give where to keep what the user sets."""
        self.used = True
        return super().place()

    def hide(self) -> bool:
        """
        Stand for the map from now on, for the run has ended and is not to be shown; tell whether that came in time.

        Whoever asks meanwhile says so first and takes the context then; here it is given first, and looked then. So
        either sees the other, and nobody is left below a span that is not made.
        """
        self.context = self.group.context
        if self.used:
            self.context = self.own_context()
            return False
        self.close()
        return True


def described(exception: BaseException, escaped: bool) -> dict[str, Any]:
    """Give what the event of an exception says."""
    return {
        "exception.type": f"{type(exception).__module__}.{type(exception).__qualname__}".removeprefix("builtins."),
        "exception.message": text(exception),
        "exception.stacktrace": stack(exception),
        "exception.escaped": str(escaped),
    }


def sound(words: str) -> str:
    """Give *words* as text that has a UTF-8 form: one lone surrogate would cost an exporter its whole batch."""
    return words if words.isascii() else words.encode(errors="backslashreplace").decode()


def text(exception: BaseException) -> str:
    """Give the exception's text, even if its __str__ raises; without the values of parameters that did not fit."""
    if isinstance(exception, ParameterTypeError):
        return f"Parameters that do not fit: {', '.join(name for name, _ in exception.problems)}"
    try:
        return sound(str(exception))
    except Exception as broken:
        return f"<its __str__ raises {type(broken).__name__}>"


def stack(exception: BaseException) -> str:
    """Give the exception's traceback as text, the user's frames first, even if it cannot be formatted."""
    try:
        shown = "".join(traceback.format_exception(type(exception), exception, own_frames(exception)))
        for misfit in chain(exception):
            for _, reason in misfit.problems if isinstance(misfit, ParameterTypeError) else ():
                shown = shown.replace(reason, "does not fit")
    except Exception as broken:
        return f"<its traceback cannot be shown: {type(broken).__name__}>"
    return sound(shown)


def chain(exception: BaseException) -> Iterator[BaseException]:
    """Give *exception*, what it came of and, of a group, its members."""
    seen: set[int] = set()
    heap = [exception]
    while heap:
        one = heap.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        heap += [below for below in (one.__cause__, one.__context__, *getattr(one, "exceptions", ())) if below]
