"""Signals and durable flows: a crash neither loses nor doubles what was sent, and a resumed flow reads the same."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headrace import durable, flow, signals, task
from headrace.errors import StoreUnavailable
from headrace.testing import crash_at_every_commit, replay, virtual_time
from tests.spec.durable_crashes import NEVER, STORES, World, doubling, resume
from tests.spec.forms import Form, call
from tests.spec.sending import answer, ask, me, receive, request, send, to_myself

MINUTE = 60.0


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


def sent_to(world: World, run_id: str, name: str, *values: Any, **more: Any) -> None:
    """Send *values* to a run, from a program of its own."""
    with world.runtime():
        for value in values:
            signals.send(run_id, name, value, **more)


def unread(world: World, run_id: str) -> list[str]:
    """Give what the run *run_id* has not read, as JSON."""
    with world.runtime() as runtime:

        async def look() -> list[str]:
            return [one.data for one in await runtime.store.signals.unread([run_id])]

        return asyncio.run(look())


def test_what_was_read_before_a_crash_is_read_again_and_nothing_else(form: Form, world: World) -> None:
    step = doubling(world, form)
    seen: list[Any] = []

    @form.flow(durable=True)
    async def reads() -> list[Any]:
        await to_myself(form, "go", "1", [2], 3)
        await to_myself(form, "stop", None)
        found = [await receive(form, "go", int), await receive(form, "go"), await receive(form, "stop")]
        seen.append(found)
        await call(step, 1)
        await call(step, 2)
        return [*found, await receive(form, "go"), await receive(form, "go")]

    run_id = world.crashes(form, reads, at="step 2")
    assert unread(world, run_id) == ["3"]
    sent_to(world, run_id, "go", 4)

    assert world.resumes(form, run_id) == [1, [2], None, 3, 4]
    assert seen == [[1, [2], None], [1, [2], None]]
    assert unread(world, run_id) == []


def test_a_run_that_was_left_behind_is_sent_to_and_one_that_has_ended_is_not(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def reads() -> Any:
        await call(step, 1)
        return await receive(form, "go")

    run_id = world.crashes(form, reads, at="step 1")
    sent_to(world, run_id, "go", 1, key="a")
    sent_to(world, run_id, "go", 2, key="a")

    assert world.resumes(form, run_id) == 1
    with pytest.raises(signals.NotReceiving):
        sent_to(world, run_id, "go", 3)


def test_what_does_not_fit_is_refused_at_each_resume(form: Form, world: World) -> None:
    step = doubling(world, form)
    refused: list[str] = []

    @form.flow(durable=True)
    async def reads() -> Any:
        await to_myself(form, "go", "one", 2)
        try:
            await receive(form, "go", int)
        except signals.SignalTypeError as error:
            refused.append(str(error))
        await call(step, 1)
        return await receive(form, "go", int)

    assert world.survives(form, reads, at="step 1") == 2
    assert len(refused) == 2
    assert refused[0] == refused[1]


def test_a_resumed_flow_waits_only_for_the_rest_of_the_time(form: Form, world: World) -> None:
    went_on: list[Any] = []

    @form.flow(durable=True)
    async def reads() -> None:
        went_on.append(await receive(form, "go", timeout=10 * MINUTE, default="late"))

    with virtual_time() as clock:
        with world.runtime():
            world.left = 2  # the beginning, and when the time is over; not that it was
            with pytest.raises(StoreUnavailable):
                form.run(reads)
            assert clock.elapsed == pytest.approx(10 * MINUTE, abs=1)
        with world.runtime():
            (run,) = world.roots()

        world.resumes(form, run.id)

        assert went_on == ["late"]
        assert clock.elapsed == pytest.approx(10 * MINUTE, abs=1)


def test_that_nothing_came_in_time_is_on_record(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def reads() -> list[Any]:
        first = await receive(form, "go", timeout=0.01, default="late")
        await call(step, 1)
        return [first, await receive(form, "go")]

    run_id = world.crashes(form, reads, at="step 1")
    sent_to(world, run_id, "go", 1)

    assert world.resumes(form, run_id) == ["late", 1]


def test_a_resumed_flow_sends_and_answers_nothing_twice(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def talks() -> list[Any]:
        await to_myself(form, "go", 1, 1)
        asked = await request(form, "go")
        await answer(form, asked, durable.random())
        await call(step, 1)
        return [await receive(form, "go"), await receive(form, "go", timeout=0, default="nothing more")]

    assert world.survives(form, talks, at="step 1") == [1, "nothing more"]


def test_a_task_that_is_run_again_reads_the_same(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.task()
    async def inside() -> Any:
        found = await receive(form, "go")
        await call(step, 1)
        return found

    @form.flow(durable=True)
    async def reads() -> list[Any]:
        await to_myself(form, "go", 1, 2)
        return [await call(inside), await receive(form, "go")]

    assert world.survives(form, reads, at="step 1") == [1, 2]


def test_each_attempt_of_a_flow_reads_the_same(form: Form, world: World) -> None:
    tries: list[Any] = []

    @form.flow(durable=True, retries=1)
    async def reads() -> Any:
        await to_myself(form, "go", 1, 2)
        tries.append(await receive(form, "go"))
        if len(tries) == 1:
            raise ConnectionError
        return [*tries, await receive(form, "go")]

    with world.runtime():
        assert form.run(reads) == [1, 1, 2]


def test_a_subflow_that_is_run_again_reads_the_same(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow()
    async def part() -> list[Any]:
        await to_myself(form, "go", 1, 2)
        found = await receive(form, "go")
        await call(step, 1)
        return [found, await receive(form, "go")]

    @form.flow(durable=True)
    async def whole() -> Any:
        return await call(part)

    assert world.survives(form, whole, at="step 1") == [1, 2]


def talk(form: Form) -> Any:
    """Give a flow that sends, reads, waits in vain, asks itself and takes steps, and the steps that it has."""

    @form.task()
    async def double(x: int) -> int:
        return 2 * x

    @form.task()
    async def answers() -> None:
        asked = await request(form, "ask", int)
        await answer(form, asked, asked.value + 1)

    @form.flow(durable=True)
    async def talks() -> list[Any]:
        await to_myself(form, "go", 1, 2)
        await send(form, me(), "go", 3, key="a")
        found = [await call(double, await receive(form, "go", int)) for _ in range(2)]
        answering = answers.submit()
        asked = await ask(form, me(), "ask", 7, int)
        await form.got(answering)
        late = await receive(form, "no", timeout=0, default="late")
        await send(form, me(), "go", 4, key="a")
        return [*found, asked, late, await receive(form, "go"), await receive(form, "go", timeout=0, default="over")]

    return talks


def test_a_crash_before_or_after_any_commit_loses_and_doubles_nothing(form: Form) -> None:
    sweep = crash_at_every_commit(talk(form))

    assert sweep.value == [2, 4, 8, "late", 3, "over"]
    assert sweep.points >= 20


def test_a_crash_at_any_commit_in_a_file_loses_and_doubles_nothing(form: Form, tmp_path: Path) -> None:
    world, talks = World("sqlite", tmp_path), talk(form)
    commit = 0
    for commit in range(1, 100):
        with world.runtime():
            known = {run.id for run in world.roots()}
            world.left = commit
            try:
                assert form.run(talks) == [2, 4, 8, "late", 3, "over"]
            except (StoreUnavailable, ExceptionGroup):
                assert world.dead
            died = world.dead
        with world.runtime():
            (run_id,) = {run.id for run in world.roots()} - known
            if died and world.roots()[-1].state.name != "Completed":
                assert resume(form, run_id) == [2, 4, 8, "late", 3, "over"]
        if not died:
            break
    assert 8 < commit < 99


def test_a_commit_that_fails_leaves_the_signal_unread(form: Form, world: World) -> None:
    @form.flow(durable=True)
    async def reads() -> Any:
        await to_myself(form, "go", 1)
        return [await receive(form, "go"), await receive(form, "go", timeout=0, default="nothing more")]

    @form.flow()
    async def another() -> None:
        pass

    with world.runtime():
        world.left = 1
        with pytest.raises(StoreUnavailable):
            form.run(reads)
        world.dead, world.left = False, NEVER
        form.run(another)  # with which all is written that is owed
        run = world.roots()[0]
    assert unread(world, run.id) == ["1"]

    assert world.resumes(form, run.id) == [1, "nothing more"]


def test_a_history_is_gone_through_up_to_the_first_signal_that_is_not_on_record(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def reads() -> Any:
        await to_myself(form, "go", 1, 2)
        await call(step, await receive(form, "go"))
        await call(step, await receive(form, "go"))

    run_id = world.crashes(form, reads, at="step 1")
    with world.runtime():
        verdict = replay(run_id, reads)
    assert verdict.outcome == "goes on"
    assert unread(world, run_id) == ["2"]


def test_nothing_is_sent_or_received_in_a_step_transaction(tmp_path: Path) -> None:
    world, refused = World("sqlite", tmp_path), list[str]()

    @task
    def pays() -> str:
        with (
            closing(sqlite3.connect(tmp_path / "headrace.db", isolation_level=None)) as connection,
            durable.step_transaction(connection) as transaction,
        ):
            for does in (
                lambda: signals.send(me(), "go"),
                lambda: signals.receive("go"),
                lambda: signals.ask(me(), "go"),
            ):
                with pytest.raises(durable.StepTransactionError, match=r"(sends|receives|asks) 'go'") as caught:
                    does()
                refused.append(str(caught.value))
            return transaction.returns("paid")

    @flow(durable=True)
    def shop() -> str:
        return pays()

    with world.runtime():
        assert shop() == "paid"
    assert len(refused) == 3
