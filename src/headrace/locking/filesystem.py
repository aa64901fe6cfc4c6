"""Locks in a folder, by key and holder: the operating system's own, which end with the process that holds them."""

from __future__ import annotations

import contextlib
import math
import os
import random
import threading
import time
import weakref
from hashlib import blake2b
from pathlib import Path

from headrace.errors import TransactionError

__all__ = ["FileSystemLockManager"]

PAUSE = 0.05  # seconds between two tries, at most

_all: weakref.WeakSet[FileSystemLockManager] = weakref.WeakSet()


class FileSystemLockManager:
    """
    Locks that all processes on one machine see which name the same folder. Not for folders on a network.

    Args:
        lock_files_directory: The folder; made where it is missing. A file in it is no lock by itself.

    Raises:
        TransactionError: The operating system has no flock.
    """

    def __init__(self, lock_files_directory: str | os.PathLike[str]) -> None:
        try:
            import fcntl  # noqa: PLC0415 - not on Windows
        except ImportError:
            raise TransactionError(
                "FileSystemLockManager needs flock, which this operating system does not have. Leave the lock_manager "
                "out: leases in the database do the same."
            ) from None
        self.flock = fcntl.flock
        self.exclusive = fcntl.LOCK_EX | fcntl.LOCK_NB
        self.folder = Path(lock_files_directory)
        self.guard = threading.Lock()
        self.held: dict[str, tuple[str, int, float]] = {}
        if hasattr(os, "register_at_fork"):
            _all.add(self)

    def forget(self) -> None:
        """Hold nothing, in a forked child: the locks are its parent's, and stay so."""
        self.guard = threading.Lock()
        for _, descriptor, _ in self.held.values():
            os.close(descriptor)
        self.held.clear()

    def path(self, key: str) -> Path:
        """Give the file of the lock *key*."""
        return self.folder / f"{blake2b(key.encode(errors='replace'), digest_size=16).hexdigest()}.lock"

    def acquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """
        Block until *holder* has the lock *key*, which it may have already; tell whether it does.

        Args:
            acquire_timeout: Seconds to wait at most; None waits as long as it takes.
            hold_timeout: Seconds after which others in this process may take it; None for never.
        """
        end = math.inf if acquire_timeout is None else time.monotonic() + acquire_timeout
        until = math.inf if hold_timeout is None else time.monotonic() + hold_timeout
        while True:
            with self.guard:
                self.lapse(key)
                known = self.held.get(key)
                if known is not None and known[0] == holder:
                    return True
                taken = None if known is not None else self.taken(key)
                if taken is not None:
                    self.held[key] = (holder, taken, until)
                    return True
            if time.monotonic() >= end:
                return False
            time.sleep(PAUSE * random.random())

    def taken(self, key: str) -> int | None:
        """Take the lock of the file, if nobody has it; give its descriptor."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.path(key)
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            self.flock(descriptor, self.exclusive)
            there = os.stat(path)
            mine = os.fstat(descriptor)
        except OSError:  # another has it, or has just removed the file
            os.close(descriptor)
            return None
        if (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino):
            os.close(descriptor)
            return None
        return descriptor

    def lapse(self, key: str) -> None:
        """Give up the lock *key* where it has been held for too long."""
        known = self.held.get(key)
        if known is not None and time.monotonic() > known[2]:
            self.give_up(key, known[1])

    def give_up(self, key: str, descriptor: int) -> None:
        """Remove the file, then let go of it: who opened it before sees that it is another one by now."""
        del self.held[key]
        with contextlib.suppress(OSError):
            os.unlink(self.path(key))
        os.close(descriptor)

    def release_lock(self, key: str, holder: str) -> None:
        """
        Give the lock *key* back.

        Raises:
            TransactionError: *holder* does not have it.
        """
        with self.guard:
            known = self.held.get(key)
            if known is None or known[0] != holder:
                raise TransactionError(f"{holder!r} does not hold the lock {key!r}. Acquire it before you release it.")
            self.give_up(key, known[1])

    def is_locked(self, key: str) -> bool:
        """Tell whether anybody has the lock *key*, here or in another process."""
        with self.guard:
            self.lapse(key)
            if key in self.held:
                return True
            if not self.path(key).exists():
                return False
            descriptor = self.taken(key)
            if descriptor is None:
                return True
            os.close(descriptor)
            return False

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Tell whether *holder*, in this process, has the lock *key*."""
        with self.guard:
            self.lapse(key)
            known = self.held.get(key)
            return known is not None and known[0] == holder

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Block until nobody has the lock *key*, or for *timeout* seconds; tell whether it is free."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        while self.is_locked(key):
            if time.monotonic() >= end:
                return False
            time.sleep(PAUSE * random.random())
        return True


def _in_child() -> None:
    """Have the managers of a forked child hold nothing."""
    for one in list(_all):
        one.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
