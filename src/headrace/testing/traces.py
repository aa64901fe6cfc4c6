"""Traces as text: finished spans drawn as an indented tree that compares. Reads spans; exports nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

OURS: Final = "headrace"
BEGINNINGS: Final = frozenset({"run started", "Pending", "Running"})
NUMBERED: Final = ("headrace.task_run.id", "headrace.flow_run.id")


def trace_as_text(
    spans: Iterable[ReadableSpan],
    *,
    attributes: Collection[str] = (),
    durations: bool = True,
    events: bool = False,
) -> str:
    """
    Draw *spans*, as opentelemetry's InMemorySpanExporter gives them, as a tree: parents first, in order of start.

    With `virtual_time` and counting ids the text of equal runs is equal.

    Args:
        attributes: The names of those to show; a span shows those it has.
        durations: Show seconds; leave them out where time is real.
        events: Show the names of each span's events, exceptions and final states among them.
    """
    listed = list(spans)
    known = {number_of(span) for span in listed}
    below: dict[int | None, list[tuple[int, ReadableSpan]]] = {}
    for place, span in enumerate(listed):
        above = span.parent.span_id if span.parent is not None else None
        below.setdefault(above if above in known else None, []).append((place, span))
    lines: list[str] = []

    def draw(above: int | None, indent: str) -> None:
        for _, span in sorted(below.get(above, []), key=lambda one: rank(*one)):
            lines.append(indent + line_of(span, attributes, durations, events))
            draw(number_of(span), indent + "  ")

    draw(None, "")
    return "\n".join(lines)


def number_of(span: ReadableSpan) -> int:
    """Give the span's id."""
    context = span.get_span_context()
    return 0 if context is None else context.span_id


def rank(place: int, span: ReadableSpan) -> tuple[int, int, int, str, int]:
    """
    Give the key that puts siblings in order: by start, and where time stood still, in the order a reader expects.

    A run's beginning comes before what it called, and its waits after that; runs by their number, the user's own spans
    in the order they ended. What several threads export meets in no fixed order, so the place in the list decides last.
    """
    start, end = span.start_time or 0, span.end_time or 0
    own = span.attributes or {}
    numbered = next((str(own[name]) for name in NUMBERED if name in own), "")
    ours = span.instrumentation_scope is not None and span.instrumentation_scope.name == OURS
    state = 0 if span.name in BEGINNINGS else 3
    kind = 2 if not ours else 1 if numbered else state
    return start, kind, 0 if kind in {1, 2} else end, numbered, place


def line_of(span: ReadableSpan, attributes: Collection[str], durations: bool, events: bool) -> str:
    """Give one span as a line."""
    parts = [span.name]
    if durations and span.start_time is not None and span.end_time is not None:
        parts.append(f"[{(span.end_time - span.start_time) / 1e9:g} s]")
    own = span.attributes or {}
    parts += [f"{name}={own[name]!s}" for name in attributes if name in own]
    if events:
        parts += [f"+{event.name}" for event in span.events]
    if not span.status.is_ok:
        parts.append(f"ERROR: {span.status.description}" if span.status.description else "ERROR")
    return " ".join(parts)
