"""What a run asks of the store: how many commits, of how many statements, and that it never reads its record."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from headrace import _rounds, _runtime, flow, task
from headrace._ports import Batch
from headrace._stores import schema
from headrace._stores.sqlite import SQLiteStore
from headrace.settings import Settings
from tests.chaos.processes import until

TASKS = 500
LOOK = "PRAGMA data_version"


class CountingStore(SQLiteStore):
    """A store that notes its batches and the statements that SQLite was given."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.batches: list[Batch] = []
        self.statements: list[str] = []
        self.threads: set[str] = set()

    async def open(self) -> None:
        await super().open()
        assert self.writer is not None
        self.writer.set_trace_callback(self.statements.append)

    async def append(self, batch: Batch) -> None:
        self.batches.append(batch)
        self.threads.add(threading.current_thread().name)
        await super().append(batch)

    def verbs(self) -> list[str]:
        """The first word of each statement."""
        return [statement.split()[0].upper() for statement in self.statements]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CountingStore]:
    """Record this test's runs in a counting store."""
    store = CountingStore(tmp_path / "counted.db")
    runtime = _runtime.Runtime(attrs.evolve(Settings.read(), database_url="sqlite:///counted.db"), store)
    before = _runtime.replace(runtime)
    yield store
    _runtime.replace(before)
    runtime.close()


@task
def step(x: int) -> int:
    return x


def pipeline(tasks: int) -> int:
    return sum(step(x) for x in range(tasks))


def test_a_flow_of_one_task_is_at_most_three_commits(store: CountingStore) -> None:
    run = flow(pipeline)
    run(1)
    store.batches.clear()
    store.statements.clear()

    run(1)

    assert 1 <= len(store.batches) <= 3
    assert store.verbs().count("COMMIT") == len(store.batches)


def test_a_commit_is_at_most_four_statements_however_much_it_holds(store: CountingStore) -> None:
    flow(pipeline)(TASKS)

    rest = [verb for verb in store.verbs() if verb not in {"BEGIN", "COMMIT", "PRAGMA"}]
    assert len(rest) <= 4 * len(store.batches)
    assert sum(len(batch) for batch in store.batches) >= TASKS
    assert len(rest) < TASKS / 2


def test_a_thousand_mapped_tasks_are_few_commits(store: CountingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the store: it takes what has gathered meanwhile, here while its first commit lasts."""
    mapped = threading.Event()
    append = store.append

    async def slow(batch: Batch) -> None:
        assert mapped.wait(30)
        await append(batch)

    monkeypatch.setattr(store, "append", slow)

    @flow
    def maps() -> None:
        step.map(range(1_000)).wait()
        mapped.set()

    maps()

    assert sum(len(batch.task_runs) for batch in store.batches) >= 1_000
    assert len(store.batches) <= 6


def test_a_run_never_reads(store: CountingStore) -> None:
    flow(pipeline)(TASKS)

    assert "SELECT" not in store.verbs()


def test_the_store_is_called_on_one_thread_only(store: CountingStore) -> None:
    threads = [threading.Thread(target=flow(pipeline), args=(20,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert store.threads == {"headrace back office"}


def test_a_flow_that_is_off_asks_nothing(store: CountingStore) -> None:
    flow(durability="off")(pipeline)(TASKS)

    assert store.batches == []


def test_a_durable_flow_commits_each_task_before_the_next_begins(store: CountingStore) -> None:
    seen: list[int] = []

    def watched(tasks: int) -> None:
        for x in range(tasks):
            step(x)
            seen.append(sum(len(batch.task_runs) for batch in store.batches))

    flow(durable=True)(watched)(10)

    assert all(committed >= done for done, committed in enumerate(seen, start=1))
    assert len(store.batches) <= 2 + 2 * 10


def test_ten_thousand_items_of_a_generator_are_few_commits_and_few_rows(store: CountingStore) -> None:
    @task
    def items(count: int, *, resume_from: int = 0) -> Iterator[str]:
        for number in range(resume_from, count):
            yield f"item {number}"

    @flow(durable=True)
    def reads() -> int:
        return sum(1 for _ in items(10_000))

    assert reads() == 10_000

    assert len(store.batches) <= 100
    assert sum(len(batch.results) for batch in store.batches) <= 100


def test_a_task_outside_flows_is_at_most_two_commits(store: CountingStore) -> None:
    step(1)
    store.batches.clear()

    step(1)

    assert 1 <= len(store.batches) <= 2


def test_a_log_line_is_one_row_and_state_lines_are_none(store: CountingStore) -> None:
    @flow(log_prints=True)
    def talks() -> None:
        print("hello")
        step(1)

    talks()

    assert sum(len(batch.logs) for batch in store.batches) == 1


# -- what is asked of runs in progress ----------------------------------------------------------------------


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch, store: CountingStore) -> Callable[[int], list[str]]:
    """Give a function that waits until the back office has looked so many times more; it gives the statements since."""
    monkeypatch.setattr(_rounds, "LOOK_EVERY", 0.002)
    begun = len(store.statements)

    def since(count: int) -> list[str]:
        nonlocal begun
        seen = len(store.statements)
        until(lambda: store.statements[seen:].count(LOOK) > count)
        found, begun = store.statements[begun:], len(store.statements)
        return found

    return since


def test_looking_for_requests_reads_the_table_once_and_then_only_whether_others_wrote(
    store: CountingStore, looks: Callable[[int], list[str]]
) -> None:
    seen: list[list[str]] = []

    @flow
    def waits() -> None:
        looks(1)
        seen.append(looks(20))

    waits()

    assert seen == [[LOOK] * len(seen[0])]
    assert store.verbs().count("SELECT") == 1


def test_looking_reads_again_after_another_process_wrote_and_only_then(
    store: CountingStore, looks: Callable[[int], list[str]]
) -> None:
    seen: list[list[str]] = []

    @flow
    def waits() -> None:
        looks(1)
        with closing(sqlite3.connect(store.path)) as other, other:
            other.execute("UPDATE flow_run SET flow_version = 'x'")
        seen.append(looks(20))

    waits()

    assert [statement for statement in seen[0] if statement != LOOK] == [schema.READ_REQUESTS]


def test_a_durable_step_is_one_statement_and_wakes_nobody(
    store: CountingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    wakes: list[object] = []
    run = flow(durable=True)(pipeline)
    run(20)
    journal = _runtime.current().journal
    wake = journal.wake

    def woken() -> None:
        wakes.append(wake)
        wake()

    monkeypatch.setattr(journal, "wake", woken)
    store.statements.clear()

    run(TASKS)

    verbs = store.verbs()
    assert TASKS * 0.9 < verbs.count("INSERT") < TASKS * 1.1
    assert verbs.count("BEGIN") < TASKS / 10
    assert len(wakes) < TASKS / 10
