"""What the SQLite store costs: reads go through indexes, and a batch is a handful of statements."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace._engine.life import drive
from headrace._stores.sqlite import SQLiteStore
from tests.chaos.processes import database
from tests.contract.stores import batch, flow_id, flow_row, log_row, prefix, task_row

Read = Callable[[SQLiteStore], Coroutine[Any, Any, Any]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    """Give a store that holds some runs, of which SQLite knows how they lie."""
    made = SQLiteStore(tmp_path / "plans.db")
    drive(made.open())
    for number in range(1, 60):
        drive(
            made.append(
                batch(
                    flow_row(number, parent_id=flow_id(number // 2) if number > 30 else None),
                    *(task_row(place, of=number) for place in range(1, 20)),
                    log_row(number, "line", of=flow_id(number)),
                )
            )
        )
    yield made
    drive(made.close())


async def plans(store: SQLiteStore, read: Read, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the lines of SQLite's plans for the statements of a read."""
    asked: list[tuple[str, Any]] = []
    rows = store.rows

    async def noted(statement: str, values: Any) -> list[tuple[Any, ...]]:
        asked.append((statement, values))
        return await rows(statement, values)

    monkeypatch.setattr(store, "rows", noted)
    await read(store)
    assert asked
    with database(store.path) as connection:
        return [
            line
            for statement, values in asked
            for *_, line in connection.execute(f"EXPLAIN QUERY PLAN {statement}", list(values))
        ]


READS: dict[str, tuple[Read, str]] = {
    "ls": (lambda store: store.flow_runs(limit=10), "flow_run_created"),
    "ls by state": (lambda store: store.flow_runs(limit=10, state="Completed"), "flow_run_created"),
    "one by prefix": (lambda store: store.flow_runs(limit=2, begins="0000000a"), "SEARCH flow_run"),
    "tasks": (lambda store: store.task_runs(prefix(3)), "SEARCH task_run USING PRIMARY KEY (id>? AND id<?)"),
    "slowest": (lambda store: store.task_runs(prefix(3), slowest=True, limit=5), "SEARCH task_run"),
    "counts": (lambda store: store.task_counts(prefix(3)), "SEARCH task_run"),
    "children": (lambda store: store.children([flow_id(20)]), "flow_run_parent (parent_id=?)"),
    "logs": (lambda store: store.logs([flow_id(3)]), "SEARCH log USING INDEX log_run (run_id>? AND run_id<?)"),
}


@pytest.mark.parametrize("name", sorted(READS))
async def test_a_read_goes_through_an_index(store: SQLiteStore, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read, wanted = READS[name]
    plan = await plans(store, read, monkeypatch)

    assert any(wanted in line for line in plan), plan
    assert not [line for line in plan if line.startswith("SCAN ") and " USING INDEX " not in line and "json" not in line
                and "VIRTUAL TABLE" not in line], plan  # fmt: skip


async def test_the_newest_are_listed_without_sorting_all(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ls", "ls by state", "tasks"):
        assert not [line for line in await plans(store, READS[name][0], monkeypatch) if "TEMP B-TREE" in line]


def test_a_batch_is_four_statements_at_most_beside_begin_and_commit(store: SQLiteStore) -> None:
    told: list[str] = []
    assert store.writer is not None
    store.writer.set_trace_callback(told.append)
    drive(
        store.append(
            batch(
                *(flow_row(number) for number in range(100, 150)),
                *(task_row(place, of=100) for place in range(1, 900)),
                *(task_row(place, of=101, name="named") for place in range(1, 900)),
                *(log_row(place, "line") for place in range(200)),
            )
        )
    )
    store.writer.set_trace_callback(None)

    words = [statement.split()[0] for statement in told if not statement.startswith(("--", "PRAGMA"))]
    assert words == ["BEGIN", "INSERT", "INSERT", "INSERT", "INSERT", "COMMIT"]


def test_a_batch_of_finished_tasks_is_one_statement(store: SQLiteStore) -> None:
    told: list[str] = []
    assert store.writer is not None
    drive(store.append(batch(task_row(1, of=99))))
    store.writer.set_trace_callback(told.append)
    drive(store.append(batch(*(task_row(place, of=100) for place in range(1, 900)))))
    store.writer.set_trace_callback(None)

    assert [statement.split()[0] for statement in told] == ["BEGIN", "INSERT", "COMMIT"]
