"""What tests of limits share: blocks of either form, rooms that count who is in them, slots that others have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from headrace import _runtime
from headrace._engine.life import drive
from headrace.concurrency import concurrency
from tests.spec.forms import Body, Form, Latch


class Block:
    """A block of slots, entered as code of a form enters it: `with`, or `async with`."""

    def __init__(self, form: Form, *args: Any, kind: Any = concurrency, **options: Any) -> None:
        self.is_async = form.is_async
        self.block = kind(*args, **options)

    async def __aenter__(self) -> None:
        await self.block.__aenter__() if self.is_async else self.block.__enter__()

    async def __aexit__(self, *error: Any) -> None:
        await self.block.__aexit__(*error) if self.is_async else self.block.__exit__(*error)


class Room:
    """Counts who is in it; nobody leaves it before so many were in it at once."""

    def __init__(self, full: int = 0) -> None:
        self.guard = threading.Lock()
        self.full = full
        self.now = self.most = self.visits = 0
        self.latch = Latch()

    async def visit(self) -> None:
        """Come in, and leave again once it was full."""
        with self.guard:
            self.now += 1
            self.visits += 1
            self.most = max(self.most, self.now)
            full = self.now >= self.full
        if full:
            self.latch.open()
        await self.latch.passed()
        with self.guard:
            self.now -= 1


def waiting(name: str) -> int:
    """Count the slots of the limit *name* that are waited for in this process."""
    counter = _runtime.desk().limits.counters.get(name)
    return 0 if counter is None else counter.waiting


def used(name: str) -> int:
    """Count the slots of the limit *name* that are in use in this process."""
    counter = _runtime.desk().limits.counters.get(name)
    return 0 if counter is None else counter.used


def removed(name: str) -> bool:
    """Delete the limit *name*, as the command line does."""
    return bool(drive(_runtime.thread_host.with_store(_runtime.desk(), lambda store: store.limits.remove(name))))


def submits(form: Form, body: Body, count: int, **options: Any) -> None:
    """Submit *body* so many times, each with its number, in a flow of the same form."""
    submitted = form.task(**options)(body)

    async def main() -> None:
        for future in [submitted.submit(number) for number in range(count)]:
            await form.got(future)

    form.in_flow(main)


@contextmanager
def held(name: str, occupy: int = 1) -> Generator[Callable[[], None]]:
    """Have another thread hold slots of the limit *name* for the block; gives what has it let go of them earlier."""
    entered, over = threading.Event(), threading.Event()

    def hold() -> None:
        with concurrency(name, occupy):
            entered.set()
            over.wait(60)

    thread = threading.Thread(target=hold, name="the holder", daemon=True)
    thread.start()
    try:
        assert entered.wait(60)
        yield over.set
    finally:
        over.set()
        thread.join(60)
