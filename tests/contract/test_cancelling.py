"""On every store: a durable run that was left behind can be cancelled, by one, and is nobody's from then on."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from headrace._cancelling import cancel_left_behind
from headrace._model.records import FlowRun, nanoseconds
from headrace._ports import Store
from headrace.errors import RunHeld, StaleRuns
from tests.contract.stores import NOON, SECOND, batch, flow_id, flow_row, prefix, task_row
from tests.contract.test_owners import GOING, begins, goes_on
from tests.contract.test_results import claim
from tests.contract.test_suspended import PAUSED, suspends

LATE = NOON + 60 * SECOND  # when an owner without a lease is taken to have ended
WHY = "somebody asked for it"


async def the_run(store: Store, number: int = 1) -> FlowRun:
    (run,) = await store.flow_runs(begins=flow_id(number))
    return run


async def cancel(store: Store, owner: str = "two", at: int = LATE) -> bool:
    return await cancel_left_behind(store, await the_run(store), WHY, owner, at)


async def test_it_ends_as_cancelled_and_is_nobody_s(store: Store) -> None:
    """All else that is on record of it stays."""
    begun = begins(1)
    more: dict[str, Any] = {"tags": ["blue"], "parameters": {"x": 1}, "entrypoint": "orders:place"}
    begun.flow_runs[:] = [flow_row(1, **GOING, **more, owner="one")]
    await store.append(begun)
    await store.append(goes_on(1, 1))
    before = await the_run(store)

    assert await cancel(store)

    run = await the_run(store)
    assert (run.state.name, run.state.message, run.epoch) == ("Cancelled", WHY, 2)
    assert run.end_time is not None
    assert nanoseconds(run.end_time) == LATE
    for kept in ("name", "tags", "parameters", "entrypoint", "start_time", "owner", "durability", "run_count"):
        assert getattr(run, kept) == getattr(before, kept), kept
    assert await store.owners.listed() == []
    assert not await cancel(store)


@pytest.mark.parametrize("store", ["postgresql", "sqlite"], indirect=True)
async def test_what_was_under_way_in_it_has_crashed_with_its_process(store: Store) -> None:
    await store.append(begins(1))
    within = batch(
        flow_row(2, **GOING, owner="one", parent_id=flow_id(1)),
        task_row(1, state_type="RUNNING", end_time=None),
        task_row(1, of=2, state_type="RUNNING", end_time=None),
    )
    await store.append(within)

    assert await cancel(store)

    run, below = await the_run(store), await the_run(store, 2)
    assert [name for _, name, _, _ in run.transitions] == ["Running", "Crashed", "Cancelled"]
    assert below.state.message == "Its process ended without a word: one"
    tasks = [*await store.task_runs(prefix(1)), *await store.task_runs(prefix(2))]
    assert [task.state.name for task in tasks] == ["Crashed", "Crashed"]


async def test_who_saw_it_before_cannot_take_it_any_more_nor_write_for_it(store: Store) -> None:
    await store.append(begins(1))
    (seen,) = await store.owners.listed()

    await cancel(store)

    assert not await store.owners.take(seen, "three", now=LATE, crashes=0, steps=0)
    with pytest.raises(StaleRuns):
        await store.append(goes_on(1, 1))
    assert (await the_run(store)).state.name == "Cancelled"


@pytest.mark.parametrize("taken", [False, True])
async def test_one_that_a_process_has_is_left_to_that(store: Store, taken: bool) -> None:
    await store.append(begins(1))
    if taken:
        (seen,) = await store.owners.listed()
        await store.owners.take(seen, "three", now=LATE - SECOND, crashes=0, steps=0)
    else:
        await store.results.claim("process one", "one", now=LATE, until=LATE + SECOND)

    with pytest.raises(RunHeld):
        await cancel(store)

    assert (await the_run(store)).state.name == "Running"
    assert len(await store.owners.listed()) == 1


async def test_one_that_its_living_process_gave_up_is_cancelled(store: Store) -> None:
    """A runtime that is left, or SIGTERM, has it end as Crashed; it then waits for who takes it up."""
    await store.append(begins(1))
    given_up = batch(flow_row(1, state_type="CRASHED", state_name="Crashed", durability="strict", epoch=1), strict=True)
    given_up.fences[flow_id(1)] = 1
    await store.append(given_up)
    await claim(store, "one", 0, name="process one")

    assert await cancel(store, at=NOON + SECOND)


async def test_of_two_that_cancel_it_at_once_one_does(store: Store) -> None:
    await store.append(begins(1))
    came: list[bool] = []

    async def cancels(owner: str) -> None:
        try:
            came.append(await cancel(store, owner))
        except RunHeld:
            came.append(False)

    async with anyio.create_task_group() as group:
        group.start_soon(cancels, "two")
        group.start_soon(cancels, "three")

    assert sorted(came) == [False, True]
    assert (await the_run(store)).epoch == 2


async def test_a_run_that_is_not_durable_is_nobody_s_to_cancel(store: Store) -> None:
    await store.append(batch(flow_row(1, **{**GOING, "durability": "batched"}, owner="one")))

    assert not await cancel(store)
    assert (await the_run(store)).state.name == "Running"


@pytest.mark.parametrize("store", ["postgresql", "sqlite"], indirect=True)
async def test_one_that_is_suspended_ends_at_once_with_all_that_waits_in_it(store: Store) -> None:
    await store.append(begins(1))
    within = batch(
        flow_row(2, **PAUSED, parent_id=flow_id(1)),
        task_row(1, state_type="RUNNING", end_time=None),
        task_row(2),
    )
    await store.append(within)
    went = [["RUNNING", "Running", NOON, None], ["PAUSED", "Suspended", NOON + SECOND, "It sleeps."]]
    made = suspends(1, None)
    made.flow_runs[0] = flow_row(1, **PAUSED, history=went)
    await store.append(made)

    assert await cancel(store, at=NOON + 2 * SECOND)

    run, below = await the_run(store), await the_run(store, 2)
    assert [name for _, name, _, _ in run.transitions] == ["Running", "Suspended", "Cancelled"]
    assert (run.state.message, run.epoch, below.state.name) == (WHY, 2, "Cancelled")
    assert [task.state.name for task in await store.task_runs(prefix(1))] == ["Cancelled", "Completed"]
    assert await store.owners.one(run.id) is None
    assert not await cancel(store)
