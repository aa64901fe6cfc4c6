"""Programs whose ends the tests of exits look at. Each is a function; the first argument names it."""

from __future__ import annotations

import asyncio
import atexit
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from types import FrameType
from typing import Any

from headrace import _office, _runtime, flow, get_run_logger, task
from headrace._hosts import loop, thread
from headrace._stores import sqlite
from headrace.errors import StoreUnavailable


@task
def step(number: int) -> int:
    return number


@task
async def astep(number: int) -> int:
    return number


@flow(name="work")
def work(count: int = 3) -> int:
    return sum(step(number) for number in range(count))


@flow(name="late")
def late() -> int:
    return step(1)


@flow(name="async late")
async def async_late() -> int:
    return await astep(1)


def rest() -> None:
    """Wait a minute, in short turns: a signal that comes just before a wait begins is seen only after it."""
    for _ in range(1_200):
        time.sleep(0.05)


@flow(name="waits")
def waits(clean_up: float = 0) -> None:
    step(1)
    try:
        print("ready")
        rest()
    finally:
        if clean_up:
            print("cleaning")
            time.sleep(clean_up)


@flow(name="waits")
async def async_waits() -> None:
    await astep(1)
    print("ready")
    for _ in range(1_200):
        await asyncio.sleep(0.05)


def returns() -> None:
    print(work())


def exits_within() -> None:
    @flow(name="leaves")
    def leaves() -> None:
        step(1)
        sys.exit(3)

    leaves()


def exits_after() -> None:
    work()
    step(7)
    sys.exit(4)


def raises() -> None:
    @flow(name="breaks")
    def breaks() -> None:
        step(1)
        raise LookupError("nothing there")

    breaks()


def is_ended() -> None:
    waits()
    print("not reached")


def is_ended_async() -> None:
    asyncio.run(async_waits())
    print("not reached")


def cleans_up_long() -> None:
    waits(clean_up=60)


def handles_itself() -> None:
    got: list[int] = []

    def own(number: int, _frame: FrameType | None) -> None:
        got.append(number)

    signal.signal(signal.SIGTERM, own)

    @flow(name="heeds")
    def heeds() -> bool:
        print("ready")
        deadline = time.monotonic() + 30
        while not got and time.monotonic() < deadline:
            time.sleep(0.01)
        return bool(got)

    print("got it:", heeds(), "kept:", signal.getsignal(signal.SIGTERM) is own)


def restores() -> None:
    @flow(name="looks")
    def looks() -> bool:
        return signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    print("default within:", looks(), "after:", signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
    print("ready")
    time.sleep(60)


def sets_one_within() -> None:
    def own(_number: int, _frame: FrameType | None) -> None:
        print("mine")

    @flow(name="sets")
    def sets() -> None:
        signal.signal(signal.SIGTERM, own)

    sets()
    os.kill(os.getpid(), signal.SIGTERM)
    print("kept:", signal.getsignal(signal.SIGTERM) is own)


def cuts() -> None:
    @flow(name="cuts")
    def cut() -> None:
        step(1)
        os._exit(5)

    cut()


def leaves_daemon() -> None:
    threading.Thread(target=waits, daemon=True).start()
    work()


def leaves_thread() -> None:
    @flow(name="slow")
    def slow() -> int:
        time.sleep(0.3)
        return step(1)

    threading.Thread(target=slow).start()


def many_threads() -> None:
    for _ in range(8):
        threading.Thread(target=work, args=(200,)).start()


def at_exit(*whats: str) -> None:
    """Run flows in atexit handlers: `before` and `after` tell on which side of the first flow they are registered."""
    if "before" in whats:
        atexit.register(lambda: print("late", late()))
        atexit.register(lambda: print("async late", asyncio.run(async_late())))
        atexit.register(lambda: print("task", step(5)))
    if "flow" in whats:
        work()
    if "after" in whats:
        atexit.register(lambda: print("late", late()))


def forks() -> None:
    @flow(name="forks")
    def parent() -> None:
        step(0)
        pid = os.fork()
        if pid == 0:
            step(1)
            late()
            sys.exit(0)
        os.waitpid(pid, 0)
        step(2)

    parent()


def pooled_step(number: int) -> int:
    return step(number)


def pooled_flow(count: int) -> int:
    return work(count)


def pools(method: str) -> None:
    """Use a pool of processes within a flow."""

    @flow(name="pools")
    def pooling() -> None:
        step(0)
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
            print(sum(pool.map(pooled_step, range(10))), sum(pool.map(pooled_flow, [3] * 4)))
        step(1)

    pooling()


def processes(method: str) -> None:
    """Use processes after a flow, and outside one."""
    work()
    context: Any = multiprocessing.get_context(method)
    children = [context.Process(target=pooled_flow, args=(3,)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    print([child.exitcode for child in children])


def meets_lock(kind: str) -> None:
    """Run a flow beside a database that others hold; waits shortly, as nobody has a minute."""
    sqlite.PATIENCE = 1.0  # type: ignore[misc]  # pyright: ignore[reportConstantRedefinition]
    _office.CLOSE_WITHIN = 1.0
    for host in (loop, thread):
        vars(host)["ANSWER_WITHIN"] = 3.0
    print("ready")
    if kind == "durable":
        try:
            durable()
        except StoreUnavailable as error:
            print("refused:", error)
    else:
        began = time.monotonic()
        print("value", work(), work())
        print("bounded:", time.monotonic() - began < 10)


@flow(name="durable", durable=True)
def durable() -> None:
    print("BODY")
    step(1)


def blocks() -> None:
    """Be interrupted while the database blocks."""

    @flow(name="blocked")
    def blocked() -> None:
        step(1)
        print("ready")

    blocked()


def ends_async_in_sync() -> None:
    """Run an async flow within a sync one, and wait in there."""
    import headrace

    @flow(name="outer")
    def outer() -> None:
        headrace.run(async_waits())

    outer()


def logs_late() -> None:
    """Say something after the flow has ended, from a thread it left behind."""
    done = threading.Event()

    @flow(name="talks")
    def talks() -> None:
        logger = get_run_logger()

        def later() -> None:
            done.wait(10)
            logger.warning("said late")

        threading.Thread(target=later).start()

    talks()
    done.set()


def starts_no_thread() -> None:
    """Run flows where no thread can be started, as in an interpreter that goes down."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread at interpreter shutdown")

    setattr(threading.Thread, "start", refuse)  # noqa: B010 - what CPython 3.12 does, on every version
    print("sync", work(), "task", step(4))
    print("async", asyncio.run(async_late()))
    office = _runtime.current().office
    print("thread:", office.thread is not None and office.thread.is_alive())


if __name__ == "__main__":
    program: Callable[..., None] = globals()[sys.argv[1]]
    program(*sys.argv[2:])
