"""What a failed child does to a flow whose policy is "cancel"; whose cancellation is whose when a flow is stopped."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from headrace import _runtime, flow, task
from headrace.errors import CancelledRun
from tests.spec.forms import Form, Latch, Record


@task
async def fails() -> None:
    raise ValueError("of the child")


@flow
async def endless() -> None:
    await asyncio.Event().wait()


@flow
async def endless_items() -> AsyncIterator[int]:
    yield 1
    await asyncio.Event().wait()


def cancellations() -> int:
    """Count what the current task was asked to end for, and has not heard or taken back."""
    current = asyncio.current_task()
    assert current is not None
    return current.cancelling()


def stop(name: str) -> None:
    """Stop the one run of the flow *name*, as `flow-run cancel` does."""
    (run_id,) = [run.id for run in _runtime.desk().live.values() if run.spec.name == name]
    assert _runtime.desk().stop(run_id, "the test wants it")


async def test_the_failure_of_a_child_is_raised_and_leaves_no_cancellation_with_the_caller(record: Record) -> None:
    @flow(on_child_failure="cancel")
    async def main() -> None:
        fails.submit()
        await asyncio.Event().wait()

    with pytest.raises(ValueError, match="of the child"):
        await main()

    assert cancellations() == 0
    assert record.flow_run().state.name == "Failed"


async def test_a_timeout_around_a_flow_that_a_child_has_failed_still_is_one(record: Record) -> None:
    @flow(on_child_failure="cancel")
    async def main() -> None:
        fails.submit()
        await asyncio.Event().wait()

    async def within(seconds: float) -> None:
        async with asyncio.timeout(seconds):
            with pytest.raises(ValueError, match="of the child"):
                await main()
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await within(0.2)

    assert cancellations() == 0


async def test_the_failure_of_a_child_reaches_the_consumer_of_a_flow_that_yields(record: Record) -> None:
    @flow(on_child_failure="cancel")
    async def main() -> AsyncIterator[int]:
        yield 1
        fails.submit()
        await asyncio.Event().wait()

    items = main()
    assert await anext(items) == 1
    with pytest.raises(ValueError, match="of the child"):
        await anext(items)

    assert cancellations() == 0
    assert record.flow_run().state.name == "Failed"


def test_what_a_sync_flow_that_yields_has_submitted_fails_it_as_well(inner: Form, record: Record) -> None:
    @inner.task()
    async def breaks() -> None:
        raise ValueError("of the child")

    @flow(on_child_failure="cancel")
    def main() -> Iterator[int]:
        yield 1
        breaks.submit().wait()
        yield 2

    with pytest.raises(ValueError, match="of the child"):
        list(main())

    assert record.flow_run().state.name == "Failed"


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Have threads take turns a thousand times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty_threads", "record")
async def test_a_flow_never_ends_before_it_has_heard_that_a_source_failed_in_a_thread() -> None:
    """It did in one of twenty: the last call was counted out before the failure was told."""

    @task
    def work(x: int) -> int:
        return x

    def source() -> Iterator[int]:
        yield from (1, 2)
        raise ConnectionError("the line is dead")

    @flow(on_child_failure="cancel")
    async def main() -> None:
        work.map(source())

    for _ in range(200):
        with pytest.raises(ConnectionError, match="the line is dead"):
            await main()

    assert cancellations() == 0


class Picky:
    """An observer whose sampler breaks at one flow's name, and who hears of nothing else."""

    def open(self, run: Any) -> None:
        if run.spec.name == "untraceable":
            raise LookupError("no sampling rate for it")

    def began(self, run: Any) -> None: ...

    def ended(self, run: Any, transitions: Sequence[Any]) -> None: ...

    def undone(self, run: Any, at: int) -> None: ...

    def grouped(self, group: Any, at: int) -> None: ...


def test_a_run_that_could_not_begin_tells_what_was_wrong(form: Form, inner: Form, record: Record) -> None:
    _runtime.current().journal.observer = Picky()

    @inner.flow()
    async def untraceable() -> None: ...

    async def body() -> Any:
        future = untraceable.submit()
        await form.ended([future])
        assert future.state.message == "Its run could not begin: LookupError: no sampling rate for it"
        with pytest.raises(LookupError, match="no sampling rate for it"):
            await form.got(future)

    form.in_flow(body)

    assert [run.state.name for run in record.flow_runs()] == ["Completed"]


@pytest.mark.parametrize("stopping", [KeyboardInterrupt, SystemExit])
def test_ctrl_c_is_not_replaced_by_what_a_child_raises_in_its_cleanup(
    stopping: type[BaseException], inner: Form, record: Record
) -> None:
    begun, waits = Latch(), Latch()

    @inner.task()
    async def clumsy() -> None:
        begun.open()
        try:
            if inner.is_async:
                await waits.passed()
            else:
                never.submit().wait()
        finally:
            raise ValueError("of the cleanup")

    @task
    async def never() -> None:
        await waits.passed()

    @flow(on_child_failure="cancel")
    def main() -> None:
        clumsy.submit()
        assert begun.event.wait(30)
        raise stopping

    with pytest.raises(stopping):
        main()

    assert record.flow_run().state.is_crashed() or record.flow_run().state.is_cancelled()


async def test_a_flow_that_is_stopped_while_it_yields_ends_as_cancelled_and_cancels_no_consumer(record: Record) -> None:
    items = endless_items()
    assert await anext(items) == 1
    asyncio.get_running_loop().call_soon(stop, "endless-items")

    with pytest.raises(CancelledRun, match="the test wants it"):
        await anext(items)

    assert cancellations() == 0
    assert record.flow_run().state.name == "Cancelled"


@pytest.mark.parametrize("submits", [False, True])
async def test_a_cancellation_of_others_goes_on_where_the_run_was_stopped_as_well(
    submits: bool, record: Record
) -> None:
    inside = asyncio.Event()

    @flow
    async def main() -> None:
        if submits:
            endless.submit()
        inside.set()
        await asyncio.Event().wait()

    async def caller() -> Any:
        try:
            await main()
        except BaseException as error:
            return type(error), cancellations()

    called = asyncio.create_task(caller())
    await inside.wait()
    stop("main")
    called.cancel()

    assert await called == (asyncio.CancelledError, 1)
