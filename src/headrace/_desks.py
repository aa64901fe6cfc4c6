"""
Desks: what a runtime's journal opens once somebody asks for it, the ledger of results and the desk of limits.

Builds, never decides; kept out of the way of those who need neither.
"""

from __future__ import annotations

import itertools
import os
import time
from typing import Any, Final

from headrace._engine.ledger import Ledger
from headrace._hosts.clock import RealClock, wall
from headrace._limits.desk import Desk
from headrace._model.slots import marked
from headrace._owners import boot, gone
from headrace._results.vault import Vault

# Two runtimes of a process hold leases against each other, as two processes do.
_numbers: Final = itertools.count(1)


def ledger_of(runtime: Any) -> Ledger:
    """Make what knows of results in this process."""
    settings = runtime.settings
    vault = Vault(
        settings.result_storage or os.path.join(settings.home, "results"),
        inline=settings.result_inline_bytes if runtime.lasts else None,
        trusted=settings.trust_results,
    )
    return Ledger(vault, owner_of(runtime), gone, settings.result_memory, runtime.store.results.glance)


def desk_of(runtime: Any) -> Desk:
    """Make who hands out slots of limits in this process."""
    journal, this_boot = runtime.journal, boot()
    return Desk(
        owner_of(runtime),
        gone=gone,
        errand=journal.errand,
        later=runtime.office.later,
        now=journal.now,
        ticks=ticks,
        mark=lambda at: marked(this_boot, at),
        clock=wall,
    )


def owner_of(runtime: Any) -> str:
    """Name this process, and the runtime in it."""
    return f"{runtime.journal.owner}:{next(_numbers)}"


def ticks() -> int:
    """Give nanoseconds on a clock that nobody sets; on a virtual clock those, which nobody sets, either."""
    return time.monotonic_ns() if isinstance(wall.clock, RealClock) else wall.now()
