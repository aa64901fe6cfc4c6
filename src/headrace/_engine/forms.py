"""Forms: what a run came to, or drew, as it is stored, and as it is given back. Neither reads nor records it."""

from __future__ import annotations

from typing import Any, Final

from headrace._engine.runs import Run, TaskRunning
from headrace._model.records import StoredResult
from headrace._model.states import State
from headrace.errors import RecordedError

TYPE: Final = "headrace.exception.type"  # stands in a stored value for an exception that has no form of its own


def formed(vault: Any, key: str, run: Run, value: Any) -> StoredResult:
    """Give *value*, which *run* came to or drew, in the form in which it is stored under *key*."""
    return packed(vault, key, run.id, run.spec.name, run.scope.journal.now(), value)


def packed(vault: Any, key: str, run_id: str, name: str, now: int, value: Any) -> StoredResult:
    """Give *value*, of the run *run_id* of the task or flow *name*, in the form in which it is stored under *key*."""
    small = vault.small(value)
    if small is not None:
        data, digest = small
        return StoredResult(key, run_id, name, now, None, "json", len(data), digest, data=data)
    form = vault.pack(value, vault.codec(None), vault.storage(None), key.replace(" ", "-"), beside=False)
    parts = (form.codec, form.size, form.digest, form.storage, form.name, None, form.data)
    return StoredResult(key, run_id, name, now, None, *parts)


def ended_as(run: Run, state: State[Any], value: Any) -> State[Any]:
    """Give the *state* on record that *run* ended in before, with the *value* that was stored of it."""
    told: Any = value if state.is_failed() and value.__class__ is dict else {}
    if TYPE in told:
        value = RecordedError(str(told[TYPE]), str(told["message"]))
    return State(
        state.type,
        state.name,
        message=state.message,
        data=value,
        timestamp=state.timestamp,
        flow_run_id=run.scope.flow_run_id,
        task_run_id=run.id if isinstance(run, TaskRunning) else None,
    )
