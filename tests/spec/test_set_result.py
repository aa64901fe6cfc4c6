"""A step of a durable run that failed or has not ended is given a result by hand, and the run goes on behind it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import attrs
import pytest

import headrace
from headrace import aio, durable, runs
from headrace.durable import ResultMisfit, ResultNotSet, RunHeld, StepNotFound
from tests.spec.durable_crashes import STORES, World, doubling, path
from tests.spec.forms import Form, Latch, call


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


@attrs.frozen
class Parcel:
    number: int
    by: str


def settle(form: Form, run_id: str, task: str, value: Any) -> None:
    """Give a step a result, in the runtime there is."""
    if form.is_async:
        headrace.run(aio.set_result(run_id, task, value))
    else:
        durable.set_result(run_id, task, value)


def shipping(world: World, form: Form, **options: Any) -> Any:
    """Give a flow whose second step, `ship`, always fails."""
    step = doubling(world, form)

    async def ship(x: int) -> Parcel:
        world.visit(f"ship {x}")
        raise ConnectionError

    shipped = form.task(**options)(ship)

    @form.flow(durable=True)
    async def orders(x: int) -> Any:
        return [await call(step, x), await call(shipped, x), await call(step, 3)]

    return orders


def ran(world: World, form: Form, flow: Any, *args: Any) -> str:
    """Call a flow, whatever it comes to; give the id of its run."""
    with world.runtime():
        form.run(flow, *args, return_state=True)
        return world.roots()[-1].id


def test_a_failed_step_gets_a_result_and_the_run_goes_on_behind_it(form: Form, world: World) -> None:
    flow = shipping(world, form)
    run_id = ran(world, form, flow, 1)
    world.seen()

    with world.runtime():
        settle(form, run_id, "ship", Parcel(7, "hand"))
        (run,) = runs.flow_runs()
        (_, step) = runs.task_runs(run)
        assert (run.state.name, run.epoch) == ("Failed", 1)
        assert path(step) == ["Running", "Failed", "Completed"]
        assert (step.state.message, step.state.result()) == ("Its result was set by hand", Parcel(7, "hand"))
        assert durable.retry(run_id) if not form.is_async else headrace.run(aio.retry(run_id))
        assert runs.flow_run(run_id).state.result() == [2, Parcel(7, "hand"), 6]
    assert world.seen() == ["step 3"]


@pytest.mark.parametrize("value", [None, "yes", "x" * 5_000, b"x" * 100_000], ids=["none", "text", "long", "large"])
def test_it_may_be_of_any_kind_and_size(world: World, value: Any) -> None:
    form = Form("sync")

    @form.task()
    async def fails() -> Any:
        raise ConnectionError

    @form.flow(durable=True)
    async def works() -> Any:
        return await call(fails)

    run_id = ran(world, form, works)

    with world.runtime():
        settle(form, run_id, "fails", value)
    with world.runtime():
        assert durable.retry(run_id) == value


def test_a_step_that_its_process_left_behind_gets_one_and_the_run_is_resumed(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.task()
    async def outer() -> int:
        return int(await call(step, 1)) + int(await call(step, 2))

    @form.flow(durable=True)
    async def works() -> int:
        return int(await call(outer)) + int(await call(step, 3))

    run_id = world.crashes(form, works, at="step 2")
    with world.runtime():
        settle(form, run_id, "outer", 36)
    world.seen()

    assert world.resumes(form, run_id) == 42
    assert world.seen() == ["step 3"]


def test_a_step_within_a_subflow_gets_one(form: Form, world: World) -> None:
    inner = shipping(world, form)

    @form.flow(durable=True)
    async def whole() -> Any:
        return await call(inner, 1)

    run_id = ran(world, form, whole)
    world.seen()

    with world.runtime():
        settle(form, run_id, "ship", Parcel(7, "hand"))
    with world.runtime():
        value = durable.retry(run_id) if not form.is_async else headrace.run(aio.retry(run_id))
    assert value == [2, Parcel(7, "hand"), 6]
    assert world.seen() == ["step 3"]


def test_a_subflow_gets_one(form: Form, world: World) -> None:
    inner = shipping(world, form)

    @form.flow(durable=True)
    async def whole() -> Any:
        return await call(inner, 1)

    run_id = ran(world, form, whole)
    world.seen()

    with world.runtime():
        settle(form, run_id, "orders", "by hand")
    with world.runtime():
        value = durable.retry(run_id) if not form.is_async else headrace.run(aio.retry(run_id))
    assert (value, world.seen()) == ("by hand", [])


def test_what_is_given_is_made_to_fit_what_the_task_returns(world: World) -> None:
    form = Form("sync")
    run_id = ran(world, form, flow := shipping(world, form), 1)

    with world.runtime():
        with pytest.raises(ResultMisfit) as caught:
            settle(form, run_id, "ship", {"number": "seven"})
        settle(form, run_id, "ship", {"number": "7", "by": "hand"})
        assert durable.retry(run_id) == [2, Parcel(7, "hand"), 6]

    assert str(caught.value).startswith(f"Step 'ship-002' of flow run {run_id} cannot have come to that: ")
    assert flow.name == "orders"


# -- what is refused -------------------------------------------------------------------------------------------


def test_a_step_that_has_completed_keeps_its_result(world: World) -> None:
    form = Form("sync")
    run_id = ran(world, form, shipping(world, form), 1)

    with world.runtime(), pytest.raises(ResultNotSet, match=r"step 'step-001' has completed\. Fork the run before it"):
        settle(form, run_id, "step", 9)


def test_a_step_that_is_not_there_is_named_with_the_nearest(world: World) -> None:
    form = Form("sync")
    run_id = ran(world, form, shipping(world, form), 1)

    with world.runtime(), pytest.raises(StepNotFound, match="did you mean 'ship'"):
        settle(form, run_id, "shipp", 9)


def test_no_result_is_set_in_a_run_that_has_completed(world: World) -> None:
    form = Form("sync")
    step = doubling(world, form)

    @form.flow(durable=True)
    async def works() -> int:
        return int(await call(step, 1))

    run_id = ran(world, form, works)

    with world.runtime(), pytest.raises(ResultNotSet, match="cannot be changed: it has completed"):
        settle(form, run_id, "step", 9)


def test_no_result_is_set_in_a_run_in_progress(world: World) -> None:
    form, begun, goes_on = Form("sync"), threading.Event(), Latch()

    @form.task()
    async def waits() -> None:
        begun.set()
        await goes_on.passed()

    @form.flow(durable=True)
    async def works() -> None:
        await call(waits)

    with world.runtime():
        thread = threading.Thread(target=form.run, args=(works,))
        thread.start()
        try:
            assert begun.wait(30)
            with pytest.raises(RunHeld):
                settle(form, world.roots()[-1].id, "waits", None)
        finally:
            goes_on.open()
            thread.join()
