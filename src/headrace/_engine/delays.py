"""
Delays: the time between two attempts in a durable run. When it ends is on record, so that it is waited for once.

A task that is run again goes on with the attempt that was to come, after what is left of the time before it.
"""

from __future__ import annotations

from typing import Any

from headrace._engine.forms import formed
from headrace._engine.promises import Gate
from headrace._engine.runs import Run
from headrace._engine.waits import waited
from headrace._model.events import RESULT, RETRYING
from headrace._model.steps import step_id
from headrace._ports import Host


async def delayed(past: Any, run: Run, host: Host, seconds: float) -> None:
    """Wait for so many *seconds* until the next attempt of *run*, which is part of what *past* is of."""
    if not host.may_wait():
        await host.sleep(seconds)
        return
    journal, key = run.scope.journal, place(run)
    if key not in past.results:
        past.strands.refuse()
        end = journal.now() + int(seconds * 1e9)
        kept = past.results[key] = formed(journal.ledger.vault, key, run, end)
        run.scope.tell((run, RESULT, journal.now(), kept))
        past.drew()
        await past.secure(run, host)
    await rest(past, run, host)


async def caught_up(past: Any, run: Run, host: Host) -> None:
    """Have the task run *run* be at the attempt after those that are on record; wait for what is left before it."""
    first = run.attempt
    while place(run) in past.results:
        await rest(past, run, host)
        run.attempt += 1
    if run.attempt > first:
        run.scope.tell((run, RETRYING, host.clock.now(), None))


async def rest(past: Any, run: Run, host: Host) -> None:
    """Wait until the end on record of the delay after the present attempt of *run*."""
    end: int = run.scope.journal.ledger.vault.unpack(past.results[place(run)])
    await waited(host, Gate(), end, between=True)


def place(run: Run) -> str:
    """Give what the end of the delay after the present attempt of *run* is recorded under."""
    what = f"delay {run.flow_attempt}.{run.attempt}"
    return f"{run.scope.prefix}{step_id(run.step_id or run.id, what, None, 1)}"
