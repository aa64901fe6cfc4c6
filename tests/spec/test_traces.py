"""Traces: what the spans of flow and task runs say, in an application that has set up the OpenTelemetry SDK."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest
from opentelemetry import trace as api

import headrace
from headrace import State, flow, task
from headrace._engine.journal import Journal
from headrace._hosts.loop import LoopHost
from headrace._model import ids
from headrace._model.records import FlowRun, TaskRun, nanoseconds
from headrace.states import Completed, Failed
from tests.spec.forms import Form, call
from tests.spec.seen import Spans, Tracing, application


@pytest.fixture
def app() -> Iterator[Tracing]:
    with application() as tracing:
        yield tracing


class Pick:
    """Succeeds at the *n*-th call."""

    def __init__(self, n: int) -> None:
        self.left = n

    def __call__(self) -> str:
        self.left -= 1
        if self.left:
            raise ConnectionError(f"{self.left} to go")
        return "there"


# -- one trace a flow run ---------------------------------------------------------------------------------------


def test_a_flow_run_is_one_trace_whatever_it_crosses(app: Tracing) -> None:
    @task
    def leaf(x: int) -> int:
        return x

    @task
    def branch(x: int) -> int:
        return leaf(x) + leaf(x)

    @task(timeout_seconds=60)
    def elsewhere(x: int) -> int:
        return leaf(x)

    @task
    async def later(x: int) -> int:
        return x

    @flow
    async def asynchronous(x: int) -> int:
        return await later(x)

    @flow
    def below(x: int) -> int:
        return branch(x)

    @flow
    def top(x: int) -> int:
        return below(x) + elsewhere(x) + headrace.run(asynchronous(x))

    top(1)

    spans = app.spans().whole()
    assert spans.one("top").parent is None
    assert {name: spans.parent_name(spans.named(name)[0]) for name in ("below", "branch", "elsewhere", "later")} == {
        "below": "top",
        "branch": "below",
        "elsewhere": "top",
        "later": "asynchronous",
    }
    assert [spans.parent_name(leaf) for leaf in spans.named("leaf")] == ["branch", "branch", "elsewhere"]
    assert {span.scope for span in spans.all} == {"headrace"}


def test_ids_follow_from_the_run_id(app: Tracing, form: Form) -> None:
    @form.task()
    async def step() -> None: ...

    @form.flow()
    async def work() -> None:
        await call(step)

    form.run(work)

    run, child = app.record.flow_run(), app.record.task_run()
    spans = app.spans().whole()
    base = ids.span_base(ids.prefix_of(run.id))
    assert {span.trace for span in spans.all} == {f"{ids.trace_id(run.id):032x}"} == {run.trace_id}
    assert spans.one("work").id == f"{ids.span_id(base, 0):016x}"
    assert spans.one("step").id == f"{ids.span_id(base, int(child.id[-12:], 16)):016x}"


def test_two_flow_runs_are_two_traces(app: Tracing, form: Form) -> None:
    @form.flow()
    async def work() -> None: ...

    form.run(work)
    form.run(work)

    app.spans().whole(traces=2)


def test_a_task_outside_a_flow_has_a_trace_of_its_own(app: Tracing, form: Form) -> None:
    @form.task()
    async def alone() -> None: ...

    form.run(alone)

    (span,) = [span for span in app.spans().whole().all if span.is_run]
    assert span.parent is None
    assert "headrace.flow_run.id" not in span.attributes


# -- what the spans say -----------------------------------------------------------------------------------------


def test_a_flow_run_says_what_it_was(app: Tracing) -> None:
    @flow(name="My Pipeline", flow_run_name="nightly")
    def pipeline() -> None: ...

    with headrace.tags("b", "a"):
        pipeline()

    span, run = app.spans().one("My Pipeline"), app.record.flow_run()
    assert span.status == "OK"
    assert [event for event, _, _ in span.events] == ["Completed"]
    assert span.attributes == {
        "headrace.flow.name": "My Pipeline",
        "headrace.flow_run.id": run.id,
        "headrace.flow_run.name": "nightly",
        "headrace.state.type": "COMPLETED",
        "headrace.attempt": 1,
        "headrace.tags": ("a", "b"),
        "code.function.name": f"{__name__}.test_a_flow_run_says_what_it_was.<locals>.pipeline",
        "cicd.pipeline.name": "My Pipeline",
        "cicd.pipeline.run.id": run.id,
        "cicd.pipeline.result": "success",
    }


def test_a_task_run_says_what_it_was(app: Tracing) -> None:
    @task
    def fetch() -> None: ...

    @flow
    def work() -> None:
        fetch()

    work()

    flow_run, run = app.record.flow_run(), app.record.task_run()
    assert app.spans().one("fetch").attributes == {
        "headrace.task.name": "fetch",
        "headrace.task_run.id": run.id,
        "headrace.task_run.name": run.name,
        "headrace.flow_run.id": flow_run.id,
        "headrace.state.type": "COMPLETED",
        "headrace.attempt": 1,
        "code.function.name": f"{__name__}.test_a_task_run_says_what_it_was.<locals>.fetch",
    }


def test_a_failure_has_its_status_its_type_and_the_users_stack(app: Tracing, form: Form, kind: str) -> None:
    @form.decorate(kind)
    async def broken() -> None:
        raise LookupError("no such city")

    with pytest.raises(LookupError):
        form.run(broken)

    span = app.spans().whole().one("broken")
    (running,) = app.spans().states(span)
    event = span.event("exception")
    assert (span.status, span.attributes["error.type"]) == ("ERROR", "LookupError")
    assert span.description == f"{kind.title()} run encountered an exception: LookupError: no such city"
    assert (running.status, running.description) == ("ERROR", span.description)
    assert (event["exception.type"], event["exception.message"]) == ("LookupError", "no such city")
    assert event["exception.escaped"] == "True"
    first = event["exception.stacktrace"].splitlines()[1]
    assert __file__ in first or "forms.py" in first
    assert [name for name, _, _ in span.events] == ["exception", "Failed"]


def test_a_returned_failed_state_is_an_error_under_its_name(app: Tracing, form: Form) -> None:
    @form.flow()
    async def work() -> State[None]:
        return Failed(message="too few rows", name="Rejected")

    form.run(work, return_state=True)

    span = app.spans().one("work")
    assert (span.status, span.description, span.attributes["error.type"]) == ("ERROR", "too few rows", "Rejected")


def test_the_message_of_a_completed_state_is_on_its_event(app: Tracing, form: Form) -> None:
    @form.flow()
    async def work() -> State[None]:
        return Completed(message="nothing to do", name="Skipped")

    form.run(work, return_state=True)

    assert app.spans().one("work").event("Skipped") == {"headrace.state.message": "nothing to do"}


def test_a_retried_run_shows_its_attempts_and_waits(app: Tracing, form: Form, kind: str) -> None:
    pick = Pick(4)

    @form.decorate(kind, retries=3, retry_delay_seconds=[0.002, 0, 0.002])
    async def flaky() -> str:
        return pick()

    form.run(flaky)

    spans = app.spans().whole()
    states = spans.states(spans.one("flaky"))
    assert [(span.name, span.attributes.get("headrace.attempt"), span.status) for span in states] == [
        ("Running", 1, "ERROR"),
        ("AwaitingRetry", None, "UNSET"),
        ("Running", 2, "ERROR"),
        ("Running", 3, "ERROR"),
        ("AwaitingRetry", None, "UNSET"),
        ("Running", 4, "UNSET"),
    ]
    assert [span.attributes.get("headrace.state.name") for span in states if span.name == "Running"] == [
        "Running",
        "Retrying",
        "Retrying",
        "Retrying",
    ]
    assert spans.one("flaky").attributes["headrace.attempt"] == 4
    assert spans.one("flaky").status == "OK"
    assert [about["exception.message"] for name, _, about in spans.one("flaky").events if name == "exception"] == [
        "3 to go",
        "2 to go",
        "1 to go",
    ]
    assert "1 of 4 failed: ConnectionError('3 to go')" in states[0].description


def test_a_timed_out_run_says_so(app: Tracing) -> None:
    over = threading.Event()

    @task(timeout_seconds=0.01)
    def slow() -> None:
        over.wait(20)

    @flow
    def work() -> str:
        slow(return_state=True)
        over.set()
        return "went on"

    work()

    span = app.spans().whole().one("slow")
    assert (span.status, span.attributes["error.type"]) == ("ERROR", "TaskRunTimeoutError")
    assert [name for name, _, _ in span.events] == ["exception", "TimedOut"]


def test_a_timed_out_flow_has_the_result_timeout(app: Tracing) -> None:
    @flow(timeout_seconds=0.01)
    async def slow() -> None:
        await anyio.sleep_forever()

    with pytest.raises(TimeoutError):
        headrace.run(slow())

    assert app.spans().one("slow").attributes["cicd.pipeline.result"] == "timeout"


def test_a_cancelled_run_is_no_error(app: Tracing, form: Form) -> None:
    @form.flow()
    async def work() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        form.run(work)

    span = app.spans().whole().one("work")
    assert (span.status, span.attributes["cicd.pipeline.result"]) == ("UNSET", "cancellation")
    assert "error.type" not in span.attributes
    assert [name for name, _, _ in span.events] == ["Cancelled"]


def test_a_crashed_run_is_an_error_with_what_ended_it(app: Tracing, form: Form) -> None:
    @form.flow()
    async def work() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        form.run(work)

    span = app.spans().whole().one("work")
    assert (span.status, span.attributes["error.type"]) == ("ERROR", "SystemExit")
    assert span.attributes["cicd.pipeline.result"] == "error"
    assert [name for name, _, _ in span.events] == ["exception", "Crashed"]


def test_parameters_values_are_in_no_span(app: Tracing, form: Form) -> None:
    @form.task()
    async def step(token: str) -> str:
        return token

    @form.flow()
    async def work(token: str, count: int) -> str:
        return str(await call(step, token))

    form.run(work, "s3cret", 1)
    with pytest.raises(TypeError):
        form.run(work, "s3cret", "s3cret too")

    assert app.spans().named("work")[1].description == "Validation of flow parameters failed"
    assert "s3cret" not in repr(app.spans().all)


def test_a_misfit_that_causes_another_error_keeps_its_values_to_itself(app: Tracing) -> None:
    @flow
    def inner(count: int) -> None: ...

    given: Any = "s3" + "cret"  # the line of the call is in the stack

    @flow
    def outer() -> None:
        try:
            inner(given)
        except TypeError as error:
            raise LookupError("inner refused") from error

    with pytest.raises(LookupError):
        outer()

    stack = app.spans().one("outer").event("exception")["exception.stacktrace"]
    assert "count: does not fit" in stack
    assert "s3cret" not in repr(app.spans().all)


# -- generators and hooks ---------------------------------------------------------------------------------------


def test_a_sync_generators_span_is_current_only_while_its_body_runs(app: Tracing) -> None:
    inside: list[str] = []
    between: list[str] = []

    @task
    def numbers() -> Iterator[int]:
        for number in range(2):
            inside.append(name_of_current(app))
            yield number

    @flow
    def work() -> None:
        for _ in numbers():
            between.append(name_of_current(app))

    work()

    spans = app.spans().whole()
    assert inside == [spans.one("numbers").id] * 2
    assert between == [spans.one("work").id] * 2


def test_an_async_generators_span_is_current_only_while_its_body_runs(app: Tracing) -> None:
    inside: list[str] = []
    between: list[str] = []

    @task
    async def numbers() -> AsyncIterator[int]:
        for number in range(2):
            inside.append(name_of_current(app))
            yield number

    @flow
    async def work() -> None:
        async for _ in numbers():
            between.append(name_of_current(app))

    headrace.run(work())

    spans = app.spans().whole()
    assert inside == [spans.one("numbers").id] * 2
    assert between == [spans.one("work").id] * 2


def name_of_current(app: Tracing) -> str:
    return f"{api.get_current_span().get_span_context().span_id:016x}"


def test_a_hooks_spans_are_the_runs_though_it_has_ended(app: Tracing, form: Form, kind: str) -> None:
    recording: list[bool] = []

    def hook(*_: Any) -> None:
        recording.append(api.get_current_span().is_recording())
        api.get_current_span().set_attribute("late", 1)
        api.get_current_span().add_event("late")
        with app.tracer.start_as_current_span("notify"):
            pass

    @form.decorate(kind, on_completion=[hook])
    async def work() -> None: ...

    form.run(work)

    spans = app.spans().whole(late=["notify"])
    assert spans.parent_name(spans.one("notify")) == "work"
    assert recording == [False]
    assert "late" not in spans.one("work").attributes


# -- in time ----------------------------------------------------------------------------------------------------


def test_spans_are_with_the_processors_when_a_flow_call_returns(app: Tracing, form: Form) -> None:
    @form.task()
    async def step() -> None: ...

    @form.flow()
    async def work() -> None:
        for _ in range(50):
            await call(step)

    form.run(work)

    assert len(app.spans().named("step")) == 50


def test_a_long_run_is_seen_before_it_ends(app: Tracing) -> None:
    found: list[Spans] = []

    @flow
    def long() -> None:
        deadline = time.monotonic() + 20
        while not app.spans().all and time.monotonic() < deadline:
            threading.Event().wait(0.001)
        found.append(app.spans())

    long()

    (early,) = found[0].all
    run = app.spans().whole().one("long")
    assert (early.name, early.parent, early.start, early.end) == ("run started", run.id, run.start, run.start)


# -- every transition -------------------------------------------------------------------------------------------


def test_every_transition_of_the_record_is_an_edge_or_an_event(app: Tracing, form: Form) -> None:
    picks = [Pick(3), Pick(2)]

    @form.task(retries=2, retry_delay_seconds=[0.001, 0])
    async def flaky(index: int) -> str:
        return picks[index]()

    @form.task()
    async def broken() -> None:
        raise ValueError("as ever")

    @form.task()
    async def nested() -> str:
        return str(await call(flaky, 1))

    @form.flow(retries=1)
    async def below() -> None:
        await call(broken)

    @form.flow()
    async def work() -> str:
        await call(flaky, 0)
        await call(nested)
        await call(broken, return_state=True)
        await call(below, return_state=True)
        return "done"

    form.run(work)

    spans = app.spans().whole()
    found: list[FlowRun | TaskRun] = [*app.record.flow_runs(), *app.record.task_runs()]
    runs = {run.id: run for run in found}
    assert len(runs) == 8
    exported = {span.run_id: span for span in spans.all if span.is_run}
    assert exported.keys() == runs.keys()
    for run_id, run in runs.items():
        span = exported[run_id]
        shown = [(state.attributes.get("headrace.state.name", state.name), state.start) for state in spans.states(span)]
        shown += [(name, at) for name, at, _ in span.events if name != "exception"]
        # The record's moments are whole microseconds.
        assert [(name, at // 1_000) for name, at in shown] == [
            (name, nanoseconds(at) // 1_000) for _, name, at, _ in run.transitions
        ]


def test_a_task_cancelled_while_it_waits_for_a_crowded_journal_has_completed(
    app: Tracing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait comes after the task has completed; once it was recorded, and exported, as completed and cancelled."""
    monkeypatch.setattr(Journal, "crowded", True)

    settled = LoopHost.settled
    times: list[int] = []

    async def cancelled_once(host: LoopHost, journal: Journal) -> Exception | None:
        times.append(1)
        if len(times) == 1:
            raise asyncio.CancelledError
        return await settled(host, journal)

    monkeypatch.setattr(LoopHost, "settled", cancelled_once)

    @task
    async def step() -> None: ...

    @flow
    async def work() -> None:
        with pytest.raises(asyncio.CancelledError):
            await step()

    headrace.run(work())

    assert [name for name, _, _ in app.spans().one("step").events] == ["Completed"]
