"""Traces: what the spans of flow and task runs say, in an application that has set up the OpenTelemetry SDK."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest

import headrace
from headrace import State, flow, task
from headrace._model import ids
from headrace.states import Completed, Failed
from tests.spec.forms import Form, call
from tests.spec.seen import Pick, Tracing

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
