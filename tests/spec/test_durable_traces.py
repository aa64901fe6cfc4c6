"""A durable run is one trace, however many processes it took."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace.testing import virtual_time
from tests.spec.durable_crashes import World, doubling
from tests.spec.forms import Form, call
from tests.spec.seen import Seen, Tracing, application
from tests.spec.unloading import HOUR, come_to, opened, sleep

MICROSECOND = 1_000


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World("memory", tmp_path)


@pytest.fixture
def traced() -> Iterator[Tracing]:
    """Be an application that traces; its runtimes are the world's."""
    with application() as tracing:
        yield tracing


def survived(world: World, form: Form, traced: Tracing, callee: Any, at: str) -> tuple[list[Seen], list[Seen]]:
    """Have a flow end its process and go on; give the spans that each process would have exported."""
    run_id = world.crashes(form, callee, at=at)
    before = traced.spans().all
    traced.exporter.clear()
    world.resumes(form, run_id)
    return before, traced.spans().all


def test_a_resumed_run_has_the_trace_and_the_span_of_its_beginning(form: Form, world: World, traced: Tracing) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def works() -> None:
        for x in range(3):
            await call(step, x)

    before, after = survived(world, form, traced, works, "step 1")

    assert {span.trace for span in [*before, *after]} == {world.flow_runs()[0].trace_id}
    (root,) = [span for span in after if span.name == "works" and span.is_run]
    assert root.parent is None
    started = [span for span in before if span.name == "step"]
    assert {span.parent for span in started} <= {root.id}


def test_recorded_steps_make_no_second_span(form: Form, world: World, traced: Tracing) -> None:
    """What the process that ended may not have exported is exported once more, as the same spans."""
    step = doubling(world, form)

    @form.flow(durable=True)
    async def works() -> None:
        for x in range(4):
            await call(step, x)

    before, after = survived(world, form, traced, works, "step 2")

    done = {span.id: span for span in before if span.name == "step" and span.status == "OK"}
    again = {span.id: span for span in after if span.name == "step"}
    assert len(done) == 2
    assert len(again) == 4
    for known, span in done.items():
        assert again[known].run_id == span.run_id
        assert abs(again[known].start - span.start) < MICROSECOND
        assert abs(again[known].end - span.end) < MICROSECOND
    assert len({span.id for span in after}) == len(after)


def test_the_spans_after_a_resume_are_a_whole_tree(form: Form, world: World, traced: Tracing) -> None:
    step = doubling(world, form)

    @form.task()
    async def outer(x: int) -> int:
        value: int = await call(step, x)
        then: int = await call(step, x + 1)
        return value + then

    @form.flow()
    async def part(x: int) -> int:
        value: int = await call(outer, x)
        return value

    @form.flow(durable=True)
    async def works() -> int:
        first: int = await call(part, 0)
        then: int = await call(part, 10)
        return first + then

    before, after = survived(world, form, traced, works, "step 11")

    ids = {span.id for span in [*before, *after]}
    dangling = [(span.name, span.parent) for span in after if span.parent is not None and span.parent not in ids]
    assert dangling == []
    assert len({span.id for span in after}) == len(after)
    assert len({span.run_id for span in after if span.is_run}) == len([span for span in after if span.is_run])


def test_the_span_of_a_resumed_run_tells_of_the_crash(form: Form, world: World, traced: Tracing) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def works() -> None:
        await call(step, 1)

    _, after = survived(world, form, traced, works, "step 1")

    (root,) = [span for span in after if span.name == "works" and span.is_run]
    assert root.status == "OK"
    assert "Crashed" in [event for event, _, _ in root.events]


def test_code_in_a_resumed_flow_sees_its_trace(form: Form, world: World, traced: Tracing) -> None:
    step = doubling(world, form)
    seen: list[str | None] = []

    @form.flow(durable=True)
    async def works() -> None:
        with traced.tracer.start_as_current_span("own"):
            seen.append(headrace.runtime.flow_run.id)
        await call(step, 1)

    before, after = survived(world, form, traced, works, "step 1")

    (root,) = [span for span in after if span.name == "works" and span.is_run]
    own = [span for span in [*before, *after] if span.name == "own"]
    assert len(own) == 2
    assert {(span.trace, span.parent) for span in own} == {(root.trace, root.id)}


def spans_of_ended(spans: list[Seen]) -> dict[str, tuple[Any, ...]]:
    """Give the spans of runs that ended, and those of the states they were in, each by its id."""
    ended = {span.id for span in spans if span.is_run and span.status == "OK"}
    return {
        span.id: (span.trace, span.parent, span.name, span.start // MICROSECOND, span.end // MICROSECOND)
        for span in spans
        if span.id in ended or (span.is_state and span.parent in ended)
    }


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_what_recorded_steps_had_called_is_made_again_as_it_was(
    form: Form, kind: str, tmp_path: Path, traced: Tracing
) -> None:
    world = World(kind, tmp_path)
    step = doubling(world, form)

    @form.task(task_run_name="outer of {x}", tags=["blue"])
    async def outer(x: int) -> int:
        value: int = await call(step, x)
        return value

    @form.flow()
    async def inner(x: int) -> int:
        value: int = await call(outer, x)
        return value

    @form.flow()
    async def part(x: int) -> int:
        first: int = await call(step, x)
        then: int = await call(inner, x + 1)
        return first + then

    @form.flow(durable=True)
    async def works() -> None:
        await call(part, 0)
        await call(outer, 5)
        await call(step, 9)

    before, after = survived(world, form, traced, works, "step 9")

    known, again = spans_of_ended(before), spans_of_ended(after)
    assert len(known) == 2 * 7
    assert {key: again.get(key) for key in known} == known
    runs = {span.id: span for span in before if span.is_run}
    for span in after:
        if span.is_run and span.id in known:
            told = dict(span.attributes)
            assert told.pop("headrace.recovered") is True
            assert {**told, "code.function.name": ""} == {**runs[span.id].attributes, "code.function.name": ""}
            assert [name for name, _, _ in span.events] == [name for name, _, _ in runs[span.id].events]
    assert len({span.id for span in after}) == len(after)


def test_a_run_that_was_unloaded_is_one_trace_and_one_span(form: Form, world: World, traced: Tracing) -> None:
    step = doubling(world, form)

    @form.flow()
    async def part() -> None:
        await call(step, 1)
        await sleep(form, HOUR)

    @form.flow(durable=True)
    async def waits() -> None:
        await call(part)
        await call(step, 2)

    async def main(runtime: Any) -> None:
        await come_to(runtime.submit(waits))

    with virtual_time():
        opened(world, main)

    (trace,) = {span.trace for span in traced.spans().all}
    assert trace == world.flow_runs()[0].trace_id
    whole = [span for span in traced.spans().all if span.is_run]
    assert sorted(span.name for span in whole) == ["part", "step", "step", "waits"]
    there = {span.id for span in traced.spans().all}
    assert {span.parent for span in traced.spans().all} <= {None, *there}
    (root,) = [span for span in whole if span.name == "waits"]
    assert (root.end - root.start) // 1_000_000_000 == HOUR
