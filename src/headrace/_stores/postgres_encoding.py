"""
Encoding: how a batch becomes one statement for PostgreSQL, the rows of each kind as one JSON text. Touches nothing.

One message, one answer: a statement is one transaction by itself. The texts stand in it as literals: sent apart from
it, they need what is prepared for a connection, and are no faster.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace._ports import Batch, Row
from headrace._stores.encoding import NULLS, as_json, cleaned, goes_alone, result_row
from headrace._stores.postgres_writing import OWNED_COLUMNS, SUSPENDED_COLUMNS
from headrace._stores.rows import FLOW_COLUMNS, LOG_COLUMNS, RESULT_COLUMNS, TASK_COLUMNS, with_key


def writing(batch: Batch, again: bool = False) -> str:
    """Give the statement that writes *batch*; *again* where a first try may have been committed."""
    if is_step(batch):
        (root, epoch), (step,) = *batch.fences.items(), objects(batch.task_runs, TASK_COLUMNS)
        return f"SELECT headrace.write_step({quoted(root)}, {epoch}, {quoted(as_json(step))})"
    # What a first try let go of that was committed after all is nobody's any more, or somebody else's.
    let_go = {*batch.released, *(one.run_id for one in batch.suspended)} if again else ()
    fences = {run_id: epoch for run_id, epoch in batch.fences.items() if run_id not in let_go}
    flows = [(*row[:12], None if row[12] is None else as_json(row[12]), *row[13:]) for row in batch.flow_runs]
    tasks = [*batch.task_runs, *map(with_key, batch.kept_runs)]
    results = {key_of(row): row for row in map(result_row, batch.results)}  # the last under a key is to win
    given = (
        objects(batch.owned, OWNED_COLUMNS),
        fences,
        {run_id: batch.fences.get(run_id, 1) for run_id in batch.released},
        objects(latest(flows, FLOW_COLUMNS), FLOW_COLUMNS),
        objects(latest(tasks, TASK_COLUMNS), TASK_COLUMNS),
        objects(batch.logs, LOG_COLUMNS),
        objects(list(results.values()), RESULT_COLUMNS),
    )
    texts = [quoted(as_json(one)) if one else "NULL" for one in given]
    read = f"ARRAY[{', '.join(str(row[1]) for row in batch.read)}]" if batch.read else "NULL"
    suspended = objects([(*one, batch.fences.get(one.run_id, 1)) for one in batch.suspended], SUSPENDED_COLUMNS)
    left = quoted(as_json(suspended)) if suspended else "NULL"
    return f"SELECT headrace.write({batch.strict}, {again}, {', '.join(texts)}, {read}, {left})"


def is_step(batch: Batch) -> bool:
    """Tell whether *batch* is one step of a durable run, and nothing else."""
    alone = len(batch) == len(batch.task_runs) == len(batch.fences) == 1
    return alone and batch.strict and not (batch.owned or batch.released or batch.read)


def lone_step(batch: Batch) -> tuple[Any, ...] | None:
    """Give the values of LONE_STEP, which writes *batch*, where that is one step, all of it in one row; else None."""
    if not is_step(batch) or not goes_alone(batch.task_runs[0]):
        return None
    row, (fence,) = batch.task_runs[0], batch.fences.items()
    return (*row, *NULLS[len(row) :], *fence)


def objects(rows: Sequence[Row], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Give *rows* as JSON objects without what is None: the server takes longer to read a null than to miss it."""
    return [{column: value for column, value in zip(columns, row, strict=False) if value is not None} for row in rows]


def latest(rows: Sequence[Row], columns: Sequence[str]) -> Sequence[Row]:
    """Give one row a run: the last of its newest epoch. One statement cannot write a row twice."""
    newest: dict[str, Row] = {row[0]: row for row in rows}
    if len(newest) == len(rows):
        return rows
    newest.clear()
    for row in rows:
        known = newest.get(row[0])
        if known is None or epoch_of(row, columns) >= epoch_of(known, columns):
            newest[row[0]] = row
    return list(newest.values())


def epoch_of(row: Row, columns: Sequence[str]) -> int:
    """Give the epoch of *row*, which may lack what is at its end."""
    return (row[-1] if len(row) == len(columns) else None) or 1


def key_of(row: Row) -> str:
    """Give the key of a result as it will be written."""
    key: str = row[0]
    return key if key.isascii() and "\0" not in key else cleaned(key)


def filled(statement: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Give *statement* with *rows* in it."""
    return statement.format(rows=quoted(as_json(rows)))


def quoted(text: str) -> str:
    """Give *text* as a literal that is read alike under all settings of the server."""
    return "E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
