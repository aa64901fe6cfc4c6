"""
Races: what ended first, as a durable run has it on record, so that it goes the same way when it is resumed.

Loaded with the past alone. Waits for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from headrace._engine.begin import hear
from headrace._engine.forms import formed
from headrace._engine.promises import Gate, Promise
from headrace._engine.runs import Run
from headrace._engine.step_names import nth
from headrace._engine.waits import FAR, outside, waited
from headrace._model.events import RESULT
from headrace._model.states import State
from headrace._model.steps import step_id
from headrace._ports import Host
from headrace.errors import NonDeterministicFlow

LOST: Final = "its race was over"  # why those that did not win were stopped; by that they are known on record


class Order:
    """
    The order in which ends came to one wait of a durable run: as it is on record, then as they come.

    Each attempt of a run has its own: what failed first in one may be mended in the next.

    Attributes:
        what: The function that waits.
        total: How many may come.
        id: What the wait is called among those of the durable run.
        passed: How often something has come.
    """

    def __init__(self, past: Any, run: Run, what: str, total: int) -> None:
        self.past = past
        self.run = run
        self.what = what
        self.total = total
        by = f"{what}, attempt {run.attempt}"
        self.id = step_id(run.named_by, by, None, nth(run, by))
        self.passed = 0

    @property
    def key(self) -> str:
        """What the next to come is recorded under."""
        return f"{self.run.scope.prefix}{self.id}{self.passed:012x}"

    def ahead(self) -> list[int] | None:
        """
        Come by what is on record next: the places of those that had ended, none where time was up. None: nothing is.

        Raises:
            NonDeterministicFlow: There is no such place.
        """
        kept = self.past.results.get(self.key)
        if kept is None:
            return None
        self.passed += 1
        places: list[int] = self.run.scope.journal.ledger.vault.unpack(kept)
        if max(places, default=0) >= self.total:
            label = f"{self.what}() in {self.run.label}"
            raise NonDeterministicFlow(label, [f"the one at {max(places)}"], [f"{self.total:,} in all"])
        return places

    async def wait(self, host: Host, gate: Gate, of: Sequence[Gate], seconds: float) -> None:
        """
        Wait for *gate*, which one or all *of* others open, for so many *seconds* at most.

        When the time is over is on record: in a run that is resumed, for what is left of it.
        """
        if math.isinf(seconds):
            await host.until([gate], self.patience(of, seconds))
            return
        later = int(seconds * 1e9)
        end: int = self.past.drawn(self.run, f"deadline of {self.id} {self.passed}", lambda: host.clock.now() + later)
        await waited(host, gate, end)

    def patience(self, gates: Iterable[Gate], seconds: float) -> float:
        """Give *seconds*, but never infinite where one of *gates* is for a run outside: this one is to stay then."""
        return min(seconds, FAR) if outside(self.past, gates) else seconds

    def note(self, places: Sequence[int]) -> None:
        """Come by the ends of those at *places*, or by none in time; that is on record before the next step begins."""
        kept = formed(self.run.scope.journal.ledger.vault, self.key, self.run, list(places))
        self.run.scope.tell((self.run, RESULT, self.run.scope.journal.now(), kept))
        self.past.drew()
        self.passed += 1

    def forgo(self, losers: Iterable[Promise]) -> list[Promise] | None:
        """
        Have *losers* of a resumed run end as on record, each once its turn comes, and not be run otherwise.

        None in a run that is new. Else gives those that are at work all the same, for their turn has been.
        """
        past = self.past
        if not past.resumed:
            return None
        found = list(losers)
        past.forgone.update(found)
        return [one for one in found if at_work(past, one)]


def at_work(past: Any, promise: Promise) -> bool:
    """Tell whether the run of *promise* has begun, and does not just end as it is on record."""
    run = None if promise.call is None else promise.call.run
    if run is None or run.step_id is None:
        return False
    known = past.steps.get(run.step_id)
    return known is None or not past.counts(run, known)


def lost(state: State[Any]) -> bool:
    """Tell whether *state* is that of a run which was stopped for another had won."""
    return state.is_cancelled() and LOST in (state.message or "")


def refuse_forgone(run: Run, forgone: Any) -> None:
    """
    See that *run*, which is not on record, is wanted.

    Raises:
        BaseException: It is one of those *forgone*: RunCancelled, or CancelledError on a loop.
    """
    if run.call is not None and run.call.promise in forgone:
        run.stop(LOST)
        hear(run)


async def branch(turn: str, body: Callable[[], Awaitable[None]]) -> None:
    """
    Be the function of the task run that a coroutine in a race is, in a durable run.

    So its steps are told from those of the others, and one that lost need not be gone through again.
    """
    await body()
