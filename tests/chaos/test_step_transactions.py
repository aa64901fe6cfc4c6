"""Workers that are killed amid step transactions: each payment is there once, and so is the record of its step."""

from __future__ import annotations

import ast
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from headrace._model.steps import SIZE
from tests.chaos.paying import STEPS
from tests.chaos.processes import Child, until
from tests.contract.borrowed import Books

LONG = os.environ.get("CHAOS") == "long"
KILLS, FLOWS = (150, 4) if LONG else (10, 4)
SOON, LATE = 0.0, 0.15  # seconds from a worker's first payment to its end
SEED = int(os.environ.get("CHAOS_SEED", "20240229"))


@pytest.mark.required
@pytest.mark.timeout(3_600 if LONG else 240)
@pytest.mark.parametrize("place", ["sqlite", "postgresql"])
def test_workers_are_killed_and_each_payment_is_there_once_with_its_step(
    place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    books = Books(home, request.getfixturevalue("postgresql") if place == "postgresql" else None)
    books.rows("ALTER TABLE payment ADD COLUMN step integer")
    chance, flows = random.Random(SEED), 0
    for _ in range(KILLS):
        child = started(books, flows, FLOWS)
        flows += FLOWS
        kill(books, child, chance.uniform(SOON, LATE))
    last = started(books, flows, 0)
    until(lambda: not books.owned(), within=120)
    (home / "enough").touch()
    assert last.ended().status == 0, last.err

    paid = Counter((int(number), int(step)) for number, step in books.rows("SELECT number, step FROM payment"))
    recorded = steps_on_record(books)
    numbers = {number for number, _ in paid}
    again = int(books.rows(f"SELECT count(*) FROM {books.schema}flow_run WHERE epoch > 1")[0][0])
    print(
        f"\n{KILLS} kills, {again} flows taken up, {len(paid)} payments, {paid.total() - len(paid)} twice (seed {SEED})"
    )
    assert paid == recorded == Counter((number, step) for number in numbers for step in range(STEPS))
    assert again > 0, "no flow was cut short: the kills came too late to prove anything"


def started(books: Books, first: int, count: int) -> Child:
    """Start a worker."""
    return Child("tests.chaos.paying", "works", first, count, home=books.home, HEADRACE_DATABASE_URL=books.url)


def kill(books: Books, child: Child, seconds: float) -> None:
    """Kill a worker so many seconds after its next payment."""
    before = len(books.payments())
    until(lambda: len(books.payments()) > before or child.process.poll() is not None)
    at = time.monotonic() + seconds
    until(lambda: time.monotonic() >= at)
    child.process.kill()
    assert child.process.wait() == -signal.SIGKILL, f"a worker ended by itself: {child.out}{child.err}"


def steps_on_record(books: Books) -> Counter[tuple[int, int]]:
    """Count the rows of each step that completed, by what it was called with."""
    found: Counter[tuple[int, int]] = Counter()
    for said, state in books.rows(f"SELECT step_args, state_type FROM {books.schema}task_run"):
        number, step = ast.literal_eval(said[SIZE:])
        assert state == "COMPLETED", said
        found[number, step] += 1
    return found
