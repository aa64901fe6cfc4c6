"""Durable flows that race go the same way when they are resumed, and run no loser again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import aio, durable, flow, futures, task
from headrace.errors import NonDeterministicFlow, WaitTimeoutError
from headrace.testing import crash_at_every_commit, replay
from tests.spec.durable_crashes import STORES, World, doubling
from tests.spec.forms import Form, Latch, call
from tests.spec.racing import Gates, decided, runner


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


# -- futures -------------------------------------------------------------------------------------------------


def test_a_resumed_run_has_the_same_winner_and_runs_no_loser(form: Form, world: World) -> None:
    gates = Gates("b")
    runs, step = runner(world, gates), doubling(world, form)

    @form.flow(durable=True)
    async def races() -> list[Any]:
        won = await decided(form, runs.submit("a"), runs.submit("b"))
        return [won.index, won.value, await call(step, won.index)]

    run_id = world.crashes(form, races, at="step 1")
    assert world.seen() == ["a", "b", "step 1"]

    gates.let_all()
    assert world.resumes(form, run_id) == [1, "b", 2]
    assert world.seen() == ["step 1"]
    assert [one.state.name for one in world.task_runs()] == ["Cancelled", "Completed", "Completed"]


def test_a_run_resumed_again_and_again_keeps_its_winner(form: Form, world: World) -> None:
    gates = Gates("b")
    runs, step = runner(world, gates), doubling(world, form)

    @form.flow(durable=True)
    async def races() -> int:
        won = await decided(form, *runs.map(["a", "b", "c"]))
        return int(await call(step, won.index) + await call(step, 10))

    run_id = world.crashes(form, races, at="step 1")
    gates.let_all()
    world.seen()
    world.crashes_again(form, run_id, at="step 10")

    assert world.resumes(form, run_id) == 22
    assert [one for one in world.seen() if one.startswith("step")] == ["step 1", "step 10", "step 10"]


def test_a_loser_that_ended_all_the_same_is_no_step_that_is_missed(form: Form, world: World) -> None:
    """A sync body hears of nothing until it next waits: it completes after the race, and that is on record."""
    gates = Gates()
    step = doubling(world, form)

    @Form("sync").task()
    async def late() -> None:
        world.visit("late")
        gates.let("it began")
        await gates.passed("the other won")

    @task
    async def wins() -> None:
        world.visit("wins")
        await gates.passed("it began")

    @form.flow(durable=True)
    async def races() -> list[int]:
        entrants: list[futures.Future[Any]] = [late.submit(), wins.submit()]
        entrants[1].add_done_callback(lambda _: gates.let("the other won"))
        won = await decided(form, *entrants)
        return [won.index, await call(step, won.index)]

    run_id = world.crashes(form, races, at="step 1")
    assert [one.state.name for one in world.task_runs()][:2] == ["Completed", "Completed"]
    world.seen()

    assert world.resumes(form, run_id) == [1, 2]
    assert world.seen() == ["step 1"]


def test_a_loser_that_never_began_does_not_when_its_turn_comes(form: Form, world: World) -> None:
    gates = Gates("a")
    runs, step = runner(world, gates), doubling(world, form)

    @form.flow(durable=True)
    async def races() -> int:
        slow = runs.submit("slow")
        won = await decided(form, runs.submit("a"), runs.submit("late", wait_for=[slow]))
        try:
            return int(await call(step, won.index))
        finally:
            gates.let("slow")

    run_id = world.crashes(form, races, at="step 0")
    gates.latches.pop("slow")
    world.seen()

    assert world.resumes(form, run_id) == 0
    assert world.seen() == ["slow", "step 0"]


def test_a_failure_that_won_is_raised_again(form: Form, world: World) -> None:
    gates = Gates("bad")
    runs, step = runner(world, gates), doubling(world, form)

    @form.flow(durable=True)
    async def races() -> int:
        try:
            await decided(form, runs.submit("a"), runs.submit("bad"))
        except ConnectionError:
            return int(await call(step, 1))
        raise AssertionError

    run_id = world.crashes(form, races, at="step 1")
    gates.let_all()
    world.seen()

    assert world.resumes(form, run_id) == 2
    assert world.seen() == ["step 1"]


def test_another_attempt_of_the_flow_races_anew(form: Form, world: World) -> None:
    gates = Gates("bad 1", "a 2")

    @task
    async def runs(name: str) -> str:
        attempt = headrace.runtime.flow_run.run_count
        world.visit(f"{name} {attempt}")
        await gates.passed(f"{name} {attempt}")
        if name == "bad":
            raise ConnectionError
        return name

    @form.flow(durable=True, retries=1)
    async def races() -> Any:
        return (await decided(form, runs.submit("a"), runs.submit("bad"))).value

    with world.runtime():
        assert form.run(races) == "a"
    assert {"a 1", "bad 1", "a 2"} <= set(world.seen()) <= {"a 1", "bad 1", "a 2", "bad 2"}


def test_a_race_that_nobody_won_in_time_is_not_run_again(form: Form, world: World) -> None:
    gates = Gates()
    runs, step = runner(world, gates), doubling(world, form)

    @form.flow(durable=True)
    async def races() -> int:
        with pytest.raises(WaitTimeoutError):
            await decided(form, runs.submit("a"), runs.submit("b"), timeout=0.05)
        return int(await call(step, 1))

    run_id = world.crashes(form, races, at="step 1")
    gates.let_all()
    assert world.seen() == ["a", "b", "step 1"]

    assert world.resumes(form, run_id) == 2
    assert world.seen() == ["step 1"]


def test_who_wins_is_on_record_before_the_next_step_begins(form: Form, world: World) -> None:
    """The process ends when that step is the last thing that was recorded: then the race is, too."""
    gates = Gates("b")
    runs, step = runner(world, gates), doubling(world, form)

    @form.flow(durable=True)
    async def races() -> list[int]:
        won = await decided(form, runs.submit("a"), runs.submit("b"))
        return [won.index, await call(step, won.index), await call(step, 10)]

    for left in range(1, 12):
        gates.all = False
        with world.runtime():
            world.left = left
            try:
                form.run(races)
                break
            except BaseException:
                ran = world.seen()
        if "step 1" not in ran:
            continue
        gates.let_all()
        assert world.resumes(form, world.flow_runs()[-1].id) == [1, 2, 20]
        assert not {"a", "b"} & set(world.seen())


# -- coroutines ----------------------------------------------------------------------------------------------


def test_coroutines_that_lost_are_not_gone_through_again(world: World) -> None:
    form, gates = Form("async"), Gates("b")
    runs, step = runner(world, gates), doubling(world, form)
    began: list[str] = []

    async def branch(name: str) -> str:
        began.append(name)
        await step(1)
        came: str = await runs(name)
        return came

    @flow(durable=True)
    async def races() -> list[Any]:
        won = await aio.race(branch("a"), branch("b"))
        return [won.index, won.value, await step(100)]

    run_id = world.crashes(form, races, at="step 100")
    assert sorted(world.seen()) == ["a", "b", "step 1", "step 1", "step 100"]
    began.clear()

    gates.let_all()
    assert world.resumes(form, run_id) == [1, "b", 200]
    assert world.seen() == ["step 100"]
    assert began == ["b"]


def test_equal_calls_race_and_are_told_from_those_that_follow(world: World) -> None:
    form = Form("async")
    latches = [Latch() for _ in range(5)]
    came: list[Any] = []
    step = doubling(world, form)

    @task
    async def ask() -> int:
        turn = len([one for one in world.ran if one == "ask"])
        world.visit("ask")
        await latches[turn].passed()
        return turn

    @flow(durable=True)
    async def races() -> Any:
        won, other = await aio.race(ask(), ask()), await aio.race(ask.submit(), ask.submit())
        came.append((won, other, await ask()))
        return await step(100)

    for turn in (1, 2, 4):
        latches[turn].open()
    run_id = world.crashes(form, races, at="step 100")
    for latch in latches:
        latch.open()
    world.seen()

    assert world.resumes(form, run_id) == 200
    assert world.seen() == ["step 100"]
    assert came[0] == came[1]


def test_what_branches_draw_is_each_their_own(world: World) -> None:
    form, gates = Form("async"), Gates("b")
    runs, step = runner(world, gates), doubling(world, form)

    async def branch(name: str) -> float:
        number = durable.random()
        await runs(name)
        return number

    seen: list[float] = []

    @flow(durable=True)
    async def races() -> int:
        seen.append((await aio.race(branch("a"), branch("b"))).value)
        return int(await step(1))

    run_id = world.crashes(form, races, at="step 1")
    gates.let_all()
    world.resumes(form, run_id)

    assert seen[0] == seen[1]


def test_what_a_branch_gives_need_not_be_recordable(world: World) -> None:
    form = Form("async")
    step = doubling(world, form)

    async def connects() -> Any:
        await step(1)
        return Latch()

    @flow(durable=True)
    async def races() -> bool:
        won = await aio.race(connects())
        return isinstance(won.value, Latch) and bool(await step(2))

    assert world.survives(form, races, at="step 2") is True


def test_branches_race_within_branches(world: World) -> None:
    form, gates = Form("async"), Gates("b", "d", "cd")
    runs, step = runner(world, gates), doubling(world, form)

    async def pair(first: str, second: str) -> str:
        won = await aio.race(runs(first), runs(second))
        await gates.passed(f"{first}{second}")
        return str(won.value)

    @flow(durable=True)
    async def races() -> list[Any]:
        won = await aio.race(pair("a", "b"), pair("c", "d"))
        return [won.index, won.value, await step(1)]

    run_id = world.crashes(form, races, at="step 1")
    gates.let_all()
    world.seen()

    assert world.resumes(form, run_id) == [1, "d", 2]
    assert world.seen() == ["step 1"]


# -- nested, swept, gone through -----------------------------------------------------------------------------


def test_races_in_tasks_and_subflows_are_recorded_too(form: Form, kind: str, world: World) -> None:
    gates = Gates("b")
    runs, step = runner(world, gates), doubling(world, form)

    @form.decorate(kind)
    async def below() -> int:
        won = await decided(form, runs.submit("a"), runs.submit("b"))
        return int(await call(step, won.index))

    @form.flow(durable=True)
    async def races() -> int:
        return int(await call(below))

    run_id = world.crashes(form, races, at="step 1")
    gates.let_all()
    world.seen()

    assert world.resumes(form, run_id) == 2
    assert world.seen() == ["step 1"]


def test_a_crash_at_any_commit_changes_nothing_of_a_race(form: Form) -> None:
    never = Latch()

    @task
    async def runs(name: str) -> str:
        if name == "a":
            await never.passed()
        return name

    step = form.task()(_given)

    @form.flow(durable=True)
    async def races() -> list[Any]:
        won = await decided(form, runs.submit("a"), runs.submit("b"))
        return [won.index, won.value, await call(step, 1)]

    sweep = crash_at_every_commit(races)

    assert (sweep.value, sweep.points >= 6) == ([1, "b", 1], True)


async def _given(x: int) -> int:
    return x


def test_a_crash_at_any_commit_changes_nothing_of_branches() -> None:
    never = Latch()
    step = task(_given)

    async def branch(name: str) -> str:
        await step(1)
        if name == "a":
            await never.passed()
        return name

    @flow(durable=True)
    async def races() -> list[Any]:
        won = await aio.race(branch("a"), branch("b"))
        return [won.index, won.value, await step(1)]

    sweep = crash_at_every_commit(races)

    assert (sweep.value, sweep.points >= 6) == ([1, "b", 1], True)


def test_a_history_with_a_race_is_gone_through(world: World) -> None:
    form, gates = Form("async"), Gates("b")
    runs, step = runner(world, gates), doubling(world, form)

    @flow(durable=True)
    async def races() -> list[Any]:
        won = await aio.race(runs("a"), runs("b"))
        other = await aio.race(runs.submit("c"), runs.submit("b"))
        return [won.index, other.index, await step(1)]

    with world.runtime():
        assert form.run(races) == [1, 1, 2]
        world.seen()
        (run,) = world.roots()
        assert replay(run, races).outcome == "same"
    assert world.seen() == []


def test_a_race_of_fewer_than_recorded_is_noticed(form: Form, world: World) -> None:
    gates = Gates("b")
    runs, step = runner(world, gates), doubling(world, form)
    names = ["a", "b"]

    @form.flow(durable=True)
    async def races() -> None:
        await decided(form, *[runs.submit(name) for name in names])
        await call(step, 1)

    run_id = world.crashes(form, races, at="step 1")
    names.pop()
    gates.let_all()

    with pytest.raises(NonDeterministicFlow, match=r"race\(\) in Flow run .* the one at 1\. .* not recorded: 1 in all"):
        world.resumes(form, run_id)
