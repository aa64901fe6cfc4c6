"""The scope of a flow run: what was submitted in it has ended when it ends; and where there is no such scope."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import copy_context
from typing import Any

import pytest

from headrace import _runtime, flow, quote, task
from headrace._runners.pool import Pool
from headrace.errors import CrewGone, SubmissionError
from headrace.runtime import cancelled
from headrace.testing import virtual_time
from tests.spec.forms import Form, Latch, Record, call

Lines = Callable[[], list[str]]
BOOM = ValueError("boom")


def warnings(said: Lines) -> list[str]:
    """Give what was said at WARNING, without whose it is."""
    return [line.partition(" - ")[2] for line in said() if line.startswith("WARNING")]


def until_idle(pool: Pool) -> None:
    """Wait until the one thread of *pool* is not at work any more."""
    deadline = time.monotonic() + 20
    while not pool.idle:
        assert time.monotonic() < deadline
        time.sleep(0.001)


# -- the end of a flow --------------------------------------------------------------------------------------


def test_a_flow_ends_when_all_that_it_submitted_has_ended(form: Form, inner: Form, record: Record) -> None:
    story: list[str] = []
    latch = Latch()

    @inner.task()
    async def work(x: int) -> None:
        await latch.passed()
        story.append(f"{x} ended")

    async def body() -> str:
        for x in range(3):
            _ = work.submit(x)
        threading.Timer(0.02, latch.open).start()
        story.append("body ended")
        return "value"

    assert form.in_flow(body) == "value"

    assert story[0] == "body ended"
    assert sorted(story[1:]) == ["0 ended", "1 ended", "2 ended"]
    flow_run = record.flow_run()
    assert flow_run.end_time is not None
    assert all(run.end_time is not None and run.end_time <= flow_run.end_time for run in record.task_runs())


def test_what_is_submitted_by_a_task_has_ended_when_the_flow_ends(form: Form, inner: Form, record: Record) -> None:
    latch = Latch()

    @inner.task()
    async def late() -> None:
        await latch.passed()

    @inner.task()
    async def starts() -> None:
        _ = late.submit()

    async def body() -> None:
        await form.got(starts.submit())
        threading.Timer(0.02, latch.open).start()

    form.in_flow(body)

    assert [run.state.name for run in record.task_runs()] == ["Completed", "Completed"]


def test_what_a_subflow_submitted_has_ended_when_the_subflow_ends(form: Form, inner: Form, record: Record) -> None:
    latch = Latch()

    @inner.task()
    async def late() -> None:
        await latch.passed()

    @form.flow()
    async def child() -> None:
        _ = late.submit()
        threading.Timer(0.02, latch.open).start()

    async def body() -> list[str]:
        await call(child)
        return [run.state.name for run in record.task_runs()]

    form.in_flow(body)

    late_run, child_run = record.task_run(), next(run for run in record.flow_runs() if run.flow_name == "child")
    assert late_run.end_time is not None
    assert child_run.end_time is not None
    assert late_run.end_time <= child_run.end_time


def test_each_attempt_of_a_flow_ends_with_what_it_submitted(form: Form, inner: Form) -> None:
    story: list[str] = []
    latches = [Latch(), Latch()]

    @inner.task()
    async def work(x: int) -> None:
        await latches[x].passed()
        story.append(f"work {x}")

    async def body() -> None:
        attempt = len([line for line in story if line.startswith("attempt")])
        story.append(f"attempt {attempt}")
        _ = work.submit(attempt)
        threading.Timer(0.02, latches[attempt].open).start()
        if not attempt:
            raise BOOM

    form.in_flow(body, retries=1)

    assert story == ["attempt 0", "work 0", "attempt 1", "work 1"]


def test_a_failed_body_lets_what_it_submitted_end_first(form: Form, inner: Form, record: Record) -> None:
    latch = Latch()

    @inner.task()
    async def work() -> str:
        await latch.passed()
        return "done"

    async def body() -> None:
        _ = work.submit()
        threading.Timer(0.02, latch.open).start()
        raise BOOM

    with pytest.raises(ValueError, match="boom"):
        form.in_flow(body)

    assert record.task_run().state.name == "Completed"


def test_a_flow_out_of_time_cancels_what_it_submitted(record: Record) -> None:
    @task
    async def work() -> None:
        await asyncio.sleep(1_000)

    @flow(timeout_seconds=30)
    async def main() -> None:
        await work.submit()

    with virtual_time() as time, pytest.raises(TimeoutError, match="took longer than its timeout of 30 s"):
        asyncio.run(main())

    assert time.elapsed == 30
    assert record.task_run().state.name == "Cancelled"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_program_ends_what_was_submitted(stop: type[BaseException], record: Record) -> None:
    begun = Latch()

    @task
    async def work() -> None:
        begun.open()
        await asyncio.sleep(1_000)

    @flow
    def main() -> None:
        _ = work.submit()
        assert begun.event.wait(20)
        raise stop

    with pytest.raises(stop):
        main()

    assert record.task_run().state.name == "Cancelled"


def test_what_cannot_be_cancelled_is_left_behind_after_a_while_and_said(
    said: Lines, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync body that does not look: its flow goes on without it, and what it gives late changes nothing."""
    begun, let_go, gone = threading.Event(), threading.Event(), threading.Event()
    _runtime.desk().patience = 0.05
    pool = Pool()
    monkeypatch.setattr(_runtime.shop(), "pool", pool)

    @task(task_run_name="deaf")
    def deaf() -> str:
        begun.set()
        let_go.wait(20)
        return "late"

    @flow
    def main() -> None:
        deaf.submit().add_done_callback(lambda _: gone.set())
        assert begun.wait(20)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        main()

    assert gone.is_set()
    assert warnings(said) == ["Goes on without 'deaf': cancelled, but still at work. Whatever they return is dropped"]
    before = record.task_run().state
    assert before.name == "Cancelled"
    let_go.set()
    until_idle(pool)
    assert record.task_run().state == before
    assert not any("Completed" in line for line in said())


def test_a_blocking_body_can_ask_whether_it_is_to_stop(record: Record) -> None:
    begun = threading.Event()

    @task
    def polite() -> str:
        begun.set()
        while not cancelled():
            time.sleep(0.001)
        return "stopped early"

    @flow
    def main() -> None:
        _ = polite.submit()
        assert begun.wait(20)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        main()

    assert record.task_run().state.name == "Cancelled"


def test_a_flow_that_yields_ends_what_it_submitted_when_its_consumer_stops_early(form: Form, record: Record) -> None:
    begun = Latch()

    @task
    async def work() -> None:
        begun.open()
        await asyncio.sleep(1_000)

    @flow
    def items() -> Iterator[int]:
        _ = work.submit()
        assert begun.event.wait(20)
        yield 1
        yield 2

    @flow
    async def async_items() -> AsyncIterator[int]:
        _ = work.submit()
        await begun.passed()
        yield 1
        yield 2

    async def consume() -> int:
        stream: Any = async_items()
        first: int = await anext(stream)
        await stream.aclose()
        return first

    if form.is_async:
        assert asyncio.run(consume()) == 1
    else:
        stream: Any = items()
        assert next(stream) == 1
        stream.close()

    assert record.task_run().state.name == "Cancelled"
    assert record.flow_run().state.name == "Completed"


# -- outside of flows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["submit", "map"])
def test_outside_of_a_flow_nothing_can_be_submitted(inner: Form, kind: str, method: str, record: Record) -> None:
    @inner.decorate(kind, name="work")
    async def work(x: int) -> None: ...

    sentence = rf"work\.{method}\(\) was called outside of a flow run, .* Call it in a function decorated with @flow"
    with pytest.raises(SubmissionError, match=sentence):
        getattr(work, method)([1])
    assert (record.flow_runs(), record.task_runs()) == ([], [])


def test_in_a_task_outside_of_a_flow_nothing_can_be_submitted(form: Form, inner: Form) -> None:
    @inner.task(name="work")
    async def work() -> None: ...

    @form.task()
    async def alone() -> None:
        with pytest.raises(SubmissionError, match=r"work\.submit\(\) was called outside of a flow run"):
            _ = work.submit()

    form.run(alone)


def test_after_its_flow_has_ended_nothing_can_be_submitted(form: Form, inner: Form, record: Record) -> None:
    """By a thread, or a task of the loop, that the flow left behind."""

    @inner.task()
    async def work() -> None: ...

    @form.flow(flow_run_name="the flow")
    async def main() -> Any:
        return quote([copy_context()])

    (context,) = form.run(main).unwrap()

    with pytest.raises(CrewGone, match="Flow run 'the flow' has ended, so nothing can be submitted in it any more"):
        context.run(work.submit)
    assert record.task_runs() == []


def test_a_hook_of_a_flow_that_has_ended_submits_nothing(form: Form, inner: Form, said: Lines, record: Record) -> None:
    @inner.task()
    async def work() -> None: ...

    def hook(*_: Any) -> None:
        _ = work.submit()

    async def body() -> None: ...

    form.in_flow(body, on_completion=[hook])

    assert any(line.startswith("ERROR") and "hook" in line for line in said())
    assert record.task_runs() == []


def test_while_a_flow_waits_for_its_runs_these_may_submit(form: Form, inner: Form, record: Record) -> None:
    latch = Latch()

    @inner.task()
    async def late() -> None: ...

    @inner.task()
    async def starts() -> None:
        await latch.passed()
        _ = late.submit()

    async def body() -> None:
        _ = starts.submit()
        threading.Timer(0.02, latch.open).start()

    form.in_flow(body)

    assert [run.state.name for run in record.task_runs()] == ["Completed", "Completed"]


def test_a_run_that_is_to_stop_submits_nothing_more(record: Record) -> None:
    begun = Latch()
    caught: list[BaseException] = []

    @task
    async def late() -> None: ...

    @task
    async def stubborn() -> None:
        begun.open()
        try:
            await asyncio.sleep(1_000)
        finally:
            try:
                _ = late.submit()
            except CrewGone as error:
                caught.append(error)

    @flow(on_child_failure="cancel", flow_run_name="the flow")
    async def main() -> None:
        _ = stubborn.submit()
        await begun.passed()
        raise BOOM

    with pytest.raises(ValueError, match="boom"):
        asyncio.run(main())
    (error,) = caught
    assert str(error).startswith("Flow run 'the flow' is to stop (its flow ended with ValueError), so nothing can be")
