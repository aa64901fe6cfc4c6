"""
What wakes the main thread's event loop when a signal comes. Knows no runs, and not what the signal is.

Python runs a signal's handler on the main thread, as soon as that runs Python code again. A loop that waits for events
runs none: a signal that came the moment before it began to wait, or that the kernel handed to another thread, would be
heard when the loop wakes for another reason. Asyncio sees to that for handlers of its own only; uvloop does always.
"""

from __future__ import annotations

import os
import signal
import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

NONE: Final = -1


class Waker:
    """
    Has one loop at a time wake for signals. To be called on the main thread, where alone Python lets that be asked for.

    Attributes:
        pipe: Our own way into the pipe by which other threads wake the loop; -1 where none is open. A copy, because
            one that was closed with its loop may be any file by the time that a signal is written to it.
    """

    def __init__(self) -> None:
        self.pipe = NONE
        self.loop: weakref.ref[asyncio.AbstractEventLoop] | None = None

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have *loop* wake for signals from now on, and no other, unless somebody sees to it already."""
        if self.loop is not None and self.loop() is loop:
            return
        self.rest()
        self.loop = weakref.ref(loop)
        way_in = getattr(loop, "_csock", None)  # asyncio's; it has no name that is public
        if way_in is None:
            return
        pipe = os.dup(way_in.fileno())
        before = signal.set_wakeup_fd(pipe, warn_on_full_buffer=False)
        if before == NONE:
            self.pipe = pipe
        else:
            signal.set_wakeup_fd(before)
            os.close(pipe)

    def rest(self) -> None:
        """Have no loop woken any more. What somebody has asked for since is left alone."""
        pipe, self.pipe, self.loop = self.pipe, NONE, None
        if pipe == NONE:
            return
        current = signal.set_wakeup_fd(NONE)
        if current != pipe:
            signal.set_wakeup_fd(current)
        os.close(pipe)
