"""Waits: the span that a block's wait for slots is in a trace. Loaded only where a run is traced."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager

from opentelemetry import trace


@contextmanager
def pending(names: Iterable[str]) -> Generator[None]:
    """Have a span show that slots of the limits *names* are waited for, below the span of the code that does."""
    span = trace.get_tracer("headrace").start_span("Pending", attributes={"headrace.limit.name": list(names)})
    try:
        yield
    finally:
        span.end()
