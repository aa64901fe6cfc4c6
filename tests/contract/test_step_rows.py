"""What every store promises of the rows of steps: what they leave out is read back, and a later one replaces all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from headrace._model.ids import run_id
from headrace._model.records import Owned, TaskRun
from headrace._ports import Batch, Store
from headrace._stores.encoding import cleaned
from headrace._stores.sqlite import SQLiteStore
from headrace.errors import StaleRuns
from tests.contract.stores import NOON, SECOND, flow_id, log_row, prefix, task_row
from tests.contract.test_owners import begins

ODD = st.text(max_size=30) | st.sampled_from(['say "so" \\', "größe 🦜", "a\0b", "\ud800", "n" * 999, "n" * 1_000])


def step_row(number: int, of: int = 1, **columns: Any) -> tuple[Any, ...]:
    """Give the row of a step that completed, as the journal does: what it came to, and nothing else that is unusual."""
    usual = {"step_id": f"{number:032x}", "step_args": "d" * 32 + f"{number}", "data": f"[{number}]"}
    return tuple(task_row(number, of, **(usual | columns)))


def steps(*rows: tuple[Any, ...], epoch: int = 1, fenced: tuple[int, ...] = (1,), log: bool = False) -> Batch:
    """Give the batch of steps of the runs that are *fenced*, with a line of a log beside them if that is wanted."""
    made = Batch(task_runs=list(rows), strict=True, fences={flow_id(number): epoch for number in fenced})
    if log:
        made.logs.append(log_row(1, "beside"))
    return made


async def on_record(store: Store, number: int, of: int = 1) -> TaskRun:
    """Give a task run as the store has it."""
    (run,) = [one for one in await store.task_runs(prefix(of)) if one.id == run_id(prefix(of), number)]
    return run


WAYS = {
    "alone": steps(step_row(1)),
    "with others": steps(step_row(1), step_row(2)),
    "beside other rows": steps(step_row(1), log=True),
}


@pytest.mark.parametrize("way", WAYS)
async def test_what_the_row_of_a_step_leaves_out_is_read_back(store: Store, way: str) -> None:
    await store.append(begins(1))
    await store.append(WAYS[way])

    run = await on_record(store, 1)
    assert (run.flow_run_id, run.result_key, run.run_count, run.flow_attempt) == (flow_id(1), run.id, 1, 1)
    assert [name for _, name, _, _ in run.transitions] == ["Running", "Completed"]
    assert (await store.results.under(prefix(1)))[run.id].data == b"[1]"


async def test_a_step_whose_value_lies_apart_is_kept_under_the_key_that_its_row_names(store: Store) -> None:
    await store.append(begins(1))
    await store.append(steps(step_row(1, data=None), step_row(2, result_key="elsewhere")))

    assert [(await on_record(store, number)).result_key for number in (1, 2)] == [None, "elsewhere"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_step_that_is_run_again_leaves_nothing_of_the_first_time(store: Store, way: str) -> None:
    went = [["RUNNING", "Running", NOON, None], ["CRASHED", "Crashed", NOON + SECOND, "it was killed"]]
    first: dict[str, Any] = {
        "state_type": "CRASHED",
        "state_name": "Crashed",
        "message": "it was killed",
        "history": went,
    }
    await store.append(begins(1))
    await store.append(steps(step_row(1, data=None, name="first", tags=["a"], run_count=3, **first)))
    await store.append(WAYS[way])

    run = await on_record(store, 1)
    assert (run.state.name, run.state.message, run.name) == ("Completed", None, "fetch-001")
    assert (run.tags, run.run_count, len(run.transitions)) == ((), 1, 2)


async def test_steps_of_many_runs_are_refused_together_where_one_of_those_runs_is_another_s(store: Store) -> None:
    for number in (1, 2):
        await store.append(begins(number))
    first = Owned(flow_id(1), "one", 1, NOON)
    assert await store.owners.take(first, "two", now=NOON, crashes=0, steps=0)

    with pytest.raises(StaleRuns) as caught:
        await store.append(steps(step_row(1), step_row(1, of=2), fenced=(1, 2)))
    assert caught.value.run_ids == (flow_id(1),)
    assert not [*await store.task_runs(prefix(1)), *await store.task_runs(prefix(2))]

    await store.append(steps(step_row(1, of=2), step_row(2, of=2), fenced=(2,)))
    both = steps(step_row(1), step_row(3, of=2), fenced=(1, 2))
    both.fences[flow_id(1)] = 2
    await store.append(both)
    assert [len(await store.task_runs(prefix(number))) for number in (1, 2)] == [1, 3]


@pytest.mark.parametrize("way", ["alone", "with others"])
async def test_the_file_takes_steps_alone_in_one_statement(tmp_path: Path, way: str) -> None:
    store, ran = SQLiteStore(tmp_path / "one.db"), list[str]()
    await store.append(begins(1))
    assert store.writer is not None
    store.writer.set_trace_callback(ran.append)
    await store.append(WAYS[way])
    await store.close()

    assert [statement.partition(" ")[0] for statement in ran if not statement.startswith("PRAGMA")] == ["INSERT"]


@hypothesis_settings(max_examples=40, deadline=None)
@given(name=ODD, said=ODD, value=st.text(max_size=30))
async def test_the_file_holds_the_same_of_a_step_however_it_is_written(
    tmp_path_factory: pytest.TempPathFactory, name: str, said: str, value: str
) -> None:
    store = SQLiteStore(Path(tmp_path_factory.mktemp("odd")) / "odd.db")
    told: dict[str, Any] = {"task_name": name, "step_args": "d" * 32 + said, "data": f'"{value!a}"'}
    await store.append(begins(1))
    await store.append(steps(step_row(1, **told)))
    await store.append(steps(step_row(2, **told), step_row(3, **told)))
    await store.append(steps(step_row(4, **told), log=True))

    for run in await store.task_runs(prefix(1)):
        assert (run.task_name, run.step_args) == (cleaned(name), cleaned(told["step_args"]))
        assert run.step_id == f"{int(run.id[-12:], 16):032x}"
    kept = await store.results.under(prefix(1))
    assert [one.data for one in kept.values()] == [told["data"].encode()] * 4
    await store.close()
