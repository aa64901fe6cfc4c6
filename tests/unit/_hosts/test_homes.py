"""Homes: how the body of a run hears from elsewhere that it is to stop, and that nobody else hears it."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from headrace import flow, task
from headrace._engine.context import current_run
from headrace._homes import LoopHome
from headrace._hosts.loop import LoopHost
from headrace._runtime import desk, keeper
from headrace.errors import CancelledRun


class Ending:
    """As much of a run as a home looks at."""

    ended = False
    yields = False


@pytest.mark.parametrize("ended", [False, True])
async def test_a_stop_that_comes_when_the_run_has_ended_does_not_cancel_who_goes_on(ended: bool) -> None:
    run: Any = Ending()
    goes_on = asyncio.Event()

    async def caller() -> str:
        home = LoopHome(asyncio.get_running_loop(), asyncio.current_task(), run)
        home.interrupt()
        run.ended = ended
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        goes_on.set()
        return "went on"

    (outcome,) = await asyncio.gather(asyncio.create_task(caller()), return_exceptions=True)

    assert outcome == "went on" if ended else isinstance(outcome, asyncio.CancelledError)
    assert goes_on.is_set() is ended


async def test_a_body_is_interrupted_once_so_that_its_cleanup_may_wait() -> None:
    story: list[str] = []

    async def body() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            for _ in range(3):
                await asyncio.sleep(0)
            story.append("cleaned up")

    running = asyncio.create_task(body())
    await asyncio.sleep(0)
    home = LoopHome(asyncio.get_running_loop(), running, None)
    for _ in range(3):
        home.interrupt()
    await running

    assert story == ["cleaned up"]


def test_a_home_of_a_loop_that_was_closed_has_nobody_to_interrupt() -> None:
    loop = asyncio.new_event_loop()
    sleeping = loop.create_task(asyncio.sleep(0))
    loop.run_until_complete(sleeping)
    loop.close()

    LoopHome(loop, sleeping, None).interrupt()


def test_a_wait_that_ends_in_the_moment_in_which_its_run_is_stopped_is_roused_once() -> None:
    """Both rouse the waiting thread: the second must find nothing to do."""

    flows: list[Any] = []
    begun = threading.Event()

    @task
    def work() -> None:
        begun.wait(10)
        while not flows[0].stops:
            time.sleep(0.001)

    @flow
    def main() -> Any:
        flows.append(current_run.get())
        future = work.submit()
        future.add_done_callback(lambda _: flows[0].stop("in this moment"))
        begun.set()
        return future.result()

    with pytest.raises(CancelledRun, match="in this moment"):
        main()


async def test_the_home_of_a_runs_body_is_the_task_it_runs_in() -> None:
    nobody: Any = None
    home: Any = LoopHost(desk, keeper).home(nobody)

    assert (home.loop, home.task) == (asyncio.get_running_loop(), asyncio.current_task())
