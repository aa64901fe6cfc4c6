"""What every store promises of histories: all that is on record of several runs and of what they called, at once."""

from __future__ import annotations

import pytest

from headrace._model.ids import run_id
from headrace._model.records import FlowRun, History
from headrace._ports import Store
from tests.contract.stores import batch, flow_id, flow_row, prefix, task_row
from tests.contract.test_results import keep, persisted, result


async def one_by_one(store: Store, number: int) -> History:
    """Give what is on record of a run, read run for run."""
    history = History()
    found = await store.flow_runs(begins=flow_id(number))
    while found:
        called: list[FlowRun] = []
        for flow in found:
            under = prefix(int(flow.id[:8], 16))
            history.runs.extend([flow, *await store.task_runs(under)])
            history.results.update(await store.results.under(under))
            called += await store.below(under)
        found = called
    return history


@pytest.fixture
async def filled(store: Store) -> Store:
    """Have three runs be on record: one by itself, one with subflows within tasks and subflows, and one alone."""
    deeper = {"parent_id": run_id(prefix(2), 3)}
    await store.append(
        batch(
            flow_row(1, tags=["blue"], parameters={"x": 1}),
            *(task_row(number, of=1, step_id=f"step {number}", data=f'"{number}"') for number in (1, 2)),
            flow_row(2, durability="strict", entrypoint="orders:place"),
            *(task_row(number, of=2, message="went") for number in (3, 1, 2)),
            *(flow_row(number, **deeper) for number in (5, 4)),
            task_row(1, of=4, data="null"),
            flow_row(6, parent_id=flow_id(4)),
            task_row(7, of=6, state_type="RUNNING", end_time=None),
            flow_row(8),
            task_row(1, of=9),
        )
    )
    await keep(store, persisted(0), persisted(1), persisted(2, of=2), persisted(0, of=6), persisted(1, of=9), result())
    return store


async def test_they_are_what_is_read_run_for_run(filled: Store) -> None:
    histories = await filled.histories([flow_id(8), flow_id(1), flow_id(2), flow_id(7)])

    assert set(histories) == {flow_id(1), flow_id(2), flow_id(8)}
    for number in (1, 2, 8):
        known, history = await one_by_one(filled, number), histories[flow_id(number)]
        assert history.runs[0].id == flow_id(number)
        assert sorted(history.runs, key=lambda run: run.id) == sorted(known.runs, key=lambda run: run.id)
        assert history.results == known.results
    assert await filled.histories([]) == {}


async def test_each_run_stands_behind_the_one_that_called_it(filled: Store) -> None:
    history = (await filled.histories([flow_id(2)]))[flow_id(2)]

    assert [run.id for run in history.runs if isinstance(run, FlowRun)] == list(map(flow_id, (2, 4, 5, 6)))
    places = {run.id: place for place, run in enumerate(history.runs)}
    assert places[run_id(prefix(2), 3)] < places[flow_id(4)] < places[run_id(prefix(4), 1)] < places[flow_id(6)]


async def test_what_is_part_of_a_row_is_later_than_what_lies_beside_it(store: Store) -> None:
    await keep(store, persisted(1))
    await store.append(batch(flow_row(1), task_row(1, data='"later"')))

    history = (await store.histories([flow_id(1)]))[flow_id(1)]

    assert history.results[run_id(prefix(1), 1)].data == b'"later"'


async def test_they_are_read_from_a_store_that_is_closed(filled: Store) -> None:
    await filled.close()

    assert len(await filled.histories([flow_id(1), flow_id(2)])) == 2
