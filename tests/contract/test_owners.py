"""What every store promises of durable runs: one process has each, and what another writes of it is refused."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from headrace._model.ids import run_id
from headrace._model.records import Owned
from headrace._ports import Batch, Store
from headrace.errors import StaleRuns
from tests.contract.stores import NOON, SECOND, batch, flow_id, flow_row, log_row, prefix, task_row
from tests.contract.test_results import claim, keep, persisted, result

GOING: dict[str, Any] = {"state_type": "RUNNING", "state_name": "Running", "end_time": None, "durability": "strict"}


def begins(number: int, owner: str = "one", at: int = 0) -> Batch:
    """Give the batch in which a durable run begins."""
    made = batch(flow_row(number, **GOING, owner=owner), strict=True)
    made.owned.append((flow_id(number), owner, 1, NOON + at))
    made.fences[flow_id(number)] = 1
    return made


def goes_on(number: int, step: int, epoch: int = 1) -> Batch:
    """Give a batch in which a durable run took a step."""
    made = batch(task_row(step, of=number), log_row(step, f"step {step}", of=flow_id(number)), strict=True)
    made.fences[flow_id(number)] = epoch
    return made


def ends(number: int, epoch: int = 1) -> Batch:
    """Give the batch in which a durable run ends."""
    made = batch(flow_row(number, durability="strict", epoch=epoch), strict=True)
    made.fences[flow_id(number)] = epoch
    made.released.append(flow_id(number))
    return made


async def test_who_begins_a_run_has_it_until_it_ends(store: Store) -> None:
    await store.append(begins(2, at=2))
    await store.append(begins(1, at=3))

    assert await store.owners.listed() == [Owned(flow_id(2), "one", 1, NOON + 2), Owned(flow_id(1), "one", 1, NOON + 3)]
    await store.append(goes_on(2, 1))
    await store.append(ends(2))
    assert [one.run_id for one in await store.owners.listed()] == [flow_id(1)]


async def test_a_run_is_taken_by_one_of_those_who_saw_the_same(store: Store) -> None:
    await store.append(begins(1))
    (seen,) = await store.owners.listed()

    assert await store.owners.take(seen, "two", now=NOON + 5, crashes=1, steps=7)
    assert not await store.owners.take(seen, "three", now=NOON + 5, crashes=1, steps=7)
    assert await store.owners.listed() == [Owned(flow_id(1), "two", 2, NOON + 5, 1, 7)]
    assert not await store.owners.take(Owned(flow_id(9), "one", 1, NOON), "two", now=NOON, crashes=0, steps=0)


async def test_what_is_written_of_a_run_that_another_has_is_refused_with_all_beside_it(store: Store) -> None:
    await store.append(begins(1))
    await store.append(begins(2))
    await store.append(goes_on(1, 1))
    (first, _) = await store.owners.listed()
    await store.owners.take(first, "two", now=NOON, crashes=0, steps=1)

    late = goes_on(1, 2)
    late.flow_runs.append(flow_row(3))
    late.fences[flow_id(2)] = 1
    with pytest.raises(StaleRuns) as caught:
        await store.append(late)

    assert caught.value.run_ids == (flow_id(1),)
    assert [run.id for run in await store.task_runs(prefix(1))] == [run_id(prefix(1), 1)]
    assert [run.name for run in await store.flow_runs()] == ["run-2", "run-1"]
    assert [line.message for line in await store.logs([flow_id(1)])] == ["step 1"]
    await store.append(goes_on(1, 2, epoch=2))
    await store.append(goes_on(2, 1))
    assert len(await store.task_runs(prefix(1))) == 2


async def test_what_is_written_of_a_run_that_ended_elsewhere_is_refused(store: Store) -> None:
    await store.append(begins(1))
    (seen,) = await store.owners.listed()
    await store.owners.take(seen, "two", now=NOON, crashes=0, steps=0)
    await store.append(ends(1, epoch=2))

    for late in (goes_on(1, 1), ends(1)):
        with pytest.raises(StaleRuns):
            await store.append(late)
    (run,) = await store.flow_runs()
    assert (run.state.name, run.epoch) == ("Completed", 2)


async def test_a_run_that_ended_is_owned_anew_by_one_of_those_who_saw_its_end(store: Store) -> None:
    await store.append(begins(1))
    await store.append(ends(1))

    assert await store.owners.reopen(Owned(flow_id(1), "two", 2, NOON + 5, 0, 7))
    assert not await store.owners.reopen(Owned(flow_id(1), "three", 2, NOON + 5, 0, 7))
    assert await store.owners.listed() == [Owned(flow_id(1), "two", 2, NOON + 5, 0, 7)]
    with pytest.raises(StaleRuns):
        await store.append(goes_on(1, 1))
    await store.append(goes_on(1, 1, epoch=2))
    await store.append(ends(1, epoch=2))
    assert not await store.owners.reopen(Owned(flow_id(1), "three", 2, NOON + 9, 0, 7))
    assert await store.owners.listed() == []


async def test_a_run_that_is_not_there_or_goes_on_is_not_owned_anew(store: Store) -> None:
    await store.append(begins(1))

    assert not await store.owners.reopen(Owned(flow_id(1), "two", 2, NOON, 0, 0))
    assert not await store.owners.reopen(Owned(flow_id(9), "two", 2, NOON, 0, 0))
    assert [one.owner for one in await store.owners.listed()] == ["one"]


async def test_nobody_takes_a_run_amid_what_its_owner_writes(store: Store) -> None:
    await store.append(begins(1))
    (seen,) = await store.owners.listed()
    steps: list[int] = []

    async def writes() -> None:
        try:
            while True:
                await store.append(goes_on(1, len(steps) + 1))
                steps.append(len(steps) + 1)
                await anyio.lowlevel.checkpoint()
        except StaleRuns:
            return

    async with anyio.create_task_group() as group:
        group.start_soon(writes)
        while not steps:
            await anyio.lowlevel.checkpoint()
        assert await store.owners.take(seen, "two", now=NOON, crashes=0, steps=0)

    assert len(await store.task_runs(prefix(1))) == len(steps)


async def test_a_run_that_is_deleted_is_nobody_s(store: Store) -> None:
    await store.append(begins(1))
    await store.delete(flow_id(1))

    assert await store.owners.listed() == []


async def test_leases_are_found_by_the_beginning_of_their_names(store: Store) -> None:
    for name in ("process:a", "process:b", "result:c"):
        await claim(store, "one", 0, name=name)

    until = NOON + 10 * SECOND
    assert await store.owners.leases("process:") == {"process:a": until, "process:b": until}
    assert await store.owners.leases("none") == {}


async def test_what_a_run_and_its_tasks_kept_is_found_by_what_their_ids_begin_with(store: Store) -> None:
    await keep(store, persisted(0), persisted(3), persisted(1, of=2), result("another"))

    assert await store.results.under(prefix(1)) == {flow_id(1): persisted(0), run_id(prefix(1), 3): persisted(3)}


async def test_runs_that_have_not_ended_are_listed_oldest_first(store: Store) -> None:
    await store.append(batch(flow_row(3, **GOING), flow_row(2), flow_row(1, **GOING)))

    assert [run.name for run in await store.unfinished()] == ["run-1", "run-3"]


async def test_a_run_whose_process_ended_can_be_said_to_have_crashed(store: Store) -> None:
    if store.where == "memory:":
        pytest.skip("no run outlives the process that this store is in")
    await store.append(
        batch(
            flow_row(1, **GOING, owner="one"),
            flow_row(2, **GOING, owner="two", history=[["SCHEDULED", "Scheduled", NOON, None]]),
            task_row(1),
            task_row(2, state_type="RUNNING", end_time=None),
        )
    )
    first, second = await store.unfinished()

    assert await store.crash(first, "its process ended", NOON + 9 * SECOND)
    assert not await store.crash(first, "its process ended", NOON + 10 * SECOND)
    assert await store.crash(second, 'it "ended"', NOON + 9 * SECOND)

    runs = {run.name: run for run in await store.flow_runs()}
    tasks = await store.task_runs(prefix(1))
    assert (runs["run-1"].state.name, runs["run-1"].state.message) == ("Crashed", "its process ended")
    assert runs["run-1"].total_run_time == 8
    assert [name for _, name, _, _ in runs["run-1"].transitions] == ["Running", "Crashed"]
    assert [(name, said) for _, name, _, said in runs["run-2"].transitions] == [
        ("Scheduled", None),
        ("Crashed", 'it "ended"'),
    ]
    assert [task.state.name for task in tasks] == ["Completed", "Crashed"]
    assert tasks[1].transitions[-1][0] == "CRASHED"
    assert await store.unfinished() == []


async def test_a_run_that_another_process_has_by_now_is_not_said_to_have_crashed(store: Store) -> None:
    await store.append(batch(flow_row(1, **GOING, owner="one")))
    (seen,) = await store.unfinished()
    await store.append(batch(flow_row(1, **GOING, owner="two", epoch=2)))

    assert not await store.crash(seen, "its process ended", NOON + SECOND)

    (run,) = await store.unfinished()
    assert (run.owner, run.state.name) == ("two", "Running")
