"""Flows that use worker processes, for tests: workers kept over a module, ledgers that bodies write, a way to wait."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headrace import _runtime, flow
from headrace._hosts.children import Child
from headrace.task_runners import ProcessPoolTaskRunner

WITHIN = 60.0


@flow(name="in processes", task_runner=ProcessPoolTaskRunner(max_workers=2))
def in_processes(act: Callable[[], Any]) -> Any:
    """Do *act* in a flow whose tasks run in worker processes."""
    return act()


@flow(name="in processes", task_runner=ProcessPoolTaskRunner(max_workers=2), on_child_failure="cancel")
def in_processes_together(act: Callable[[], Any]) -> Any:
    """Do *act* in such a flow, where one failure ends all."""
    return act()


@contextmanager
def kept() -> Generator[None]:
    """Keep two workers between flow runs: starting them takes longer than most tests."""
    host = _runtime.process_host()
    host.enter(2)
    try:
        yield
    finally:
        end(2)


@contextmanager
def none_kept() -> Generator[None]:
    """End the two workers that are kept, for as long as the block takes."""
    end(2)
    try:
        yield
    finally:
        _runtime.process_host().enter(2)


def end(count: int) -> None:
    """Keep fewer workers."""
    wait = _runtime.process_host().leave(count)
    if wait is not None:
        wait()


def workers() -> set[Child]:
    """Give the worker processes that there are."""
    return set(_runtime.process_host().children.all)


def alive(pid: int) -> bool:
    """Tell whether a process is there, and has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the latter where it is let go of between opening and reading
        return False
    return state not in {"Z", "X"}


def until(condition: Callable[[], object]) -> None:
    """Wait until *condition* holds."""
    deadline = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


class Ledger:
    """A file that bodies write lines to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def lines(self) -> list[str]:
        """What was written so far."""
        return self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []

    def wait_for(self, beginning: str) -> str:
        """Wait for the line that begins so; give the rest of it."""
        until(lambda: any(line.startswith(beginning) for line in self.lines))
        return next(line for line in self.lines if line.startswith(beginning)).removeprefix(beginning).strip()

    def pid(self, word: str = "began") -> int:
        """Wait for the process id that a body notes."""
        return int(self.wait_for(word))

    def __str__(self) -> str:
        return os.fspath(self.path)
