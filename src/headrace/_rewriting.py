"""
Rewriting: a step that is on record, by what people call it, and the rows of runs as they are to stand from now on.

Reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, cast

from headrace._engine.step_names import Recorded, called, transitions
from headrace._model.events import ENDED, Stamp, Transition, history
from headrace._model.ids import short_id
from headrace._model.records import FlowRun, StoredResult, TaskRun, nanoseconds, task_run_name
from headrace._model.steps import IN_ROW
from headrace._ports import Row
from headrace._stores.rows import FLOW_COLUMNS, TASK_COLUMNS
from headrace.errors import StepNotFound, wrong_type

BY_HAND: Final = "Retried by hand"  # what is said of a run that is
ANEW: Final = f"{BY_HAND}, as a whole"
NEVER: Final = 1 << 63  # later than any moment


def steps_of(run: FlowRun, runs: Iterable[Recorded]) -> list[Recorded]:
    """Give those of *runs*, which *run* and those below it are, that are steps of it and may count."""
    # What it did before it was retried as a whole counts no more.
    since = max((nanoseconds(at) for _, _, at, said in run.transitions if said == ANEW), default=0)
    return [one for one in runs if one.id != run.id and began(one) >= since]


def step_called(asked: str, run_id: str, steps: Collection[Recorded]) -> Recorded:
    """
    Give the one of *steps*, which are those of the run *run_id*, whose id or name is *asked*.

    Else the first to begin of those that are calls of the function of that name.

    Raises:
        OptionTypeError: It is no text.
        StepNotFound: There is none.
    """
    if not isinstance(cast("object", asked), str):
        raise wrong_type("a flow run", "The step", "a text, its id or name", asked)
    ranks = [(rank, began(one), one.id, one) for one in steps if (rank := fitting(one, asked)) is not None]
    if not ranks:
        names = [name for one in steps for name in (called(one), one.name)]
        raise StepNotFound(run_id, asked, list(dict.fromkeys(names)))
    return min(ranks, key=lambda rank: rank[:-1])[-1]


def fitting(one: Recorded, asked: str) -> int | None:
    """Tell how well *asked* fits *one*: 0, where it can be no other, to 2; None where it does not."""
    names = ((one.id, short_id(one.id)), (one.name,), (called(one),))
    return next((rank for rank, fit in enumerate(names) if asked in fit), None)


def began(one: Recorded) -> int:
    """Give when *one* began, in nanoseconds since 1970; NEVER where it has not."""
    return NEVER if one.start_time is None else nanoseconds(one.start_time)


def ended(one: Recorded) -> int:
    """Give when *one* ended, in nanoseconds since 1970; NEVER where it has not."""
    return NEVER if one.end_time is None else nanoseconds(one.end_time)


def entering(run: FlowRun, stamp: Stamp, at: int, said: str, **changed: Any) -> Row:
    """Give the row of *run* once it has entered the state of *stamp*; with what else is *changed*, by column."""
    went = transitions(run)
    if not went or went[-1][0] != stamp:
        went.append((stamp, at, said))
    return flow_row(run, went, **changed)


def flow_row(run: FlowRun, went: Sequence[Transition], **changed: Any) -> Row:
    """Give the row of *run* which *went* through these states; with what else is *changed*, by column."""
    values = {"created": went[0][1], "parameters": run.parameters or None, **common(run, went), **changed}
    return [values[name] if name in values else getattr(run, name) for name in FLOW_COLUMNS]


def task_row(run: TaskRun, went: Sequence[Transition], kept: StoredResult | None, **changed: Any) -> Row:
    """
    Give the row of *run* which *went* through these states; with what else is *changed*, by column.

    Args:
        kept: What it came to; part of the row, if it is `small`.
    """
    values = {
        "name": None if run.name == task_run_name(run.task_name, run.id) else run.name,
        "data": kept.data.decode() if kept is not None and kept.data is not None and small(kept) else None,
        "epoch": None,
        **common(run, went),
        **changed,
    }
    return [values[name] if name in values else getattr(run, name) for name in TASK_COLUMNS]


def common(run: Recorded, went: Sequence[Transition]) -> dict[str, Any]:
    """Give the columns that rows of flow runs and task runs have alike, and that records have otherwise."""
    (kind, name), at, said = went[-1]
    return {
        "state_type": kind,
        "state_name": name,
        "message": said,
        "start_time": None if run.start_time is None else nanoseconds(run.start_time),
        "end_time": at if kind in ENDED else None,
        "tags": list(run.tags) or None,
        "history": history(went),
    }


def small(kept: StoredResult) -> bool:
    """Tell whether *kept*, which a task run came to, has its place in the row of that."""
    return kept.codec == "json" and kept.size <= IN_ROW and kept.data is not None
