"""
Waking: durable runs that were unloaded go on in a runtime that knows their flows, once they are due.

Those that are due are claimed many at a time, and what is on record of them is read together: a thousand a second.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any, Final

from headrace import _runtime
from headrace._engine.life import drive
from headrace._engine.past import Past
from headrace._engine.promises import Gate, Promise
from headrace._homes import quietly
from headrace._kept import with_results
from headrace._model.events import SUSPENDED
from headrace._model.records import FlowRun, Owned, Suspension, nanoseconds
from headrace._model.states import State, StateType
from headrace._ports import Batch, Host, Store
from headrace._resuming import claims, going_on, parameters, read
from headrace._runtime import Opening
from headrace._submission import submit
from headrace.errors import CrewGone, HeadraceError, NotResumable, RunNotFound

AT_ONCE: Final = 250  # runs that are claimed together: what others want of the store waits for 50 ms at most
LEFT: Final = "Its runtime was left while it was unloaded. It goes on where it is taken up."
log: Final = logging.getLogger("headrace.engine")


class Waker:
    """
    Has runs go on in one *opening*, as long as that is open.

    Attributes:
        known: Gives the flow of a run, or raises NotResumable.
        passed: The due runs that are not for it; it does not look at them again.
        following: When it will look by itself, in nanoseconds since 1970.
        bell: Opens when it is to look earlier, in code that blocks; there it has a thread, once it hears of a run.
        alarm: Rings when it is to look, on a loop.
    """

    def __init__(self, opening: Opening, known: Callable[[FlowRun], Any]) -> None:
        self.opening = opening
        self.known = known
        self.passed: set[str] = set()
        self.following: float = math.inf
        self.bell = Gate()
        self.guard = threading.Lock()
        self.begun = self.over = False
        self.alarm: asyncio.TimerHandle | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    # -- from any thread ------------------------------------------------------------------------------------------

    def at(self, moment: int) -> None:
        """Look at that *moment*, in nanoseconds since 1970."""
        with self.guard:
            if self.over or moment >= self.following:
                return
            self.following = moment
            begins, self.begun = not self.begun, True
        if self.opening.loop is not None:
            quietly(self.opening.loop, self.arrange)
        elif begins:
            threading.Thread(target=self.in_thread, name="headrace waking", daemon=True).start()
        else:
            self.bell.open()

    def stop(self) -> None:
        """Look no more. Whoever holds the future of a run that is unloaded, hears that it does not end here."""
        with self.guard:
            self.over = True
        self.bell.open()
        if self.alarm is not None:
            self.alarm.cancel()
        journal = self.opening.journal
        for promise in journal.held() if journal.waking is None else ():
            if not promise.opened and promise.call is None:
                self.settle(promise, *SUSPENDED, message=LEFT)

    # -- at work --------------------------------------------------------------------------------------------------

    def arrange(self) -> None:
        """Have the loop look when it is time."""
        if self.alarm is not None:
            self.alarm.cancel()
        if not self.over and self.following != math.inf:
            self.alarm = self.opening.loop.call_later(self.left(), self.begin, context=Context())

    def begin(self) -> None:
        """Look, in a task on the loop."""
        task = self.opening.loop.create_task(self.look(_runtime.host_for(True)))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def in_thread(self) -> None:
        """Look whenever it is time, in this thread."""
        host = _runtime.thread_host
        while not self.over:
            self.bell = Gate()
            if not self.over:
                drive(host.until([self.bell], self.left()))
            if self.left() == 0:
                drive(self.look(host))

    def left(self) -> float:
        """Give the seconds until it is to look; 0.0 where it is time."""
        following = self.following
        return following if following == math.inf else max(0.0, (following - self.opening.journal.now()) / 1e9)

    async def look(self, host: Host) -> None:
        """Have those go on that are due, and see when to look again; where that fails, the back office says so."""
        with self.guard:
            self.following = math.inf
        opening = self.opening
        if self.over or opening.crew.finishing or opening.crew.stopping is not None:
            return  # it is being left: what it takes up now would never begin
        due: list[tuple[Any, Past]]
        following: int | None
        try:
            due, following = await host.with_store(opening.journal, self.claimed)
        except HeadraceError as error:
            log.debug("Runs that are due cannot be looked for: %s", error)
            return
        for flow, past in due:
            await self.go_on(host, flow, past)
        if following is not None:
            self.at(following)

    async def go_on(self, host: Host, flow: Any, past: Past) -> None:
        """Have the run of *past*, which this process has claimed, go on."""
        opening = self.opening
        try:
            args, kwargs = parameters(past, opening.journal)
            going_on(past, lambda: submit(flow, args, kwargs, opening))
        except CrewGone:
            await host.with_store(opening.journal, partial(given_back, past))
        except HeadraceError as error:
            log.warning("A durable run that was unloaded cannot go on: %s", error)

    async def claimed(self, store: Store) -> tuple[list[tuple[Any, Past]], int | None]:
        """Have this process have what is due and known here, and give it with its past; and when to look again."""
        journal = self.opening.journal
        now = journal.now()
        await self.settle_ended(store)
        due, following = await store.owners.due(now, AT_ONCE + len(self.passed))
        due = [one for one in due if one.run_id not in self.passed]
        found = await read(store, due)
        mine: list[tuple[Owned, Any, Past]] = []
        for one, past in found:
            try:
                if past.root is None:
                    continue
                mine.append((one, self.known(past.root), past))
            except NotResumable as reason:
                self.passed.add(one.run_id)
                log.debug("Not taken up: %s", reason)
        claims.update((past.root_id, past) for _, _, past in mine)
        got = await store.owners.claim([one for one, _, _ in mine], journal.owner, now) if mine else set[str]()
        for _, _, past in mine:
            if past.root_id not in got:
                claims.pop(past.root_id, None)
        taken = [(flow, past) for one, flow, past in mine if one.run_id in got]
        return taken, now if len(due) >= AT_ONCE else following

    async def settle_ended(self, store: Store) -> None:
        """Have those hear who wait for runs that were unloaded here, and have ended elsewhere or were deleted."""
        journal = self.opening.journal
        for promise in [one for one in journal.held() if one.awaited]:
            runs = await store.flow_runs(begins=promise.run_id, limit=1)
            if promise.call is not None:
                continue  # it goes on here by now
            if not runs:
                gone = RunNotFound("flow", promise.run_id, "It was deleted while it was unloaded.")
                self.settle(promise, StateType.CRASHED, message=str(gone), data=gone)
            for run in runs:
                if run.state.is_final() and not run.state.is_crashed():
                    (ended,) = with_results([run], store, journal.ledger.vault)
                    at = journal.now() if run.end_time is None else nanoseconds(run.end_time)
                    promise.settle(None, ended.state, at)

    def settle(self, promise: Promise, *args: Any, **kwargs: Any) -> None:
        """Have those hear who wait for the *promise* that its run came to the state that the rest makes."""
        promise.settle(None, promise.stamped(State(*args, **kwargs)), self.opening.journal.now())


async def given_back(past: Past, store: Store) -> None:
    """Have nobody have the run of *past*, which was claimed here and does not begin: it is due."""
    suspended = [Suspension(past.root_id, 0)]
    await store.append(Batch(strict=True, fences={past.root_id: past.epoch}, suspended=suspended))
