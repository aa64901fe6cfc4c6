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
    READ,
    RECALL,
    RESULT,
    ROLLED_BACK,
    RUNNING,
    SUSPENDED,
    WHOLE,
    YIELDED,
    Transition,
    clipped,
    history,
)
from headrace._model.ids import prefix_of, trace_text
from headrace._model.steps import IN_ROW
from headrace._ports import Batch
from headrace._ports.stores import DICT, LIST

KEY = 32  # signs of a cache key that we made: none of them ever needs an escape
NO_TRANSITIONS = (ASK, ERRAND, GROUP, LOG, READ, RECALL, RESULT, YIELDED)
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
        whole: Whether one of them reads the record, and is to find there what is in progress.
        recalls: Keys that are asked for, each with whom to answer.
        errands: What is to be done with the store, each with whom to answer.
        pasts: What is on record of the durable runs that are told of, by the prefix of the runs' ids.
    """

    began: list[Run] = attrs.Factory(LIST)
    ended: list[Run] = attrs.Factory(LIST)
    undone: list[tuple[Run, int]] = attrs.Factory(LIST)
    grouped: list[tuple[Group, int]] = attrs.Factory(LIST)
    answers: list[Answer] = attrs.Factory(LIST)
    whole: bool = False
    recalls: list[tuple[Collection[str], Any]] = attrs.Factory(LIST)
    errands: list[tuple[Any, Any]] = attrs.Factory(LIST)
    pasts: dict[str, Any] = attrs.Factory(DICT)

    def lose(self, root_ids: Collection[str]) -> set[str]:
        """Hear that other processes have the durable runs *root_ids*; give the prefixes of what is theirs."""
        theirs: set[str] = set()
        for prefix, past in self.pasts.items():
            if past.root_id in root_ids:
                past.lose()
                theirs.add(prefix)
        return theirs

    def stop(self, error: Exception) -> None:
        """Hear that the store failed: what was under way stops, even if what is owed can be written later."""
        for past in self.pasts.values():
            past.problem = error

    def written(self, batch: Batch) -> None:
        """Hear that *batch* is committed: what has begun in it is on record, what has ended is nobody's any more."""
        begun = [row[0] for row in batch.owned]
        gone = [*batch.released, *(one.run_id for one in batch.suspended)]
        for past in self.pasts.values() if begun or gone else ():
            past.over = past.over or past.root_id in gone
            if past.root_id in begun:
                past.parameters = None


def without(batch: Batch, prefixes: Collection[str]) -> Batch:
    """Give *batch* without the rows of runs under *prefixes*."""

    def kept(rows: Iterable[Any], place: int = 0) -> list[Any]:
        return [row for row in rows if prefix_of(row[place]) not in prefixes]

    return Batch(
        kept(batch.flow_runs),
        kept(batch.task_runs),
        kept(batch.kept_runs),
        kept(batch.logs),
        kept(batch.results, 1),
        batch.strict,
        kept(batch.owned),
        {run_id: epoch for run_id, epoch in batch.fences.items() if prefix_of(run_id) not in prefixes},
        [run_id for run_id in batch.released if prefix_of(run_id) not in prefixes],
        kept(batch.read),
        kept(batch.suspended),
    )


def fold(
    events: Iterable[Event], owed: Iterable[Run] = (), young: dict[Run, bool] | None = None
) -> tuple[Batch, Heard]:
    """
    Fold *events* into one batch; give with it what else they tell.

    A run that started and ended within the heap costs one row. The rows of the runs *owed* are in it, too. Task runs
    that have only begun are gathered in *young* instead, unless somebody asks for the whole record: most of them soon
    end, and then cost one row, too.
    """
    batch = Batch()
    heard = Heard()
    changed: dict[Run, None] = dict.fromkeys(owed)
    gather(events, changed, batch, heard)
    waits = young is not None and not heard.whole
    if young and heard.whole:
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
        past = run.scope.past
        if past is not None:
            if past.lost is not None:
                continue
            heard.pasts[run.scope.prefix] = past
            if young:
                batch.task_runs += above(run, young)
        if isinstance(run, TaskRunning):
            row = task_row(run)
            (batch.kept_runs if len(row) == KEPT else batch.task_runs).append(row)
        else:
            if past is not None:
                own(run, past, batch)
            batch.flow_runs.append(flow_row(run))
    batch.fences = {past.root_id: past.epoch for past in heard.pasts.values() if not past.over}
    return batch, heard


def gather(events: Iterable[Event], changed: dict[Run, None], batch: Batch, heard: Heard) -> None:
    """Have each run know the states that *events* tell of, and note which have *changed*, and all else that is told."""
    ended = heard.ended
    for run, stamp, at, said in events:
        past: Any = None if run is None or stamp is GROUP else run.scope.past
        if run is not None and past is not None:
            if past.lost is not None:
                continue  # somebody else's by now
            heard.pasts[run.scope.prefix] = past
        beside = stamp is LOG or stamp is RESULT or stamp is YIELDED or stamp is GROUP or stamp is READ
        if run is None or beside:
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
            if run.kept is not None or run.recorded is not None:
                keep(run, batch)


def own(run: Run, past: Any, batch: Batch) -> None:
    """Note of *run*, if it is a durable one itself, that it is this process's, or nobody's any more."""
    if past.root_id != run.id or past.over or not run.transitions:
        return
    began, (last, _, _) = run.transitions[0][1], run.transitions[-1]
    if past.epoch == 1:
        batch.owned.append((run.id, run.scope.journal.owner, 1, began))
    if past.parameters is not None:
        batch.results.append(past.parameters)
    if (last[0] in ENDED and last[0] != "CRASHED") or last is run.last:
        batch.released.append(run.id)  # one that has crashed waits for who takes it up
    elif last is SUSPENDED:
        batch.suspended.append(past.strands.suspension)


def above(run: Run, young: dict[Run, bool]) -> list[Any]:
    """Give the rows of the task runs around *run* that have none yet: it names the one that called it."""
    rows: list[Any] = []
    for one in run.ancestors():
        if one in young and isinstance(one, TaskRunning):
            young.pop(one)
            rows.append(task_row(one))
    return rows


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
    step, run.recorded = run.recorded, None
    small = step is not None and step.codec == "json" and step.size <= IN_ROW and type(run) is TaskRunning
    if small and step is not None and step.data is not None:
        run.value, step = step.data.decode(), None
    if not run.inherited:
        batch.results += [one for one in (kept, step) if one is not None]


def note(run: Any, stamp: Any, at: int, said: Any, batch: Batch, heard: Heard) -> None:
    """Note an event that is no transition of a run."""
    if stamp is LOG:
        if run.scope.level != "off":
            batch.logs.append((run.id, at, *said))
    elif stamp is RESULT:
        if run is None or (run.scope.level != "off" and not run.inherited):
            batch.results.append(said)
    elif stamp is YIELDED:
        batch.results.append(said.stored())
    elif stamp is READ:
        if not run.inherited:
            batch.results.append(said[0])
            batch.read.append((run.id, said[1], said[0].key))
    elif stamp is ASK:
        heard.answers.append(said)
        heard.whole = heard.whole or at == WHOLE
    elif stamp is GROUP:
        heard.grouped.append((run, at))
    elif stamp is RECALL:
        heard.recalls.append(said)
    elif stamp is ERRAND:
        heard.errands.append(said)
    else:
        raise ValueError(f"An event of no run: {stamp!r}")


def durable(events: Iterable[Event], owed: Iterable[Run]) -> list[Run]:
    """Give the durable runs that *events* tell of, and those of *owed*, each once."""
    told = [run for run, stamp, _, _ in events if stamp not in NO_TRANSITIONS]
    return [run for run in dict.fromkeys([*owed, *told]) if run.scope.level == "strict"]


def under_way(run: Run) -> bool:
    """Tell whether *run*, as far as it was told of, has not ended."""
    return not run.transitions or run.transitions[-1][0][0] not in ENDED


def just_begun(run: Run) -> bool:
    """Tell whether *run* is a task run that has begun and done no more: its record may follow a moment later."""
    transitions = run.transitions or ()
    return len(transitions) == 1 and transitions[0][0] is RUNNING and isinstance(run, TaskRunning)


def task_row(run: TaskRunning) -> tuple[Any, ...]:
    """
    Give the row of a task run as it now stands: six values, and more only where there is more to say.

    Later values are left out from the end while they are None; a store reads what is missing as NULL. A seventh value
    alone is the key of its result. None is, too, what the rest tells: that it is Completed, at the first attempt, and
    that what the row holds is kept under the run's own id.
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
    bare = said is None and not run.tags and run.given_name is None and run.flow_attempt == 1 and run.step_id is None
    if usual and bare and type(parent) is FlowRunning:
        key = run.result_key
        if key is None or stamp is RUNNING:
            return head  # what one in progress is to be kept under is told with its end, which may be as narrow
        if len(key) == KEY and key.isalnum():
            return (*head, key)
    return (
        *head,
        run.given_name,
        run.parent_task_run_id,
        None if stamp is COMPLETED else state_name,
        clipped(said),
        None if run.attempt == 1 else run.attempt,
        sorted(run.tags) or None,
        history(transitions),
        None if run.flow_attempt == 1 else run.flow_attempt,
        None if run.value is not None and run.result_key == head[0] else run.result_key,
        run.cached_from,
        run.step_id,
        run.step_args,
        run.value,
    )


def begun(transitions: list[Transition]) -> Transition:
    """Give the transition with which the work began; the first, where it never did."""
    return next((one for one in transitions if one[0] == RUNNING), transitions[0])


def flow_row(run: Run) -> tuple[Any, ...]:
    """Give the row of a flow run as it now stands."""
    transitions = [*run.earlier, *(run.transitions or ())]
    stamp, at, said = transitions[-1]
    kind, state_name = stamp
    trace, past = run.scope.trace, run.scope.past
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
        "" if stamp is SUSPENDED else run.scope.journal.owner,
        None if trace is None else trace_text(trace.trace_id),
        history(transitions),
        run.result_key,
        run.flow_attempt,
        run.step_id,
        run.step_args,
        None if past is None or past.root_id != run.id else run.spec.entrypoint,
        None if past is None else past.epoch,
    )
