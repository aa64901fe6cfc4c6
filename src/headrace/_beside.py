"""
Beside: a lone step is committed on the event loop that waits for it, where the store awaits a server.

Otherwise two threads wake each other for each step of a flow, which costs as much as the step and its commit. There is
one commit at a time all the same: the back office waits until this one is over, and takes it over where it came to
nothing, or its loop shows no sign of life. Spans are made by the back office, a moment later.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, Protocol

from headrace import _promptly as promptly
from headrace._engine.fold import Heard
from headrace._engine.journal import Answer, Event, Journal
from headrace._homes import quietly
from headrace._ports import Batch
from headrace._ports.beside import Beside
from headrace._undisturbed import may_be_disturbed, undisturbed

PATIENCE: Final = 0.2  # seconds without a sign of life; a loop that calls a sync flow waits for the back office itself
LONGEST: Final = 15.0  # seconds, whatever signs there are


class Office(Protocol):
    """What of the back office is used here."""

    journal: Journal
    beside: Beside | None
    busy: Any
    lent: Lent | None
    wants: bool
    halfway: tuple[list[Event], Batch, Heard] | None
    late: deque[Heard]
    prompt: int
    commits: int

    def may_be_prompt(self) -> bool:
        """Tell whether nothing waits that is to be written first."""
        ...

    def folded(self, events: list[Event]) -> tuple[Batch, Heard]:
        """Fold *events*."""
        ...

    def wake(self) -> None:
        """Have the back office look at the journal."""
        ...

    def reply(self, answers: Sequence[Answer], problem: Exception | None) -> None:
        """Tell who asked."""
        ...


class Lent:
    """
    A commit under way on the loop of who waits for it.

    Attributes:
        told: Who hears of its end, on that loop.
        decided: Taken by who says what came of it: that loop, or the back office.
        ring: Wakes the back office, where that waits for the end.
    """

    def __init__(self, office: Office, beside: Beside, work: tuple[list[Event], Batch, Heard], told: Answer) -> None:
        self.office = office
        self.beside = beside
        self.work = work
        self.told = told
        self.loop = asyncio.get_running_loop()
        self.decided = threading.Lock()
        self.ring: Any = None

    def ended(self, written: bool) -> None:
        """Hear, on that loop, that it is over, and whether it is on record."""
        undisturbed(lambda: self.settle(written))

    def settle(self, written: bool) -> None:
        """Say what came of it, unless the back office has taken it over."""
        if not self.decided.acquire(blocking=False):
            return
        office, (_, _, heard) = self.office, self.work
        if written:
            office.commits += 1
            office.prompt += 1
            office.late.append(heard)
            office.lent = None
            office.reply([*heard.answers, self.told], None)
        else:
            self.hand_over()
            office.journal.asleep = False
            office.wake()
        if self.ring is not None:
            self.ring()

    def hand_over(self) -> None:
        """Leave it to the back office, as what it is to write first."""
        _, _, heard = self.work
        heard.answers.append(lambda error: quietly(self.loop, self.told, error))
        self.office.halfway = self.work
        self.office.lent = None

    async def over(self) -> None:
        """Wait, as the back office, until it is over; take it over where nobody can be expected to end it."""
        here, ended = asyncio.get_running_loop(), asyncio.Event()
        self.ring = lambda: quietly(here, ended.set)
        last = here.time() + LONGEST
        while self.office.lent is self:
            signs: list[bool] = []
            quietly(self.loop, signs.append, True)
            alarm = here.call_later(PATIENCE, ended.set)
            await ended.wait()
            ended.clear()
            alarm.cancel()
            given_up = not signs or here.time() > last
            if given_up and self.office.lent is self and self.decided.acquire(blocking=False):
                self.beside.abandon()
                self.hand_over()


def commit(office: Office, told: Answer) -> bool:
    """
    Begin to commit what was told, on the loop that runs here, and have *told* hear there what came of it.

    Gives False, and the back office is to do it, where that is more than a lone step, something else is to be done
    first, a signal may be heard amid it, or there is no connection for that loop.
    """
    beside = office.beside
    if beside is None or may_be_disturbed():
        return False
    return undisturbed(lambda: begin(office, beside, told))


def begin(office: Office, beside: Beside, told: Answer) -> bool:
    """Do it, unless the back office is at work."""
    journal = office.journal
    if not office.busy.acquire(blocking=False):
        return False
    try:
        count = len(journal.told)
        fits = count <= promptly.HANDFUL and office.may_be_prompt() and promptly.plain(journal.told[:count])
        if not fits or not beside.ready():
            return False
        events = journal.take(count)
        batch, heard = office.folded(events)
        work = events, batch, heard
        if not beside.takes(batch):
            office.halfway = work
            return False
        lent = office.lent = Lent(office, beside, work, told)
    finally:
        office.busy.release()
    beside.commit(batch, lent.ended)
    return True


async def over(office: Office) -> None:
    """Wait until no commit is under way on another loop; none begins there as long as the office `wants` its turn."""
    if office.beside is None:
        return
    office.wants = True
    with office.busy:
        lent = office.lent  # of one that had begun by then
    if lent is not None:
        await lent.over()
