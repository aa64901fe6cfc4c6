"""What `submit` starts: a run like one that is called, beside the code that goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest

from headrace import State, flow, get_run_logger, tags, task
from headrace.errors import OptionError
from headrace.task_runners import ConcurrentTaskRunner
from headrace.testing import virtual_time
from tests.spec.forms import Form, Latch, Record, call

Lines = Callable[[], list[str]]
BOOM = ValueError("boom")
colour: ContextVar[str] = ContextVar("colour", default="none")


# -- the run that it stands for -----------------------------------------------------------------------------


def test_a_submitted_run_is_recorded_like_one_called(form: Form, inner: Form, record: Record) -> None:
    @inner.task(name="work", tags=["a"], task_run_name="work {x}")
    async def work(x: int) -> int:
        return x

    async def body() -> None:
        with tags("b"):
            future = work.submit(3)
        await form.got(future)

    form.in_flow(body)

    run = record.task_run()
    assert (run.name, run.task_name, run.tags) == ("work 3", "work", ("a", "b"))
    assert (run.flow_run_id, run.parent_task_run_id) == (record.flow_run().id, None)
    assert [name for name in record.path(run) if name != "Pending"] == ["Running", "Completed"]
    assert run.start_time is not None
    assert run.end_time is not None


def test_what_has_no_name_of_its_own_is_told_apart_by_its_id(form: Form, inner: Form, record: Record) -> None:
    @inner.task()
    async def work() -> None: ...

    async def body() -> list[str]:
        futures = [work.submit() for _ in range(3)]
        await form.ended(futures)
        return [future.name for future in futures]

    assert form.in_flow(body) == ["work-001", "work-002", "work-003"]
    assert sorted(run.name for run in record.task_runs()) == ["work-001", "work-002", "work-003"]


def test_a_submitted_run_is_tried_again(form: Form, inner: Form, record: Record) -> None:
    left = [2]

    @inner.task(retries=3, retry_delay_seconds=60)
    async def unsteady() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise ConnectionError
        return "there"

    async def body() -> str:
        value: str = await form.got(unsteady.submit())
        return value

    with virtual_time() as time:
        assert form.in_flow(body) == "there"

    assert time.elapsed == 120
    assert record.task_run().run_count == 3


def test_a_submitted_run_has_its_timeout(form: Form, inner: Form, record: Record) -> None:
    latch = Latch()

    @inner.task(timeout_seconds=0.02)
    async def slow() -> None:
        await latch.passed()

    async def body() -> None:
        with pytest.raises(TimeoutError, match=r"Task run 'slow-\w+' took longer than its timeout of 0.02 s"):
            await form.got(slow.submit())

    form.in_flow(body)
    latch.open()

    assert record.task_run().state.name == "TimedOut"


def test_hooks_of_a_submitted_run_are_called(form: Form, inner: Form) -> None:
    heard: list[str] = []

    def hear(_task: Any, run: Any, state: State[Any]) -> None:
        heard.append(f"{run.task_name} {state.name}")

    @inner.task(on_running=[hear], on_completion=[hear], on_failure=[hear])
    async def work(good: bool) -> None:
        if not good:
            raise BOOM

    async def body() -> None:
        await form.ended([work.submit(True)])
        await form.ended([work.submit(False)])

    form.in_flow(body)

    assert heard == ["work Running", "work Completed", "work Running", "work Failed"]


def test_a_run_that_waited_in_line_says_how_long(form: Form, inner: Form, record: Record) -> None:
    begun, latch = Latch(), Latch()

    @inner.task()
    async def work() -> None:
        begun.open()
        await latch.passed()

    async def body() -> None:
        first, second = work.submit(), work.submit()
        await begun.passed()
        time.advance(3)
        latch.open()
        await form.ended([first, second])

    with virtual_time() as time:
        form.in_flow(body, task_runner=ConcurrentTaskRunner(limit=1))

    _, second = record.task_runs()
    assert record.path(second) == ["Pending", "Running", "Completed"]
    (_, _, entered, _), (_, _, left, _), _ = second.transitions
    assert left - entered == timedelta(seconds=3)


def test_the_context_of_the_submitter_is_the_runs_and_nothing_comes_back(form: Form, inner: Form) -> None:
    seen: list[str] = []

    @inner.task()
    async def work(own: str) -> None:
        seen.append(colour.get())
        colour.set(own)

    async def body() -> str:
        colour.set("red")
        first = work.submit("green")
        colour.set("blue")
        second = work.submit("yellow")
        await form.got(first)
        await form.got(second)
        return colour.get()

    assert form.in_flow(body) == "blue"
    assert sorted(seen) == ["blue", "red"]


def test_prints_and_loggers_of_a_submitted_run_are_its_own(form: Form, inner: Form, said: Lines) -> None:
    @inner.task()
    async def talk(x: int) -> None:
        print(f"printed {x}")
        get_run_logger().info("logged %d", x)

    async def body() -> None:
        await form.ended([talk.submit(x) for x in range(2)])

    form.in_flow(body, log_prints=True)

    assert {line for line in said() if "printed" in line or "logged" in line} == {
        f"INFO | Task run 'talk-00{x + 1}' - {verb} {x}" for x in range(2) for verb in ("printed", "logged")
    }


def test_a_sync_body_runs_in_a_thread_of_ours_and_an_async_one_on_the_flows_loop(form: Form) -> None:
    @task
    def where() -> str:
        return threading.current_thread().name

    @task
    async def on() -> Any:
        return asyncio.get_running_loop()

    async def body() -> tuple[str, Any, Any]:
        own = asyncio.get_running_loop() if form.is_async else None
        return await form.got(where.submit()), own, await form.got(on.submit())

    thread, own, loop = form.in_flow(body)

    assert thread.startswith("headrace worker")
    assert loop is own if form.is_async else loop is not None


def test_the_async_tasks_of_all_sync_flows_share_one_loop() -> None:
    @task
    async def on() -> Any:
        return asyncio.get_running_loop()

    @flow
    def main() -> Any:
        return on.submit().result()

    assert main() is main()


def test_bound_methods_and_class_methods_are_submitted_with_what_they_are_bound_to(form: Form, inner: Form) -> None:
    class Client:
        def __init__(self, name: str) -> None:
            self.name = name

        get = inner.task(name="get")(_get)
        whole = inner.flow(name="whole")(_get)

    async def body() -> list[str]:
        clients = [Client("a"), Client("b")]
        futures = [client.get.submit(1) for client in clients] + [client.whole.submit(2) for client in clients]
        return [await form.got(future) for future in futures]

    assert form.in_flow(body) == ["a1", "b1", "a2", "b2"]


async def _get(self: Any, x: int) -> str:
    return f"{self.name}{x}"


def test_wrong_arguments_fail_the_run_and_not_the_flow(form: Form, kind: str) -> None:
    def work(x: int) -> None: ...

    async def work_async(x: int) -> None: ...

    async def body() -> None:
        for fn in (work, work_async):
            future = (task if kind == "task" else flow)(name="work")(fn).submit(1, y=2)
            with pytest.raises(TypeError, match=rf"The {kind} 'work' cannot be called like this: .*'y'"):
                await form.got(future)

    form.in_flow(body)


@pytest.mark.parametrize("method", ["submit", "map"])
def test_a_generator_gives_no_future(form: Form, method: str) -> None:
    @task
    def items() -> Iterator[int]:
        yield 1

    @task
    async def async_items() -> AsyncIterator[int]:
        yield 1

    async def body() -> None:
        for one in (items, async_items):
            with pytest.raises(OptionError, match=f"is a generator, and {method} gives a future of one value"):
                getattr(one, method)([1])

    form.in_flow(body)


# -- return_state -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("good", [True, False])
def test_submit_gives_the_final_state_on_request(inner: Form, good: bool) -> None:
    @inner.task()
    async def work() -> int:
        if not good:
            raise BOOM
        return 4

    @flow
    def main() -> Any:
        state = work.submit(return_state=True)
        return [state.name, state.data]

    assert main() == (["Completed", 4] if good else ["Failed", BOOM])


async def test_a_task_run_that_ended_may_be_asked_for_its_state_on_a_loop() -> None:
    @task
    async def work() -> int:
        return 4

    @flow
    async def main() -> Any:
        future = work.submit()
        await future
        return [future.state.name, future.state.result()]

    assert await main() == ["Completed", 4]


def test_the_future_of_a_state_is_no_upstream_surprise(form: Form) -> None:
    """`flow` and `call` go on to work beside futures."""

    @form.task()
    async def add(x: int, y: int) -> int:
        return x + y

    async def body() -> int:
        future = add.submit(1, 2)
        await form.ended([future])
        value: int = await call(add, future, 4)
        return value

    assert form.in_flow(body) == 7
