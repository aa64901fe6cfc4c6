"""
Processes that share limits, killed, stopped and set an hour back: never more at once than there are slots, never stuck.

How many there are at once is counted by the bodies, on a board that all processes see. What must come in time is
waited for with long deadlines, and fairness is counted in turns, not in seconds: a slow machine fails none of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from headrace._model.slots import Limit
from headrace._stores.sqlite import SQLiteStore
from tests.chaos.limited import ABOVE, HEAD, MOST, NAME, PLACES, Board
from tests.chaos.processes import Child, rows, until

Start = Callable[..., Child]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "board")


@pytest.fixture
def start(home: Path, tmp_path: Path) -> Iterator[Start]:
    """Give a function that starts a program with the board; none outlives the test, nor does any of its forks."""
    children: list[Child] = []

    def started(program: str, *args: object) -> Child:
        child = Child("tests.chaos.limited", program, tmp_path / "board", *args, home=home)
        children.append(child)
        return child

    yield started
    Board(tmp_path / "board").stop()
    for child in children:
        child.process.kill()
        child.process.wait()


@pytest.fixture
def limit(home: Path, board: Board) -> Callable[..., None]:
    """Give a function that has the limit be as it says, and the board see that it is kept."""

    def defined(slots: int, decay: float | None = None, *, active: bool = True, most: int | None = None) -> None:
        store = SQLiteStore(home / "headrace.db")
        asyncio.run(store.limits.define(Limit(NAME, slots, decay, active)))
        board.limit(slots if most is None else most)

    return defined


def leased(home: Path, pid: int | None = None) -> int:
    """Count the slots leased to all processes, or to one."""
    owner = "%" if pid is None else f"%:{pid}:%"
    ((found,),) = rows(home, "SELECT coalesce(sum(held), 0) FROM slot_claim WHERE owner LIKE ?", owner)
    return int(found)


def well(child: Child) -> list[str]:
    """Wait until a program has ended well, and all of its forks; give what it said."""
    end = child.ended(60)
    said = end.out.splitlines()
    assert (end.status, said[-1:], end.err) == (0, ["done"], "")
    assert {line for line in said if line.startswith("ended")} <= {"ended 0"}
    return said


def see_kept(board: Board, slots: int) -> None:
    """See that there were never more than *slots*, and at times as many."""
    assert (board.head(ABOVE), board.head(MOST)) == (0, slots)


@pytest.mark.required
def test_eight_processes_share_a_limit_and_give_all_back(
    home: Path, board: Board, start: Start, limit: Callable[..., None]
) -> None:
    limit(20)
    crowd = [start("works", place) for place in range(8)]
    until(lambda: all(count > 20 for count in board.done[:8]))
    board.stop()

    for child in crowd:
        assert well(child) == ["done"]
    see_kept(board, 20)
    assert sum(board.inside) == 0
    assert leased(home) == 0
    assert rows(home, "SELECT * FROM slot_claim") == []


@pytest.mark.required
def test_what_the_killed_had_is_there_for_others_a_hundred_times(
    home: Path, board: Board, start: Start, limit: Callable[..., None]
) -> None:
    limit(5)
    said = well(start("nursery", 110, 5))

    assert "killed 110" in said
    see_kept(board, 5)
    assert sum(board.inside) == 0
    assert leased(home) == 0


# -- stopped and gone on ------------------------------------------------------------------------------------------


LEASED = 3.0


def stop_outside(board: Board, child: Child, place: int) -> None:
    """Stop a process while it uses none of the slots leased to it."""

    def stopped() -> bool:
        child.send(signal.SIGSTOP)
        os.waitid(os.P_PID, child.process.pid, os.WSTOPPED | os.WNOWAIT)
        if board.done[place + 1] == 0:
            return True
        child.send(signal.SIGCONT)
        return False

    child.said("visited")
    until(lambda: board.done[place] > 3)
    until(stopped)


@pytest.mark.required
def test_who_is_stopped_for_longer_than_a_lease_hands_out_no_slot_that_others_have_by_then(
    home: Path, board: Board, start: Start, limit: Callable[..., None]
) -> None:
    limit(2)
    stopped, other = start("visits", 10, LEASED), start("greedy", 0, LEASED)
    until(lambda: board.done[0] > 10)
    stop_outside(board, stopped, 10)
    assert leased(home, stopped.process.pid) == 1
    until(lambda: leased(home, stopped.process.pid) == 0)
    until(lambda: leased(home, other.process.pid) == 2)
    visits = board.done[10]
    stopped.send(signal.SIGCONT)
    until(lambda: board.done[10] > visits + 3)
    board.stop()

    assert well(other) == ["done"]
    assert well(stopped)
    see_kept(board, 2)


@pytest.mark.required
def test_who_is_stopped_for_less_loses_nothing(
    home: Path, board: Board, start: Start, limit: Callable[..., None]
) -> None:
    limit(2)
    stopped, other = start("visits", 10, 30), start("greedy", 0, 30)
    until(lambda: board.done[0] > 10)
    stop_outside(board, stopped, 10)
    time.sleep(1.0)
    assert leased(home, stopped.process.pid) == leased(home, other.process.pid) == 1
    visits = board.done[10]
    stopped.send(signal.SIGCONT)
    until(lambda: board.done[10] > visits + 3)
    board.stop()

    assert well(other) == ["done"]
    assert well(stopped)
    see_kept(board, 2)


@pytest.mark.required
def test_all_of_a_job_that_is_stopped_and_goes_on_keep_what_they_have(
    home: Path, board: Board, start: Start, limit: Callable[..., None]
) -> None:
    limit(2)
    job = [start("greedy", place, LEASED) for place in (0, 1)]
    until(lambda: min(board.done[:2]) > 10)
    with board.locked():
        for child in job:
            child.send(signal.SIGSTOP)
        time.sleep(LEASED + 0.5)
        job[0].send(signal.SIGCONT)
        time.sleep(0.5)
        job[1].send(signal.SIGCONT)
    before = board.done[:2]
    until(lambda: min(now - then for now, then in zip(board.done[:2], before, strict=True)) > 10)
    board.stop()

    for child in job:
        assert well(child) == ["done"]
    see_kept(board, 2)


# -- fairness -----------------------------------------------------------------------------------------------------


def test_three_processes_have_turns_at_a_limit_of_one(
    tmp_path: Path, board: Board, start: Start, limit: Callable[..., None]
) -> None:
    limit(1)
    child = start("turns", tmp_path / "log", 3)
    until(lambda: min(board.done[:3]) > 100)
    board.stop()

    well(child)
    order = (tmp_path / "log").read_text().split()
    for place in "012":
        had = [number for number, one in enumerate(order) if one == place]
        # A body takes 10 ms at least, so this is what fits into three seconds: less on a slow machine.
        assert max(after - before for before, after in pairwise(had)) < 300
    see_kept(board, 1)


def test_a_first_demand_is_served_soon_while_another_has_all_slots(
    board: Board, start: Start, limit: Callable[..., None]
) -> None:
    limit(4)
    said = well(start("first_demand"))

    took = sorted(float(line.split()[1]) for line in said if line.startswith("served"))
    assert len(took) == 5
    assert took[0] < 1.0, "the quickest of five: a busy machine delays some"
    see_kept(board, 4)


# -- changed meanwhile --------------------------------------------------------------------------------------------


def test_a_limit_is_changed_from_outside_while_it_is_held(
    home: Path, board: Board, start: Start, limit: Callable[..., None]
) -> None:
    def kept(slots: int) -> None:
        """See that the limit is kept from when all have heard of it, and all of it is used."""
        until(lambda: leased(home) <= slots and sum(board.inside) <= slots)
        board.limit(slots)
        done = sum(board.done)
        until(lambda: board.head(MOST) == slots and sum(board.done) > done + 50)
        see_kept(board, slots)

    limit(10)
    child = start("together", "lanes", 2)
    kept(10)
    limit(3)
    kept(3)
    limit(8)
    kept(8)
    limit(8, active=False, most=20)
    until(lambda: board.head(MOST) > 15)
    limit(2)
    kept(2)
    assert asyncio.run(SQLiteStore(home / "headrace.db").limits.remove(NAME))
    board.limit(20)
    until(lambda: board.head(MOST) > 15)
    limit(3)
    kept(3)
    board.stop()

    end = child.ended(60)
    assert end.out.splitlines() == ["ended 0", "ended 0", "done"]
    assert {line.partition("There is")[2] for line in end.err.splitlines()} <= {
        f" no limit {NAME!r}, so nothing is limited. Create it with: headrace gcl create {NAME} --limit 5"
    }


# -- rates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("slots", "decay"), [(10, 40.0), (1, 20.0)])
def test_four_processes_never_exceed_a_rate_and_use_it(
    tmp_path: Path, board: Board, start: Start, limit: Callable[..., None], slots: int, decay: float
) -> None:
    limit(slots, decay)
    log = tmp_path / "log"
    child = start("rates", log, 4)
    until(lambda: log.exists() and len(set(log.read_text().split()[::2])) == 4)
    time.sleep(4)
    board.stop()
    well(child)

    at = sorted(int(line.split()[1]) for line in log.read_text().splitlines())
    at = [moment - at[0] for moment in at]
    ends = len(at) - 4 * 2  # those that came after the stop were waiting already
    late = 0.1  # seconds that may pass between a turn and the body's look at the clock
    for first, moment in enumerate(at):
        within = sum(moment <= other <= moment + 1_000_000_000 for other in at[first:])
        assert within <= slots + decay * (1 + late)
    assert ends >= 0.8 * decay * (at[ends] / 1e9)


# -- clocks and forks ---------------------------------------------------------------------------------------------


@pytest.mark.required
def test_a_clock_that_is_set_by_an_hour_changes_nothing(
    home: Path, board: Board, start: Start, limit: Callable[..., None]
) -> None:
    limit(2)
    child = start("together", "jumping", 3)
    until(lambda: min(board.done[:3]) > 60)
    board.stop()

    well(child)
    see_kept(board, 2)
    assert leased(home) == 0


@pytest.mark.required
def test_a_fork_has_no_slots_of_its_parent(home: Path, board: Board, start: Start, limit: Callable[..., None]) -> None:
    limit(2)
    said = well(start("forks"))

    assert "inside 1" in said
    see_kept(board, 2)
    assert leased(home) == 0


def test_the_board_counts_who_is_in(board: Board) -> None:
    board.limit(2)
    for place in (0, 1, 1):
        board.enter(place)
    board.leave(1)

    assert (board.inside[:2], board.head(MOST), board.head(ABOVE), board.done[1]) == ([1, 1], 3, 1, 1)
    assert len(board.inside) == PLACES > HEAD
