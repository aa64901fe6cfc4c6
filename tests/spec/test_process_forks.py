"""A fork of a process that has workers lets go of them all, whatever the other threads were at when it was made."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.spec import bodies
from tests.spec.processing import in_processes, kept, until, workers


@pytest.fixture(scope="module", autouse=True)
def some_workers() -> Iterator[None]:
    with kept():
        yield


def known_to_a_fork() -> int:
    """Fork; give how many workers the fork has."""
    pid = os.fork()
    if not pid:
        os._exit(len(workers()))
    ended: list[int] = []

    def over() -> bool:
        found, status = os.waitpid(pid, os.WNOHANG)
        ended.extend([os.waitstatus_to_exitcode(status)] if found else [])
        return bool(found)

    try:
        until(over)
    finally:
        if not ended:
            os.kill(pid, signal.SIGKILL)
    return ended[0]


def test_a_fork_leaves_its_parents_workers_alone() -> None:
    def act() -> tuple[int, int, int]:
        return bodies.where.submit().result()[0], known_to_a_fork(), bodies.where.submit().result()[0]

    before, left, after = in_processes(act)
    assert left == 0
    assert {before, after} <= {worker.pid for worker in workers()}


def test_a_fork_does_not_wait_for_who_was_just_speaking_to_a_worker() -> None:
    def act() -> int:
        bodies.where.submit().result()
        (worker, *_) = workers()
        with worker.line.guard:  # as the thread that hands a call over still may when the body is at work
            return known_to_a_fork()

    assert in_processes(act) == 0


def test_a_fork_closes_nothing_of_a_worker_that_is_just_being_buried() -> None:
    def act() -> int:
        bodies.where.submit().result()
        (worker, *_) = workers()
        worker.bury()
        return known_to_a_fork()

    assert in_processes(act) == 0
    assert in_processes(lambda: bodies.square.submit(3).result()) == 9
