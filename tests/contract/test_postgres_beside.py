"""What the PostgreSQL store promises of steps that are committed beside its writer, on the loop that waits for them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest

from headrace._model.ids import run_id
from headrace._ports import Batch
from headrace._stores.postgres import PostgresStore
from headrace._stores.postgres_beside import AFTER, Own
from tests.contract.postgres_server import Server
from tests.contract.stores import log_row, prefix
from tests.contract.test_owners import begins
from tests.contract.test_postgres_writing import step


@pytest.fixture
async def store(postgresql: Server) -> AsyncIterator[PostgresStore]:
    """Give a store with a durable run in progress, and with a connection beside the writer's."""
    made = PostgresStore(postgresql.url(postgresql.database()))
    await made.open()
    await made.append(begins(1))
    for _ in range(AFTER):
        assert not made.beside.ready()
    task = own(made).connecting
    assert task is not None
    await task
    assert made.beside.ready()
    yield made
    await made.close()


def own(store: PostgresStore) -> Own:
    """Give that connection."""
    assert store.beside.own is not None
    return store.beside.own


async def committed(store: PostgresStore, batch: Batch) -> bool:
    """Commit *batch* beside; give what is told."""
    told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    store.beside.commit(batch, told.set_result)
    return await told


async def values(store: PostgresStore) -> dict[str, bytes | None]:
    """Give what is on record of the first steps."""
    kept = await store.results.recall([run_id(prefix(1), number) for number in (1, 2)])
    return {key: one.data for key, one in kept.items()}


async def test_a_step_is_on_record_when_it_is_told_to_be(store: PostgresStore) -> None:
    assert await committed(store, step(1, data="1"))
    assert await committed(store, step(2, data="2"))
    assert await committed(store, step(1, data="3"))

    assert await values(store) == {run_id(prefix(1), 1): b"3", run_id(prefix(1), 2): b"2"}


async def test_only_lone_steps_of_one_row_are_taken(store: PostgresStore) -> None:
    logs = step(1, data="1")
    logs.logs.append(log_row(1, "said"))
    two = step(1, data="1")
    two.task_runs += step(2).task_runs

    assert store.beside.takes(step(1, data="1"))
    assert not any(map(store.beside.takes, (logs, two, begins(2), Batch())))


async def test_a_step_of_a_run_that_others_have_is_not_written(store: PostgresStore) -> None:
    (mine,) = await store.owners.listed()
    assert await store.owners.take(mine, "another", now=1, crashes=0, steps=0)

    assert not await committed(store, step(1, data="1"))
    assert await values(store) == {}


@pytest.mark.parametrize("how", ["given up", "lost"])
async def test_a_commit_of_which_nothing_was_heard_never_comes_after_what_was_written_then(
    store: PostgresStore, how: str
) -> None:
    lost, told = own(store), asyncio.Event()
    os.kill(lost.process, signal.SIGSTOP)
    store.beside.commit(step(1, data="1"), lambda done: None if done else told.set())
    if how == "lost":
        lost.connection.terminate()
    else:
        store.beside.abandon()
    await told.wait()
    await store.append(step(1, data="2"))
    os.kill(lost.process, signal.SIGCONT)

    while await store.rows("SELECT 1 FROM pg_stat_activity WHERE pid = $1", lost.process):
        pass
    assert await values(store) == {run_id(prefix(1), 1): b"2"}


async def test_a_connection_that_was_lost_takes_no_step_and_is_not_made_anew_at_once(
    store: PostgresStore, postgresql: Server
) -> None:
    lost = own(store)
    postgresql.psql(f"SELECT pg_terminate_backend({lost.process})")

    assert not await committed(store, step(1, data="1"))
    assert not any(store.beside.ready() for _ in range(2 * AFTER))
    assert lost.connecting is None
