"""
The back office: one daemon thread with one event loop, where the journal is committed and its spans are made.

It takes what has arrived and never waits for more; under load the batches grow by themselves. While a flow runs, it
also looks for what other processes ask of it. User code never runs here. A handful may be committed by the thread that
waits for it, see `_promptly`, or on its loop, see `_beside`.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Final

from headrace import _beside as beside
from headrace import _promptly as promptly
from headrace import _rounds as rounds
from headrace._engine.fold import Heard, durable, fold, under_way, without
from headrace._engine.journal import Answer, Event, Journal, Said
from headrace._engine.life import drive
from headrace._engine.runs import Run
from headrace._loops import LightLoop, completed
from headrace._model.events import ASK, ERRAND, RECALL
from headrace._model.ids import prefix_of
from headrace._model.records import StoredResult
from headrace._observing import hand_on
from headrace._ports import Batch, Ringing, Store
from headrace._ports.beside import Lending
from headrace.errors import LostRun, Occupied, StaleRuns, StoreUnavailable

BATCH: Final = 2_000
FEW: Final = 100  # runs in progress, whose rows are written at the next look
GROWN_AFTER: Final = 0.6  # seconds; twice that at most
NAP: Final = 0.01  # seconds
CLOSE_WITHIN = 10.0
log: Final = logging.getLogger("headrace.store")


class BackOffice:
    """
    Commits a journal into a store.

    Attributes:
        lost: Rows that a failing store could not take, since the last time it worked.
        young: Task runs that have just begun, and whose rows are written if they do not end within GROWN_AFTER, or,
            where they are many, soon after; each with whether it was among them at the last look.
        grown: When that was last looked at, on the loop's clock.
        renewed: When the leases were last held for longer, on the loop's clock.
        looked: When it last looked for requests, likewise.
        rung: Whether another process has rung since.
        owed: Durable runs whose rows it could not take; written with the next batch that it takes.
        due: What such runs have come to, likewise.
        halfway: What was folded on another thread, and could not be written there at once.
        late: What was committed, on other threads or of steps alone, and is to be told the observer.
        prompt: How many commits there were on other threads since the last one here.
        lent: The commit that is under way on another loop, see `_beside`; nothing else is committed meanwhile.
        wants: Whether none is to begin there, since this one waits for its turn.
    """

    def __init__(self, store: Store, journal: Journal) -> None:
        self.store = store
        self.journal = journal
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: threading.Thread | None = None
        self.ready = threading.Event()
        # Reentrant: a signal's handler may end a run, and so tell, while the same thread commits after the close.
        self.guard = threading.RLock()
        # Held while events are folded, and while the store is at work; whoever forks takes it first, see `still`.
        self.busy = threading.RLock()
        self.closing = self.ended = self.opened = False
        self.problem: Exception | None = None
        self.owed: list[Run] = []
        self.due: list[StoredResult] = []
        self.halfway: tuple[list[Event], Batch, Heard] | None = None
        self.late: deque[Heard] = deque()
        self.lent: beside.Lent | None = None
        self.wants = False
        self.young: dict[Run, bool] = {}
        self.grown = self.renewed = self.looked = self.learned = 0.0
        # Set while a flow runs here: when to look for requests. Made anew for each look.
        self.alarm: asyncio.TimerHandle | None = None
        self.rung = self.deaf = self.beats = False
        # In progress before this office was there, so a forked child's parent's: what is asked of them is not for us.
        self.foreign = frozenset(journal.live)
        self.commits = self.prompt = self.lost = 0
        self.pid = os.getpid()
        self.beside = store.beside if isinstance(store, Lending) else None
        self.on_loop = partial(beside.commit, self)
        if isinstance(store, Ringing):
            store.rang = self.hear

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
        self.loop = self.light = loop = LightLoop()
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
        worked = rung = False
        prompt = 0  # as of the last nap
        while True:
            if self.look_is_due():
                await rounds.go(self)
            if not rung or len(self.late) > promptly.HANDFUL:
                self.tell_late()
            if self.young or self.owed or self.due:
                await self.grow()
            if journal.opened is not None:
                await rounds.learn(self, journal.opened)
            others = prompt != self.prompt and not self.closing and promptly.theirs(journal.told)
            if not others and await self.commit_next():
                worked = True
                if journal.progress is not None:
                    # Under load the loop calls nobody back unless it is asked to.
                    await asyncio.sleep(0)
                continue
            if (worked or prompt != self.prompt) and not self.closing:
                worked, prompt = False, self.prompt
                rung = await self.nap()
                continue
            self.tell_late()
            # Asleep first, then a last look: who tells in between rings the bell.
            self.bell.clear()
            journal.asleep = True
            if self.has_work() or self.late or self.alarm_is_late():
                journal.asleep = False
                continue
            if self.closing:
                await self.shut()
                return
            waits = self.young or self.owed or self.due
            alarm = asyncio.get_running_loop().call_later(GROWN_AFTER, self.bell.set) if waits else None
            await self.bell.wait()
            if alarm is not None:
                alarm.cancel()
            journal.asleep = False

    async def grow(self) -> None:
        """
        Write the rows of task runs that have begun and not ended, now and then: who looks is to see them run.

        And try again to write what is owed, though nobody tells anything more.
        """
        now = asyncio.get_running_loop().time()
        if now - self.grown < GROWN_AFTER:
            return
        with self.busy:
            if self.lent is not None:
                return
            self.grown = now
            # Of thousands only those that were there at the last look: most that have just begun will soon end.
            few = len(self.young) <= FEW
            grown = [run for run, old in self.young.items() if old or few]
            self.young = dict.fromkeys([] if few else [run for run, old in self.young.items() if not old], True)
            await self.commit(*fold((), [*self.owed, *grown]), ())

    async def nap(self) -> bool:
        """
        Rest a moment without being asleep: only who asks rings, who merely tells does not. Tell whether somebody did.

        A ring costs the teller 10 us and often the interpreter's lock; tellers that come one by one would pay it each.
        """
        await asyncio.sleep(0)  # who is to be called back is: nobody is while it dozes
        self.bell.clear()
        if self.closing or not promptly.theirs(self.journal.told):
            return True
        return await self.light.rested(self.bell, NAP)

    def alarm_is_late(self) -> bool:
        """Tell whether the time to look has come meanwhile: its alarm rang while nobody waited for the bell."""
        return self.alarm is not None and self.loop is not None and self.loop.time() >= self.alarm.when()

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
        busy = self.journal.live or self.journal.recovering or (ledger is not None and ledger.leases)
        if busy and not self.closing:
            self.alarm = loop.call_later(rounds.LOOK_EVERY, self.bell.set)
        if alarm is not None:
            self.looked = loop.time()
        return alarm is not None

    def hear(self) -> None:
        """Hear that another process has left something: look at once, or in a moment, for all who ring until then."""
        loop, alarm = self.loop, self.alarm
        if loop is None or alarm is None:
            return
        self.rung = True
        soon = max(loop.time(), self.looked + rounds.HEED_EVERY)
        if soon < alarm.when():
            alarm.cancel()
            self.alarm = loop.call_at(soon, self.bell.set)

    def commit_here(self) -> None:
        """
        Commit on this thread what was told after the other one ended: atexit handlers may run flows, too.

        A store that awaits a server says that it `suspends`, and gets a loop for the purpose.
        """
        with self.guard:
            (completed if self.store.suspends else drive)(self.commit_rest())

    async def commit_rest(self) -> None:
        """Commit what is left, and let go of the store."""
        self.journal.asleep = True
        while await self.commit_next():
            pass
        await self.shut()
        self.journal.asleep = True

    async def shut(self) -> None:
        """Try a last time to write what is owed, and let go of the store."""
        self.tell_late()
        if self.owed or self.young or self.due:
            with self.busy:
                await self.commit(*fold((), [*self.owed, *self.young]), ())
                self.young.clear()
        if self.opened:
            self.opened = False
            with self.busy:
                if self.journal.desk is not None:
                    await self.journal.desk.leave(self.store)
                await rounds.leave(self)
                await self.store.close()

    async def commit_next(self) -> bool:
        """Commit the next events, tell those who wait for it, and tell whether there were any."""
        if not self.has_work():
            return False  # without a wait for who commits promptly
        await beside.over(self)
        with self.busy:
            halfway, self.halfway, self.prompt, self.wants = self.halfway, None, 0, False
            events = self.journal.take(BATCH) if halfway is None else halfway[0]
            if not events:
                return False
            # A durable run that was under way when the store failed stops, even if what it is owed can be written now:
            # with a file that vanished, for one, its past is gone.
            stopping = self.problem if any(under_way(run) for run in self.owed) else None
            batch, heard = self.folded(events) if halfway is None else halfway[1:]
            if heard.recalls:
                await self.recall(heard.recalls)
            await self.commit(batch, heard, events)
        if len(events) <= promptly.HANDFUL and promptly.plain(events):
            self.late.append(heard)  # behind the answer, for which somebody waits
        else:
            self.tell_late()
            hand_on(self.journal.observer, heard)
        self.reply(heard.answers, self.problem or stopping)
        for work, answer in heard.errands:
            await self.run_errand(work, answer)
        return True

    def has_work(self) -> bool:
        """Tell whether something is to be committed here, or may come to be before the end."""
        return bool(self.journal.told or self.halfway or (self.closing and self.lent))

    def folded(self, events: list[Event]) -> tuple[Batch, Heard]:
        """Fold *events*; a bug of ours in one of them must not end the thread on which all runs wait."""
        try:
            return fold(events, self.owed, self.young)
        except Exception as error:
            self.failed(error, len(events))
            self.reply([said for _, stamp, _, said in events if stamp is ASK], error)
            for _, stamp, _, said in events:
                if stamp is RECALL:
                    said[1]({})
                elif stamp is ERRAND:
                    said[1](None, error)
            return Batch(), Heard()

    def at_once(self, on_loop: bool) -> Said | None:
        """Commit what was told on the thread that calls this, if that is soon done; None: have this one do it."""
        return promptly.commit(self, on_loop)

    def may_be_prompt(self) -> bool:
        """Tell whether the store works, and nothing waits that is to be written, or done with it, first."""
        waits = self.halfway or self.lent or self.wants or self.owed or self.due or self.problem is not None
        return self.opened and not (self.closing or self.ended or waits or self.prompt >= promptly.IN_A_ROW)

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

    async def commit(self, batch: Batch, heard: Heard, events: Sequence[Event]) -> bool:
        """
        Write *batch*; where the store fails, say so once, count what is lost, and try again with the next.

        Gives False, and has nothing happened, where others hold the store, and it is not to wait for them.
        """
        due = self.due
        batch.results[:0] = due
        if not len(batch):
            return True
        try:
            if not self.opened:
                await self.ready_store()
            await self.append(batch, heard)
        except Occupied:
            self.halfway = (list(events), batch, heard)
            return False
        except Exception as error:
            # Rows of durable runs are never given up: a later answer would call them safe.
            self.owed = durable(events, self.owed)
            unread = {key for _, _, key in batch.read}  # with what was read, or not at all
            new = [one for one in batch.results[len(due) :] if one.key not in unread]
            self.due = [*due, *[one for one in new if prefix_of(one.run_id) in heard.pasts]]
            heard.stop(error)
            self.failed(error, max(len(batch) - len(self.owed) - len(self.due), 0))
            return True
        finally:
            if batch.results and self.halfway is None and self.journal.opened is not None:
                self.journal.opened.committed(batch.results)
        self.commits += 1
        if self.problem is not None:
            log.warning("The database works again; %d rows were not recorded meanwhile", self.lost)
        self.problem, self.lost, self.owed, self.due = None, 0, [], []
        return True

    async def append(self, batch: Batch, heard: Heard) -> None:
        """Write *batch*; rows of durable runs that other processes have by now are left out, and the runs stopped."""
        while len(batch):
            try:
                await self.store.append(batch)
            except StaleRuns as stale:
                batch = without(batch, heard.lose(stale.run_ids))
                for run_id in stale.run_ids:
                    log.error("%s", LostRun(run_id))
                    self.journal.stop(run_id, "another process has taken it over")
            else:
                heard.written(batch)
                return

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

    def tell_late(self) -> None:
        """Hand on what was committed, and nobody waited for the spans of."""
        while self.late:
            hand_on(self.journal.observer, self.late.popleft())

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


def finish_with_process(close: Callable[[], None]) -> None:
    """Have *close* called at the end of a process that multiprocessing forked: such a one runs no atexit handlers."""
    process, util = (sys.modules.get(f"multiprocessing.{name}") for name in ("process", "util"))
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, close, exitpriority=100)
