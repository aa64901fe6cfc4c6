"""Sleeping: how long, until when, and that a durable flow sleeps for what is left when it is resumed."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

import headrace
from headrace import _runtime, aio
from headrace._hosts.clock import wall
from headrace.errors import CancelledRun, OptionError, OptionTypeError, RunningLoopError
from headrace.testing import crash_at_every_commit, virtual_time
from tests.spec.durable_crashes import World, doubling
from tests.spec.forms import Form, call
from tests.spec.keeping import runtime_at

DAY = 86_400.0


async def sleep(form: Form, *args: Any, **kwargs: Any) -> None:
    """Sleep as code of that form does."""
    if form.name == "async":
        await aio.sleep(*args, **kwargs)
    else:
        headrace.sleep(*args, **kwargs)


@pytest.fixture(params=["memory", "sqlite"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(request.param, tmp_path)


@pytest.mark.parametrize(("given", "took"), [(0, 0), (2.5, 2.5), (timedelta(days=2), 2 * DAY)])
def test_a_flow_sleeps_for_so_long(form: Form, given: Any, took: float) -> None:
    @form.flow()
    async def waits() -> None:
        await sleep(form, given)

    with virtual_time() as time:
        form.run(waits)

    assert time.elapsed == took


def test_a_flow_sleeps_until_a_moment_and_not_at_all_where_it_has_passed(form: Form) -> None:
    @form.flow()
    async def waits(moment: datetime) -> None:
        await sleep(form, until=moment)

    with virtual_time(start=datetime(2026, 3, 1, tzinfo=UTC)) as time:
        form.run(waits, datetime(2026, 2, 1, tzinfo=UTC))
        assert time.elapsed == 0
        form.run(waits, datetime(2026, 3, 1, 3, tzinfo=UTC))

    assert time.elapsed == 3 * 3_600


def test_outside_of_runs_it_just_sleeps() -> None:
    with virtual_time() as time:
        headrace.sleep(5)
        asyncio.run(aio.sleep(5))

    assert time.elapsed == 10


def test_a_resumed_flow_sleeps_for_what_is_left(form: Form, world: World) -> None:
    """Its process ended in the middle of the day, and another takes it up six hours later, and once more after that."""
    step = doubling(world, form)

    @form.flow(durable=True)
    async def waits() -> int:
        first: int = await call(step, 1)
        await sleep(form, timedelta(days=1))
        second: int = await call(step, 2)
        return first + second

    with virtual_time() as time:
        run_id = world.crashes(form, waits, at="step 2")
        assert time.elapsed == DAY, "it had slept, and is killed behind that"
        assert world.resumes(form, run_id) == 6

    assert time.elapsed == DAY


def test_a_sleep_that_was_cut_off_goes_on_where_it_was(form: Form, world: World) -> None:
    step, meanwhile = doubling(world, form), doubling(world, form, name="meanwhile")

    @form.flow(durable=True)
    async def waits() -> int:
        if form.name == "async":
            sleeping = asyncio.ensure_future(aio.sleep(timedelta(days=1)))
            await asyncio.sleep(6 * 3_600)
            await call(meanwhile, 1)
            await sleeping
        else:
            headrace.sleep(timedelta(days=1))
            await call(meanwhile, 1)
        return int(await call(step, 2))

    at = "meanwhile 1"
    with virtual_time() as time:
        run_id = world.crashes(form, waits, at=at)
        before = time.elapsed
        asyncio.run(asyncio.sleep(6 * 3_600))  # nobody has it
        assert world.resumes(form, run_id) == 4

    assert before == (6 * 3_600 if form.name == "async" else DAY)
    assert time.elapsed == (DAY if form.name == "async" else DAY + 6 * 3_600), "and no second longer"


def test_two_sleeps_and_a_clock_that_is_set_back_are_told_apart(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def waits() -> int:
        await sleep(form, 10)
        await call(step, 1)
        await sleep(form, 20)
        return int(await call(step, 2))

    with virtual_time() as time:
        run_id = world.crashes(form, waits, at="step 2")
        assert time.elapsed == 30
        assert world.resumes(form, run_id) == 4

    assert time.elapsed == 30


def test_a_task_that_is_run_again_sleeps_for_what_is_left(form: Form, world: World) -> None:
    @form.task()
    async def naps() -> str:
        await sleep(form, 60)
        world.visit("slept")
        return "rested"

    @form.flow(durable=True)
    async def waits() -> str:
        return str(await call(naps))

    with virtual_time() as time:
        run_id = world.crashes(form, waits, at="slept")
        assert world.resumes(form, run_id) == "rested"

    assert time.elapsed == 60


def test_it_comes_to_the_same_whenever_it_crashes() -> None:
    @headrace.task
    def note(number: int) -> int:
        return number

    @headrace.flow(durable=True)
    def waits() -> int:
        headrace.sleep(0.001)
        first = note(1)
        headrace.sleep(until=datetime(2020, 1, 1, tzinfo=UTC))
        return first + note(2)

    assert crash_at_every_commit(waits).steps > 2


async def test_a_run_that_is_cancelled_sleeps_no_longer() -> None:
    @headrace.flow
    async def waits() -> None:
        await aio.sleep(DAY)

    running = asyncio.create_task(waits())
    await asyncio.sleep(0.01)
    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running


def test_a_sync_run_that_is_asked_to_stop_sleeps_no_longer() -> None:
    def asks() -> None:
        _runtime.current().journal.stop(begun.get(), "enough")

    begun: SimpleQueue[str] = SimpleQueue()

    @headrace.flow
    def waits() -> None:
        begun.put(str(headrace.runtime.flow_run.id))
        headrace.sleep(DAY)

    asking = threading.Thread(target=asks)
    asking.start()
    with pytest.raises(CancelledRun, match="enough"):
        waits()
    asking.join()


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "says"),
    [
        ((), {}, OptionTypeError, "either how many seconds"),
        ((1,), {"until": datetime(2030, 1, 1, tzinfo=UTC)}, OptionTypeError, "either how many seconds"),
        (("1",), {}, OptionTypeError, "not '1'"),
        ((True,), {}, OptionTypeError, "not True"),
        ((-1,), {}, OptionError, "not -1"),
        ((float("nan"),), {}, OptionError, "not nan"),
        ((float("inf"),), {}, OptionError, "not inf"),
        ((), {"until": datetime(2030, 1, 1)}, OptionTypeError, "time zone"),  # noqa: DTZ001 - it is to lack one
        ((), {"until": "tomorrow"}, OptionTypeError, "time zone"),
    ],
)
def test_what_cannot_be_is_refused(args: Any, kwargs: Any, error: type[Exception], says: str) -> None:
    before = wall.now()

    with pytest.raises(error, match=says):
        headrace.sleep(*args, **kwargs)

    assert wall.now() - before < 1e9


async def test_it_does_not_block_a_loop() -> None:
    with pytest.raises(RunningLoopError, match=r"await headrace.aio.sleep"):
        headrace.sleep(1)


def test_ten_days_are_over_at_once_beside_a_thread_that_is_kept_for_the_next_body(tmp_path: Path) -> None:
    @headrace.flow(durable=True)
    def sleeps() -> None:
        headrace.sleep(30 * DAY)

    with runtime_at(tmp_path), virtual_time() as clock, headrace.Runtime() as runtime:
        waits = runtime.submit(sleeps)
        began = clock.now()
        headrace.sleep(10 * DAY)  # in slices, each of which would take a moment if that thread might be at work

        assert waits.state.name == "Suspended"
        assert clock.now() - began == timedelta(days=10)
