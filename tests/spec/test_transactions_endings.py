"""Transactions that end in unusual ways: nobody is left waiting, and what is undone is undone whole."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import flow, task, transaction
from headrace._runtime import Runtime
from headrace.cache_policies import INPUTS
from headrace.errors import CorruptResult, MissingResult, OptionError, TransactionError
from headrace.transactions import TransactionState
from tests.spec.cancelling import happens
from tests.spec.forms import Record
from tests.spec.keeping import runtime_at

SERIAL = INPUTS.configure(isolation_level="SERIALIZABLE")


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    with runtime_at(tmp_path) as made:
        yield made


class Told(list[str]):
    """What hooks said, in order."""

    def hook(self, name: str, wait: float = 0.0) -> Any:
        """Make an async hook that says *name* when it begins, and ends later."""

        async def hook(_work: Any) -> None:
            self.append(name)
            await asyncio.sleep(wait)
            self.append(f"{name} ended")

        return hook


@pytest.mark.usefixtures("runtime")
def test_a_commit_that_is_cancelled_is_rolled_back_and_holds_nothing(runtime: Runtime) -> None:
    told = Told()

    @task(cache_policy=SERIAL, on_commit=[told.hook("commit", 60)], on_rollback=[told.hook("undo")])
    async def step(x: int) -> int:
        return x

    async def main() -> None:
        async with transaction():
            await step(1)

    async def cancelled() -> None:
        running = asyncio.ensure_future(main())
        await happens(lambda: "commit" in told)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cancelled())

    assert told == ["commit", "undo", "undo ended"]
    assert (runtime.journal.ledger.flights, runtime.journal.ledger.leases) == ({}, {})


@pytest.mark.usefixtures("runtime")
def test_a_rollback_that_is_cancelled_undoes_the_rest_all_the_same() -> None:
    told = Told()

    @task(on_rollback=[told.hook("undo first")])
    async def first() -> None: ...

    @task(on_rollback=[told.hook("undo second", 60)])
    async def second() -> None: ...

    async def main() -> None:
        async with transaction():
            await first()
            await second()
            raise KeyError

    async def cancelled() -> None:
        running = asyncio.ensure_future(main())
        await happens(lambda: "undo second" in told)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cancelled())

    assert told == ["undo second", "undo first", "undo first ended"]


@pytest.mark.usefixtures("runtime")
def test_a_task_that_ends_while_the_block_commits_is_committed_with_it() -> None:
    told = Told()
    late = asyncio.Event()

    @task(on_commit=[told.hook("commit slow", 0.01)])
    async def slow() -> None: ...

    @task(on_commit=[told.hook("commit late")])
    async def straggler() -> None:
        await happens(lambda: "commit slow" in told)
        late.set()

    @flow
    async def main() -> TransactionState:
        async with transaction() as block:
            await slow()
            running = straggler.submit()
        await running
        return block.state

    assert headrace.run(main()) is TransactionState.COMMITTED
    assert late.is_set()
    assert [line for line in told if not line.endswith("ended")] == ["commit slow", "commit late"]


@pytest.mark.usefixtures("runtime")
def test_what_was_committed_cannot_be_rolled_back_by_hand() -> None:
    told = Told()
    with transaction("k") as block:
        block.stage(1, on_rollback_hooks=[told.hook("undo")])
        assert block.commit()
        with pytest.raises(TransactionError, match="was committed, and cannot be rolled back any more"):
            block.rollback()

    assert (told, block.is_committed()) == ([], True)


def test_a_block_that_has_not_begun_can_be_neither_committed_nor_rolled_back() -> None:
    for ending in ("commit", "rollback"):
        with pytest.raises(TransactionError, match="has not begun"):
            getattr(transaction(), ending)()


def test_what_was_rolled_back_is_not_found_by_a_key_that_lies_elsewhere(tmp_path: Path, runtime: Runtime) -> None:
    calls: list[int] = []

    @task(cache_policy=INPUTS.configure(key_storage=tmp_path / "keys"))
    def step(x: int) -> int:
        calls.append(x)
        return x

    def failing() -> None:
        with transaction():
            step(1)
            raise KeyError

    with pytest.raises(KeyError):
        failing()
    step(1)

    def bad(_work: Any) -> None:
        raise OSError("no")

    with transaction("k", store=tmp_path / "keys") as block:
        block.stage(1, on_commit_hooks=[bad])
    with transaction("k", store=tmp_path / "keys") as later:
        assert not later.is_committed()

    assert (calls, block.is_rolled_back()) == ([1, 1], True)
    assert runtime


def test_a_look_that_fails_leaves_nothing_held(tmp_path: Path, runtime: Runtime) -> None:
    (tmp_path / "keys").mkdir()
    with transaction("some-key.json", store=tmp_path / "keys") as block:
        block.stage(1)
    (path,) = [path for path in (tmp_path / "keys").rglob("*") if path.is_file()]
    path.write_text("hello")
    runtime.journal.ledger.recent.clear()

    for _ in range(2):
        broken = transaction("some-key.json", store=tmp_path / "keys", isolation_level="SERIALIZABLE")
        with pytest.raises(CorruptResult), broken:
            pass

    assert runtime.journal.ledger.flights == {}


def test_the_result_of_a_run_that_was_rolled_back_says_so(record: Record) -> None:
    from headrace import runs

    @task(persist_result=True)
    def step() -> int:
        return 1

    @flow
    def main() -> None:
        with transaction():
            step()
            raise KeyError

    with pytest.raises(KeyError):
        main()

    (run,) = runs.task_runs(record.flow_run())
    with pytest.raises(MissingResult, match="The run was rolled back with the transaction it was in"):
        run.state.result()


def test_loops_are_not_kept_alive_by_what_was_asked_on_them(runtime: Runtime) -> None:
    loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []

    async def main() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        async with transaction("k"):
            pass

    for _ in range(3):
        asyncio.run(main())
    gc.collect()

    assert [loop() for loop in loops] == [None] * 3
    assert runtime


def test_a_generator_takes_no_hooks_of_transactions() -> None:
    @task
    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(OptionError, match="is a generator, and takes no part in transactions"):
        numbers.on_rollback(print)
