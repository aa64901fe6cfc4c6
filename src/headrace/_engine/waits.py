"""Waits: a run that waits for something which may take long. The only place where such a wait is done."""

from __future__ import annotations

import math
from typing import Final

from headrace._engine.promises import Gate
from headrace._ports import Host

SLICE: Final = 30.0  # seconds after which the clock is looked at again: it may have been set, or the machine have slept


async def waited(host: Host, gate: Gate, until: int | None) -> bool:
    """
    Wait for *gate*, until that moment at most, in nanoseconds since 1970; tell whether the gate is open.

    The place at work of the run that waits is given back meanwhile, and slots of limits that say so.

    Raises:
        RunningLoopError: This would block an event loop.
        RunCancelled: The run is to stop.
    """
    left = math.inf
    while not gate.opened and left > 0:
        if until is not None:
            left = (until - host.clock.now()) / 1e9
        await host.until([gate], max(0.0, left if until is None else min(left, SLICE)))
    return gate.opened
