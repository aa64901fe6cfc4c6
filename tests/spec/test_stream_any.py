"""Streams of any kind, ended at any moment: what was given is right, nothing goes on, and every run is recorded."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import flow, task
from headrace.testing import headrace_test_harness, virtual_time
from tests.chaos.processes import until
from tests.spec.forms import Form
from tests.spec.streaming import Counted, read

FINAL = {"Completed", "Failed", "Cancelled"}
moments = st.integers(0, 6)  # seconds


class Wanted(Exception):
    """What fails where a plan says so."""


@attrs.frozen
class Plan:
    """One stream: its options, how long each item takes, and how it ends."""

    limit: int
    ordered: bool
    source: str
    takes: tuple[int, ...]
    pauses: int
    fails_at: int | None
    source_fails: bool
    leaves_after: int | None
    cancelled_at: int | None


plans = st.builds(
    Plan,
    limit=st.integers(1, 5),
    ordered=st.booleans(),
    source=st.sampled_from(["plain", "async", "slow"]),
    takes=st.lists(moments, max_size=12).map(tuple),
    pauses=st.integers(0, 2),
    fails_at=st.none() | st.integers(0, 11),
    source_fails=st.booleans(),
    leaves_after=st.none() | st.integers(1, 12),
    cancelled_at=st.none() | moments,
)


class Scene:
    """What happens when a plan is carried out."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.source = Counted(self.items())
        self.given = list[int]()
        self.begun = set[int]()
        self.ended = set[int]()
        self.guard = threading.Lock()

    def items(self) -> Iterator[int]:
        """Give the numbers of the items, and fail after the last where the plan says so."""
        yield from range(len(self.plan.takes))
        if self.plan.source_fails:
            raise Wanted("source")

    async def slowly(self) -> AsyncIterator[int]:
        """Give them after a wait each."""
        for item in self.source:
            await asyncio.sleep(self.plan.pauses if self.plan.source == "slow" else 0)
            yield item

    async def work(self, item: int) -> int:
        """Take as long as the plan says, and a moment to clean up."""
        with self.guard:
            self.begun.add(item)
        try:
            await asyncio.sleep(self.plan.takes[item])
            if item == self.plan.fails_at:
                raise Wanted("item")
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            raise
        finally:
            with self.guard:
                self.ended.add(item)
        return item

    async def consume(self, form: Form, stream: Any) -> None:
        """Read as much of the stream as the plan says."""

        async def enough(item: int) -> bool:
            self.source.hand(item)
            self.given.append(item)
            if form.is_async and self.plan.pauses:
                await asyncio.sleep(self.plan.pauses)
            return len(self.given) == self.plan.leaves_after

        await read(form, stream, enough)

    def check(self, states: dict[str, int]) -> None:
        """See that all is as it must be, however it ended."""
        assert self.source.most <= self.plan.limit
        assert self.begun == self.ended
        assert set(states) <= FINAL
        assert sum(states.values()) <= self.source.pulled
        assert len(set(self.given)) == len(self.given)
        if self.plan.ordered:
            assert self.given == list(range(len(self.given)))
        assert self.plan.fails_at not in self.given


def counted(harness: Any) -> dict[str, int]:
    """Count the states of the task runs, once all are final."""
    until(lambda: {run.state.name for run in harness.task_runs()} <= FINAL)
    names = [run.state.name for run in harness.task_runs()]
    return {name: names.count(name) for name in set(names)}


@settings(max_examples=150, deadline=None)
@given(plan=plans)
def test_an_async_stream_ends_clean_however_it_ends(plan: Plan) -> None:
    scene = Scene(plan)

    @task
    async def work(item: int) -> int:
        return await scene.work(item)

    @flow
    async def stream() -> None:
        source: Any = scene.source if plan.source == "plain" else scene.slowly()
        await scene.consume(Form("async"), work.stream(source, limit=plan.limit, ordered=plan.ordered))

    async def main() -> str:
        running = asyncio.create_task(stream())
        if plan.cancelled_at is not None:
            await asyncio.wait([running], timeout=plan.cancelled_at)
            running.cancel()
        try:
            await running
            how = "whole"
        except Wanted as error:
            how = str(error)
        except asyncio.CancelledError:
            how = "cancelled"
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return how

    with headrace_test_harness() as harness, virtual_time():
        how = asyncio.run(main())
        states = counted(harness)

    scene.check(states)
    if how == "whole" and plan.leaves_after is None:
        assert sorted(scene.given) == list(range(len(plan.takes)))
    if how == "item":
        assert states["Failed"] == 1
    if how == "source":
        assert sorted(scene.given) == list(range(len(plan.takes)))


@settings(max_examples=60, deadline=None)
@given(plan=plans, blocking=st.booleans())
def test_a_sync_stream_ends_clean_however_it_ends(plan: Plan, blocking: bool) -> None:
    scene = Scene(plan)
    numbers = itertools.count()

    @task
    async def awaiting(item: int) -> int:
        return await scene.work(item)

    @task
    def plain(item: int) -> int:
        scene.begun.add(item)
        next(numbers)
        scene.ended.add(item)
        if item == plan.fails_at:
            raise Wanted("item")
        return item

    work: Any = plain if blocking else awaiting

    @flow
    def stream() -> None:
        Form("sync").fn(scene.consume)(Form("sync"), work.stream(scene.source, limit=plan.limit, ordered=plan.ordered))

    how = "whole"
    with headrace_test_harness() as harness, virtual_time():
        try:
            stream()
        except Wanted as error:
            how = str(error)
        states = counted(harness)

    scene.check(states)
    if how == "whole" and plan.leaves_after is None:
        assert sorted(scene.given) == list(range(len(plan.takes)))
    if how == "item":
        assert states["Failed"] == 1
