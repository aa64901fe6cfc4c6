"""The user loop: one thread with an event loop, where async calls of sync flows run. Users' code, none of ours."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Final

log: Final = logging.getLogger("headrace.engine")


class UserLoop:
    """
    One thread with one loop, started when it is first asked for.

    One for the process, and not one a flow: clients and pools that were made on it can be used by every flow.
    """

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> asyncio.AbstractEventLoop:
        """Give the loop; it runs."""
        with self.guard:
            if self.loop is None or self.loop.is_closed():
                started = threading.Event()
                self.loop = asyncio.new_event_loop()
                self.loop.call_soon(started.set)
                threading.Thread(target=self.run, args=(self.loop,), name="headrace user loop", daemon=True).start()
                started.wait()
            return self.loop

    def run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the loop for as long as the process lives, whatever a callback on it raises: it is every flow's."""
        asyncio.set_event_loop(loop)
        while not loop.is_closed():
            try:
                loop.run_forever()
            except BaseException:
                log.exception("Something on the event loop of sync flows' async tasks wanted to end it; it goes on")
