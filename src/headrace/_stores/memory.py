"""The store in memory: a real store whose record ends with the process. The twin of the others, by one contract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from headrace._model.events import CRASHED, Stamp
from headrace._model.ids import prefix_of
from headrace._model.records import FlowRun, History, LogLine, Request, TaskRun
from headrace._ports import Batch, Row
from headrace._stores.encoding import part, result_row
from headrace._stores.histories import Level, put_together
from headrace._stores.memory_limits import MemoryLimits
from headrace._stores.memory_owners import MemoryOwners
from headrace._stores.memory_results import MemoryResults
from headrace._stores.memory_signals import MemorySignals
from headrace._stores.rows import FLOW_COLUMNS, TASK_COLUMNS, flow_record, log_record, padded, task_record, with_key

EPOCH = -1
DATA = -2
END = 9
OWNER = 15


class MemoryStore:
    """Keeps rows in dicts. Read it from any thread: rows are only ever replaced whole."""

    where = "memory:"
    suspends = False
    quick = True
    patient = True

    def __init__(self) -> None:
        self.flows: dict[str, tuple[Any, ...]] = {}
        self.tasks: dict[str, tuple[Any, ...]] = {}
        self.lines: list[tuple[Any, ...]] = []
        self.asked: dict[tuple[str, str], Request] = {}
        self.results = MemoryResults()
        self.limits = MemoryLimits()
        self.owners = MemoryOwners(self.results, self.flows)
        self.signals = MemorySignals(self.flows, self.owners)

    async def open(self) -> None:
        """Nothing is to be opened."""

    async def close(self) -> None:
        """Keep what there is: whoever holds the store may go on reading."""

    async def append(self, batch: Batch) -> None:
        """Keep *batch*; a row of an older epoch than the one kept is passed over."""
        self.owners.fence(batch)
        for rows, columns, kept in (
            (batch.flow_runs, FLOW_COLUMNS, self.flows),
            (batch.task_runs, TASK_COLUMNS, self.tasks),
            ([with_key(row) for row in batch.kept_runs], TASK_COLUMNS, self.tasks),
        ):
            for row in rows:
                full = padded(row, columns)
                known = kept.get(full[0])
                if known is None or (full[EPOCH] or 1) >= (known[EPOCH] or 1):
                    kept[full[0]] = full
                    if kept is self.tasks:
                        self.results.part(full[0], None if full[DATA] is None else part(full))
        self.lines.extend(tuple(line) for line in batch.logs)
        self.results.kept.update((one.key, one) for one in batch.results)
        self.signals.note(batch)
        if batch.suspended:
            self.owners.suspend(batch, self.signals.waiting(), [run_id for run_id, _ in self.asked])

    async def flow_runs(self, *, limit: int = 100, state: str | None = None, begins: str = "") -> list[FlowRun]:
        """List flow runs, newest first."""
        rows = [row for row in list(self.flows.values()) if row[0].startswith(begins)]
        if state is not None:
            rows = [row for row in rows if state.lower() in {row[4].lower(), row[5].lower()}]
        rows.sort(key=lambda row: (row[7], row[0]), reverse=True)
        return [flow_record(row) for row in rows[:limit]]

    async def crash(self, run: FlowRun, why: str, at: int, stamp: Stamp = CRASHED) -> bool:
        """Give False: no run outlives the process that this store is in."""
        return False

    async def unfinished(self) -> list[FlowRun]:
        """List flow runs that have not ended."""
        rows = [row for row in list(self.flows.values()) if row[END] is None and row[OWNER] != ""]
        return [flow_record(row) for row in sorted(rows, key=lambda row: (row[7], row[0]))]

    async def task_runs(
        self, prefix: str, *, limit: int | None = None, state: str | None = None, slowest: bool = False
    ) -> list[TaskRun]:
        """List task runs in the order in which they were called, or the slowest first."""
        rows = sorted(row for row in list(self.tasks.values()) if row[0].startswith(prefix))
        if state is not None:
            rows = [row for row in rows if row[3] == state.upper()]
        if slowest:
            rows = sorted((row for row in rows if row[5] is not None), key=lambda row: row[4] - row[5])
        return [task_record(row) for row in rows[:limit]]

    async def task_counts(self, prefix: str) -> dict[str, int]:
        """Count task runs by the type of their state."""
        return dict(Counter(row[3] for row in list(self.tasks.values()) if row[0].startswith(prefix)))

    async def children(self, run_ids: Sequence[str]) -> list[FlowRun]:
        """List the flow runs that *run_ids* called, oldest first."""
        wanted = set(run_ids)
        rows = sorted((row for row in list(self.flows.values()) if row[13] in wanted), key=lambda row: (row[7], row[0]))
        return [flow_record(row) for row in rows]

    async def below(self, prefix: str) -> list[FlowRun]:
        """List the flow runs that runs under *prefix* called, oldest first."""
        rows = [row for row in list(self.flows.values()) if row[13] is not None and row[13].startswith(prefix)]
        return [flow_record(row) for row in sorted(rows, key=lambda row: (row[7], row[0]))]

    async def histories(self, run_ids: Collection[str]) -> dict[str, History]:
        """Give what is on record of *run_ids* and of all below them."""

        async def roots(wanted: Collection[str]) -> Sequence[Row]:
            return [self.flows[run_id] for run_id in wanted if run_id in self.flows]

        async def below(prefixes: Collection[str]) -> Sequence[Row]:
            rows = [row for row in list(self.flows.values()) if row[13] is not None and prefix_of(row[13]) in prefixes]
            return sorted(rows, key=lambda row: (row[7], row[0]))

        async def tasks(prefixes: Collection[str]) -> Sequence[Row]:
            return sorted(row for row in list(self.tasks.values()) if prefix_of(row[0]) in prefixes)

        async def results(prefixes: Collection[str]) -> Sequence[Row]:
            return [result_row(one) for one in list(self.results.kept.values()) if prefix_of(one.key) in prefixes]

        return await put_together(Level(roots, below, tasks, results), run_ids)

    async def logs(self, run_ids: Sequence[str], *, limit: int | None = None) -> list[LogLine]:
        """List log lines, oldest first."""
        prefixes = {prefix_of(run_id) for run_id in run_ids}
        lines = [line for line in list(self.lines) if prefix_of(line[0]) in prefixes]
        lines.sort(key=lambda line: int(line[1]))
        return [log_record(line) for line in lines[:limit]]

    async def delete(self, run_id: str) -> int:
        """Remove a flow run and all below it."""
        if run_id not in self.flows:
            return 0
        prefix = prefix_of(run_id)
        below = {run_id, *(task for task in list(self.tasks) if task.startswith(prefix))}
        removed = sum([await self.delete(child.id) for child in await self.children(sorted(below))])
        self.flows.pop(run_id, None)
        self.owners.held.pop(run_id, None)
        self.signals.lose(run_id)
        await self.heard(await self.requests([run_id]))
        for rows in (self.tasks, self.results.kept, self.results.steps):
            for key in [key for key in list(rows) if key.startswith(prefix)]:
                rows.pop(key, None)
        self.lines = [line for line in self.lines if prefix_of(line[0]) != prefix]
        return removed + 1

    async def request(self, request: Request) -> bool:
        """Keep *request* if its run goes on, and forget what was asked of runs that do not."""
        going = {run_id: row for run_id, row in list(self.flows.items()) if row[END] is None}
        self.asked = {key: kept for key, kept in self.asked.items() if kept.run_id in going}
        if request.run_id not in going:
            return False
        self.asked[request.run_id, request.what] = request
        self.owners.rouse(request.run_id)
        return True

    async def requests(self, run_ids: Collection[str]) -> list[Request]:
        """List what was asked of *run_ids*, oldest first."""
        if not self.asked:
            return []
        wanted = set(run_ids)
        found = [request for request in list(self.asked.values()) if request.run_id in wanted]
        return sorted(found, key=lambda request: (request.at, request.run_id))

    async def heard(self, requests: Collection[Request]) -> None:
        """Forget *requests*."""
        for request in requests:
            self.asked.pop((request.run_id, request.what), None)

    async def facts(self) -> dict[str, str]:
        """Say where the data is."""
        return {
            "database": self.where,
            "kept": "in this process only",
            "flow runs": f"{len(self.flows):,}",
            "task runs": f"{len(self.tasks):,}",
        }
