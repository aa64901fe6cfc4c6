"""Durable flows on a store that fails after it has committed, and on copies made when a step is acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from headrace import _runtime, aio, durable, flow, task
from headrace._ports import Batch
from headrace._stores.sqlite import SQLiteStore
from headrace.errors import StoreUnavailable
from headrace.settings import Settings
from tests.chaos.processes import database, rows

STEPS = 4


class Unlucky(SQLiteStore):
    """Commits, and says once that it has failed: of the first batch of a durable flow for which *at* gives True."""

    def __init__(self, path: Path, at: Callable[[Batch], bool]) -> None:
        super().__init__(path)
        self.at = at
        self.failed = False

    async def append(self, batch: Batch) -> None:
        await super().append(batch)
        if batch.strict and not self.failed and self.at(batch):
            self.failed = True
            raise StoreUnavailable(self.where, "the connection was lost")


def nth(number: int) -> Callable[[Batch], bool]:
    """Give what is True of batch *number*."""
    batches = itertools.count(1)
    return lambda _: next(batches) == number


@contextmanager
def runtime_on(store: SQLiteStore) -> Generator[_runtime.Runtime]:
    """Use a runtime with this store."""
    runtime = _runtime.Runtime(attrs.evolve(Settings.read(), home=str(store.path.parent)), store)
    before = _runtime.replace(runtime)
    try:
        yield runtime
    finally:
        _runtime.replace(before)
        runtime.close()


class Calls:
    """A durable flow whose steps tell when their bodies are at work, and whose body tells when it has their values."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []

        @task
        async def step(value: Any) -> Any:
            self.said.append(("ran", value))
            return value

        async def noted(value: Any) -> Any:
            got = await step(value)
            self.said.append(("on", value))
            return got

        @flow(durable=True)
        async def called() -> list[Any]:
            one_by_one = [await noted(number) for number in range(STEPS)]
            at_once = await asyncio.gather(*(noted(f"gathered {number}") for number in range(STEPS)))
            return [*one_by_one, *at_once, durable.random()]

        self.flow = called

    def ran(self, value: Any) -> int:
        """Count how often a step's body was at work."""
        return self.said.count(("ran", value))

    def see_none_ran_after_its_caller_went_on(self) -> None:
        gone_past: set[Any] = set()
        for what, value in self.said:
            assert what == "on" or value not in gone_past
            if what == "on":
                gone_past.add(value)


VALUES = [*range(STEPS), *(f"gathered {number}" for number in range(STEPS))]


@pytest.mark.required
async def test_a_commit_that_succeeds_and_is_said_to_have_failed_doubles_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raised = 0
    for number in range(1, 13):
        home, calls = tmp_path / str(number), Calls()
        with runtime_on(Unlucky(home / "headrace.db", nth(number))):
            try:
                assert (await calls.flow())[:-1] == VALUES
            except StoreUnavailable:
                raised += 1
        await see_nothing_doubled(home, calls)
    assert raised > STEPS
    assert "was taken over by another process" not in caplog.text


@pytest.mark.required
async def test_an_end_that_is_recorded_and_said_to_have_failed_is_taken_for_nobody_else_s(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls = Calls()
    with runtime_on(Unlucky(tmp_path / "headrace.db", lambda batch: bool(batch.released))):
        with pytest.raises(StoreUnavailable):
            await calls.flow()
        assert (await Calls().flow())[:-1] == VALUES
    assert rows(tmp_path, "SELECT state_name FROM flow_run") == [("Completed",)] * 2
    assert "was taken over by another process" not in caplog.text


async def see_nothing_doubled(home: Path, calls: Calls) -> None:
    """See that a flow can be brought to its end, where it has not come to one, and has no step twice."""
    ((run_id, state),) = rows(home, "SELECT id, state_name FROM flow_run")
    if state != "Completed":
        with runtime_on(SQLiteStore(home / "headrace.db")):
            assert (await aio.resume(run_id))[:-1] == VALUES
    calls.see_none_ran_after_its_caller_went_on()
    assert max(calls.ran(value) for value in VALUES) <= 1
    kept = rows(home, "SELECT step_id FROM task_run WHERE state_type = 'COMPLETED'")
    assert len(kept) == len(set(kept)) == len(VALUES)
    assert rows(home, "SELECT state_name FROM flow_run") == [("Completed",)]
    assert rows(home, "SELECT * FROM run_owner") == []


@pytest.mark.required
async def test_all_that_callers_went_past_is_there_after_a_power_loss(tmp_path: Path) -> None:
    home, copies = tmp_path / "home", tmp_path / "copies"
    store = SQLiteStore(home / "headrace.db")
    taken: list[list[Any]] = []

    def copied(gone_past: list[Any]) -> None:
        """Copy database and WAL as they are now: what a disk holds whose power is lost in this moment."""
        to = copies / str(len(taken))
        to.mkdir(parents=True)
        with _runtime.current().office.still():
            assert store.current_synchronous == "FULL"
            for name in ("headrace.db", "headrace.db-wal"):
                shutil.copyfile(home / name, to / name)
        taken.append(list(gone_past))

    @task
    async def step(value: int) -> int:
        return value

    @flow(durable=True)
    async def called() -> None:
        gone_past: list[int] = []

        async def noted(value: int) -> None:
            await step(value)
            gone_past.append(value)
            copied(gone_past)

        for number in range(10):
            await noted(number)
        await asyncio.gather(*(noted(number) for number in range(10, 20)))

    with runtime_on(store):
        await called()
        copied(list(range(20)))

    assert len(taken) == 21
    for place, gone_past in enumerate(taken):
        with database(copies / str(place) / "headrace.db") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            kept = connection.execute("SELECT data FROM task_run WHERE state_type = 'COMPLETED'").fetchall()
        assert {str(value) for value in gone_past} <= {data for (data,) in kept}
    assert rows(copies / "20", "SELECT state_name FROM flow_run") == [("Completed",)]
