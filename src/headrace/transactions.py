"""Transactions, for users: a block whose side effects count together or not at all. How they end is the engine's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable
from contextvars import Token
from functools import partial
from types import TracebackType
from typing import Any, Final, cast

from headrace import _runtime
from headrace._engine.context import current_run
from headrace._engine.flights import compute, landed
from headrace._engine.journal import Journal
from headrace._engine.keeping import fresh
from headrace._engine.life import drive
from headrace._engine.policies import IsolationLevel, level_of
from headrace._engine.promises import guard
from headrace._engine.transactions import OVER, CommitMode, TransactionState, Work, current
from headrace._model.annotations import watch
from headrace._model.events import RESULT
from headrace._model.records import StoredResult
from headrace._ports import Host
from headrace.errors import HeadraceError, OptionTypeError, RunningLoopError, TransactionError, short

__all__ = ["CommitMode", "IsolationLevel", "Transaction", "TransactionState", "get_transaction", "transaction"]

Hook = Callable[[Any], Any]
UNSTAGED: Final = object()


class Transaction(Work):
    """
    A block whose side effects count together or not at all; made by `transaction`, used by `with` or `async with`.

    Attributes:
        key: What its staged value is stored under; None where it is not stored.
    """

    def __init__(self, key: str | None, mode: CommitMode | None, level: IsolationLevel | None, overwrite: bool) -> None:
        super().__init__("The transaction" if key is None else f"The transaction {key!r}", mode, None)
        self.key = key
        self.overwrite = overwrite
        self.level = level
        self.keys: Any = None
        self.staged: Any = UNSTAGED
        self.found: StoredResult | None = None
        self.journal: Journal | None = None
        self.token: Token[Work | None] | None = None
        self.host: Host = _runtime.thread_host

    # -- the block -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> Transaction:
        if self.key is not None and not _runtime.thread_host.may_wait():
            raise RunningLoopError(
                "A transaction with a key, which looks into the database,", "`async with transaction`"
            )
        drive(self.begin(_runtime.thread_host))
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        drive(self.over(error))

    async def __aenter__(self) -> Transaction:
        await self.begin(_runtime.host_for(True))
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.over(error)

    async def begin(self, host: Host) -> None:
        """Be the current one; look for what is stored under the key."""
        if self.state is not TransactionState.PENDING:
            raise TransactionError(f"{self.label} was used before. Make another one for each block.")
        self.host = host
        self.parent = current.get()
        if self.parent is not None:
            self.level = self.level or getattr(self.parent, "level", None)
            self.mode = self.mode_under(self.parent)
        self.journal = journal = _runtime.journal_here()
        if self.key is not None:
            if not journal.keeps_results:
                raise TransactionError(f"{self.label} has a key, and a worker process has no database. Leave it out.")
            try:
                await self.look(journal, self.key)
            except BaseException:
                await self.let_go(host)
                raise
        self.token = current.set(self)
        with guard:
            watch.works += 1
        if self.state is TransactionState.PENDING:
            self.state = TransactionState.ACTIVE

    async def look(self, journal: Journal, key: str) -> None:
        """Claim the key, where it is to be one's own until the end, and see what is stored under it."""
        host, ledger = self.host, journal.ledger
        keys = None if self.keys is None else ledger.vault.storage(self.keys)
        self.mark = key if keys is None else f"{keys.where}\n{key}"
        claimed = self.level is IsolationLevel.SERIALIZABLE and not self.holds(self.mark)
        while claimed:
            flight = await compute(ledger, journal, host, self.mark, self, serial=True)
            self.release = partial(landed, ledger, journal, self.mark, flight)
            if flight.ours:
                break
        if self.overwrite:
            return
        known = ledger.find(self.mark)
        if known is None or not fresh(known, host.clock.now()):
            if keys is not None:
                known = await host.aside(partial(ledger.vault.fetch, keys, key))
            else:
                known = await host.recall(journal, key)
        if known is not None and fresh(known, host.clock.now()):
            self.found = known
            self.state = TransactionState.COMMITTED

    async def over(self, error: BaseException | None) -> None:
        """Commit, roll back, or leave that to the transaction around."""
        try:
            if self.token is not None:
                current.reset(self.token)
        except ValueError:
            pass  # the block's coroutine is closed in another context, where it is not the current one
        try:
            await self.end(self.host, error)
        finally:
            if self.journal is not None and self.mark is not None:
                self.journal.ledger.computed(self.mark)
            with guard:
                watch.works -= 1

    # -- what is in it -------------------------------------------------------------------------------------------------

    def stage(
        self,
        value: Any,
        on_rollback_hooks: Iterable[Hook] | None = None,
        on_commit_hooks: Iterable[Hook] | None = None,
    ) -> None:
        """
        Have *value* stored under the key when it commits.

        Args:
            on_rollback_hooks: Called with the transaction when it is rolled back, the last first.
            on_commit_hooks: Called with it when it commits.

        Raises:
            TransactionError: It is over.
        """
        if self.state in OVER:
            what = "was committed" if self.is_committed() else "was rolled back"
            raise TransactionError(f"{self.label} {what}, and takes nothing more. Look at is_committed() first.")
        self.staged = value
        if self.key is not None:
            self.prepare = self.pack
        self.ready(on_commit_hooks or (), on_rollback_hooks or ())

    async def pack(self, host: Host) -> None:
        """Make the staged value ready to be stored."""
        journal, key = self.journal, self.key
        assert journal is not None
        assert key is not None
        vault = journal.ledger.vault
        heavy = vault.heavy(self.staged)
        pack = partial(vault.pack, self.staged, vault.codec(None), vault.storage(None), key, beside=False)
        packed = await host.aside(pack) if heavy else pack()
        run = current_run.get()
        whose = "" if run is None else run.id
        now = host.clock.now()
        result = StoredResult(
            key, whose, "transaction", now, None, packed.codec, packed.size, packed.digest, packed.storage, packed.name,
            data=packed.data,
        )  # fmt: skip
        if self.keys is not None:
            self.publish = partial(self.entered, vault.storage(self.keys), result)
        self.found = result
        self.write = partial(self.store, journal, result)

    async def entered(self, keys: Any, result: StoredResult, host: Host) -> None:
        """Record *result* in the storage of keys."""
        assert self.journal is not None
        try:
            await host.aside(partial(self.journal.ledger.vault.enter, keys, result))
        except HeadraceError as error:
            self.say(logging.ERROR, "%s is committed, but not found by its key: %s", self.label, error)

    def store(self, journal: Journal, result: StoredResult) -> None:
        """Have *result* stored, and known."""
        journal.ledger.pending[result.key] = result
        journal.tell((None, RESULT, result.created, result))
        journal.ledger.keep(self.mark or result.key, result)

    def read(self) -> Any:
        """
        Give the value that was staged, or found under the key when it began.

        Raises:
            TransactionError: There is none.
            MissingResult, SerializationError: It is not there any more, or cannot be read.
        """
        if self.staged is not UNSTAGED:
            return self.staged
        if self.found is None or self.journal is None:
            raise TransactionError(f"{self.label} has no value. Look at is_committed() first, or stage one.")
        return self.journal.ledger.vault.unpack(self.found)

    def commit(self) -> bool:
        """
        Commit, before the end of the block; tell whether that went well: else it was rolled back.

        On the thread of an event loop, async hooks run to their end in another thread.

        Raises:
            TransactionError: Its block has not begun.
        """
        self.begun()
        done: bool = drive(self.carry_out(_runtime.thread_host))
        return done

    def begun(self) -> None:
        """See that the block has begun."""
        if self.token is None:
            raise TransactionError(f"{self.label} has not begun. Use it in a `with` block.")

    def rollback(self) -> None:
        """
        Roll back now: call the on_rollback hooks of all that is inside, the last first.

        Raises:
            TransactionError: It was committed, or its block has not begun.
        """
        self.begun()
        if self.is_committed():
            raise TransactionError(f"{self.label} was committed, and cannot be rolled back any more.")
        waiting: Coroutine[Any, Any, None] = self.roll_back(_runtime.thread_host)
        drive(waiting)


def transaction(
    key: str | None = None,
    *,
    store: Any = None,
    commit_mode: CommitMode | str | None = None,
    isolation_level: IsolationLevel | str | None = None,
    overwrite: bool = False,
    logger: Any = None,
) -> Transaction:
    """
    Have the side effects in a block count together or not at all: `with transaction():`, `async with transaction():`.

    When the block ends well, results of tasks in it are stored and their on_commit hooks called; when it raises, their
    on_rollback hooks are called, the last first. Await what you submit before the block ends. Within another block it
    waits for that one's end.

    Args:
        key: What the staged value is stored under; without `stage` nothing is. Where there is a value already,
            `is_committed()` is True from the start.
        store: A folder, URL or result storage for the key, in place of the database.
        commit_mode: When it commits; None: as the one around, else LAZY.
        isolation_level: SERIALIZABLE: nobody else is in a block of this key meanwhile, also in other processes.
        overwrite: Do not look for what is stored.
        logger: Where it is said which hooks are called; else in the engine's log.

    Raises:
        OptionTypeError: An argument is of the wrong type.
        RunningLoopError: At `with`: there is a key, and this thread is a loop's; use `async with`.
    """
    if key is not None and not (isinstance(cast("object", key), str) and key):
        raise OptionTypeError(f"The key of a transaction is a text that is not empty, not {short(key)}.")
    mode = commit_mode
    if isinstance(mode, str) and mode.upper() in CommitMode.__members__:
        mode = CommitMode[mode.upper()]
    if not (mode is None or isinstance(mode, CommitMode)):
        raise OptionTypeError(f"A commit_mode is one of {', '.join(CommitMode.__members__)}, not {short(commit_mode)}.")
    level = None if isolation_level is None else level_of(isolation_level)
    made = Transaction(key, mode, level, overwrite)
    made.keys = store
    made.logger = logger
    return made


def get_transaction() -> Work | None:
    """Give the transaction this code is in: a task's own, where it has one, else the block's; None for none."""
    return current.get()
