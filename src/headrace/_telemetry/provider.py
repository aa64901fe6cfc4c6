"""
The provider: who the spans go to. The application's tracer provider, or one of ours that sends to the OTLP endpoint.

Never replaces what the application has set. What stands in the way of tracing is said once a process.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Final

from opentelemetry import trace as api
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from headrace._telemetry.spans import SpanMaker
from headrace.errors import MissingExtra

log: Final = logging.getLogger("headrace.traces")
QUEUE: Final = 100_000
_said: Final[set[str]] = set()


def observer(now: Callable[[], int], *, export: bool, map_limit: int) -> SpanMaker | None:
    """
    Give the maker of spans for the application's tracer provider; *now* gives nanoseconds since 1970.

    Maps and streams of more than *map_limit* items collapse into one span; with 0 none does.

    Where the application has set none and *export* is asked for, one is set up that sends to the OTLP endpoint of the
    environment. None where nobody listens, or the environment wants it so.
    """
    if setting("OTEL_SDK_DISABLED").lower() == "true":
        return None
    provider = api.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        return SpanMaker(provider, now, incoming(), map_limit)
    if isinstance(provider, api.NoOpTracerProvider):
        return None
    if not isinstance(provider, api.ProxyTracerProvider):
        kind = f"{type(provider).__module__}.{type(provider).__qualname__}"
        once(f"The application's tracer provider is a {kind}, not one of opentelemetry-sdk; runs are not traced")
        return None
    made = exporting_provider() if export and wanted() else None
    return None if made is None else SpanMaker(made, now, incoming(), map_limit)


def wanted() -> bool:
    """Tell whether the environment leaves it to us to send spans as OTLP over HTTP."""
    if setting("OTEL_TRACES_EXPORTER") not in {"", "otlp"}:
        return False
    protocol = setting("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or setting("OTEL_EXPORTER_OTLP_PROTOCOL")
    if protocol in {"", "http/protobuf"}:
        return True
    once(
        f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}, and headrace sends http/protobuf only; runs are not traced. "
        f"Use the collector's HTTP port (4318) and unset it, or set a TracerProvider of your own"
    )
    return False


def exporting_provider() -> TracerProvider | None:
    """Set up a tracer provider that sends to the OTLP endpoint, and make it the application's; None if it cannot be."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
    except ImportError:
        once(f"{MissingExtra('Sending traces to OTEL_EXPORTER_OTLP_ENDPOINT', 'otlp')}; until then nothing is traced")
        return None
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - only where we set up the provider ourselves

    try:
        # Spans come in batches as large as the journal's; the SDK's default queue of 2,048 would drop most of one.
        queue = None if setting("OTEL_BSP_MAX_QUEUE_SIZE") else QUEUE
        provider = TracerProvider(resource=Resource.create(None if named() else {"service.name": "headrace"}))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=queue))
    except Exception as error:
        once(f"The OTLP exporter cannot be set up from the environment: {error}; nothing is traced")
        return None
    api.set_tracer_provider(provider)
    return provider


def named() -> bool:
    """Tell whether the environment names the service."""
    pairs = (pair.partition("=")[0].strip() for pair in setting("OTEL_RESOURCE_ATTRIBUTES").split(","))
    return bool(setting("OTEL_SERVICE_NAME")) or "service.name" in pairs


def incoming() -> SpanContext | None:
    """Give the span of the process that started this one, as TRACEPARENT and TRACESTATE have it; None without them."""
    carrier = {name: setting(name.upper()) for name in ("traceparent", "tracestate")}
    if not carrier["traceparent"]:
        return None
    context = TraceContextTextMapPropagator().extract(carrier)
    found = api.get_current_span(context).get_span_context()
    return found if found.is_valid else None


def setting(name: str) -> str:
    """Give the environment variable *name* without blanks around it; "" where it is not set."""
    return os.environ.get(name, "").strip()


def once(sentence: str) -> None:
    """Say *sentence* in the log, unless it was said before."""
    if sentence not in _said:
        _said.add(sentence)
        log.warning("%s", sentence)
