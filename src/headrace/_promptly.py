"""
Promptly: a handful of events is committed on the thread that asks for it, where nobody is in the way.

Otherwise two threads hand the interpreter to each other and back for each step of a flow, which costs more than the
step and its commit. Spans are still made by the back office, a moment later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Protocol

from headrace._engine.fold import Heard
from headrace._engine.journal import SAFE, Event, Journal, Said
from headrace._engine.life import drive
from headrace._engine.runs import TaskRunning
from headrace._loops import idle
from headrace._model.events import ASK, LOG, READ, RESULT, YIELDED
from headrace._ports import Batch, Store
from headrace._undisturbed import may_be_disturbed, undisturbed

HANDFUL: Final = 64  # events: more are better folded and written by a thread that nobody waits in
ADDED: Final = (ASK, LOG, READ, RESULT, YIELDED)
IN_A_ROW: Final = 500  # commits; then the back office has one, with which SQLite moves its write-ahead log over


class Office(Protocol):
    """What of the back office is used here."""

    store: Store
    journal: Journal
    problem: Exception | None
    busy: Any
    late: Any
    prompt: int

    def may_be_prompt(self) -> bool:
        """Tell whether nothing waits that is to be written first."""
        ...

    def folded(self, events: list[Event]) -> tuple[Batch, Heard]:
        """Fold *events*."""
        ...

    async def commit(self, batch: Batch, heard: Heard, events: Sequence[Event]) -> bool:
        """Write *batch*; tell whether that is over, well or not."""
        ...

    def reply(self, answers: Any, problem: Exception | None) -> None:
        """Tell who asked."""
        ...


def commit(office: Office, on_loop: bool) -> Said | None:
    """
    Commit what was told, on this thread; give what went wrong, or None where the back office is to do it.

    It is where the store awaits something or somebody, where there is more than a handful to write, or more to do than
    to write, where a signal may be heard amid it, and now and then; *on_loop*, where nothing else is to be held up,
    also where it waits for the disk, unless the loop has nothing else to do.
    """
    store = office.store
    if store.suspends or (on_loop and not store.quick and not idle(asyncio.get_running_loop())) or may_be_disturbed():
        return None
    return undisturbed(lambda: attempt(office))


def attempt(office: Office) -> Said | None:
    """Do it, unless the back office is at work, or was called upon amid this very thing."""
    journal, store = office.journal, office.store
    if not office.busy.acquire(blocking=False):
        return None
    try:
        count = len(journal.told)
        if not store.patient or count > HANDFUL or not office.may_be_prompt() or not plain(journal.told[:count]):
            return None
        events = journal.take(count)
        store.patient = False
        try:
            batch, heard = office.folded(events)
            over = drive(office.commit(batch, heard, events))
        finally:
            store.patient = True
        if not over:
            return None
        office.prompt += 1
        office.late.append(heard)
        problem = office.problem
    finally:
        office.busy.release()
    office.reply(heard.answers, problem)
    return SAFE if problem is None else Said(problem)


def theirs(events: Sequence[Event]) -> bool:
    """Tell whether *events* may be left to those who tell them and commit promptly: nothing is asked of the office."""
    told = [*events]  # more may come meanwhile
    return len(told) <= HANDFUL and plain(told) and all(stamp is not ASK for _, stamp, _, _ in told)


def plain(events: Sequence[Event]) -> bool:
    """
    Tell whether all that *events* say is to be written, and nothing else.

    Nothing is asked of the store; and no flow run, or task run outside of any, begins or ends: spans of those are made
    before anybody hears that it is on record, those of steps a moment later.
    """
    for run, stamp, _, _ in events:
        if stamp not in ADDED and not (isinstance(run, TaskRunning) and run.parent is not None):
            return False
    return True
