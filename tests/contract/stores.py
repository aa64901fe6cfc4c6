"""The stores that keep the contract, and rows to give them. A new store joins by a line in `STORES`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace._model.ids import FIRST, prefix_of, run_id
from headrace._ports import Batch, Row, Store
from headrace._stores.memory import MemoryStore
from headrace._stores.postgres import PostgresStore
from headrace._stores.rows import FLOW_COLUMNS, LOG_COLUMNS, TASK_COLUMNS, TASK_HEAD
from headrace._stores.sqlite import SQLiteStore
from tests.contract.postgres_server import Server

# From the test's own folder, and what gives the server of PostgreSQL.
STORES: dict[str, Callable[[Path, Callable[[], Server]], Store]] = {
    "memory": lambda folder, server: MemoryStore(),
    "postgresql": lambda folder, server: PostgresStore(server().url(server().database())),
    "sqlite": lambda folder, server: SQLiteStore(folder / "contract.db"),
}
SECOND = 1_000_000_000
NOON = 1_700_000_000 * SECOND


def prefix(number: int) -> str:
    """Give the first four groups of the id of flow run *number*; later numbers sort behind earlier ones."""
    return f"{number:08x}-0000-4000-8000-"


def flow_id(number: int) -> str:
    """Give the id of flow run *number*."""
    return prefix(number) + FIRST


def flow_row(number: int, **columns: Any) -> Row:
    """Give the row of flow run *number*, which completed *number* seconds after noon; *columns* say otherwise."""
    usual = {
        "id": flow_id(number),
        "name": f"run-{number}",
        "flow_name": "daily",
        "state_type": "COMPLETED",
        "state_name": "Completed",
        "created": NOON + number * SECOND,
        "start_time": NOON + number * SECOND,
        "end_time": NOON + (number + 1) * SECOND,
        "run_count": 1,
        "durability": "batched",
    }
    return in_order(FLOW_COLUMNS, usual | columns)


def task_row(number: int, of: int = 1, **columns: Any) -> Row:
    """Give the row of task run *number* of flow run *of*, which completed; *columns* say otherwise."""
    usual = {
        "id": run_id(prefix(of), number),
        "flow_run_id": flow_id(of),
        "task_name": "fetch",
        "state_type": "COMPLETED",
        "start_time": NOON,
        "end_time": NOON + number * SECOND,
    }
    return in_order(TASK_COLUMNS, usual | columns)


def log_row(at: int, message: str, of: str = flow_id(1), level: int = 20) -> Row:
    """Give the row of a line said *at* seconds after noon by the run *of*."""
    return (of, NOON + at * SECOND, level, "headrace.flow_runs", message)


def in_order(names: tuple[str, ...], columns: dict[str, Any]) -> Row:
    """Give *columns* as a row; what is missing at its end is left out, as the journal does."""
    unknown = columns.keys() - set(names)
    assert not unknown, unknown
    row = [columns.get(name) for name in names]
    while len(row) > TASK_HEAD and row[-1] is None:
        row.pop()
    return row


def batch(*rows: Row, strict: bool = False) -> Batch:
    """Give a batch of *rows*, each in its place."""
    made = Batch(strict=strict)
    for row in rows:
        if len(row) == len(LOG_COLUMNS):
            made.logs.append(row)
        elif row[0] == prefix_of(row[0]) + FIRST:
            made.flow_runs.append(row)
        else:
            made.task_runs.append(row)
    return made
