"""On every store: a fork has the rows of the run that it is one of, under ids of its own, and is its writer's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headrace._engine.past import Past
from headrace._forking import Fork
from headrace._model.ids import FIRST, run_id
from headrace._ports import Batch, Store
from tests.contract.stores import NOON, SECOND, batch, flow_id, flow_row, prefix, task_row
from tests.contract.test_results import result
from tests.contract.test_retrying import journal


def recorded() -> Batch:
    """Give what is on record of a run that called a task, a flow that called one, and another task."""
    made = batch(
        flow_row(1, durability="strict", parameters={"x": 1}, tags=["blue"], step_id=flow_id(1), epoch=3),
        task_row(1, step_id="one", step_args="7", data='"seven"', tags=["blue"]),
        flow_row(2, durability="strict", parent_id=flow_id(1), step_id="two", start_time=NOON + SECOND),
        task_row(1, of=2, step_id="within"),
        task_row(4, start_time=NOON + 9 * SECOND, step_id="four"),
        strict=True,
    )
    keys = (flow_id(1), f"{flow_id(1)} parameters", run_id(prefix(2), 1), f"{prefix(1)}drawn", run_id(prefix(1), 4))
    made.results += [result(key, created=NOON + SECOND)._replace(run_id=flow_id(1)) for key in keys]
    return made


async def fork(store: Store, step: str | None) -> str:
    """Fork the run before *step*; give the first four groups of the fork's id."""
    draws: Iterator[str] = iter([prefix(8), prefix(9)])
    process = journal("two")
    process.draw = lambda: next(draws)
    (run,) = await store.flow_runs(begins=flow_id(1))
    past = Past(run.id)
    await past.load(store)
    await store.append(Fork(process, run, past, step).batch())
    return prefix(8)


async def test_it_has_what_had_ended_before_the_step_and_nothing_else(store: Store) -> None:
    await store.append(recorded())

    new = await fork(store, "fetch-004")

    (root,) = await store.flow_runs(begins=new)
    (below,) = await store.below(new)
    tasks = [*await store.task_runs(new), *await store.task_runs(prefix(9))]
    assert (root.step_id, root.epoch, root.parameters, root.tags) == (flow_id(1), 1, {"x": 1}, ("blue",))
    assert (below.id, below.parent_id, below.step_id) == (prefix(9) + FIRST, root.id, "two")
    assert [(task.id, task.flow_run_id, task.step_id) for task in tasks] == [
        (run_id(new, 1), root.id, "one"),
        (run_id(prefix(9), 1), below.id, "within"),
    ]
    assert (tasks[0].tags, tasks[0].step_args) == (("blue",), "7")
    kept = await store.results.under(new)
    assert sorted(kept) == sorted([f"{root.id} parameters", run_id(new, 1), f"{new}drawn"])
    assert kept[run_id(new, 1)].data == b'"seven"'
    assert sorted(await store.results.under(prefix(9))) == [run_id(prefix(9), 1)]


async def test_it_is_its_writer_s_and_the_run_stays_as_it_was(store: Store) -> None:
    await store.append(recorded())
    before: list[Any] = [await store.flow_runs(begins=prefix(1)), await store.task_runs(prefix(1))]

    new = await fork(store, None)

    (owned,) = await store.owners.listed()
    assert (owned.run_id, owned.owner, owned.epoch) == (new + FIRST, "two", 1)
    assert [await store.flow_runs(begins=prefix(1)), await store.task_runs(prefix(1))] == before
