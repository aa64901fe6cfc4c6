"""Recovering: a runtime takes up the durable runs that others left behind, where it knows their flows."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable
from typing import Any, Final
from weakref import WeakKeyDictionary

from headrace import _runtime
from headrace._engine.life import drive
from headrace._homes import quietly
from headrace._loading import known
from headrace._model.records import FlowRun
from headrace._resuming import InTurn, about_to_begin, claimed, going_on
from headrace._runtime import Opening
from headrace._submission import submit
from headrace._waking import Waker
from headrace.errors import CrewGone, HeadraceError, NotResumable, RunHeld, StoreUnavailable

TURNED_AWAY: Final = 10  # runs at a look: to see that it is not the turn of one takes some reads of 0.2 ms
log: Final = logging.getLogger("headrace.engine")


class Unknown(NotResumable):
    """The flow of a run is none of this program's."""


def known_here(run: FlowRun) -> Any:
    """
    Give the flow of *run*, if this program has it: the code of other programs on the same database is not loaded.

    Raises:
        Unknown: It has not.
    """
    flow = known(run.entrypoint or "", run.flow_name)
    if flow is None:
        raise Unknown(run.id, "this program does not have its flow", f"headrace flow-run resume {run.id[:8]}")
    return flow


# By the runtime that they take up runs for, those that are open, the latest last: it is the one that does.
at_work: Final[WeakKeyDictionary[_runtime.Runtime, list[Recovery]]] = WeakKeyDictionary()


class Recovery:
    """
    Takes up runs for one *opening*, as long as that is open.

    Attributes:
        passed: The runs that are not for it, or that it has failed to take up; it does not try them again.
        trying: Those that it is taking up. One that waits for its turn is in no list of what is in progress.
        waker: Takes up those that were unloaded.
    """

    def __init__(self, opening: Opening) -> None:
        self.opening = opening
        self.loop: Any = opening.loop
        self.passed: set[str] = set()
        self.trying: set[str] = set()
        self.waker = Waker(opening, known_here)
        self.tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to look, and go on twice a second."""
        journal = self.opening.journal
        at_work.setdefault(self.opening.runtime, []).append(self)
        journal.recovering, journal.waking = self.heard, self.waker
        if self.loop is None:
            journal.ask(lambda _problem: None)
        else:
            self.waker.at(journal.now())

    def stop(self) -> None:
        """Take up no more; those that were opened earlier and are not closed yet go on."""
        others = at_work[self.opening.runtime]
        others.remove(self)
        journal = self.opening.journal
        journal.recovering = others[-1].heard if others else None
        journal.waking = others[-1].waker if others else None
        self.waker.stop()

    def heard(self, run_ids: Iterable[str]) -> None:
        """Hear of runs that were left behind; on the back office's thread, where nothing is to be waited for."""
        live = self.opening.journal.live
        others = [one for one in run_ids if one not in live and not about_to_begin(one)]
        fresh = [one for one in others if one not in self.passed and one not in self.trying]
        self.trying.update(fresh)
        if not fresh:
            return
        if self.loop is not None:
            quietly(self.loop, self.begin, fresh)
        else:
            threading.Thread(target=self.in_thread, args=(fresh,), name="headrace recovery", daemon=True).start()

    def begin(self, run_ids: Iterable[str]) -> None:
        """Take up *run_ids*, one after the other, on the loop."""
        task = self.loop.create_task(self.take_up_all(_runtime.host_for(True), run_ids))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def in_thread(self, run_ids: Iterable[str]) -> None:
        """Take up *run_ids*, one after the other, in this thread."""
        drive(self.take_up_all(_runtime.thread_host, run_ids))

    async def take_up_all(self, host: Any, run_ids: Iterable[str]) -> None:
        """Take up *run_ids*, one after the other; once several had to wait for their turns, leave the rest to later."""
        left, waiting = list(run_ids), 0
        while left and waiting < TURNED_AWAY:
            waiting += not await self.take_up(host, left.pop(0))
        self.trying.difference_update(left)

    async def take_up(self, host: Any, run_id: str) -> bool:
        """Have the run *run_id* go on here, unless it is somebody else's; tell whether its turn had come."""
        opening = self.opening
        try:
            if opening.crew.finishing or opening.crew.stopping is not None:
                return True  # it is being left: what it takes up now would never begin
            flow, past, args, kwargs = await claimed(host, opening.journal, run_id, known_here, turns=True)
            going_on(past, lambda: submit(flow, args, kwargs, opening))
        except InTurn as reason:
            log.debug("Not taken up yet: %s", reason)
            return False
        except (Unknown, RunHeld, CrewGone, StoreUnavailable) as reason:
            log.debug("Not taken up: %s", reason)
            if isinstance(reason, Unknown):
                self.passed.add(run_id)
        except HeadraceError as error:
            self.passed.add(run_id)
            log.warning("A durable run that was left behind cannot go on: %s", error)
        finally:
            self.trying.discard(run_id)
        return True
