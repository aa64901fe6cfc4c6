"""The thread lane and its pool: threads that are kept and shared, no more at once than there are places, none lost."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from headrace import _runtime, flow, task
from headrace._runners.pool import KEPT, Pool
from headrace.task_runners import ThreadPoolTaskRunner
from tests.spec.forms import Form, Latch, Record
from tests.spec.watched import Watched


def until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Pool:
    """Have flows use a pool that has no threads yet."""
    pool = Pool()
    monkeypatch.setattr(_runtime.shop(), "pool", pool)
    return pool


# -- the pool -----------------------------------------------------------------------------------------------


def test_a_thread_is_kept_for_the_next_work() -> None:
    pool = Pool()
    seen: list[threading.Thread] = []
    for _ in range(5):
        pool.run(lambda: seen.append(threading.current_thread()))
        until(lambda: len(pool.idle) == 1)

    assert len(seen) == 5
    assert len(set(seen)) == 1
    assert seen[0].daemon


def test_work_that_comes_at_the_same_time_has_a_thread_each() -> None:
    pool = Pool()
    barrier = threading.Barrier(6)
    seen: list[threading.Thread] = []

    def meet() -> None:
        seen.append(threading.current_thread())
        barrier.wait(20)

    for _ in range(5):
        pool.run(meet)
    barrier.wait(20)

    assert len(set(seen)) == 5


def test_threads_beyond_those_that_are_kept_end() -> None:
    pool = Pool()
    let_go = threading.Event()
    seen: list[threading.Thread] = []

    def work() -> None:
        seen.append(threading.current_thread())
        let_go.wait(20)

    for _ in range(KEPT + 6):
        pool.run(work)
    until(lambda: len(seen) == KEPT + 6)
    let_go.set()

    until(lambda: sum(thread.is_alive() for thread in seen) == KEPT)
    until(lambda: len(pool.idle) == KEPT)


# -- the lane -----------------------------------------------------------------------------------------------


def test_runs_one_after_the_other_share_a_thread(pool: Pool) -> None:
    seen: list[threading.Thread] = []

    @task
    def work() -> None:
        seen.append(threading.current_thread())

    @flow
    def main() -> None:
        for _ in range(10):
            work.submit().result()
            until(lambda: len(pool.idle) == 1)

    main()

    assert len(set(seen)) == 1


def test_a_thread_works_off_what_is_over_in_no_time(record: Record) -> None:
    """One more thread is called in at a time, so quick runs never make a crowd of threads."""
    seen: set[threading.Thread] = set()

    @task
    def quick(x: int) -> int:
        seen.add(threading.current_thread())
        return x

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def main() -> list[int]:
        return quick.map(range(300)).result()

    assert main() == list(range(300))
    assert 1 <= len(seen) <= 4


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_threads_are_at_work_than_there_are_places(limit: int) -> None:
    begun: list[int] = []
    full, let_go = threading.Event(), threading.Event()

    @task
    def work(x: int) -> None:
        begun.append(x)
        if len(begun) == limit:
            full.set()
        let_go.wait(20)

    runner = Watched(limit)

    @flow(task_runner=runner)
    def main() -> list[int]:
        futures = work.map(range(12))
        assert full.wait(20)
        at_once = len(begun)
        waiting = [future.state.name for future in futures].count("Pending")
        let_go.set()
        futures.wait()
        return [at_once, waiting]

    assert main() == [limit, 12 - limit]
    assert runner.rests()


def test_all_flows_of_a_process_share_64_places() -> None:
    begun: list[int] = []
    let_go = threading.Event()

    @task
    def work(x: int) -> None:
        begun.append(x)
        let_go.wait(20)

    @flow
    def main() -> None:
        work.map(range(50)).wait()

    flows = [threading.Thread(target=main) for _ in range(2)]
    for one in flows:
        one.start()
    until(lambda: len(begun) == 64)
    taken = _runtime.shop().threads.taken
    let_go.set()
    for one in flows:
        one.join(20)

    assert taken == 64
    assert len(begun) == 100
    until(lambda: _runtime.shop().threads.taken == 0)


def test_a_loop_is_not_blocked_by_what_runs_in_threads() -> None:
    begun, let_go = Latch(), threading.Event()

    @task
    def work() -> str:
        begun.open()
        let_go.wait(20)
        return "done"

    @flow
    async def main() -> str:
        future = work.submit()
        await begun.passed()
        for _ in range(100):
            await asyncio.sleep(0)
        let_go.set()
        return await future

    assert asyncio.run(main()) == "done"


def test_a_body_that_leaves_its_thread_does_not_take_it_along(pool: Pool) -> None:
    seen: list[threading.Thread] = []

    @task
    def work(x: int) -> None:
        seen.append(threading.current_thread())
        if x == 0:
            raise SystemExit

    @flow
    def main() -> None:
        for x in range(3):
            work.submit(x).wait()
            until(lambda: len(pool.idle) == 1)

    main()

    assert len(set(seen)) == 1
    assert seen[0].is_alive()


# -- a system that starts no more threads -------------------------------------------------------------------


class Exhausted:
    """A system that starts no more threads of ours, once those that are *left* have been started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.start = threading.Thread.start
        self.left = 0

        def started(thread: threading.Thread) -> None:
            if thread.name.startswith("headrace worker"):
                self.left -= 1
                if self.left < 0:
                    raise RuntimeError("can't start new thread")
            self.start(thread)

        monkeypatch.setattr(threading.Thread, "start", started)


@pytest.mark.parametrize("method", ["submit", "map"])
def test_where_no_thread_can_be_started_it_is_said_and_the_flow_ends(
    form: Form, pool: Pool, monkeypatch: pytest.MonkeyPatch, method: str, record: Record
) -> None:
    system = Exhausted(monkeypatch)
    runner = Watched(limit=2)

    @task
    def work(x: Any) -> None: ...

    async def body() -> str:
        with pytest.raises(RuntimeError, match="can't start new thread"):
            getattr(work, method)([1, 2])
        system.left = 1
        await form.got(work.submit(1))
        return "went on"

    assert form.in_flow(body, task_runner=runner) == "went on"
    assert runner.rests()
    assert [run.state.name for run in record.task_runs()] == ["Completed"]


def test_where_no_more_threads_can_be_started_the_ones_there_are_do_the_work(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, record: Record
) -> None:
    system = Exhausted(monkeypatch)
    system.left = 2
    runner = Watched(limit=8)

    @task
    def leaf(x: int) -> int:
        return x

    @task
    def work(x: int) -> int:
        return sum(leaf.map([x, x]).result()) if x == 3 else x

    @flow(task_runner=runner)
    def main() -> list[int]:
        return work.map(range(20)).result()

    assert main() == [0, 1, 2, 6, *range(4, 20)]
    assert runner.rests()
