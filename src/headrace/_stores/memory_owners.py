"""Who has which durable run, in memory. The twin of the others, by one contract."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from headrace._model.ids import FIRST, prefix_of
from headrace._model.records import Owned
from headrace._ports import Batch
from headrace._stores.rows import FLOW_COLUMNS
from headrace.errors import StaleRuns

if TYPE_CHECKING:
    from headrace._stores.memory_results import MemoryResults

PARENT, EPOCH = map(FLOW_COLUMNS.index, ("parent_id", "epoch"))


class MemoryOwners:
    """The owners; leases are those of *results*, and *flows* the flow runs on record."""

    def __init__(self, results: MemoryResults, flows: Mapping[str, Sequence[Any]]) -> None:
        self.results = results
        self.flows = flows
        self.held: dict[str, Owned] = {}

    def fence(self, batch: Batch) -> None:
        """
        Note who owns what begins in *batch*, and let go of what ends in it.

        Raises:
            StaleRuns: Somebody else has runs of it by now.
        """
        begun = {row[0]: begun_by(*row) for row in batch.owned if row[0] not in self.held}
        held = {**self.held, **begun}
        stale = [
            run_id
            for run_id, epoch in batch.fences.items()
            if run_id in self.flows and (run_id not in held or held[run_id].epoch != epoch)
        ]
        if stale:
            raise StaleRuns(stale)
        self.held = {run_id: one for run_id, one in held.items() if run_id not in batch.released}

    def suspend(self, batch: Batch, unread: Collection[tuple[str, str]], asked: Iterable[str]) -> None:
        """
        Let go of what is suspended in *batch*, once that is kept.

        Args:
            unread: The flow runs to which something was sent, and under which name.
            asked: Those of which something was asked.
        """
        wanted = {above for run_id in asked for above in self.above(run_id)}
        for run_id, wake_at, waits in batch.suspended:
            at_once = run_id in wanted or any(wait in unread for wait in waits)
            self.held[run_id] = attrs.evolve(self.held[run_id], owner="", crashes=0, wake_at=0 if at_once else wake_at)

    def rouse(self, run_id: str) -> bool:
        """Have what is suspended of *run_id* and the runs above it be due; tell whether anything is."""
        waiting = [
            self.held[above] for above in self.above(run_id) if above in self.held and self.held[above].suspended
        ]
        self.held.update((one.run_id, attrs.evolve(one, wake_at=0)) for one in waiting)
        return bool(waiting)

    def above(self, run_id: str) -> Iterator[str]:
        """Give *run_id* and the ids of the flow runs above it."""
        above: str | None = run_id
        while above is not None:
            yield above
            row = self.flows.get(above)
            parent = None if row is None else row[PARENT]
            above = None if parent is None else prefix_of(parent) + FIRST

    async def listed(self) -> list[Owned]:
        """List the durable runs that processes have."""
        had = [one for one in list(self.held.values()) if not one.suspended]
        return sorted(had, key=lambda one: (one.since, one.run_id))

    async def one(self, run_id: str) -> Owned | None:
        """Give who has *run_id*."""
        return self.held.get(run_id)

    async def due(self, now: int, limit: int) -> tuple[list[Owned], int | None]:
        """List suspended runs that are due, and tell when the next one will be."""
        times = [(one.wake_at, one) for one in list(self.held.values()) if one.suspended and one.wake_at is not None]
        due = sorted((-one.priority, at, one.run_id) for at, one in times if at <= now)
        following = min((at for at, _ in times if at > now), default=None)
        return [self.held[run_id] for _, _, run_id in due[:limit]], following

    async def claim(self, owned: Collection[Owned], owner: str, now: int) -> set[str]:
        """Have *owner* have suspended runs."""
        known = [(one, self.held.get(one.run_id)) for one in owned]
        got = [kept for said, kept in known if kept is not None and kept.suspended and kept.epoch == said.epoch]
        for one in got:
            self.held[one.run_id] = attrs.evolve(one, owner=owner, epoch=one.epoch + 1, since=now, wake_at=None)
        return {one.run_id for one in got}

    async def take(self, owned: Owned, owner: str, *, now: int, crashes: int, steps: int) -> bool:
        """Have *owner* have a run, if it still is as *owned* says."""
        known = self.held.get(owned.run_id)
        if known is None or (known.epoch, known.owner) != (owned.epoch, owned.owner):
            return False
        self.held[owned.run_id] = attrs.evolve(
            known, owner=owner, epoch=known.epoch + 1, since=now, crashes=crashes, steps=steps, wake_at=None
        )
        return True

    async def reopen(self, owned: Owned) -> bool:
        """Have a run that has ended be owned anew, as *owned* says, if nobody was faster."""
        row = self.flows.get(owned.run_id)
        if owned.run_id in self.held or row is None or (row[EPOCH] or 1) != owned.epoch - 1:
            return False
        self.held[owned.run_id] = owned
        return True

    async def leases(self, begins: str) -> dict[str, int]:
        """Give the leases whose names begin so."""
        return {name: expires for name, (_, expires) in self.results.leases.items() if name.startswith(begins)}


def begun_by(run_id: str, owner: str, epoch: int, since: int, priority: int = 0) -> Owned:
    """Read the row of a run that begins."""
    return Owned(run_id, owner, epoch, since, priority=priority)
