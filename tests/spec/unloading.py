"""What tests of unloading share: a runtime in virtual time, in which what is submitted is unloaded and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import headrace
from headrace import aio, signals
from headrace.futures import Future
from headrace.runs import FlowRun
from tests.spec.durable_crashes import World
from tests.spec.forms import Form

HOUR = 3_600
UNLOADED = 60  # seconds after which what waits has been unloaded


async def sleep(form: Form, seconds: float) -> None:
    """Sleep in the body of a flow of that form."""
    if form.is_async:
        await aio.sleep(seconds)
    else:
        headrace.sleep(seconds)


async def receive(form: Form, name: str, **options: Any) -> Any:
    """Receive in the body of a flow of that form."""
    return await aio.receive(name, **options) if form.is_async else signals.receive(name, **options)


async def race(form: Form, *entrants: Any) -> Any:
    """Race in the body of a flow of that form."""
    return await aio.race(*entrants) if form.is_async else headrace.race(*entrants)


async def state() -> str:
    """Give the name of the state of the only flow run that none called."""
    (run,) = [run for run in await aio.flow_runs() if run.parent_id is None]
    return run.state.name


async def the_run() -> FlowRun:
    """Give the only flow run that none called."""
    (run,) = [run for run in await aio.flow_runs() if run.parent_id is None]
    return run


def opened(world: World, main: Callable[[Any], Awaitable[None]], **options: Any) -> None:
    """Run *main*, which gets a runtime that is open, and leave that."""

    async def block() -> None:
        async with headrace.Runtime(**options) as runtime:
            await main(runtime)

    with world.runtime():
        asyncio.run(block())


async def come_to(future: Future[Any]) -> Any:
    """Give what *future* comes to, without waiting for it, which would keep its run in memory."""
    for _ in range(100):
        if future.done():
            break
        await asyncio.sleep(HOUR / 4)
    return future.result()
