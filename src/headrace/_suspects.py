"""
Suspects: durable runs with which several processes in a row have ended, none having recorded a step.

One of the runs in those processes is why, and the others are its neighbours. A process that takes runs up by itself
tries suspects one at a time, so that only the guilty one goes on to end processes.
"""

from __future__ import annotations

from typing import Final

from headrace._engine.journal import Journal
from headrace._model.ids import prefix_of
from headrace._model.records import FlowRun, Owned
from headrace._ports import Store

SUSPECT: Final = 2  # processes that have ended in a row
TRIAL: Final = 30.0  # seconds: who records nothing for longer is not to keep the others from their turns


def given_up(run: FlowRun, owned: Owned) -> bool:
    """Tell whether the process that has *run* has left it behind, though it may live."""
    # One that crashed under an earlier epoch has been taken up meanwhile, and has not begun there yet.
    return run.state.is_crashed() and run.epoch == owned.epoch


async def whole(store: Store, run: FlowRun) -> list[FlowRun]:
    """List *run* and the flow runs below it."""
    found = flows = [run]
    while flows:
        flows = [called for flow in flows for called in await store.below(prefix_of(flow.id))]
        found = [*found, *flows]
    return found


async def steps_in(store: Store, run: FlowRun) -> int:
    """Count the steps on record that need not be run again: task runs in *run*, and in the flow runs below it."""
    counts = [await store.task_counts(prefix_of(flow.id)) for flow in await whole(store, run)]
    return sum(count.get("COMPLETED", 0) + count.get("FAILED", 0) for count in counts)


async def on_trial(store: Store, journal: Journal) -> bool:
    """Tell whether this process took up a suspect less than TRIAL ago which has neither ended nor recorded a step."""
    began = journal.now() - int(TRIAL * 1e9)
    for one in await store.owners.listed():
        if one.owner != journal.owner or one.crashes < SUSPECT or one.since < began:
            continue
        for run in await store.flow_runs(begins=one.run_id, limit=1):
            if not given_up(run, one) and await steps_in(store, run) <= one.steps:
                return True
    return False


async def in_turn(store: Store, journal: Journal, left: list[Owned]) -> list[str]:
    """
    Give the ids of the runs of *left*, left behind, that may be taken up now, in the order in which they are to be.

    Suspects come last, those first that have crashed the least; and not while one is on trial. The end of the last
    process counts in here; who takes one up sees whether it had recorded a step there.
    """
    suspects = sorted((one for one in left if one.crashes + 1 >= SUSPECT), key=lambda one: one.crashes)
    others = [one for one in left if one.crashes + 1 < SUSPECT]
    if suspects and await on_trial(store, journal):
        suspects = []
    return [one.run_id for one in [*others, *suspects]]
