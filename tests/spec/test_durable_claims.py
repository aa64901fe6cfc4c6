"""Durable flows in corners: values that were drawn, callers without a record, states, names that two share."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import headrace
from headrace import durable, flow
from headrace._loading import loaded
from headrace.states import Failed, State
from tests.spec.durable_crashes import STORES, World, doubling, path
from tests.spec.forms import Form, Latch, call


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


def test_whoever_called_what_is_on_record_is_on_record(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.task()
    async def outer() -> int:
        value: int = await call(step, 1)
        other: int = await call(step, 2)
        return value + other

    @form.flow(durable=True)
    async def works() -> int:
        value: int = await call(outer)
        return value

    world.crashes(form, works, at="step 2")

    tasks = {run.id: run for run in world.task_runs()}
    assert {run.parent_task_run_id for run in tasks.values()} - {None} <= tasks.keys()


def test_a_flow_durable_by_its_runtime_is_resumed_as_that(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow()
    async def works() -> int:
        return sum([await call(step, x) for x in range(3)])

    run_id = world.crashes(form, works, at="step 2", durability="strict")
    world.seen()

    assert world.resumes(form, run_id) == 6
    assert world.seen() == ["step 2"]


def test_what_was_drawn_comes_back_where_the_next_step_was_cut_short(form: Form, world: World) -> None:
    """An id drawn for a payment is the same when the payment is tried again: that is what it is for."""
    seen: list[UUID] = []

    @form.task()
    async def pays(key: UUID) -> None:
        seen.append(key)
        world.visit("pays")

    @form.flow(durable=True)
    async def works() -> None:
        await call(pays, durable.uuid())

    run_id = world.crashes(form, works, at="pays")
    world.resumes(form, run_id)

    assert seen[0] == seen[1]


def test_a_retried_task_draws_the_same_in_each_attempt(form: Form, world: World) -> None:
    """As a retried flow does, so that an id it hands to another service is known there."""
    seen: list[UUID] = []

    @form.task(retries=2)
    async def sends() -> int:
        seen.append(durable.uuid())
        if len(seen) < 3:
            raise ConnectionError
        return 1

    @form.flow(durable=True)
    async def works() -> int:
        value: int = await call(sends)
        return value

    with world.runtime():
        form.run(works)
    assert len(seen) == 3
    assert len(set(seen)) == 1


@pytest.mark.parametrize("data", [None, "said so", {"type": 1}], ids=["nothing", "text", "dict"])
def test_a_failed_state_that_a_task_returned_comes_back(form: Form, world: World, data: Any) -> None:
    @form.task()
    async def judges() -> State[Any]:
        world.visit("judges")
        return Failed(name="Refused", message="not today", data=data)

    last = doubling(world, form, name="last")
    seen: list[list[Any]] = []

    @form.flow(durable=True)
    async def works() -> None:
        state = await call(judges, return_state=True)
        seen.append([state.name, state.message, state.is_failed(), repr(state.data)])
        await call(last, 1)

    run_id = world.crashes(form, works, at="last 1")
    world.seen()
    world.resumes(form, run_id)

    assert seen[0] == seen[1]
    assert world.seen() == ["last 1"]


class Picky(Exception):
    """An exception that pickle can write and not read, as those of many libraries."""

    def __init__(self, code: int, why: str) -> None:
        super().__init__(f"{code}: {why}")
        self.code = code


def test_an_exception_that_cannot_be_read_back_keeps_its_name_and_message(form: Form, world: World) -> None:
    @form.task()
    async def fails() -> None:
        world.visit("fails")
        raise Picky(404, "gone")

    last = doubling(world, form, name="last")

    @form.flow(durable=True)
    async def works() -> str:
        try:
            await call(fails)
        except Exception as error:
            await call(last, 1)
            return str(error)
        raise AssertionError

    run_id = world.crashes(form, works, at="last 1")
    world.seen()

    assert world.resumes(form, run_id) == "Picky: 404: gone"
    assert world.seen() == ["last 1"]


def test_two_tasks_of_one_name_are_two_steps(form: Form, world: World) -> None:
    """The order of racing calls does not count: each finds its own."""

    def first() -> Any:
        @form.task()
        async def fetch(x: int) -> str:
            world.visit("first")
            return "first"

        return fetch

    def second() -> Any:
        @form.task()
        async def fetch(x: int) -> str:
            world.visit("second")
            return "second"

        return fetch

    callees = [first(), second()]
    last = doubling(world, form, name="last")

    @form.flow(durable=True)
    async def works() -> dict[str, Any]:
        found = {callee.fn.__qualname__.split(".")[-3]: await call(callee, 1) for callee in callees}
        await call(last, 1)
        return found

    run_id = world.crashes(form, works, at="last 1")
    callees.reverse()  # as two threads may

    assert world.resumes(form, run_id) == {"first": "first", "second": "second"}


def test_flows_of_other_threads_run_while_a_file_is_loaded(tmp_path: Path) -> None:
    begun, go_on = Latch(), Latch()
    sys.modules["gates"] = type(sys)("gates")
    sys.modules["gates"].__dict__.update(begun=begun, go_on=go_on)
    file = tmp_path / "program.py"
    file.write_text(
        "import gates\ngates.begun.open()\ngates.go_on.event.wait(20)\n"
        "from headrace import flow\n@flow(durable=True)\ndef works():\n    return 1\n"
    )

    @flow
    def other() -> int:
        return 5

    thread = threading.Thread(target=loaded, args=(f"__main__:works@{file}", "works"))
    thread.start()
    try:
        assert begun.event.wait(20)
        value = other()
    finally:
        go_on.open()
        thread.join()
        del sys.modules["gates"]
    assert value == 5


def test_a_flow_defined_anew_goes_on_with_its_new_code(world: World) -> None:
    """As in a notebook, where what was defined before may be alive for long."""
    step = doubling(world, Form("sync"))

    def define(version: int) -> Any:
        @flow(durable=True)
        def works() -> int:
            value: int = step(1)
            return 10 * value + version

        return works

    versions = [define(version) for version in range(20)]
    run_id = world.crashes(Form("sync"), versions[0], at="step 1")

    assert world.resumes(Form("sync"), run_id) == 20 + 19


def test_a_run_in_its_first_retry_is_on_record_with_the_state_before(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True, retries=1)
    async def works() -> int:
        attempt = headrace.runtime.flow_run.run_count
        first: int = await call(step, attempt)
        if attempt == 1:
            raise ConnectionError
        last: int = await call(step, 9)
        return first + last

    run_id = world.crashes(form, works, at="step 9")
    assert path(world.flow_runs()[0]) == ["Running", "Retrying"]
    world.resumes(form, run_id)
    assert path(world.flow_runs()[0]) == ["Running", "Retrying", "Crashed", "Running", "Completed"]
