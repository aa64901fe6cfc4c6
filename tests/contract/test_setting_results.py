"""On every store: a step gets a result by hand while one process alone has its run, which is let go of then."""

from __future__ import annotations

from typing import Any

import pytest

from headrace._engine.past import Past
from headrace._model.records import Owned, StoredResult
from headrace._ports import Store
from headrace._retrying import looked_at, reopened
from headrace._setting_results import SET, rows_of, written
from headrace._suspects import given_up
from headrace.errors import RunHeld
from tests.contract.stores import NOON, SECOND, batch, flow_id, prefix, task_row
from tests.contract.test_owners import begins
from tests.contract.test_results import result
from tests.contract.test_retrying import fails, journal

LARGE = b'"' + b"x" * 5_000 + b'"'


async def settle(store: Store, data: bytes, among: list[Any] | None = None) -> None:
    """Give the first step of the run the result *data*; from what was seen before, if that is *among* what is given."""
    run, owned, step = among or await seen(store)
    made = result(step.id)._replace(run_id=step.id, data=data, size=len(data), created=NOON + 60 * SECOND)
    await written(store, journal("two"), run, owned, rows_of(step, made))


async def seen(store: Store) -> list[Any]:
    """Give the run, who had it, and its first step."""
    run, owned = await looked_at(store, journal("two"), flow_id(1))
    past = Past(run.id)
    await past.load(store)
    (step, *_) = [one for one in past.runs.values() if one.id != run.id]
    return [run, owned, step]


async def kept(store: Store) -> StoredResult:
    """Give what is on record of what the first step came to."""
    (found,) = (await store.results.under(prefix(1))).values()
    return found


@pytest.mark.parametrize("data", [b'"seven"', LARGE], ids=["small", "large"])
async def test_a_failed_run_stays_failed_and_nobody_s(store: Store, data: bytes) -> None:
    await store.append(begins(1))
    await store.append(fails(1))
    (before,) = await store.flow_runs()

    await settle(store, data)

    assert await store.flow_runs() == [before]
    assert await store.owners.listed() == []
    (step,) = await store.task_runs(prefix(1))
    assert (step.state.name, step.state.message) == ("Completed", "Its result was set by hand")
    assert (await kept(store)).data == data
    assert (await store.results.recall([step.id]))[step.id].data == data


async def test_it_counts_more_than_what_the_step_had_come_to(store: Store) -> None:
    await store.append(begins(1))
    failed = fails(1)
    failed.results.append(result(failed.task_runs[0][0], data=LARGE, size=len(LARGE)))
    await store.append(failed)

    await settle(store, b"7")

    assert (await kept(store)).data == b"7"


async def test_a_run_that_was_left_behind_is_left_behind_for_whoever_takes_it_up(store: Store) -> None:
    await store.append(begins(1))
    await store.append(batch(task_row(1, state_type="RUNNING", end_time=None)))

    await settle(store, b"7")

    (run,) = await store.flow_runs()
    (owned,) = await store.owners.listed()
    assert (run.state.name, owned.epoch) == ("Crashed", 2)
    assert given_up(run, owned)
    assert [task.state.name for task in await store.task_runs(prefix(1))] == ["Completed"]


@pytest.mark.parametrize("left", [False, True], ids=["failed", "left behind"])
async def test_it_is_not_set_where_somebody_has_the_run_meanwhile(store: Store, left: bool) -> None:
    await store.append(begins(1))
    await store.append(batch(task_row(1, state_type="RUNNING", end_time=None)) if left else fails(1))
    before = await seen(store)
    run, owned, _ = before
    await reopened(store, journal("three"), run, owned, anew=False)
    had: list[Owned] = await store.owners.listed()

    with pytest.raises(RunHeld):
        await settle(store, b"7", before)

    assert await store.owners.listed() == had
    (step,) = await store.task_runs(prefix(1))
    assert step.state.message != SET
