"""Results and leases in memory: the part of the store in memory that outlives no process, either."""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Unpack

from headrace._model.filters import KeyFilter
from headrace._model.ids import prefix_of
from headrace._model.records import StoredResult
from headrace._ports import Which


class MemoryResults:
    """Keeps results and leases in dicts."""

    def __init__(self) -> None:
        self.kept: dict[str, StoredResult] = {}
        # What steps came to that is part of their rows, by their runs.
        self.steps: dict[str, StoredResult] = {}
        self.leases: dict[str, tuple[str, int]] = {}
        self.guard = threading.Lock()

    def part(self, key: str, kept: StoredResult | None) -> None:
        """Keep what is part of the row of the task run *key*; None: nothing is any more."""
        if kept is None:
            self.steps.pop(key, None)
        else:
            self.steps[key] = kept

    async def recall(self, keys: Collection[str]) -> dict[str, StoredResult]:
        """Give what is kept under *keys*."""
        return {key: kept for key in keys if (kept := self.look(key)) is not None}

    def look(self, key: str) -> StoredResult | None:
        """Give what is kept under *key*."""
        return self.steps.get(key) or self.kept.get(key)

    glance = look

    async def learn(self, known: KeyFilter, limit: int) -> None:
        """Tell nothing: to look into a dict takes no longer than to look into a filter."""

    def close(self) -> None:
        """Keep what there is."""

    async def under(self, prefix: str) -> dict[str, StoredResult]:
        """Give all whose keys begin with *prefix*."""
        found = [*self.kept.items(), *self.steps.items()]
        return {key: kept for key, kept in found if key.startswith(prefix)}

    async def listed(
        self, *, limit: int = 100, after: StoredResult | None = None, **which: Unpack[Which]
    ) -> list[StoredResult]:
        """List results, newest first."""
        found = [one for one in list(self.kept.values()) if meant(one, which)]
        if after is not None:
            found = [one for one in found if order(one) < order(after)]
        return [one._replace(data=None) for one in sorted(found, key=order, reverse=True)[:limit]]

    async def total(self, **which: Unpack[Which]) -> tuple[int, int]:
        """Count results and their bytes."""
        found = [one.size for one in list(self.kept.values()) if meant(one, which)]
        return len(found), sum(found)

    async def taken(self, results: Collection[StoredResult]) -> set[tuple[str, str]]:
        """Give the places of *results* that are still needed."""
        places = {(one.storage, one.name) for one in results}
        kept = [(one.storage, one.name) for one in list(self.kept.values())]
        return {(storage, name) for storage, name in kept if storage and name and (storage, name) in places}

    async def forget(self, results: Collection[StoredResult]) -> int:
        """Remove *results*."""
        gone = 0
        for one in results:
            there = self.kept.get(one.key)
            if there is not None and there.created == one.created:
                del self.kept[one.key]
                gone += 1
        return gone

    async def claim(self, name: str, owner: str, *, now: int, until: int, dead: str = "") -> tuple[str, int] | None:
        """Have *owner* hold *name*, unless another does."""
        holder = self.leases.get(name)
        if holder is not None and holder[0] not in {owner, dead} and holder[1] > now:
            return holder
        self.leases[name] = (owner, until)
        return None

    async def renew(self, names: Collection[str], owner: str, until: int) -> None:
        """Have *owner* hold *names* for longer."""
        for name in names:
            if self.leases.get(name, ("", 0))[0] == owner:
                self.leases[name] = (owner, until)

    async def release(self, name: str, owner: str) -> None:
        """Give *name* back."""
        if self.leases.get(name, ("", 0))[0] == owner:
            del self.leases[name]


def order(one: StoredResult) -> tuple[int, str]:
    """Give what results are sorted by."""
    return one.created, one.key


def meant(one: StoredResult, which: Which) -> bool:
    """Tell whether all of *which* holds of *one*."""
    task, before, expired = which.get("task"), which.get("before"), which.get("expired")
    return (
        one.key.startswith(which.get("begins", ""))
        and (task is None or one.task_name == task)
        and (before is None or one.created < before)
        and (expired is None or (one.expires is not None and one.expires <= expired))
        and not (which.get("cached") and prefix_of(one.key) == prefix_of(one.run_id))
    )
