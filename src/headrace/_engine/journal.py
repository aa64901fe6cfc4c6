"""
The journal: what runs told and nobody has committed yet, and how a heap of it becomes one batch.

Telling is a list append and never waits. One back office takes what has arrived, folds it, has it committed, and
answers those who asked to know. Writes nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from headrace._engine.runs import FlowRunning, Run, TaskRunning
from headrace._model.events import ENDED, LOG, RUNNING, clipped, history
from headrace._ports import Batch, Observer

CROWDED: Final = 20_000
ASK: Final = ("ASK", "Ask")

Event = tuple[Any, ...]
Answer = Callable[[Exception | None], None]


class Journal:
    """
    Where the runs of a process tell what happens to them.

    Attributes:
        draw: Gives the first four groups of a new root's id.
        level: The durability of roots that do not say.
        observer: Who makes spans; None while nobody listens.
        owner: Host and process, recorded with each flow run.
    """

    def __init__(self, *, draw: Callable[[], str], level: str) -> None:
        self.draw = draw
        self.level = level
        self.observer: Observer | None = None
        self.owner = ""

    def start(self, wake: Callable[[], None], owner: str) -> None:
        """Begin empty, with a back office that *wake* wakes, in the process *owner*."""
        self.told: list[Event] = []
        self.wake = wake
        self.owner = owner
        self.asleep = True

    def tell(self, event: Event) -> None:
        """Note *event*; wakes the back office if it sleeps."""
        self.told.append(event)
        if self.asleep:
            self.asleep = False
            self.wake()

    def ask(self, answer: Answer) -> None:
        """Have *answer* called, on the back office's thread, once all that was told before is committed."""
        self.tell((None, ASK, 0, answer))

    @property
    def crowded(self) -> bool:
        """Whether so much waits for its commit that tellers had better wait, too."""
        return len(self.told) > CROWDED

    def take(self, limit: int) -> list[Event]:
        """
        Take the oldest events, at most *limit*.

        Copy, then delete that many: an append by another thread in between only adds behind them.
        """
        events = self.told[:limit]
        del self.told[: len(events)]
        return events


def fold(events: Iterable[Event]) -> tuple[Batch, list[Run], list[Run], list[Answer]]:
    """
    Fold *events* into one batch; give with it the runs that ended, the flow runs that began, and who asked.

    A run that started and ended within the heap costs one row.
    """
    batch = Batch()
    changed: dict[Run, None] = {}
    began: list[Run] = []
    ended: list[Run] = []
    answers: list[Answer] = []
    for run, stamp, at, said in events:
        if stamp is LOG:
            if run.scope.level != "off":
                batch.logs.append((run.id, at, *said))
            continue
        if stamp is ASK:
            answers.append(said)
            continue
        transitions = run.transitions
        if transitions is None:
            run.transitions = [(stamp, at, said)]
            changed[run] = None
            if run.number == 0 and isinstance(run, FlowRunning):
                began.append(run)
        else:
            transitions.append((stamp, at, said))
            changed[run] = None
        if stamp[0] in ENDED:
            ended.append(run)
    for run in changed:
        if run.scope.level == "off":
            continue
        if run.scope.level == "strict":
            batch.strict = True
        if isinstance(run, TaskRunning):
            batch.task_runs.append(task_row(run))
        else:
            batch.flow_runs.append(flow_row(run))
    return batch, ended, began, answers


def task_row(run: TaskRunning) -> tuple[Any, ...]:
    """
    Give the row of a task run as it now stands: six values, and more only where there is more to say.

    Later values are left out from the end while they are None; a store reads what is missing as NULL.
    """
    transitions = run.transitions or []
    stamp, at, said = transitions[-1]
    kind, state_name = stamp
    finished = kind in ENDED
    scope = run.scope
    head = (f"{scope.prefix}{run.number:012x}", scope.flow_run_id, run.spec.name, kind, transitions[0][1], at if finished else None)
    parent = run.parent
    if said is None and run.attempt == 1 and not run.tags and run.given_name is None and run.flow_attempt == 1:
        if isinstance(parent, FlowRunning) and (len(transitions) == 1 or transitions[0][0] is RUNNING) and state_name.upper() == kind:
            return head
    past = history(transitions)
    tags = sorted(run.tags) or None
    return (*head, run.given_name, run.parent_task_run_id, state_name, clipped(said), run.attempt, tags, past, run.flow_attempt)


def flow_row(run: Run) -> tuple[Any, ...]:
    """Give the row of a flow run as it now stands."""
    transitions = run.transitions or []
    (kind, state_name), at, said = transitions[-1]
    started = next((moment for stamp, moment, _ in transitions if stamp is RUNNING), transitions[0][1])
    trace = run.scope.trace
    return (
        run.id,
        run.name,
        run.spec.name,
        run.spec.version,
        kind,
        state_name,
        clipped(said),
        transitions[0][1],
        started,
        at if kind in ENDED else None,
        run.attempt,
        sorted(run.tags) or None,
        run.parameters,
        None if run.parent is None else run.parent.id,
        run.scope.level,
        run.scope.journal.owner,
        None if trace is None else f"{trace.trace_id:032x}",
        history(transitions),
    )
