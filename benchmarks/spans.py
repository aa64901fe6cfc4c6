"""
Tracing as an application sets it up, ending in an exporter that counts and discards.

Imported only where a tracer is wanted: the SDK alone is a third of a small process's memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from typing_extensions import override

# Large enough that no workload here can fill it: a dropped span is work that one side did not do.
QUEUE = 2_000_000


class Discard(SpanExporter):
    """Counts what it is given and keeps nothing."""

    def __init__(self) -> None:
        self.seen = 0

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.seen += len(spans)
        return SpanExportResult.SUCCESS


class Spans:
    """
    A tracer provider as an application would set it up, every span sampled, in front of an exporter that
    discards.
    """

    def __init__(self) -> None:
        self._exporter = Discard()
        self._provider = TracerProvider()
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter, max_queue_size=QUEUE))
        trace.set_tracer_provider(self._provider)

    def flushed(self) -> int:
        """Export what waits, then give the number of spans exported since the start."""
        self._provider.force_flush()
        return self._exporter.seen
