"""
Programs that share limits with others of their kind, count who is in them on a board, and are killed and stopped.

Most of them are forks of one program that has imported all there is: a hundred of them are there in a second.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import signal
import sys
import threading
import time
import warnings
from array import array
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headrace import flow, task
from headrace._hosts.clock import RealClock, wall
from headrace._limits import desk
from headrace.concurrency import concurrency, rate_limit
from tests.chaos.processes import until

# Said by Python from 3.12 on of each fork: these are meant.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)

NAME = "shared"
PLACES = 400
LIMIT, MOST, ABOVE, STOP = range(4)
HEAD = 8


class Board:
    """
    A file with who is in the limit just now, which all processes see: each has a place of its own on it.

    Whoever reads or writes it has it locked, so that the sum is one of a moment. It is opened each time: threads and
    forks that share an open file share its lock.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            self.path.write_bytes(bytes(8 * (HEAD + 2 * PLACES)))

    @contextmanager
    def locked(self) -> Generator[array[int]]:
        """Give all that is on it, for changes."""
        file = os.open(self.path, os.O_RDWR)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            cells = array("q", os.pread(file, 8 * (HEAD + 2 * PLACES), 0))
            yield cells
            os.pwrite(file, cells.tobytes(), 0)
        finally:
            os.close(file)

    def enter(self, place: int, count: int = 1) -> None:
        """Come in, and see that there are not too many."""
        with self.locked() as cells:
            cells[HEAD + place] += count
            here = sum(cells[HEAD : HEAD + PLACES])
            cells[MOST] = max(cells[MOST], here)
            cells[ABOVE] += here > cells[LIMIT]

    def leave(self, place: int, count: int = 1) -> None:
        """Go out."""
        with self.locked() as cells:
            cells[HEAD + place] -= count
            cells[HEAD + PLACES + place] += 1

    def limit(self, slots: int) -> None:
        """See from now on that there are never more than *slots*, and forget what was."""
        with self.locked() as cells:
            cells[LIMIT], cells[MOST], cells[ABOVE] = slots, 0, 0

    def stop(self) -> None:
        """Have all end."""
        with self.locked() as cells:
            cells[STOP] = 1

    def head(self, which: int) -> int:
        """Give a number of its head."""
        with self.locked() as cells:
            return cells[which]

    @property
    def stopped(self) -> bool:
        """Whether all are to end."""
        return bool(self.head(STOP))

    @property
    def inside(self) -> list[int]:
        """How many of each place are in."""
        with self.locked() as cells:
            return list(cells[HEAD : HEAD + PLACES])

    @property
    def done(self) -> list[int]:
        """How many of each place have been in, and left."""
        with self.locked() as cells:
            return list(cells[HEAD + PLACES :])


# -- bodies -------------------------------------------------------------------------------------------------------


def lanes(board: Board, place: int, count: int = 10, seconds: float = 0.02) -> None:
    """Run tasks in so many lanes, each of which takes a slot for a while, again and again, until all are to end."""

    @task
    async def one() -> None:
        async with concurrency(NAME):
            board.enter(place)
            await asyncio.sleep(seconds)
            board.leave(place)

    @flow
    async def every() -> None:
        async def lane() -> None:
            while not board.stopped:
                await one()

        await asyncio.gather(*[lane() for _ in range(count)])

    asyncio.run(every())


def threads(board: Board, place: int, count: int = 3, seconds: float = 0.01, occupy: int = 1) -> None:
    """Have so many threads take slots, again and again, until all are to end."""

    def lane() -> None:
        while not board.stopped:
            with concurrency(NAME, occupy):
                board.enter(place, occupy)
                time.sleep(seconds)
                board.leave(place, occupy)

    working = [threading.Thread(target=lane) for _ in range(count)]
    for thread in working:
        thread.start()
    for thread in working:
        thread.join()


def jumping(board: Board, place: int, occupy: int) -> None:
    """Work as `threads` does while the clock on the wall is put forwards and backwards by an hour, now and then."""

    def jumps() -> None:
        hour = 3_600_000_000_000
        while not board.stopped:
            put(random.choice([0, hour, -hour, hour + 250_000_000]))
            time.sleep(0.2)

    threading.Thread(target=jumps, daemon=True).start()
    threads(board, place, 2, occupy=occupy)


def put(shift: int) -> None:
    """Put the clock on the wall forwards, by nanoseconds."""
    clock = RealClock()
    clock.now = lambda: time.time_ns() + shift
    wall.hang(clock)


# -- programs -----------------------------------------------------------------------------------------------------


def works(board: str, place: str) -> None:
    """Run lanes until all are to end."""
    lanes(Board(board), int(place))
    print("done")


def forked(work: Callable[[], object]) -> int:
    """Have a fork do *work*, and end as a program does; give its number."""
    pid = os.fork()
    if pid:
        return pid
    work()
    sys.exit(0)


def gathered(pids: list[int]) -> None:
    """Wait for forks; all of them have ended well."""
    for pid in pids:
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print("ended", status)


def together(path: str, kind: str, count: str) -> None:
    """Have so many forks work in a way that is named, until all are to end."""
    board = Board(path)
    kinds: dict[str, Callable[[int], object]] = {
        "lanes": lambda place: lanes(board, place),
        "few": lambda place: lanes(board, place, 4),
        "threads": lambda place: threads(board, place),
        "jumping": lambda place: jumping(board, place, 1 + place % 2) if place else threads(board, place),
    }
    gathered([forked(lambda place=place: kinds[kind](place)) for place in range(int(count))])  # type: ignore[misc]
    print("done")


def nursery(path: str, kills: str, beside: str) -> None:
    """
    Have forks work, and kill one of them amid its body so many times, each time with another in its place.

    Who is killed is in the limit, and taken off the board, while nobody else comes in or goes out.
    """
    board = Board(path)
    living: dict[int, int] = {}
    places = iter(range(PLACES))

    def born() -> None:
        place = next(places)
        kind = threads if place % 2 else lanes
        living[place] = forked(lambda: kind(board, place, 3, 0.03))

    for _ in range(int(beside)):
        born()
    killed = 0

    def kill() -> bool:
        with board.locked() as cells:
            inside = [place for place in living if cells[HEAD + place]]
            if not inside:
                return False
            place = random.choice(inside)
            pid = living.pop(place)
            os.kill(pid, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            cells[HEAD + place] = 0
            return status == -signal.SIGKILL

    while killed < int(kills):
        until(kill)
        killed += 1
        born()
        time.sleep(random.random() * 0.06)
    print("killed", killed)
    before = sum(board.done)
    until(lambda: sum(board.done) > before + 50)
    board.stop()
    gathered(list(living.values()))
    print("done")


def brief(lease: float) -> None:
    """Have leases last only so many seconds."""
    setattr(desk, "LEASE", int(lease * 1e9))  # noqa: B010 - it is final for all others
    setattr(desk, "CAUTION", int(lease * 0.7e9))  # noqa: B010


def visits(path: str, place: str, lease: str) -> None:
    """
    Take a slot for a moment, again and again, and be out of it in between.

    Its mark on the board at the place behind says that it asks for one, or has it: who stops it in between stops it
    with slots that are leased to it, and that nobody uses.
    """
    brief(float(lease))
    board, here = Board(path), int(place)
    while not board.stopped:
        with board.locked() as cells:
            cells[HEAD + PLACES + here + 1] = 1
        with concurrency(NAME):
            board.enter(here)
            time.sleep(0.005)
            board.leave(here)
        with board.locked() as cells:
            cells[HEAD + PLACES + here + 1] = 0
        print("visited", flush=True)
        time.sleep(0.05)
    print("done")


def greedy(path: str, place: str, lease: str) -> None:
    """Have threads take all the slots that there are, until all are to end; with brief leases."""
    brief(float(lease))
    threads(Board(path), int(place), 4, 0.02)
    print("done")


def first_demand(path: str) -> None:
    """Say in how many seconds the first demand of each of five fresh processes was served."""
    board = Board(path)

    def asks() -> None:
        began = time.monotonic()
        with concurrency(NAME):
            board.enter(100)
            print("served", time.monotonic() - began, flush=True)
            board.leave(100)

    busy = forked(lambda: lanes(board, 0))
    until(lambda: board.done[0] > 20)
    for _ in range(5):
        gathered([forked(asks)])
    board.stop()
    gathered([busy])
    print("done")


def turns(path: str, log: str, count: str) -> None:
    """Have so many forks share a limit, and write who was in it in which order."""
    board = Board(path)

    def noted(place: int) -> None:
        file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        enter = board.enter

        def entered(place: int, count: int = 1) -> None:
            enter(place, count)
            os.write(file, f"{place} ".encode())

        board.enter = entered  # type: ignore[method-assign]
        (lanes if place else threads)(board, place, 3, 0.01)

    gathered([forked(lambda place=place: noted(place)) for place in range(int(count))])  # type: ignore[misc]
    print("done")


def rates(path: str, log: str, count: str) -> None:
    """Have so many forks ask a rate for turns, as often as they come, and write when they had one."""
    board = Board(path)

    def asks(place: int) -> None:
        file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

        def lane() -> None:
            while not board.stopped:
                with rate_limit(NAME):
                    os.write(file, f"{place} {time.monotonic_ns()}\n".encode())

        working = [threading.Thread(target=lane) for _ in range(2)]
        for thread in working:
            thread.start()
        for thread in working:
            thread.join()

    gathered([forked(lambda place=place: asks(place)) for place in range(int(count))])  # type: ignore[misc]
    print("done")


def forks(path: str) -> None:
    """Fork amid a block: the fork has no slots of its parent's, takes its own, and gives back none but those."""
    board = Board(path)

    def ends_at_once() -> None:
        threads(board, 1, 3)
        os._exit(0)  # with slots leased to it

    @flow
    def flows() -> None:
        with concurrency(NAME):
            board.enter(0)
            child = forked(ends_at_once)
            until(lambda: board.done[1] > 10)
            board.stop()
            gathered([child])
            board.leave(0)

    def inherits() -> None:
        with concurrency(NAME):
            board.enter(0)
            child = os.fork()
            if not child:
                with concurrency(NAME):
                    board.enter(1)
                    time.sleep(0.2)
                    board.leave(1)
                return
            gathered([child])
            print("inside", board.inside[0])
            board.leave(0)

    pid = os.getpid()
    inherits()
    if os.getpid() == pid:
        flows()
        print("done")


if __name__ == "__main__":
    program: Callable[..., Any] = globals()[sys.argv[1]]
    program(*sys.argv[2:])
