"""Timeouts: who is stopped, who goes on, and what is said about it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

import headrace
from headrace import flow, task
from headrace.context import get_flow_run
from headrace.errors import FlowRunTimeoutError, OptionError, OptionTypeError, TaskRunTimeoutError
from headrace.testing import virtual_time
from tests.spec.forms import Form, Record, call

Lines = Callable[[], list[str]]
SHORT = 0.005
ERRORS: dict[str, type[TimeoutError]] = {"task": TaskRunTimeoutError, "flow": FlowRunTimeoutError}


class Slow:
    """A function that waits for longer than anybody here has time, or until it is let go."""

    def __init__(self, kind: str, name: str, **options: Any) -> None:
        self.let_go = threading.Event()
        self.ended = threading.Event()
        self.story: list[str] = []
        decorate: Any = task if kind == "task" else flow
        options = {"name": "slow", f"{kind}_run_name": "slow one", "timeout_seconds": SHORT, **options}

        def body() -> str:
            try:
                self.let_go.wait(10)
                self.story.append("went on")
                return "late"
            finally:
                self.ended.set()

        async def body_async() -> str:
            try:
                await asyncio.sleep(10)
                return "late"
            except asyncio.CancelledError:
                self.story.append("cancelled")
                raise

        self.call: Any = decorate(**options)(body if name == "sync" else body_async)

    def end(self) -> None:
        """Let the sync body go, and wait for it."""
        self.let_go.set()
        assert self.ended.wait(10)


def test_a_run_that_takes_too_long_fails_by_name(form: Form, kind: str, record: Record) -> None:
    slow = Slow(kind, form.name)

    with pytest.raises(ERRORS[kind], match=rf"{kind.title()} run 'slow one' took longer than its timeout of 0\.005 s"):
        form.run(slow.call)

    (run,) = record.flow_runs() or record.task_runs()
    assert (run.state.type, run.state.name) == ("FAILED", "TimedOut")
    assert run.state.message is not None
    assert run.state.message.startswith(f"{kind.title()} run 'slow one' took longer than its timeout of 0.005 s; ")
    slow.let_go.set()


def test_our_timeout_is_a_timeout_error(form: Form, kind: str) -> None:
    slow = Slow(kind, form.name)

    with pytest.raises(TimeoutError):
        form.run(slow.call)
    slow.let_go.set()


def test_an_async_body_is_cancelled_and_the_error_says_so(kind: str) -> None:
    slow = Slow(kind, "async")

    with pytest.raises(ERRORS[kind], match="its body was cancelled"):
        headrace.run(slow.call())

    assert slow.story == ["cancelled"]


def test_a_sync_caller_is_released_in_time_while_the_body_goes_on(kind: str, record: Record) -> None:
    slow = Slow(kind, "sync")
    before = time.monotonic()

    with pytest.raises(ERRORS[kind], match="its body goes on in its thread until it returns, and what it returns is"):
        slow.call()

    assert time.monotonic() - before < 5
    assert slow.story == []
    slow.end()
    assert slow.story == ["went on"]
    (run,) = record.flow_runs() or record.task_runs()
    assert run.state.name == "TimedOut"


def test_the_log_says_what_becomes_of_a_sync_body(kind: str, said: Lines) -> None:
    slow = Slow(kind, "sync")

    with pytest.raises(TimeoutError):
        slow.call()

    slow.end()
    name = f"{kind.title()} run 'slow one'"
    expected = (
        f'ERROR | {name} - Finished in state TimedOut("{name} took longer than its timeout of 0.005 s; '
        "its body goes on in its thread until it returns, and what it returns is dropped"
    )
    assert [line for line in said() if line.startswith(expected)]


def test_a_late_exception_of_a_sync_body_troubles_nobody(record: Record) -> None:
    let_go, ended = threading.Event(), threading.Event()

    @task(timeout_seconds=SHORT)
    def slow() -> None:
        try:
            let_go.wait(10)
            raise ValueError("late")
        finally:
            ended.set()

    with pytest.raises(TaskRunTimeoutError):
        slow()
    let_go.set()

    assert ended.wait(10)
    assert record.task_run().state.name == "TimedOut"


def test_each_attempt_has_the_whole_time(form: Form, kind: str, record: Record) -> None:
    slow = Slow(kind, form.name, retries=2)

    with pytest.raises(TimeoutError):
        form.run(slow.call)

    (run,) = record.flow_runs() or record.task_runs()
    assert record.path(run) == ["Running", "Retrying", "Retrying", "TimedOut"]
    slow.let_go.set()


def test_who_is_in_time_is_not_disturbed(form: Form, kind: str) -> None:
    @form.decorate(kind, timeout_seconds=timedelta(hours=1))
    async def quick(x: int) -> int:
        return x + 1

    assert form.run(quick, 1) == 2
    assert quick.timeout_seconds == 3600.0


def test_exceptions_of_a_body_with_a_timeout_are_the_bodys_own(form: Form, kind: str) -> None:
    error = TimeoutError("mine")

    @form.decorate(kind, timeout_seconds=60)
    async def fails() -> None:
        raise error

    with pytest.raises(TimeoutError) as caught:
        form.run(fails)
    assert caught.value is error
    assert form.run(fails, return_state=True).name == "Failed"


def test_a_timeout_of_zero_is_over_at_once(kind: str) -> None:
    slow = Slow(kind, "async", timeout_seconds=0)

    with pytest.raises(ERRORS[kind], match="timeout of 0 s"):
        headrace.run(slow.call())


def test_a_body_with_a_timeout_sees_its_run_and_its_callers_context(form: Form, record: Record) -> None:
    seen: list[Any] = []

    @form.task()
    async def inner() -> None: ...

    @form.flow(timeout_seconds=60)
    async def pipeline() -> None:
        seen.append(get_flow_run().flow_name)
        await call(inner)

    with headrace.tags("around"):
        form.run(pipeline)

    assert seen == ["pipeline"]
    assert record.task_run().flow_run_id == record.flow_run().id
    assert record.task_run().tags == ("around",)


def test_the_inner_of_two_timeouts_fires_first(form: Form, record: Record) -> None:
    slow = Slow("task", form.name)

    @form.flow(timeout_seconds=60)
    async def pipeline() -> str:
        try:
            await call(slow.call)
        except TaskRunTimeoutError:
            return "saved"
        return "never"

    assert form.run(pipeline) == "saved"
    slow.let_go.set()


def test_a_flows_timeout_ends_the_task_that_is_at_work(record: Record) -> None:
    slow = Slow("task", "async", timeout_seconds=None)

    @flow(timeout_seconds=5)
    async def pipeline() -> None:
        await slow.call()

    with virtual_time(), pytest.raises(FlowRunTimeoutError):
        headrace.run(pipeline())

    assert slow.story == ["cancelled"]
    assert record.task_run().state.name == "Cancelled"
    assert record.flow_run().state.name == "TimedOut"


def test_after_an_async_flows_timeout_no_task_starts(record: Record) -> None:
    started: list[int] = []

    @task
    async def step(turn: int) -> None:
        started.append(turn)
        await asyncio.sleep(3_600 if turn else 1)

    @flow(timeout_seconds=60)
    async def pipeline() -> None:
        for turn in range(5):
            await step(turn)

    with virtual_time(), pytest.raises(FlowRunTimeoutError, match="timeout of 60 s"):
        headrace.run(pipeline())

    assert started == [0, 1]


def test_a_body_that_swallows_its_cancellation_still_times_out(kind: str, record: Record) -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return "swallowed"
        return "never"

    decorate: Any = task if kind == "task" else flow
    with pytest.raises(ERRORS[kind], match="took longer"):
        headrace.run(decorate(timeout_seconds=SHORT)(stubborn)())


def test_a_body_that_goes_on_after_its_cancellation_is_named_in_the_log(
    kind: str, said: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace._hosts.loop.PATIENCE", 0.001)

    async def stubborn() -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            time.sleep(0.002)  # noqa: ASYNC251 - it is badly behaved
            try:
                await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                await asyncio.shield(asyncio.sleep(0))
        return "swallowed"

    decorate: Any = task if kind == "task" else flow
    with pytest.raises(ERRORS[kind]):
        headrace.run(decorate(name="stubborn", timeout_seconds=SHORT)(stubborn)())

    assert [line for line in said() if "swallows the cancellation" in line]


def test_a_callable_object_is_told_rightly_what_becomes_of_it() -> None:
    class Waits:
        async def __call__(self) -> None:
            await asyncio.sleep(10)

    with pytest.raises(TaskRunTimeoutError, match="its body was cancelled"):
        headrace.run(task(timeout_seconds=SHORT)(Waits())())


def test_a_generator_has_the_time_for_the_whole_of_its_work(record: Record) -> None:
    let_go = threading.Event()

    @task(timeout_seconds=0.1)
    def items() -> Iterator[int]:
        yield 1
        let_go.wait(10)
        yield 2

    taken: list[int] = []
    stream = items()
    taken.append(next(stream))
    with pytest.raises(TaskRunTimeoutError, match=r"timeout of 0\.1 s"):
        next(stream)

    let_go.set()
    assert taken == [1]
    assert record.task_run().state.name == "TimedOut"


def test_an_async_generator_is_cancelled_at_its_timeout(record: Record) -> None:
    story: list[str] = []

    @task(timeout_seconds=60)
    async def items() -> AsyncIterator[int]:
        yield 1
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            story.append("cancelled")
            raise

    async def consume() -> None:
        async for item in items():
            story.append(f"took {item}")

    with virtual_time(), pytest.raises(TaskRunTimeoutError, match="its body was cancelled"):
        asyncio.run(consume())

    assert story == ["took 1", "cancelled"]
    assert record.task_run().state.name == "TimedOut"


def test_the_consumers_own_time_does_not_count(record: Record) -> None:
    @task(timeout_seconds=60)
    async def items() -> AsyncIterator[int]:
        for item in range(3):
            await asyncio.sleep(10)
            yield item

    async def consume() -> list[int]:
        taken: list[int] = []
        async for item in items():
            await asyncio.sleep(3_600)
            taken.append(item)
        return taken

    with virtual_time():
        assert asyncio.run(consume()) == [0, 1, 2]


def test_the_time_between_its_items_adds_up(record: Record) -> None:
    @task(timeout_seconds=60)
    async def items() -> AsyncIterator[int]:
        for item in range(9):
            await asyncio.sleep(25)
            yield item

    taken: list[int] = []

    async def consume() -> None:
        async for item in items():
            taken.append(item)

    with virtual_time(), pytest.raises(TaskRunTimeoutError, match="timeout of 60 s"):
        asyncio.run(consume())
    assert taken == [0, 1]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (-1, "timeout_seconds of task 'len' is -1; it must be a finite number of seconds, 0 or more"),
        (timedelta(seconds=-5), "is -5.0; it must be"),
        (float("inf"), "is inf; it must be a finite number"),
        ("30", r"must be a number of seconds or a timedelta, not '30' \(str\)"),
        (True, "must be a number of seconds"),
    ],
)
def test_what_is_no_time_is_refused_at_decoration(wrong: Any, sentence: str) -> None:
    with pytest.raises((OptionError, OptionTypeError), match=sentence):
        task(timeout_seconds=wrong)(len)
