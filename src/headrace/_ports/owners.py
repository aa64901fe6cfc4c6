"""The port of owners: which process has which durable run, and which runs wait without one."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from headrace._model.records import Owned


class Owners(Protocol):
    """Which process has which durable run. Used as the store is."""

    async def listed(self) -> list[Owned]:
        """List the durable runs that processes have, those first that were taken up first; none that is suspended."""
        ...

    async def one(self, run_id: str) -> Owned | None:
        """Give who has the run *run_id*, suspended or not; None where it has ended, or is not durable by itself."""
        ...

    async def due(self, now: int, limit: int) -> tuple[list[Owned], int | None]:
        """
        List at most *limit* suspended runs that are due: of the highest priority first, then the longest due.

        With them, when the next one after *now* will be, both in nanoseconds since 1970; None: none will by itself.
        """
        ...

    async def claim(self, owned: Collection[Owned], owner: str, now: int) -> set[str]:
        """
        Have *owner* have suspended runs from now on, each under its next epoch, all in one transaction; give their ids.

        Left out are those that are not as *owned* says any more, and those of which somebody is writing just now.
        """
        ...

    async def take(self, owned: Owned, owner: str, *, now: int, crashes: int, steps: int) -> bool:
        """
        Have *owner* have a run from now on, under the next epoch; tell whether it has it.

        It does not where the run is not as *owned* says any more: somebody else was faster, or it has ended.
        """
        ...

    async def reopen(self, owned: Owned) -> bool:
        """
        Have a durable run that has ended be owned anew, as *owned* says; tell whether it is.

        It is not where it has an owner, or another epoch on record than the one before: somebody else was faster.
        """
        ...

    async def leases(self, begins: str) -> dict[str, int]:
        """Give the leases whose names begin so, each with the end of its time, in nanoseconds since 1970."""
        ...
