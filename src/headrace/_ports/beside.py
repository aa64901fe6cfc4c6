"""The port of steps that are committed beside the loop on which a store was opened; for stores that await a server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from headrace._ports.stores import Batch


class Beside(Protocol):
    """What commits a lone step on a loop of the application, one at a time and never amid an `append`."""

    def ready(self) -> bool:
        """Tell whether it could, on the loop that runs here; it makes ready for a loop on which that is often asked."""
        ...

    def takes(self, batch: Batch) -> bool:
        """Tell whether *batch* is no more than such a step."""
        ...

    def commit(self, batch: Batch, told: Callable[[bool], None]) -> None:
        """
        Begin to commit *batch*, on the loop for which it was `ready`.

        Have *told* hear there whether it is on record; False: write it by `append`, whether it is or not.
        """
        ...

    def abandon(self) -> None:
        """Hear, from any thread, that nobody waits any more: after the next `append` nothing comes of that commit."""
        ...


@runtime_checkable
class Lending(Protocol):
    """A store that awaits a server, and commits lone steps beside the loop on which it was opened."""

    beside: Beside
