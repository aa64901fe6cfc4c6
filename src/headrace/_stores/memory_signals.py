"""What was sent to runs, in memory. The twin of the others, by one contract."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import attrs

from headrace._model.signals import Arrival, Signal
from headrace._ports import Batch
from headrace._stores.memory_owners import MemoryOwners
from headrace._stores.rows import FLOW_COLUMNS

STATE: Final = FLOW_COLUMNS.index("state_type")
END: Final = FLOW_COLUMNS.index("end_time")
LEVEL: Final = FLOW_COLUMNS.index("durability")


@attrs.define
class Kept:
    """One that was sent; whether it was read, and what was answered."""

    signal: Signal
    read: bool = False
    answer: str | None = None


class MemorySignals:
    """The signals to *flows*, the flow runs on record, of which *owners* tells who has them."""

    def __init__(self, flows: Mapping[str, Sequence[Any]], owners: MemoryOwners) -> None:
        self.flows = flows
        self.owners = owners
        self.kept: dict[int, Kept] = {}
        self.numbers = itertools.count(1)

    def note(self, batch: Batch) -> None:
        """Have what *batch* says was read be read, and forget what was sent to runs that have ended in it."""
        self.mark([row[1] for row in batch.read])
        for row in batch.flow_runs if self.kept else ():
            if not self.goes_on(row[0]):
                self.lose(row[0], answers=False)

    def goes_on(self, run_id: str) -> bool:
        """Tell whether a run reads what is sent to it, or would if somebody took it up."""
        row = self.flows.get(run_id)
        return row is not None and (row[END] is None or (row[STATE] == "CRASHED" and row[LEVEL] == "strict"))

    def lose(self, run_id: str, *, answers: bool = True) -> None:
        """Forget what was sent to a run, and, unless told otherwise, its *answers*."""
        for one in self.to([run_id]):
            if answers or one.answer is None:
                del self.kept[one.signal.id]

    def to(self, run_ids: Collection[str]) -> list[Kept]:
        """Give what was sent to *run_ids*, in order."""
        return [one for one in list(self.kept.values()) if one.signal.run_id in run_ids]

    def waiting(self) -> set[tuple[str, str]]:
        """Give the runs and names of what was not read yet."""
        return {(one.signal.run_id, one.signal.name) for one in list(self.kept.values()) if not one.read}

    def under(self, run_id: str, key: str | None) -> Kept | None:
        """Give what was sent under *key*."""
        return next((one for one in self.to([run_id]) if key is not None and one.signal.key == key), None)

    def mark(self, numbers: Collection[int]) -> None:
        """Have the signals *numbers* be read."""
        for number in numbers:
            one = self.kept.get(number)
            if one is not None and one.signal.key is None:
                del self.kept[number]
            elif one is not None:
                one.read = True

    async def send(self, signal: Signal) -> Arrival | None:
        """Keep *signal* if its run goes on."""
        if not self.goes_on(signal.run_id):
            return None
        if self.under(signal.run_id, signal.key) is not None:
            return Arrival.KNOWN
        number = next(self.numbers)
        self.kept[number] = Kept(attrs.evolve(signal, id=number))
        return Arrival.WAKES if self.owners.rouse(signal.run_id) else Arrival.NEW

    async def unread(
        self, run_ids: Collection[str], *, name: str | None = None, limit: int | None = None
    ) -> list[Signal]:
        """List what was not read yet."""
        found = [one.signal for one in self.to(run_ids) if not one.read and name in {None, one.signal.name}]
        return found[:limit]

    async def fresh(self, run_ids: Collection[str]) -> set[tuple[str, str]]:
        """Tell who has something unread."""
        return {(one.run_id, one.name) for one in await self.unread(run_ids)}

    async def heard(self, signals: Collection[Signal]) -> None:
        """Have *signals* be read."""
        self.mark([signal.id for signal in signals])

    async def answer(self, signal: Signal, data: str) -> None:
        """Keep *data* as the answer to *signal*."""
        one = self.under(signal.run_id, signal.key)
        if one is not None and one.answer is None:
            one.answer = data

    async def answered(self, run_id: str, key: str) -> str | None:
        """Give the answer to what was sent under *key*."""
        one = self.under(run_id, key)
        if one is None:
            raise LookupError(key)
        return one.answer
