"""Spans over time: around generators and hooks, before a run ends, and for every transition of the record."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import trace as api

import headrace
from headrace import flow, task
from headrace._engine.journal import Journal
from headrace._hosts.loop import LoopHost
from headrace._model.records import FlowRun, TaskRun, nanoseconds
from tests.spec.forms import Form, call
from tests.spec.seen import Pick, Spans, Tracing

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

    async def cancelled(_host: LoopHost, _journal: Journal) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(LoopHost, "relieved", cancelled)

    @task
    async def step() -> None: ...

    @flow
    async def work() -> None:
        with pytest.raises(asyncio.CancelledError):
            await step()

    headrace.run(work())

    assert [name for name, _, _ in app.spans().one("step").events] == ["Completed"]
