"""What every store promises: rows come back as records, newest first, whole and once."""

from __future__ import annotations

from typing import Any

import anyio
import anyio.lowlevel
import attrs
import pytest

from headrace._model.ids import run_id
from headrace._ports import Store
from tests.contract.stores import NOON, SECOND, batch, flow_id, flow_row, log_row, prefix, task_row

HISTORY = [
    ["RUNNING", "Running", NOON, None],
    ["SCHEDULED", "AwaitingRetry", NOON + SECOND, "Attempt 1 of 2 failed: OSError(); the next starts in 10 s"],
    ["RUNNING", "Retrying", NOON + 2 * SECOND, None],
    ["COMPLETED", "Completed", NOON + 3 * SECOND, None],
]


async def test_a_flow_run_comes_back_as_it_was_written(store: Store) -> None:
    full: dict[str, Any] = {
        "flow_version": "3",
        "state_type": "FAILED",
        "state_name": "TimedOut",
        "message": "too long",
        "run_count": 2,
        "tags": ["a", "b"],
        "parameters": {"x": 1, "y": [1.5, None, True], "z": {"deep": "ü"}},
        "parent_id": flow_id(7),
        "durability": "strict",
        "owner": "host:1:2:3",
        "trace_id": "f" * 32,
        "history": HISTORY,
    }
    await store.append(batch(flow_row(1, **full)))

    (run,) = await store.flow_runs()

    assert (run.id, run.name, run.flow_name, run.flow_version) == (flow_id(1), "run-1", "daily", "3")
    assert (run.state.type, run.state.name, run.state.message) == ("FAILED", "TimedOut", "too long")
    assert (run.run_count, run.tags, run.parameters) == (2, ("a", "b"), full["parameters"])
    assert (run.parent_id, run.durability, run.owner, run.trace_id) == (flow_id(7), "strict", "host:1:2:3", "f" * 32)
    assert run.total_run_time == 1
    assert [(kind, name) for kind, name, _, _ in run.transitions] == [(kind, name) for kind, name, _, _ in HISTORY]


async def test_a_flow_run_of_few_words_has_the_usual_values(store: Store) -> None:
    await store.append(batch(flow_row(1, run_count=None)))

    (run,) = await store.flow_runs()

    assert (run.tags, run.parameters, run.parent_id, run.run_count, run.trace_id) == ((), {}, None, 1, None)
    assert [name for _, name, _, _ in run.transitions] == ["Running", "Completed"]


async def test_a_task_run_comes_back_as_it_was_written(store: Store) -> None:
    more: dict[str, Any] = {
        "name": "fetch berlin",
        "parent_task_run_id": run_id(prefix(1), 9),
        "state_type": "CANCELLED",
        "state_name": "Cancelled",
        "message": "Ctrl-C",
        "run_count": 3,
        "tags": ["slow"],
        "history": HISTORY,
        "flow_attempt": 2,
    }
    await store.append(batch(task_row(4, **more)))

    (run,) = await store.task_runs(prefix(1))

    assert (run.id, run.name, run.task_name) == (run_id(prefix(1), 4), "fetch berlin", "fetch")
    assert (run.state.type, run.state.name, run.state.message) == ("CANCELLED", "Cancelled", "Ctrl-C")
    assert (run.flow_run_id, run.parent_task_run_id) == (flow_id(1), run_id(prefix(1), 9))
    assert (run.run_count, run.tags, run.total_run_time) == (3, ("slow",), 4)
    assert [said for _, _, _, said in run.transitions] == [said for _, _, _, said in HISTORY]


@pytest.mark.parametrize("name", ["fetch", "ünïcödé ☃", "", 'it\'s "quoted"', "tab\tline\n", "x" * 3_000])
async def test_the_row_of_six_values_is_read_as_the_full_one(store: Store, name: str) -> None:
    await store.append(batch(task_row(26, task_name=name)))

    (run,) = await store.task_runs(prefix(1))

    assert (run.task_name, run.name) == (name, f"{name}-01a")
    assert (run.state.name, run.run_count, run.tags, run.total_run_time) == ("Completed", 1, (), 26)
    assert (run.flow_run_id, run.parent_task_run_id) == (flow_id(1), None)
    assert [state for _, state, _, _ in run.transitions] == ["Running", "Completed"]


async def test_a_task_run_without_a_flow_is_kept_under_its_own_id(store: Store) -> None:
    await store.append(batch(task_row(1, flow_run_id=None), task_row(1, of=2)))

    (run,) = await store.task_runs(prefix(1))

    assert run.flow_run_id is None


async def test_a_later_row_replaces_the_one_of_the_same_run(store: Store) -> None:
    running: dict[str, Any] = {"state_type": "RUNNING", "end_time": None}
    await store.append(batch(flow_row(1, state_name="Running", **running), task_row(1, **running)))
    await store.append(batch(flow_row(1), task_row(1)))

    (flow,), (task,) = await store.flow_runs(), await store.task_runs(prefix(1))

    assert (flow.state.name, task.state.name) == ("Completed", "Completed")
    assert flow.end_time is not None
    assert task.end_time is not None


async def test_a_finished_row_of_few_values_keeps_the_start_of_the_running_one(store: Store) -> None:
    await store.append(batch(task_row(1, state_type="RUNNING", start_time=NOON, end_time=None)))
    await store.append(batch(task_row(1, start_time=NOON, end_time=NOON + 5 * SECOND)))

    (run,) = await store.task_runs(prefix(1))

    assert (run.state.name, run.total_run_time) == ("Completed", 5)


async def test_a_row_of_an_older_epoch_is_passed_over(store: Store) -> None:
    await store.append(batch(flow_row(1, name="second", epoch=2), task_row(1, name="second", epoch=2)))
    await store.append(batch(flow_row(1, name="first", epoch=1), task_row(1, name="first", epoch=1)))
    await store.append(batch(flow_row(1, name="first"), task_row(1, state_type="RUNNING")))
    await store.append(batch(task_row(1, task_name="first")))

    (flow,), (task,) = await store.flow_runs(), await store.task_runs(prefix(1))

    assert (flow.name, task.name, task.task_name, task.state.name) == ("second", "second", "fetch", "Completed")


async def test_a_row_of_a_newer_epoch_replaces_an_older_one(store: Store) -> None:
    await store.append(batch(flow_row(1, name="first"), task_row(1)))
    await store.append(batch(flow_row(1, name="second", epoch=2), task_row(1, name="second", epoch=2)))

    (flow,), (task,) = await store.flow_runs(), await store.task_runs(prefix(1))

    assert (flow.name, task.name) == ("second", "second")


async def test_flow_runs_are_listed_newest_first_and_no_more_than_asked(store: Store) -> None:
    await store.append(batch(*(flow_row(number) for number in (2, 5, 1, 4, 3))))

    assert [run.name for run in await store.flow_runs()] == ["run-5", "run-4", "run-3", "run-2", "run-1"]
    assert [run.name for run in await store.flow_runs(limit=2)] == ["run-5", "run-4"]
    assert await store.flow_runs(limit=0) == []


async def test_flow_runs_are_listed_by_the_type_or_the_name_of_their_state_in_any_case(store: Store) -> None:
    await store.append(
        batch(
            flow_row(1),
            flow_row(2, state_type="FAILED", state_name="TimedOut"),
            flow_row(3, state_type="FAILED", state_name="Failed"),
        )
    )

    assert [run.name for run in await store.flow_runs(state="failed")] == ["run-3", "run-2"]
    assert [run.name for run in await store.flow_runs(state="timedout")] == ["run-2"]
    assert [run.name for run in await store.flow_runs(state="COMPLETED")] == ["run-1"]
    assert await store.flow_runs(state="unheard") == []


async def test_flow_runs_are_found_by_the_beginning_of_their_id(store: Store) -> None:
    await store.append(batch(flow_row(0x11), flow_row(0x12), flow_row(0x21)))

    assert {run.name for run in await store.flow_runs(begins="0000001")} == {"run-17", "run-18"}
    assert [run.name for run in await store.flow_runs(begins=flow_id(0x21))] == ["run-33"]
    assert await store.flow_runs(begins="0000009") == []
    assert await store.flow_runs(begins="%") == []


async def test_task_runs_are_listed_in_the_order_of_their_calls(store: Store) -> None:
    await store.append(batch(*(task_row(number) for number in (3, 300, 1, 17, 16)), task_row(2, of=2)))

    listed = [int(run.id[-12:], 16) for run in await store.task_runs(prefix(1))]

    assert listed == [1, 3, 16, 17, 300]
    assert [run.id[-2:] for run in await store.task_runs(prefix(1), limit=2)] == ["01", "03"]


async def test_task_runs_are_listed_by_state_and_by_slowness(store: Store) -> None:
    await store.append(
        batch(
            task_row(1, end_time=NOON + 5),
            task_row(2, end_time=NOON + 9, state_type="FAILED", state_name="Failed"),
            task_row(3, end_time=NOON + 7),
            task_row(4, end_time=None, state_type="RUNNING"),
        )
    )

    slowest = await store.task_runs(prefix(1), slowest=True, limit=2)
    failed = await store.task_runs(prefix(1), state="FAILED")

    assert [run.id[-1] for run in slowest] == ["2", "3"]
    assert [run.id[-1] for run in failed] == ["2"]
    assert await store.task_counts(prefix(1)) == {"COMPLETED": 2, "FAILED": 1, "RUNNING": 1}
    assert await store.task_counts(prefix(2)) == {}


async def test_subflows_are_found_by_the_runs_that_called_them_oldest_first(store: Store) -> None:
    task = run_id(prefix(1), 3)
    await store.append(
        batch(flow_row(1), flow_row(4, parent_id=task), flow_row(3, parent_id=flow_id(1)), flow_row(5, parent_id="x"))
    )

    found = await store.children([flow_id(1), task])

    assert [run.name for run in found] == ["run-3", "run-4"]
    assert await store.children([]) == []


async def test_log_lines_are_listed_oldest_first_with_those_of_the_tasks(store: Store) -> None:
    task = run_id(prefix(1), 1)
    await store.append(batch(log_row(2, "second", of=task), log_row(1, "first"), log_row(9, "another's", flow_id(2))))
    await store.append(batch(log_row(2, "third", level=40), log_row(0, "zeroth")))

    found = await store.logs([flow_id(1)])

    assert [line.message for line in found] == ["zeroth", "first", "second", "third"]
    assert [(line.run_id, line.level) for line in found[2:]] == [(task, 20), (flow_id(1), 40)]
    assert await store.logs([]) == []


@pytest.mark.parametrize(
    "message",
    ["", "two\nlines", "☃ 😀", "{json: [1, 2]}", "'; DROP TABLE log; --", "x" * 1_000_000],
    ids=["empty", "lines", "signs", "json", "sql", "long"],
)
async def test_a_log_line_comes_back_sign_by_sign(store: Store, message: str) -> None:
    await store.append(batch(log_row(1, message)))

    (line,) = await store.logs([flow_id(1)])

    assert line.message == message


async def test_what_follows_a_nul_is_kept(store: Store) -> None:
    said = "before \0 after"
    await store.append(
        batch(log_row(1, said), flow_row(1, message=said, parameters={"x": said}), task_row(1, name=said))
    )

    (line,), (run,), (task,) = (
        await store.logs([flow_id(1)]),
        await store.flow_runs(),
        await store.task_runs(prefix(1)),
    )

    for kept in (line.message, run.state.message, run.parameters["x"], task.name):
        assert kept in {said, "before \\x00 after"}


async def test_signs_that_cannot_be_encoded_cost_no_line_and_no_row(store: Store) -> None:
    bad = "half a pair: \udc80"
    await store.append(batch(log_row(1, bad), log_row(2, "next"), flow_row(1, message=bad), task_row(1, message=bad)))

    lines = await store.logs([flow_id(1)])
    (run,) = await store.flow_runs()

    assert [line.message[:12] for line in lines] == ["half a pair:", "next"]
    assert (run.state.message or "")[:12] == "half a pair:"
    assert len(await store.task_runs(prefix(1))) == 1


async def test_a_deleted_run_takes_its_tasks_lines_and_subflows_along_and_nothing_else(store: Store) -> None:
    await store.append(
        batch(
            flow_row(1),
            task_row(1),
            log_row(1, "gone"),
            log_row(1, "gone, too", of=run_id(prefix(1), 1)),
            flow_row(2, parent_id=run_id(prefix(1), 1)),
            flow_row(3, parent_id=flow_id(2)),
            task_row(1, of=3),
            log_row(1, "gone as well", of=flow_id(3)),
            flow_row(4),
            task_row(1, of=4),
            log_row(1, "stays", of=flow_id(4)),
        )
    )

    removed = await store.delete(flow_id(1))

    assert removed == 3
    assert [run.name for run in await store.flow_runs()] == ["run-4"]
    assert [run.flow_run_id for run in await store.task_runs("")] == [flow_id(4)]
    assert [line.message for line in await store.logs([flow_id(n) for n in range(1, 5)])] == ["stays"]


async def test_only_a_whole_id_deletes(store: Store) -> None:
    await store.append(batch(flow_row(1), flow_row(2)))

    assert await store.delete(flow_id(9)) == 0
    assert await store.delete("0000000") == 0
    assert await store.delete("") == 0
    assert len(await store.flow_runs()) == 2


async def test_an_empty_batch_changes_nothing(store: Store) -> None:
    await store.append(batch())

    assert (await store.flow_runs(), await store.task_runs(""), await store.logs([flow_id(1)])) == ([], [], [])


async def test_a_batch_of_two_thousand_runs_is_kept_whole(store: Store) -> None:
    await store.append(batch(flow_row(1), *(task_row(number) for number in range(1, 2_001)), strict=True))

    assert await store.task_counts(prefix(1)) == {"COMPLETED": 2_000}


async def test_a_store_that_was_closed_can_be_opened_again(store: Store) -> None:
    await store.append(batch(flow_row(1)))
    await store.close()
    await store.open()
    await store.append(batch(flow_row(2)))

    assert [run.name for run in await store.flow_runs()] == ["run-2", "run-1"]


async def test_readers_beside_the_writer_see_whole_batches(store: Store) -> None:
    seen: list[int] = []

    async def read() -> None:
        while len(seen) < 20:
            seen.append(len(await store.task_runs(prefix(1))))

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        for number in range(20):
            await store.append(batch(*(task_row(number * 10 + place) for place in range(1, 11))))
            await anyio.lowlevel.checkpoint()

    assert all(count % 10 == 0 for count in seen), seen
    assert seen == sorted(seen)


async def test_facts_name_the_place_and_count_the_runs(store: Store) -> None:
    await store.append(batch(flow_row(1), task_row(1), task_row(2)))

    facts = await store.facts()

    assert (facts["database"], facts["flow runs"], facts["task runs"]) == (store.where, "1", "2")


async def test_records_are_values(store: Store) -> None:
    await store.append(batch(flow_row(1)))

    (run,) = await store.flow_runs()

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        run.name = "another"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
