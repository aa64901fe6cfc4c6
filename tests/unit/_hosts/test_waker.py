"""Who wakes the loop for signals while root runs live on it, and what is left of that afterwards."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from headrace import Runtime, flow
from headrace._hosts.waker import NONE, Waker


def wakeup() -> int:
    """Give the file that signals are written to just now; -1 where there is none."""
    found = signal.set_wakeup_fd(NONE)
    signal.set_wakeup_fd(found)
    return found


@flow
async def looked() -> int:
    await asyncio.sleep(0)
    return wakeup()


@flow
async def nested() -> tuple[int, int, int]:
    return wakeup(), await looked(), wakeup()


@pytest.fixture
def pipe() -> Iterator[int]:
    """Give a file that somebody else has signals written to."""
    here, there = socket.socketpair()
    with here, there:
        there.setblocking(False)
        signal.set_wakeup_fd(there.fileno())
        yield there.fileno()
        signal.set_wakeup_fd(NONE)


def test_a_loop_is_woken_while_a_root_run_lives_on_it_and_no_longer() -> None:
    assert asyncio.run(looked()) != NONE
    assert wakeup() == NONE


def test_it_is_woken_until_the_last_has_ended() -> None:
    before, within, after = asyncio.run(nested())

    assert before == within == after != NONE
    assert wakeup() == NONE


def test_it_is_woken_while_a_runtime_is_open_whose_runs_may_live_elsewhere() -> None:
    async def program() -> tuple[int, int]:
        async with Runtime():
            await looked()
            held = wakeup()
        return held, wakeup()

    held, after = asyncio.run(program())
    assert held != NONE == after


def test_a_loop_amid_a_blocking_flow_is_woken_for_runs_of_its_own_and_the_flow_keeps_its_signal() -> None:
    seen: list[object] = []

    async def program() -> int:
        return await looked()

    @flow
    def outer() -> int:
        woken = contextvars.Context().run(asyncio.run, program())
        seen.append(signal.getsignal(signal.SIGTERM))
        return woken

    assert outer() != NONE
    assert seen != [signal.SIG_DFL]
    assert wakeup() == NONE
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_somebody_has_asked_for_before_is_left_alone(pipe: int) -> None:
    assert asyncio.run(looked()) == pipe
    assert wakeup() == pipe


def test_what_somebody_asks_for_meanwhile_is_left_alone() -> None:
    @flow
    async def asks() -> None:
        heard = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, heard.set)
        os.kill(os.getpid(), signal.SIGUSR1)
        await heard.wait()

    async def program() -> int:
        await asks()
        return wakeup()

    assert asyncio.run(program()) != NONE
    assert wakeup() == NONE, "asyncio has taken back its own"


def test_a_loop_that_was_closed_over_its_runs_leaves_no_way_into_a_file_of_another() -> None:
    waker = Waker()
    loop = asyncio.new_event_loop()
    waker.watch(loop)
    loop.close()
    with open(os.devnull, "rb") as other:
        assert waker.pipe != other.fileno(), "it is ours until we close it"

    waker.rest()
    assert wakeup() == NONE


def test_a_forked_child_does_not_wake_the_loop_of_its_parent() -> None:
    @flow
    async def forks() -> int:
        child = os.fork()
        if not child:
            os._exit(0 if wakeup() == NONE else 1)
        await asyncio.sleep(0)
        return os.waitpid(child, 0)[1]  # noqa: ASYNC222 - it ends at once

    assert asyncio.run(forks()) == 0


def test_no_file_is_left_open() -> None:
    asyncio.run(looked())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        asyncio.run(looked())

    assert len(os.listdir("/proc/self/fd")) == before
