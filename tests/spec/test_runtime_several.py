"""Several `headrace.Runtime`s in one process: nested, on loops of their own, in threads; and forks within one."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace import Runtime, _runtime, flow, task
from tests.chaos.processes import WITHIN, database, until
from tests.spec.forms import Record
from tests.spec.streaming import double, triple


@flow
async def here(name: str) -> str:
    return name


@flow
def there(name: str) -> str:
    return name


def recorded(path: Path) -> list[str]:
    """Give the first parameter of each flow run in the database *path*."""
    with database(path) as connection:
        return sorted(row[0] for row in connection.execute("SELECT json_extract(parameters, '$.name') FROM flow_run"))


def url(path: Path) -> str:
    """Give the URL of the database *path*."""
    return f"sqlite:///{path}"


async def test_nested_on_one_loop_the_innermost_around_the_code_is_used(record: Record, tmp_path: Path) -> None:
    outer, inner = tmp_path / "outer.db", tmp_path / "inner.db"

    async with Runtime(database_url=url(outer)) as outside:
        _ = here.submit("1 outer")
        async with Runtime(database_url=url(inner)) as inside:
            _ = here.submit("2 inner")
            _ = there.submit("3 inner")
            await here("4 inner")
            _ = outside.submit(here, "5 outer")
            _ = outside.submit(there, "6 outer")
            _ = inside.submit(here, "7 inner")
        _ = there.submit("8 outer")
    await here("9 elsewhere")

    assert recorded(outer) == ["1 outer", "5 outer", "6 outer", "8 outer"]
    assert recorded(inner) == ["2 inner", "3 inner", "4 inner", "7 inner"]
    assert [run.parameters["name"] for run in record.flow_runs()] == ["9 elsewhere"]


async def test_code_that_stands_in_no_block_uses_the_one_opened_last_on_its_loop(tmp_path: Path) -> None:
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    requests: asyncio.Queue[str | None] = asyncio.Queue()

    async def handle() -> None:
        while (name := await requests.get()) is not None:
            await asyncio.wait([await_all(here.submit(name), there.submit(name))])
            requests.task_done()

    def await_all(*futures: Any) -> asyncio.Task[Any]:
        async def wait() -> None:
            for future in futures:
                await future

        return asyncio.create_task(wait())

    handler = asyncio.create_task(handle())
    async with Runtime(database_url=url(first)):
        requests.put_nowait("1 first")
        await requests.join()
        async with Runtime(database_url=url(second)):
            requests.put_nowait("2 second")
            await requests.join()
        requests.put_nowait("3 first")
        await requests.join()
    requests.put_nowait(None)
    await handler

    assert recorded(first) == ["1 first", "1 first", "3 first", "3 first"]
    assert recorded(second) == ["2 second", "2 second"]


def test_two_loops_in_two_threads_keep_theirs_apart(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=WITHIN)
    paths = [tmp_path / "0.db", tmp_path / "1.db"]
    problems = list[BaseException]()

    async def handle(name: str) -> None:
        """As a request is handled: in a task that does not descend from the block."""
        assert await here.submit(name) == name
        assert await there.submit(name) == name
        await here(name)

    async def serve(number: int) -> None:
        handling = asyncio.Event()
        asked = asyncio.Event()

        async def listen() -> None:
            handling.set()
            await asked.wait()
            for _ in range(20):
                await handle(f"of {number}")

        listener = asyncio.create_task(listen())
        await handling.wait()
        async with Runtime(database_url=url(paths[number])):
            await asyncio.to_thread(both.wait)
            asked.set()
            await listener
            await asyncio.to_thread(both.wait)

    def run(number: int) -> None:
        try:
            asyncio.run(serve(number))
        except BaseException as error:
            problems.append(error)
            both.abort()

    threads = [threading.Thread(target=run, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WITHIN)

    assert problems == []
    assert [recorded(path) for path in paths] == [["of 0"] * 60, ["of 1"] * 60]


def test_one_in_blocking_code_and_one_on_a_loop(tmp_path: Path) -> None:
    blocking, looping = tmp_path / "blocking.db", tmp_path / "looping.db"

    async def main() -> None:
        async with Runtime(database_url=url(looping)):
            assert await here.submit("on the loop") == "on the loop"
            assert await there.submit("from the loop") == "from the loop"

    with Runtime(database_url=url(blocking)):
        assert here.submit("before").result() == "before"
        asyncio.run(main())
        assert there.submit("after").result() == "after"

    assert recorded(blocking) == ["after", "before"]
    assert recorded(looping) == ["from the loop", "on the loop"]


async def test_each_drains_its_own(record: Record) -> None:
    held = asyncio.Event()

    @flow
    async def wait() -> str:
        await held.wait()
        return "done"

    async with Runtime() as outer:
        future = outer.submit(wait)
        async with Runtime() as inner:
            assert await inner.submit(double, 1) == 2
        assert not future.done()
        held.set()

    assert future.result() == "done"


async def test_left_in_the_order_in_which_they_were_opened_the_later_goes_on() -> None:
    first, second = Runtime(), Runtime()
    await first.__aenter__()
    await second.__aenter__()
    await first.__aexit__(None, None, None)

    assert await double.submit(2) == 4
    assert await second.submit(triple, 2) == 6
    await second.__aexit__(None, None, None)


# -- forks --------------------------------------------------------------------------------------------------

HOSTILE = pytest.mark.filterwarnings("ignore:This process.*multi-threaded:DeprecationWarning")


def in_child(work: Callable[[], object]) -> int:
    """Do *work* in a forked child; give its exit status."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        status = 70
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    ended: list[int] = []

    def over() -> bool:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended.append(os.waitstatus_to_exitcode(status))
        return bool(found)

    until(over, WITHIN)
    return ended[0]


@HOSTILE
def test_a_forked_child_works_and_its_parent_does_not_notice(tmp_path: Path) -> None:
    own = tmp_path / "own.db"

    def work() -> None:
        assert here.submit("child 1").result() == "child 1"
        assert there.submit("child 2").result() == "child 2"
        assert opened.submit(there, "child 3").result() == "child 3"
        assert opened.map(there, ["child 4", "child 5"]).result() == ["child 4", "child 5"]
        assert there("child 6") == "child 6"
        for one in _runtime.in_use():
            one.close()

    with Runtime(database_url=url(own)) as opened:
        assert here.submit("parent 1").result() == "parent 1"
        assert there.submit("parent 2").result() == "parent 2"
        assert in_child(work) == 0
        assert here.submit("parent 3").result() == "parent 3"
        assert there.submit("parent 4").result() == "parent 4"

    assert recorded(own) == [f"child {n}" for n in range(1, 7)] + [f"parent {n}" for n in range(1, 5)]


@HOSTILE
async def test_a_child_forked_on_the_loop_works_too(tmp_path: Path) -> None:
    own = tmp_path / "own.db"
    held, begun = asyncio.Event(), asyncio.Event()

    @flow
    async def wait(name: str) -> str:
        begun.set()
        await held.wait()
        return name

    def work() -> None:
        assert here.submit("child 1").result() == "child 1"
        assert opened.submit(there, "child 2").result() == "child 2"
        for one in _runtime.in_use():
            one.close()

    async with Runtime(database_url=url(own)) as opened:
        future = opened.submit(wait, "parent 1")
        await begun.wait()
        assert in_child(work) == 0
        held.set()
        assert await opened.submit(there, "parent 2") == "parent 2"

    assert future.result() == "parent 1"
    assert recorded(own) == ["child 1", "child 2", "parent 1", "parent 2"]


@HOSTILE
def test_children_forked_while_threads_submit_never_hang(caplog: pytest.LogCaptureFixture) -> None:
    """A lock that another thread held at the fork would stay taken in the child."""
    caplog.set_level(logging.CRITICAL, "headrace")  # as would the lock of a file that lines are written to
    stop = threading.Event()

    @task
    def small(x: int) -> int:
        return x

    def busy() -> None:
        while not stop.is_set():
            assert opened.submit(small, 1).result(timeout=WITHIN) == 1

    def work() -> None:
        for x in range(5):
            assert opened.submit(small, x).result(timeout=WITHIN) == x

    with Runtime(durability="off") as opened:
        threads = [threading.Thread(target=busy) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            assert [in_child(work) for _ in range(15)] == [0] * 15
        finally:
            stop.set()
            for thread in threads:
                thread.join(WITHIN)
