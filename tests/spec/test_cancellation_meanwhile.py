"""Bodies that block hear that they are to stop also where what they wait for has ended, or who says so is late."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from headrace import flow, futures, task
from headrace.errors import CancelledRun, RunCancelled
from headrace.futures import Future
from headrace.task_runners import ThreadPoolTaskRunner
from tests.chaos.processes import until
from tests.spec.cancelling import WHY, Meanwhile, live, stop
from tests.spec.forms import Latch, Record


@task
async def endless() -> None:
    await asyncio.get_running_loop().create_future()


@task
def step() -> int:
    return 1


WAITS: dict[str, Callable[[Future[None]], object]] = {
    "result": lambda future: future.result(),
    "wait": lambda future: future.wait(),
    "futures.wait": lambda future: futures.wait([future]),
    "as_completed": lambda future: list(futures.as_completed([future])),
}


@pytest.mark.parametrize("way", WAITS)
def test_a_sync_flow_hears_it_where_what_it_waits_for_was_cancelled_before(record: Record, way: str) -> None:
    heard: list[type[BaseException]] = []

    @flow(name="main")
    def main() -> str:
        future = endless.submit()
        stop("main")
        until(lambda: future.state.is_final())
        try:
            WAITS[way](future)
        except BaseException as error:
            heard.append(type(error))
            raise
        return "went on"

    with pytest.raises(CancelledRun, match=WHY):
        main()

    assert heard == [RunCancelled]
    assert record.path(record.flow_run()) == ["Running", "Cancelling", "Cancelled"]


def test_a_cleanup_waits_on_when_who_stopped_the_flow_is_late_to_rouse_it(record: Record) -> None:
    begun, let = Latch(), threading.Event()

    @task
    def slow() -> int:
        begun.open()
        let.wait(20)
        return 3

    cleaned: list[int] = []

    @flow(name="main")
    def main() -> None:
        try:
            stop("main")
            step()
        except RunCancelled:
            cleaned.append(slow.submit().result())
            raise

    def rouse() -> None:
        until(lambda: live("main").stops)
        for late in list(live("main").stops or ()):
            late()
        let.set()

    with Meanwhile(begun.event.is_set, rouse), pytest.raises(CancelledRun, match=WHY):
        main()

    assert cleaned == [3]


@pytest.mark.parametrize("way", ["submit", "map"])
def test_what_a_cleanup_has_submitted_goes_on_when_who_stopped_the_flow_is_late_to_stop_the_rest(
    record: Record, way: str
) -> None:
    begun, let = Latch(), threading.Event()

    @task
    def slow(x: int) -> int:
        begun.open()
        let.wait(20)
        return x

    cleaned: list[object] = []

    @flow(name="main", task_runner=ThreadPoolTaskRunner(max_workers=1))  # so that others wait for their turn
    def main() -> None:
        try:
            stop("main")
            step()
        except RunCancelled:
            made = [slow.submit(1), slow.submit(2)] if way == "submit" else slow.map([1, 2])
            cleaned.extend(future.result() for future in made)
            raise

    def late() -> None:
        crew = live("main").crew
        assert crew is not None
        crew.halt(WHY)
        let.set()

    with Meanwhile(begun.event.is_set, late), pytest.raises(CancelledRun, match=WHY):
        main()

    assert cleaned == [1, 2]
    assert record.path(record.flow_run()) == ["Running", "Cancelling", "Cancelled"]
