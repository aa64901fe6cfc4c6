"""What the PostgreSQL store promises of hearing others: soon where a connection can listen, and at the next look."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from headrace import _rounds, flow
from headrace._engine.context import current_run
from headrace._engine.runs import Run
from headrace._model.slots import Claim, Limit, marked
from headrace._runtime import Runtime
from headrace._stores import postgres_listening as listening
from headrace._stores.postgres import PostgresStore
from tests.chaos.processes import Child, until
from tests.contract.postgres_server import Pooler, Server
from tests.contract.stores import batch, flow_id, flow_row
from tests.contract.test_postgres import with_pooler
from tests.contract.test_requests import asked, going
from tests.spec.keeping import runtime_at
from tests.spec.test_postgres import Programs

NEVER = 3_600.0
SOON = 20.0  # for a busy machine
LISTENERS = "FROM pg_stat_activity WHERE datname = '{}' AND query = 'LISTEN \"headrace\"'"


@pytest.fixture
def name(postgresql: Server) -> str:
    """Give the name of an empty database."""
    return postgresql.database()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have stores listen from their first batch on."""
    monkeypatch.setattr(listening, "AFTER", 0.0)


@pytest.fixture
def pooler(postgresql: Server) -> Iterator[Pooler]:
    """Give PgBouncer, where it is installed."""
    yield from with_pooler(postgresql)


@pytest.fixture
def programs(postgresql: Server, tmp_path: Path) -> Programs:
    return Programs(postgresql, tmp_path)


class Rung:
    """Counts how often a store rings."""

    def __init__(self) -> None:
        self.times = 0
        self.bell = asyncio.Event()

    def __call__(self) -> None:
        self.times += 1
        self.bell.set()

    async def again(self) -> None:
        """Wait until it rings the next time."""
        await asyncio.wait_for(self.bell.wait(), SOON)
        self.bell.clear()


@pytest.fixture
async def other(postgresql: Server, name: str) -> AsyncIterator[PostgresStore]:
    """Give another process's store, to which nobody listens."""
    made = PostgresStore(postgresql.url(name))
    await made.open()
    yield made
    await made.close()


@pytest.fixture
async def store(postgresql: Server, name: str, rung: Rung) -> AsyncIterator[PostgresStore]:
    """Give a store that listens, with a run in it that goes on."""
    made = PostgresStore(postgresql.url(name))
    made.rang = rung
    await made.open()
    await made.append(batch(going(1), strict=True))
    await rung.again()
    yield made
    await made.close()


@pytest.fixture
def rung() -> Rung:
    return Rung()


def listeners(server: Server, name: str) -> int:
    """Count the connections that listen in a database."""
    ((count,),) = server.psql(f"SELECT count(*) {LISTENERS.format(name)}")
    return int(count)


def cut(server: Server, name: str) -> None:
    """End the connections that listen in a database."""
    assert server.psql(f"SELECT pg_terminate_backend(pid) {LISTENERS.format(name)}") == [["t"]]


# -- the store --------------------------------------------------------------------------------------------------


async def test_it_rings_when_another_process_has_left_a_request(
    store: PostgresStore, other: PostgresStore, rung: Rung
) -> None:
    assert await other.request(asked(1))
    await rung.again()

    assert [request.run_id for request in await store.requests([flow_id(1)])] == [flow_id(1)]


async def test_nobody_rings_for_what_was_left_by_itself_nor_for_what_was_not_left(
    store: PostgresStore, other: PostgresStore, rung: Rung
) -> None:
    before = rung.times
    assert await store.request(asked(1))
    assert not await other.request(asked(2))
    await other.append(batch(going(3)))
    assert await other.request(asked(3))
    await rung.again()

    assert rung.times == before + 1


async def test_a_process_that_begins_to_wait_for_slots_rings_and_so_does_who_gives_them_back(
    store: PostgresStore, other: PostgresStore, rung: Rung
) -> None:
    await store.limits.define(Limit("api", 1))

    async def settles(one: PostgresStore, owner: str, *, wanted: int, used: int = 0) -> int:
        claim = Claim("api", owner, wanted=wanted, used=used, kept=used)
        return (await one.limits.settle([claim], 1, marked("boot", 1), lambda _: False))["api"].held

    assert await settles(other, "it", wanted=1) == 1
    assert await settles(store, "me", wanted=1) == 0
    assert rung.times == 1
    await settles(other, "it", wanted=0)
    await rung.again()
    assert await settles(store, "me", wanted=1) == 1
    assert await settles(other, "it", wanted=1, used=0) == 0
    await rung.again()
    assert await settles(other, "it", wanted=1) == 0  # it waits on, of which nobody needs to hear
    await other.limits.define(Limit("api", 1))
    assert rung.times == 3


async def test_a_listening_connection_that_was_ended_from_outside_is_made_anew(
    store: PostgresStore, other: PostgresStore, rung: Rung, postgresql: Server, name: str
) -> None:
    for _ in range(2):
        await asyncio.to_thread(cut, postgresql, name)
        await rung.again()  # it listens once more, and may have missed something
        assert await other.request(asked(1))
        await rung.again()


async def test_a_server_that_was_started_anew_is_listened_to_once_something_is_written(
    store: PostgresStore, other: PostgresStore, rung: Rung, postgresql: Server
) -> None:
    await asyncio.to_thread(postgresql.stop)
    await asyncio.to_thread(postgresql.start)
    before = rung.times
    await asyncio.sleep(3 * listening.PAUSE)
    assert rung.times == before

    await store.append(batch(flow_row(2), strict=True))
    await rung.again()
    assert await other.request(asked(1))
    await rung.again()


async def test_what_is_over_at_once_has_no_second_connection(
    postgresql: Server, name: str, rung: Rung, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "AFTER", NEVER)
    store = PostgresStore(postgresql.url(name))
    store.rang = rung
    await store.open()
    await store.append(batch(going(1)))

    connections = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'"
    assert await asyncio.to_thread(postgresql.psql, connections) == [["1"]]
    await store.close()


async def test_a_store_that_is_closed_listens_no_more_and_one_that_is_opened_again_does(
    store: PostgresStore, other: PostgresStore, rung: Rung, postgresql: Server, name: str
) -> None:
    await store.close()
    assert await asyncio.to_thread(gone_soon, postgresql, name)

    await store.append(batch(flow_row(2)))
    await rung.again()
    assert await other.request(asked(1))
    await rung.again()


def gone_soon(server: Server, name: str) -> bool:
    """Wait until nobody listens."""
    until(lambda: listeners(server, name) == 0)
    return True


@pytest.mark.required
async def test_behind_a_pooler_nobody_listens_but_who_listens_beside_it_hears(
    store: PostgresStore, rung: Rung, pooler: Pooler, name: str, postgresql: Server
) -> None:
    pooled = PostgresStore(pooler.url(name))
    pooled.rang = Rung()
    await pooled.open()
    await pooled.append(batch(going(2)))
    assert pooled.listener.task is None, "it listens"

    assert await pooled.request(asked(2))
    await rung.again()
    assert await asyncio.to_thread(listeners, postgresql, name) == 1
    await pooled.close()


@pytest.mark.required
async def test_who_would_listen_and_meets_a_pooler_gives_up_for_good(pooler: Pooler, name: str) -> None:
    store = PostgresStore(pooler.url(name))
    await store.open()

    await asyncio.wait_for(store.listener.listen(), SOON)

    await store.close()


# -- runs -------------------------------------------------------------------------------------------------------


class Going:
    """A flow run that goes on until its test is over, whatever it is told."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.over = threading.Event()

        @flow
        def goes_on() -> None:
            run = current_run.get()
            assert run is not None
            self.runs.append(run)
            while not self.over.wait(0.001):
                pass

        self.thread = threading.Thread(target=lambda: goes_on(return_state=True))

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return self.runs[0].stopping is not None


@contextmanager
def one_goes_on(url: str, home: Path) -> Generator[tuple[Runtime, Going]]:
    """Have a flow run go on that is recorded in the database at *url*."""
    with runtime_at(home, url=url) as runtime:
        run = Going()
        run.thread.start()
        try:
            until(lambda: run.runs and runtime.office.commits)
            yield runtime, run
        finally:
            run.over.set()
            run.thread.join()


def cancel(url: str, home: Path) -> None:
    """Have another process leave the request that the latest run be cancelled."""
    words = ("flow-run", "cancel", "last", "--no-wait")
    end = Child("headrace", *words, home=home, HEADRACE_DATABASE_URL=url).ended()
    assert end.status == 0, end


@pytest.mark.required
def test_a_request_is_heard_long_before_the_next_look(
    postgresql: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_rounds, "LOOK_EVERY", NEVER)
    with one_goes_on(postgresql.url(name), tmp_path) as (_, run):
        until(lambda: listeners(postgresql, name) == 1)
        cancel(postgresql.url(name), tmp_path / "other")
        until(lambda: run.stopped, within=5)


@pytest.mark.required
def test_where_the_listening_connection_is_gone_the_next_look_hears_it_and_later_it_listens_again(
    postgresql: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgresql.url(name)
    with monkeypatch.context() as meanwhile, one_goes_on(url, tmp_path) as (_, run):
        meanwhile.setattr(listening, "PAUSE", NEVER)
        until(lambda: listeners(postgresql, name) == 1)
        cut(postgresql, name)
        cancel(url, tmp_path / "other")
        until(lambda: run.stopped, within=5)
        assert listeners(postgresql, name) == 0

    monkeypatch.setattr(_rounds, "LOOK_EVERY", NEVER)
    with one_goes_on(url, tmp_path) as (_, run):
        until(lambda: listeners(postgresql, name) == 1)
        cut(postgresql, name)
        until(lambda: listeners(postgresql, name) == 1)
        cancel(url, tmp_path / "another")
        until(lambda: run.stopped, within=5)


@pytest.mark.required
def test_many_who_ring_at_once_cost_one_look(
    postgresql: Server, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_rounds, "LOOK_EVERY", NEVER)
    looks: list[float] = []
    plain = PostgresStore.requests

    async def noted(store: PostgresStore, run_ids: list[str]) -> list[object]:
        looks.append(time.monotonic())
        return list(await plain(store, run_ids))

    monkeypatch.setattr(PostgresStore, "requests", noted)
    with one_goes_on(postgresql.url(name), tmp_path) as (runtime, _):
        until(lambda: looks)
        assert runtime.office.loop is not None

        def ring_often(times: int) -> None:
            runtime.office.hear()
            if times:
                assert runtime.office.loop is not None
                runtime.office.loop.call_soon(ring_often, times - 1)

        before = len(looks)
        runtime.office.loop.call_soon_threadsafe(ring_often, 300)
        until(lambda: len(looks) > before)
        time.sleep(3 * _rounds.HEED_EVERY)

    assert len(looks) - before <= 2
    assert all(later - earlier > 0.9 * _rounds.HEED_EVERY for earlier, later in pairwise(looks))


# -- processes --------------------------------------------------------------------------------------------------

LISTENS = """
import time
from headrace._stores import postgres_listening
postgres_listening.AFTER = 0.0

@flow
def listens():
    for _ in range(60):
        double(1)
        time.sleep(0.01)
"""


def test_a_process_that_listens_ends_when_it_is_done(programs: Programs) -> None:
    began = time.monotonic()
    programs.ran(LISTENS + "listens()")

    assert time.monotonic() - began < SOON
    assert programs.states("listens") == ["Completed"]
    assert gone_soon(programs.server, programs.name)


def test_a_fork_of_a_process_that_listens_goes_on_and_both_end(programs: Programs) -> None:
    programs.ran(
        LISTENS
        + """
@flow
def forks():
    listens()
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        listens()
    return child

if not forks():
    listens()
"""
    )

    assert programs.states("listens") == ["Completed"] * 3


def test_a_process_that_listens_and_is_interrupted_ends(programs: Programs) -> None:
    running = programs.started(LISTENS + "asyncio.run(long())")
    assert running.stdout is not None
    assert running.stdout.readline() == "long\n"
    until(lambda: listeners(programs.server, programs.name) == 1)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)

    assert running.returncode
    assert programs.states("long") != ["Running"]
