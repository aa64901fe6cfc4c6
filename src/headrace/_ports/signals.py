"""The port of signals: what a store keeps of what was sent to flow runs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from headrace._model.signals import Arrival, Signal


class Signals(Protocol):
    """What was sent to the flow runs in a store. Used as the store is. What durable flows read is told with a batch."""

    async def send(self, signal: Signal) -> Arrival | None:
        """
        Keep *signal* behind those that were sent to its run before, until the run reads it; tell what comes of it.

        Where the run, or the one above all that it is called by, is suspended, that is due from now on. Gives None, and
        keeps nothing, where no such run goes on, or would if somebody took it up.

        Raises:
            StoreUnavailable: It is not kept.
        """
        ...

    async def unread(
        self, run_ids: Collection[str], *, name: str | None = None, limit: int | None = None
    ) -> list[Signal]:
        """List at most *limit* of what was sent to *run_ids*, as *name*, and not read yet, in the order of sending."""
        ...

    async def fresh(self, run_ids: Collection[str]) -> set[tuple[str, str]]:
        """
        Tell which of *run_ids* have something unread, each with its name.

        Made to be called often by who appends: while nobody else wrote since the last time, nothing is read, or told.
        """
        ...

    async def heard(self, signals: Collection[Signal]) -> None:
        """Have *signals* be read. Their keys are known until their run has ended, and all that was sent to it goes."""
        ...

    async def answer(self, signal: Signal, data: str) -> None:
        """Keep *data* as the answer to *signal*, unless it has one; also beyond the end of its run."""
        ...

    async def answered(self, run_id: str, key: str) -> str | None:
        """
        Give the answer to what was sent to a run under *key*; None where there is none yet.

        Raises:
            LookupError: There is no such signal any more: its run has ended without an answer.
        """
        ...
