"""Traces of maps and streams: a span an item up to the limit; above it one for all. Where that one stands."""

from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from headrace import flow, task
from headrace._engine.context import current_run
from headrace._model.events import ENDED
from tests.spec.forms import Form
from tests.spec.large_maps import FEW, SLOWEST, mapped
from tests.spec.receiver import program, receiving
from tests.spec.seen import Tracing, application


@pytest.fixture
def few() -> Generator[Tracing]:
    """An application that traces and wants no map of more than three items in its traces."""
    with application(map_limit=FEW) as tracing:
        yield tracing


# -- what collapses ---------------------------------------------------------------------------------------------


def test_a_map_of_as_many_items_as_the_limit_is_shown_item_by_item(app: Tracing, form: Form) -> None:
    @form.task()
    async def step(x: int) -> int:
        return x

    form.run(mapped(form, step, 500))

    spans = app.spans().whole()
    assert len(spans.named("step")) == 500
    assert {spans.parent_name(span) for span in spans.named("step")} == {"work"}
    assert [span for span in spans.all if span.is_group] == []


def test_a_larger_map_is_one_span_and_its_slowest_items(app: Tracing, form: Form) -> None:
    @form.task()
    async def step(x: int) -> int:
        return x

    form.run(mapped(form, step, 501))

    spans = app.spans().whole()
    group = spans.one("map step")
    assert spans.parent_name(group) == "work"
    assert [span.name for span in spans.below(group)] == ["step"] * SLOWEST
    assert len(spans.all) == 3 + 1 + 2 * SLOWEST
    assert (group.attributes["headrace.items.count"], group.attributes["headrace.items.shown"]) == (501, SLOWEST)
    assert sum(int(line.rpartition(" ")[2]) for line in group.attributes["headrace.items.histogram"]) == 501
    assert group.status == "OK"
    assert len(app.record.task_runs()) == 501


def test_with_a_limit_of_zero_each_item_is_shown(form: Form) -> None:
    @form.task()
    async def step(x: int) -> int:
        return x

    with application(map_limit=0) as app:
        form.run(mapped(form, step, 501))

        spans = app.spans().whole()
        assert len(spans.named("step")) == 501
        assert [span for span in spans.all if span.is_group] == []


def test_of_a_stream_the_items_beyond_the_limit_collapse(few: Tracing, form: Form) -> None:
    @form.task()
    async def step(x: int) -> int:
        return x

    @form.flow()
    async def work() -> list[int]:
        if not form.is_async:
            return list(step.stream(range(50)))
        async with step.stream(range(50)) as results:
            return [result async for result in results]

    assert form.run(work) == list(range(50))

    spans = few.spans().whole()
    group = spans.one("stream step")
    parents = [spans.parent_name(span) for span in spans.named("step")]
    assert (parents.count("work"), parents.count("stream step")) == (FEW, SLOWEST)
    assert (group.attributes["headrace.items.count"], group.attributes["headrace.items.shown"]) == (50, FEW + SLOWEST)


def test_a_stream_within_the_limit_has_no_span_of_its_own(few: Tracing) -> None:
    @task
    def step(x: int) -> int:
        return x

    @flow
    def work() -> list[int]:
        return list(step.stream(range(FEW)))

    work()

    assert [span for span in few.spans().whole().all if span.is_group] == []


def test_a_stream_that_is_left_early_shows_what_was_begun(few: Tracing) -> None:
    @task
    def step(x: int) -> int:
        return x

    @flow
    def work() -> None:
        with step.stream(iter(range(10**9)), limit=2) as results:
            for result in results:
                if result == 20:
                    break

    work()

    group = few.spans().whole(late=["step", "Running", "stream step"]).one("stream step")
    assert 21 <= group.attributes["headrace.items.count"] <= 24


def test_an_iterator_of_unknown_length_is_shown_as_a_stream_is(few: Tracing) -> None:
    @task
    def step(x: int) -> int:
        return x

    @flow
    def work() -> None:
        step.map(iter(range(50))).wait()

    work()

    spans = few.spans().whole()
    parents = [spans.parent_name(span) for span in spans.named("step")]
    assert (parents.count("work"), parents.count("map step")) == (FEW, SLOWEST)


def test_subflows_collapse_too(few: Tracing, form: Form) -> None:
    @form.flow()
    async def below(x: int) -> int:
        return x

    form.run(mapped(form, below, 20))

    spans = few.spans().whole()
    assert len(spans.below(spans.one("map below"))) == SLOWEST
    assert len(spans.named("run started")) == 1
    assert spans.one("map below").attributes["headrace.flow.name"] == "below"


def test_two_maps_of_one_flow_are_two_spans(few: Tracing) -> None:
    @task
    def first(x: int) -> int:
        return x

    @task
    def second(x: int) -> int:
        return x

    @flow
    def work() -> list[int]:
        return second.map(first.map(range(20))).result()

    assert work() == list(range(20))

    spans = few.spans().whole()
    assert len(spans.below(spans.one("map first"))) == len(spans.below(spans.one("map second"))) == SLOWEST


# -- where it stands --------------------------------------------------------------------------------------------


def test_a_map_stands_below_the_span_around_its_call(few: Tracing, form: Form) -> None:
    @form.task()
    async def step(x: int) -> int:
        return x

    @form.flow()
    async def work() -> None:
        with few.tracer.start_as_current_span("all cities"):
            step.map(range(20))

    form.run(work)

    spans = few.spans().whole(late=["map step"])
    assert spans.parent_name(spans.one("map step")) == "all cities"


def test_a_map_called_in_a_task_stands_below_it(few: Tracing) -> None:
    @task
    def step(x: int) -> int:
        return x

    @task
    def outer() -> list[int]:
        return step.map(range(20)).result()

    @flow
    def work() -> list[int]:
        return outer()

    work()

    spans = few.spans().whole()
    assert spans.parent_name(spans.one("map step")) == "outer"


def test_of_a_run_that_is_not_sampled_there_is_no_map_either(form: Form) -> None:
    @form.task()
    async def step(x: int) -> int:
        return x

    with application(ALWAYS_OFF, map_limit=FEW) as app:
        form.run(mapped(form, step, 50))

        assert app.spans().all == []


def test_a_flow_that_keeps_no_record_shows_its_maps(few: Tracing) -> None:
    @task
    def step(x: int) -> int:
        return x

    @flow(durability="off")
    def work() -> None:
        step.map(range(20)).wait()

    work()

    assert few.spans().whole().one("map step").attributes["headrace.items.count"] == 20


def test_the_flow_ends_after_its_maps_however_slowly_their_ends_are_told(few: Tracing) -> None:
    ended = threading.Event()
    told: list[Any] = []

    @task
    def step(x: int) -> int:
        return x

    @flow
    def work() -> None:
        run = current_run.get()
        assert run is not None
        tell = run.scope.tell

        def slowly(event: tuple[Any, ...]) -> None:
            whose, (kind, _), *_ = event
            if kind == "GROUP":
                ended.wait(0.2)
            elif whose is run and kind in ENDED:
                ended.set()
            told.append(kind)
            tell(event)

        run.scope.tell = slowly
        step.map(range(20)).wait()

    work()

    assert told[-2:] == ["GROUP", "COMPLETED"]
    assert few.spans().whole().one("map step").attributes["headrace.items.count"] == 20


# -- at the collector -------------------------------------------------------------------------------------------

LARGE: Final = """
from headrace import flow, task

@task
def step(x):
    if x == 400:
        raise LookupError("no such city")
    return x

@flow
def work():
    step.map(range(501)).wait()

work()
"""


@pytest.mark.parametrize(("limit", "items"), [({}, 11), ({"HEADRACE_TRACE_MAP_LIMIT": "0"}, 501)])
def test_a_large_map_arrives_at_a_collector_as_the_environment_wants_it(
    tmp_path: Path, limit: dict[str, str], items: int
) -> None:
    with receiving() as receiver:
        ran = program(LARGE, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **limit)

    assert ran.code == 0
    spans = receiver.all().whole()
    assert len(spans.named("step")) == items
    groups = [span for span in spans.all if span.is_group]
    assert len(groups) == (not limit)
    for group in groups:
        assert group.attributes["headrace.items.count"] == 501
        assert all(" to " in line for line in group.attributes["headrace.items.histogram"])
        assert spans.parent_name(group) == "work"
