"""A thousand flows of any shape, cancelled in any way at any moment: no task, thread, place or open record is left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import anyio
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import Flow, Task, _runtime, flow, task
from headrace._model.records import FlowRun, TaskRun
from headrace.errors import CancelledRun
from headrace.runtime import task_run
from headrace.testing import headrace_test_harness, virtual_time
from tests.chaos.processes import until
from tests.spec.cancelling import happens, others, stop
from tests.spec.watched import Watched

CANCELLATIONS = 1_000
WAYS = ("awaiting task", "scope", "timeout", "another process")
FINAL = {"Completed", "Cancelled", "Failed"}  # the last is for what raised while it was told to stop
OF_CANCELLING: tuple[type[BaseException], ...] = (
    asyncio.CancelledError,
    CancelledRun,
    TimeoutError,
    ConnectionError,
    ExceptionGroup,
)


@attrs.frozen
class Act:
    """One thing that a body does, for some seconds; a flow does the acts *within*."""

    kind: str
    seconds: float
    within: tuple[Act, ...] = ()


@attrs.frozen
class Plan:
    """A flow's acts, with how many places, and how it is cancelled: at a moment, or after so many turns of the loop."""

    acts: tuple[Act, ...]
    limit: int | None
    cleanup: float
    way: str
    at: float
    turns: int


seconds = st.integers(0, 8).map(lambda quarters: quarters / 4)
leaves = st.builds(
    Act, st.sampled_from(["sleep", "call", "submit", "retry", "thread", "blocking flow", "map", "stream"]), seconds
)
acts = st.recursive(
    leaves,
    lambda inner: st.builds(
        Act, st.sampled_from(["flow", "submitted flow"]), seconds, st.lists(inner, min_size=1, max_size=3).map(tuple)
    ),
    max_leaves=6,
)
plans = st.builds(
    Plan,
    acts=st.lists(acts, min_size=1, max_size=4).map(tuple),
    limit=st.none() | st.integers(1, 3),
    cleanup=st.sampled_from([0.0, 0.5]),
    way=st.sampled_from(WAYS),
    at=st.integers(0, 24).map(lambda eighths: eighths / 8),
    turns=st.integers(0, 30),
)


class Stage:
    """Where a plan is carried out, and which bodies have begun and ended."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.runner = Watched(limit=plan.limit)
        self.guard = threading.Lock()
        self.begun = 0
        self.ended = 0
        self.nap: Task[[float], Any] = task(self.naps)
        self.flaky: Task[[float], Any] = task(self.fails_once, retries=1, retry_delay_seconds=0.5)
        self.blocking: Task[[float], Any] = task(self.blocks)
        self.blocking_flow: Flow[[float], Any] = flow(self.blocks_in_flow)
        self.flow: Flow[[Sequence[Act]], Any] = flow(self.carries_out, task_runner=self.runner, name="below")

    async def naps(self, pause: float) -> None:
        """Wait, and take a moment to clean up."""
        with self.guard:
            self.begun += 1
        try:
            try:
                await asyncio.sleep(pause)
            finally:
                await asyncio.sleep(self.plan.cleanup)
        finally:
            with self.guard:
                self.ended += 1

    async def fails_once(self, pause: float) -> None:
        """Fail at the first attempt, so that the second is waited for."""
        await self.naps(pause)
        if task_run.run_count == 1:
            raise ConnectionError

    def blocks(self, pause: float) -> None:
        """Wait in a thread for a task on a loop."""
        self.nap.submit(pause).result()

    def blocks_in_flow(self, pause: float) -> None:
        """Do so in a flow, which leaves another task to its end."""
        self.nap.submit(pause)
        self.blocking.submit(pause).result()

    async def carries_out(self, given: Sequence[Act]) -> None:
        """Do all that is *given*, and wait for what was submitted."""
        submitted: list[Any] = []
        for act in given:
            await self.do(act, submitted)
        for future in submitted:
            await future

    async def do(self, act: Act, submitted: list[Any]) -> None:
        """Do *act*; add what it submits to *submitted*."""
        match act.kind:
            case "sleep":
                await asyncio.sleep(act.seconds)
            case "call":
                await self.nap(act.seconds)
            case "submit":
                submitted.append(self.nap.submit(act.seconds))
            case "retry":
                submitted.append(self.flaky.submit(act.seconds))
            case "thread":
                submitted.append(self.blocking.submit(act.seconds))
            case "blocking flow":
                submitted.append(self.blocking_flow.submit(act.seconds))
            case "map":
                submitted.append(self.nap.map([act.seconds] * 3))
            case "stream":
                async with self.nap.stream([act.seconds] * 3, limit=2) as results:
                    async for _ in results:
                        pass
            case "flow":
                await self.flow(act.within)
            case _:
                submitted.append(self.flow.submit(act.within))

    def nothing_is_left(self) -> None:
        """See that every body has ended, and that neither threads nor loops have anything to do for it."""
        shop = _runtime.shop()
        until(lambda: shop.threads.taken == 0)
        assert self.runner.rests()
        assert self.begun == self.ended
        assert not _runtime.desk().live
        loop = shop.user_loop.loop
        until(lambda: loop is None or not asyncio.all_tasks(loop))


async def cancelled(plan: Plan, main: Flow[[Sequence[Act]], Any]) -> None:
    """Have *main* carry out *plan*, and cancel it as that says; whatever else comes of it is raised."""
    running = asyncio.create_task(called(plan, main))
    await asyncio.sleep(plan.at)
    for _ in range(plan.turns):
        await asyncio.sleep(0)
    if plan.way == "awaiting task":
        running.cancel()
    elif plan.way == "another process" and any(run.spec.name == "main" for run in _runtime.desk().live.values()):
        stop("main")
    with contextlib.suppress(*OF_CANCELLING):
        await running
    await happens(lambda: not others())


async def called(plan: Plan, main: Flow[[Sequence[Act]], Any]) -> None:
    """Call *main*, within what cancels it where that is the way."""
    if plan.way == "scope":
        with anyio.move_on_after(plan.at):
            await main(plan.acts)
    elif plan.way == "timeout":
        async with asyncio.timeout(plan.at):
            await main(plan.acts)
    else:
        await main(plan.acts)


@pytest.mark.timeout(600)
def test_a_thousand_random_cancellations_leave_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="headrace")
    ends: Counter[str] = Counter()

    @settings(max_examples=CANCELLATIONS)
    @given(plan=plans)
    def carried_out(plan: Plan) -> None:
        stage = Stage(plan)
        main: Flow[[Sequence[Act]], Any] = flow(stage.carries_out, task_runner=stage.runner, name="main")
        with headrace_test_harness() as harness, virtual_time():
            asyncio.run(cancelled(plan, main))
            stage.nothing_is_left()
            runs: list[FlowRun | TaskRun] = [*harness.flow_runs(), *harness.task_runs()]
            left = [f"{run.name} {run.state}" for run in runs if run.state.name not in FINAL]
            assert left == []
            ends.update(run.state.name for run in harness.flow_runs() if run.flow_name == "main")

    carried_out()

    # Not all are struck while they run, but most are: else this would show nothing.
    assert ends["Cancelled"] >= CANCELLATIONS / 4
