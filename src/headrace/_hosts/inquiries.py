"""
Inquiries: what the code on one loop asks the store, gathered into one question at a time.

To ask costs a ring that gives the interpreter's lock away, 40 us and more; to be told costs another. So who asks while
a question is on its way goes along with the next: a thousand that ask at once pay for three.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from headrace._engine.journal import Journal
from headrace._homes import quietly
from headrace._hosts.clock import wall
from headrace._hosts.rooted import ANSWER_WITHIN

Asked = list[tuple[str, "asyncio.Future[Any]"]]


class Inquiry:
    """What is asked of the store of *desk* on one loop; holds no loop, which is held by nobody once it is closed."""

    def __init__(self, desk: Journal) -> None:
        self.desk = desk
        self.asked: Asked = []
        self.under_way = False

    async def about(self, key: str) -> Any:
        """Suspend until it is known what the store holds under *key*; give that, or None."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self.asked.append((key, future))
        if not self.under_way:
            self.under_way = True
            loop.call_soon(self.send)
        return await future

    def send(self) -> None:
        """Ask the back office all that was asked since the last answer."""
        loop = asyncio.get_running_loop()
        asked, self.asked = self.asked, []
        late = loop.call_later(ANSWER_WITHIN, self.give_up, asked)
        wall.started()

        def told(found: Mapping[str, Any]) -> None:
            late.cancel()
            wall.finished()
            settle(asked, found)
            self.under_way = bool(self.asked)
            if self.asked:
                self.send()

        self.desk.recall([key for key, _ in asked], lambda found: quietly(loop, told, found))

    def give_up(self, asked: Asked) -> None:
        """Take it that there is nothing: no answer came in time."""
        settle(asked, {})
        self.under_way = False


def settle(asked: Asked, found: Mapping[str, Any]) -> None:
    """Tell those who asked what was *found*."""
    for key, future in asked:
        if not future.done():
            future.set_result(found.get(key))
