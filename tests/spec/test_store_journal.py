"""The journal and the back office: everything told arrives once, in order, and an answer means that it is safe."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

from headrace import _runtime, flow, get_run_logger, task
from headrace._engine.context import current_run
from headrace._engine.journal import CROWDED
from headrace._engine.life import drive
from headrace._model.events import LOG, RUNNING
from headrace._office import BATCH
from headrace._ports import Batch
from headrace._stores.memory import MemoryStore
from headrace.errors import StoreUnavailable
from headrace.settings import Settings
from tests.chaos.processes import until


class Failing(MemoryStore):
    """A store in memory that refuses the batches it is told to, and can be held up; it counts what it took."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[int] = set()
        self.batches: list[Batch] = []
        self.tried = 0
        self.go = threading.Event()
        self.go.set()

    async def append(self, batch: Batch) -> None:
        self.go.wait(20)
        self.tried += 1
        if self.tried in self.refused:
            raise StoreUnavailable("here", f"batch {self.tried} was to fail")
        self.batches.append(batch)
        await super().append(batch)


@pytest.fixture
def store() -> Iterator[Failing]:
    """Have the test's runs told to a store that can fail."""
    made = Failing()
    runtime = _runtime.Runtime(attrs.evolve(Settings.read({}), log_level="WARNING"), made)
    before = _runtime.replace(runtime)
    yield made
    made.go.set()
    _runtime.replace(before)
    runtime.close()


@task
def step(number: int) -> int:
    return number


@task
async def astep(number: int) -> int:
    return number


def in_threads(work: Callable[[int], None], count: int) -> None:
    """Do *work* in many threads at once; raise what one of them raised."""
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# -- telling ------------------------------------------------------------------------------------------------


def test_a_flow_that_has_returned_is_recorded_whole(store: Failing) -> None:
    @flow
    def tens() -> None:
        for number in range(10):
            step(number)

    tens()

    assert [row[5] for row in store.flows.values()] == ["Completed"]
    assert [row[3] for row in store.tasks.values()] == ["COMPLETED"] * 10


def test_runs_of_many_threads_are_all_recorded_once(store: Failing) -> None:
    @flow
    def some() -> None:
        for number in range(50):
            step(number)

    def ten(_: int) -> None:
        for _turn in range(10):
            some()

    in_threads(ten, 16)

    assert (len(store.flows), len(store.tasks)) == (160, 8_000)
    assert {row[5] for row in store.flows.values()} == {"Completed"}
    assert {row[3] for row in store.tasks.values()} == {"COMPLETED"}


def test_no_answer_is_ever_missed_between_sleep_and_waking(store: Failing) -> None:
    journal = _runtime.current().journal
    asked, answered = 8 * 400, 0
    lock = threading.Lock()

    def ask(_: int) -> None:
        nonlocal answered
        for _turn in range(400):
            done = threading.Event()

            def answer(_: Exception | None, done: threading.Event = done) -> None:
                done.set()

            journal.ask(answer)
            assert done.wait(10), "nobody woke the back office"
            with lock:
                answered += 1

    in_threads(ask, 8)

    assert answered == asked


def test_nothing_told_is_left_lying_between_sleep_and_waking(store: Failing) -> None:
    """Threads tell at the very moment at which the back office falls asleep; nobody asks, who would wake it."""
    told = 0

    @flow
    def talks() -> None:
        nonlocal told
        run = current_run.get()
        assert run is not None
        journal = run.scope.journal
        gate = threading.Barrier(3)

        def tell(_: int) -> None:
            for number in range(700):
                gate.wait(10)
                journal.tell((run, LOG, number, (20, "l", "m")))
                until(lambda: not journal.told, 5)

        in_threads(tell, 3)
        told = 3 * 700

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        talks()
    finally:
        sys.setswitchinterval(interval)

    assert len(store.lines) == told == 2_100


def test_an_ask_wakes_a_back_office_that_an_interrupted_teller_left_asleep(store: Failing) -> None:
    step(1)
    journal = _runtime.current().journal
    until(lambda: journal.asleep)
    journal.asleep = False  # where a Ctrl-C strikes between the two last lines of `tell`
    done = threading.Event()
    journal.ask(lambda _: done.set())

    assert done.wait(10)


def test_events_are_committed_in_the_order_in_which_they_were_told(store: Failing) -> None:
    @flow
    def talks() -> None:
        logger = get_run_logger()
        for number in range(5_000):
            logger.error("%d", number)

    logging.getLogger().addHandler(quiet := logging.NullHandler())
    try:
        talks()
    finally:
        logging.getLogger().removeHandler(quiet)

    said = [line[4] for batch in store.batches for line in batch.logs]
    assert said == [str(number) for number in range(5_000)]
    assert len(store.batches) > 1


def test_what_is_told_in_one_go_is_committed_in_bounded_batches(store: Failing) -> None:
    store.go.clear()
    tasks = CROWDED // 2 - 10  # two events each, and who tells more waits

    @flow
    def long() -> None:
        for number in range(tasks):
            step(number)
        store.go.set()

    long()

    assert len(store.tasks) == tasks
    assert max(len(batch) for batch in store.batches) <= BATCH // 2 + 10


@pytest.mark.parametrize("form", ["sync", "async"])
def test_tasks_wait_while_more_is_told_than_is_committed(store: Failing, form: str) -> None:
    store.go.clear()
    journal = _runtime.current().journal
    most: list[int] = []
    done: list[int] = []

    @flow
    def many() -> None:
        for number in range(15_000):
            done.append(step(number))
            most.append(len(journal.told))

    @flow
    async def amany() -> None:
        for number in range(15_000):
            done.append(await astep(number))
            most.append(len(journal.told))

    thread = threading.Thread(target=many if form == "sync" else lambda: asyncio.run(amany()))
    thread.start()
    seen: list[int] = []

    def rests() -> bool:
        seen.append(len(done))
        return len(seen) > 20 and seen[-20] == seen[-1] > 0

    until(rests)
    held = len(done)
    store.go.set()
    thread.join()

    assert held < 15_000
    assert max(most) <= CROWDED + 2
    assert len(store.tasks) == len(done) == 15_000


def test_off_records_nothing(store: Failing) -> None:
    @flow(durability="off")
    def unseen() -> int:
        get_run_logger().warning("not kept")
        return step(1)

    assert unseen() == 1
    assert (store.flows, store.tasks, store.lines, store.batches) == ({}, {}, [], [])


def test_a_task_outside_a_flow_is_recorded_when_it_returns(store: Failing) -> None:
    assert step(7) == 7
    assert [(row[1], row[3]) for row in store.tasks.values()] == [(None, "COMPLETED")]


# -- acknowledging ------------------------------------------------------------------------------------------


def committed(store: Failing, task_name: str) -> list[str]:
    """Give the states of a task's runs as the store has them at this moment."""
    return [row[3] for row in list(store.tasks.values()) if row[2] == task_name]


def test_a_durable_flow_goes_on_only_after_a_tasks_commit(store: Failing) -> None:
    seen: list[list[str]] = []

    @flow(durable=True)
    def careful() -> None:
        seen.append([row[5] for row in store.flows.values()])
        for number in range(20):
            step(number)
            seen.append(committed(store, "step"))

    careful()

    assert seen == [["Running"], *(["COMPLETED"] * count for count in range(1, 21))]
    assert all(batch.strict for batch in store.batches)


async def test_a_durable_async_flow_goes_on_only_after_a_tasks_commit(store: Failing) -> None:
    @flow(durable=True)
    async def careful() -> list[int]:
        async def one() -> int:
            await astep(1)
            return len(committed(store, "astep"))

        return await asyncio.gather(*(one() for _ in range(20)))

    counts = await careful()

    assert sorted(counts) >= list(range(1, 21))
    assert committed(store, "astep") == ["COMPLETED"] * 20


def test_a_durable_subflow_of_a_plain_flow_is_committed_when_it_returns(store: Failing) -> None:
    seen: list[Any] = []

    @flow(durable=True)
    def inner() -> None:
        step(1)
        seen.append(committed(store, "step"))

    @flow
    def outer() -> None:
        inner()
        seen.append({row[2]: row[5] for row in store.flows.values()})

    outer()

    assert seen == [["COMPLETED"], {"outer": "Running", "inner": "Completed"}]


def test_a_subflow_of_a_durable_flow_is_durable_unless_it_says_otherwise(store: Failing) -> None:
    @flow
    def same() -> None:
        step(1)

    @flow(durability="batched")
    def other() -> None:
        step(2)

    @flow(durability="off")
    def none() -> None:
        step(3)

    @flow(durable=True)
    def outer() -> None:
        same()
        other()
        none()

    outer()

    assert {row[2]: row[14] for row in store.flows.values()} == {
        "outer": "strict",
        "same": "strict",
        "other": "batched",
    }
    assert len(store.tasks) == 2


def test_every_failing_commit_of_a_durable_flow_stops_it_and_none_is_called_safe(store: Failing) -> None:
    """Refuse the k-th commit, for every k: the flow stops there, and what it was given before is recorded."""

    def run_refusing(number: int) -> tuple[list[int], bool]:
        store.tried, store.refused = 0, {number}
        store.tasks.clear()
        safe: list[int] = []

        @flow(durable=True)
        def careful() -> None:
            for place in range(5):
                safe.append(step(place))

        try:
            careful()
        except StoreUnavailable:
            return safe, True
        return safe, False

    commits = 0
    for number in range(1, 100):
        safe, stopped = run_refusing(number)
        recorded = committed(store, "step").count("COMPLETED")
        assert recorded >= len(safe), f"commit {number}: {len(safe)} tasks returned, {recorded} are recorded"
        if store.tried < number:
            assert (stopped, len(safe)) == (False, 5)
            break
        assert stopped or len(safe) == 5, f"commit {number} failed and the flow went on"
        commits += 1

    assert commits >= 6


def test_a_neighbours_good_commit_does_not_make_a_lost_row_safe(store: Failing) -> None:
    """Between a durable task's end and its question whether that is safe, the store fails once and works again."""
    office = _runtime.current().office
    wanted: list[int] = []

    def meanwhile(*_: object) -> None:
        until(lambda: office.problem is not None, 10)
        neighbour = threading.Thread(target=step, args=(99,))
        neighbour.start()
        neighbour.join()
        wanted.append(office.commits)

    @task(on_completion=[meanwhile])
    def watched() -> int:
        until(lambda: committed(store, "watched") == ["RUNNING"])
        store.refused = {store.tried + 1}
        return 1

    safe: list[int] = []

    @flow(durable=True)
    def careful() -> None:
        safe.append(watched())

    with contextlib.suppress(StoreUnavailable):
        careful()

    assert wanted, "the store never failed between end and question"
    assert committed(store, "watched") == ["COMPLETED"]


def test_rows_of_a_durable_flow_that_a_failing_store_could_not_take_come_with_the_next_batch(store: Failing) -> None:
    @flow(durable=True)
    def careful() -> None:
        step(1)

    store.refused = {1}
    with pytest.raises(StoreUnavailable, match="batch 1 was to fail"):
        careful()
    step(2)

    assert [row[5] for row in store.flows.values()] == ["Crashed"]


def test_rows_of_plain_flows_that_were_lost_are_counted_and_said(
    store: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    @flow
    def plain() -> int:
        return sum(step(number) for number in range(100))

    store.refused = set(range(1, 10_000))
    assert plain() == 4950
    assert plain() == 4950
    lost = _runtime.current().office.lost
    store.refused = set()
    plain()

    said = [record.getMessage() for record in caplog.records if record.name == "headrace.store"]
    assert said == [
        f"{StoreUnavailable('here', 'batch 1 was to fail')} Runs go on without being recorded; durable ones stop.",
        f"The database works again; {lost} rows were not recorded meanwhile",
    ]
    assert lost >= 202
    assert len(store.tasks) == 100


def test_a_failure_of_ours_in_one_event_does_not_end_the_back_office(
    store: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    step(1)
    _runtime.current().journal.tell((None, RUNNING, 0, None))
    step(2)
    step(3)

    assert _runtime.current().office.thread is not None
    assert committed(store, "step").count("COMPLETED") >= 2
    assert [record.levelname for record in caplog.records if record.name == "headrace.store"] == ["ERROR", "WARNING"]


def test_a_store_that_fails_unexpectedly_is_named_with_its_error(
    store: Failing, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def explode(_batch: Batch) -> None:
        raise ZeroDivisionError("a bug of the store's")

    monkeypatch.setattr(store, "append", explode)

    assert step(1) == 1
    assert "The database failed unexpectedly: ZeroDivisionError: a bug of the store's" in caplog.text


def test_a_runtime_that_was_closed_still_records(store: Failing) -> None:
    step(1)
    _runtime.current().close()
    step(2)

    def one(number: int) -> None:
        step(number)

    in_threads(one, 8)

    assert len(store.tasks) == 10


def test_readers_need_no_loop_for_the_store_in_memory(store: Failing) -> None:
    step(1)

    assert [run.task_name for run in drive(store.task_runs(""))] == ["step"]
