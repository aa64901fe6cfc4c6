"""
What flows leave to the garbage collector: nothing. It all goes with the last reference to it.

Python's full collections stop the whole process for 15 ms and more, and come the sooner the more garbage there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from headrace import Flow, flow, task
from tests.chaos.processes import until
from tests.spec.seen import application

RUNS = 10


@task
async def noop(i: int) -> int:
    return i


@task
async def nap(_: int = 0) -> None:
    await asyncio.sleep(0)


@task
def step(i: int) -> int:
    return i


@task
async def takes(row: dict[str, int]) -> int:
    return row["x"]


@task
async def fails(x: int = 0) -> None:
    raise LookupError(x)


@flow
async def calls() -> None:
    await noop(1)
    await nap()
    step(1)


@flow
async def calls_flows() -> None:
    await calls()


@flow(timeout_seconds=60)
async def in_time() -> None:
    await nap()


@flow
async def submits() -> None:
    await asyncio.gather(noop.submit(1), nap.submit(), step.submit(1), calls.submit())


@flow
async def maps() -> None:
    await asyncio.gather(noop.map(range(5)), step.map(range(5)), nap.map(range(600)))


@flow
async def maps_rows() -> None:
    await takes.map([{"x": i} for i in range(5)])


@flow
async def chains() -> list[int]:
    first = noop.map(range(5))
    return await noop.map(first) + await noop.map(list(first))


@flow
async def returns_futures() -> object:
    return [noop.submit(1), {"all": noop.map(range(3))}]


@flow
async def streams() -> None:
    async with noop.stream(range(5), limit=2) as results:
        async for _ in results:
            pass


@flow
async def goes_on_after_a_failure() -> None:
    with contextlib.suppress(LookupError):
        await fails.submit()


@flow
async def goes_on_after_failures() -> None:
    with contextlib.suppress(ExceptionGroup):
        await fails.map(range(3))


@flow
def blocks() -> None:
    step(1)
    step.submit(1).wait()
    step.map(range(5)).wait()


PROGRAMS: list[Flow[[], Any]] = [
    calls,
    calls_flows,
    in_time,
    submits,
    maps,
    maps_rows,
    chains,
    returns_futures,
    streams,
    goes_on_after_a_failure,
    goes_on_after_failures,
    blocks,
]


@pytest.fixture(params=["traced", "untraced"])
def traced(request: pytest.FixtureRequest) -> Iterator[None]:
    with application() if request.param == "traced" else contextlib.nullcontext():
        yield


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("program", PROGRAMS, ids=[program.name for program in PROGRAMS])
def test_a_flow_that_has_ended_leaves_no_garbage(program: Flow[[], Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="headrace")  # pytest would keep what is logged, tracebacks among it
    loop = asyncio.new_event_loop()

    def run() -> None:
        value = program()
        if program.spec.is_async:
            loop.run_until_complete(value)

    def left_behind() -> int:
        """Count the objects that some runs leave and that nothing but a collection finds."""
        gc.collect()
        for _ in range(RUNS):
            run()
        return gc.collect()

    gc.disable()
    try:
        run()
        until(lambda: left_behind() < RUNS)
    finally:
        gc.enable()
        loop.close()
