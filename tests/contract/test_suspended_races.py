"""Suspended runs and several processes: each is taken up by one, and no signal falls between two transactions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from threading import Barrier
from typing import Any, TypeVar

import pytest

from headrace._model.signals import Arrival
from headrace._ports import Store
from headrace._stores import postgres_schema as schema
from headrace._stores.postgres import PostgresStore
from headrace._stores.postgres_encoding import writing
from headrace._stores.sqlite import SQLiteStore
from tests.contract.postgres_server import Server
from tests.contract.stores import NOON, flow_id
from tests.contract.test_owners import begins
from tests.contract.test_postgres import through_a_wire
from tests.contract.test_postgres_writing import beside
from tests.contract.test_signals import signal
from tests.contract.test_suspended import LATER, due, one, suspends

T = TypeVar("T")
Open = Callable[[], Store]
RUNS = range(1, 41)
NAMES = ("two", "three", "four")


@pytest.fixture(params=["postgresql", "sqlite"])
def opens(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Give what opens the one database there is anew, as each process does."""
    if request.param == "sqlite":
        return lambda: SQLiteStore(tmp_path / "races.db")
    server = request.getfixturevalue("postgresql")
    url = server.url(server.database())
    return lambda: PostgresStore(url)


def alone(opens: Open, work: Callable[[Store], Awaitable[T]]) -> T:
    """Do *work* with a store and a loop of its own."""

    async def opened() -> T:
        store = opens()
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(opened())


def at_once(opens: Open, *works: Callable[[Store], Awaitable[T]]) -> list[T]:
    """Do all *works* at the same time, each in a thread of its own."""
    with ThreadPoolExecutor(len(works)) as threads:
        begun = [threads.submit(alone, opens, work) for work in works]
        return [one.result() for one in begun]


async def waiting(store: Store) -> None:
    """Have all runs be suspended, and due."""
    for number in RUNS:
        await store.append(begins(number))
        await store.append(suspends(number, NOON))


def test_of_several_who_claim_what_is_due_each_run_is_one_s(opens: Open) -> None:
    alone(opens, waiting)
    start = Barrier(len(NAMES))

    def claims(name: str) -> Callable[[Store], Awaitable[list[str]]]:
        async def work(store: Store) -> list[str]:
            got: list[str] = []
            seen, _ = await store.owners.due(LATER, 100)
            start.wait()
            while seen:
                got += await store.owners.claim(seen[:7], name, LATER)
                seen, _ = await store.owners.due(LATER, 100)
            return got

        return work

    shares = at_once(opens, *map(claims, NAMES))

    assert sorted(chain(*shares)) == [flow_id(number) for number in RUNS]
    had = alone(opens, lambda store: store.owners.listed())
    assert {(known.run_id, known.owner, known.epoch) for known in had} == {
        (run_id, name, 2) for name, share in zip(NAMES, shares, strict=True) for run_id in share
    }


def test_no_signal_is_lost_to_a_run_that_another_process_suspends_meanwhile(opens: Open) -> None:
    meet = Barrier(2)

    async def suspend(store: Store) -> None:
        for number in RUNS:
            await store.append(begins(number))
            meet.wait()
            await store.append(suspends(number, LATER, "go"))

    async def send(store: Store) -> None:
        for number in RUNS:
            meet.wait()
            assert await store.signals.send(signal(number))

    at_once(opens, suspend, send)

    assert alone(opens, lambda store: due(store, NOON)) == [flow_id(number) for number in RUNS]


@pytest.fixture
def name(postgresql: Server) -> str:
    """Give the name of an empty database."""
    return postgresql.database()


@pytest.fixture
async def store(postgresql: Server, name: str) -> AsyncIterator[PostgresStore]:
    """Give a store that is open, with a durable run in progress."""
    made = PostgresStore(postgresql.url(name))
    await made.open()
    await made.append(begins(1))
    yield made
    await made.close()


async def amid(store: PostgresStore, first: Callable[[Any], Awaitable[Any]], second: Awaitable[T]) -> T:
    """Have *second* begin while *first* is done, on another connection, and not committed yet."""
    async with beside(store) as other, beside(store) as watching:
        async with other.transaction():
            await first(other)
            later = asyncio.ensure_future(second)
            while not await watching.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
                assert not later.done()
        return await later


async def test_who_suspends_waits_for_a_signal_that_is_being_sent(store: PostgresStore) -> None:
    async def sends(other: Any) -> None:
        await other.fetch(schema.HOLD, flow_id(1))
        await other.fetch(schema.RECEIVES, flow_id(1))
        await other.fetch(schema.SEND, flow_id(1), "go", "1", NOON, None, False)

    await amid(store, sends, store.append(suspends(1, LATER, "go")))

    assert await due(store, NOON) == [flow_id(1)]


async def test_who_sends_waits_for_who_suspends_and_wakes_the_run(store: PostgresStore) -> None:
    async def suspend(other: Any) -> None:
        await other.execute(writing(suspends(1, LATER, "go")))

    assert await amid(store, suspend, store.signals.send(signal(1))) is Arrival.WAKES

    assert await due(store, NOON) == [flow_id(1)]


async def test_who_claims_passes_over_a_run_that_is_being_claimed(store: PostgresStore) -> None:
    await store.append(suspends(1, NOON))
    await store.append(begins(2))
    await store.append(suspends(2, NOON))
    seen, _ = await store.owners.due(LATER, 10)
    async with beside(store) as other, other.transaction():
        await other.fetch(schema.CLAIM_DUE, [flow_id(1)], [1], "two", LATER)

        assert await store.owners.claim(seen, "three", LATER) == {flow_id(2)}

    assert (await one(store)).owner == "two"


async def test_a_claim_that_was_committed_although_nobody_heard_so_is_known_again(
    store: PostgresStore, postgresql: Server, name: str
) -> None:
    await store.append(suspends(1, NOON))
    seen, _ = await store.owners.due(LATER, 10)
    async with through_a_wire(postgresql, name) as (wire, other):
        await other.owners.claim([], "two", LATER)
        wire.cut = True

        assert await other.owners.claim(seen, "two", LATER) == {flow_id(1)}

    assert wire.lost == 1
    assert ((await one(store)).owner, (await one(store)).epoch) == ("two", 2)


async def test_what_suspended_a_run_although_nobody_heard_so_is_written_once_more(store: PostgresStore) -> None:
    await store.append(suspends(1, LATER, "go"))
    await store.signals.send(signal(1))
    again = writing(suspends(1, LATER, "go"), again=True)

    await store.link.writer.execute(again)
    assert await due(store, NOON) == [flow_id(1)]

    await store.owners.claim([await one(store)], "two", LATER)
    await store.link.writer.execute(again)
    assert (await one(store)).owner == "two"
