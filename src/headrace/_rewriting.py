"""Rewriting: the row of a run that is on record, as it is to stand there from now on. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace._engine.step_names import transitions
from headrace._model.events import ENDED, Stamp, Transition, history
from headrace._model.records import FlowRun, nanoseconds
from headrace._ports import Row
from headrace._stores.rows import FLOW_COLUMNS


def entering(run: FlowRun, stamp: Stamp, at: int, said: str, **changed: Any) -> Row:
    """Give the row of *run* once it has entered the state of *stamp*; with what else is *changed*, by column."""
    went = transitions(run)
    if not went or went[-1][0] != stamp:
        went.append((stamp, at, said))
    return flow_row(run, went, **changed)


def flow_row(run: FlowRun, went: Sequence[Transition], **changed: Any) -> Row:
    """Give the row of *run* which *went* through these states; with what else is *changed*, by column."""
    (kind, name), at, said = went[-1]
    values: dict[str, Any] = {
        "state_type": kind,
        "state_name": name,
        "message": said,
        "created": went[0][1],
        "start_time": None if run.start_time is None else nanoseconds(run.start_time),
        "end_time": at if kind in ENDED else None,
        "tags": list(run.tags) or None,
        "parameters": run.parameters or None,
        "history": history(went),
        **changed,
    }
    return [values[name] if name in values else getattr(run, name) for name in FLOW_COLUMNS]
