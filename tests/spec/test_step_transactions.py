"""Step transactions: what their blocks may not do, and what a step may come to behind one."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

import headrace
from headrace import durable, flow, runs, task, transaction
from headrace.durable import StepCommitted, StepTransactionError
from headrace.errors import OptionTypeError, RunningLoopError
from headrace.runtime import task_run
from tests.contract.borrowed import DRIVERS, Books, Driver, called
from tests.spec.durable_crashes import path
from tests.spec.forms import call
from tests.spec.keeping import runtime_at
from tests.spec.seen import Tracing


@pytest.fixture(params=["sqlite3", "aiosqlite"])
def driver(request: pytest.FixtureRequest) -> Driver:
    return DRIVERS[request.param]


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path, None)


def step_of(driver: Driver, books: Books, amid: Any = None, behind: Any = None, **options: Any) -> Any:
    """Give a task that inserts a payment in a step transaction, and does something amid the block and behind it."""

    async def charge(number: int) -> Any:
        async with driver.connected(books) as connection, driver.block(connection) as transaction:
            await driver.execute(connection, f"INSERT INTO payment VALUES ({number})")
            if amid is not None:
                await amid(transaction)
            given = transaction.returns({"paid": number})
        return given if behind is None else await behind(given)

    return driver.form.task(name="charge", **options)(charge)


def flow_of(driver: Driver, step: Any, **options: Any) -> Any:
    """Give a durable flow that calls *step* once."""

    async def pay(number: int) -> Any:
        return await call(step, number)

    return driver.form.flow(name="pay", **{"durable": True, **options})(pay)


# -- amid the block ---------------------------------------------------------------------------------------------------


@flow(name="inner")
def inner_flow() -> None:
    """Be called in a block."""


@flow(name="inner")
async def inner_async_flow() -> None:
    """Be called in a block."""


@task(name="inner")
def inner_task() -> None:
    """Be called in a block."""


@task(name="inner")
async def inner_async_task() -> None:
    """Be called in a block."""


async def calls_a_task(driver: Driver) -> None:
    await call(inner_async_task if driver.form.is_async else inner_task)


async def calls_a_subflow(driver: Driver) -> None:
    await call(inner_async_flow if driver.form.is_async else inner_flow)


async def submits(driver: Driver) -> None:
    await driver.form.got(inner_async_task.submit())


async def draws(_driver: Driver) -> None:
    durable.uuid()


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (calls_a_task, "calls task 'inner'"),
        (calls_a_subflow, "calls flow 'inner'"),
        (submits, "calls task 'inner'"),
        (draws, r"draws durable\.uuid\(\)"),
    ],
)
def test_a_block_does_no_other_step_and_is_rolled_back_at_once(
    driver: Driver, books: Books, does: Any, said: str
) -> None:
    """At once: a step would wait for its commit, and that for the block."""

    async def amid(_transaction: Any) -> None:
        await does(driver)

    with books.runtime(), pytest.raises(StepTransactionError, match=f"'charge-001' {said}, which would wait"):
        called(flow_of(driver, step_of(driver, books, amid)), 7)

    assert (books.payments(), books.recorded()) == ([], [])


def test_a_block_begins_no_other_one(driver: Driver, books: Books) -> None:
    async def amid(_transaction: Any) -> None:
        async with driver.connected(books) as other, driver.block(other):
            books.visit("inner")

    with books.runtime(), pytest.raises(StepTransactionError, match="begins another one, which would wait"):
        called(flow_of(driver, step_of(driver, books, amid)), 7)

    assert (books.payments(), books.ran) == ([], [])


def test_steps_may_be_called_before_and_behind_a_block(driver: Driver, books: Books) -> None:
    async def behind(given: Any) -> Any:
        await calls_a_task(driver)
        return given

    with books.runtime():
        assert called(flow_of(driver, step_of(driver, books, behind=behind)), 7) == {"paid": 7}

    assert (books.payments(), books.recorded()) == (["7"], ["charge", "inner"])


def test_a_value_that_cannot_be_recorded_rolls_the_block_back(driver: Driver, books: Books) -> None:
    async def charge() -> Any:
        async with driver.connected(books) as connection, driver.block(connection) as transaction:
            await driver.execute(connection, "INSERT INTO payment VALUES (7)")
            return transaction.returns(threading.Lock())

    step = driver.form.task(name="charge")(charge)

    async def pay() -> Any:
        return await call(step)

    with books.runtime(), pytest.raises(StepTransactionError, match="was given a result that cannot be recorded"):
        called(driver.form.flow(durable=True)(pay))

    assert books.payments() == []


# -- behind the block -------------------------------------------------------------------------------------------------


def test_a_step_that_fails_behind_its_block_says_so_and_stays_on_record_as_completed(
    driver: Driver, books: Books
) -> None:
    async def behind(_given: Any) -> None:
        raise ConnectionError("gone")

    with books.runtime(), pytest.raises(StepCommitted, match="failed with ConnectionError, after its step") as raised:
        called(flow_of(driver, step_of(driver, books, behind=behind)), 7)

    assert repr(raised.value.__cause__) == "ConnectionError('gone')"
    assert (books.payments(), books.recorded()) == (["7"], ["charge"])


def test_another_attempt_of_the_flow_goes_on_from_what_was_committed(driver: Driver, books: Books) -> None:
    async def behind(_given: Any) -> None:
        raise ConnectionError("gone")

    with books.runtime():
        assert called(flow_of(driver, step_of(driver, books, behind=behind), retries=1), 7) == {"paid": 7}

    assert (books.payments(), books.recorded()) == (["7"], ["charge"])


def test_a_step_that_fails_behind_the_commit_is_not_retried(driver: Driver, books: Books) -> None:
    async def behind(given: Any) -> Any:
        books.visit(f"attempt {task_run.run_count}")
        raise ConnectionError("gone")

    step = step_of(driver, books, behind=behind, retries=2)
    with books.runtime(), pytest.raises(StepCommitted, match="failed with ConnectionError"):
        called(flow_of(driver, step), 7)

    assert books.ran == ["attempt 1"]
    assert (books.payments(), books.recorded()) == (["7"], ["charge"])


def test_a_submitted_step_that_fails_behind_its_block_fails_its_future(driver: Driver, books: Books) -> None:
    async def behind(_given: Any) -> None:
        raise ConnectionError("gone")

    step = step_of(driver, books, behind=behind)

    async def pay() -> Any:
        return await driver.form.got(step.submit(7))

    with books.runtime(), pytest.raises(StepCommitted, match="failed with ConnectionError"):
        called(driver.form.flow(durable=True)(pay))

    assert books.recorded() == ["charge"]


def test_a_step_returns_what_the_block_was_given(driver: Driver, books: Books) -> None:
    async def behind(given: Any) -> Any:
        given["paid"] += 1
        return given

    with books.runtime(), pytest.raises(StepCommitted, match=r"returned something else than returns\(\) was given"):
        called(flow_of(driver, step_of(driver, books, behind=behind)), 7)

    assert (books.payments(), books.recorded()) == (["7"], ["charge"])


def test_a_task_has_one_block(driver: Driver, books: Books) -> None:
    async def behind(_given: Any) -> None:
        async with driver.connected(books) as other, driver.block(other):
            books.visit("second")

    with books.runtime(), pytest.raises(StepTransactionError, match="was committed before"):
        called(flow_of(driver, step_of(driver, books, behind=behind)), 7)

    assert books.ran == []


def test_a_step_that_a_transaction_around_it_rolls_back_is_on_record_as_rolled_back(
    driver: Driver, books: Books
) -> None:
    """Undone by its own hook, and so run again by the next attempt."""

    async def undo(_transaction: Any) -> None:
        books.rows("DELETE FROM payment")

    step = step_of(driver, books, on_rollback=[driver.form.fn(undo)])

    async def pay() -> None:
        with transaction():
            await call(step, 7)
            books.visit(f"paid {books.payments()}")
            raise ZeroDivisionError

    with books.runtime():
        with pytest.raises(ZeroDivisionError):
            called(driver.form.flow(durable=True, retries=1)(pay))
        states = [path(run) for run in runs.task_runs(runs.flow_runs(limit=1)[0])]

    assert states == [["Running", "Completed", "RolledBack"]]
    assert (books.payments(), books.ran) == ([], ["paid ['7']"] * 2)


def test_a_step_is_one_span_that_ends_with_its_block(driver: Driver, books: Books, app: Tracing) -> None:
    async def behind(_given: Any) -> None:
        raise ConnectionError("gone")

    with pytest.raises(StepCommitted):
        called(flow_of(driver, step_of(driver, books, behind=behind)), 7)

    span = app.spans().whole().one("charge")
    assert (span.status, span.events[-1][0]) == ("OK", "Completed")


# -- where there is no step -------------------------------------------------------------------------------------------


def test_the_flow_itself_has_no_block(driver: Driver, books: Books) -> None:
    async def pay() -> None:
        async with driver.connected(books) as connection, driver.block(connection):
            books.visit("block")

    with books.runtime(), pytest.raises(StepTransactionError, match="in the flow itself, which is no step"):
        called(driver.form.flow(durable=True)(pay))

    assert books.ran == []


def test_a_task_that_is_not_recorded_has_no_block(driver: Driver, books: Books) -> None:
    step = step_of(driver, books, persist_result=False)

    with books.runtime(), pytest.raises(StepTransactionError, match="in a task that is not recorded"):
        called(flow_of(driver, step), 7)

    assert books.payments() == []


def test_in_a_plain_flow_it_is_just_a_transaction(driver: Driver, books: Books) -> None:
    async def behind(_given: Any) -> str:
        return "something else"

    with books.runtime():
        assert called(flow_of(driver, step_of(driver, books, behind=behind), durable=False), 7) == "something else"

    assert books.payments() == ["7"]


def test_where_the_record_is_in_memory_the_rules_are_the_same_and_the_rows_are_committed(
    driver: Driver, books: Books, tmp_path: Path
) -> None:
    async def behind(_given: Any) -> str:
        return "something else"

    with runtime_at(tmp_path, memory=True):
        assert called(flow_of(driver, step_of(driver, books)), 7) == {"paid": 7}
        with pytest.raises(StepCommitted):
            called(flow_of(driver, step_of(driver, books, behind=behind)), 8)
        assert [run.state.name for flow in runs.flow_runs() for run in runs.task_runs(flow)] == ["Completed"] * 2

    assert (books.payments(), books.recorded()) == (["7", "8"], [])


# -- wrong input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [None, "headrace.db", object()])
def test_what_is_no_connection_is_refused_with_those_that_are(wrong: Any) -> None:
    with pytest.raises(OptionTypeError, match="takes a connection of sqlite3, aiosqlite, asyncpg or psycopg"):
        durable.step_transaction(wrong)


def test_a_connection_that_awaits_asks_for_async_with(books: Books) -> None:
    async def opened() -> None:
        async with aiosqlite.connect(books.home / "headrace.db") as connection:
            with pytest.raises(OptionTypeError, match="say `async with`"), durable.step_transaction(connection):
                books.visit("block")

    headrace.run(opened())

    assert books.ran == []


def test_a_connection_that_blocks_is_opened_by_async_with_on_a_loop(books: Books) -> None:
    async def charge() -> Any:
        async with DRIVERS["sqlite3"].connected(books) as connection:
            with pytest.raises(RunningLoopError, match="async with"), durable.step_transaction(connection):
                books.visit("block")
            async with durable.step_transaction(connection) as transaction:
                connection.execute("INSERT INTO payment VALUES (7)")
                return transaction.returns("paid")

    @flow(durable=True)
    async def pay() -> Any:
        return await task(name="charge")(charge)()

    with books.runtime():
        assert headrace.run(pay()) == "paid"

    assert (books.payments(), books.recorded(), books.ran) == (["7"], ["charge"], [])


def test_each_block_has_a_transaction_of_its_own(books: Books, driver: Driver) -> None:
    async def twice() -> None:
        async with driver.connected(books) as connection:
            async with driver.block(connection) as transaction:
                pass
            if driver.form.is_async:
                async with transaction:
                    books.visit("again")
            with transaction:
                books.visit("again")

    with books.runtime(), pytest.raises(StepTransactionError, match="used before"):
        called(driver.form.task()(twice))

    assert books.ran == []
