"""
Transactions: side effects that count together or not at all.

What tasks in one returned is stored, and their on_commit hooks are called, when the outermost commits; if it does not
come to that, their on_rollback hooks are called, the last first. Nothing here knows what the side effects are.

A durable run takes its transactions along: steps that are on record when it is resumed take part as if just run.
"""

from __future__ import annotations

import copy
import enum
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Final

from headrace._engine import lines
from headrace._engine.context import current_run
from headrace._engine.inputs import own_frames
from headrace._engine.runs import Run
from headrace._engine.step_names import transitions
from headrace._model.events import ROLLED_BACK
from headrace._model.records import FlowRun, StoredResult, TaskRun
from headrace._model.steps import step_id
from headrace._ports import Host
from headrace.errors import TerminationSignal, TransactionError

Hook = Callable[..., Any]
NOTHING: Final = object()
COMMITTED: Final = "committed"  # what is drawn of a step whose transaction is, so that it is known after a resume


class CommitMode(enum.Enum):
    """
    When a transaction commits.

    EAGER: When its own block ends. LAZY: When the block of the outermost one does. OFF: When `commit` is called; if it
    was not by the end of the block, it is rolled back.
    """

    EAGER = "EAGER"
    LAZY = "LAZY"
    OFF = "OFF"


class TransactionState(enum.Enum):
    """How far a transaction is."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    STAGED = "STAGED"
    COMMITTED = "COMMITTED"
    ROLLED_BACK = "ROLLED_BACK"


OVER: Final = frozenset({TransactionState.COMMITTED, TransactionState.ROLLED_BACK})
current: ContextVar[Work | None] = ContextVar("headrace_transaction", default=None)


class Work:
    """
    One transaction: a block's, or that of a task run.

    Attributes:
        label: What it is called in the log.
        key: What its result is stored under; None where nothing is.
        mark: What that key is called in this process, where keys of several storages meet.
        run: The task run that it is; None for a block's.
        parent: The one around it.
        children: Those inside it that wait for it to commit, in the order in which they ended.
        records: Of the outermost: what was computed in it and is not stored yet, by key.
        prepare: Makes what was staged ready to be stored; may fail.
        write: Has it stored; cannot fail.
        publish: Has it recorded where keys lie elsewhere, once it is committed.
        within: Whether the task run that it is has yet to end, and so to say itself that it was rolled back.
        release: What is to be given up when it is over, committed or not: a claim on a key.
    """

    def __init__(self, label: str, mode: CommitMode | None, parent: Work | None, run: Run | None = None) -> None:
        self.label = label
        self.key: str | None = None
        self.mark: str | None = None
        self.run = run
        self.parent = parent
        self.given = mode
        self.mode = self.mode_under(parent)
        self.state = TransactionState.PENDING
        self.children: list[Work] = []
        self.values: dict[str, Any] = {}
        self.on_commit: list[Hook] = []
        self.on_rollback: list[Hook] = []
        self.records: dict[str, StoredResult] = {}
        self.prepare: Callable[[Host], Any] | None = None
        self.write: Callable[[], object] | None = None
        self.publish: Callable[[Host], Any] | None = None
        self.release: Callable[[Host], Any] | None = None
        self.logger: Any = None
        self.within = run is not None

    def mode_under(self, parent: Work | None) -> CommitMode:
        """Give when it commits within *parent*: as it was told, else as that one, which alone may be OFF."""
        if self.given is not None:
            return self.given
        return CommitMode.EAGER if parent is not None and parent.mode is CommitMode.EAGER else CommitMode.LAZY

    @property
    def root(self) -> Work:
        """The outermost one around it that has not ended; itself where there is none."""
        return [work for work in self.chain() if work is self or work.state not in OVER][-1]

    def chain(self) -> Iterator[Work]:
        """Give it, and those around it."""
        work: Work | None = self
        while work is not None:
            yield work
            work = work.parent

    def holds(self, mark: str) -> bool:
        """Tell whether a transaction around it is that of the key *mark*."""
        return any(work.mark == mark for work in self.chain() if work is not self)

    def find(self, key: str) -> StoredResult | None:
        """Give what was computed under *key* in this transaction or one around it, and is not stored yet."""
        for work in self.chain():
            if key in work.records:
                return work.records[key]
        return None

    def set(self, name: str, value: Any) -> None:
        """Keep *value* under *name*, for hooks and for transactions inside, until it is over."""
        self.values[name] = value

    def get_parent(self) -> Work | None:
        """Give the transaction around it."""
        return self.parent

    def is_pending(self) -> bool:
        """Tell whether it has not begun."""
        return self.state is TransactionState.PENDING

    def is_active(self) -> bool:
        """Tell whether it is at work."""
        return self.state is TransactionState.ACTIVE

    def is_staged(self) -> bool:
        """Tell whether its work is done and waits for its commit."""
        return self.state is TransactionState.STAGED

    def is_committed(self) -> bool:
        """Tell whether it counts: committed, or found under its key when it began."""
        return self.state is TransactionState.COMMITTED

    def is_rolled_back(self) -> bool:
        """Tell whether it was rolled back."""
        return self.state is TransactionState.ROLLED_BACK

    def get(self, name: str, default: Any = NOTHING) -> Any:
        """
        Give a copy of what was set as *name* here, or in a transaction around.

        Raises:
            TransactionError: Nothing was, and there is no *default*.
        """
        for work in self.chain():
            if name in work.values:
                return copy.deepcopy(work.values[name])
        if default is NOTHING:
            raise TransactionError(f"Nothing was set as {name!r} in {self.label}. Set it first, or give a default.")
        return default

    def ready(self, on_commit: Iterable[Hook], on_rollback: Iterable[Hook]) -> None:
        """Have the work done, as far as it goes: what remains is to commit, or to call *on_rollback*."""
        if self.state in OVER:
            return
        self.on_commit += on_commit
        self.on_rollback += on_rollback
        self.state = TransactionState.STAGED

    async def end(self, host: Host, error: BaseException | None) -> None:
        """
        Commit, roll back, or leave that to the transaction around, at the end of a block that raised *error*.

        Neither where a durable run is only left behind: its transactions go on with it.
        """
        if self.state in OVER or self.is_left(host, error):
            await self.let_go(host)
            return
        if error is not None:
            await self.roll_back(host)
            return
        above = self.parent
        if self.mode is CommitMode.OFF:
            await self.roll_back(host)
        elif self.mode is CommitMode.EAGER or above is None or above.state is TransactionState.COMMITTED:
            await self.carry_out(host)
        elif above.state is TransactionState.ROLLED_BACK:
            await self.roll_back(host)
        else:
            above.children.append(self)
            above.records.update(self.records)

    def is_left(self, host: Host, error: BaseException | None) -> bool:
        """Tell whether the durable run that it is part of has not ended, but goes on in another process, or later."""
        run = self.run or current_run.get()
        past = None if run is None else run.scope.past
        if past is None:
            return False
        if past.lost is not None or past.problem is not None or past.dry or past.strands.state is not None:
            return True
        if error is None or isinstance(error, Exception):
            return False
        return past.leaves or isinstance(host.translated(error), TerminationSignal)

    async def carry_out(self, host: Host) -> bool:
        """
        Call the hooks of all that is inside and its own, then store what was staged; tell whether it came to that.

        Where a hook fails, or what was staged cannot be packed, nothing is stored and all is rolled back; also where
        somebody cancels it meanwhile, which is raised again.
        """
        if self.state in OVER:
            return self.state is TransactionState.COMMITTED
        works: dict[Work, None] = {}
        try:
            while waiting := [work for work in self.inside() if work not in works]:  # some may end in here meanwhile
                for work in waiting:
                    await work.made_ready(host)
                    works[work] = None
        except BaseException as error:
            if isinstance(error, Exception):
                self.say(logging.ERROR, "%s could not be committed, and is rolled back", self.label, error=error)
            await self.roll_back(host)
            if not isinstance(error, Exception):
                raise
            return False
        for work in works:
            if work.write is not None:
                work.write()
            work.state = TransactionState.COMMITTED
            work.note()
        for work in works:
            if work.publish is not None:
                await work.publish(host)
            await work.let_go(host)
        return True

    def note(self) -> None:
        """Have it on record of a step of a durable flow that its hooks were called, where its end does not say so."""
        run = self.run
        if run is not None and run.scope.past is not None and self.waits and (self.on_commit or self.on_rollback):
            run.scope.past.drawn(run, COMMITTED, lambda: True)

    @property
    def waits(self) -> bool:
        """Whether it is committed with another one, and not by the end of its own task run."""
        return self.parent is not None and self.mode is not CommitMode.EAGER

    async def made_ready(self, host: Host) -> None:
        """Pack what was staged, and call the on_commit hooks."""
        if self.prepare is not None:
            await self.prepare(host)
        for hook in self.on_commit:
            await self.call("commit", hook, host)

    def inside(self) -> Iterator[Work]:
        """Give those inside it, in the order in which they ended, each behind those inside it; then it itself."""
        for child in list(self.children):
            if child.state not in OVER:
                yield from child.inside()
        yield self

    async def roll_back(self, host: Host) -> None:
        """
        Call the on_rollback hooks, the last first, each guarded by itself; then those of what is inside.

        Who is cancelled meanwhile hears of it when all have been called.
        """
        if self.state in OVER:
            await self.let_go(host)
            return
        done = not self.within and self.state is TransactionState.STAGED
        self.state = TransactionState.ROLLED_BACK
        stopped: BaseException | None = None
        for hook in reversed(self.on_rollback):
            try:
                await self.call("rollback", hook, host)
            except Exception as error:
                self.say(logging.ERROR, "Rollback hook %r failed; the others are called", named(hook), error=error)
            except BaseException as stop:
                stopped = stop
        if done and self.run is not None:
            self.run.result_key = None
            self.run.scope.tell((self.run, ROLLED_BACK, host.clock.now(), f"{self.label} was rolled back."))
            if self.run.scope.past is not None:
                self.run.scope.past.drew()  # on record before another step is run, so that it is done once
        for child in reversed(list(self.children)):
            try:
                await child.roll_back(host)
            except BaseException as stop:
                stopped = stop
        await self.let_go(host)
        if stopped is not None:
            raise stopped

    async def let_go(self, host: Host) -> None:
        """Give up what was held until its end; keep nobody alive."""
        release, self.release = self.release, None
        self.records.clear()
        self.children.clear()
        self.prepare = self.write = self.publish = None
        if release is not None:
            await release(host)

    async def call(self, when: str, hook: Hook, host: Host) -> None:
        """Call one hook."""
        self.say(logging.INFO, "Running %s hook %r", when, named(hook))
        value = hook(self)
        if inspect.isawaitable(value):
            await host.answer(value)
        self.say(logging.INFO, "%s hook %r finished", when.title(), named(hook))

    def say(self, level: int, message: str, *values: Any, error: Exception | None = None) -> None:
        """Say something in the log of the task run, or of the block."""
        info = None if error is None else (type(error), error, own_frames(error))
        if self.logger is None and self.run is not None:
            lines.say(self.run, level, message, *values, exc_info=info, kept=True)
        else:
            (self.logger or lines.ENGINE).log(level, message, *values, exc_info=info)


async def rejoin(run: Run, host: Host, known: TaskRun | FlowRun) -> None:
    """
    Have *run*, on record as *known* before its flow was resumed, take part in the transaction around as if just run.

    It does not where there is nothing to be undone of it, or where it is on record that its transaction was committed.
    """
    above, past, state = current.get(), run.scope.past, known.state
    if above is None or past.dry or isinstance(known, FlowRun) or not state.is_completed():
        return
    if state.name == ROLLED_BACK[1] or known.cached_from is not None:
        return
    work = Work(run.label, None, above, run)
    if not work.waits or f"{run.scope.prefix}{step_id(run.step_id or run.id, COMMITTED, None, 1)}" in past.results:
        return
    # Should it be rolled back, its row is written once more, with all that is in it.
    run.transitions, run.attempt, run.recorded = transitions(known), known.run_count, past.results[run.id]
    work.within = False
    work.ready(run.spec.hooks["on_commit"], run.spec.hooks["on_rollback"])
    await work.end(host, None)


def named(hook: Hook) -> str:
    """Give what *hook* is called."""
    return str(getattr(hook, "__name__", type(hook).__name__))
