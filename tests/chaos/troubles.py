"""Programs whose database is in trouble. Each is a function; the first argument names it."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from headrace import _runtime, flow, task
from headrace.errors import StoreUnavailable

MANY = 400


@task
def step(number: int) -> int:
    return number


@flow(name="plain")
def plain(count: int = 3) -> int:
    return sum(step(number) for number in range(count))


@flow(name="durable", durable=True)
def durable() -> int:
    print("BODY")
    return step(1)


def both() -> None:
    """Run two plain flows, and a durable one."""
    print("values", plain(), plain())
    tries_durable()


def tries_durable() -> None:
    """Run a durable flow, and print how it was refused."""
    try:
        durable()
    except StoreUnavailable as error:
        print("refused:", error)


def file_vanishes() -> None:
    """Have the database deleted while flows run."""
    home = Path(os.environ["HEADRACE_HOME"])

    @flow(name="goes on")
    def goes_on() -> int:
        step(1)
        wait_until_committed()
        (home / "headrace.db").unlink()
        return sum(step(number) for number in range(5))

    print("value", goes_on())
    print("value", plain())


def file_vanishes_under_durable() -> None:
    """Have the database deleted while a durable flow runs."""
    home = Path(os.environ["HEADRACE_HOME"])

    @flow(name="stops", durable=True)
    def stops() -> None:
        step(1)
        (home / "headrace.db").unlink()
        step(2)
        print("WENT ON")

    try:
        stops()
    except StoreUnavailable as error:
        print("refused:", error)
    print("value", plain())


def wait_until_committed() -> None:
    """Wait until the journal has been written so far."""
    office = _runtime.current().office
    deadline = time.monotonic() + 10
    while (office.journal.told or not office.commits) and time.monotonic() < deadline:
        time.sleep(0.001)


class Full:
    """A disk that is full on demand: by a limit to the size of files, or by a file that fills the folder's own disk."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.home = Path(os.environ["HEADRACE_HOME"])
        self.filler = self.home.parent / "filler"

    def fill(self) -> None:
        """Leave no room."""
        if self.way == "limit":
            sizes = [entry.stat().st_size for entry in self.home.iterdir()] if self.home.exists() else []
            # What the program prints goes to files, too, and must fit.
            most = max(min((size for size in sizes if size), default=0), 8_192)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
            return
        with open(self.filler, "wb", buffering=0) as file:
            for size in (65_536, 1_024, 1):
                while True:
                    try:
                        if not file.write(b"x" * size):
                            break
                    except OSError:
                        break

    def empty(self) -> None:
        """Make room."""
        if self.way == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        else:
            self.filler.unlink()


def disk_fills(way: str) -> None:
    """Run flows on a disk that fills, and has room again."""
    disk = Full(way)
    plain()
    disk.fill()
    print("full", plain(MANY), plain(MANY))
    tries_durable()
    disk.empty()
    print("room", plain(), durable())


def disk_fills_under_durable(way: str) -> None:
    """Run a durable flow on a disk that fills meanwhile."""
    disk = Full(way)

    @flow(name="stops", durable=True)
    def stops() -> None:
        step(1)
        disk.fill()
        for number in range(MANY):
            step(number)
        print("WENT ON")

    try:
        stops()
    except StoreUnavailable as error:
        print("refused:", error)
    disk.empty()
    print("room", plain())


def starts_full(way: str) -> None:
    """Run flows on a disk that is full from the start."""
    disk = Full(way)
    disk.fill()
    both()
    disk.empty()
    print("room", plain())


def floods() -> None:
    """Run a great many tasks that do nothing; print how much waited at most and how memory grew."""
    office = _runtime.current().office
    waiting: list[int] = []

    @flow(name="flood")
    def flood(count: int) -> None:
        for number in range(count):
            step(number)
            if number % 500 == 0:
                waiting.append(len(office.journal.told))

    flood(30_000)
    before = resident()
    flood(170_000)
    print(max(waiting), (resident() - before) // 1_000_000, office.commits)


def resident() -> int:
    """Give the bytes of memory this process has at the moment."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    program: Callable[..., None] = globals()[sys.argv[1]]
    program(*sys.argv[2:])
