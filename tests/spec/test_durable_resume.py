"""Durable flows are resumed: what finished before is given again without running, and the rest runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import aio, durable, flow, runs
from headrace.durable import NotResumable, RunHeld
from headrace.errors import RunNotFound, StoreUnavailable
from tests.spec.durable_crashes import STORES, Killed, World, doubling, path, resume
from tests.spec.forms import Form, call


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


# -- what runs, and what does not ----------------------------------------------------------------------------


def test_finished_tasks_are_not_run_again(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def adds() -> int:
        return sum([await call(step, number) for number in range(5)])

    run_id = world.crashes(form, adds, at="step 3")
    assert world.seen() == ["step 0", "step 1", "step 2", "step 3"]

    assert world.resumes(form, run_id) == 20
    assert world.seen() == ["step 3", "step 4"]


def test_a_run_may_be_resumed_again_and_again(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def adds() -> int:
        return sum([await call(step, number) for number in range(5)])

    run_id = world.crashes(form, adds, at="step 1")
    world.crashes_again(form, run_id, at="step 2")
    world.crashes_again(form, run_id, at="step 4")
    world.seen()

    assert world.resumes(form, run_id) == 20
    assert world.seen() == ["step 4"]


def test_a_failed_task_raises_its_recorded_exception_again(form: Form, world: World) -> None:
    @form.task()
    async def fails() -> None:
        world.visit("fails")
        raise ValueError("no", 7)

    step = doubling(world, form)

    @form.flow(durable=True)
    async def goes_on() -> tuple[str, Any]:
        try:
            await call(fails)
        except ValueError as error:
            return str(error.args), await call(step, 1)
        raise AssertionError

    run_id = world.crashes(form, goes_on, at="step 1")
    world.seen()

    assert world.resumes(form, run_id) == ("('no', 7)", 2)
    assert world.seen() == ["step 1"]


def test_equal_calls_are_told_apart_by_their_turn(form: Form, world: World) -> None:
    @form.task()
    async def draws() -> int:
        world.visit(f"draw {len(world.ran)}")
        return len(world.ran)

    @form.flow(durable=True)
    async def thrice() -> list[int]:
        return [await call(draws) for _ in range(3)]

    run_id = world.crashes(form, thrice, at="draw 2")
    world.seen()
    world.ran = ["before", "before"]

    assert world.resumes(form, run_id) == [1, 2, 3]
    assert world.seen() == ["before", "before", "draw 2"]


def test_a_run_that_ends_before_its_first_task_is_resumed(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def nothing_yet(x: int) -> int:
        world.visit("body")
        return x

    assert world.survives(form, nothing_yet, 3, at="body") == 3


def test_a_run_that_ends_after_its_last_task_is_resumed(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def nearly() -> int:
        value: int = await call(step, 1)
        world.visit("body")
        return value

    run_id = world.crashes(form, nearly, at="body")
    world.seen()

    assert world.resumes(form, run_id) == 2
    assert world.seen() == ["body"]


def test_a_flow_that_fails_after_it_was_resumed_raises_its_own_exception(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def fails() -> None:
        raise LookupError(await call(step, 1))

    run_id = world.crashes(form, fails, at="step 1")

    with pytest.raises(LookupError) as caught:
        world.resumes(form, run_id)
    assert caught.value.args == (2,)
    assert [run.state.name for run in world.flow_runs()] == ["Failed"]


def test_a_crash_at_any_commit_changes_nothing(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.task(retries=1)
    async def twice(x: int) -> int:
        world.visit(f"twice {x} {headrace.runtime.task_run.run_count}")
        if headrace.runtime.task_run.run_count == 1:
            raise ConnectionError
        return x

    @form.flow()
    async def below(x: int) -> int:
        value: int = await call(step, x)
        return value

    acknowledged: list[str] = []

    @form.flow(durable=True)
    async def mixed() -> int:
        total = 0
        for name, callee, x in (("step", step, 1), ("twice", twice, 2), ("below", below, 3), ("step", step, 4)):
            total += await call(callee, x)
            if not world.dead:
                acknowledged.append(f"{name} {x}")
        return total

    for commit in range(1, 100):
        acknowledged.clear()
        with world.runtime():
            known = {run.id for run in world.roots()}
            world.left = commit
            try:
                value = form.run(mixed)
            except (StoreUnavailable, Killed):
                value = None
        if value is not None:
            assert commit > 5
            break
        with world.runtime():
            (run_id,) = {run.id for run in world.roots()} - known
        world.seen()
        had = {name.replace("below", "step") for name in acknowledged}
        assert world.resumes(form, run_id) == 2 + 2 + 6 + 8
        again = {" ".join(place.split()[:2]) for place in world.seen()}
        assert not had & again, f"commit {commit}: {had & again} had been acknowledged"


# -- what stays the same --------------------------------------------------------------------------------------


def test_a_resumed_run_stays_one_run(form: Form, world: World) -> None:
    step = doubling(world, form)
    seen: list[Any] = []

    @form.flow(durable=True, flow_run_name="for {x}")
    async def named(x: int) -> int:
        around = headrace.runtime.flow_run
        seen.append((around.id, around.name, around.parameters, around.tags, around.run_count))
        value: int = await call(step, x)
        return value

    with headrace.tags("nightly"):
        run_id = world.crashes(form, named, 4, at="step 4")
    before = world.flow_runs()[0]
    world.resumes(form, run_id)

    (run,) = world.flow_runs()
    assert (run.id, run.name, run.parameters) == (run_id, "for 4", before.parameters)
    assert run.start_time == before.start_time
    assert run.tags == before.tags
    assert seen[0] == seen[1]


def test_the_record_tells_of_the_crash(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def works() -> int:
        return sum([await call(step, number) for number in range(3)])

    run_id = world.crashes(form, works, at="step 1")
    world.resumes(form, run_id)

    (run,) = world.flow_runs()
    assert path(run) == ["Running", "Crashed", "Running", "Completed"]
    assert run.state.is_completed()
    tasks = world.task_runs()
    assert [task.state.name for task in tasks if task.state.is_completed()] == ["Completed"] * 3
    assert [task.name for task in tasks] == sorted({task.name for task in tasks})


def test_what_a_resumed_run_returned_is_on_record(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def works() -> int:
        value: int = await call(step, 2)
        return value

    run_id = world.crashes(form, works, at="step 2")
    world.resumes(form, run_id)

    with world.runtime():
        assert runs.flow_run(run_id).state.result() == 4


# -- who resumes ----------------------------------------------------------------------------------------------


def test_async_code_resumes_sync_flows_and_blocking_code_async_ones(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def works() -> list[int]:
        return [await call(step, x) for x in range(3)]

    run_id = world.crashes(form, works, at="step 2")
    world.seen()

    other = Form("sync" if form.is_async else "async")
    assert world.resumes(other, run_id) == [0, 2, 4]
    assert world.seen() == ["step 2"]
    assert [run.id for run in world.flow_runs()] == [run_id]


def test_the_beginning_of_an_id_will_do(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def works() -> int:
        value: int = await call(step, 2)
        return value

    run_id = world.crashes(form, works, at="step 2")

    assert world.resumes(form, f" {run_id[:8].upper()} ") == 4


def test_a_run_resumed_within_another_flow_is_no_part_of_that(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def works() -> int:
        value: int = await call(step, 2)
        return value

    @form.flow(durable=True)
    async def resumes(run_id: str) -> Any:
        return await aio.resume(run_id) if form.is_async else durable.resume(run_id)

    run_id = world.crashes(form, works, at="step 2")
    with world.runtime():
        assert form.run(resumes, run_id) == 4

    assert {run.flow_name: run.parent_id for run in world.flow_runs()} == {"works": None, "resumes": None}


def test_runs_are_resumed_beside_each_other(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def works(x: int) -> int:
        value: int = await call(step, x)
        return value

    ids = [world.crashes(form, works, x, at=f"step {x}") for x in range(5)]

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*map(aio.resume, ids))

    with world.runtime():
        assert asyncio.run(all_of_them()) == [0, 2, 4, 6, 8]


# -- who may not ----------------------------------------------------------------------------------------------


def test_a_run_in_progress_is_held(form: Form, world: World) -> None:
    caught: list[RunHeld] = []

    @form.flow(durable=True)
    async def tries() -> None:
        run_id = headrace.runtime.flow_run.id
        assert run_id is not None
        with pytest.raises(RunHeld) as held:
            _ = await aio.resume(run_id) if form.is_async else durable.resume(run_id)
        caught.append(held.value)

    with world.runtime():
        form.run(tries)

    (error,) = caught
    assert str(error).startswith(f"Flow run {error.run_id} is not to be resumed here: process ")
    assert str(error).endswith(f"Wait for it, or cancel it first: headrace flow-run cancel {error.run_id[:8]}")


def test_a_run_that_has_completed_is_not_resumed(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def done() -> None: ...

    with world.runtime():
        form.run(done)
        (run,) = runs.flow_runs()
        with pytest.raises(NotResumable) as caught:
            resume(form, run.id)

    assert str(caught.value) == (f"Flow run {run.id} cannot be resumed: it has ended as Completed. Run its flow anew.")


def test_a_run_that_has_failed_is_not_resumed(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def fails() -> None:
        raise ValueError("no")

    with world.runtime():
        with pytest.raises(ValueError, match="no"):
            form.run(fails)
        (run,) = runs.flow_runs()
        with pytest.raises(NotResumable, match="it has ended as Failed"):
            resume(form, run.id)


def test_a_run_that_was_interrupted_is_not_resumed(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def interrupted() -> None:
        raise KeyboardInterrupt

    with world.runtime():
        with pytest.raises(KeyboardInterrupt):
            form.run(interrupted)
        (run,) = runs.flow_runs()
        with pytest.raises(NotResumable, match=f"it has ended as {run.state.name}"):
            resume(form, run.id)


def test_a_plain_run_is_not_resumed(form: Form, world: World) -> None:
    @form.flow()
    async def plain() -> None:
        raise ValueError("no")

    with world.runtime():
        with pytest.raises(ValueError, match="no"):
            form.run(plain)
        (run,) = runs.flow_runs()
        with pytest.raises(NotResumable) as caught:
            resume(form, run.id)

    assert str(caught.value) == (
        f"Flow run {run.id} cannot be resumed: it was not durable. Declare its flow with @flow(durable=True), and run "
        f"it anew."
    )


def test_a_part_of_a_run_is_not_resumed(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow()
    async def part() -> int:
        value: int = await call(step, 1)
        return value

    @form.flow(durable=True)
    async def whole() -> int:
        value: int = await call(part)
        return value

    run_id = world.crashes(form, whole, at="step 1")
    (inner,) = [run for run in world.flow_runs() if run.flow_name == "part"]

    with pytest.raises(NotResumable, match="it is part of another flow run") as caught:
        world.resumes(form, inner.id)
    assert str(caught.value).endswith(f"Resume that: headrace flow-run resume {run_id}")
    assert world.resumes(form, run_id) == 2


def test_no_run_of_that_id_is_resumed(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def done() -> None: ...

    with world.runtime():
        form.run(done)
        with pytest.raises(RunNotFound, match="ffffffff"):
            resume(form, "ffffffff")


def test_resuming_blocks_no_loop(world: World) -> None:
    @flow(durable=True)
    def done() -> None: ...

    async def within() -> None:
        durable.resume("00000000")

    with world.runtime():
        done()
        with pytest.raises(headrace.errors.RunningLoopError, match=r"await headrace\.aio\.resume"):
            asyncio.run(within())


def test_a_resumed_run_cannot_be_resumed_twice(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def works() -> int:
        value: int = await call(step, 2)
        return value

    run_id = world.crashes(form, works, at="step 2")
    with world.runtime():
        resume(form, run_id)
        with pytest.raises(NotResumable, match="it has ended as Completed"):
            resume(form, run_id)


def test_of_two_that_resume_one_run_at_once_one_has_it(world: World) -> None:
    """However far the first has come when the second asks."""
    step = doubling(world, Form("async"))

    @flow(durable=True)
    async def works() -> list[int]:
        return [await step(x) for x in range(3)]

    async def later(run_id: str, turns: int) -> Any:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await aio.resume(run_id)

    async def both(run_id: str, turns: int) -> list[Any]:
        return list(await asyncio.gather(aio.resume(run_id), later(run_id, turns), return_exceptions=True))

    for turns in range(20):
        run_id = world.crashes(Form("async"), works, at="step 1")
        world.seen()
        with world.runtime():
            got = asyncio.run(both(run_id, turns))
        assert [one for one in got if isinstance(one, list)] == [[0, 2, 4]], f"after {turns} turns"
        assert [type(one) for one in got if isinstance(one, Exception)] in ([RunHeld], [NotResumable])
        assert world.seen() == ["step 1", "step 2"]
