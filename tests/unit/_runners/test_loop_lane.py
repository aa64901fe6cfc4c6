"""The loop lane: workers shared by calls that never meet, as many as there are waits; a loop that gets its turns."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from contextvars import ContextVar
from time import perf_counter
from typing import Any

import anyio
import pytest

from headrace import aio, flow, task
from headrace._engine.context import current_run
from headrace._runners.loop_lane import BREATH, KEPT, LoopLane
from headrace.futures import Future
from headrace.runtime import cancelled
from headrace.task_runners import ConcurrentTaskRunner
from headrace.testing import virtual_time
from tests.spec.cancelling import others
from tests.spec.forms import Latch, Record
from tests.spec.watched import Watched

word: ContextVar[str] = ContextVar("word", default="none")


def worker() -> int:
    """Give what tells the worker that runs here from others."""
    return id(asyncio.current_task())


# -- workers ------------------------------------------------------------------------------------------------


async def test_calls_that_do_not_wait_share_one_worker() -> None:
    seen: list[int] = []

    @task
    async def quick(x: int) -> None:
        seen.append(worker())

    @flow
    async def main() -> None:
        await quick.map(range(500))

    await main()

    assert len(seen) == 500
    assert len(set(seen)) == 1


async def test_calls_that_wait_have_a_worker_each_and_others_go_on_meanwhile() -> None:
    seen: dict[int, int] = {}
    latch = Latch()

    @task
    async def wait(x: int) -> None:
        seen[x] = worker()
        if x % 2:
            await latch.passed()

    @flow
    async def main() -> None:
        results = wait.map(range(20))
        await asyncio.gather(*(results[x] for x in range(0, 20, 2)))
        latch.open()
        await results

    await main()

    assert len({seen[x] for x in range(1, 20, 2)}) == 10


async def test_workers_that_idle_are_woken_for_the_next_calls() -> None:
    seen: list[set[int]] = []

    @task
    async def wait(x: int) -> None:
        seen[-1].add(worker())
        await asyncio.sleep(0)

    @flow
    async def main() -> None:
        for _ in range(5):
            seen.append(set())
            await wait.map(range(10))

    await main()

    assert all(later <= seen[0] for later in seen[1:])


async def test_only_so_many_workers_are_kept_and_none_outlives_its_flow() -> None:
    runner = Watched()
    before = len(asyncio.all_tasks())
    counts: list[int] = []
    latch, all_there = Latch(), Latch()

    @task
    async def wait(x: int) -> None:
        if x + 1 == 3 * KEPT:
            all_there.open()
        await latch.passed()

    @flow(task_runner=runner)
    async def main() -> None:
        results = wait.map(range(3 * KEPT))
        await all_there.passed()
        latch.open()
        await results
        await asyncio.sleep(0)
        counts.append(len(asyncio.all_tasks()))
        (lanes,) = runner.opened
        counts.append(len(lanes.made[True].idle))

    await main()

    # The workers, and the task that holds them together.
    assert counts == [before + KEPT + 1, KEPT]
    assert len(asyncio.all_tasks()) == before


async def test_a_call_that_was_dropped_while_it_waited_brings_no_worker_to_a_lane_that_is_over(record: Record) -> None:
    """What it waited for is another flow's, and ends later."""
    latch = Latch()
    raised: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, about: raised.append(about))

    @task
    async def waits() -> None:
        await latch.passed()

    @task
    async def follows(_first: object = None) -> None: ...

    @flow(on_child_failure="cancel")
    async def inner() -> None:
        await follows.submit()
        follows.submit(first[0])
        raise LookupError

    @flow
    async def outer() -> None:
        first.append(waits.submit())
        with pytest.raises(LookupError):
            await inner()
        for _ in range(5):
            await asyncio.sleep(0)
        latch.open()
        await first[0]
        await asyncio.sleep(0)

    first: list[Future[None]] = []
    await outer()

    assert raised == []


async def test_a_lane_that_is_over_takes_no_worker_on_for_calls_that_were_dropped() -> None:
    """They may stand in its queue still when a thread that gives its place back has the lane look there."""
    runner = Watched(limit=1)
    raised: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, about: raised.append(about))
    begun = Latch()
    calls: list[Any] = []
    lanes: list[Any] = []

    @task
    async def endless() -> None:
        begun.open()
        await asyncio.Event().wait()

    @flow(task_runner=runner, on_child_failure="cancel")
    async def main() -> None:
        calls.extend(endless.submit().call for _ in range(3))
        lanes.extend(runner.opened[0].made.values())
        await begun.passed()
        raise LookupError

    with pytest.raises(LookupError):
        await main()
    (lane,) = lanes
    lane.queue.put(calls[-1], inner=False)
    await asyncio.to_thread(lane.stir)
    await asyncio.sleep(0)

    assert raised == []


async def test_a_flow_that_submits_nothing_has_no_workers() -> None:
    before = asyncio.all_tasks()

    @flow
    async def main() -> None:
        assert asyncio.all_tasks() == before

    await main()


async def test_a_body_that_ends_by_what_is_no_exception_leaves_its_worker_to_the_next() -> None:
    @task
    async def work(x: int) -> int:
        if x == 1:
            raise SystemExit
        if x == 2:
            raise asyncio.CancelledError
        return x

    @flow
    async def main() -> list[str]:
        results = work.map(range(5))
        await aio.wait(results)
        return [one.state.name for one in results]

    assert await main() == ["Completed", "Crashed", "Cancelled", "Completed", "Completed"]


# -- contexts -----------------------------------------------------------------------------------------------


async def test_nothing_leaks_from_one_call_into_the_next_of_the_same_worker() -> None:
    seen: list[tuple[int, str, str]] = []

    @task
    async def work(x: int) -> None:
        before = word.get()
        word.set(f"of {x}")
        if x % 3 == 0:
            await asyncio.sleep(0)
        seen.append((x, before, word.get()))

    @flow
    async def main() -> None:
        word.set("of the flow")
        await work.map(range(30))
        assert word.get() == "of the flow"

    await main()

    assert sorted(seen) == [(x, "of the flow", f"of {x}") for x in range(30)]


async def test_what_the_flow_has_open_around_a_submission_is_not_the_worker_s() -> None:
    """A timeout around the first submission ends without touching the calls, whose workers live on."""

    @task
    async def work() -> str:
        await asyncio.sleep(10)
        return "done"

    @flow
    async def main() -> str:
        futures: list[Future[str]] = []
        with anyio.move_on_after(1):
            futures.append(work.submit())
            await asyncio.sleep(5)
        futures.append(work.submit())
        assert await futures[0] == "done"
        return await futures[1]

    with virtual_time():
        assert await main() == "done"


async def test_bodies_may_use_timeouts_scopes_and_groups_in_shared_workers() -> None:
    @task
    async def work(x: int) -> str:
        story: list[str] = []
        try:
            async with asyncio.timeout(1):
                await asyncio.sleep(5)
        except TimeoutError:
            story.append("timeout")
        with anyio.move_on_after(1) as scope:
            await anyio.sleep(5)
        story.append(f"scope {scope.cancelled_caught}")
        async with asyncio.TaskGroup() as group:
            inner = group.create_task(asyncio.sleep(1, x))
        story.append(f"group {inner.result()}")
        async with anyio.create_task_group() as other:
            other.start_soon(anyio.sleep, 5)
            other.cancel_scope.cancel()
        return ", ".join(story)

    @flow(task_runner=ConcurrentTaskRunner(limit=2))
    async def main() -> list[str]:
        return await work.map(range(6))

    with virtual_time():
        assert await main() == [f"timeout, scope True, group {x}" for x in range(6)]


async def test_an_exception_thrown_in_by_the_loop_reaches_the_body_where_it_waits() -> None:
    @task
    async def work() -> str:
        waited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(waited.set_exception, LookupError("from the loop"))
        try:
            await waited
        except LookupError as error:
            return str(error)
        return "nothing came"

    @flow
    async def main() -> str:
        return await work.submit()

    assert await main() == "from the loop"


# -- the loop -----------------------------------------------------------------------------------------------


async def test_the_loop_gets_a_turn_after_a_stretch_of_work_without_a_wait() -> None:
    turns = [0]
    seen: list[int] = []

    @task
    async def busy(x: int) -> None:
        until = perf_counter() + 1.5 * BREATH
        while perf_counter() < until:
            pass
        seen.append(turns[0])

    @flow
    async def main() -> None:
        async def tick() -> None:
            while True:
                turns[0] += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        await busy.map(range(20))
        ticking.cancel()

    await main()

    # The first call of a turn sets the clock that the second one overruns.
    assert max(Counter(seen).values()) <= 2
    assert len(seen) == 20


async def test_calls_put_in_by_a_thread_are_taken_by_the_loop() -> None:
    ran: list[str] = []

    @task
    async def work() -> None:
        ran.append(threading.current_thread().name)

    @task
    def starts() -> None:
        for _ in range(10):
            _ = work.submit()

    @flow
    async def main() -> None:
        await starts.submit()

    await main()

    assert ran == [threading.current_thread().name] * 10


async def test_a_cancellation_that_comes_too_late_for_its_call_hits_no_other(record: Record) -> None:
    """A call is stopped from a thread in the moment in which it ends; its worker has the next one by then."""
    calls: list[Any] = []

    @task
    async def first() -> str:
        run: Any = current_run.get()
        calls.append(run.call)
        await asyncio.sleep(0)
        thread = threading.Thread(target=run.call.stop, args=("in the last moment",))
        thread.start()
        thread.join()
        return "first"

    @task
    async def then() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "then"

    @flow(task_runner=Watched(limit=1))
    async def main() -> list[str]:
        one, two = first.submit(), then.submit()
        return [await one, await two]

    assert await main() == ["first", "then"]
    assert [run.state.name for run in record.task_runs()] == ["Completed", "Completed"]


async def test_a_cancelled_call_gives_its_place_and_its_worker_free(record: Record) -> None:
    begun = Latch()
    runner = Watched(limit=1)

    @task
    async def endless() -> None:
        run: Any = current_run.get()
        asyncio.get_running_loop().call_soon(run.call.stop, "the test wants it")
        begun.open()
        await asyncio.Event().wait()

    @task
    async def then() -> str:
        return "then"

    @flow(task_runner=runner)
    async def main() -> list[str]:
        one, two = endless.submit(), then.submit()
        value = await two
        return [one.state.name, value]

    assert await main() == ["Cancelled", "then"]
    assert runner.rests()


async def test_a_lane_that_never_got_a_place_stays_closed_when_one_is_free(record: Record) -> None:
    runner = Watched(limit=1)
    begun = Latch()

    @task
    def holds_the_place() -> None:
        begun.open()
        while not cancelled():
            threading.Event().wait(0.001)

    @task
    async def waits_for_it() -> None: ...

    @flow(task_runner=runner, on_child_failure="cancel")
    async def main() -> None:
        holds_the_place.submit()
        await begun.passed()
        waits_for_it.submit()
        lanes.extend(runner.opened[0].made.values())
        raise LookupError

    lanes: list[Any] = []
    with pytest.raises(LookupError):
        await main()
    await asyncio.to_thread(runner.rests)
    for _ in range(5):
        await asyncio.sleep(0)

    assert [lane.house for lane in lanes if isinstance(lane, LoopLane)] == [None]
    assert others() == []
