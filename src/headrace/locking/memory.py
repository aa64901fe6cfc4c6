"""Locks within this process, by key and holder."""

from __future__ import annotations

import math
import threading
import time

from headrace.errors import TransactionError

__all__ = ["MemoryLockManager"]


class MemoryLockManager:
    """Locks that every thread of this process sees; one for the whole process, however often it is made."""

    _one: MemoryLockManager | None = None
    _making = threading.Lock()

    def __new__(cls) -> MemoryLockManager:
        with cls._making:
            if cls._one is None:
                cls._one = super().__new__(cls)
                cls._one.changed = threading.Condition()
                cls._one.held = {}
            return cls._one

    changed: threading.Condition
    held: dict[str, tuple[str, float | None]]

    def acquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """
        Block until *holder* has the lock *key*, which it may have already; tell whether it does.

        Args:
            acquire_timeout: Seconds to wait at most; None waits as long as it takes.
            hold_timeout: Seconds after which others may take it; None for never.
        """
        with self.changed:
            free = self.awaited(key, holder, acquire_timeout)
            if free:
                self.held[key] = (holder, None if hold_timeout is None else time.monotonic() + hold_timeout)
            return free

    def release_lock(self, key: str, holder: str) -> None:
        """
        Give the lock *key* back.

        Raises:
            TransactionError: *holder* does not have it.
        """
        with self.changed:
            if self.owner(key) != holder:
                raise TransactionError(f"{holder!r} does not hold the lock {key!r}. Acquire it before you release it.")
            del self.held[key]
            self.changed.notify_all()

    def is_locked(self, key: str) -> bool:
        """Tell whether anybody has the lock *key*."""
        return self.owner(key) is not None

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Tell whether *holder* has the lock *key*."""
        return self.owner(key) == holder

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Block until nobody has the lock *key*, or for *timeout* seconds; tell whether it is free."""
        with self.changed:
            return self.awaited(key, None, timeout)

    def awaited(self, key: str, holder: str | None, timeout: float | None) -> bool:
        """Wait until nobody but *holder* has *key*: for a release, or until who has it has had it for too long."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        while self.owner(key) not in {None, holder}:
            left = end - time.monotonic()
            if left <= 0:
                return False
            until = self.held[key][1]
            patience = min(left, math.inf if until is None else until - time.monotonic() + 0.001)
            self.changed.wait(None if patience == math.inf else max(patience, 0))
        return True

    def owner(self, key: str) -> str | None:
        """Give who has the lock *key*; one held for too long is nobody's."""
        holder, until = self.held.get(key, (None, None))
        return None if until is not None and time.monotonic() > until else holder
