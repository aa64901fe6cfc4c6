"""On every store: a durable run that came to a bad end is one's who retries it, and stands as another attempt."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from headrace._engine.journal import Journal
from headrace._model.records import Owned
from headrace._ports import Batch, Store
from headrace._resuming import claims
from headrace._resuming import looked_at as resumable
from headrace._retrying import looked_at, reopened
from headrace.errors import NotResumable, NotRetryable, RunHeld, StaleRuns
from tests.contract.stores import NOON, SECOND, batch, flow_id, flow_row, task_row
from tests.contract.test_owners import begins, goes_on

FAILED: dict[str, Any] = {"state_type": "FAILED", "state_name": "Failed", "message": "no", "durability": "strict"}


def journal(owner: str, at: int = 60) -> Journal:
    """Give the journal of a process called *owner*, *at* seconds after noon."""
    made = Journal(draw=str, level="batched", now=lambda: NOON + at * SECOND)
    made.owner = owner
    return made


def fails(number: int) -> Batch:
    """Give the batch in which a durable run fails."""
    more: dict[str, Any] = {"tags": ["blue"], "parameters": {"x": 1}, "entrypoint": "orders:place"}
    made = batch(flow_row(number, **FAILED, **more, step_id=flow_id(number)), task_row(1, of=number), strict=True)
    made.fences[flow_id(number)] = 1
    made.released.append(flow_id(number))
    return made


async def retry(store: Store, owner: str, at: int = 60, *, anew: bool = False) -> None:
    """Have the process *owner* retry the run."""
    run, owned = await looked_at(store, journal(owner, at), flow_id(1))
    past = await reopened(store, journal(owner, at), run, owned, anew)
    assert past.root is not None
    claims.clear()  # those of another process


async def test_it_is_its_retrier_s_and_all_else_on_record_of_it_stays(store: Store) -> None:
    await store.append(begins(1))
    await store.append(fails(1))
    (before,) = await store.flow_runs()

    await retry(store, "two")

    (run,) = await store.flow_runs()
    assert (run.state.name, run.state.message, run.epoch, run.run_count) == ("AwaitingRetry", "Retried by hand", 2, 2)
    assert (run.end_time, run.owner) == (None, "two")
    assert [name for _, name, _, _ in run.transitions] == ["Running", "Failed", "AwaitingRetry"]
    for kept in ("name", "tags", "parameters", "entrypoint", "start_time", "durability", "step_id"):
        assert getattr(run, kept) == getattr(before, kept), kept
    assert await store.owners.listed() == [Owned(flow_id(1), "two", 2, NOON + 60 * SECOND, 0, 1)]
    with pytest.raises(StaleRuns):
        await store.append(goes_on(1, 2))


async def test_as_a_whole_it_is_called_otherwise_each_time(store: Store) -> None:
    await store.append(begins(1))
    await store.append(fails(1))
    names: set[str | None] = {flow_id(1)}

    for at in (60, 120):  # the first one's process has ended by then
        await retry(store, f"at {at}", at, anew=True)
        (run,) = await store.flow_runs()
        names.add(run.step_id)

    assert len(names) == 3


async def test_of_two_that_retry_it_at_once_one_does(store: Store) -> None:
    await store.append(begins(1))
    await store.append(fails(1))
    came: list[bool] = []

    async def retries(owner: str) -> None:
        try:
            await retry(store, owner)
            came.append(True)
        except RunHeld:
            came.append(False)

    async with anyio.create_task_group() as group:
        group.start_soon(retries, "two")
        group.start_soon(retries, "three")

    (run,) = await store.flow_runs()
    assert (sorted(came), run.epoch, run.run_count) == ([False, True], 2, 2)


async def test_one_whose_retrier_ended_before_it_said_so_stays_failed_and_can_be_retried(store: Store) -> None:
    await store.append(begins(1))
    await store.append(fails(1))
    assert await store.owners.reopen(Owned(flow_id(1), "two", 2, NOON))
    with pytest.raises(NotResumable, match="it has ended as Failed"):
        await resumable(store, journal("three"), flow_id(1))
    await retry(store, "three")

    (run,) = await store.flow_runs()
    assert (run.state.name, run.epoch, run.run_count) == ("AwaitingRetry", 3, 2)


async def test_one_that_rests_is_not_retried(store: Store) -> None:
    rests = batch(flow_row(1, state_type="PAUSED", state_name="Suspended", end_time=None, durability="strict"))
    await store.append(rests)

    with pytest.raises(NotRetryable, match="it is Suspended"):
        await looked_at(store, journal("two"), flow_id(1))
