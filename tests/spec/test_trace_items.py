"""Traces of large maps: which items are shown, and that nothing is left without the span it stands below."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import anyio
import pytest
from opentelemetry import trace as api

import headrace
from headrace import flow, get_run_logger, task
from headrace.testing import virtual_time
from tests.spec.forms import Form, call
from tests.spec.large_maps import FEW, SLOWEST, mapped, settled
from tests.spec.seen import Kept, Tracing, application


@pytest.fixture
def few() -> Generator[Tracing]:
    """An application that traces and wants no map of more than three items in its traces."""
    with application(map_limit=FEW) as tracing:
        yield tracing


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
