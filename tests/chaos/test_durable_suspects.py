"""Durable runs with which processes have ended again and again are tried one at a time: one is guilty, not all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.durable_poison import NEIGHBOURS
from tests.chaos.processes import Child, rows, states, until
from tests.chaos.test_durable_owners import kill, ledger

Start = Callable[..., Child]
FALLEN = 9


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    """Give a function that starts a program; none outlives the test."""
    children: list[Child] = []

    def started(program: str, *args: object) -> Child:
        children.append(child := Child("tests.chaos.durable_poison", program, *args, home=home))
        return child

    yield started
    for child in children:
        child.process.kill()
        child.process.wait()


def suspected(home: Path, start: Start, count: int) -> None:
    """Leave so many runs behind that wait in their first step, each as if a process had ended with it before."""
    child = start("begins_in_two", count)
    until(lambda: len(ledger(home)) == count)
    kill(child)
    (home / "ledger").unlink()
    rows(home, "UPDATE run_owner SET crashes = 1")


def taken(home: Path) -> int:
    """Count the runs that were taken up and have not ended."""
    return len(rows(home, "SELECT 1 FROM run_owner WHERE epoch > 1"))


def looks(home: Path, child: Child) -> Callable[[], bool]:
    """Give what tells whether *child* has renewed its lease some times, with a look for runs before each."""
    seen: set[object] = set()

    def enough() -> bool:
        seen.update(rows(home, "SELECT expires FROM lease WHERE owner LIKE ?", f"%:{child.process.pid}:%"))
        return len(seen) > 4

    return enough


@pytest.mark.required
def test_a_run_that_ends_its_process_each_time_takes_none_of_its_neighbours_along(home: Path, start: Start) -> None:
    assert start("begins").ended().status == FALLEN
    fallen = 1
    while rows(home, "SELECT 1 FROM run_owner"):
        child = start("takes_up")
        until(lambda child=child: child.process.poll() is not None or not rows(home, "SELECT 1 FROM run_owner"))  # type: ignore[misc]
        fallen += child.process.poll() == FALLEN
    (home / "enough").touch()

    assert states(home, "poisoned") == ["Failed"]
    assert states(home, "neighbour") == ["Completed"] * NEIGHBOURS
    assert fallen == ledger(home).count("poisons") == 5
    # As many as had a part in two ends, before anybody was suspected, and once more.
    assert max(ledger(home).count(f"works before {number}") for number in range(NEIGHBOURS)) <= 3


def test_of_several_suspects_one_at_a_time_is_taken_up(home: Path, start: Start) -> None:
    suspected(home, start, 3)
    child = start("takes_up")
    until(lambda: len(ledger(home)) == 1)
    until(looks(home, child))
    assert taken(home) == len(ledger(home)) == 1

    for number in range(3):
        (home / f"{number} first").touch()
        (home / f"{number} last").touch()
    until(lambda: states(home, "in-two") == ["Completed"] * 3)
    (home / "enough").touch()
    assert child.ended().status == 0


def test_a_suspect_that_records_a_step_makes_way_for_the_next(home: Path, start: Start) -> None:
    suspected(home, start, 2)
    child = start("takes_up")
    until(lambda: len(ledger(home)) == 1)
    (first,) = ledger(home)
    (home / first.removeprefix("passes ")).touch()
    until(lambda: states(home, "in-two") == ["Running", "Running"])
    kill(child)


def test_a_suspect_that_takes_long_makes_way_after_a_while(home: Path, start: Start) -> None:
    suspected(home, start, 2)
    child = start("takes_up", "brief")
    until(lambda: taken(home) == 2)
    assert rows(home, "SELECT crashes FROM run_owner") == [(2,), (2,)]
    kill(child)


def test_each_process_tries_one(home: Path, start: Start) -> None:
    suspected(home, start, 3)
    pair = [start("takes_up") for _ in range(2)]
    until(lambda: taken(home) == 2)
    until(looks(home, pair[0]))
    assert taken(home) == len({owner for (owner,) in rows(home, "SELECT owner FROM run_owner WHERE epoch > 1")}) == 2


def test_who_resumes_a_suspect_by_its_id_does_not_wait(home: Path, start: Start) -> None:
    suspected(home, start, 2)
    start("takes_up")
    until(lambda: len(ledger(home)) == 1)
    ((waiting,),) = rows(home, "SELECT run_id FROM run_owner WHERE epoch = 1")

    start("resumes", waiting)

    until(lambda: len(ledger(home)) == 2)
    assert rows(home, "SELECT epoch, crashes FROM run_owner WHERE run_id = ?", waiting) == [(2, 2)]
