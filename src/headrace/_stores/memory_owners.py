"""Who has which durable run, in memory. The twin of the others, by one contract."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

import attrs

from headrace._model.records import Owned
from headrace._ports import Batch
from headrace.errors import StaleRuns

if TYPE_CHECKING:
    from headrace._stores.memory_results import MemoryResults


class MemoryOwners:
    """The owners; leases are those of *results*, and *flows* the flow runs on record."""

    def __init__(self, results: MemoryResults, flows: Container[str]) -> None:
        self.results = results
        self.flows = flows
        self.held: dict[str, Owned] = {}

    def fence(self, batch: Batch) -> None:
        """
        Note who owns what begins in *batch*, and let go of what ends in it.

        Raises:
            StaleRuns: Somebody else has runs of it by now.
        """
        begun = {row[0]: Owned(*row) for row in batch.owned if row[0] not in self.held}
        held = {**self.held, **begun}
        stale = [
            run_id
            for run_id, epoch in batch.fences.items()
            if run_id in self.flows and (run_id not in held or held[run_id].epoch != epoch)
        ]
        if stale:
            raise StaleRuns(stale)
        self.held = {run_id: one for run_id, one in held.items() if run_id not in batch.released}

    async def listed(self) -> list[Owned]:
        """List the durable runs that have not ended."""
        return sorted(self.held.values(), key=lambda one: (one.since, one.run_id))

    async def take(self, owned: Owned, owner: str, *, now: int, crashes: int, steps: int) -> bool:
        """Have *owner* have a run, if it still is as *owned* says."""
        known = self.held.get(owned.run_id)
        if known is None or known.epoch != owned.epoch:
            return False
        self.held[owned.run_id] = attrs.evolve(
            known, owner=owner, epoch=known.epoch + 1, since=now, crashes=crashes, steps=steps
        )
        return True

    async def leases(self, begins: str) -> dict[str, int]:
        """Give the leases whose names begin so."""
        return {name: expires for name, (_, expires) in self.results.leases.items() if name.startswith(begins)}
