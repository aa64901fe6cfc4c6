"""
Spans of the past: runs on record, made again as far as an observer has to know them in order to make their spans.

They are of what a replayed run had called in a process that is gone: nobody calls that again.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from headrace._engine.runs import FlowRunning, Run, Scope, TaskRunning
from headrace._engine.spec import Spec
from headrace._engine.step_names import Recorded, called, transitions
from headrace._model.events import Transition
from headrace._model.ids import PREFIX_LENGTH, prefix_of
from headrace._model.records import FlowRun

Made = tuple[Run, list[Transition]]
MOST: Final = 500  # called by one run: what is more was a map that was shown as one span, and that is not on record


def caller(one: Recorded) -> str | None:
    """Give the id of the run that called *one*."""
    return one.parent_id if isinstance(one, FlowRun) else (one.parent_task_run_id or one.flow_run_id)


def by_caller(runs: Iterable[Recorded], since: datetime) -> dict[str, list[Recorded]]:
    """
    Give those of *runs* that ended after *since*, by who called them.

    Of more than MOST by one run, only those that did not simply complete.
    """
    found: dict[str, list[Recorded]] = {}
    for one in runs:
        above = caller(one)
        if above is not None and one.end_time is not None and one.end_time > since:
            found.setdefault(above, []).append(one)
    return {
        above: ones if len(ones) <= MOST else [one for one in ones if not one.state.is_completed()]
        for above, ones in found.items()
    }


def below(run: Run, known: Mapping[str, list[Recorded]]) -> Generator[Made]:
    """
    Make the runs again that *run* had called, by what is *known*, and those that these had; each with its states.

    Their spans hang below that of their caller, with the ids that they had. To be gone through to its end.
    """
    trace = run.scope.trace
    if trace is None:
        return
    token = trace.attach(run)
    try:
        for one in known.get(run.id, ()):
            made = again(one, run)
            yield from below(made, known)
            if made.span is not None:
                made.span.set_attribute("headrace.recovered", True)
                yield made, transitions(one)
    finally:
        trace.detach(token)


def again(one: Recorded, parent: Run) -> Run:
    """Make the run that *one* was, below *parent*."""
    tags, scope = frozenset(one.tags), parent.scope
    made: Run
    if isinstance(one, FlowRun):
        scope = Scope(scope.journal, prefix_of(one.id), scope.level, flow=True)
        made = FlowRunning(spec_of(one, "flow"), scope, parent, 0, tags)
        observer = scope.journal.observer
        scope.trace = None if observer is None else observer.open(made)
    else:
        made = TaskRunning(spec_of(one, "task"), scope, parent, int(one.id[PREFIX_LENGTH:], 16), tags)
    made.given_name = one.name
    stand_for(made, one)
    return made


def stand_for(run: Run, one: Recorded) -> None:
    """Have *run* say of itself what is on record of *one*, which it stands for."""
    run.attempt, run.result_key = one.run_count, one.result_key
    run.cached_from = None if isinstance(one, FlowRun) else one.cached_from


def spec_of(one: Recorded, kind: Any) -> Spec:
    """Give the spec of a run, as far as that is on record: the name stands for the function, too."""
    name = called(one)
    spec = Spec(kind, name, again, None, False, "call", None, None, {})
    spec.function_name = name
    return spec
