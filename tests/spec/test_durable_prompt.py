"""Durable steps that are committed by the thread which waits for them: when they are, and what may happen meanwhile."""

from __future__ import annotations

import asyncio
import signal
import socket
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path

import anyio.lowlevel
import attrs
import pytest

from headrace import _runtime, aio, flow, runs, task
from headrace._ports import Batch
from headrace._runtime import Runtime
from headrace._stores.sqlite import SQLiteStore
from headrace.settings import Settings
from tests.spec.forms import Form, call
from tests.spec.seen import Tracing

STEPS = 40
OFFICE = "headrace back office"


class Watched(SQLiteStore):
    """A store that notes which threads commit steps, and has something happen amid one of the commits."""

    def __init__(self, path: Path, synchronous: str) -> None:
        super().__init__(path, synchronous)
        self.by: list[str] = []
        self.meanwhile: Callable[[], object] | None = None

    async def append(self, batch: Batch) -> None:
        if batch.task_runs:
            self.by.append(threading.current_thread().name)
            if self.meanwhile is not None:
                self.meanwhile()
        await super().append(batch)


@contextmanager
def watched(home: Path, synchronous: str) -> Generator[Watched]:
    """Record runs in such a store."""
    store = Watched(home / "headrace.db", synchronous)
    runtime = Runtime(attrs.evolve(Settings.read(), home=str(home), database_url=f"sqlite:///{store.path}"), store)
    before = _runtime.replace(runtime)
    try:
        yield store
    finally:
        _runtime.replace(before)
        runtime.close()


def counting(form: Form) -> Callable[[], int]:
    """Give a durable flow of STEPS steps."""

    @form.task()
    async def step(number: int) -> int:
        return number

    @form.flow(durable=True)
    async def counts() -> int:
        return sum([await call(step, number) for number in range(STEPS)])

    return lambda: form.run(counts)


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
def test_who_waits_for_a_step_commits_it(tmp_path: Path, synchronous: str, form: Form) -> None:
    counts = counting(form)
    with watched(tmp_path, synchronous) as store:
        assert counts() == sum(range(STEPS))
        (run,) = runs.flow_runs()
        assert [one.state.result() for one in runs.task_runs(run)] == list(range(STEPS))

    assert store.by.count(threading.current_thread().name) > STEPS // 2


@contextmanager
def at_work(what: str) -> Generator[None]:
    """Have the loop that runs have something to do beside a flow."""
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()

    async def busy() -> None:
        while True:
            await anyio.lowlevel.checkpoint()

    with near, far:
        if what == "a file":
            loop.add_reader(near, int)
        beside = loop.create_task(busy()) if what == "a task" else loop.call_later(0.9 if what == "a timer" else 9, int)
        yield
        beside.cancel()
        loop.remove_reader(near)


@pytest.mark.parametrize("what", ["a file", "a task", "a timer", "nothing"])
def test_a_loop_that_has_anything_else_to_do_waits_for_no_disk(tmp_path: Path, what: str) -> None:
    @task
    async def step(number: int) -> int:
        return number

    @flow(durable=True)
    async def counts() -> None:
        with at_work(what):
            for number in range(10):
                await step(number)

    with watched(tmp_path, "FULL") as store:
        asyncio.run(counts())

    assert (set(store.by) == {OFFICE}) is (what != "nothing")


def test_a_loop_has_a_turn_after_some_steps_that_were_committed_there(tmp_path: Path) -> None:
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        asyncio.get_running_loop().call_soon(turn)

    @task
    async def step(number: int) -> int:
        return number

    @flow(durable=True)
    async def counts() -> int:
        turn()
        before = turns
        for number in range(STEPS):
            await step(number)
        return turns - before

    with watched(tmp_path, "NORMAL") as store:
        assert asyncio.run(counts()) >= STEPS // 10
    assert store.by.count(threading.current_thread().name) > STEPS // 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
def test_a_signal_amid_a_commit_is_heard_after_it(tmp_path: Path, synchronous: str, number: int) -> None:
    came: list[int] = []
    sent: list[int] = []

    @task
    def step(place: int) -> int:
        return place

    @flow(durable=True)
    def counts() -> None:
        for place in range(STEPS):
            step(place)
            came.append(place)

    with watched(tmp_path, synchronous) as store:

        def signalled() -> None:
            if len(came) == STEPS // 2 and threading.current_thread() is threading.main_thread():
                store.meanwhile = None
                sent.append(number)
                signal.raise_signal(number)

        store.meanwhile = signalled
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            counts()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        (run,) = runs.flow_runs()
        done = [one.state.result() for one in runs.task_runs(run) if one.state.is_completed()]

    assert sent, "it was sent"
    assert done == [*came, STEPS // 2], "the step amid whose commit it came is on record"
    assert run.state.name == ("Cancelled" if number == signal.SIGINT else "Crashed")


async def test_a_loop_goes_on_while_another_process_holds_the_database(tmp_path: Path) -> None:
    @task
    async def step(number: int) -> int:
        return number

    begun, held = asyncio.Event(), asyncio.Event()

    @flow(durable=True)
    async def counts() -> list[int]:
        first = await step(1)
        begun.set()
        await held.wait()
        return [first, await step(2), await step(3)]

    with watched(tmp_path, "NORMAL") as store:
        running = asyncio.create_task(counts())
        await begun.wait()
        with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            held.set()
            for _ in range(100):
                await asyncio.sleep(0)
            assert not running.done(), "its second step cannot be on record yet"
            other.execute("ROLLBACK")
        assert await running == [1, 2, 3]
        (run,) = await aio.flow_runs()
        assert [one.state.result() for one in await aio.task_runs(run)] == [1, 2, 3]


def test_steps_of_several_threads_are_all_on_record_when_their_callers_go_on(tmp_path: Path) -> None:
    counts, threads = counting(Form("sync")), 6
    with watched(tmp_path, "NORMAL"):
        crowd = [threading.Thread(target=counts) for _ in range(threads)]
        for one in crowd:
            one.start()
        for one in crowd:
            one.join()
        found = runs.flow_runs()
        assert [one.state.name for one in found] == ["Completed"] * threads
        assert [len(runs.task_runs(one)) for one in found] == [STEPS] * threads


@pytest.mark.parametrize("synchronous", ["NORMAL", "FULL"])
def test_all_spans_are_made_by_the_time_that_the_flow_returns(
    tmp_path: Path, form: Form, app: Tracing, synchronous: str
) -> None:
    counts = counting(form)
    with watched(tmp_path, synchronous):
        counts()

        assert len(app.spans().named("step")) == STEPS


def test_where_an_alarm_may_strike_the_back_office_commits(tmp_path: Path) -> None:
    """Its handler may raise, or call a flow, amid whatever this thread does; so this does nothing that others need."""
    counts = counting(Form("sync"))
    before = signal.signal(signal.SIGALRM, lambda _number, _frame: None)
    try:
        with watched(tmp_path, "NORMAL") as store:
            counts()
    finally:
        signal.signal(signal.SIGALRM, before)

    assert set(store.by) == {OFFICE}
