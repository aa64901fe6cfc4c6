"""Virtual time holds still while a thread, a process or a socket is at work, and real time-outs still come."""

from __future__ import annotations

import asyncio
import logging
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiosqlite
import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from headrace import flow, task
from headrace.testing import VirtualTime, headrace_test_harness, virtual_time

HOUR = 3600.0
WORK = 0.03  # seconds that the work of these tests takes, for it is real


@pytest.fixture
def clock() -> Iterator[VirtualTime]:
    with headrace_test_harness(), virtual_time() as clock:
        yield clock


def work() -> str:
    time.sleep(WORK)
    return "worked"


class Answering(socketserver.BaseRequestHandler):
    """Answers a line after a while of work."""

    def handle(self) -> None:
        self.request.recv(100)
        time.sleep(WORK)
        self.request.sendall(b"answer\n")


@pytest.fixture
def server() -> Iterator[tuple[str, int]]:
    """A server in a thread, as a test would have one: there before virtual time begins."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answering) as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.01,))
        thread.start()
        host, port = one.server_address[:2]
        yield str(host), int(port)
        one.shutdown()
        thread.join()


def while_an_hour_is_set(clock: VirtualTime, wait: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Any, float]:
    """Await *wait* on a loop that has a timer of an hour set; give its value and the virtual seconds it took."""

    async def main() -> tuple[Any, float]:
        async with asyncio.timeout(HOUR):
            value = await wait()
            return value, clock.elapsed

    return asyncio.run(main())


def test_a_sync_body_on_its_thread_that_sleeps_is_really_waited_for(clock: VirtualTime) -> None:
    began = time.monotonic()

    assert task(timeout_seconds=HOUR)(work)() == "worked"

    assert time.monotonic() - began >= WORK
    assert clock.elapsed == 0


def test_a_timeout_that_comes_by_real_time_comes(clock: VirtualTime) -> None:
    released: list[bool] = []

    def busy() -> None:
        while not released:
            time.sleep(0.001)

    with pytest.raises(TimeoutError, match=r"timeout of 0\.005 s"):
        task(timeout_seconds=0.005)(busy)()

    assert clock.elapsed == 0.005
    released.append(True)


def test_a_timeout_of_a_loop_comes_by_real_time_while_work_goes_on(clock: VirtualTime) -> None:
    async def main() -> None:
        ticks = asyncio.Event()
        loop = asyncio.get_running_loop()

        released: list[bool] = []

        def busy() -> None:
            while not released:
                time.sleep(0.002)
                loop.call_soon_threadsafe(ticks.set)

        async def listening() -> None:
            while True:  # other timers come and go meanwhile
                async with asyncio.timeout(HOUR):
                    await ticks.wait()
                ticks.clear()

        thread = asyncio.ensure_future(asyncio.to_thread(busy))
        try:
            with anyio.move_on_after(WORK) as scope:
                await listening()
            assert scope.cancelled_caught
            assert clock.elapsed == pytest.approx(WORK)
        finally:
            released.append(True)
            await thread

    asyncio.run(main())


THREADS: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
    "asyncio.to_thread": lambda: asyncio.to_thread(work),
    "anyio.to_thread": lambda: anyio.to_thread.run_sync(work),
}


@pytest.mark.parametrize("wait", THREADS.values(), ids=THREADS.keys())
def test_a_worker_thread_holds_the_clock(clock: VirtualTime, wait: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    assert while_an_hour_is_set(clock, wait) == ("worked", 0)


def test_run_in_executor_holds_the_clock(clock: VirtualTime) -> None:
    with ThreadPoolExecutor() as pool:

        async def wait() -> str:
            return await asyncio.get_running_loop().run_in_executor(pool, work)

        assert while_an_hour_is_set(clock, wait) == ("worked", 0)


def test_a_pool_that_was_there_before_holds_the_clock_too() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        with virtual_time() as clock:

            async def wait() -> str:
                return await asyncio.get_running_loop().run_in_executor(pool, work)

            assert while_an_hour_is_set(clock, wait) == ("worked", 0)


def test_idle_workers_do_not_hold_the_clock(clock: VirtualTime) -> None:
    async def main() -> None:
        await asyncio.to_thread(int)
        await anyio.to_thread.run_sync(int)
        await asyncio.sleep(HOUR)

    asyncio.run(main())

    assert clock.elapsed == HOUR


def test_an_open_aiosqlite_connection_does_not_hold_the_clock_and_its_queries_do(clock: VirtualTime) -> None:
    async def wait() -> int:
        async with aiosqlite.connect(":memory:") as connection:
            await asyncio.sleep(HOUR / 2)
            # 60,000 steps of SQLite's own: some 20 ms in C, during which the thread shows no Python frame.
            steps = (
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000) SELECT max(i) FROM n"
            )
            async with connection.execute(steps) as cursor:
                row = await cursor.fetchone()
        return 0 if row is None else int(row[0])

    assert while_an_hour_is_set(clock, wait) == (60_000, HOUR / 2)


def test_calls_from_a_worker_thread_back_into_the_loop_pass_at_once(clock: VirtualTime) -> None:
    def body() -> None:
        anyio.from_thread.run(anyio.sleep, HOUR)

    async def main() -> None:
        await anyio.to_thread.run_sync(body)

    asyncio.run(main())

    assert clock.elapsed == HOUR


def test_a_portal_has_its_loop_on_the_clock(clock: VirtualTime) -> None:
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        portal.call(anyio.sleep, HOUR)

    assert clock.elapsed == HOUR


def test_flows_in_a_pool_of_threads_sleep_together(clock: VirtualTime) -> None:
    def run(delay: float) -> float:
        attempts = iter((OSError(), None))

        @flow(retries=1, retry_delay_seconds=delay)
        def body() -> None:
            failure = next(attempts)
            if failure is not None:
                raise failure

        body()
        return clock.elapsed

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, [100, 200])) == [100, 200]
        assert list(pool.map(run, [50, 70])) == [250, 270]


def test_a_socket_at_work_holds_the_clock(server: tuple[str, int], clock: VirtualTime) -> None:
    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection(*server)
        writer.write(b"question\n")
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return answer

    assert while_an_hour_is_set(clock, ask) == (b"answer\n", 0)


def test_a_sync_body_at_a_socket_holds_the_clock(server: tuple[str, int], clock: VirtualTime) -> None:
    def ask() -> bytes:
        with socket.create_connection(server) as connection:
            connection.sendall(b"question\n")
            return connection.recv(100)

    assert task(timeout_seconds=HOUR)(ask)() == b"answer\n"
    assert clock.elapsed == 0


def test_a_server_on_the_loop_that_nobody_calls_does_not_hold_the_clock(clock: VirtualTime) -> None:
    async def main() -> None:
        async with await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0):
            await asyncio.sleep(HOUR)

    asyncio.run(main())

    assert clock.elapsed == HOUR


COMMAND = (sys.executable, "-S", "-c", "print('ran')")


def test_a_subprocess_of_the_loop_holds_the_clock(clock: VirtualTime) -> None:
    async def run() -> bytes:
        process = await asyncio.create_subprocess_exec(*COMMAND, stdout=subprocess.PIPE)
        return (await process.communicate())[0]

    assert while_an_hour_is_set(clock, run) == (b"ran\n", 0)


def test_a_subprocess_of_a_sync_body_holds_the_clock(clock: VirtualTime) -> None:
    run = task(timeout_seconds=HOUR)(lambda: subprocess.run(COMMAND, capture_output=True, check=True).stdout)

    assert run() == b"ran\n"
    assert clock.elapsed == 0


def test_a_commit_holds_the_clock(clock: VirtualTime) -> None:
    """The loop has nothing but timers while it waits for a commit; none of them may come for that."""

    @flow(durable=True)
    async def main() -> float:
        for _ in range(3):
            await task(name="t")(asyncio.sleep)(1)
        return clock.elapsed

    assert while_an_hour_is_set(clock, main) == (3.0, 3.0)


def test_a_loop_that_nothing_will_wake_is_said_to_stand_still(
    clock: VirtualTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.testing.clock.STILL_AFTER", 0.02)
    said: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        never = loop.create_future()

        class Rescue(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                said.append(record.getMessage())
                loop.call_soon_threadsafe(never.cancel)

        rescue = Rescue()
        logging.getLogger("headrace.testing").addHandler(rescue)
        with pytest.raises(asyncio.CancelledError):
            await never
        logging.getLogger("headrace.testing").removeHandler(rescue)

    asyncio.run(main())

    assert [line.partition(":")[0] for line in said] == ["Virtual time stands still"]
    assert clock.elapsed == 0
