"""Step transactions whose runs are stopped, given up or interrupted: before the commit, amid it, and behind it."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

import headrace
from headrace import durable, flow, runs, task
from headrace._engine.context import current_attempt
from headrace.durable import StepCommitted, StepTransactionError
from headrace.errors import CancelledRun, TaskRunTimeoutError
from headrace.runtime import task_run
from headrace.task_runners import ProcessPoolTaskRunner
from tests.chaos.processes import until
from tests.contract.borrowed import Books, charge_at
from tests.spec.cancelling import Meanwhile, stop
from tests.spec.durable_crashes import path
from tests.spec.forms import Latch


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path, None)


def file_of(books: Books) -> Path:
    return books.home / "headrace.db"


def step_states(books: Books) -> list[list[str]]:
    """Give the states that each step went through."""
    return [path(run) for found in runs.flow_runs()[:1] for run in runs.task_runs(found)]


def test_a_timeout_amid_a_block_rolls_it_back(books: Books) -> None:
    @task(timeout_seconds=0.05)
    async def charge() -> None:
        async with aiosqlite.connect(file_of(books)) as connection, durable.step_transaction(connection):
            await connection.execute("INSERT INTO payment VALUES (7)")
            await asyncio.get_running_loop().create_future()

    @flow(durable=True)
    async def pay() -> None:
        await charge()

    with books.runtime():
        with pytest.raises(TaskRunTimeoutError):
            headrace.run(pay())
        assert step_states(books) == [["Running", "TimedOut"]]

    assert books.payments() == []


class Watched(sqlite3.Cursor):
    """A cursor of a connection that does something amid its commits."""

    def execute(self, statement: str, *values: Any) -> Any:
        connection = self.connection
        if statement == "COMMIT" and isinstance(connection, AmidCommits):
            connection.act()
        return super().execute(statement, *values)


class AmidCommits(sqlite3.Connection):
    """A connection that does something amid its commits."""

    act: Callable[[], object]

    def cursor(self, factory: Any = Watched) -> Any:
        return factory(self)


def amid_commits(books: Books, act: Callable[[], object]) -> AmidCommits:
    """Open a connection that does *act* amid its commits."""
    connection = sqlite3.connect(file_of(books), factory=AmidCommits)
    connection.act = act
    return connection


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel *task*, and let it hear of it."""
    task.cancel()
    await asyncio.sleep(0)


def test_a_cancellation_amid_the_commit_is_heard_behind_it(books: Books) -> None:
    @task
    async def charge() -> None:
        loop, us = asyncio.get_running_loop(), asyncio.current_task()
        assert us is not None

        def cancel() -> None:
            asyncio.run_coroutine_threadsafe(cancelled(us), loop).result()

        async with aiosqlite.Connection(lambda: amid_commits(books, cancel), iter_chunk_size=64) as connection:
            async with durable.step_transaction(connection) as transaction:
                await connection.execute("INSERT INTO payment VALUES (7)")
                transaction.returns("paid")
            books.visit("behind")

    @flow(durable=True)
    async def pay() -> None:
        await charge()

    with books.runtime():
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(pay())
        assert step_states(books) == [["Running", "Completed"]]

    assert (books.payments(), books.ran) == (["7"], [])


def test_a_blocking_step_that_is_asked_to_stop_amid_its_block_commits_nothing(books: Books) -> None:
    begun, asked = Latch(), Latch()

    @task
    def charge() -> None:
        with closing(sqlite3.connect(file_of(books))) as connection:
            with durable.step_transaction(connection):
                connection.execute("INSERT INTO payment VALUES (7)")
                begun.open()
                assert asked.event.wait(30)
            books.visit("behind")

    @flow(durable=True)
    def pay() -> None:
        charge()

    def ask() -> None:
        stop("pay")
        asked.open()

    with books.runtime():
        with Meanwhile(begun.event.is_set, ask), pytest.raises(CancelledRun):
            pay()
        assert step_states(books) == [["Running", "Cancelled"]]

    assert (books.payments(), books.ran) == ([], [])


def test_a_block_that_goes_on_behind_the_timeout_of_its_step_commits_nothing(books: Books) -> None:
    """A blocking body cannot be cut short: its thread goes on when the caller has."""
    over = Latch()
    found: list[Exception] = []

    @task(timeout_seconds=0.05)
    def charge() -> None:
        attempt = current_attempt.get()
        assert attempt is not None
        with closing(sqlite3.connect(file_of(books))) as connection:
            try:
                with durable.step_transaction(connection):
                    connection.execute("INSERT INTO payment VALUES (7)")
                    until(lambda: attempt.left)
            except StepTransactionError as error:
                found.append(error)
        over.open()

    @flow(durable=True)
    def pay() -> None:
        with pytest.raises(TaskRunTimeoutError):
            charge()

    with books.runtime():
        pay()
        assert over.event.wait(30)
        assert step_states(books) == [["Running", "TimedOut"]]

    assert books.payments() == []
    assert "comes to its end after the run did" in str(found[0])


def test_ctrl_c_amid_a_commit_is_heard_behind_it(books: Books) -> None:
    def ctrl_c() -> None:
        signal.raise_signal(signal.SIGINT)

    @task
    def charge() -> None:
        with closing(amid_commits(books, ctrl_c)) as connection:
            with durable.step_transaction(connection):
                connection.execute("INSERT INTO payment VALUES (7)")
            books.visit("behind")

    @flow(durable=True)
    def pay() -> None:
        charge()

    with books.runtime():
        with pytest.raises(KeyboardInterrupt):
            pay()
        assert step_states(books) == [["Running", "Completed"]]

    assert (books.payments(), books.ran) == (["7"], [])


def test_a_commit_that_is_refused_leaves_the_step_to_be_tried_again(books: Books) -> None:
    """A constraint that is looked at by the commit alone."""
    books.rows("CREATE TABLE order_ (number integer PRIMARY KEY)")
    books.rows("CREATE TABLE line (number integer REFERENCES order_ DEFERRABLE INITIALLY DEFERRED)")
    tries = iter([False, True])

    @task(retries=1)
    def charge() -> str:
        with closing(sqlite3.connect(file_of(books))) as connection:
            connection.execute("PRAGMA foreign_keys = on")
            with durable.step_transaction(connection) as transaction:
                connection.execute("INSERT INTO line VALUES (7)")
                if next(tries):
                    connection.execute("INSERT INTO order_ VALUES (7)")
                return transaction.returns("paid")

    @flow(durable=True)
    def pay() -> str:
        return charge()

    with books.runtime():
        assert pay() == "paid"
        assert step_states(books) == [["Running", "Retrying", "Completed"]]

    assert books.rows("SELECT number FROM line") == [["7"]]


def test_a_body_in_a_worker_process_has_no_block(books: Books) -> None:
    @flow(durable=True, task_runner=ProcessPoolTaskRunner(max_workers=1))
    def pay() -> None:
        charge_at.submit(str(file_of(books))).result()

    with books.runtime(), pytest.raises(StepTransactionError, match="a process that keeps no record"):
        pay()

    assert books.payments() == []


def test_a_failure_that_comes_amid_the_commit_is_one_behind_it(books: Books) -> None:
    """The timeout of a blocking step passes while its thread commits: what is on record is what was committed."""
    passed = Latch()

    @task(timeout_seconds=0.05)
    def charge() -> None:
        with closing(amid_commits(books, lambda: passed.event.wait(30))) as connection:
            with durable.step_transaction(connection):
                connection.execute("INSERT INTO payment VALUES (7)")
            books.visit("behind")

    @flow(durable=True)
    def pay() -> None:
        try:
            charge()
        finally:
            passed.open()

    with books.runtime(), pytest.raises(StepCommitted, match="failed with TaskRunTimeoutError"):
        pay()

    assert (books.payments(), books.recorded()) == (["7"], ["charge"])


needs_autocommit = pytest.mark.skipif(sys.version_info < (3, 12), reason="connections have no such setting before 3.12")


@needs_autocommit
def test_a_connection_with_autocommit_has_its_block_committed_or_rolled_back(books: Books) -> None:
    """Its own commit() and rollback() do nothing."""

    @task(retries=1)
    def charge() -> str:
        with closing(opened(books, autocommit=True)) as connection, durable.step_transaction(connection) as transaction:
            connection.execute("INSERT INTO payment VALUES (7)")
            if task_run.run_count == 1:
                raise ConnectionError
            return transaction.returns("paid")

    with books.runtime():
        assert called_by_a_flow(charge) == "paid"

    assert (books.payments(), books.recorded()) == (["7"], ["charge"])


@needs_autocommit
def test_a_connection_that_is_never_out_of_a_transaction_is_refused(books: Books) -> None:
    @task
    def charge() -> None:
        with closing(opened(books, autocommit=False)) as connection, durable.step_transaction(connection):
            books.visit("block")

    with books.runtime(), pytest.raises(StepTransactionError, match="autocommit=False always is in one"):
        called_by_a_flow(charge)


def opened(books: Books, **settings: Any) -> sqlite3.Connection:
    """Open a connection with settings that not all versions have."""
    connect: Any = sqlite3.connect
    made: sqlite3.Connection = connect(file_of(books), **settings)
    return made


def called_by_a_flow(step: Any) -> Any:
    """Call *step* in a durable flow."""

    @flow(durable=True)
    def pay() -> Any:
        return step()

    return pay()
