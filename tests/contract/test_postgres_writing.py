"""What the PostgreSQL store promises of writing: one message a batch, and that nobody takes over a run amid it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from headrace._model.records import Suspension
from headrace._ports import Batch
from headrace._stores import postgres_schema as schema
from headrace._stores.postgres import PostgresStore
from headrace._stores.postgres_encoding import writing
from headrace._stores.rows import TASK_COLUMNS
from headrace.errors import StaleRuns
from tests.contract.postgres_server import Server
from tests.contract.stores import NOON, batch, flow_id, log_row, prefix, task_row
from tests.contract.test_owners import begins, ends, goes_on
from tests.contract.test_results import result


def step(number: int, of: int = 1, epoch: int = 1, **columns: Any) -> Batch:
    """Give the batch that is one step of a durable run, as most are."""
    made = batch(task_row(number, of=of, step_id=f"fetch-{number}", **columns), strict=True)
    made.fences[flow_id(of)] = epoch
    return made


def steps(number: int) -> Batch:
    """Give the batch that is a step of each of two durable runs."""
    made = step(number)
    made.task_runs += step(number, of=2).task_runs
    made.fences[flow_id(2)] = 1
    return made


def all_kinds(number: int) -> Batch:
    """Give a batch that has something of every kind."""
    made = goes_on(1, number)
    made.task_runs += [task_row(more) for more in range(number + 1, number + 900)]
    made.results.append(result())
    made.flow_runs += ends(2).flow_runs
    made.fences |= ends(2).fences
    made.released += ends(2).released
    return made


def suspending(number: int) -> Batch:
    """Give a batch in which the run that took a step waits for a signal from then on."""
    made = goes_on(1, number)
    made.suspended.append(Suspension(flow_id(1), NOON, [(flow_id(1), "go")]))
    return made


WRITTEN: dict[str, Callable[[int], Batch]] = {
    "a step": step,
    "steps of several": steps,
    "all kinds": all_kinds,
    "what suspends": suspending,
}


@pytest.fixture
async def store(postgresql: Server) -> AsyncIterator[PostgresStore]:
    """Give a store that is open, with two durable runs in progress."""
    made = PostgresStore(postgresql.url(postgresql.database()))
    await made.open()
    for number in (1, 2):
        await made.append(begins(number))
    yield made
    await made.close()


@asynccontextmanager
async def beside(store: PostgresStore) -> AsyncGenerator[Any]:
    """Give another connection to the database of *store*."""
    connection = await store.link.connected()
    try:
        yield connection
    finally:
        await connection.close()


async def taken_amid(store: PostgresStore, written: Batch, *, after_all: bool) -> asyncio.Task[None]:
    """Append *written* while another process takes run 1 over, or gives that up in the end; give what came of it."""
    async with beside(store) as other, beside(store) as watching:
        taking = other.transaction()
        await taking.start()
        await other.execute(schema.TAKE, flow_id(1), 1, "another", 0, 0, 0, "one")
        appending = asyncio.create_task(store.append(written))
        while not await watching.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not appending.done()
        await (taking.commit() if after_all else taking.rollback())
    await asyncio.wait([appending])
    return appending


@pytest.mark.parametrize("kind", WRITTEN)
async def test_who_writes_amid_a_take_over_waits_for_it_and_is_refused(store: PostgresStore, kind: str) -> None:
    appended = await taken_amid(store, WRITTEN[kind](1), after_all=True)

    with pytest.raises(StaleRuns) as caught:
        appended.result()
    assert caught.value.run_ids == (flow_id(1),)
    assert await store.task_runs(prefix(1)) == []


@pytest.mark.parametrize("kind", WRITTEN)
async def test_who_writes_amid_a_take_over_that_is_given_up_has_written(store: PostgresStore, kind: str) -> None:
    appended = await taken_amid(store, WRITTEN[kind](1), after_all=False)

    appended.result()
    assert await store.task_runs(prefix(1)) != []


async def test_a_step_of_a_run_that_was_deleted_is_taken_as_one_of_any_run(store: PostgresStore) -> None:
    await store.delete(flow_id(1))

    await store.append(step(1))

    assert len(await store.task_runs(prefix(1))) == 1


async def test_a_step_of_an_older_epoch_leaves_the_row_as_it_is(store: PostgresStore) -> None:
    await store.append(batch(task_row(1, task_name="newer", epoch=2)))

    await store.append(step(1, task_name="older"))

    assert [run.task_name for run in await store.task_runs(prefix(1))] == ["newer"]


async def test_a_step_by_itself_reads_as_one_that_is_written_beside_another(store: PostgresStore) -> None:
    columns: dict[str, Any] = {
        "name": 'it\'s \\ "so" ☃ \0 \ud800',
        "state_name": "Completed",
        "message": "a\nb",
        "run_count": 2,
        "tags": ["ä", "b'"],
        "history": [["RUNNING", "Running", 1, None], ["COMPLETED", "Completed", 2, "a\nb"]],
        "flow_attempt": 1,
        "data": '{"a": "\\u0000\'"}',
    }
    statement = f"SELECT {', '.join(TASK_COLUMNS[2:])} FROM headrace.task_run ORDER BY id"
    beside_another = steps(1)
    beside_another.task_runs[1] = step(1, of=2, **columns).task_runs[0]

    await store.append(step(1, **columns))
    await store.append(Batch(task_runs=beside_another.task_runs[1:], fences=beside_another.fences, strict=True))

    alone, beside = await store.rows(statement)
    assert tuple(alone) == tuple(beside)


@pytest.mark.parametrize("kind", WRITTEN)
async def test_a_batch_is_one_message_and_one_transaction(store: PostgresStore, kind: str) -> None:
    messages: list[str] = []

    def noted(said: Any) -> None:
        """Hear of a message to the server."""
        messages.append(said.query)

    store.link.writer.add_query_logger(noted)

    before = await store.link.writer.fetchval("SELECT txid_current()")
    await store.append(WRITTEN[kind](1))
    after = await store.link.writer.fetchval("SELECT txid_current()")

    assert after - before == 2
    await asyncio.sleep(0)  # the driver tells of its messages in a turn of the loop
    assert [message[:21] for message in messages if "txid" not in message] == ["SELECT headrace.write"]


@pytest.mark.parametrize("kind", WRITTEN)
async def test_a_batch_reads_no_table_whole_however_small_it_was_when_that_was_planned(
    store: PostgresStore, kind: str
) -> None:
    await store.link.writer.execute("ANALYZE")

    async with beside(store) as fresh, fresh.transaction():
        await fresh.execute(writing(WRITTEN[kind](1), again=True))
        read = await fresh.fetch("SELECT relname FROM pg_stat_xact_user_tables WHERE seq_scan > 0")

    assert read == []


@pytest.mark.parametrize("usual", ["on", "off"])
async def test_only_batches_of_durable_flows_wait_for_the_disk_whatever_the_server_does_by_itself(
    store: PostgresStore, usual: str
) -> None:
    await store.link.writer.execute(f"SET synchronous_commit = {usual}")

    for written, waits in ((step(1), "on"), (steps(1), "on"), (batch(log_row(1, "line")), "off")):
        async with store.link.writer.transaction():
            await store.link.writer.execute(writing(written))
            assert await store.link.writer.fetchval("SELECT current_setting('synchronous_commit')") == waits
    assert await store.link.writer.fetchval("SELECT current_setting('synchronous_commit')") == usual


async def test_what_ended_a_run_and_was_committed_although_nobody_heard_so_is_written_once_more(
    store: PostgresStore,
) -> None:
    await store.append(ends(1))

    await store.link.writer.execute(writing(ends(1), again=True))

    assert [run.state.name for run in await store.flow_runs()] == ["Running", "Completed"]
    assert [one.run_id for one in await store.owners.listed()] == [flow_id(2)]
