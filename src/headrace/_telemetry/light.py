"""The light span: what is current while a traced body is at work. Collects; the real span is made after the commit."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import trace as api
from opentelemetry.trace import SpanContext, Status, StatusCode
from opentelemetry.util.types import Attributes, AttributeValue

Said = tuple[str, int, dict[str, Any]]


class LightSpan(api.Span):
    """A span with a real context, so that the user's spans nest under the run, and a place for what is set on it."""

    __slots__ = ("attributes", "context", "events", "links", "now", "parent", "status")

    def __init__(self, context: SpanContext, parent: SpanContext | None, now: Callable[[], int]) -> None:
        self.context = context
        self.parent = parent
        self.now = now
        self.attributes: dict[str, Any] | None = None
        self.events: list[Said] | None = None
        self.links: list[api.Link] | None = None
        self.status: Status | None = None

    def get_span_context(self) -> SpanContext:
        """Give the run's span context."""
        return self.context

    def is_recording(self) -> bool:
        """Tell that attributes and events are kept."""
        return True

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Keep an attribute for the run's span."""
        if self.attributes is None:
            self.attributes = {}
        self.attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Keep attributes for the run's span."""
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Keep an event for the run's span."""
        if self.events is None:
            self.events = []
        self.events.append((name, self.now() if timestamp is None else timestamp, dict(attributes or {})))

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Keep a link for the run's span."""
        if self.links is None:
            self.links = []
        self.links.append(api.Link(context, attributes))

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Keep *exception* as an event for the run's span."""
        about: dict[str, Any] = {
            "exception.type": f"{type(exception).__module__}.{type(exception).__qualname__}".removeprefix("builtins."),
            "exception.message": text(exception),
            "exception.stacktrace": stack(exception),
            "exception.escaped": str(escaped),
        }
        self.add_event("exception", {**about, **(attributes or {})}, timestamp)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Keep a status; that of a run which ended badly wins."""
        self.status = status if isinstance(status, Status) else Status(status, description)

    def update_name(self, name: str) -> None:
        """Do nothing: a run's span is named for its flow or task."""

    def end(self, end_time: int | None = None) -> None:
        """Do nothing: the span ends when the run does."""


def text(exception: BaseException) -> str:
    """Give the exception's text, even if its __str__ raises."""
    try:
        return str(exception)
    except Exception as broken:
        return f"<its __str__ raises {type(broken).__name__}>"


def stack(exception: BaseException) -> str:
    """Give the exception's traceback as text, even if it cannot be formatted."""
    try:
        return "".join(traceback.format_exception(exception))
    except Exception as broken:
        return f"<its traceback cannot be shown: {type(broken).__name__}>"
