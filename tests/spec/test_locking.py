"""Lock managers: one holder at a time, in a process and between processes, for as long as its process lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace import task
from headrace.cache_policies import INPUTS
from headrace.errors import TransactionError
from headrace.locking.filesystem import FileSystemLockManager
from headrace.locking.memory import MemoryLockManager
from tests.spec.keeping import runtime_at

Make = Callable[[], Any]


@pytest.fixture(params=["memory", "filesystem"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Give what makes a lock manager, each time another one for the same locks."""
    return MemoryLockManager if request.param == "memory" else lambda: FileSystemLockManager(tmp_path / "locks")


def test_a_lock_has_one_holder_until_it_is_released(make: Make) -> None:
    locks, others = make(), make()

    assert locks.acquire_lock("k", "me")
    assert locks.acquire_lock("k", "me")  # again: it is mine
    assert not others.acquire_lock("k", "you", acquire_timeout=0)
    assert (locks.is_locked("k"), others.is_locked("k"), locks.is_lock_holder("k", "me")) == (True, True, True)
    assert not others.wait_for_lock("k", timeout=0)

    locks.release_lock("k", "me")
    assert others.wait_for_lock("k", timeout=10)
    assert others.acquire_lock("k", "you", acquire_timeout=10)
    assert not locks.is_lock_holder("k", "me")
    others.release_lock("k", "you")
    assert not locks.is_locked("k")


def test_who_waits_has_it_next(make: Make) -> None:
    locks = make()
    got: list[bool] = []
    locks.acquire_lock("k", "me")
    waiting = threading.Thread(target=lambda: got.append(locks.acquire_lock("k", "you")))
    waiting.start()

    locks.release_lock("k", "me")
    waiting.join(20)

    assert got == [True]
    locks.release_lock("k", "you")


def test_what_is_not_held_cannot_be_released(make: Make) -> None:
    locks = make()
    with pytest.raises(TransactionError, match="'me' does not hold the lock 'k'"):
        locks.release_lock("k", "me")


def test_one_held_for_too_long_is_free(make: Make) -> None:
    locks = make()
    locks.acquire_lock("k", "me", hold_timeout=0.0)

    assert locks.acquire_lock("k", "you", acquire_timeout=20)
    locks.release_lock("k", "you")


def test_locks_in_memory_are_the_same_for_all() -> None:
    assert MemoryLockManager() is MemoryLockManager()


def test_no_file_is_left_behind(tmp_path: Path) -> None:
    locks = FileSystemLockManager(tmp_path)
    locks.acquire_lock("a/../b", "me")
    assert len(list(tmp_path.iterdir())) == 1
    locks.release_lock("a/../b", "me")

    assert list(tmp_path.iterdir()) == []


def test_a_lock_ends_with_the_process_that_holds_it(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from headrace.locking.filesystem import FileSystemLockManager\n"
        "FileSystemLockManager(sys.argv[1]).acquire_lock('k', 'it')\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    holds = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holds.stdout is not None
    assert holds.stdout.readline() == "held\n"
    locks = FileSystemLockManager(tmp_path)
    assert locks.is_locked("k")
    assert not locks.acquire_lock("k", "me", acquire_timeout=0)

    os.kill(holds.pid, signal.SIGKILL)
    holds.communicate()

    assert locks.acquire_lock("k", "me", acquire_timeout=20)
    locks.release_lock("k", "me")


def test_a_cache_policy_takes_either(make: Make, tmp_path: Path) -> None:
    policy = INPUTS.configure(isolation_level="SERIALIZABLE", lock_manager=make())
    calls: list[int] = []

    @task(cache_policy=policy)
    def step(x: int) -> int:
        calls.append(x)
        return x

    with runtime_at(tmp_path / "home"):
        assert [step(1), step(1), step(2)] == [1, 1, 2]
    assert calls == [1, 2]
