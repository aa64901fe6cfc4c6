"""Each driver's connection commits a step's record and the user's rows together, or neither."""

from __future__ import annotations

import contextlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headrace import runs
from headrace.durable import CommitInDoubt, LostRun, StepTransactionError
from tests.contract.borrowed import DRIVERS, Books, Driver, books_for, called
from tests.spec.forms import call

LARGE = "it's 100 % \\ large: " + "é" * 2_000


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Driver:
    return DRIVERS[request.param]


@pytest.fixture
def books(driver: Driver, tmp_path: Path, request: pytest.FixtureRequest) -> Books:
    return books_for(driver, tmp_path, request)


def paying(driver: Driver, books: Books, value: Any = "paid", amid: Any = None) -> Any:
    """Give a durable flow of one step, which inserts a payment in a step transaction."""

    async def charge(number: int) -> Any:
        async with driver.connected(books) as connection:
            async with driver.block(connection) as transaction:
                books.visit("block")
                await driver.execute(connection, f"INSERT INTO payment VALUES ({number})")
                if amid is not None:
                    await amid(connection)
                given = transaction.returns(value)
                books.visit("written")
            books.visit("committed")
        return given

    return of_one_step(driver, driver.form.task(name="charge")(charge))


def of_one_step(driver: Driver, step: Any) -> Any:
    """Give a durable flow that calls *step* once."""

    async def pay(*args: Any) -> Any:
        return await call(step, *args)

    return driver.form.flow(durable=True, name="pay")(pay)


@pytest.mark.parametrize("value", [{"paid": 7}, None, LARGE], ids=["small", "none", "large"])
def test_the_rows_and_the_step_are_on_record_together(driver: Driver, books: Books, value: Any) -> None:
    pay = paying(driver, books, value)

    with books.runtime():
        assert called(pay, 7) == value

    assert (books.payments(), books.recorded()) == (["7"], ["charge"])


@pytest.mark.parametrize("value", ["paid", LARGE], ids=["small", "large"])
def test_a_step_that_was_committed_before_a_crash_is_not_run_again(driver: Driver, books: Books, value: str) -> None:
    pay = paying(driver, books, value)

    run_id = books.crashes(pay, 7, at="committed")

    assert (books.payments(), books.recorded()) == (["7"], ["charge"])
    assert books.resumes(pay, run_id) == value
    assert (books.payments(), books.recorded(), books.ran) == (["7"], ["charge"], [])


def test_of_a_step_that_was_not_committed_before_a_crash_there_is_nothing(driver: Driver, books: Books) -> None:
    pay = paying(driver, books)

    run_id = books.crashes(pay, 7, at="written")

    assert (books.payments(), books.recorded()) == ([], [])
    assert books.resumes(pay, run_id) == "paid"
    assert (books.payments(), books.recorded()) == (["7"], ["charge"])


def test_what_the_record_says_is_what_the_journal_would_say(driver: Driver, books: Books) -> None:
    """The row that the user's transaction wrote is the row that is there after the run has ended."""
    pay = paying(driver, books)

    with books.runtime():
        run_id = books.crashes(pay, 7, at="committed")
        (before,) = runs.task_runs(run_id)
    books.resumes(pay, run_id)
    with books.runtime():
        (after,) = runs.task_runs(run_id)
        called(pay, 7)
        (other,) = runs.task_runs(runs.flow_runs(limit=1)[0])

    assert before == after
    assert shape(before) == shape(other)


def shape(run: Any) -> tuple[Any, ...]:
    """Give what two runs of one task have in common."""
    states = [(kind, name, said) for kind, name, _, said in run.transitions]
    return (
        run.task_name,
        run.state.name,
        states,
        run.run_count,
        run.flow_attempt,
        run.step_args,
        run.result_key == run.id,
    )


def test_nothing_is_committed_for_a_run_that_another_process_has(driver: Driver, books: Books) -> None:
    async def lose(connection: Any) -> None:
        if driver.place == "postgresql":
            books.taken_over()
        else:  # where nobody else can write meanwhile
            await driver.execute(connection, "UPDATE run_owner SET epoch = epoch + 1")

    pay = paying(driver, books, amid=lose)

    with books.runtime(), pytest.raises(LostRun, match="was taken over by another process"):
        called(pay, 7)

    assert (books.payments(), books.recorded()) == ([], [])


def test_a_block_that_raises_is_rolled_back_and_its_step_can_be_tried_again(driver: Driver, books: Books) -> None:
    tries = iter([ConnectionError("no"), None])

    async def fail(_connection: Any) -> None:
        error = next(tries)
        if error is not None:
            raise error

    async def charge() -> str:
        async with driver.connected(books) as connection, driver.block(connection) as transaction:
            await driver.execute(connection, "INSERT INTO payment VALUES (7)")
            await fail(connection)
            return str(transaction.returns("paid"))

    with books.runtime():
        assert called(of_one_step(driver, driver.form.task(retries=1, name="charge")(charge))) == "paid"

    assert (books.payments(), books.recorded()) == (["7"], ["charge"])


def test_the_connection_can_be_used_again_behind_a_block(driver: Driver, books: Books) -> None:
    async def charge() -> None:
        async with driver.connected(books) as connection:
            with contextlib.suppress(ZeroDivisionError):
                async with driver.block(connection):
                    await driver.execute(connection, "INSERT INTO payment VALUES (1)")
                    raise ZeroDivisionError
            async with driver.block(connection):
                await driver.execute(connection, "INSERT INTO payment VALUES (2)")
            async with driver.connected(books) as other:
                await driver.execute(other, "SELECT 1")

    with books.runtime():
        called(of_one_step(driver, driver.form.task(name="charge")(charge)))

    assert (books.payments(), books.recorded()) == (["2"], ["charge"])


def test_outside_of_durable_runs_it_is_just_a_transaction(driver: Driver, books: Books) -> None:
    async def charge(number: int) -> str:
        async with driver.connected(books) as connection, driver.block(connection) as transaction:
            await driver.execute(connection, f"INSERT INTO payment VALUES ({number})")
            if not number:
                raise ZeroDivisionError
            return str(transaction.returns("paid"))

    with books.runtime():
        step = driver.form.task(name="charge")(charge)
        assert called(step, 7) == "paid"
        with pytest.raises(ZeroDivisionError):
            called(step, 0)

    assert books.payments() == ["7"]


def test_a_connection_that_is_in_a_transaction_is_refused(driver: Driver, books: Books) -> None:
    async def charge() -> None:
        async with driver.connected(books) as connection:
            await driver.execute(connection, driver.begin)
            async with driver.block(connection):
                books.visit("block")

    with books.runtime(), pytest.raises(StepTransactionError, match="in a transaction already"):
        called(driver.form.task(name="charge")(charge))

    assert books.ran == []


def test_a_block_that_commits_by_itself_is_no_step(driver: Driver, books: Books) -> None:
    async def commit(connection: Any) -> None:
        await driver.execute(connection, "COMMIT")
        await driver.execute(connection, "INSERT INTO payment VALUES (8)")

    pay = paying(driver, books, amid=commit)

    with books.runtime(), pytest.raises(StepTransactionError, match="ended by a commit or a rollback in its own block"):
        called(pay, 7)

    assert books.recorded() == []
    assert "7" in books.payments()


def test_a_database_without_the_record_is_refused_by_name(driver: Driver, books: Books, tmp_path: Path) -> None:
    """Another database of the same kind; that of the record is named, too, and no password is."""
    other = Books.__new__(Books)
    other.home, other.server = tmp_path / "other", books.server
    other.home.mkdir()
    if books.server is None:
        with closing(sqlite3.connect(other.home / "headrace.db")):
            other.url = f"sqlite:///{other.home / 'headrace.db'}"
    else:
        other.name = books.server.database()
        other.url = books.server.by_port(other.name)

    async def charge() -> None:
        async with driver.connected(other) as connection, driver.block(connection):
            books.visit("block")

    pay = of_one_step(driver, driver.form.task(name="charge")(charge))
    with books.runtime(), pytest.raises(StepTransactionError, match="Both must be one database") as refused:
        called(pay)

    theirs = str(other.home / "headrace.db") if books.server is None else f"database {other.name} on 127.0.0.1"
    ours = str(books.home / "headrace.db") if books.server is None else f"/{books.name}?"
    assert theirs in str(refused.value)
    assert ours in str(refused.value)
    assert "s3cret" not in str(refused.value)
    assert books.ran == []


# Ends the server's process at the other end of a connection amid the commit.
CUT = (
    """
    CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$
    """,
    """
    CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON payment DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION cut()
    """,
)


@pytest.mark.parametrize("driver", [name for name in DRIVERS if DRIVERS[name].place == "postgresql"], indirect=True)
def test_a_run_whose_connection_is_lost_amid_the_commit_stops_until_it_is_taken_up(
    driver: Driver, books: Books
) -> None:
    """Nobody knows then whether it was committed: neither is taken for granted, and nothing is written over it."""
    for statement in CUT:
        books.rows(statement)
    pay = paying(driver, books)

    with books.runtime():
        with pytest.raises(CommitInDoubt, match="nobody knows whether it was"):
            called(pay, 7)
        run_id = runs.flow_runs(limit=1)[0].id
    assert (books.payments(), books.recorded()) == ([], [])
    books.rows("DROP TRIGGER cut ON payment")

    assert books.resumes(pay, run_id) == "paid"
    assert (books.payments(), books.recorded()) == (["7"], ["charge"])


@pytest.mark.parametrize("driver", [name for name in DRIVERS if DRIVERS[name].place == "postgresql"], indirect=True)
def test_a_block_whose_connection_is_lost_raises_what_its_body_raised(driver: Driver, books: Books) -> None:
    async def cut_off(_connection: Any) -> None:
        books.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND application_name <> 'headrace'"
        )
        raise ZeroDivisionError

    pay = paying(driver, books, amid=cut_off)

    with books.runtime(), pytest.raises(ZeroDivisionError):
        called(pay, 7)

    assert (books.payments(), books.recorded()) == ([], [])
