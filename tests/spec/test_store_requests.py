"""What other processes ask of a flow run: looked for while one runs here, heard once, and never in a run's way."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from headrace import _rounds, _runtime, flow, task
from headrace._engine.context import current_run
from headrace._engine.life import drive
from headrace._engine.runs import Run
from headrace._model.records import Request, instant
from headrace._ports import Batch
from headrace._stores.memory import MemoryStore
from headrace._stores.sqlite import SQLiteStore
from headrace.errors import StoreUnavailable
from headrace.settings import Settings
from headrace.testing import virtual_time
from tests.chaos.processes import until

WHY = "a test wanted it"


class Watched(MemoryStore):
    """
    A store that counts the looks at what was asked, and can fail to show or to remove it.

    It takes as long for each batch as it takes until there is *more* to do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.unreadable = False
        self.unwritable = False
        self.commits = 0
        self.more: Callable[[], object] = lambda: True

    async def append(self, batch: Batch) -> None:
        await super().append(batch)
        self.commits += 1
        until(self.more)

    async def requests(self, run_ids: Collection[str]) -> list[Request]:
        self.looks += 1
        if self.unreadable:
            raise StoreUnavailable("here", "it was to fail")
        return await super().requests(run_ids)

    async def heard(self, requests: Collection[Request]) -> None:
        if self.unwritable:
            raise StoreUnavailable("here", "it was to fail")
        await super().heard(requests)


@contextmanager
def recording(store: Any) -> Generator[None]:
    """Have runs recorded in *store*."""
    runtime = _runtime.Runtime(attrs.evolve(Settings.read({}), log_level="WARNING"), store)
    before = _runtime.replace(runtime)
    try:
        yield
    finally:
        _runtime.replace(before)
        runtime.close()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the back office look every few milliseconds."""
    monkeypatch.setattr(_rounds, "LOOK_EVERY", 0.003)


@pytest.fixture
def store(often: None) -> Iterator[Watched]:
    """Have the test's runs recorded in a store that is looked at often."""
    made = Watched()
    with recording(made):
        yield made


class Going:
    """A flow run that goes on until it is let go, and what was asked of it meanwhile."""

    def __init__(self, work: Callable[[], object] = lambda: None) -> None:
        self.go = threading.Event()
        self.runs: list[Run] = []

        @flow
        def goes_on() -> None:
            run = current_run.get()
            assert run is not None
            self.runs.append(run)
            while not self.go.wait(0.001):
                if run.stopping is None:
                    work()

        self.thread = threading.Thread(target=lambda: goes_on(return_state=True))

    def __enter__(self) -> Run:
        self.thread.start()
        until(lambda: self.runs)
        return self.runs[0]

    def __exit__(self, *_: object) -> None:
        self.go.set()
        self.thread.join()


def ask(store: Any, run: Run, what: str = "cancel") -> None:
    """Ask *what* of *run*, once it is recorded."""
    until(lambda: drive(store.request(Request(run.id, what, WHY, instant(time.time_ns())))))


def test_a_run_in_progress_hears_what_was_asked_of_it_and_the_request_is_gone(store: Watched) -> None:
    with Going() as run:
        ask(store, run)
        until(lambda: run.stopping is not None)
        until(lambda: not store.asked)

    assert run.stopping == WHY


def test_only_the_run_that_was_asked_hears_it(store: Watched) -> None:
    with Going() as asked, Going() as other:
        ask(store, asked)
        until(lambda: asked.stopping is not None)
        looks = store.looks
        until(lambda: store.looks > looks + 3)

        assert other.stopping is None


def test_a_run_that_never_lets_the_back_office_rest_hears_it_too(store: Watched) -> None:
    @task
    def step() -> None:
        pass

    journal = _runtime.current().journal
    with Going(step) as run:
        store.more = lambda: journal.told or run.stopping is not None
        ask(store, run)
        until(lambda: run.stopping is not None)

    assert run.stopping == WHY


def test_what_is_asked_in_words_of_a_later_version_is_left_for_who_knows_them(store: Watched) -> None:
    with Going() as run:
        ask(store, run, "sing")
        ask(store, run)
        until(lambda: run.stopping is not None)
        until(lambda: list(store.asked) == [(run.id, "sing")])


def test_nobody_looks_where_no_flow_runs(store: Watched) -> None:
    @flow
    def short() -> None:
        pass

    office = _runtime.current().office
    with Going():
        until(lambda: store.looks)
    until(lambda: office.alarm is None)
    looks = store.looks
    for _ in range(20):
        task(lambda: None)()

    assert office.alarm is None
    assert store.looks == looks


def test_a_flow_that_ends_before_the_first_look_costs_none(store: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    @flow
    def short() -> None:
        pass

    office = _runtime.current().office
    with Going():
        until(lambda: store.looks)
    until(lambda: office.alarm is None)
    monkeypatch.setattr(_rounds, "LOOK_EVERY", 60)
    looks = store.looks
    short()
    short()

    assert office.alarm is not None
    assert store.looks == looks


def test_a_look_that_fails_costs_no_run_no_row_and_no_line(store: Watched, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "headrace")
    store.unreadable = True

    @task
    def step() -> None:
        pass

    with Going(step):
        until(lambda: store.looks > 3)
        until(lambda: len(store.tasks) > 3)

    assert [row[5] for row in store.flows.values()] == ["Completed"]
    assert [record.getMessage() for record in caplog.records if record.name == "headrace.store"] == []


def test_a_look_that_fails_is_said_once_to_who_looks_closely(store: Watched, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "headrace.store")
    store.unreadable = True

    with Going() as run:
        until(lambda: store.looks > 3)
        store.unreadable = False
        ask(store, run)
        until(lambda: run.stopping is not None)

    said = [record.getMessage() for record in caplog.records if record.name == "headrace.store"]
    assert said == [
        f"Requests from other processes cannot be heard: StoreUnavailable: {StoreUnavailable('here', 'it was to fail')}"
    ]


def test_a_run_stops_though_the_request_cannot_be_removed_yet(store: Watched) -> None:
    store.unwritable = True
    with Going() as run:
        ask(store, run)
        until(lambda: run.stopping is not None)
        assert store.asked
        store.unwritable = False
        until(lambda: not store.asked)


def test_a_run_that_cannot_be_stopped_keeps_no_other_from_it(store: Watched, caplog: pytest.LogCaptureFixture) -> None:
    def breaks() -> None:
        raise ZeroDivisionError

    with Going() as broken, Going() as other:
        broken.stops = [breaks]
        ask(store, broken)
        until(lambda: broken.stopping is not None)
        ask(store, other)
        until(lambda: other.stopping is not None)
        until(lambda: not store.asked)
        broken.stops = None

    assert f"Flow run {broken.id} could not be told to stop" in caplog.text


# -- in virtual time ----------------------------------------------------------------------------------------


class WatchedFile(SQLiteStore):
    """A file whose looks at what was asked are counted."""

    looks = 0

    async def requests(self, run_ids: Collection[str]) -> list[Request]:
        self.looks += 1
        return await super().requests(run_ids)


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_looks_neither_move_virtual_time_nor_hold_it(often: None, tmp_path: Path, kind: str) -> None:
    store = Watched() if kind == "memory" else WatchedFile(tmp_path / "runs.db")

    @flow
    async def sleeps() -> list[int]:
        seen: list[int] = []
        while len(seen) < 300 or store.looks < 10:
            await asyncio.sleep(3_600)
            seen.append(round(clock.elapsed))
        return seen

    with recording(store), virtual_time() as clock:
        began = time.monotonic()
        seen = asyncio.run(sleeps())
        took = time.monotonic() - began

    assert seen == [3_600 * turn for turn in range(1, len(seen) + 1)]
    assert took < 20


def test_a_run_in_virtual_time_is_asked_in_real_time(store: Watched) -> None:
    with virtual_time(), Going() as run:
        ask(store, run)
        until(lambda: run.stopping is not None)

    assert run.stopping == WHY
