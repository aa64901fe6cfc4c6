"""Durable runs that came to a bad end are retried by hand: what has completed stays, and what has not is run again."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import aio, durable, runs, signals
from headrace.durable import NotRetryable, RunHeld, StepNotFound
from headrace.errors import CrashLoop, OptionTypeError, RunNotFound
from headrace.errors.signals import SignalTimeout
from headrace.states import Cancelled
from tests.spec.durable_crashes import STORES, World, doubling, path, resume
from tests.spec.forms import Form, Latch, call


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


class Broken:
    """A task that fails until it is mended."""

    def __init__(self, world: World, form: Form) -> None:
        self.mended = False

        async def ship(x: int) -> int:
            world.visit(f"ship {x}")
            if not self.mended:
                raise ConnectionError(f"no way {x}")
            return x

        self.task = form.task()(ship)


def retry(form: Form, run_id: str, **how: Any) -> Any:
    """Retry a run, in the runtime there is."""
    return headrace.run(aio.retry(run_id, **how)) if form.is_async else durable.retry(run_id, **how)


def fails(world: World, form: Form, flow: Any, *args: Any) -> str:
    """Call a flow, which fails; give the id of its run."""
    with world.runtime():
        with pytest.raises(ConnectionError):
            form.run(flow, *args)
        return world.roots()[-1].id


def retries(world: World, form: Form, run_id: str, **how: Any) -> Any:
    """Retry a run in a fresh runtime; give what it returns."""
    with world.runtime():
        return retry(form, run_id, **how)


# -- from what failed ----------------------------------------------------------------------------------------


def test_a_failed_run_goes_on_from_what_failed(form: Form, world: World) -> None:
    step, broken = doubling(world, form), Broken(world, form)

    @form.flow(durable=True)
    async def orders(x: int) -> int:
        return int(await call(step, x)) + int(await call(broken.task, x))

    run_id = fails(world, form, orders, 4)
    assert world.seen() == ["step 4", "ship 4"]
    broken.mended = True

    assert retries(world, form, run_id) == 12
    assert world.seen() == ["ship 4"]
    (run,) = world.flow_runs()
    assert (run.id, run.run_count, run.epoch) == (run_id, 2, 2)
    assert path(run) == ["Running", "Failed", "AwaitingRetry", "Running", "Completed"]
    assert [said for _, name, _, said in run.transitions if name == "AwaitingRetry"] == ["Retried by hand"]


def test_a_run_may_be_retried_again_and_again(form: Form, world: World) -> None:
    step, broken = doubling(world, form), Broken(world, form)

    @form.flow(durable=True, retries=1)
    async def orders() -> int:
        return int(await call(step, 1)) + int(await call(broken.task, 1))

    run_id = fails(world, form, orders)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            retries(world, form, run_id)
    assert world.seen() == ["step 1", *["ship 1"] * 4]
    broken.mended = True

    assert retries(world, form, run_id) == 3
    (run,) = world.flow_runs()
    assert (run.run_count, run.epoch) == (5, 4)


def test_what_failed_in_a_subflow_is_run_again_and_what_completed_there_is_not(form: Form, world: World) -> None:
    step, broken = doubling(world, form), Broken(world, form)

    @form.flow()
    async def inner(x: int) -> int:
        return int(await call(step, x)) + int(await call(broken.task, x))

    @form.flow()
    async def part(x: int) -> int:
        return int(await call(step, 10 * x)) + int(await call(inner, x))

    @form.flow(durable=True)
    async def whole() -> list[Any]:
        return [await call(part, 1), await call(step, 2)]

    run_id = fails(world, form, whole)
    world.seen()
    broken.mended = True

    assert retries(world, form, run_id) == [23, 4]
    assert world.seen() == ["ship 1", "step 2"]
    assert [(run.flow_name, run.run_count) for run in world.flow_runs()] == [("whole", 2), ("part", 2), ("inner", 2)]


def test_a_failure_that_the_flow_went_on_after_is_tried_again_too(form: Form, world: World) -> None:
    step, broken = doubling(world, form), Broken(world, form)

    @form.flow(durable=True)
    async def orders() -> list[Any]:
        state = await call(broken.task, 1, return_state=True)
        if state.is_failed():
            await call(broken.task, 2)
        return [state.result(), await call(step, 3)]

    run_id = fails(world, form, orders)
    world.seen()
    broken.mended = True

    assert retries(world, form, run_id) == [1, 6]
    assert world.seen() == ["ship 1", "step 3"]


def test_a_cancelled_run_goes_on(form: Form, world: World) -> None:
    step = doubling(world, form)
    cancels = [True]

    @form.flow(durable=True)
    async def orders() -> Any:
        value = await call(step, 1)
        return Cancelled(message="not today") if cancels.pop() else value

    with world.runtime():
        assert form.run(orders, return_state=True).is_cancelled()
        run_id = world.roots()[-1].id
    cancels.append(False)

    assert retries(world, form, run_id) == 2
    assert world.seen() == ["step 1"]


def test_a_run_in_a_crash_loop_is_tried_again(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def orders() -> int:
        return int(await call(step, 1)) + int(await call(step, 2))

    run_id = world.crashes(form, orders, at="step 2")
    for _ in range(5):
        world.crashes_again(form, run_id, at="step 2")
    with pytest.raises(CrashLoop):
        world.resumes(form, run_id)
    world.seen()

    assert retries(world, form, run_id) == 6
    assert world.seen() == ["step 2"]


def test_a_run_that_was_left_behind_goes_on_as_another_attempt(form: Form, world: World) -> None:
    """What had failed in it, and would only fail it again when it is resumed, is tried again."""
    step, broken = doubling(world, form), Broken(world, form)

    @form.flow(durable=True)
    async def orders() -> list[Any]:
        state = await call(broken.task, 1, return_state=True)
        return [await call(step, 2), state.result()]

    run_id = world.crashes(form, orders, at="step 2")
    broken.mended = True
    world.seen()

    assert retries(world, form, run_id) == [4, 1]
    assert world.seen() == ["ship 1", "step 2"]


def test_what_nobody_sent_in_time_is_waited_for_again(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def approved() -> Any:
        where: Any = aio if form.is_async else signals
        if headrace.runtime.flow_run.run_count == 2:
            await call(where.send, headrace.runtime.flow_run.id, "answer", "yes")
        return await call(where.receive, "answer", timeout=0)

    with world.runtime():
        with pytest.raises(SignalTimeout):
            form.run(approved)
        run_id = world.roots()[-1].id

    assert retries(world, form, run_id) == "yes"


def test_a_crash_of_the_retry_leaves_it_to_be_resumed(form: Form, world: World) -> None:
    step, broken = doubling(world, form), Broken(world, form)

    @form.flow(durable=True)
    async def orders() -> int:
        return int(await call(broken.task, 1)) + int(await call(step, 2))

    run_id = fails(world, form, orders)
    broken.mended = True
    with world.runtime():
        world.fatal = "step 2"
        with pytest.raises(Exception, match=r".*"):
            retry(form, run_id)
        assert world.dead
    world.seen()

    assert world.resumes(form, run_id) == 5
    assert world.seen() == ["step 2"]
    assert world.flow_runs()[-1].run_count == 2


# -- as a whole ----------------------------------------------------------------------------------------------


def test_a_run_that_is_retried_as_a_whole_does_all_of_it_anew_and_keeps_what_it_did(form: Form, world: World) -> None:
    step, broken = doubling(world, form), Broken(world, form)
    drawn: list[float] = []

    @form.flow()
    async def part() -> int:
        return int(await call(step, 5))

    @form.flow(durable=True)
    async def orders() -> int:
        drawn.append(durable.random())
        return int(await call(step, 1)) + int(await call(part)) + int(await call(broken.task, 1))

    run_id = fails(world, form, orders)
    before = world.seen()
    broken.mended = True

    assert retries(world, form, run_id, whole=True) == 13
    assert world.seen() == before
    assert drawn[0] != drawn[1]
    assert [run.state.name for run in world.task_runs()] == [*["Completed", "Failed"], *["Completed"] * 4]
    assert [run.flow_name for run in world.flow_runs()] == ["orders", "part", "part"]


def test_what_a_whole_retry_has_done_is_kept_when_it_crashes_or_fails(form: Form, world: World) -> None:
    step, broken = doubling(world, form), Broken(world, form)

    @form.flow(durable=True)
    async def orders() -> int:
        return int(await call(step, 1)) + int(await call(step, 2)) + int(await call(broken.task, 1))

    run_id = fails(world, form, orders)
    with world.runtime():
        world.fatal = "step 2"
        with pytest.raises(Exception, match=r".*"):
            retry(form, run_id, whole=True)
    world.seen()
    with pytest.raises(ConnectionError):
        world.resumes(form, run_id)
    assert world.seen() == ["step 2", "ship 1"]
    broken.mended = True

    assert retries(world, form, run_id) == 7
    assert world.seen() == ["ship 1"]


# -- who may ---------------------------------------------------------------------------------------------------


def test_a_run_that_has_completed_is_not_retried(world: World) -> None:
    form = Form("sync")
    step = doubling(world, form)

    @form.flow(durable=True)
    async def orders() -> int:
        return int(await call(step, 1))

    with world.runtime():
        form.run(orders)
        (run,) = runs.flow_runs()
        with pytest.raises(NotRetryable) as caught:
            retry(form, run.id)

    said = f"Run its flow anew, or fork it: headrace flow-run fork {run.id[:8]}"
    assert str(caught.value) == f"Flow run {run.id} cannot be retried: it has completed. {said}"


def test_a_run_that_was_not_durable_is_not_retried(world: World) -> None:
    form = Form("sync")
    broken = Broken(world, form)

    @form.flow()
    async def orders() -> int:
        return int(await call(broken.task, 1))

    run_id = fails(world, form, orders)

    with world.runtime(), pytest.raises(NotRetryable, match=r"it was not durable. Declare its flow with @flow"):
        retry(form, run_id)


def test_a_part_of_a_run_is_retried_with_that(world: World) -> None:
    form = Form("sync")
    broken = Broken(world, form)

    @form.flow()
    async def part() -> int:
        return int(await call(broken.task, 1))

    @form.flow(durable=True)
    async def orders() -> int:
        return int(await call(part))

    run_id = fails(world, form, orders)
    part_id = world.flow_runs()[-1].id

    with world.runtime(), pytest.raises(NotRetryable, match=f"flow-run retry {run_id[:8]}"):
        retry(form, part_id)


def test_a_run_that_goes_on_is_not_retried(world: World) -> None:
    form = Form("sync")
    begun, goes_on = threading.Event(), Latch()

    @form.flow(durable=True)
    async def waits() -> None:
        begun.set()
        await goes_on.passed()

    with world.runtime():
        thread = threading.Thread(target=form.run, args=(waits,))
        thread.start()
        try:
            assert begun.wait(30)
            with pytest.raises(RunHeld):
                retry(form, world.roots()[-1].id)
        finally:
            goes_on.open()
            thread.join()


def test_a_failed_run_that_is_to_be_resumed_says_how_to_retry_it(world: World) -> None:
    form = Form("sync")
    broken = Broken(world, form)

    @form.flow(durable=True)
    async def orders() -> int:
        return int(await call(broken.task, 1))

    run_id = fails(world, form, orders)

    with world.runtime(), pytest.raises(durable.NotResumable, match=f"Retry it: headrace flow-run retry {run_id[:8]}"):
        resume(form, run_id)


@pytest.mark.parametrize("asked", ["", " ", 5, None])
def test_what_is_no_id_is_no_id_of_any_run(world: World, asked: Any) -> None:
    form = Form("sync")
    broken = Broken(world, form)

    @form.flow(durable=True)
    async def orders() -> int:
        return int(await call(broken.task, 1))

    run_id = fails(world, form, orders)
    wrong = RunNotFound if isinstance(asked, str) else OptionTypeError

    with world.runtime():
        for tries in (durable.resume, durable.retry, durable.fork):
            with pytest.raises(wrong):
                tries(asked)
        with pytest.raises(wrong):
            durable.set_result(asked, "ship", 1)
        assert [run.id for run in world.roots()] == [run_id]
    assert world.seen() == ["ship 1"]


@pytest.mark.parametrize("asked", ["", 5])
def test_what_is_no_step_is_no_step_of_any_run(world: World, asked: Any) -> None:
    form = Form("sync")
    broken = Broken(world, form)

    @form.flow(durable=True)
    async def orders() -> int:
        return int(await call(broken.task, 1))

    run_id = fails(world, form, orders)
    wrong = StepNotFound if isinstance(asked, str) else OptionTypeError

    with world.runtime():
        with pytest.raises(wrong):
            durable.fork(run_id, from_task=asked)
        with pytest.raises(wrong):
            durable.set_result(run_id, asked, 1)
        assert [run.id for run in world.roots()] == [run_id]
