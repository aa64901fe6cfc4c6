"""A real OTLP/HTTP receiver on loopback, and programs run as a user would run them. Decodes; expects nothing."""

from __future__ import annotations

import gzip
import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from tests.spec.seen import Seen, Spans

STATUS: Final = {0: "UNSET", 1: "OK", 2: "ERROR"}


class Receiver:
    """What arrived: spans, resources, and how the requests were made."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.spans: list[Seen] = []
        self.resources: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str, str]] = []
        self.arrived = threading.Condition()

    def take(self, path: str, kind: str, encoding: str, body: bytes) -> None:
        """Decode one request."""
        request = ExportTraceServiceRequest()
        request.ParseFromString(gzip.decompress(body) if encoding == "gzip" else body)
        with self.arrived:
            self.requests.append((path, kind, encoding))
            for resource in request.resource_spans:
                self.resources.append(attributes(resource.resource.attributes))
                for scope in resource.scope_spans:
                    self.spans += [decoded(span, scope.scope.name) for span in scope.spans]
            self.arrived.notify_all()

    def all(self) -> Spans:
        """Give the spans so far."""
        return Spans(self.spans)

    def wait_for(self, what: Callable[[Receiver], bool], seconds: float = 30) -> None:
        """Wait until *what* holds."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: what(self), seconds), [span.name for span in self.spans]


def decoded(span: Any, scope: str) -> Seen:
    """Read a span of OTLP's."""
    assert len(span.trace_id) == 16
    assert len(span.span_id) == 8
    return Seen(
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex() or None,
        name=span.name,
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=attributes(span.attributes),
        events=tuple((event.name, event.time_unix_nano, attributes(event.attributes)) for event in span.events),
        status=STATUS[span.status.code],
        description=span.status.message,
        scope=scope,
        links=tuple(link.span_id.hex() for link in span.links),
    )


def attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    """Read attributes."""
    return {pair.key: plain(pair.value) for pair in pairs}


def plain(value: AnyValue) -> Any:
    """Read one value."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(plain(item) for item in value.array_value.values)
    return None if kind is None else getattr(value, kind)


@contextmanager
def receiving() -> Generator[Receiver]:
    """Be a collector on a free port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = self.headers
            receiver.take(self.path, headers["Content-Type"], headers.get("Content-Encoding", ""), body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Ran:
    """A program that has ended."""

    def __init__(self, done: subprocess.CompletedProcess[str], seconds: float) -> None:
        self.code = done.returncode
        self.out = done.stdout
        self.lines = done.stderr.splitlines()
        self.seconds = seconds


def environment(home: Path, **more: str) -> dict[str, str]:
    """Give the environment of a user who has set nothing but *more*."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "OTEL_", "TRACE"))}
    return {**bare, "HEADRACE_HOME": str(home), "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}


def program(source: str, home: Path, **more: str) -> Ran:
    """Run *source* as a script in a process of its own, to its end."""
    home.mkdir(exist_ok=True)
    script = home / "program.py"
    script.write_text(source, encoding="utf-8")
    before = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment(home, **more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ran(done, time.monotonic() - before)
