"""Durable steps that are committed on the loop which waits for them, in a PostgreSQL database, and what goes wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import Context
from pathlib import Path
from typing import Any

import attrs
import pytest

from headrace import _beside, _runtime, flow, task
from headrace._ports import Batch
from headrace._runtime import Runtime
from headrace._stores import postgres_beside
from headrace._stores.postgres import PostgresStore
from headrace.errors import LostRun
from headrace.settings import Settings
from headrace.testing import virtual_time
from tests.chaos.processes import until
from tests.contract.postgres_server import Pooler, Server
from tests.contract.test_postgres import with_pooler

STEPS = 60
AMID = STEPS // 2  # the step amid whose commit something happens


class Noting(postgres_beside.Beside):
    """Notes what is committed beside the writer, and has something happen once, while a server does not answer."""

    by: list[str]
    amid: Callable[[], object] | None = None

    def commit(self, batch: Batch, told: Callable[[bool], None]) -> None:
        assert self.own is not None
        assert self.own.awaited is None, "one commit at a time"
        self.by.append("loop")
        amid = self.amid
        if amid is None:
            super().commit(batch, told)
            return
        self.amid = None
        os.kill(self.own.process, signal.SIGSTOP)
        super().commit(batch, told)
        amid()


class Watched(PostgresStore):
    """A store that notes where steps are committed."""

    beside: Noting
    runtime: Runtime

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url
        self.beside = Noting(self.link)
        self.by = self.beside.by = []

    async def append(self, batch: Batch) -> None:
        assert self.runtime.office.lent is None, "one commit at a time"
        if batch.task_runs:
            self.by.append("office")
        await super().append(batch)


@attrs.define
class Place:
    """A database of a server, and what records there."""

    server: Server
    name: str
    store: Watched

    def sessions(self) -> int:
        """Count the connections to the database."""
        ((count,),) = self.server.psql(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{self.name}'")
        return int(count)

    def on_record(self) -> list[int]:
        """Give what the steps of `counts` came to, as far as they are on record, in the order of runs and calls."""
        asked = "SELECT data FROM headrace.task_run WHERE task_name = 'step' AND state_type = 'COMPLETED' ORDER BY id"
        return [int(row[0]) for row in self.server.psql(asked, self.name)]

    def go_on(self, process: int) -> None:
        """Have the server's *process* go on that was stopped."""
        os.kill(process, signal.SIGCONT)

    async def connected(self) -> None:
        """Wait until the loop has its connection, for which enough steps were asked by now."""
        assert self.store.beside.own is not None
        if self.store.beside.own.connecting is not None:
            await self.store.beside.own.connecting

    @property
    def process(self) -> int:
        """The server's process behind the loop's connection."""
        assert self.store.beside.own is not None
        return self.store.beside.own.process


@contextmanager
def recording(store: Watched, home: Path) -> Generator[None]:
    """Record runs in *store*."""
    runtime = store.runtime = Runtime(attrs.evolve(Settings.read(), home=str(home), database_url=store.url), store)
    before = _runtime.replace(runtime)
    try:
        yield
    finally:
        _runtime.replace(before)
        runtime.close()


@pytest.fixture
def place(postgresql: Server, tmp_path: Path) -> Iterator[Place]:
    """Give an empty database in which runs are recorded; what records there has ended when the test has."""
    name = postgresql.database()
    store = Watched(postgresql.url(name))
    meanwhile.clear()
    with recording(store, tmp_path):
        yield Place(postgresql, name, store)


@task
async def step(number: int) -> int:
    return number


meanwhile: list[Callable[[], Coroutine[Any, Any, object]]] = []  # what happens before the step AMID, once


@flow(durable=True)
async def counts() -> int:
    total = 0
    for number in range(STEPS):
        if number == AMID and meanwhile:
            await meanwhile.pop()()
        total += await step(number)
    return total


@flow(durable=True)
def blocks() -> int:
    return take(3)


@task
def take(number: int) -> int:
    return number


RIGHT = sum(range(STEPS))


def counting(place: Place, happens: Callable[[], object]) -> Coroutine[Any, Any, int]:
    """Give `counts`, of which *happens* is called amid the commit of the step AMID, while the server is silent."""

    async def prepare() -> None:
        await place.connected()
        place.store.beside.amid = happens

    meanwhile.append(prepare)
    return counts()


def test_a_loop_commits_its_steps_itself(place: Place) -> None:
    meanwhile.append(place.connected)
    assert asyncio.run(counts()) == RIGHT

    assert place.on_record() == list(range(STEPS))
    assert place.store.by.count("loop") > STEPS // 4


def test_its_connection_is_one_more_and_is_closed_with_the_loop(place: Place) -> None:
    found: list[int] = []

    async def several() -> None:
        for _ in range(4):
            await counts()
        found.append(place.sessions())

    for _ in range(2):
        asyncio.run(several())
        until(lambda: place.sessions() <= 2)
    assert max(found) <= 3


def test_another_loop_leaves_it_to_the_back_office_until_the_first_is_closed(place: Place) -> None:
    alone: list[str] = []

    async def first() -> None:
        await counts()
        before = len(place.store.by)
        await asyncio.to_thread(asyncio.run, counts())
        alone.extend(place.store.by[before:])

    asyncio.run(first())
    assert set(alone) == {"office"}
    place.store.by.clear()
    asyncio.run(counts())
    assert "loop" in place.store.by


def test_a_step_whose_caller_is_cancelled_amid_its_commit_is_on_record(place: Place) -> None:
    async def cancelled() -> None:
        def cancel() -> None:
            running.cancel()
            place.go_on(place.process)

        running = asyncio.ensure_future(counting(place, cancel))
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cancelled())

    assert place.on_record() == list(range(AMID + 1))


def test_what_a_loop_leaves_half_way_the_back_office_writes(place: Place) -> None:
    loop = asyncio.new_event_loop()
    running = loop.create_task(counting(place, loop.stop))
    loop.run_forever()
    process = place.process

    place.store.runtime.close()
    assert place.on_record() == list(range(AMID + 1))

    place.go_on(process)
    running.cancel()
    loop.run_until_complete(asyncio.wait([running]))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def test_a_sync_flow_that_blocks_the_loop_amid_a_commit_does_not_wait_for_it(place: Place) -> None:
    came: list[int] = []

    def block() -> None:
        process = place.process
        came.append(blocks())
        place.go_on(process)

    assert asyncio.run(counting(place, block)) == RIGHT

    assert came == [3]
    assert place.on_record() == list(range(STEPS))


def test_a_loop_that_lives_is_waited_for_however_long_its_server_takes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_beside, "PATIENCE", 0.5)  # that a loop of a busy machine is late by, it seldom is
    waiting = threading.Thread(target=blocks)
    processes: list[int] = []

    async def wait() -> None:
        def go_on() -> None:
            assert waiting.is_alive()
            processes.append(place.process)
            place.go_on(place.process)

        def others() -> None:
            waiting.start()
            asyncio.get_running_loop().call_later(1.2, go_on)

        await counting(place, others)
        await asyncio.to_thread(waiting.join)
        processes.append(place.process)

    asyncio.run(wait())

    assert processes[0] == processes[1]
    assert place.on_record() == list(range(STEPS))


def test_the_back_office_has_its_turn_while_a_loop_commits_step_after_step(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_beside, "PATIENCE", 60)

    @flow(durable=True)
    def several() -> int:
        return sum(take(1) for _ in range(STEPS))

    waiting = threading.Thread(target=several)

    @flow(durable=True)
    async def goes_on() -> None:
        for number in range(100 * STEPS):
            await step(number)
            if number == STEPS:
                await place.connected()
                waiting.start()
            if number > STEPS and not waiting.is_alive():
                return

    asyncio.run(goes_on())

    assert "loop" in place.store.by
    assert not waiting.is_alive()


def test_once_the_back_office_wants_its_turn_no_commit_begins_on_a_loop(place: Place) -> None:
    async def wants() -> None:
        await place.connected()
        place.store.by.clear()
        place.store.runtime.office.wants = True

    meanwhile.append(wants)
    assert asyncio.run(counts()) == RIGHT

    assert place.store.by[0] == "office"
    assert "loop" in place.store.by


def test_a_step_that_ends_amid_the_commit_of_another_has_its_own_commit_then(place: Place) -> None:
    ended = asyncio.Event()

    @flow(durable=True)
    async def other() -> int:
        await ended.wait()
        return await step(1)

    async def both() -> list[int]:
        def end() -> None:
            ended.set()
            asyncio.get_running_loop().call_later(0.1, place.go_on, place.process)

        return [*await asyncio.gather(other(), counting(place, end))]

    assert asyncio.run(both()) == [1, RIGHT]
    assert sorted(place.on_record()) == sorted([1, *range(STEPS)])


def test_a_step_that_is_more_than_one_row_is_left_to_the_back_office(place: Place) -> None:
    text = "x" * 1_000

    @task
    async def large() -> str:
        return text

    @flow(durable=True)
    async def counts_and_writes() -> str:
        await counts()
        await place.connected()
        return await large()

    assert asyncio.run(counts_and_writes()) == text
    (row,) = place.server.psql("SELECT size FROM headrace.result WHERE task_name = 'large'", place.name)
    assert int(row[0]) > len(text)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_forked_amid_a_commit_records_what_it_runs_and_its_parent_goes_on(place: Place) -> None:
    def fork() -> None:
        child = os.fork()
        if not child:
            try:
                Context().run(blocks)
                _runtime.current().close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        place.go_on(place.process)

    assert asyncio.run(counting(place, fork)) == RIGHT

    found = place.server.psql("SELECT name, state_name FROM headrace.flow_run ORDER BY created", place.name)
    assert [state for _, state in found] == ["Completed", "Completed"]
    assert place.on_record() == list(range(STEPS))


def test_a_connection_that_is_lost_amid_a_commit_costs_no_step(place: Place) -> None:
    def end() -> None:
        place.server.psql(f"SELECT pg_terminate_backend({place.process})")
        place.go_on(place.process)

    assert asyncio.run(counting(place, end)) == RIGHT

    assert place.on_record() == list(range(STEPS))


def test_who_has_lost_the_run_to_another_process_hears_so(place: Place) -> None:
    async def lose() -> None:
        await place.connected()
        await asyncio.to_thread(place.server.psql, "UPDATE headrace.run_owner SET epoch = 2", place.name)

    meanwhile.append(lose)
    with pytest.raises(LostRun):
        asyncio.run(counts())

    assert place.store.by[-1] == "office"
    assert place.on_record() == list(range(AMID))


def test_where_an_alarm_may_strike_the_back_office_commits(place: Place) -> None:
    async def alarmed() -> None:
        await counts()
        await place.connected()
        place.store.by.clear()
        signal.signal(signal.SIGALRM, lambda _number, _frame: None)
        await counts()

    before = signal.getsignal(signal.SIGALRM)
    try:
        asyncio.run(alarmed())
    finally:
        signal.signal(signal.SIGALRM, before)

    assert set(place.store.by) == {"office"}


def test_in_virtual_time_no_connection_holds_the_clock(place: Place) -> None:
    async def sleeps() -> int:
        total = await counts()
        await asyncio.sleep(3_600)
        return total

    with virtual_time():
        assert asyncio.run(sleeps()) == RIGHT

    assert set(place.store.by) == {"office"}


def test_a_runtime_that_is_closed_on_a_loop_leaves_no_connection_there(place: Place) -> None:
    async def closed() -> None:
        meanwhile.append(place.connected)
        await counts()
        await asyncio.to_thread(place.store.runtime.close)
        await asyncio.to_thread(until, lambda: place.sessions() == 0)

    asyncio.run(closed())

    assert "loop" in place.store.by


@pytest.fixture
def pooler(postgresql: Server) -> Iterator[Pooler]:
    yield from with_pooler(postgresql)


@pytest.mark.required
def test_behind_a_pooler_the_back_office_commits(pooler: Pooler, postgresql: Server, tmp_path: Path) -> None:
    store = Watched(pooler.url(postgresql.database()))
    with recording(store, tmp_path):
        assert asyncio.run(counts()) == RIGHT
        assert store.beside.own is not None
        assert not store.beside.own.pause, "no connection was tried"

    assert set(store.by) == {"office"}


def test_several_flows_at_once_have_all_their_steps_on_record(place: Place) -> None:
    async def several() -> list[int]:
        return await asyncio.gather(*[counts() for _ in range(3)])

    assert asyncio.run(several()) == [RIGHT] * 3

    assert place.on_record() == [*range(STEPS)] * 3
