"""Programs that use worker processes, for tests that end them in all ways. The first argument names one."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from headrace import flow, task
from headrace._hosts import children
from headrace.task_runners import ProcessPoolTaskRunner
from tests.spec.bodies import hold, note


@task
def compute(ledger: str) -> None:
    try:
        note(ledger, f"worker {os.getpid()}")
        while True:
            sum(range(1_000))
    finally:
        note(ledger, f"cleaned {os.getpid()}")


@task
def hold_the_lock(ledger: str) -> None:
    hold(ledger, f"worker {os.getpid()}")


@task
def square(number: int) -> int:
    return number * number


@flow(name="computes", task_runner=ProcessPoolTaskRunner(max_workers=2))
def computes(ledger: str) -> None:
    futures = [compute.submit(ledger) for _ in range(2)]
    [future.wait() for future in futures]


@flow(name="holds", task_runner=ProcessPoolTaskRunner(max_workers=2))
def holds(ledger: str) -> None:
    futures = [hold_the_lock.submit(ledger) for _ in range(2)]
    [future.wait() for future in futures]


@flow(name="forks", task_runner=ProcessPoolTaskRunner(max_workers=2))
def forks(ledger: str) -> None:
    futures = [compute.submit(ledger) for _ in range(2)]
    while len(Path(ledger).read_text(encoding="utf-8").splitlines() if Path(ledger).exists() else []) < 2:
        time.sleep(0.002)
    live_on(ledger)
    [future.wait() for future in futures]


@flow(name="forks early", task_runner=ProcessPoolTaskRunner(max_workers=2))
def forks_early(ledger: str) -> None:
    """Fork while the first worker is being started, and known to nobody yet."""
    begun, forked = threading.Event(), threading.Event()
    opened = children.opened

    def opened_late(pid: int) -> int | None:
        begun.set()
        forked.wait(0.2)  # in vain, where the fork waits for this
        return opened(pid)

    children.opened = opened_late
    futures = [compute.submit(ledger) for _ in range(2)]
    begun.wait()
    live_on(ledger)
    forked.set()
    [future.wait() for future in futures]


def live_on(ledger: str) -> None:
    """Have a fork that does nothing."""
    fork = os.fork()
    if not fork:
        time.sleep(100)
        os._exit(0)
    note(ledger, f"fork {fork}")


@flow(name="leaves", task_runner=ProcessPoolTaskRunner(max_workers=2))
def leaves(ledger: str) -> None:
    future = compute.submit(ledger)
    while not Path(ledger).exists() and not future.wait(0.002):
        continue
    os._exit(7)


@flow(name="short", task_runner=ProcessPoolTaskRunner(max_workers=2))
def short(ledger: str) -> list[int]:
    for worker in {where.submit().result() for _ in range(3)}:
        note(ledger, f"worker {worker}")
    return [square.submit(number).result() for number in range(3)]


@task
def where() -> int:
    return os.getpid()


def ends(ledger: str) -> None:
    print(short(ledger))


PROGRAMS: dict[str, Callable[[str], object]] = {
    "computes": computes,
    "holds": holds,
    "forks": forks,
    "forks early": forks_early,
    "leaves": leaves,
    "ends": ends,
}

if __name__ == "__main__":
    os.setpgid(0, 0)  # as a shell does with what it starts, so that Ctrl-C can be sent to all of it
    PROGRAMS[sys.argv[1]](sys.argv[2])
