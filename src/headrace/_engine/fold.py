"""
Folding: a heap of events becomes one batch of rows, a row a run, as the runs now stand. Pure; the back office calls it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import attrs

from headrace._engine.groups import Group
from headrace._engine.journal import Answer, Event
from headrace._engine.runs import FlowRunning, Run, TaskRunning
from headrace._model.events import (
    ASK,
    COMPLETED,
    ENDED,
    ERRAND,
    GROUP,
    LOG,
    RECALL,
    RESULT,
    ROLLED_BACK,
    RUNNING,
    Transition,
    clipped,
    history,
)
from headrace._model.ids import trace_text
from headrace._ports import Batch

KEY = 32  # signs of a cache key that we made: none of them ever needs an escape
KEPT = 7  # values of a task run's row that ends with such a key


@attrs.define
class Heard:
    """
    What a heap of events tells beside its rows.

    Attributes:
        began: The flow runs that began.
        ended: The runs that ended.
        undone: The runs that were rolled back after they had completed, and when.
        grouped: The maps and streams of which every run has ended, and when.
        answers: Who asked to be called once all is committed.
        recalls: Keys that are asked for, each with whom to answer.
        errands: What is to be done with the store, each with whom to answer.
    """

    began: list[Run] = attrs.Factory(list[Run])
    ended: list[Run] = attrs.Factory(list[Run])
    undone: list[tuple[Run, int]] = attrs.Factory(list[tuple[Run, int]])
    grouped: list[tuple[Group, int]] = attrs.Factory(list[tuple[Group, int]])
    answers: list[Answer] = attrs.Factory(list[Answer])
    recalls: list[tuple[Collection[str], Any]] = attrs.Factory(list[tuple[Collection[str], Any]])
    errands: list[tuple[Any, Any]] = attrs.Factory(list[tuple[Any, Any]])


def fold(
    events: Iterable[Event], owed: Iterable[Run] = (), young: dict[Run, bool] | None = None
) -> tuple[Batch, Heard]:
    """
    Fold *events* into one batch; give with it what else they tell.

    A run that started and ended within the heap costs one row. The rows of the runs *owed* are in it, too. Task runs
    that have only begun are gathered in *young* instead, unless somebody asks: most of them soon end, and then cost
    one row, too. With the answer to who asks, all that was told is in the batch.
    """
    batch = Batch()
    heard = Heard()
    changed: dict[Run, None] = dict.fromkeys(owed)
    ended = heard.ended
    for run, stamp, at, said in events:
        if run is None or stamp is LOG or stamp is RESULT or stamp is GROUP:
            note(run, stamp, at, said, batch, heard)
            continue
        transitions = run.transitions
        if transitions is None:
            run.transitions = [(stamp, at, said)]
            changed[run] = None
            if run.number == 0 and isinstance(run, FlowRunning):
                heard.began.append(run)
        elif transitions[-1][0][0] in ENDED:
            keep(run, batch)
            if told_late(run, stamp, at, said, heard):
                changed[run] = None
            continue
        else:
            transitions.append((stamp, at, said))
            changed[run] = None
        if stamp[0] in ENDED or stamp is run.last:
            ended.append(run)
            if run.kept is not None:
                keep(run, batch)
    waits = young is not None and not heard.answers
    if young and heard.answers:
        changed = {**dict.fromkeys(young), **changed}
        young.clear()
    for run in changed:
        if run.scope.level == "off" or run.inherited:
            continue
        if young is not None:
            if waits and just_begun(run):
                young[run] = False
                continue
            young.pop(run, None)
        if run.scope.level == "strict":
            batch.strict = True
        if isinstance(run, TaskRunning):
            row = task_row(run)
            (batch.kept_runs if len(row) == KEPT else batch.task_runs).append(row)
        else:
            batch.flow_runs.append(flow_row(run))
    return batch, heard


def told_late(run: Run, stamp: Any, at: int, said: Any, heard: Heard) -> bool:
    """
    Note what is told of a run that had ended; tell whether that changes its record.

    It does where the run is rolled back, which may come to be told in the very moment of its end. A run that was asked
    to stop in that moment has ended all the same, and so has one that its flow had given up.
    """
    transitions = run.transitions or []
    if stamp is ROLLED_BACK:
        heard.undone.append((run, at))
        transitions.append((stamp, at, said))
    elif stamp is COMPLETED and transitions[-1][0] is ROLLED_BACK:
        transitions.insert(-1, (stamp, at, said))
    else:
        return False
    return True


def keep(run: Run, batch: Batch) -> None:
    """Have the result of *run* stored that was to be stored with its end."""
    kept, run.kept = run.kept, None
    if kept is not None and not run.inherited:
        batch.results.append(kept)


def note(run: Any, stamp: Any, at: int, said: Any, batch: Batch, heard: Heard) -> None:
    """Note an event that is no transition of a run."""
    if stamp is LOG:
        if run.scope.level != "off":
            batch.logs.append((run.id, at, *said))
    elif stamp is RESULT:
        if run is None or (run.scope.level != "off" and not run.inherited):
            batch.results.append(said)
    elif stamp is ASK:
        heard.answers.append(said)
    elif stamp is GROUP:
        heard.grouped.append((run, at))
    elif stamp is RECALL:
        heard.recalls.append(said)
    elif stamp is ERRAND:
        heard.errands.append(said)
    else:
        raise ValueError(f"An event of no run: {stamp!r}")


def just_begun(run: Run) -> bool:
    """Tell whether *run* is a task run that has begun and done no more, and whose record may follow a moment later."""
    transitions = run.transitions or ()
    batched = run.scope.level != "strict"
    return batched and len(transitions) == 1 and transitions[0][0] is RUNNING and isinstance(run, TaskRunning)


def task_row(run: TaskRunning) -> tuple[Any, ...]:
    """
    Give the row of a task run as it now stands: six values, and more only where there is more to say.

    Later values are left out from the end while they are None; a store reads what is missing as NULL. A seventh value
    alone is the key of its result.
    """
    transitions = run.transitions or []
    stamp, at, said = transitions[-1]
    scope = run.scope
    kind, state_name = stamp
    finished = stamp is COMPLETED or kind in ENDED or stamp is run.last
    began = transitions[0] if len(transitions) < 3 else begun(transitions)
    head = (
        f"{scope.prefix}{run.number:012x}",
        scope.flow_run_id,
        run.spec.name,
        kind,
        began[1],
        at if finished else None,
    )
    parent = run.parent
    usual = stamp is RUNNING or (stamp is COMPLETED and len(transitions) == 2 and transitions[0][0] is RUNNING)
    bare = said is None and not run.tags and run.given_name is None and run.flow_attempt == 1
    if usual and bare and type(parent) is FlowRunning:
        key = run.result_key
        if key is None or stamp is RUNNING:
            return head  # what one in progress is to be kept under is told with its end, which may be as narrow
        if len(key) == KEY and key.isalnum():
            return (*head, key)
    past = history(transitions)
    tags = sorted(run.tags) or None
    return (
        *head,
        run.given_name,
        run.parent_task_run_id,
        state_name,
        clipped(said),
        run.attempt,
        tags,
        past,
        run.flow_attempt,
        run.result_key,
        run.cached_from,
    )


def begun(transitions: list[Transition]) -> Transition:
    """Give the transition with which the work began; the first, where it never did."""
    return next((one for one in transitions if one[0] is RUNNING), transitions[0])


def flow_row(run: Run) -> tuple[Any, ...]:
    """Give the row of a flow run as it now stands."""
    transitions = run.transitions or []
    stamp, at, said = transitions[-1]
    kind, state_name = stamp
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
        begun(transitions)[1],
        at if kind in ENDED or stamp is run.last else None,
        run.attempt,
        sorted(run.tags) or None,
        run.parameters,
        None if run.parent is None else run.parent.id,
        run.scope.level,
        run.scope.journal.owner,
        None if trace is None else trace_text(trace.trace_id),
        history(transitions),
        run.result_key,
    )
