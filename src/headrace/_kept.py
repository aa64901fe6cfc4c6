"""
Kept results: the value in the state of a run that is read from the record, fetched when it is asked for.

Reads the store and the storages beside it; decides nothing about them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import attrs

from headrace._engine.ledger import Vault
from headrace._model.events import ROLLED_BACK
from headrace._model.records import FlowRun, TaskRun
from headrace._model.states import NotKept
from headrace._ports import Store
from headrace.errors import MissingResult

R = TypeVar("R", FlowRun, TaskRun)


class Kept(NotKept):
    """
    Stands in the place of a value that is kept elsewhere.

    Attributes:
        run_id: The run that computed it.
    """

    def __init__(self, key: str, run_id: str, store: Store, vault: Vault) -> None:
        super().__init__()
        self.key = key
        self.run_id = run_id
        self.store = store
        self.vault = vault

    def value(self) -> Any:
        """
        Read the value; blocks meanwhile: a millisecond for what lies in the database.

        Raises:
            MissingResult: It is not there any more, is another one by now, was damaged, or must not be read.
            SerializationError, ResultStorageError, StoreUnavailable: It cannot be read.
        """
        result = self.store.results.look(self.key)
        if result is None:
            raise MissingResult(
                f"The result that run {self.run_id} computed is not in {self.store.where} any more: it was cleared "
                f"from the cache, or never got there. Run the task again to have it."
            )
        if result.run_id != self.run_id:
            raise MissingResult(
                f"The result that run {self.run_id} computed was replaced: run {result.run_id} computed it anew under "
                f"the same key. Ask that run for it."
            )
        return self.vault.unpack(result)

    def __repr__(self) -> str:
        return f"<kept under {self.key!r}>"


def with_results(runs: Iterable[R], store: Store, vault: Vault) -> list[R]:
    """Give *runs*, as read from *store*, with states whose `result()` fetches what is kept."""
    return [with_result(run, store, vault) for run in runs]


def with_result(run: R, store: Store, vault: Vault) -> R:
    """Give *run* with a state whose `result()` fetches what is kept, if anything is."""
    if run.state.name == ROLLED_BACK[1]:
        undone = NotKept("The run was rolled back with the transaction it was in, so its result is not kept.")
        return attrs.evolve(run, state=attrs.evolve(run.state, data=undone))
    if run.result_key is None or not run.state.is_completed():
        return run
    computed_by = getattr(run, "cached_from", None) or run.id
    state = attrs.evolve(run.state, data=Kept(run.result_key, computed_by, store, vault))
    return attrs.evolve(run, state=state)
