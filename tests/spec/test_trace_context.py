"""Trace context: whose trace a run joins, who joins a run's, and which provider and sampler decide."""

from __future__ import annotations

import http.server
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry import context as otel
from opentelemetry import propagate
from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.util.types import Attributes

from headrace import _runtime, flow, task
from headrace._model import ids
from tests.spec.forms import Form, call
from tests.spec.seen import Tracing, application, seen

REMOTE = SpanContext(0xABC, 0xDEF, True, TraceFlags(TraceFlags.SAMPLED), TraceState([("vendor", "x")]))


@pytest.fixture
def app() -> Iterator[Tracing]:
    with application() as tracing:
        yield tracing


# -- the user's own spans ---------------------------------------------------------------------------------------


def test_the_users_spans_nest_under_the_task_that_opens_them(app: Tracing, form: Form) -> None:
    @form.task()
    async def fetch() -> None:
        with app.tracer.start_as_current_span("parse"):
            pass

    @form.flow()
    async def work() -> None:
        await call(fetch)

    form.run(work)

    spans = app.spans().whole()
    assert spans.parent_name(spans.one("parse")) == "fetch"


def test_a_span_around_a_task_call_is_the_tasks_parent(app: Tracing, form: Form) -> None:
    @form.task()
    async def fetch() -> None: ...

    @form.flow()
    async def work() -> None:
        with app.tracer.start_as_current_span("all cities"):
            await call(fetch)

    form.run(work)

    spans = app.spans().whole()
    assert spans.parent_name(spans.one("fetch")) == "all cities"
    assert spans.parent_name(spans.one("all cities")) == "work"


def test_a_task_called_within_another_trace_stays_in_its_flows_and_links_there(app: Tracing, form: Form) -> None:
    @form.task()
    async def fetch() -> None: ...

    @form.flow()
    async def work() -> None:
        with app.tracer.start_as_current_span("another trace", context=Context()):
            await call(fetch)

    form.run(work)

    spans = app.spans().whole(traces=2)
    assert spans.parent_name(spans.one("fetch")) == "work"
    assert spans.one("fetch").links == (spans.one("another trace").id,)


def test_what_is_set_on_the_current_span_ends_up_on_the_runs(app: Tracing, form: Form, kind: str) -> None:
    @form.decorate(kind)
    async def work() -> None:
        span = api.get_current_span()
        span.set_attribute("rows", 3)
        span.set_attributes({"cities": ["Oslo", "Rome"], "code.function.name": "mine"})
        span.add_event("halfway", {"row": 2}, timestamp=7)
        span.add_link(REMOTE)
        span.record_exception(KeyError("caught"))
        span.set_status(api.Status(api.StatusCode.ERROR, "half of it"))
        span.update_name("other")
        span.end()
        assert span.is_recording()

    form.run(work)

    (span,) = app.spans().named("work")
    assert span.attributes["rows"] == 3
    assert span.attributes["cities"] == ("Oslo", "Rome")
    assert span.attributes["code.function.name"] == "mine"
    assert span.attributes["headrace.attempt"] == 1
    assert ("halfway", 7, {"row": 2}) in span.events
    assert span.event("exception")["exception.type"] == "KeyError"
    assert [name for name, _, _ in span.events] == ["halfway", "exception", "Completed"]
    assert span.links == (f"{REMOTE.span_id:016x}",)
    assert (span.status, span.description) == ("ERROR", "half of it")


def test_the_users_attributes_keep_to_the_providers_limits() -> None:
    with application(limits=SpanLimits(max_attributes=8, max_span_attribute_length=4, max_events=2)) as app:

        @flow
        def work() -> None:
            span = api.get_current_span()
            for number in range(20):
                span.set_attribute(f"key {number}", "long text")
                span.add_event(f"event {number}")

        work()

        (span,) = [span for span in app.exporter.get_finished_spans() if span.name == "work"]
        attributes = span.attributes or {}
        assert len(attributes) == 8
        assert attributes["headrace.attempt"] == 1
        assert span.dropped_attributes == 12 + 9
        assert [event.name for event in span.events] == ["event 19", "Completed"]
        assert span.dropped_events == 19


def test_an_instrumented_client_nests_under_the_task_and_tells_the_server(app: Tracing) -> None:
    received: list[str | None] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            received.append(self.headers["traceparent"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()

    def instrumented_get(url: str) -> None:
        with app.tracer.start_as_current_span("GET", kind=SpanKind.CLIENT):
            request = urllib.request.Request(url)
            headers: dict[str, str] = {}
            propagate.inject(headers)
            for name, value in headers.items():
                request.add_header(name, value)
            urllib.request.urlopen(request).close()

    @task
    def fetch() -> None:
        instrumented_get(f"http://127.0.0.1:{server.server_address[1]}/")

    @flow
    def work() -> None:
        fetch()

    try:
        work()
    finally:
        server.shutdown()
        server.server_close()

    spans = app.spans().whole()
    get = spans.one("GET")
    assert spans.parent_name(get) == "fetch"
    assert received == [f"00-{get.trace}-{get.id}-01"]


# -- the caller's trace -----------------------------------------------------------------------------------------


def test_a_run_joins_the_trace_of_its_caller(app: Tracing, form: Form, kind: str) -> None:
    @form.decorate(kind)
    async def work() -> None: ...

    with app.tracer.start_as_current_span("request"):
        form.run(work)

    spans = app.spans().whole()
    assert spans.parent_name(spans.one("work")) == "request"


def test_the_trace_that_a_run_joined_is_in_its_record(app: Tracing, form: Form) -> None:
    @form.flow()
    async def work() -> None: ...

    with app.tracer.start_as_current_span("request"):
        form.run(work)

    assert app.record.flow_run().trace_id == app.spans().one("request").trace


def test_a_run_goes_on_from_a_span_of_another_process_with_its_trace_state(app: Tracing, form: Form) -> None:
    carried: dict[str, str] = {}

    @form.task()
    async def step() -> None:
        propagate.inject(carried)

    @form.flow()
    async def work() -> None:
        await call(step)

    token = otel.attach(api.set_span_in_context(NonRecordingSpan(REMOTE), Context()))
    try:
        form.run(work)
    finally:
        otel.detach(token)

    spans = app.spans().whole(outside=f"{REMOTE.span_id:016x}")
    assert spans.one("work").parent == f"{REMOTE.span_id:016x}"
    assert carried == {"traceparent": f"00-{REMOTE.trace_id:032x}-{spans.one('step').id}-01", "tracestate": "vendor=x"}
    contexts = [span.context for span in app.exporter.get_finished_spans()]
    assert all(context is not None and context.trace_state == REMOTE.trace_state for context in contexts)


def test_a_process_started_with_a_traceparent_joins_it_unless_a_span_is_current(
    monkeypatch: pytest.MonkeyPatch, form: Form
) -> None:
    monkeypatch.setenv("TRACEPARENT", f"00-{REMOTE.trace_id:032x}-{REMOTE.span_id:016x}-01")
    monkeypatch.setenv("TRACESTATE", "vendor=x")
    with application() as app:

        @form.flow()
        async def below() -> None: ...

        @form.flow()
        async def work() -> None:
            await call(below)

        form.run(work)
        outside = f"{REMOTE.span_id:016x}"
        assert app.spans().whole(outside=outside).one("work").parent == outside
        assert app.spans().one("work").trace == f"{REMOTE.trace_id:032x}"
        assert app.spans().parent_name(app.spans().one("below")) == "work"

        app.exporter.clear()
        with app.tracer.start_as_current_span("request"):
            form.run(work)
        assert app.spans().parent_name(app.spans().one("work")) == "request"


@pytest.mark.parametrize("value", ["", "nonsense", f"00-{0:032x}-{1:016x}-01"])
def test_a_traceparent_that_means_nothing_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, form: Form, value: str
) -> None:
    monkeypatch.setenv("TRACEPARENT", value)
    with application() as app:

        @form.flow()
        async def work() -> None: ...

        form.run(work)

        assert app.spans().whole().one("work").parent is None


# -- sampling ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", [ALWAYS_OFF, ParentBased(ALWAYS_OFF)])
def test_a_run_that_is_not_sampled_exports_nothing_and_the_users_spans_agree(sampler: Sampler, form: Form) -> None:
    carried: dict[str, str] = {}
    with application(sampler) as app:

        @form.task()
        async def step() -> None:
            with app.tracer.start_as_current_span("parse") as span:
                assert not span.is_recording()
                propagate.inject(carried)

        @form.flow()
        async def below() -> None:
            await call(step)

        @form.flow()
        async def work() -> None:
            await call(below)

        form.run(work)

        assert app.spans().all == []
        run = app.record.flow_runs()[0]
        assert carried["traceparent"].split("-")[1] == f"{ids.trace_id(run.id):032x}"
        assert carried["traceparent"].endswith("-00")


def test_a_run_is_sampled_as_its_caller_is(form: Form) -> None:
    with application(ParentBased(TraceIdRatioBased(1.0), local_parent_not_sampled=ALWAYS_OFF)) as app:

        @form.flow()
        async def work() -> None: ...

        unsampled = NonRecordingSpan(SpanContext(0xABC, 0xDEF, False))
        token = otel.attach(api.set_span_in_context(unsampled, Context()))
        try:
            form.run(work)
        finally:
            otel.detach(token)
        assert app.spans().all == []

        form.run(work)
        assert app.spans().named("work") != []


class Asked(Sampler):
    """Remembers what it was asked; adds an attribute."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str, dict[str, Any]]] = []

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        self.asked.append((trace_id, name, dict(attributes or {})))
        return SamplingResult(Decision.RECORD_AND_SAMPLE, {**(attributes or {}), "sampler.rate": 1.0})

    def get_description(self) -> str:
        return "Asked"


def test_a_sampler_is_asked_once_a_root_run_with_the_derived_trace_id(form: Form) -> None:
    sampler = Asked()
    with application(sampler) as app:

        @form.task()
        async def step() -> None: ...

        @form.flow()
        async def below() -> None:
            await call(step)

        @form.flow()
        async def work() -> None:
            await call(below)

        form.run(work)

        root = app.record.flow_runs()[0]
        about = {"headrace.flow.name": "work", "headrace.flow_run.id": root.id}
        assert sampler.asked == [(ids.trace_id(root.id), "work", about)]
        assert app.spans().one("work").attributes["sampler.rate"] == 1.0
        assert "sampler.rate" not in app.spans().one("below").attributes


# -- providers --------------------------------------------------------------------------------------------------


def test_a_provider_set_after_the_first_run_is_found(monkeypatch: pytest.MonkeyPatch, form: Form) -> None:
    @form.flow()
    async def work() -> None: ...

    runtime = _runtime.replace(None)
    try:
        form.run(work)
        exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        monkeypatch.setattr(api, "_TRACER_PROVIDER", provider)
        form.run(work)
    finally:
        mine = _runtime.replace(runtime)
        if mine is not None:
            mine.close()

    assert {span.trace for span in map(seen, exporter.get_finished_spans())} != set()
    assert [span.name for span in exporter.get_finished_spans()].count("work") == 1


def test_a_processor_added_later_hears_of_runs_too(app: Tracing, form: Form) -> None:
    @form.flow()
    async def work() -> None: ...

    form.run(work)
    later = InMemorySpanExporter()
    app.provider.add_span_processor(SimpleSpanProcessor(later))
    form.run(work)

    assert [span.name for span in later.get_finished_spans()].count("work") == 1


class Broken(SpanProcessor):
    """Fails at each span."""

    def on_end(self, span: ReadableSpan) -> None:
        raise RuntimeError("broken processor")


def test_a_processor_that_fails_costs_spans_never_a_run_and_is_said_once(
    caplog: pytest.LogCaptureFixture, form: Form
) -> None:
    with application(processors=[Broken()]) as app:

        @form.task()
        async def step() -> int:
            return 1

        @form.flow()
        async def work() -> int:
            return int(await call(step)) + int(await call(step))

        assert form.run(work) == 2
        assert app.record.flow_run().state.is_completed()

    said = [entry for entry in caplog.records if entry.name == "headrace.traces"]
    assert [entry.getMessage() for entry in said] == [
        "Making spans failed; runs go on, some of their spans are missing"
    ]
    assert "broken processor" in str(said[0].exc_info)


class Unable(Asked):
    """A sampler that fails."""

    def should_sample(self, *_: Any, **__: Any) -> SamplingResult:
        raise RuntimeError("broken sampler")


def test_a_sampler_that_fails_costs_the_trace_never_the_run(caplog: pytest.LogCaptureFixture, form: Form) -> None:
    with application(Unable()) as app:

        @form.flow()
        async def work() -> int:
            return 1

        assert form.run(work) == 1
        assert app.spans().all == []

    assert "Making spans failed" in caplog.text


def test_the_sdk_can_be_disabled(monkeypatch: pytest.MonkeyPatch, form: Form) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with application() as app:

        @form.flow()
        async def work() -> None: ...

        form.run(work)

        assert app.spans().all == []
        assert app.record.flow_run().trace_id is None
