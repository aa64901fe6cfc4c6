"""
Commits: what the code on one loop waits for to be committed, gathered into one question for each turn of the loop.

To ask costs a ring that gives the interpreter's lock away, 40 us and more; to be told costs another. A thousand durable
flows whose steps end in one turn pay for one of each.
"""

from __future__ import annotations

import asyncio

from headrace._engine.journal import Journal
from headrace._homes import quietly

Answer = Exception | None


class Commits:
    """Those who wait for a commit of *desk*, on one loop, and came in one turn of it; asks at the end of the turn."""

    def __init__(self, desk: Journal) -> None:
        self.desk = desk
        self.waiting: list[asyncio.Future[Answer]] = []
        self.whole = False
        self.asked = False
        asyncio.get_running_loop().call_soon(self.ask)

    def join(self, *, whole: bool) -> asyncio.Future[Answer]:
        """Give what will be told, once all that was told so far is committed, what went wrong; None: nothing did."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        self.whole = self.whole or whole
        return future

    def ask(self) -> None:
        """Ask the back office, for all; who comes later needs another question."""
        self.asked = True
        loop = asyncio.get_running_loop()
        self.desk.ask(lambda error: quietly(loop, self.told, error), whole=self.whole)

    def told(self, error: Answer) -> None:
        """Tell those who wait."""
        for future in self.waiting:
            if not future.done():
                future.set_result(error)
