"""Limits in a trace and in metrics: a wait for a slot is a Pending span that names the limit, and is measured."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap

import pytest

from headrace import flow, task
from headrace.concurrency import Limit, concurrency
from tests.spec.limiting import waiting
from tests.spec.seen import Seen, Tracing


async def pass_by(turns: int = 3) -> None:
    """Let others go on."""
    for _ in range(turns):
        await asyncio.sleep(0.001)


def test_a_run_that_waits_for_the_slot_of_a_tag_is_pending_until_it_has_it(app: Tracing) -> None:
    @task(tags=["one"])
    async def tagged(_number: int) -> None:
        await pass_by()

    @flow
    async def work() -> None:
        Limit("one", 1).ensure()
        await tagged(0)  # from now on it is known whether there is a slot
        await tagged.map(range(3))

    asyncio.run(work())

    pending = app.spans().named("Pending")
    runs: dict[str | None, Seen] = {span.id: span for span in app.spans().named("tagged")}
    waits = [span for span in pending if "Waits for a slot of the limit 'one'" in str(span.attributes.values())]
    assert len(waits) == 2
    assert all(runs[span.parent].start <= span.start < span.end <= runs[span.parent].end for span in waits)


@pytest.mark.parametrize("form", ["sync", "async"])
def test_a_block_that_waits_has_a_pending_span_with_the_limits_name(app: Tracing, form: str) -> None:
    def wait_in_thread() -> None:
        with concurrency("one"):
            pass

    async def wait_on_loop() -> None:
        async with concurrency("one"):
            await pass_by()

    @flow
    async def work() -> None:
        Limit("one", 1).ensure()
        step = task(name="step")(wait_in_thread if form == "sync" else wait_on_loop)
        async with concurrency("one"):
            waits = [step.submit() for _ in range(2)]
            while waiting("one") < 2:
                await pass_by()
        for one in waits:
            await one

    asyncio.run(work())

    steps = {span.id for span in app.spans().named("step")}
    shown = [span for span in app.spans().named("Pending") if "headrace.limit.name" in span.attributes]
    assert {span.parent for span in shown} <= steps
    assert {tuple(span.attributes["headrace.limit.name"]) for span in shown} == {("one",)}
    assert len(shown) == 2


METERED = """
    import asyncio
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))

    from headrace import flow, task
    from headrace.concurrency import Limit, concurrency

    def measured():
        found = {}
        for resource in reader.get_metrics_data().resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        found[metric.name] = getattr(point, "value", None) or getattr(point, "count", 0)
        return found

    @task
    async def step(seen):
        async with concurrency("two"):
            await asyncio.sleep(0.02)
            seen.append(measured())

    @flow
    async def work():
        Limit("two", 2).ensure()
        seen = []
        await asyncio.gather(*[step(seen) for _ in range(5)])
        return seen

    seen = asyncio.run(work())
    print(seen[0]["headrace.limit.used"], seen[0]["headrace.limit.waiting"], seen[0]["headrace.limit.held"])
    print(measured()["headrace.limit.wait.duration"])
"""


def test_used_and_waiting_slots_and_the_waits_are_measured() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(METERED)], capture_output=True, text=True, check=False, timeout=60
    )

    assert done.stdout.splitlines() == ["2 3 2", "5"], done.stderr
