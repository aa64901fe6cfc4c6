"""Runs that submit runs: tasks in tasks, subflows side by side, a hundred levels, circles; other loops and threads."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

from headrace import flow, quote, task
from headrace.errors import CancelledRun, WaitCircleError
from headrace.futures import Future
from headrace.task_runners import ConcurrentTaskRunner, ThreadPoolTaskRunner
from tests.spec.forms import Form, Latch, Record, call
from tests.spec.watched import Watched

LEVELS = 100
SYNC, ASYNC = Form("sync"), Form("async")


# -- subflows -----------------------------------------------------------------------------------------------


def test_subflows_run_at_the_same_time(form: Form, inner: Form) -> None:
    latches = [Latch(), Latch()]

    @inner.flow(name="child")
    async def child(own: int) -> int:
        latches[own].open()
        await latches[1 - own].passed()
        return own

    async def body() -> list[int]:
        first, second = child.submit(0), child.submit(1)
        return [await form.got(first), await form.got(second)]

    assert form.in_flow(body) == [0, 1]


def test_a_submitted_subflow_is_recorded_with_its_parent_and_its_parameters(
    form: Form, inner: Form, record: Record
) -> None:
    @inner.task(name="leaf")
    async def leaf() -> None: ...

    @inner.flow(name="child", flow_run_name="child {x}")
    async def child(x: int) -> None:
        await call(leaf)

    async def body() -> None:
        await form.got(child.submit(3))
        await form.got(child.map([4, 5]))

    form.in_flow(body)

    parent = next(run for run in record.flow_runs() if run.flow_name == "body")
    children = sorted((run for run in record.flow_runs() if run.flow_name == "child"), key=lambda run: run.name)
    assert [(run.name, run.parameters, run.parent_id, run.state.name) for run in children] == [
        (f"child {x}", {"x": x}, parent.id, "Completed") for x in (3, 4, 5)
    ]
    assert {run.flow_run_id for run in record.task_runs()} == {run.id for run in children}


def test_a_subflow_submitted_by_a_task_is_recorded_below_that_task(form: Form, inner: Form, record: Record) -> None:
    @inner.flow(name="child")
    async def child() -> int:
        return 5

    @inner.task(name="starts")
    async def starts() -> Any:
        return child.submit()

    async def body() -> Any:
        return await form.got(starts.submit())

    assert form.in_flow(body) == 5
    child_run = next(run for run in record.flow_runs() if run.flow_name == "child")
    assert child_run.parent_id == record.task_run().id


def test_a_failed_subflow_is_its_future_s_failure_and_no_one_else_s(form: Form, inner: Form, record: Record) -> None:
    @inner.flow(name="child")
    async def child(x: int) -> int:
        if x % 2:
            raise ValueError(x)
        return x

    async def body() -> list[Any]:
        futures = child.map(range(4))
        await form.ended(futures)
        return [future.state.name for future in futures]

    assert form.in_flow(body) == ["Completed", "Failed", "Completed", "Failed"]


def test_a_subflow_has_a_runner_of_its_own(form: Form, inner: Form) -> None:
    guard = threading.Lock()
    now, most = [0], [0]

    @inner.task()
    async def work(x: int) -> None:
        with guard:
            now[0] += 1
            most[0] = max(most[0], now[0])
        with guard:
            now[0] -= 1

    @form.flow(task_runner=ConcurrentTaskRunner(limit=1))
    async def child() -> None:
        await form.got(work.map(range(20)))

    async def body() -> None:
        await call(child)

    form.in_flow(body, task_runner=ThreadPoolTaskRunner(max_workers=8))

    assert most == [1]


# -- many levels --------------------------------------------------------------------------------------------


def deep(forms: Callable[[int], Form]) -> tuple[Any, Any]:
    """Give a sync and an async task that each submit the next one, in the form of its level, and wait for it."""

    def sink(level: int) -> int:
        return level if level == LEVELS else next_task(level).submit(level + 1).result() + 1

    async def sink_async(level: int) -> int:
        if level == LEVELS:
            return level
        value: int = await next_task(level).submit(level + 1)
        return value + 1

    tasks = {False: task(name="sink")(sink), True: task(name="sink")(sink_async)}

    def next_task(level: int) -> Any:
        return tasks[forms(level + 1).is_async]

    return tasks[False], tasks[True]


MIXES: dict[str, Callable[[int], Form]] = {
    "threads": lambda _: SYNC,
    "loop": lambda _: ASYNC,
    "mixed": lambda level: ASYNC if level % 2 else SYNC,
}


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("limit", [1, 4])
def test_a_hundred_levels_of_tasks_that_wait_for_each_other_need_few_places(
    form: Form, record: Record, mix: str, limit: int
) -> None:
    runner = Watched(limit)
    sync_task, async_task = deep(MIXES[mix])

    async def body() -> int:
        first = async_task if MIXES[mix](0).is_async else sync_task
        value: int = await form.got(first.submit(0))
        return value

    assert form.in_flow(body, task_runner=runner) == 2 * LEVELS
    assert runner.rests()
    assert len(record.task_runs()) == LEVELS + 1
    assert {run.state.name for run in record.task_runs()} == {"Completed"}


def test_a_tree_of_maps_needs_few_places(form: Form, record: Record) -> None:
    runner = Watched(limit=4)

    @task
    async def grow(depth: int) -> int:
        if not depth:
            return 1
        return sum(await chop.map([depth - 1] * 3))

    @task
    def chop(depth: int) -> int:
        return 1 if not depth else sum(grow.map([depth - 1] * 3).result())

    async def body() -> int:
        value: int = await form.got(grow.submit(4))
        return value

    assert form.in_flow(body, task_runner=runner) == 81
    assert runner.rests()
    assert len(record.task_runs()) == 1 + 3 + 9 + 27 + 81


def test_thirty_levels_of_subflows_wait_for_each_other_in_one_place_each(inner: Form, record: Record) -> None:
    @flow(task_runner=ConcurrentTaskRunner(limit=1))
    def down(level: int) -> Any:
        return level if level == 30 else across.submit(level + 1).result()

    @flow(task_runner=ConcurrentTaskRunner(limit=1))
    async def across(level: int) -> Any:
        return level if level == 30 else await (down if level % 2 else across).submit(level + 1)

    start: Any = across if inner.is_async else down

    assert inner.run(start, 0) == 30
    assert len(record.flow_runs()) == 31


# -- circles ------------------------------------------------------------------------------------------------


class Mailbox:
    """Where a run finds a future that was put there after it was submitted."""

    def __init__(self) -> None:
        self.there = Latch()
        self.future: Any = None

    def put(self, future: Any) -> None:
        """Put a future in."""
        self.future = future
        self.there.open()

    async def get(self) -> Any:
        """Wait for it."""
        await self.there.passed()
        return self.future


def test_a_run_that_waits_for_itself_is_refused(form: Form, inner: Form) -> None:
    mail = Mailbox()

    @inner.task(task_run_name="snake")
    async def snake() -> None:
        await inner.got(await mail.get())

    async def body() -> None:
        future = snake.submit()
        mail.put(future)
        with pytest.raises(WaitCircleError, match="snake would wait for itself: what it waits for waits"):
            await form.got(future)

    form.in_flow(body)


def test_a_run_that_is_handed_itself_by_a_direct_call_is_refused(form: Form, inner: Form) -> None:
    mail = Mailbox()

    @inner.task()
    async def take(value: Any) -> None: ...

    @inner.task(task_run_name="snake")
    async def snake() -> None:
        await call(take, [await mail.get()])

    async def body() -> None:
        future = snake.submit()
        mail.put(future)
        with pytest.raises(WaitCircleError, match="snake would wait for itself"):
            await form.got(future)

    form.in_flow(body)


def test_runs_that_wait_for_each_other_are_refused_at_the_last(form: Form, inner: Form) -> None:
    mails = [Mailbox(), Mailbox(), Mailbox()]

    @inner.task()
    async def follow(number: int) -> None:
        await inner.got(await mails[number].get())

    async def body() -> list[str]:
        futures = [follow.submit(number) for number in range(3)]
        for number, mail in enumerate(mails):
            mail.put(futures[(number + 1) % 3])
        await form.ended(futures)
        return [type(future.result(raise_on_failure=False)).__name__ for future in futures]

    assert form.in_flow(body) == ["WaitCircleError"] * 3


def test_a_run_that_waits_for_one_that_was_handed_it_is_refused(form: Form, inner: Form) -> None:
    """Through arguments: what waits for its arguments has not even begun."""
    mail = Mailbox()

    @inner.task()
    async def take(value: Any) -> None: ...

    @inner.task(task_run_name="snake")
    async def snake() -> None:
        await inner.got(await mail.get())

    async def body() -> None:
        future = snake.submit()
        mail.put(take.submit([future]))
        with pytest.raises(WaitCircleError, match="snake would wait for itself"):
            await form.got(future)

    form.in_flow(body)


def test_a_flow_whose_own_run_waits_for_it_is_refused(form: Form, inner: Form) -> None:
    """It could not end before that run, nor that run begin before it has ended."""
    mail = Mailbox()

    @inner.task()
    async def take(value: Any) -> None: ...

    @inner.flow(flow_run_name="the child")
    async def child() -> None:
        own = await mail.get()
        with pytest.raises(WaitCircleError, match=r"take-\w+ would wait for itself"):
            take.submit(own)
        with pytest.raises(WaitCircleError, match=r"take-\w+ would wait for itself"):
            take.submit(1, wait_for=[own])
        with pytest.raises(WaitCircleError, match="the child would wait for itself"):
            await inner.got(own)

    async def body() -> None:
        future = child.submit()
        mail.put(future)
        await form.got(future)

    form.in_flow(body)


def test_a_map_over_what_the_flow_itself_comes_to_is_refused(form: Form, inner: Form) -> None:
    mail = Mailbox()

    @inner.task()
    async def take(value: Any) -> None: ...

    @inner.flow(flow_run_name="the child")
    async def child() -> None:
        own = await mail.get()
        results = take.map([1, own, 2])
        await inner.ended([results[0], results[2]])
        with pytest.raises(WaitCircleError, match=r"take-\w+ would wait for itself"):
            await inner.got(results[1])

    async def body() -> None:
        future = child.submit()
        mail.put(future)
        await form.got(future)

    form.in_flow(body)


def test_a_run_may_wait_for_the_one_that_submitted_it_and_does_not_wait(form: Form, inner: Form) -> None:
    """No circle: a task ends whatever becomes of what it submitted."""
    mail, later = Mailbox(), Mailbox()
    waiting = Latch()

    @inner.task()
    async def late(box: Any) -> Any:
        future = await box.get()
        found = await inner.ended([future], timeout=0.01)
        waiting.open()
        return [len(found.not_done), await inner.got(future)]

    @inner.task()
    async def starts() -> str:
        later.put(late.submit(quote(mail)))
        await waiting.passed()
        return "ended"

    async def body() -> Any:
        mail.put(starts.submit())
        return await form.got(await later.get())

    assert form.in_flow(body) == [1, "ended"]


# -- other loops and threads --------------------------------------------------------------------------------


def test_a_thread_of_the_flow_s_own_may_submit_and_wait(form: Form, inner: Form) -> None:
    @inner.task()
    async def work(x: int) -> int:
        return x

    async def body() -> list[int]:
        values: list[int] = []

        def beside(x: int) -> None:
            values.append(work.submit(x).result())

        threads = [
            threading.Thread(target=contextvars.copy_context().run, args=(beside, number)) for number in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join) if form.is_async else thread.join()
        return sorted(values)

    assert form.in_flow(body) == [0, 1, 2, 3]


def test_a_loop_of_a_thread_beside_the_flow_may_submit_and_await(form: Form, inner: Form) -> None:
    @inner.task()
    async def work(x: int) -> int:
        await asyncio.sleep(0) if inner.is_async else None
        return x

    async def body() -> list[int]:
        values: list[int] = []

        async def beside() -> None:
            values.extend(await work.map([1, 2, 3]))
            values.append(await work.submit(4))

        thread = threading.Thread(target=contextvars.copy_context().run, args=(asyncio.run, beside()))
        thread.start()
        await asyncio.to_thread(thread.join) if form.is_async else thread.join()
        return values

    assert form.in_flow(body) == [1, 2, 3, 4]


def test_a_flow_whose_loop_has_died_troubles_no_flow_that_it_waited_for(inner: Form, record: Record) -> None:
    """Its runs waited for futures of another flow, which tells them of its end when they are long gone."""
    latch = Latch()
    kept: list[Future[Any]] = []
    there, gone = threading.Event(), threading.Event()

    @inner.task()
    async def slow() -> str:
        await latch.passed()
        return "there"

    @task
    async def take(value: Any) -> Any:
        return value

    @flow
    def other() -> Any:
        kept.append(slow.submit())
        there.set()
        assert gone.wait(20)
        latch.open()
        return kept[0].result()

    @flow
    async def dies() -> None:
        own = [take.submit(kept[0]), *take.map([kept[0], kept[0]])]
        await asyncio.sleep(0)
        _ = own
        raise KeyboardInterrupt

    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(other()))
    thread.start()
    assert there.wait(20)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(dies())
    gone.set()
    thread.join(20)

    assert results == ["there"]
    assert {run.state.name for run in record.task_runs()} == {"Completed", "Cancelled"}
    assert {run.state.name for run in record.flow_runs()} <= {"Completed", "Cancelled", "Crashed"}


def test_a_future_of_a_flow_that_was_cancelled_is_cancelled_for_everyone(inner: Form) -> None:
    begun = Latch()
    kept: list[Future[Any]] = []

    @task
    async def endless() -> None:
        begun.open()
        await asyncio.Event().wait()

    @flow
    async def stops() -> None:
        kept.append(endless.submit())
        await begun.passed()
        raise asyncio.CancelledError

    async def main() -> None:
        with pytest.raises(asyncio.CancelledError):
            await stops()
        with pytest.raises(CancelledRun, match="ended as Cancelled"):
            await kept[0]

    asyncio.run(main())
    with pytest.raises(CancelledRun):
        kept[0].result()
