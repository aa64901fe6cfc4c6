"""
Lines: what of a borrowed connection is used, whoever made its driver.

What blocks and what awaits is written alike: the methods of a connection that blocks never suspend.
"""

from __future__ import annotations

from typing import Protocol

from headrace._ports import Batch


class EndedWithin(Exception):
    """The transaction that was begun is not the one that is open: it was ended in between."""


class Borrowed(Protocol):
    """
    A connection of the user's.

    Attributes:
        blocks: Whether its methods block, and never suspend.
    """

    blocks: bool

    @property
    def busy(self) -> bool:
        """Whether it is in a transaction."""
        ...

    async def begin(self) -> None:
        """Begin a transaction; in SQLite one that may write at once, so that it never has to give way later."""
        ...

    async def holds(self, run_id: str) -> bool:
        """Tell whether the flow run *run_id* is on record in this very database."""
        ...

    async def mark(self, step: str) -> None:
        """Have the transaction be known again as that of the run *step*."""
        ...

    async def write(self, batch: Batch, step: str) -> None:
        """
        Write *batch* in the transaction that was marked.

        Raises:
            StaleRuns: Somebody else has its run by now; nothing was written.
            EndedWithin: That transaction is over; nothing was written.
        """
        ...

    async def commit(self) -> None:
        """Commit."""
        ...

    async def roll_back(self) -> None:
        """Roll back, if there is a transaction."""
        ...

    async def where(self) -> str:
        """Say which database that is, without what is secret."""
        ...

    def in_doubt(self, error: BaseException) -> bool:
        """Tell whether a commit that came to *error* may have been done all the same."""
        ...
