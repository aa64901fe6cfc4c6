"""Pauses and durable flows: the pause, its time and its answer are on record, whenever the process ends."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import aio, durable, flow, task
from headrace.errors import (
    CancelledRun,
    FlowPauseTimeout,
    InvalidRunInput,
    NotPausedError,
    PauseContextError,
    StoreUnavailable,
)
from headrace.testing import crash_at_every_commit, replay, virtual_time
from tests.spec.durable_crashes import STORES, World, doubling
from tests.spec.durable_crashes import resume as resumed
from tests.spec.forms import Form, Record, call
from tests.spec.pausing import People, pause, resume, stop, waiting
from tests.spec.sending import me

MINUTE = 60.0


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


@pytest.fixture
def people() -> Iterator[People]:
    found = People()
    yield found
    found.leave()


def dies_paused(world: World, form: Form, callee: Any, people: People, *answers: Any) -> str:
    """Call a flow whose process ends once it is paused, and has been answered; give the id of the run."""

    def kills() -> None:
        run = waiting()
        world.dead = True
        for given in answers:
            headrace.resume_flow_run(run, given)
        if not answers:
            stop(run)

    with world.runtime():
        people.begin(kills)
        with pytest.raises((StoreUnavailable, CancelledRun)):
            form.run(callee)
        people.leave()
    with world.runtime():
        return world.roots()[-1].id


def test_what_was_answered_before_a_crash_is_not_asked_again(form: Form, world: World, people: People) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def asks() -> list[int]:
        found = [await pause(form, int), await pause(form, int)]
        await call(step, found[0])
        return found

    people.resume(1, 2)
    assert world.survives(form, asks, at="step 1") == [1, 2]
    (run,) = world.flow_runs()
    assert [name for _, name, _, _ in run.transitions].count("Paused") == 2


def test_who_dies_with_the_answer_unread_reads_it_when_it_is_taken_up(form: Form, world: World, people: People) -> None:
    @form.flow(durable=True)
    async def asks() -> Any:
        return await pause(form, int) + await pause(form, int)

    run_id = dies_paused(world, form, asks, people, 1)

    with world.runtime():
        people.resume(2)
        assert resumed(form, run_id) == 3


def test_a_resumed_flow_waits_only_for_the_rest_of_the_time(form: Form, world: World, people: People) -> None:
    @form.flow(durable=True)
    async def asks() -> None:
        await pause(form, timeout=10 * MINUTE)

    run_id = dies_paused(world, form, asks, people)

    with virtual_time(start=datetime.now(UTC) + timedelta(minutes=4)) as clock:
        with pytest.raises(FlowPauseTimeout, match="was paused for 600 s"):
            world.resumes(form, run_id)
        assert 5 * MINUTE < clock.elapsed < 6 * MINUTE


def test_that_nobody_resumed_it_in_time_is_on_record(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def asks() -> str:
        with pytest.raises(FlowPauseTimeout):
            await pause(form, timeout=0)
        with pytest.raises(NotPausedError):
            await resume(form, me())
        await call(step, 1)
        return "went on"

    assert world.survives(form, asks, at="step 1") == "went on"


def test_an_input_that_was_refused_is_refused_at_each_resume(form: Form, world: World, people: People) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def asks() -> Any:
        found = await pause(form, list[int])
        await call(step, 1)
        return found

    people.answer_past_the_check("no list", [1])

    assert world.survives(form, asks, at="step 1") == [1]


def test_an_answer_that_does_not_fit_the_code_of_today_is_asked_for_again(
    form: Form, world: World, people: People
) -> None:
    step = doubling(world, form)
    kinds: list[Any] = [int]

    @form.flow(durable=True)
    async def asks() -> Any:
        found = await pause(form, kinds[0])
        await call(step, 1)
        return found

    people.resume(7)
    run_id = world.crashes(form, asks, at="step 1")
    kinds[0] = list[int]
    with world.runtime():
        people.resume([7])
        assert resumed(form, run_id) == [7]


def test_each_attempt_has_the_same_answers_and_asks_again_what_nobody_answered(
    form: Form, world: World, people: People
) -> None:
    tries: list[Any] = []

    @form.flow(durable=True, retries=1)
    async def asks() -> list[int]:
        tries.append(await pause(form, int))
        return [await pause(form, int, timeout=0 if len(tries) == 1 else None), *tries]

    people.resume(1, 2)
    with world.runtime():
        assert form.run(asks) == [2, 1, 1]


def test_a_durable_flow_resumes_another_one_once(form: Form, world: World, people: People) -> None:
    step = doubling(world, form)
    ids: list[str] = []

    @form.flow(durable=True)
    async def asks() -> Any:
        return await pause(form, int)

    @form.flow(durable=True)
    async def resumes() -> str:
        await resume(form, ids[0], 5)
        await call(step, 1)
        return "resumed"

    ids.append(dies_paused(world, form, asks, people))
    assert world.survives(form, resumes, at="step 1") == "resumed"

    assert world.resumes(form, ids[0]) == 5


def approving(form: Form) -> Any:
    """Give a flow whose subflow pauses twice, while a task of it resumes that."""

    ids: list[str] = []

    @form.flow()
    async def asks() -> list[Any]:
        ids.append(me())  # the future's is another one until it has begun
        first = await pause(form, int)
        with pytest.raises(FlowPauseTimeout):
            await pause(form, timeout=0)
        return [first, await pause(form, dict[str, int])]

    @form.task()
    async def answers(given: Any, *, last: bool) -> None:
        while True:
            try:
                return await resume(form, ids[-1] if ids else "none", given)
            except InvalidRunInput:
                if not last:
                    return None  # it waits for the next one: this was answered in a process before
            except NotPausedError as error:
                if "already" in str(error) or "ended" in str(error):
                    return None
            await call(asyncio.sleep if form.is_async else time.sleep, 0.001)

    @form.flow(durable=True)
    async def whole() -> Any:
        future = asks.submit()
        await call(answers, 7, last=False)
        await call(answers, {"a": 1}, last=True)
        return await form.got(future)

    return whole


def test_a_crash_before_or_after_any_commit_loses_and_doubles_no_answer(form: Form) -> None:
    sweep = crash_at_every_commit(approving(form))

    assert sweep.value == [7, {"a": 1}]
    assert sweep.points >= 16


def test_a_history_is_gone_through_up_to_the_pause(form: Form, world: World, people: People) -> None:
    @form.flow(durable=True)
    async def asks() -> None:
        await pause(form, int)
        await pause(form, int)

    run_id = dies_paused(world, form, asks, people)
    with world.runtime():
        verdict = replay(run_id, asks)
    assert verdict.outcome == "goes on"
    assert "pause_flow_run()" in str(verdict)


def test_no_flow_pauses_in_a_step_transaction(tmp_path: Path) -> None:
    world = World("sqlite", tmp_path)

    @flow
    def asks() -> None:
        headrace.pause_flow_run()

    @task
    def pays() -> str:
        with (
            closing(sqlite3.connect(tmp_path / "headrace.db", isolation_level=None)) as connection,
            durable.step_transaction(connection) as transaction,
        ):
            with pytest.raises(durable.StepTransactionError, match="calls flow 'asks'"):
                asks()
            return transaction.returns("paid")

    @flow(durable=True)
    def shop() -> str:
        return pays()

    with world.runtime():
        assert shop() == "paid"


def test_in_a_race_a_subflow_pauses_and_a_branch_is_told_so(record: Record) -> None:
    @flow(durable=True)
    async def part() -> int:
        return await aio.pause_flow_run(int)

    @flow(durable=True)
    async def races() -> int:
        with pytest.raises(PauseContextError, match=r"this is a branch of a race\. Race a subflow that pauses\."):
            await aio.race(aio.sleep(60), aio.pause_flow_run(int))
        return (await aio.race(aio.sleep(60), part())).value or 0

    people = People()
    people.resume(5)

    assert asyncio.run(races()) == 5
    people.leave()
