"""
Commits: what the code on one loop waits for to be committed, gathered into one question for each turn of the loop.

To ask costs a ring that gives the interpreter's lock away, 40 us and more; to be told costs another. A thousand durable
flows whose steps end in one turn pay for one of each.
"""

from __future__ import annotations

import asyncio
from typing import Final

from headrace._engine.journal import Journal
from headrace._homes import quietly
from headrace._hosts.clock import RealClock, wall
from headrace._hosts.rooted import ANSWER_WITHIN
from headrace.errors import StoreUnavailable

Answer = Exception | None


SILENT: Final = StoreUnavailable("in use", f"it did not answer within {ANSWER_WITHIN:g} s")


class Commits:
    """Those who wait for a commit of *desk*, on one loop, and came in one turn of it; asks at the end of the turn."""

    def __init__(self, desk: Journal) -> None:
        self.desk = desk
        self.waiting: list[asyncio.Future[Answer]] = []
        self.whole = False
        self.asked = False
        self.alarm: asyncio.TimerHandle | None = None
        asyncio.get_running_loop().call_soon(self.ask)

    def join(self, *, whole: bool) -> asyncio.Future[Answer]:
        """Give what will be told, once all that was told so far is committed, what went wrong; None: nothing did."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        self.whole = self.whole or whole
        return future

    def ask(self) -> None:
        """Commit what they told, here or by the back office, for all; who comes later needs another question."""
        if self.asked:
            return
        self.asked = True
        said = None if self.whole else self.desk.at_once(True)
        if said is not None:
            self.told(said.problem)
            return
        loop = asyncio.get_running_loop()
        self.alarm = loop.call_later(ANSWER_WITHIN, self.told, SILENT)
        # Not in a test's virtual time: a connection that lies idle on the loop would hold its clock.
        alone = len(self.waiting) == 1 and not self.whole and isinstance(wall.clock, RealClock)
        if not (alone and self.desk.on_loop(self.told)):
            self.desk.ask(lambda error: quietly(loop, self.told, error), whole=self.whole)

    def told(self, error: Answer) -> None:
        """Tell those who wait."""
        if self.alarm is not None:
            self.alarm.cancel()
        for future in self.waiting:
            if not future.done():
                future.set_result(error)
