"""What the PostgreSQL store promises beyond what every store does: of servers that go, and of others beside it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace._model.slots import TURN, Claim, Limit, marked
from headrace._stores import postgres_schema as schema
from headrace._stores.postgres import PostgresStore
from headrace.errors import DatabaseTooNew, MissingExtra, NoDatabaseYet, StoreUnavailable
from tests.contract.postgres_server import PASSWORD, Pooler, Server
from tests.contract.stores import batch, flow_id, flow_row, log_row, prefix, task_row
from tests.contract.test_results import keep, result


@pytest.fixture
def name(postgresql: Server) -> str:
    """Give the name of an empty database."""
    return postgresql.database()


@pytest.fixture
async def store(postgresql: Server, name: str) -> AsyncIterator[PostgresStore]:
    """Give a store in it that is open."""
    made = PostgresStore(postgresql.url(name))
    await made.open()
    yield made
    await made.close()


async def refusal(url: str) -> str:
    """Give what is said where a database cannot be opened, nor read."""
    store = PostgresStore(url)
    with pytest.raises(StoreUnavailable) as opening:
        await store.open()
    with pytest.raises(StoreUnavailable) as reading:
        await store.flow_runs()
    assert str(opening.value) == str(reading.value)
    assert PASSWORD not in str(opening.value)
    return str(opening.value)


# -- connections that are lost --------------------------------------------------------------------------------


async def test_a_server_that_was_started_anew_between_two_batches_costs_no_row(
    store: PostgresStore, postgresql: Server
) -> None:
    await store.append(batch(flow_row(1), strict=True))
    await asyncio.to_thread(postgresql.stop)
    await asyncio.to_thread(postgresql.start)

    await store.append(batch(flow_row(2)))

    assert [run.name for run in await store.flow_runs()] == ["run-2", "run-1"]


async def test_a_batch_waits_a_moment_for_a_server_that_is_just_being_started_anew(
    store: PostgresStore, postgresql: Server
) -> None:
    await store.append(batch(flow_row(1), strict=True))
    await asyncio.to_thread(postgresql.stop)

    async with asyncio.TaskGroup() as group:
        group.create_task(store.append(batch(flow_row(2))))
        await asyncio.to_thread(postgresql.start)

    assert [run.name for run in await store.flow_runs()] == ["run-2", "run-1"]


async def test_a_connection_that_was_ended_from_outside_costs_no_row(
    store: PostgresStore, postgresql: Server, name: str
) -> None:
    for number in (1, 2):
        await store.append(batch(flow_row(number)))
        others = f"FROM pg_stat_activity WHERE datname = '{name}' AND pid <> pg_backend_pid()"
        ended = f"SELECT pg_terminate_backend(pid) {others}"
        assert await asyncio.to_thread(postgresql.psql, ended) == [["t"]]

    assert await store.limits.define(Limit("api", 1))
    assert len(await store.flow_runs()) == 2


class Wire:
    """Stands between a store and its server; on demand, what the server answers next is lost, with the connection."""

    def __init__(self, server: Server) -> None:
        self.there = f"{server.folder}/.s.PGSQL.{server.port}"
        self.cut = False
        self.lost = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        answers, asks = await asyncio.open_unix_connection(self.there)

        async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter, answering: bool) -> None:
            with contextlib.suppress(OSError):
                while said := await source.read(1 << 16):
                    if answering and self.cut:
                        self.cut, self.lost = False, self.lost + 1
                        break
                    target.write(said)
                    await target.drain()
            for end in (writer, asks):
                end.close()

        await asyncio.gather(carry(reader, asks, False), carry(answers, writer, True))


@contextlib.asynccontextmanager
async def through_a_wire(server: Server, name: str) -> AsyncGenerator[tuple[Wire, PostgresStore]]:
    """Give a store in the database *name* that is open, and what stands between."""
    wire = Wire(server)
    async with await asyncio.start_server(wire.serve, "127.0.0.1", 0) as between:
        port = between.sockets[0].getsockname()[1]
        store = PostgresStore(f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/{name}")
        await store.open()
        yield wire, store
        await store.close()


async def test_what_was_committed_although_nobody_heard_so_is_there_once(postgresql: Server, name: str) -> None:
    async with through_a_wire(postgresql, name) as (wire, store):
        wire.cut = True
        await store.append(batch(flow_row(1), task_row(1), log_row(1, "said once"), log_row(2, "said once")))
        await store.append(batch(log_row(3, "said later")))

        lines = await store.logs([flow_id(1)])

    assert wire.lost == 1
    assert [line.message for line in lines] == ["said once", "said once", "said later"]


async def test_a_server_that_is_gone_is_said_to_be_and_used_again_when_it_is_back(
    store: PostgresStore, postgresql: Server
) -> None:
    store.link.patience = 0.0
    await asyncio.to_thread(postgresql.stop)
    try:
        with pytest.raises(StoreUnavailable, match="no server answers there"):
            await store.append(batch(flow_row(1)))
    finally:
        await asyncio.to_thread(postgresql.start)

    await store.append(batch(flow_row(2)))

    assert [run.name for run in await store.flow_runs()] == ["run-2"]


# -- databases that cannot be used ----------------------------------------------------------------------------


async def test_where_no_server_is_it_says_so_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    said = await refusal(f"postgresql://ann:{PASSWORD}@127.0.0.1:{port}/runs")

    assert said.startswith(f"Cannot use the database postgresql://ann:***@127.0.0.1:{port}/runs: no server answers")
    assert said.endswith("Start the server, or set HEADRACE_DATABASE_URL to another database.")


async def test_a_wrong_password_is_refused_and_not_shown(postgresql: Server, name: str) -> None:
    said = await refusal(postgresql.by_port(name, "another-" + PASSWORD))

    assert said == (
        f"Cannot use the database postgresql://postgres:***@127.0.0.1:{postgresql.port}/{name}: "
        'password authentication failed for user "postgres". '
        "Check the user and the password in HEADRACE_DATABASE_URL."
    )


async def test_a_database_that_does_not_exist_is_to_be_created_first(postgresql: Server) -> None:
    assert "Create it, with createdb for one" in await refusal(postgresql.by_port("nowhere"))


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ann:x/{PASSWORD}@127.0.0.1/runs",
        f"postgresql://ann@127.0.0.1:{PASSWORD}/runs",
        f"postgresql://ann@127.0.0.1/runs?sslmode={PASSWORD}",
        f"postgresql://[ann:{PASSWORD}@127.0.0.1/runs",
    ],
)
async def test_of_a_url_that_cannot_be_read_no_part_that_may_be_secret_is_shown(url: str) -> None:
    assert "its URL cannot be read" in await refusal(url)


async def test_a_database_of_another_encoding_is_refused(postgresql: Server, name: str) -> None:
    postgresql.psql("CREATE DATABASE latin ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")

    with pytest.raises(StoreUnavailable, match="its encoding is SQL_ASCII"):
        await PostgresStore(postgresql.url("latin")).open()


async def test_reading_makes_no_tables(postgresql: Server, name: str) -> None:
    store = PostgresStore(postgresql.url(name))

    with pytest.raises(NoDatabaseYet):
        await store.flow_runs()

    assert postgresql.psql("SELECT count(*) FROM pg_namespace WHERE nspname = 'headrace'", name) == [["0"]]


def test_without_asyncpg_it_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['asyncpg'] = None\n"
        "from headrace._runtime import open_store\nfrom headrace.settings import Settings\n"
        f"open_store(Settings.read({{'HEADRACE_DATABASE_URL': 'postgresql://ann:{PASSWORD}@host/runs'}}))"
    )

    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False).stderr

    assert said.splitlines()[-1].endswith(
        f"{MissingExtra.__name__}: The database postgresql://ann:***@host/runs needs packages that are not installed. "
        'Run: pip install "headrace[postgres]"'
    )
    assert PASSWORD not in said.splitlines()[-1]


# -- versions -------------------------------------------------------------------------------------------------


async def test_a_database_of_a_later_version_is_refused(store: PostgresStore, postgresql: Server, name: str) -> None:
    await store.close()
    postgresql.psql(f"UPDATE headrace.version SET version = {schema.VERSION + 1}", name)

    for use in (store.open, store.flow_runs, lambda: store.append(batch(flow_row(1)))):
        with pytest.raises(DatabaseTooNew, match=f"it has schema version {schema.VERSION + 1}"):
            await use()


async def test_a_database_of_an_earlier_version_is_led_on_with_all_that_is_in_it(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.append(batch(flow_row(1)))
    await store.close()
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, ("ALTER TABLE headrace.flow_run ADD COLUMN colour text",)))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    await store.open()

    assert (await store.facts())["schema version"] == str(schema.VERSION)
    assert [row[0] for row in await store.rows("SELECT colour FROM headrace.flow_run")] == [None]


async def test_a_step_that_fails_leaves_the_database_as_it_was(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.close()
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(schema, "STEPS", (*schema.STEPS, ("DROP TABLE headrace.flow_run", "DROP TABLE nothing")))
        meanwhile.setattr(schema, "VERSION", schema.VERSION + 1)
        with pytest.raises(StoreUnavailable, match='table "nothing" does not exist'):
            await store.open()

    await store.open()
    assert await store.flow_runs() == []


OPENING = """
import asyncio, sys
from headrace._stores.postgres import PostgresStore
store = PostgresStore(sys.argv[1])
sys.stdin.readline()
asyncio.run(store.open())
"""


def test_processes_that_meet_at_a_fresh_database_all_go_on(postgresql: Server, name: str) -> None:
    source = str(Path(headrace.__file__).parents[1])
    programs = [
        subprocess.Popen(
            [sys.executable, "-c", OPENING, postgresql.url(name)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": source},
        )
        for _ in range(4)
    ]
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
    ends = [program.communicate() for program in programs]

    assert [program.returncode for program in programs] == [0] * 4, ends


async def test_stores_that_meet_at_a_fresh_database_all_go_on(postgresql: Server, name: str) -> None:
    stores = [PostgresStore(postgresql.url(name)) for _ in range(8)]

    await asyncio.gather(*(store.open() for store in stores))

    assert await stores[0].flow_runs() == []
    for store in stores:
        await store.close()


# -- others beside it -----------------------------------------------------------------------------------------


async def test_never_more_is_leased_than_there_is_however_many_ask_at_once(postgresql: Server, name: str) -> None:
    stores = [PostgresStore(postgresql.url(name)) for _ in range(6)]
    for store in stores:
        await store.open()
    await stores[0].limits.define(Limit("api", 3))

    async def asks(number: int) -> None:
        for at in range(10):
            claims = [
                Claim("api", f"owner-{number}", wanted=2, used=0),
                Claim("api\x1fkey", f"owner-{number}", wanted=2, size=2),  # which has no row of its own
            ]
            await stores[number].limits.settle(claims, at, marked("boot", at), lambda _: False)

    async with asyncio.TaskGroup() as group:
        for number in range(len(stores)):
            group.create_task(asks(number))
        for _ in range(20):
            claims = await stores[0].limits.claims()
            assert sum(one.held for one in claims if one.name == "api") <= 3
            assert sum(one.held for one in claims if one.name != "api") <= 2
    for store in stores:
        await store.close()


async def test_machines_whose_clocks_differ_have_their_turns_by_the_clock_of_the_database(
    postgresql: Server, name: str
) -> None:
    moments: list[int] = []
    for clock in (0, 10**15):
        store = PostgresStore(postgresql.url(name))
        await store.open()
        await store.limits.settle([Claim("api", "owner", wanted=1)], clock, marked("boot", clock), lambda _: False)
        assert store.limits.behind is not None
        moments.append(clock + store.limits.behind)
        await store.close()

    assert abs(moments[1] - moments[0]) < 20 * TURN


async def test_two_that_write_the_same_keys_in_another_order_never_wait_in_a_circle(
    postgresql: Server, name: str
) -> None:
    stores = [PostgresStore(postgresql.url(name)) for _ in range(2)]
    for store in stores:
        await store.open()
    kept = [result(f"{number:032x}", number) for number in range(400)]

    await asyncio.gather(*(keep(stores[turn % 2], *kept[:: 1 if turn % 2 else -1]) for turn in range(10)))

    assert (await stores[0].results.total())[0] == 400
    deadlocks = f"SELECT deadlocks FROM pg_stat_database WHERE datname = '{name}'"
    for store in stores:
        await store.close()
    assert postgresql.psql(deadlocks) == [["0"]]


async def test_what_a_store_is_asked_from_another_loop_it_answers_there(store: PostgresStore) -> None:
    await store.append(batch(flow_row(1)))
    await keep(store, result())

    runs = await asyncio.to_thread(lambda: asyncio.run(store.flow_runs()))

    assert [run.name for run in runs] == ["run-1"]
    assert store.results.look(result().key) == result()
    with pytest.raises(StoreUnavailable, match="cannot be looked for at once"):
        store.results.glance(result().key)


# -- what it costs --------------------------------------------------------------------------------------------


READS: dict[str, Callable[[PostgresStore], Coroutine[Any, Any, Any]]] = {
    "ls": lambda store: store.flow_runs(limit=10),
    "ls by state": lambda store: store.flow_runs(limit=10, state="Completed"),
    "one by prefix": lambda store: store.flow_runs(limit=2, begins="0000000a"),
    "unfinished": lambda store: store.unfinished(),
    "tasks": lambda store: store.task_runs(prefix(3)),
    "slowest": lambda store: store.task_runs(prefix(3), slowest=True, limit=5),
    "counts": lambda store: store.task_counts(prefix(3)),
    "children": lambda store: store.children([flow_id(20)]),
    "logs": lambda store: store.logs([flow_id(3)]),
    "requests": lambda store: store.requests([flow_id(3)]),
    "recall": lambda store: store.results.recall(["a", "b"]),
    "results under": lambda store: store.results.under(prefix(3)),
    "results": lambda store: store.results.listed(limit=10),
    "claims": lambda store: store.limits.claims("api"),
    "leases": lambda store: store.owners.leases("process:"),
}


@pytest.mark.parametrize("read", READS)
async def test_a_read_goes_through_an_index(store: PostgresStore, read: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, tuple[Any, ...]]] = []
    plain = store.link.read

    async def noted(statement: str, *values: Any) -> list[Any]:
        asked.append((statement, values))
        return await plain(statement, *values)

    monkeypatch.setattr(store.link, "read", noted)
    await READS[read](store)
    # The tables are empty, so the server would read them whole where it may: it is told that it must not.
    await store.link.writer.execute("SET enable_seqscan = off")

    assert asked
    for statement, values in asked:
        plan = await (await store.link.writer.prepare(statement, name="")).explain(*values)
        assert "Index" in str(plan)
        assert "Seq Scan" not in str(plan)


# -- a pooler between -----------------------------------------------------------------------------------------


@pytest.fixture
def pooler(postgresql: Server) -> Iterator[Pooler]:
    """Give PgBouncer, where it is installed."""
    yield from with_pooler(postgresql)


def with_pooler(server: Server) -> Iterator[Pooler]:
    """Give PgBouncer before *server*; skip the test where it is not installed."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed")
    made = Pooler(server, program)
    yield made
    made.stop()


@pytest.mark.required
async def test_connections_that_are_anybody_s_for_one_transaction_are_enough(pooler: Pooler, name: str) -> None:
    stores = [PostgresStore(pooler.url(name)) for _ in range(5)]

    async def works(number: int) -> None:
        store = stores[number]
        await store.open()
        for turn in range(10):
            await store.append(batch(flow_row(number), task_row(turn + 1, of=number), strict=turn % 2 == 0))
            assert len(await store.task_runs(prefix(number))) == turn + 1
            await keep(store, result(f"key-{number}", turn))
            assert list(await store.results.recall([f"key-{number}"])) == [f"key-{number}"]
            await store.limits.settle(
                [Claim("api", f"owner-{number}", wanted=1, size=1)], turn, marked("boot", turn), lambda _: False
            )
            assert await store.results.claim("lease", "owner", now=1, until=2) is None

    await asyncio.gather(*(works(number) for number in range(len(stores))))

    assert len(await stores[0].flow_runs()) == 5
    assert await stores[0].delete(flow_id(1)) == 1
    for store in stores:
        await store.close()
