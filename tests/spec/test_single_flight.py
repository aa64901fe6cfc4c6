"""Single flight: of those who want the same result at once, one computes it, in a process and between processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import flow, task
from headrace._owners import owner
from headrace._runtime import Runtime
from headrace.cache_policies import INPUTS, IsolationLevel
from headrace.errors import RunningLoopError
from tests.chaos.processes import database, until
from tests.spec.cancelling import happens
from tests.spec.forms import Form, Latch, call
from tests.spec.keeping import STORES, runtime_at, runtime_on

SERIAL = INPUTS.configure(isolation_level=IsolationLevel.SERIALIZABLE)


@pytest.fixture(params=STORES)
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    with runtime_on(request.param, tmp_path, request) as made:
        yield made


@pytest.fixture(params=[INPUTS, SERIAL], ids=["read committed", "serializable"])
def policy(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.usefixtures("runtime")
class TestInOneProcess:
    def test_one_computes_and_the_others_get_what_it_computed(self, form: Form, policy: Any) -> None:
        begun, let = Latch(), Latch()
        calls: list[int] = []

        @task(cache_policy=policy)
        def slow(x: int) -> list[int]:
            calls.append(x)
            begun.open()
            assert let.event.wait(20)
            return [x]

        async def body() -> Any:
            first = slow.submit(1)
            await begun.passed()
            others = [slow.submit(1) for _ in range(20)]
            let.open()
            return await form.got(first), [await form.got(one) for one in others]

        if form.is_async:
            assert form.in_flow(body) == ([1], [[1]] * 20)
        else:

            @flow
            def main() -> Any:
                first = slow.submit(1)
                assert begun.event.wait(20)
                others = [slow.submit(1) for _ in range(20)]
                let.open()
                return first.result(), [one.result() for one in others]

            assert main() == ([1], [[1]] * 20)
        assert calls == [1]

    def test_direct_calls_on_one_loop_share_it(self, policy: Any) -> None:
        calls: list[int] = []

        @task(cache_policy=policy)
        async def slow(x: int) -> int:
            calls.append(x)
            for _ in range(3):
                await asyncio.sleep(0)
            return x

        @flow
        async def main() -> list[int]:
            return await asyncio.gather(*[slow(x % 3) for x in range(30)])

        assert headrace.run(main()) == [x % 3 for x in range(30)]
        assert sorted(calls) == [0, 1, 2]

    def test_a_failure_is_not_shared_and_the_next_takes_over(self, policy: Any) -> None:
        calls: list[int] = []

        @task(cache_policy=policy)
        async def unlucky(x: int) -> int:
            calls.append(x)
            await asyncio.sleep(0)
            if len(calls) == 1:
                raise ConnectionError("not now")
            return x

        @flow
        async def main() -> list[Any]:
            return await asyncio.gather(*[unlucky(7) for _ in range(5)], return_exceptions=True)

        # Which of them comes first to compute it, the store decides.
        came = headrace.run(main())
        assert sorted([type(one).__name__ for one in came]) == ["ConnectionError", "int", "int", "int", "int"]
        assert len(calls) == 2

    def test_who_is_cancelled_leaves_it_to_the_next(self, policy: Any) -> None:
        calls: list[int] = []

        @task(cache_policy=policy)
        async def slow(x: int) -> int:
            calls.append(x)
            if len(calls) == 1:
                await asyncio.get_running_loop().create_future()
            return x

        @flow
        async def main() -> int:
            first = asyncio.ensure_future(slow(1))
            await happens(lambda: calls, within=1_000_000)  # a server is asked before, in turns of its own
            second = asyncio.ensure_future(slow(1))
            await asyncio.sleep(0)
            first.cancel()
            return await second

        assert headrace.run(main()) == 1
        assert len(calls) == 2

    def test_a_task_that_calls_itself_with_equal_arguments_does_not_wait_for_itself(
        self, form: Form, policy: Any
    ) -> None:
        depth: list[int] = []

        @form.task(cache_policy=policy)
        async def again(x: int) -> int:
            depth.append(x)
            return x if len(depth) == 3 else await call(again, x)

        assert form.run(again, 1) == 1
        assert len(depth) == 3

    def test_recursion_over_smaller_problems_computes_each_once(self, policy: Any) -> None:
        calls: list[int] = []

        @task(cache_policy=policy)
        async def fibonacci(n: int) -> int:
            calls.append(n)
            if n < 2:
                return n
            return sum(await asyncio.gather(fibonacci(n - 1), fibonacci(n - 2)))

        assert headrace.run(fibonacci(20)) == 6_765
        assert sorted(calls) == list(range(21))

    def test_a_sync_call_on_a_loop_computes_by_itself_rather_than_block_it(self) -> None:
        calls: list[int] = []
        begun, let = threading.Event(), threading.Event()

        @task(cache_policy=INPUTS)
        def step(x: int) -> int:
            calls.append(x)
            if threading.current_thread() is not threading.main_thread():
                begun.set()
                assert let.wait(20)
            return x

        @flow
        async def main() -> int:
            future = step.submit(1)
            await asyncio.to_thread(begun.wait, 20)
            value = step(1)
            let.set()
            return value + await future

        assert headrace.run(main()) == 2
        assert calls == [1, 1]

    def test_a_serializable_sync_call_on_a_loop_is_refused(self) -> None:
        begun, let = threading.Event(), threading.Event()

        @task(cache_policy=SERIAL)
        def step(x: int) -> int:
            begun.set()
            assert let.wait(20)
            return x

        @flow
        async def main() -> None:
            future = step.submit(1)
            await asyncio.to_thread(begun.wait, 20)
            try:
                with pytest.raises(RunningLoopError, match="which waits for who computes the same"):
                    step(1)
            finally:
                let.set()
            await future

        headrace.run(main())


# -- between processes ------------------------------------------------------------------------------------------

COMPUTES = """
import os, pathlib, sys, time
from headrace import task
from headrace.cache_policies import INPUTS

@task(cache_policy=INPUTS.configure(isolation_level="SERIALIZABLE"))
def slow(x):
    with open(os.environ["LEDGER"], "a") as file:
        file.write(f"{os.getpid()}\\n")
    while not os.path.exists(os.environ["LET"]):
        time.sleep(0.01)
    return x

if __name__ == "__main__":
    print(slow(7))
"""


class Processes:
    """Processes that want the same result of one SQLite file, and tell in a ledger who computes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = folder / "ledger"
        self.let = folder / "let"
        self.program = folder / "program.py"
        self.program.write_text(COMPUTES)
        self.ledger.touch()

    def start(self) -> subprocess.Popen[str]:
        """Start one."""
        environment = {
            **os.environ,
            "HEADRACE_HOME": str(self.folder / "home"),
            "LEDGER": str(self.ledger),
            "LET": str(self.let),
        }
        return subprocess.Popen(
            [sys.executable, str(self.program)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def computing(self) -> list[int]:
        """List the numbers of the processes that began to compute."""
        return [int(line) for line in self.ledger.read_text().splitlines()]

    def leases(self) -> list[tuple[str, str]]:
        """List who holds what."""
        with database(self.folder / "home" / "headrace.db") as connection:
            return connection.execute("SELECT name, owner FROM lease").fetchall()


def test_processes_on_one_file_compute_once(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    running = [processes.start() for _ in range(4)]
    until(processes.computing)
    processes.let.touch()

    assert [process.communicate()[0] for process in running] == ["7\n"] * 4
    assert len(processes.computing()) == 1
    assert processes.leases() == []  # nothing is left behind


def test_the_next_takes_over_from_one_that_was_killed(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    first = processes.start()
    until(processes.computing)
    second = processes.start()
    until(lambda: processes.leases())

    first.send_signal(signal.SIGKILL)
    first.communicate()
    until(lambda: len(processes.computing()) == 2)
    processes.let.touch()

    out, err = second.communicate()
    assert (out, "Traceback" in err) == ("7\n", False)
    assert processes.computing() == [first.pid, second.pid]
    assert processes.leases() == []


def test_one_that_stands_still_loses_its_lease_when_it_has_expired(tmp_path: Path) -> None:
    """Its process lives, so only time can tell; the clock that counts is in the row."""
    processes = Processes(tmp_path)
    first = processes.start()
    until(processes.computing)
    first.send_signal(signal.SIGSTOP)
    try:
        with database(tmp_path / "home" / "headrace.db") as connection:
            connection.execute("UPDATE lease SET expires = 0")
        second = processes.start()
        until(lambda: len(processes.computing()) == 2)
        processes.let.touch()
        assert second.communicate()[0] == "7\n"
    finally:
        first.send_signal(signal.SIGCONT)
    assert first.communicate()[0] == "7\n"
    assert processes.computing() == [first.pid, second.pid]


def test_a_lease_names_host_process_start_and_boot() -> None:
    host, pid, start, boot = owner().rsplit(":", 3)

    assert (bool(host), pid) == (True, str(os.getpid()))
    assert start.isdigit()
    assert boot


# -- lock managers of the user's own ------------------------------------------------------------------------------


def test_a_lock_manager_of_ones_own_is_asked_in_place_of_leases(form: Form, tmp_path: Path) -> None:
    story: list[tuple[str, str]] = []

    class Locks:
        def acquire_lock(self, key: str, holder: str, _acquire_timeout: float) -> bool:
            story.append(("acquire", key))
            return bool(holder)

        def release_lock(self, key: str, holder: str) -> None:
            story.append(("release", key))
            assert holder

    policy = INPUTS.configure(isolation_level="SERIALIZABLE", lock_manager=Locks())

    @form.task(cache_policy=policy)
    async def step(x: int) -> int:
        return x

    with runtime_at(tmp_path):
        assert [form.run(step, 1), form.run(step, 1)] == [1, 1]

    (acquired, key), (released, same) = story
    assert (acquired, released, key) == ("acquire", "release", same)
