"""Borrowed sessions of SQLAlchemy: the statements of ours go by the connection of the driver below."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace._borrowed.line import Borrowed
from headrace._ports import Batch


class Session:
    """An AsyncSession, on the one connection that it has while its transaction is open."""

    blocks = False

    def __init__(self, session: Any, borrowed: Callable[[Any], Borrowed]) -> None:
        self.session = session
        self.borrowed = borrowed
        self.below: Borrowed
        self.ours = False

    @property
    def busy(self) -> bool:
        """Whether it is in a transaction: from its first statement on."""
        return bool(self.session.in_transaction())

    async def begin(self) -> None:
        """Begin a transaction; below as well, where SQLAlchemy leaves that to the first row that is written."""
        connection = await self.session.connection()
        await connection.exec_driver_sql("SELECT 1")
        raw = await connection.get_raw_connection()
        self.below = self.borrowed(raw.driver_connection)
        self.ours = not self.below.busy
        if self.ours:
            await self.below.begin()

    async def holds(self, run_id: str) -> bool:
        """Tell whether the flow run *run_id* is on record in the database."""
        return await self.below.holds(run_id)

    async def mark(self, step: str) -> None:
        """Have the transaction be known again as that of the run *step*."""
        await self.below.mark(step)

    async def write(self, batch: Batch, step: str) -> None:
        """Write what the session holds back, and *batch*."""
        await self.session.flush()
        await self.below.write(batch, step)

    async def commit(self) -> None:
        """Commit."""
        if self.ours:
            await self.below.commit()
        await self.session.commit()

    async def roll_back(self) -> None:
        """Roll back, if there is a transaction."""
        if self.ours:
            await self.below.roll_back()
        await self.session.rollback()

    async def where(self) -> str:
        """Say which database that is."""
        return await self.below.where()

    def in_doubt(self, error: BaseException) -> bool:
        """Tell whether a commit that came to *error*, or to what SQLAlchemy has made of it, may have been done."""
        return self.below.in_doubt(getattr(error, "orig", None) or error)
