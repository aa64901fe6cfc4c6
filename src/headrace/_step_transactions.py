"""
Step transactions: a block in which a task of a durable flow writes to the user's own database, where the record lies as
well. The rows and the record of the step are committed together, on the user's connection.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

from headrace import _runtime
from headrace._borrowed import borrowed
from headrace._borrowed.line import EndedWithin
from headrace._engine.begin import heed
from headrace._engine.context import Attempt, current_attempt, current_run
from headrace._engine.life import drive
from headrace._engine.runs import Run, TaskRunning
from headrace._engine.sealing import ended, within
from headrace._model.events import COMPLETED
from headrace._model.urls import IN_MEMORY
from headrace._ports import Batch, Host, Store
from headrace._undisturbed import undisturbed
from headrace.errors import OptionTypeError, SerializationError, StaleRuns
from headrace.errors.steps import CommitInDoubt, StepTransactionError

T = TypeVar("T")
Life = Coroutine[Any, Any, None]


class StepTransaction:
    """
    A transaction on the user's connection; made by `step_transaction`, used once, by `with` or `async with`.

    Attributes:
        connection: The user's.
    """

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.line = borrowed(connection)
        self.host: Host = _runtime.thread_host
        self.to_the_end: Callable[[Life], Life] = at_once
        self.run: TaskRunning | None = None
        self.value: Any = None
        self.attempt: tuple[int, Attempt | None] = (0, None)
        self.begun = self.records = self.committed = False

    def returns(self, value: T) -> T:
        """
        Have *value* be on record as what the step returns, and give it, for the task to return it. None without.

        Said again, the last counts.
        """
        self.value = value
        return value

    # -- the block -----------------------------------------------------------------------------------------------------

    def __enter__(self) -> StepTransaction:
        if not self.line.blocks:
            raise OptionTypeError(f"A connection of {type(self.connection).__module__} awaits: say `async with`.")
        host = _runtime.thread_host.here("headrace.durable.step_transaction", "`async with`")
        drive(self.begin(host, at_once))
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        drive(self.over(error))

    async def __aenter__(self) -> StepTransaction:
        await self.begin(_runtime.host_for(True), shielded)
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.over(error)

    async def begin(self, host: Host, to_the_end: Callable[[Life], Life]) -> None:
        """
        Begin a transaction; in a durable run, see that its record lies in the same database.

        Raises:
            StepTransactionError: It does not, or there can be no such transaction here.
            LostRun, StoreUnavailable: Nothing is recorded for the run any more.
        """
        self.host, self.to_the_end = host, to_the_end
        self.run = run = step()
        if self.begun:
            raise refused(run, "was used before", "Make another one for each block.")
        if self.line.busy:
            raise refused(
                run,
                "was to begin on a connection that is in a transaction already",
                "Commit or roll back that one first. A connection of sqlite3 with autocommit=False always is in one: "
                "open it without.",
            )
        self.begun = True
        try:
            if run is not None:
                await self.settle(run)
            await self.line.begin()
            if run is not None and await self.is_record(run):
                await self.line.mark(run.id)
                self.records = True
        except BaseException as error:
            await self.undo(error)
            self.let_go()
            raise

    async def settle(self, run: TaskRunning) -> None:
        """Have all be committed that was told of *run* so far, and nothing more of it until `let_go`."""
        past = run.scope.past
        self.attempt = run.attempt, current_attempt.get()
        past.holding.add(run.id)
        run.inherited = True  # so the journal leaves its row to somebody else, as that of a run of before a fork
        problem = await self.host.settled(run.scope.journal) or past.lost or past.problem
        if problem is not None:
            raise problem

    def let_go(self) -> None:
        """Have the journal write the run's row again, unless it was given up amid the commit, and lost that race."""
        run = self.run
        if run is not None:
            run.inherited = self.committed and run.ended
            run.scope.past.holding.discard(run.id)

    async def is_record(self, run: TaskRunning) -> bool:
        """
        Tell whether *run* is on record where the user's rows go; not where that is memory, which outlives no crash.

        Raises:
            StepTransactionError: It is on record in another database.
        """
        if await self.line.holds(run.scope.past.root_id):
            return True

        async def place(store: Store) -> str:
            return store.where

        ours = await self.host.with_store(run.scope.journal, place)
        if ours in IN_MEMORY:
            return False
        raise refused(
            run,
            f"was to write to {await self.line.where()}, and the run is on record in {ours}",
            "Both must be one database: set HEADRACE_DATABASE_URL to yours, or write there without this block.",
        )

    async def over(self, error: BaseException | None) -> None:
        """Commit, where *error* is None; else roll back."""
        try:
            if error is None:
                await self.end()
        except BaseException as raised:
            error = raised
            raise
        finally:
            if error is not None and not self.committed:
                await self.undo(error)
            self.let_go()

    async def undo(self, error: BaseException) -> None:
        """Roll back because of *error*, which is not hidden by what goes wrong then."""

        async def roll_back() -> None:
            try:
                await self.line.roll_back()
            except Exception as failed:
                error.add_note(f"Its transaction could not be rolled back: {type(failed).__name__}: {failed}")

        await self.to_the_end(roll_back())

    async def end(self) -> None:
        """Commit the user's rows, in a durable run with its record."""
        run = self.run
        if run is None:
            await self.to_the_end(self.commit())
            return
        heed(run)
        try:
            kept = await run.scope.past.packed(run, self.host, run.id, self.value)
        except SerializationError as error:
            raise refused(run, f"was given a result that cannot be recorded: {error}", "Give plain data.") from None
        at = self.host.clock.now()
        await self.to_the_end(self.seal(run, ended(run, kept, at), kept, at))

    async def commit(self) -> None:
        """Commit."""
        await self.line.commit()
        self.committed = True

    async def seal(self, run: TaskRunning, batch: Batch, kept: Any, at: int) -> None:
        """
        Write *batch*, the record of *run*, and commit; from then on nothing changes that record.

        Raises:
            LostRun: Another process has the run by now; nothing was committed.
            StepTransactionError: The block, or somebody else, has ended it already; as CommitInDoubt: nobody knows.
        """
        past = run.scope.past
        try:
            if self.records:
                await self.line.write(batch, run.id)
        except StaleRuns:
            past.lose()
            raise past.lost from None
        except EndedWithin:
            raise refused(
                run,
                "was ended by a commit or a rollback in its own block",
                "Leave both to the block. What was committed is there, and the step is run again.",
            ) from None
        past.sealed[run] = kept.digest  # who gives the run up from here on finds it sealed; before, we see that
        try:
            self.see_wanted(run)
            await self.commit()
        except BaseException as error:
            del past.sealed[run]
            if isinstance(error, StepTransactionError) or not self.line.in_doubt(error):
                raise
            past.lost = CommitInDoubt(run.label, past.root_id)
            raise past.lost from error
        run.recorded = kept
        run.scope.tell((run, COMPLETED, at, None))  # whatever it comes to now, the journal takes it to have ended

    def see_wanted(self, run: TaskRunning) -> None:
        """See that the caller of *run* still waits for this attempt, and not for a later one."""
        attempt, seen = self.attempt
        if run.ended or not run.inherited or run.attempt != attempt or (seen is not None and seen.left):
            raise refused(run, "comes to its end after the run did", "Its caller has gone on, so it was rolled back.")


def step() -> TaskRunning | None:
    """
    Give the run of a task that the code on this stack is the body of, where that is a step of a durable run; else None.

    Raises:
        StepTransactionError: It is in a durable run, and can have no step transaction.
    """
    run = current_run.get()
    if run is None:
        return None
    past = run.scope.past
    if past is None:
        if run.scope.level == "strict" and run.scope.flow_run_id is not None:
            raise refused(
                run, "was to begin in a process that keeps no record of its durable run", "Run the task in the flow's."
            )
        return None
    if not isinstance(run, TaskRunning):
        raise refused(run, "was to begin in the flow itself, which is no step", "Put the block into a task.")
    if run.spec.shape != "call" or run.spec.options.get("persist_result") is False:
        raise refused(
            run, "was to begin in a task that is not recorded", "Have it not yield, and leave out persist_result=False."
        )
    for above in (run, *run.ancestors()):
        if above.id in past.holding:
            raise within(above, "begins another one")
    if run in past.sealed:
        raise refused(run, "was committed before, and so the step is on record", "Have one block in a task.")
    if run.inherited:
        raise refused(run, "was to begin in a process that was forked from the one that records it", "Begin it there.")
    return run


def refused(run: Run | None, why: str, step: str) -> StepTransactionError:
    """Give the error that says *why* there can be no such transaction, or no commit, and what to do."""
    return StepTransactionError(None if run is None else run.label, why, step)


async def at_once(life: Life) -> None:
    """Run *life*, which blocks, to its end; signals are heard behind it."""
    undisturbed(lambda: drive(life))


async def shielded(life: Life) -> None:
    """Run *life* to its end; who is cancelled meanwhile hears it behind that."""
    import asyncio  # noqa: PLC0415 - 45 ms for both, for those who have a loop anyway

    import anyio  # noqa: PLC0415

    with anyio.CancelScope(shield=True):
        working = asyncio.ensure_future(life)
        try:
            await asyncio.shield(working)
        except asyncio.CancelledError:
            await asyncio.wait([working])
            if not working.cancelled():
                working.exception()  # it was heard of, or is worth less than the cancellation
            raise


def step_transaction(connection: Any) -> StepTransaction:
    """
    Commit what a task writes to its own database together with the record of it: `async with`, or `with`.

    In a task of a durable flow that is recorded in the same database, the rows that the block writes on *connection*
    and the record of the step, as completed with what `returns` was given, are there both or not at all: so the step is
    done exactly once. Elsewhere, and where the record is in memory, it is just a transaction.

    The block begins a transaction of its own, commits it at the end, and rolls it back on an exception, a cancellation,
    or where another process has taken the run over. While it is open, SQLite takes no writes from anybody else.

    Args:
        connection: One of sqlite3, aiosqlite, asyncpg or psycopg, blocking or not, or an AsyncSession of SQLAlchemy,
            that is in no transaction.

    Raises:
        OptionTypeError: *connection* is something else; or, at `with`, one that awaits.
        RunningLoopError: At `with`: this thread is an event loop's; use `async with`.
        StepTransactionError: The record lies elsewhere, or the block does what it may not: call a task or a subflow,
            draw from `headrace.durable`, begin another one.
        LostRun: Another process has taken the run over; nothing was committed.
    """
    return StepTransaction(connection)
