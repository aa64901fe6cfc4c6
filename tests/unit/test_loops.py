"""Loops of our own: work is completed on them wherever it is asked for, also amid another loop's."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from headrace._loops import OwnLoop, completed


async def waits(value: int) -> int:
    """Give *value* after a turn of the loop."""
    await asyncio.sleep(0)
    return value


async def fails() -> None:
    """Raise after a turn of the loop."""
    await asyncio.sleep(0)
    raise ValueError("no")


def test_work_is_completed_where_no_loop_runs() -> None:
    assert completed(waits(1)) == 1
    with pytest.raises(ValueError, match="no"):
        completed(fails())


async def test_work_is_completed_amid_a_loop_which_then_goes_on() -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    assert completed(waits(1)) == 1
    with pytest.raises(ValueError, match="no"):
        completed(fails())

    assert (asyncio.get_running_loop(), asyncio.current_task()) == (loop, task)
    assert await asyncio.wait_for(waits(2), 10) == 2


async def test_work_within_work_is_completed_too() -> None:
    async def outer() -> int:
        return completed(waits(1)) + await waits(1)

    assert completed(outer()) == 2


def test_work_is_completed_in_a_callback_of_a_loop() -> None:
    came: list[int] = []
    loop = asyncio.SelectorEventLoop()
    loop.call_soon(lambda: came.append(completed(waits(1))))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()

    assert came == [1]


def test_hosts_are_looked_up_without_another_thread() -> None:
    loop = OwnLoop()
    before = threading.active_count()

    found = loop.run_until_complete(loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM))

    assert {address[0] for *_, address in found} <= {"127.0.0.1", "::1"}
    assert threading.active_count() == before
    loop.close()
