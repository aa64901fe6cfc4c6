"""Forms: what a run came to, or drew, as it is stored. Neither reads nor records it."""

from __future__ import annotations

from typing import Any

from headrace._engine.runs import Run
from headrace._model.records import StoredResult


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
