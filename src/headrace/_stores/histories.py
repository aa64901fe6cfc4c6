"""Histories: what is on record of several runs and of all below them, put together level by level. Opens nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

import attrs

from headrace._model.ids import prefix_of
from headrace._model.records import History
from headrace._ports import Row
from headrace._stores.encoding import part, result_record
from headrace._stores.rows import FLOW_COLUMNS, TASK_COLUMNS, flow_record, task_record

PARENT: Final = FLOW_COLUMNS.index("parent_id")
DATA: Final = TASK_COLUMNS.index("data")

Read = Callable[[Collection[str]], Awaitable[Sequence[Row]]]


@attrs.frozen
class Level:
    """
    What a store reads of many runs at once.

    Attributes:
        roots: The rows of the flow runs whose ids are given.
        below: Those of the flow runs that were called under the prefixes given, oldest first.
        tasks: Those of the task runs under the prefixes given, in order.
        results: Those of the results under the prefixes given.
    """

    roots: Read
    below: Read
    tasks: Read
    results: Read


async def put_together(level: Level, run_ids: Collection[str]) -> dict[str, History]:
    """Give what is on record of the runs *run_ids*, which nobody called, and of all below them: 4 reads a level."""
    found = {row[0]: (History(), row) for row in await level.roots(run_ids)}
    histories = {run_id: history for run_id, (history, _) in found.items()}
    reached = list(found.values())
    while reached:
        under: dict[str, History] = {}
        for history, row in reached:
            history.runs.append(flow_record(row))
            under[prefix_of(row[0])] = history
        for row in await level.results(under):
            under[prefix_of(row[0])].results[row[0]] = result_record(row)
        for row in await level.tasks(under):
            history = under[prefix_of(row[0])]
            history.runs.append(task_record(row))
            if row[DATA] is not None:  # what is part of the row is later than what lies beside it
                history.results[row[0]] = part(row)
        reached = [(under[prefix_of(row[PARENT])], row) for row in await level.below(under)]
    return histories
