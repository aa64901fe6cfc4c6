"""
Waits: a run waits for something which may take long. The only place where such a wait is done.

While all of a durable run waits so, it may be unloaded: that is looked at after a while, with the clock, and when
code of it begins to wait for others of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from headrace._engine.context import current_run
from headrace._engine.promises import Gate, Promise
from headrace._ports import Host

FAR: Final = 3e9  # seconds, a century: as good as never, and yet no wait that is part of unloading
SLICE: Final = 30.0  # seconds after which the clock is looked at again: it may have been set, or the machine have slept


class Beyond(BaseException):
    """The end of a history that is only gone through: *step* is not on record. No Exception, so no code goes on."""

    def __init__(self, step: str) -> None:
        super().__init__(step)
        self.step = step


async def waited(
    host: Host,
    gate: Gate,
    until: int | None,
    *,
    signal: tuple[str, str] | None = None,
    between: bool = False,
    at_once: bool = False,
) -> bool:
    """
    Wait for *gate*, until that moment at most, in nanoseconds since 1970; tell whether the gate is open.

    The place at work of the run that waits is given back meanwhile, and slots of limits that say so.

    Args:
        signal: What opens the gate: the flow run that reads it, and its name.
        between: Whether it is the time between two attempts of the run.
        at_once: Whether the run need not stay for a while before it is unloaded.

    Raises:
        RunningLoopError: This would block an event loop.
        RunCancelled: The run is to stop.
        Suspended: It is unloaded.
        Beyond: It is only gone through, and the time has not come.
    """
    run = current_run.get()
    past: Any = None if run is None else run.scope.past
    if run is None or past is None:
        while await shut(host, gate, until, SLICE if host.clock.settable and until is not None else math.inf):
            pass
        return gate.opened
    if past.dry and (until is None or until > host.clock.now()):
        raise Beyond("a wait")
    strands, strand, pause = past.strands, host.strand(), 0.0 if at_once else run.scope.journal.unload_after
    old = host.clock.now() + int(pause * 1e9)
    about = {"lasts": True, "old": old, "at_once": at_once, "until": until, "signal": signal}
    strands.wait(run, strand, gate.open, between=between, **about)
    try:
        while await shut(host, gate, until, pause):
            strands.look(run, at_once=at_once)
            pause = SLICE if host.clock.settable else 2 * max(pause, SLICE)  # days of virtual time in a few turns
    finally:
        strands.go_on(strand)
    strands.refuse()
    return gate.opened


async def shut(host: Host, gate: Gate, until: int | None, longest: float) -> bool:
    """Wait for *gate* for *longest* seconds, *until* that moment at most; tell whether there is more to wait for."""
    left = math.inf if until is None else (until - host.clock.now()) / 1e9
    await host.until([gate], max(0.0, min(left, longest)))
    return not gate.opened and (until is None or host.clock.now() < until)


def outside(past: Any, gates: Iterable[Gate]) -> bool:
    """Tell whether one of *gates* is for a run that is no part of what *past* is of, and does not go on with it."""
    for gate in gates:
        if isinstance(gate, Promise) and not gate.opened:
            parent = None if gate.call is None else gate.call.parent
            if parent is None or parent.scope.past is not past:
                return True
    return False
