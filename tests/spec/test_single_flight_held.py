"""Flights that could be held for ever: circles, blocks around, loops that are gone, ledgers made twice."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import flow, task, transaction
from headrace._runtime import Runtime
from headrace.cache_policies import INPUTS
from headrace.errors import TransactionError
from headrace.task_runners import ProcessPoolTaskRunner
from tests.spec.cancelling import happens
from tests.spec.forms import Form, call
from tests.spec.keeping import runtime_at

SERIAL = INPUTS.configure(isolation_level="SERIALIZABLE")


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    with runtime_at(tmp_path) as made:
        yield made


@pytest.fixture(params=[INPUTS, SERIAL], ids=["read committed", "serializable"])
def policy(request: pytest.FixtureRequest) -> Any:
    return request.param


FIRST = """
import threading
from headrace import flow, task
from headrace.cache_policies import INPUTS
calls = []
@task(cache_policy=INPUTS)
def slow(x):
    calls.append(x)
    return x
@flow
def main():
    return slow.map([x % 5 for x in range(300)]).result()
assert main() == [x % 5 for x in range(300)]
print(sorted(calls))
"""


def test_the_first_results_of_a_process_may_be_asked_for_by_many_threads_at_once(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIRST], env={"HEADRACE_HOME": str(tmp_path / "first")}, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip

    assert done.stdout == "[0, 1, 2, 3, 4]\n", done.stderr


def test_two_that_want_each_others_result_see_it_and_one_computes(policy: Any) -> None:
    calls: list[str] = []
    both = asyncio.Barrier(2)

    @task(cache_policy=policy)
    async def ping(x: int) -> str:
        calls.append("ping")
        if len(calls) <= 2:
            await both.wait()
            return await pong(x)
        return "ping"

    @task(cache_policy=policy)
    async def pong(x: int) -> str:
        calls.append("pong")
        if len(calls) <= 2:
            await both.wait()
            return await ping(x)
        return "pong"

    @flow
    async def main() -> list[str]:
        return [*await asyncio.gather(ping(1), pong(1))]

    assert headrace.run(main()) in (["pong", "pong"], ["ping", "ping"])
    assert len(calls) == 3


def test_blocks_that_want_the_same_tasks_in_another_order_both_end() -> None:
    both = threading.Barrier(2)

    @task(cache_policy=SERIAL)
    def one(x: int) -> int:
        return x

    @task(cache_policy=SERIAL)
    def two(x: int) -> int:
        return x

    @flow
    def main(first: Any, second: Any) -> str:
        with transaction():
            first(1)
            both.wait()
            second(1)
        return "ended"

    ended: list[str] = []

    def run(first: Any, second: Any) -> None:
        ended.append(main(first, second))

    threads = [threading.Thread(target=run, args=pair) for pair in ((one, two), (two, one))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert ended == ["ended", "ended"]


def test_blocks_that_take_keys_in_another_order_are_told_so() -> None:
    both = threading.Barrier(2)
    told: list[str] = []

    def block(first: str, second: str) -> None:
        try:
            with transaction(first, isolation_level="SERIALIZABLE"):
                both.wait()
                with transaction(second, isolation_level="SERIALIZABLE"):
                    told.append("inside")
        except TransactionError as error:
            told.append(str(error))

    threads = [threading.Thread(target=block, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    (refused,) = [line for line in told if line != "inside"]
    assert "they want the same keys in another order" in refused
    assert told.count("inside") == 1


def test_calls_within_one_block_wait_for_the_body_and_not_for_the_commit(form: Form) -> None:
    calls: list[int] = []

    @form.task(cache_policy=SERIAL)
    async def step(x: int) -> int:
        calls.append(x)
        return x

    async def body() -> list[int]:
        if form.is_async:
            async with transaction():
                return [*await step.map([1, 1, 2]), await step(1)]
        with transaction():
            return [*step.map([1, 1, 2]).result(), step(1)]

    assert form.in_flow(body) == [1, 1, 2, 1]
    assert sorted(calls) == [1, 2]


@pytest.mark.parametrize("trouble", ["refresh", "cannot be kept"])
def test_a_call_within_a_block_whose_result_is_not_there_computes_again(form: Form, trouble: str) -> None:
    calls: list[int] = []

    @form.task(cache_policy=SERIAL, refresh_cache=trouble == "refresh")
    async def step(x: int) -> Any:
        calls.append(x)
        return x if trouble == "refresh" else threading.Lock()

    async def body() -> None:
        with transaction():
            await call(step, 1)
            await call(step, 1)

    form.in_flow(body)

    assert calls == [1, 1]


def test_blocks_of_one_flow_exclude_each_other() -> None:
    inside: list[int] = []
    most: list[int] = []

    async def block(number: int) -> None:
        async with transaction("k", isolation_level="SERIALIZABLE", overwrite=True) as work:
            inside.append(number)
            most.append(len(inside))
            await asyncio.sleep(0)
            inside.remove(number)
            work.stage(number)

    @flow
    async def main() -> None:
        await asyncio.gather(*[block(number) for number in range(5)])

    headrace.run(main())

    assert most == [1] * 5


def test_a_sync_flow_on_a_loop_computes_what_an_async_task_there_is_computing() -> None:
    begun = asyncio.Event()

    @task(cache_key_fn=lambda _context, _parameters: "shared")
    async def slow() -> int:
        begun.set()
        await asyncio.sleep(0.01)
        return 1

    @task(cache_key_fn=lambda _context, _parameters: "shared")
    def quick() -> int:
        return 2

    @flow
    def blocking() -> int:
        return quick()

    @flow
    async def main() -> tuple[int, int]:
        first = asyncio.ensure_future(slow())
        await begun.wait()
        return blocking(), await first

    assert headrace.run(main()) == (2, 1)


def test_a_loop_that_was_closed_holds_nothing() -> None:
    @task(cache_policy=INPUTS)
    async def endless(x: int) -> int:
        if x == len(calls):
            return x
        calls.append(x)
        begun.set()
        await asyncio.get_running_loop().create_future()
        return 0

    calls: list[int] = []
    begun = asyncio.Event()

    @flow
    async def main() -> int:
        return await endless(1)

    loop = asyncio.new_event_loop()
    running = loop.create_task(main())
    loop.run_until_complete(asyncio.wait_for(begun.wait(), 60))
    loop.close()

    assert calls == [1]
    assert headrace.run(main()) == 1
    assert not running.done()


def test_an_expired_copy_in_memory_hides_no_newer_one(tmp_path: Path) -> None:
    calls: list[int] = []

    @task(cache_policy=INPUTS, cache_expiration=3_600)
    def step(x: int) -> int:
        calls.append(x)
        return len(calls)

    with runtime_at(tmp_path / "shared") as first:
        assert step(1) == 1
        ledger = first.journal.ledger
        (mark, known), *_ = ledger.recent.items()
        ledger.recent[mark] = known._replace(expires=1)
        assert step(1) == 1  # from the store
        assert calls == [1]


def worker_step(x: int) -> int:
    """Call a cached task from within a worker process."""
    return nested(x) + nested(x)


@task(cache_policy=INPUTS)
def nested(x: int) -> int:
    return x


in_worker = task(worker_step)


def test_a_cached_task_within_a_worker_process_simply_runs() -> None:
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1), persist_result=True)
    def main() -> int:
        return in_worker.submit(3).result()

    assert main() == 6


def test_who_is_cancelled_while_it_waits_for_a_lock_leaves_it_free() -> None:
    from headrace.locking.memory import MemoryLockManager

    locks = MemoryLockManager()
    asked: list[str] = []

    class Spy:
        def acquire_lock(self, key: str, holder: str, acquire_timeout: float | None = None) -> bool:
            asked.append(key)
            return locks.acquire_lock(key, holder, acquire_timeout)

        def release_lock(self, key: str, holder: str) -> None:
            locks.release_lock(key, holder)

    @task(cache_key_fn=lambda _context, _parameters: "k")
    async def plain() -> int:
        return 1

    from headrace.cache_policies import CacheKeyFnPolicy

    policy = CacheKeyFnPolicy(lambda _context, _parameters: "k").configure(lock_manager=Spy())
    step = plain.with_options(cache_policy=policy, cache_key_fn=None)
    locks.acquire_lock("k", "another")

    async def main() -> None:
        running = asyncio.ensure_future(step())
        await happens(lambda: asked, within=1_000_000)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    locks.release_lock("k", "another")

    assert not locks.is_locked("k")
