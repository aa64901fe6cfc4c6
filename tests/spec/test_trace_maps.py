"""Traces of maps and streams: a span an item up to the limit; above it one for all, and for the items worth a look."""

from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import anyio
import pytest
from opentelemetry import trace as api
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import headrace
from headrace import flow, get_run_logger, task
from headrace._engine.context import current_run
from headrace._model.events import ENDED
from headrace.testing import virtual_time
from tests.spec.forms import Form, call
from tests.spec.receiver import program, receiving
from tests.spec.seen import Kept, Tracing, application

SLOWEST: Final = 10
FEW: Final = 3


@pytest.fixture
def few() -> Generator[Tracing]:
    """An application that traces and wants no map of more than three items in its traces."""
    with application(map_limit=FEW) as tracing:
        yield tracing


def mapped(form: Form, step: Any, items: int) -> Any:
    """Make a flow that maps *step* over so many items, whatever becomes of them."""

    @form.flow()
    async def work() -> None:
        if form.is_async:
            await settled(step.map(range(items)))
        else:
            step.map(range(items)).wait()

    return work


async def settled(futures: Any) -> None:
    """Wait for futures, whatever becomes of them."""
    async for _ in headrace.futures.as_completed(list(futures)):
        pass


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


# -- which items are shown --------------------------------------------------------------------------------------


def test_the_slowest_are_those_that_took_longest(few: Tracing) -> None:
    @task
    async def step(x: int) -> None:
        await anyio.sleep(x * 7 % 100)

    @flow
    async def work() -> None:
        await step.map(range(100))

    with virtual_time():
        headrace.run(work())

    spans = few.spans().whole()
    group = spans.one("map step")
    assert sorted(round((span.end - span.start) / 1e9) for span in spans.below(group)) == list(range(90, 100))
    about = group.attributes
    assert about["headrace.items.seconds.p50"] == pytest.approx(50, rel=0.1)
    assert about["headrace.items.seconds.p95"] == pytest.approx(95, rel=0.1)
    assert about["headrace.items.seconds.max"] == pytest.approx(99, rel=0.01)


def test_failed_items_are_shown_with_their_exceptions(few: Tracing, form: Form) -> None:
    @form.task()
    async def step(x: int) -> int:
        if x % 25 == 7:
            raise LookupError(f"no city {x}")
        return x

    form.run(mapped(form, step, 100))

    spans = few.spans().whole()
    group = spans.one("map step")
    failed = [span for span in spans.below(group) if span.status == "ERROR"]
    assert {span.event("exception")["exception.message"] for span in failed} == {
        "no city 7", "no city 32", "no city 57", "no city 82",
    }  # fmt: skip
    assert len(spans.below(group)) == 4 + SLOWEST
    assert (group.status, group.description) == ("ERROR", "4 of 100 items failed")
    assert group.attributes["headrace.items.failed"] == 4


def test_of_very_many_failed_items_the_first_hundred_are_shown(few: Tracing) -> None:
    @task
    async def step(x: int) -> int:
        raise LookupError(f"no city {x}")

    @flow
    async def work() -> None:
        await settled(step.map(range(300)))

    headrace.run(work())

    spans = few.spans().whole()
    group = spans.one("map step")
    assert len(spans.below(group)) == 100 + SLOWEST
    assert group.attributes["headrace.items.failed"] == 300
    assert group.attributes["headrace.items.failed_not_shown"] == 200 - SLOWEST


def test_the_users_spans_keep_the_items_they_stand_below(few: Tracing, form: Form) -> None:
    @form.task()
    async def step(x: int) -> int:
        if x % 2:
            with few.tracer.start_as_current_span("parse"):
                pass
        return x

    form.run(mapped(form, step, 100))

    spans = few.spans().whole()
    assert len(spans.named("parse")) == 50
    assert {spans.parent_name(span) for span in spans.named("parse")} == {"step"}
    assert 50 <= len(spans.below(spans.one("map step"))) <= 50 + SLOWEST


def test_attributes_that_are_set_in_an_item_keep_it(few: Tracing, form: Form) -> None:
    @form.task()
    async def step(x: int) -> int:
        if not x % 10:
            api.get_current_span().set_attribute("city", x)
        return x

    form.run(mapped(form, step, 100))

    found = {span.attributes["city"] for span in few.spans().whole().all if "city" in span.attributes}
    assert found == set(range(0, 100, 10))


def test_items_that_call_tasks_and_flows_are_kept(few: Tracing, form: Form) -> None:
    @form.task()
    async def leaf(x: int) -> int:
        return x

    @form.flow()
    async def below(x: int) -> int:
        return x

    @form.task()
    async def step(x: int) -> int:
        return int(await call(leaf, x)) if x % 2 else int(await call(below, x))

    form.run(mapped(form, step, 30))

    spans = few.spans().whole()
    assert len(spans.below(spans.one("map step"))) == 30
    assert {spans.parent_name(span) for span in spans.named("leaf") + spans.named("below")} == {"step"}


def test_a_map_in_an_item_stands_below_it(few: Tracing) -> None:
    @task
    async def leaf(x: int) -> int:
        return x

    @task
    async def step(x: int) -> None:
        await leaf.map(range(20))

    @flow
    async def work() -> None:
        await step.map(range(5))

    headrace.run(work())

    spans = few.spans().whole()
    assert [spans.parent_name(span) for span in spans.named("map leaf")] == ["step"] * 5
    assert len(spans.below(spans.one("map step"))) == 5


def test_what_a_hook_opens_is_never_left_without_a_parent(few: Tracing, form: Form) -> None:
    def after(*_: Any) -> None:
        few.tracer.start_span("after").end()

    @form.task(on_completion=[after])
    async def step(x: int) -> int:
        return x

    form.run(mapped(form, step, 100))

    spans = few.spans().whole(late=["after"])
    assert len(spans.named("after")) == 100
    assert {spans.parent_name(span) for span in spans.named("after")} <= {"step", "map step"}


def test_log_lines_of_items_carry_their_ids_and_keep_none(few: Tracing, form: Form, kept: Kept) -> None:
    @form.task()
    async def step(x: int) -> int:
        get_run_logger().warning("item %d", x)
        return x

    form.run(mapped(form, step, 100))

    spans = few.spans().whole()
    assert len(spans.below(spans.one("map step"))) == SLOWEST
    lines = [kept.about(f"item {x}") for x in range(100)]
    assert {line["trace_id"] for line in lines} == {spans.one("work").trace}
    assert len({line["span_id"] for line in lines}) == 100
    assert {span.id for span in spans.named("step")} < {line["span_id"] for line in lines}


def test_retried_items_are_counted(few: Tracing, form: Form) -> None:
    left = dict.fromkeys(range(0, 100, 10), 1)

    @form.task(retries=1)
    async def step(x: int) -> int:
        if left.get(x, 0):
            left[x] -= 1
            raise ConnectionError("busy")
        return x

    form.run(mapped(form, step, 100))

    spans = few.spans().whole()
    group = spans.one("map step")
    assert len(spans.below(group)) == SLOWEST
    assert group.attributes["headrace.items.retried"] == 10
    assert (group.attributes["headrace.items.completed"], group.status) == (100, "OK")


def test_a_cancelled_map_says_how_many_items_were_cancelled(few: Tracing) -> None:
    @task
    async def step(x: int) -> None:
        await anyio.sleep_forever()

    @flow
    async def work() -> None:
        await step.map(range(20))

    async def cancelled() -> None:
        with anyio.move_on_after(0.5):
            await work()

    with virtual_time():
        headrace.run(cancelled())

    spans = few.spans().whole()
    group = spans.one("map step")
    assert (group.attributes["headrace.items.cancelled"], group.status) == (20, "UNSET")
    assert len(spans.below(group)) == SLOWEST


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
