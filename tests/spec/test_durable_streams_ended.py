"""Streams over a cursor in durable flows that end in all ways: by failures, early, by crashes at every commit."""

from __future__ import annotations

import itertools
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from headrace import flow, task
from headrace.durable import Cursor
from headrace.testing import crash_at_every_commit, headrace_test_harness, replay
from headrace.transactions import transaction
from tests.chaos.processes import Child
from tests.contract.postgres_server import Server
from tests.spec import streamed
from tests.spec.cursors import Numbered
from tests.spec.durable_crashes import STORES, World, doubling
from tests.spec.forms import Form, call
from tests.spec.seen import application
from tests.spec.streaming import read


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


# -- failures ---------------------------------------------------------------------------------------------------


def test_a_recorded_failure_is_given_again_in_its_place(form: Form, world: World) -> None:
    last, source = doubling(world, form, name="last"), Numbered(3)

    @form.task()
    async def fails(x: int) -> int:
        world.visit(f"fails {x}")
        if x == 2:
            raise LookupError(f"no {x}")
        return x

    @form.flow(durable=True)
    async def streams() -> list[Any]:
        states = await read(form, fails.stream(source.cursor(), return_state=True))
        await call(last, 9)
        return [state.result() if state.is_completed() else repr(state.data) for state in states]

    run_id = world.crashes(form, streams, at="last 9")
    world.seen()
    source.seen()

    assert world.resumes(form, run_id) == [1, "LookupError('no 2')", 3]
    assert (world.seen(), source.seen()) == (["last 9"], ([], []))


def test_a_retry_of_the_flow_reads_and_runs_the_failed_items_alone(form: Form, world: World) -> None:
    source, attempts = Numbered(5), itertools.count()

    @form.task()
    async def flaky(x: int) -> int:
        world.visit(f"flaky {x}")
        if x == 3 and not next(attempts):
            raise ConnectionError
        return x

    @form.flow(durable=True, retries=1)
    async def streams() -> list[int]:
        states = await read(form, flaky.stream(source.cursor(), limit=1, return_state=True))
        return [state.result() for state in states]

    with world.runtime():
        assert form.run(streams) == [1, 2, 3, 4, 5]
    assert world.seen() == [*(f"flaky {x}" for x in range(1, 6)), "flaky 3"]
    assert source.seen() == ([None, 2], [1, 2, 3, 4, 5, 3])


def test_a_source_that_fails_is_read_on_by_the_next_attempt(form: Form, world: World) -> None:
    step, source = doubling(world, form), Numbered(4)
    attempts = itertools.count()

    def falters(after: int | None) -> Any:
        for number, item in source.read(after):
            if number == 3 and not next(attempts):
                raise ConnectionError
            yield number, item

    @form.flow(durable=True, retries=1)
    async def streams() -> list[int]:
        return await read(form, step.stream(Cursor(falters), limit=1))

    with world.runtime():
        assert form.run(streams) == [2, 4, 6, 8]
    assert world.seen() == [f"step {x}" for x in range(1, 5)]
    assert source.seen()[0] == [None, 2]


def test_an_item_whose_recorded_result_is_lost_is_read_and_run_again(form: Form, tmp_path: Path) -> None:
    world, source = World("sqlite", tmp_path), Numbered(4)
    last = doubling(world, form, name="last")

    @form.task()
    async def large(x: int) -> bytes:
        world.visit(f"large {x}")
        return bytes(1_000_000) if x == 2 else b""

    @form.flow(durable=True)
    async def streams() -> int:
        found = await read(form, large.stream(source.cursor(), limit=1))
        await call(last, 9)
        return sum(map(len, found))

    run_id = world.crashes(form, streams, at="last 9")
    world.seen()
    source.seen()
    shutil.rmtree(tmp_path / "results")

    assert world.resumes(form, run_id) == 1_000_000
    assert (world.seen(), source.seen()) == (["large 2", "last 9"], ([1], [2]))


def test_an_item_from_the_record_is_undone_with_the_transaction_around_its_stream(form: Form, world: World) -> None:
    def undo(_transaction: Any) -> None:
        world.visit("undo")

    step = doubling(world, form, task_run_name="doubles {x}", on_rollback=[undo])
    last, source = doubling(world, form, name="last"), Numbered(3)

    @form.flow(durable=True)
    async def streams() -> None:
        with suppress(LookupError), transaction():
            await read(form, step.stream(source.cursor(), limit=1))
            await call(last, 9)
            raise LookupError

    run_id = world.crashes(form, streams, at="last 9")
    world.seen()
    source.seen()

    world.resumes(form, run_id)
    assert (world.seen(), source.seen()) == (["last 9", "undo", "undo", "undo"], ([], []))
    assert [(run.state.name, run.name) for run in world.task_runs()[:3]] == [
        ("RolledBack", f"doubles {x}") for x in (1, 2, 3)
    ]


# -- left early -------------------------------------------------------------------------------------------------


def test_items_that_ended_and_were_not_handed_on_are_no_steps_that_are_missed(form: Form, world: World) -> None:
    step, last, source = doubling(world, form), doubling(world, form, name="last"), Numbered(50)

    @form.flow(durable=True)
    async def streams() -> int:
        limit = 20 if world.fatal else 1
        (first,) = await read(form, step.stream(source.cursor(), limit=limit), lambda _result: True)
        value: int = await call(last, first)
        return value

    run_id = world.crashes(form, streams, at="last 2")
    source.seen()

    assert world.resumes(form, run_id) == 4
    assert source.seen() == ([], [])


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_what_reads_is_ended_with_the_stream(kind: str) -> None:
    form, source = Form("async"), Numbered(50)

    @task
    async def step(x: int) -> int:
        return x

    @flow
    async def streams() -> list[int]:
        return await read(form, step.stream(source.cursor(kind), limit=2), lambda _result: not source.closed)

    assert form.run(streams) == [1]
    assert source.closed == 1


def test_so_it_is_in_a_sync_flow() -> None:
    source = Numbered(50)

    @task
    def step(x: int) -> int:
        return x

    @flow
    def streams() -> tuple[int, int]:
        stream = step.stream(source.cursor(), limit=2)
        with stream as results:
            first = next(iter(results))
        return first, source.closed

    assert streams() == (1, 1)


# -- crashes ----------------------------------------------------------------------------------------------------


def swept(form: Form, **options: Any) -> Any:
    """Give a durable flow of two streams, and a step behind them, that fails if the inputs come otherwise."""
    source = Numbered(5)

    @form.task()
    async def double(x: int) -> int:
        return 2 * x

    @form.task()
    async def fail(x: int) -> int:
        raise LookupError(x)

    @form.flow(durable=True)
    async def streams() -> list[Any]:
        found = await read(form, double.stream(source.cursor(), **options))
        states = await read(form, fail.stream(source.cursor(), return_state=True, **options))
        return [await call(double, sum(found)), sorted(str(state.data) for state in states)]

    return streams


@pytest.mark.parametrize("options", [{"limit": 1}, {"limit": 3}, {"limit": 3, "ordered": False}], ids=str)
def test_a_crash_at_any_commit_changes_nothing_and_runs_no_recorded_step_again(
    form: Form, options: dict[str, Any]
) -> None:
    sweep = crash_at_every_commit(swept(form, **options))

    assert sweep.value == [60, ["1", "2", "3", "4", "5"]]
    assert sweep.points >= 8


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
@pytest.mark.parametrize("name", ["awaits", "blocks"])
def test_a_killed_process_is_followed_by_one_that_reads_on(
    name: str, store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    url = f"sqlite:///{home / 'headrace.db'}"
    if store == "postgres":
        server: Server = request.getfixturevalue("postgresql")
        url = server.url(server.database())

    ends = [Child("tests.spec.streamed", name, home=home, HEADRACE_DATABASE_URL=url).ended() for _ in range(4)]

    assert [end.status for end in ends] == [-9, -9, -9, 0], ends[-1].err
    assert ends[-1].out == f"{list(range(1, streamed.COUNT + 1))}\n"
    ledger = (home / "ledger").read_text().splitlines()
    for x in range(1, streamed.COUNT + 1):
        handed_on = ledger.index(f"on {x}")
        assert not {f"read {x}", f"ran {x}"} & set(ledger[handed_on:])
    reads = sum(line.startswith("read") for line in ledger)
    assert streamed.COUNT < reads <= streamed.COUNT + len(streamed.FATAL) * streamed.LIMIT


# -- what is seen of it -----------------------------------------------------------------------------------------


def test_a_history_is_gone_through_without_its_source(form: Form) -> None:
    source = Numbered(3)

    @form.task()
    async def double(x: int) -> int:
        return 2 * x

    @form.flow(durable=True)
    async def streams() -> list[int]:
        return await read(form, double.stream(source.cursor()))

    with headrace_test_harness() as harness:
        form.run(streams)
        source.seen()
        verdict = replay(harness.flow_runs()[0].id, streams)

    assert (verdict.outcome, verdict.value) == ("same", [2, 4, 6])
    assert source.seen() == ([], [])


def test_items_from_the_record_have_the_spans_that_they_had(form: Form, world: World) -> None:
    step, source = doubling(world, form), Numbered(4)

    @form.flow(durable=True)
    async def streams() -> list[int]:
        return await read(form, step.stream(source.cursor(), limit=1))

    with application() as tracing:
        run_id = world.crashes(form, streams, at="step 3")
        before = {span.id: span for span in tracing.spans().all if span.name == "step" and span.status == "OK"}
        tracing.exporter.clear()
        world.resumes(form, run_id)
        after = {span.id: span for span in tracing.spans().all if span.name == "step"}

    assert (len(before), len(after)) == (2, 4)
    for known, span in before.items():
        assert (after[known].run_id, after[known].parent) == (span.run_id, span.parent)
        assert abs(after[known].start - span.start) < 1_000
