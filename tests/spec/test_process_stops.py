"""Bodies in worker processes are really stopped: by their timeout, by cancellation, and when their process dies."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace import flow, unmapped
from headrace._hosts import visits
from headrace._hosts.children import Children
from headrace._runtime import current
from headrace.errors import CancelledRun, TaskRunTimeoutError, WorkerDied
from headrace.task_runners import ProcessPoolTaskRunner
from tests.spec import bodies
from tests.spec.forms import Record
from tests.spec.processing import Ledger, alive, in_processes, in_processes_together, kept, until, workers


@pytest.fixture(scope="module", autouse=True)
def some_workers() -> Iterator[None]:
    with kept():
        yield


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


# -- timeouts ----------------------------------------------------------------------------------------------------------


@flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
def followed(act: Callable[[], Any]) -> tuple[int, Any]:
    """Give the worker in which *act* runs the body that it submits, and what it gives."""
    return bodies.where.submit().result()[0], act()


@pytest.mark.parametrize(
    "body",
    [bodies.work_briefly, bodies.wait_briefly, bodies.compute_briefly],
    ids=["sync", "async", "in native code that lets nobody else run"],
)
def test_a_body_that_takes_too_long_is_killed_with_its_process(body: Any, record: Record) -> None:
    pid, error = followed(lambda: body.submit().result(raise_on_failure=False))

    assert isinstance(error, TaskRunTimeoutError)
    assert str(error).endswith("took longer than its timeout of 0.1 s; its worker process was killed")
    assert not alive(pid)
    assert [run.state.name for run in record.task_runs()] == ["Completed", "TimedOut"]


def test_the_time_of_a_body_begins_when_its_worker_has_imported_it() -> None:
    brief = bodies.square.with_options(timeout_seconds=1.0)

    assert in_processes(lambda: brief.submit(bodies.Slow(1.1)).result()) == 9


def test_a_killed_worker_is_replaced() -> None:
    def act() -> list[int]:
        return [bodies.work_briefly.submit(return_state=True).is_failed(), *bodies.square.map(range(6)).result()]

    assert in_processes(act) == [True, 0, 1, 4, 9, 16, 25]


def test_an_attempt_that_took_too_long_is_tried_again(record: Record) -> None:
    again = bodies.work_briefly.with_options(retries=1)

    with pytest.raises(TaskRunTimeoutError):
        in_processes(lambda: again.submit().result())

    assert record.task_run().run_count == 2


# -- cancellation ------------------------------------------------------------------------------------------------------


def cancelled(body: Any, ledger: Ledger) -> None:
    """Run *body* in a flow that is cancelled, from another thread, once it has begun."""

    def cancel() -> None:
        ledger.wait_for("began")
        (run,) = current().journal.live.values()
        run.stop("somebody wants that")

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(CancelledRun, match="somebody wants that"):
        in_processes(lambda: body.submit(str(ledger)).result())
    thread.join()


@pytest.mark.parametrize(
    ("body", "heard"),
    [
        (bodies.work, "RunCancelled"),
        (bodies.sleep_long, "RunCancelled"),
        (bodies.wait_long, "CancelledError"),
    ],
    ids=["computing", "sleeping", "awaiting"],
)
def test_a_cancelled_body_hears_it_and_may_clean_up(body: Any, heard: str, ledger: Ledger, record: Record) -> None:
    cancelled(body, ledger)

    assert ledger.lines[1:] == [f"heard {heard}"]
    assert alive(ledger.pid()), "a worker whose body has ended is kept"
    assert [run.state.name for run in record.task_runs()] == ["Cancelled"]
    assert record.flow_run().state.name == "Cancelled"


@pytest.mark.parametrize("body", [bodies.go_on_regardless, bodies.hold_the_lock], ids=["swallows it", "cannot hear it"])
def test_a_cancelled_body_that_goes_on_is_killed(
    body: Any, ledger: Ledger, record: Record, said: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visits, "GRACE", 0.3)

    cancelled(body, ledger)

    assert not alive(ledger.pid())
    assert record.task_run().state.name == "Cancelled"
    assert any("Did not end within 0.3 s of being asked to; its worker process was killed" in line for line in said())


@pytest.mark.parametrize("turn", range(5))
def test_a_body_that_is_cancelled_amid_a_word_leaves_its_worker_in_order(turn: int, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")

    cancelled(bodies.print_without_end, ledger)

    assert alive(ledger.pid())
    assert in_processes(lambda: {bodies.square.submit(turn).result() for _ in range(4)}) == {turn**2}


def test_what_a_killed_body_had_started_goes_with_it(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visits, "GRACE", 0.1)

    cancelled(bodies.start_another, ledger)

    until(lambda: not alive(ledger.pid("started")))


def test_a_body_that_asks_and_returns_ends_as_cancelled(ledger: Ledger, record: Record) -> None:
    cancelled(bodies.stop_politely, ledger)

    assert ledger.lines[1:] == ["cancelled True"]
    run = record.task_run()
    assert run.state.name == "Cancelled"
    assert "ended early when it was told to stop" in str(run.state.message)


def test_the_first_failure_cancels_the_others_where_the_flow_wants_that(ledger: Ledger) -> None:
    def act() -> None:
        other = bodies.wait_long.submit(str(ledger))
        ledger.wait_for("began")
        bodies.fail.submit("first").wait()
        other.wait()

    with pytest.raises(ValueError, match="first"):
        in_processes_together(act)

    assert ledger.lines[1:] == ["heard CancelledError"]


async def test_an_async_flow_that_is_cancelled_ends_its_bodies(ledger: Ledger) -> None:
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
    async def pipeline() -> None:
        await bodies.sleep_long.submit(str(ledger))

    running = asyncio.create_task(pipeline())
    await asyncio.to_thread(ledger.wait_for, "began")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert ledger.lines[1:] == ["heard RunCancelled"]


def test_what_waits_for_a_worker_is_cancelled_as_well(ledger: Ledger, record: Record) -> None:
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def pipeline() -> None:
        futures = [bodies.sleep_long.submit(str(ledger)) for _ in range(3)]
        ledger.wait_for("began")
        (run,) = current().journal.live.values()
        run.stop("enough")
        futures[2].result()

    with pytest.raises(CancelledRun):
        pipeline()

    assert len(ledger.lines) == 2
    assert [run.state.name for run in record.task_runs()] == ["Cancelled"] * 3


def test_leaving_a_stream_early_ends_the_bodies_in_flight(ledger: Ledger) -> None:
    def act() -> int:
        for found in bodies.one_or_wait.stream(unmapped(str(ledger)), [0, 1], limit=2, ordered=False):
            ledger.wait_for("began")
            return found
        return 0

    assert in_processes(act) == 1
    assert ledger.lines[1:] == ["cleaned"]


def test_a_run_that_is_to_stop_before_its_worker_is_ready_never_begins(ledger: Ledger) -> None:
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=4))
    def pipeline() -> None:
        futures = [bodies.sleep_long.submit(str(ledger)) for _ in range(4)]
        until(lambda: len(workers()) >= 3)  # two are kept; the others are only just starting
        (run,) = current().journal.live.values()
        run.stop("at once")
        futures[0].result()

    with pytest.raises(CancelledRun):
        pipeline()

    assert len([line for line in ledger.lines if line.startswith("began")]) <= 4
    until(lambda: len(workers()) <= 2)


# -- death -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("submitted", "sentence"),
    [
        (
            lambda: bodies.vanish.submit(3),
            "ended with exit code 3. Something that the body called ended it, as os._exit",
        ),
        (lambda: bodies.vanish.submit(0), "ended with exit code 0. Something that the body called ended it"),
        (
            lambda: bodies.kill_self.submit(signal.SIGKILL),
            "was killed by SIGKILL. Often that is the system, out of mem",
        ),
        (lambda: bodies.kill_self.submit(signal.SIGUSR1), "was killed by SIGUSR1. Something outside of Headrace did"),
        (bodies.segfault.submit, "was killed by SIGSEGV. That is a fault in native code"),
    ],
    ids=["os._exit", "os._exit(0)", "SIGKILL", "SIGUSR1", "segfault"],
)
def test_a_worker_that_dies_costs_its_task_and_no_other(submitted: Any, sentence: str, record: Record) -> None:
    def act() -> list[int]:
        future = submitted()
        others = bodies.square.map(range(10))
        with pytest.raises(WorkerDied) as caught:
            future.result()
        assert caught.value.run_id == future.task_run_id
        assert sentence in str(caught.value)
        assert future.state.is_crashed()
        return others.result()

    assert in_processes(act) == [number**2 for number in range(10)]
    assert [run.state.name for run in record.task_runs()].count("Crashed") == 1
    assert record.flow_run().state.is_completed()


def test_a_death_is_not_tried_again(ledger: Ledger, record: Record) -> None:
    with pytest.raises(WorkerDied):
        in_processes(lambda: bodies.vanish_again.submit(str(ledger)).result())

    assert ledger.lines == ["begun"]
    assert record.task_run().run_count == 1


def test_a_worker_that_dies_while_idle_costs_nothing() -> None:
    def act() -> int:
        bodies.square.map(range(4)).wait()
        for worker in workers():
            worker.kill()
        found: int = bodies.square.submit(5).result()
        return found

    assert in_processes(act) == 25


def test_a_worker_that_dies_in_the_moment_it_is_handed_a_call_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    children = Children
    lend = children.lend
    killed: list[int] = []

    def lend_dying(self: Any) -> Any:
        child = lend(self)
        if not killed:
            killed.append(child.pid)
            child.kill()
        return child

    monkeypatch.setattr(children, "lend", lend_dying)
    in_processes(lambda: bodies.where.submit().wait())  # one that is ready

    assert in_processes(lambda: bodies.where.submit().result())[0] not in killed
    assert killed


def test_signals_of_a_terminal_are_the_flows_to_hear(ledger: Ledger) -> None:
    in_processes(lambda: bodies.ignore_signals.submit(str(ledger)).result())

    assert ledger.lines[1:] == ["still there"]


def test_the_place_of_a_killed_body_is_free_again() -> None:
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def pipeline() -> int:
        killed = [bodies.work_briefly.submit(), bodies.vanish.submit(1)]
        found: int = bodies.square.submit(3).result()
        return found if all(future.wait() for future in killed) else 0

    began = time.monotonic()
    assert pipeline() == 9
    assert time.monotonic() - began < 60
