"""
The back office: one daemon thread with one event loop, where the journal is committed and its spans are made.

It takes what has arrived and never waits for more; under load the batches grow by themselves. While a flow runs, it
also looks for what other processes ask of it. User code never runs here.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Final

from headrace._engine.fold import Heard, fold
from headrace._engine.journal import Answer, Event, Journal
from headrace._engine.ledger import LEASE, Ledger
from headrace._engine.life import drive
from headrace._engine.runs import Run
from headrace._model.events import ASK, ENDED, ERRAND, GROUP, LOG, RECALL, RESULT
from headrace._model.records import Request
from headrace._ports import Batch, Store
from headrace.errors import StoreUnavailable

BATCH: Final = 2_000
GROWN_AFTER: Final = 0.6  # seconds; twice that at most
NAP: Final = 0.01  # seconds
CLOSE_WITHIN = 10.0
LOOK_EVERY = 0.5  # seconds between looks for requests: half of the second in which one is promised to be heard
NO_TRANSITIONS: Final = (ASK, ERRAND, GROUP, LOG, RECALL, RESULT)
KEYS: Final = 5_000  # of results, read at a time: 3 ms
RENEW_EVERY: Final = 5.0  # seconds
log: Final = logging.getLogger("headrace.store")


class BackOffice:
    """
    Commits a journal into a store.

    Attributes:
        lost: Rows that a failing store could not take, since the last time it worked.
        young: Task runs that have just begun, and whose rows are written if they do not end within GROWN_AFTER, or soon
            after; each with whether it was among them at the last look.
        grown: When that was last looked at, on the loop's clock.
        renewed: When the leases were last held for longer, on the loop's clock.
        owed: Durable runs whose rows it could not take; written with the next batch that it takes.
    """

    def __init__(self, store: Store, journal: Journal) -> None:
        self.store = store
        self.journal = journal
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: threading.Thread | None = None
        self.ready = threading.Event()
        # Reentrant: a signal's handler may end a run, and so tell, while the same thread commits after the close.
        self.guard = threading.RLock()
        # Held while the store is at work; whoever forks takes it first, see `still`.
        self.busy = threading.Lock()
        self.closing = False
        self.ended = False
        self.opened = False
        self.problem: Exception | None = None
        self.lost = 0
        self.owed: list[Run] = []
        self.young: dict[Run, bool] = {}
        self.grown = 0.0
        self.renewed = 0.0
        self.learned = 0.0
        # Set while a flow runs here: when to look for requests. Made anew for each look.
        self.alarm: asyncio.TimerHandle | None = None
        self.deaf = False
        # In progress before this office was there, so a forked child's parent's: what is asked of them is not for us.
        self.foreign = frozenset(journal.live)
        self.commits = 0
        self.pid = os.getpid()

    def wake(self) -> None:
        """Have the thread look at the journal; start it where it has not begun, do its work where it has ended."""
        if not self.ready.is_set():
            self.start()
        loop = self.loop
        if self.ended or loop is None:
            self.commit_here()
            return
        try:
            loop.call_soon_threadsafe(self.bell.set)
        except RuntimeError:
            if not loop.is_closed():
                raise
            self.commit_here()

    def start(self) -> None:
        """Start the thread, once; go on where an interrupt came in between."""
        with self.guard:
            if self.ended:
                return
            if self.thread is None:
                self.thread = threading.Thread(target=self.work, name="headrace back office", daemon=True)
                atexit.register(self.close)
                finish_with_process(self.close)
            try:
                if self.thread.ident is None:
                    self.thread.start()
            except RuntimeError:
                # The interpreter is going down and starts no threads: from Python 3.12 on, already in atexit handlers.
                self.ended = True
                return
            self.ready.wait()

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Have the thread call *function* in *seconds*; never where it has ended by then. From any thread."""
        if not self.ready.is_set():
            self.start()
        loop = self.loop
        if self.ended or loop is None:
            return
        try:
            loop.call_soon_threadsafe(loop.call_later, seconds, function)
        except RuntimeError:
            if not loop.is_closed():
                raise

    def work(self) -> None:
        """Run the thread's loop. Made by hand, so that no event loop policy of the application reaches in here."""
        self.loop = loop = asyncio.SelectorEventLoop()
        self.bell = asyncio.Event()
        self.ready.set()
        try:
            loop.run_until_complete(self.commit_until_closed())
        finally:
            self.ended = True
            loop.close()

    async def commit_until_closed(self) -> None:
        """Commit what arrives until asked to close and nothing is left."""
        journal = self.journal
        worked = False
        while True:
            if self.look_is_due():
                await self.look()
                await self.renew()
            if self.young:
                await self.grow()
            if journal.opened is not None:
                await self.learn(journal.opened)
            if await self.commit_next():
                worked = True
                if journal.progress is not None:
                    # Under load the loop calls nobody back unless it is asked to.
                    await asyncio.sleep(0)
                continue
            if worked and not self.closing:
                worked = False
                await self.nap()
                continue
            # Asleep first, then a last look: who tells in between rings the bell.
            self.bell.clear()
            journal.asleep = True
            if journal.told:
                journal.asleep = False
                continue
            if self.closing:
                await self.shut()
                return
            alarm = asyncio.get_running_loop().call_later(GROWN_AFTER, self.bell.set) if self.young else None
            await self.bell.wait()
            if alarm is not None:
                alarm.cancel()
            journal.asleep = False

    async def grow(self) -> None:
        """Write the rows of task runs that have begun and not ended, now and then: who looks is to see them run."""
        now = asyncio.get_running_loop().time()
        if now - self.grown < GROWN_AFTER:
            return
        self.grown = now
        # Those that were there at the last look: of thousands that began a moment ago, most will end in another.
        grown = [run for run, old in self.young.items() if old]
        self.young = dict.fromkeys([run for run, old in self.young.items() if not old], True)
        await self.commit(fold((), grown)[0], ())

    async def nap(self) -> None:
        """
        Rest a moment without being asleep: only who asks rings, who merely tells does not.

        A ring costs the teller 10 us and often the interpreter's lock; tellers that come one by one would pay it each.
        """
        self.bell.clear()
        alarm = asyncio.get_running_loop().call_later(NAP, self.bell.set)
        await self.bell.wait()
        alarm.cancel()

    def look_is_due(self) -> bool:
        """
        Tell whether to look for requests now; sets the alarm for the next time while a flow runs here.

        The alarm only wakes the thread: it is asked for the time, because under load the loop calls nobody back.
        """
        loop = self.loop
        assert loop is not None
        alarm = self.alarm
        if alarm is not None and loop.time() < alarm.when():
            return False
        if alarm is not None:
            alarm.cancel()
            self.alarm = None
        ledger = self.journal.opened
        if (self.journal.live or (ledger is not None and ledger.leases)) and not self.closing:
            self.alarm = loop.call_later(LOOK_EVERY, self.bell.set)
        return alarm is not None

    async def learn(self, ledger: Ledger) -> None:
        """Have the ledger know which keys the store holds: at first all, some thousands at a time, then new ones."""
        now = asyncio.get_running_loop().time()
        if not self.opened:
            return
        if ledger.known.complete and ledger.larger is None and now - self.learned < LOOK_EVERY:
            return
        self.learned = now
        try:
            if ledger.known.full():
                ledger.grow()
            with self.busy:
                at = self.journal.now()
                await self.store.results.learn(ledger.known, KEYS)
                ledger.known_at = at
                if ledger.larger is not None:
                    await self.store.results.learn(ledger.larger, KEYS)
                    ledger.change_over()
        except Exception as error:
            ledger.known.version = None
            log.debug("The keys of results cannot be read: %s: %s", type(error).__name__, error)

    async def renew(self) -> None:
        """Hold the leases of this process for longer. One that cannot be renewed in time is lost, and taken over."""
        ledger = self.journal.opened
        now = asyncio.get_running_loop().time()
        if ledger is None or not ledger.leases or now - self.renewed < RENEW_EVERY:
            return
        self.renewed = now
        try:
            with self.busy:
                until = self.journal.now() + int(LEASE * 1e9)
                await self.store.results.renew(list(ledger.leases), ledger.owner, until)
        except Exception as error:
            log.debug("Leases could not be renewed: %s: %s", type(error).__name__, error)

    async def look(self) -> None:
        """Look what was asked of the flow runs in progress here, and pass it on. A look that fails costs no run."""
        mine = [run_id for run_id in list(self.journal.live) if run_id not in self.foreign]
        if not mine or not self.opened:
            return
        try:
            with self.busy:
                asked = await self.store.requests(mine)
            heard = [request for request in asked if self.pass_on(request)]
            if heard:
                with self.busy:
                    await self.store.heard(heard)
        except Exception as error:
            # It is tried again at the next look, and where the database is gone, the next commit says so.
            if not self.deaf:
                log.debug("Requests from other processes cannot be heard: %s: %s", type(error).__name__, error)
            self.deaf = True
        else:
            self.deaf = False

    def pass_on(self, request: Request) -> bool:
        """Have the run that *request* is for do what it says; tell whether that is something it can."""
        if request.what != "cancel":
            return False
        try:
            self.journal.stop(request.run_id, request.why)
        except Exception:
            log.exception("Flow run %s could not be told to stop", request.run_id)
        return True

    def commit_here(self) -> None:
        """
        Commit on this thread what was told after the other one ended: atexit handlers may run flows, too.

        Only for stores that never suspend; the others answer nobody any more.
        """
        with self.guard:
            drive(self.commit_rest())

    async def commit_rest(self) -> None:
        """Commit what is left, and let go of the store."""
        self.journal.asleep = True
        while await self.commit_next():
            pass
        await self.shut()
        self.journal.asleep = True

    async def shut(self) -> None:
        """Try a last time to write what is owed, and let go of the store."""
        if self.owed or self.young:
            await self.commit(fold((), [*self.owed, *self.young])[0], ())
            self.young.clear()
        if self.opened:
            self.opened = False
            with self.busy:
                if self.journal.desk is not None:
                    await self.journal.desk.leave(self.store)
                await self.store.close()

    async def commit_next(self) -> bool:
        """Commit the next events, tell those who wait for it, and tell whether there were any."""
        events = self.journal.take(BATCH)
        if not events:
            return False
        # A durable run that was under way when the store failed stops, even if what it is owed can be written now: with
        # a file that vanished, for one, its past is gone.
        stopping = self.problem if any(under_way(run) for run in self.owed) else None
        try:
            batch, heard = fold(events, self.owed, self.young)
        except Exception as error:
            # A bug of ours in one event must not end the thread on which all runs wait.
            self.failed(error, len(events))
            self.reply([said for _, stamp, _, said in events if stamp is ASK], error)
            for _, stamp, _, said in events:
                if stamp is RECALL:
                    said[1]({})
                elif stamp is ERRAND:
                    said[1](None, error)
            return True
        if heard.recalls:
            await self.recall(heard.recalls)
        await self.commit(batch, events)
        self.tell_observer(heard)
        self.reply(heard.answers, self.problem or stopping)
        for work, answer in heard.errands:
            await self.run_errand(work, answer)
        return True

    async def ready_store(self) -> None:
        """Open the store, where that was not done yet."""
        if not self.opened:
            await self.store.open()
            self.opened = True

    async def recall(self, asked: Sequence[tuple[Collection[str], Callable[[Any], None]]]) -> None:
        """
        Answer who asks for results, all in one read; with none where the store fails, for then they are computed anew.

        Before the batch in which they ask is committed: what this process has told itself, its ledger knows.
        """
        found: dict[str, Any] = {}
        try:
            with self.busy:
                await self.ready_store()
                found = await self.store.results.recall({key for keys, _ in asked for key in keys})
        except Exception as error:
            self.failed(error, 0)
        for _, answer in asked:
            answer(found)

    async def run_errand(self, work: Callable[[Store], Any], answer: Callable[[Any, Exception | None], None]) -> None:
        """Do *work* with the store, and tell who asked."""
        try:
            with self.busy:
                await self.ready_store()
                value = await work(self.store)
        except Exception as error:
            answer(None, error)
        else:
            answer(value, None)

    async def commit(self, batch: Batch, events: Sequence[Event]) -> None:
        """Write *batch*; where the store fails, say so once, count what is lost, and try again with the next."""
        if not len(batch):
            return
        try:
            with self.busy:
                await self.ready_store()
                await self.store.append(batch)
        except Exception as error:
            # Rows of durable runs are never given up: a later answer would call them safe.
            self.owed = durable(events, self.owed)
            self.failed(error, max(len(batch) - len(self.owed), 0))
            return
        finally:
            if batch.results and self.journal.opened is not None:
                self.journal.opened.committed(batch.results)
        self.commits += 1
        if self.problem is not None:
            log.warning("The database works again; %d rows were not recorded meanwhile", self.lost)
        self.problem, self.lost, self.owed = None, 0, []

    def failed(self, error: Exception, lost: int) -> None:
        """Say, once, that the store failed, and count the *lost* rows."""
        known = isinstance(error, StoreUnavailable)
        if self.problem is None:
            log.error(
                "%s Runs go on without being recorded; durable ones stop.",
                error if known else f"The database failed unexpectedly: {type(error).__name__}: {error}.",
                exc_info=None if known else error,
            )
        self.problem = error
        self.lost += lost

    def tell_observer(self, heard: Heard) -> None:
        """Hand on what was committed; an observer that fails costs its spans, never the journal."""
        observer = self.journal.observer
        if observer is None:
            return
        try:
            for run in heard.began:
                if run.scope.trace is not None:
                    observer.began(run)
            for run in heard.ended:
                if run.scope.trace is not None:
                    observer.ended(run, run.transitions or ())
            for run, at in heard.undone:
                if run.scope.trace is not None:
                    observer.undone(run, at)
            for group, at in heard.grouped:
                if group.number:
                    observer.grouped(group, at)
        except Exception:
            log.exception("Making spans failed; runs go on, their spans are missing")

    def reply(self, answers: Sequence[Answer], problem: Exception | None) -> None:
        """Tell who asked that what they told before is safe, or what went wrong."""
        for answer in answers:
            answer(problem)

    @contextmanager
    def still(self) -> Generator[None]:
        """
        Keep the store at rest meanwhile, for CLOSE_WITHIN seconds at most to come to it.

        A fork amid its work would copy SQLite's own locks as held, and the child could never use SQLite. Nobody hands
        out slots, either; those are the parent's.
        """
        rests = self.busy.acquire(timeout=CLOSE_WITHIN)
        desk = self.journal.desk
        try:
            with self.store.results.guard, nullcontext() if desk is None else desk.guard:
                yield
            if desk is not None and self.pid != os.getpid():
                desk.abandon()
        finally:
            if rests:
                self.busy.release()

    def close(self) -> None:
        """Commit what is left and end the thread; waits CLOSE_WITHIN seconds at most. At exit; harmless twice."""
        atexit.unregister(self.close)
        thread = self.thread
        if thread is None or self.pid != os.getpid() or thread is threading.current_thread():
            return
        self.closing = True
        if not self.ended:
            self.wake()
            thread.join(CLOSE_WITHIN)
        if self.lost and self.commits:
            # Where it never worked, the one line that says so says all.
            log.error("%d rows could not be recorded; the database failed until the end", self.lost)
        if not self.ended:
            log.error("The database did not take the last events within %g s; they are lost", CLOSE_WITHIN)
        elif self.journal.told:
            # Told between the thread's last look and its end.
            self.commit_here()


def durable(events: Iterable[Event], owed: Iterable[Run]) -> list[Run]:
    """Give the durable runs that *events* tell of, and those of *owed*, each once."""
    told = [run for run, stamp, _, _ in events if stamp not in NO_TRANSITIONS]
    return [run for run in dict.fromkeys([*owed, *told]) if run.scope.level == "strict"]


def under_way(run: Run) -> bool:
    """Tell whether *run*, as far as it was told of, has not ended."""
    return not run.transitions or run.transitions[-1][0][0] not in ENDED


def finish_with_process(close: Callable[[], None]) -> None:
    """Have *close* called at the end of a process that multiprocessing forked: such a one runs no atexit handlers."""
    process, util = (sys.modules.get(f"multiprocessing.{name}") for name in ("process", "util"))
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, close, exitpriority=100)
