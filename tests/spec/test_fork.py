"""A fork of a durable run has on record what that did before one of its steps, and goes on from there as its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import suppress
from pathlib import Path
from random import random
from typing import Any

import pytest

import headrace
from headrace import aio, durable, runs
from headrace._model.ids import short_id
from headrace.durable import NotForkable, StepNotFound
from headrace.runs import FlowRun
from tests.spec.durable_crashes import STORES, World, doubling, path
from tests.spec.forms import Form, Latch, call
from tests.spec.yielding import taken, yielding


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


def fork(form: Form, run_id: str, from_task: str | None = None) -> Any:
    """Fork a run, in the runtime there is."""
    if form.is_async:
        return headrace.run(aio.fork(run_id, from_task=from_task))
    return durable.fork(run_id, from_task=from_task)


def forked(world: World) -> FlowRun:
    """Give the run that began last."""
    with world.runtime():
        return world.roots()[-1]


def ran(world: World, form: Form, flow: Any, *args: Any) -> str:
    """Call a flow, whatever it comes to; give the id of its run."""
    with world.runtime():
        form.run(flow, *args, return_state=True)
        run_id = world.roots()[-1].id
    return run_id


class Enough(Exception):
    """Its consumer needs no more items."""


def three(world: World, form: Form) -> Any:
    """Give a flow of three steps, of which each takes what the one before gave."""
    first, second, third = (doubling(world, form, name=name) for name in ("first", "second", "third"))

    @form.flow(durable=True, name="three")
    async def steps(x: int) -> int:
        return int(await call(third, await call(second, await call(first, x))))

    return steps


# -- where it goes on from -----------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["second", "second-002", "id", "short id"])
def test_what_had_ended_before_the_step_is_not_run_again(form: Form, world: World, asked: str) -> None:
    run_id = ran(world, form, three(world, form), 1)
    assert world.seen() == ["first 1", "second 2", "third 4"]
    step = world.task_runs()[1].id

    with world.runtime():
        assert fork(form, run_id, {"id": step, "short id": short_id(step)}.get(asked, asked)) == 8

    assert world.seen() == ["second 2", "third 4"]


def test_it_is_a_run_of_its_own_that_says_what_it_is_a_fork_of(form: Form, world: World) -> None:
    run_id = ran(world, form, three(world, form), 1)
    with world.runtime():
        fork(form, run_id, "third")

    first, new = world.flow_runs()
    assert first.id == run_id
    assert (path(first), first.epoch, new.epoch) == (["Running", "Completed"], 1, 1)
    assert path(new) == ["Pending", "Running", "Completed"]
    assert new.transitions[0][3] == f"Forked from {first.name} ({run_id}), before third-003 ({short_id(run_id)}.003)"
    assert new.name != first.name
    assert (new.parameters, new.flow_name) == ({"x": 1}, "three")
    before, after = world.task_runs()[:3], world.task_runs()[3:]
    assert {run.flow_run_id for run in after} == {new.id}
    assert [run.task_name for run in after] == ["first", "second", "third"]
    assert [run.start_time for run in after[:2]] == [run.start_time for run in before[:2]]


def test_today_s_code_decides_how_it_goes_on(form: Form, world: World) -> None:
    way = ["b"]

    @form.task()
    async def goes(to: str) -> str:
        world.visit(to)
        return to

    @form.flow(durable=True)
    async def journey() -> list[str]:
        return [await call(goes, "a"), *[await call(goes, to) for to in way]]

    run_id = ran(world, form, journey)
    world.seen()
    way[:] = ["c", "d"]

    with world.runtime():
        assert fork(form, run_id, "goes-002") == ["a", "c", "d"]
    assert world.seen() == ["c", "d"]


def test_without_a_step_it_goes_on_from_the_end(form: Form, world: World) -> None:
    run_id = ran(world, form, three(world, form), 1)
    world.seen()

    with world.runtime():
        assert fork(form, run_id) == 8
    assert world.seen() == []


def test_of_a_failed_run_it_goes_on_from_what_failed(form: Form, world: World) -> None:
    step, mended = doubling(world, form), [False]

    @form.task()
    async def ship(x: int) -> int:
        world.visit(f"ship {x}")
        if not mended[0]:
            raise ConnectionError
        return x

    @form.flow()
    async def part(x: int) -> int:
        return int(await call(step, x)) + int(await call(ship, x))

    @form.flow(durable=True)
    async def orders() -> int:
        return int(await call(step, 9)) + int(await call(part, 1))

    run_id = ran(world, form, orders)
    world.seen()
    mended[0] = True

    with world.runtime():
        assert fork(form, run_id) == 21
    assert world.seen() == ["ship 1"]
    assert sorted((run.flow_name, run.state.name, run.run_count) for run in world.flow_runs()) == [
        ("orders", "Completed", 2),
        ("orders", "Failed", 1),
        ("part", "Completed", 2),
        ("part", "Failed", 1),
    ]


def test_it_may_begin_within_a_subflow(form: Form, world: World) -> None:
    step, last = doubling(world, form), doubling(world, form, name="last")

    @form.task()
    async def outer(x: int) -> int:
        return int(await call(step, x)) + int(await call(last, x))

    @form.flow()
    async def part(x: int) -> int:
        return int(await call(step, 10 * x)) + int(await call(outer, x))

    @form.flow(durable=True)
    async def whole() -> int:
        return int(await call(part, 1)) + int(await call(part, 2))

    run_id = ran(world, form, whole)
    world.seen()

    with world.runtime():
        assert fork(form, run_id, "last") == 72
    assert world.seen() == ["last 1", "step 20", "step 2", "last 2"]


def test_what_was_drawn_before_the_step_is_the_same_and_what_came_after_it_is_not(form: Form, world: World) -> None:
    drawn: list[float] = []
    step = doubling(world, form)

    @form.flow(durable=True)
    async def draws() -> None:
        drawn.append(durable.random())
        await call(step, 1)
        drawn.append(durable.random())
        await call(step, 2)

    run_id = ran(world, form, draws)
    with world.runtime():
        fork(form, run_id, "step-001")

    assert drawn[0] == drawn[2]
    assert drawn[1] != drawn[3]


@pytest.mark.parametrize("goes_on", [True, False])
@pytest.mark.parametrize("kind", [str, frozenset])
def test_the_step_is_given_the_same_items_of_an_open_generator(
    form: Form, world: World, goes_on: bool, kind: Any
) -> None:
    def some(resume_from: int) -> Iterator[Any]:
        for _ in range(resume_from, 9):
            yield kind([str(random())])

    def tokens_from(*, resume_from: int = 0) -> Iterator[Any]:
        yield from some(resume_from)

    def tokens_anew() -> Iterator[Any]:
        yield from some(0)

    tokens, judged = yielding(form, tokens_from if goes_on else tokens_anew), list[list[Any]]()

    @form.task()
    async def judge(seen: list[Any]) -> None:
        judged.append(seen)

    @form.flow(durable=True)
    async def reads() -> None:
        seen: list[Any] = []

        async def hear(item: Any) -> None:
            seen.append(item)
            if len(seen) == 5:
                await call(judge, list(seen))
                raise Enough

        with suppress(Enough):
            await taken(tokens(), hear)

    run_id = ran(world, form, reads)
    with world.runtime():
        fork(form, run_id, "judge")

    assert len(judged[0]) == 5
    assert judged[1] == judged[0]


def test_what_another_branch_yields_once_the_step_has_begun_takes_no_item_from_it(world: World) -> None:
    form, judged = Form("async"), list[list[float]]()

    @headrace.task
    async def tokens(*, resume_from: int = 0) -> AsyncGenerator[float]:
        for _ in range(resume_from, 9):
            yield random()

    @headrace.task
    async def judge(seen: list[float]) -> None:
        judged.append(seen)

    @headrace.flow(durable=True)
    async def reads() -> None:
        source = tokens()
        seen = [await anext(source) for _ in range(5)]

        async def reads_on() -> None:
            await anext(source)

        await asyncio.gather(judge(list(seen)), reads_on())
        await source.aclose()

    run_id = ran(world, form, reads)
    with world.runtime():
        fork(form, run_id, "judge")

    assert judged[1] == judged[0]


def test_large_results_and_failures_before_the_step_are_shared(form: Form, world: World) -> None:
    @form.task()
    async def large() -> bytes:
        world.visit("large")
        return b"x" * 100_000

    @form.task()
    async def fails() -> None:
        world.visit("fails")
        raise ValueError("no", 7)

    last = doubling(world, form, name="last")

    @form.flow(durable=True)
    async def works() -> list[Any]:
        size = len(await call(large))
        state = await call(fails, return_state=True)
        return [size, repr(state.data), await call(last, 1)]

    run_id = ran(world, form, works)
    world.seen()

    with world.runtime():
        assert fork(form, run_id, "last") == [100_000, "ValueError('no', 7)", 2]
    assert world.seen() == ["last 1"]


def test_a_fork_can_be_forked_and_resumed(form: Form, world: World) -> None:
    run_id = ran(world, form, three(world, form), 1)
    world.seen()
    with world.runtime():
        world.fatal = "third 4"
        with pytest.raises(Exception, match=r".*"):
            fork(form, run_id, "second")
    new = forked(world)
    assert world.resumes(form, new.id) == 8
    assert world.seen() == ["second 2", "third 4", "third 4"]

    with world.runtime():
        assert fork(form, new.id, "third") == 8
    assert world.seen() == ["third 4"]


def test_a_run_in_progress_can_be_forked(world: World) -> None:
    form, begun, goes_on = Form("sync"), threading.Event(), Latch()
    step = doubling(world, form)

    @form.task()
    async def waits() -> None:
        begun.set()
        await goes_on.passed()

    @form.flow(durable=True)
    async def works() -> int:
        value = int(await call(step, 1))
        await call(waits)
        return value

    with world.runtime():
        thread = threading.Thread(target=form.run, args=(works,))
        thread.start()
        try:
            assert begun.wait(30)
            (run,) = world.roots()
            threading.Timer(0, goes_on.open).start()
            assert fork(form, run.id) == 2
        finally:
            goes_on.open()
            thread.join()
        assert [run.state.name for run in runs.flow_runs()] == ["Completed", "Completed"]
    assert world.seen() == ["step 1"]


# -- what is refused -------------------------------------------------------------------------------------------


def test_a_step_that_is_not_there_is_named_with_the_nearest(world: World) -> None:
    form = Form("sync")
    run_id = ran(world, form, three(world, form), 1)

    with world.runtime(), pytest.raises(StepNotFound) as caught:
        fork(form, run_id, "sekond")

    assert str(caught.value) == (
        f"Flow run {run_id} has no step 'sekond' on record; did you mean 'second'? "
        f"It has: first, first-001, second, second-002, third and 1 more."
    )
    assert len(world.flow_runs()) == 1


def test_a_run_that_was_not_durable_cannot_be_forked(world: World) -> None:
    form = Form("sync")
    run_id = ran(world, form, form.flow()(three(world, form).fn.__wrapped__), 1)

    with world.runtime(), pytest.raises(NotForkable, match="cannot be forked: it was not durable"):
        fork(form, run_id)


def test_a_part_of_a_run_is_forked_with_that(world: World) -> None:
    form = Form("sync")
    steps = three(world, form)

    @form.flow(durable=True)
    async def whole() -> int:
        return int(await call(steps, 1))

    run_id = ran(world, form, whole)

    with world.runtime(), pytest.raises(NotForkable, match=f"Say it of that: headrace flow-run fork {run_id[:8]}"):
        fork(form, world.flow_runs()[-1].id)
