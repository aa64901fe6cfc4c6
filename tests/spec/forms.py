"""The two forms of a test's functions, sync and async, written once. Knows how to call, not what to expect."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Literal

import headrace
from headrace import aio, futures
from headrace._engine.life import drive
from headrace._model.records import FlowRun, LogLine, TaskRun
from headrace._stores.memory import MemoryStore
from headrace.futures import DoneAndNotDoneFutures, Future

Body = Callable[..., Coroutine[Any, Any, Any]]


async def call(callee: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a flow or task of either form from the body of another."""
    value = callee(*args, **kwargs)
    return await value if inspect.isawaitable(value) else value


class Latch:
    """Something that comes true once; bodies of both forms can wait for it: they suspend on a loop, and else block."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.guard = threading.Lock()
        self.waiters: list[Callable[[], object]] = []

    def open(self) -> None:
        """Let everybody pass, now and later."""
        with self.guard:
            self.event.set()
            waiters, self.waiters = self.waiters, []
        for wake in waiters:
            wake()

    async def passed(self) -> None:
        """Wait until it is open."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            assert self.event.wait(30)
            return
        arrived: asyncio.Future[None] = loop.create_future()

        def arrive() -> None:
            if not arrived.done():
                arrived.set_result(None)

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(arrive)

        with self.guard:
            if self.event.is_set():
                return
            self.waiters.append(wake)
        await arrived


class Form:
    """
    How the functions of one test are written.

    Bodies are written as coroutines that await nothing but `call`; the sync form is a plain function that runs such a
    body to its end by one send, and to Headrace no different from one written by hand.
    """

    def __init__(self, name: Literal["sync", "async"]) -> None:
        self.name = name
        self.is_async = name == "async"

    def fn(self, body: Body) -> Callable[..., Any]:
        """Give *body* in this form."""
        if self.is_async:
            return body

        @functools.wraps(body)
        def plain(*args: Any, **kwargs: Any) -> Any:
            life = body(*args, **kwargs)
            try:
                life.send(None)
            except StopIteration as end:
                return end.value
            raise AssertionError("The body of a sync function cannot wait.")

        return plain

    def task(self, **options: Any) -> Callable[[Body], Any]:
        """Decorate a body as a task of this form."""
        return lambda body: headrace.task(**options)(self.fn(body))

    def flow(self, **options: Any) -> Callable[[Body], Any]:
        """Decorate a body as a flow of this form."""
        return lambda body: headrace.flow(**options)(self.fn(body))

    def decorate(self, kind: str, **options: Any) -> Callable[[Body], Any]:
        """Decorate a body as a flow or task of this form."""
        return self.flow(**options) if kind == "flow" else self.task(**options)

    async def got(self, future: Any) -> Any:
        """Give what *future*, or a list of them, comes to, as code of this form asks for it."""
        return await future if self.is_async else future.result()

    async def ended(self, awaited: Iterable[Future[Any]], timeout: float | None = None) -> DoneAndNotDoneFutures:
        """Wait for all of *awaited*, as code of this form does."""
        return await aio.wait(awaited, timeout) if self.is_async else futures.wait(awaited, timeout)

    async def each(self, awaited: Iterable[Future[Any]], timeout: float | None = None) -> list[Future[Any]]:
        """Give *awaited* in the order in which they end, as code of this form does."""
        found = futures.as_completed(awaited, timeout)
        return [one async for one in found] if self.is_async else list(found)

    def in_flow(self, body: Body, **options: Any) -> Any:
        """Run *body* as the body of a flow of this form."""
        return self.run(self.flow(**options)(body))

    def run(self, callee: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a flow or task from blocking code that no run is around."""
        value = callee(*args, **kwargs)
        return headrace.run(value) if inspect.isawaitable(value) else value


class Record:
    """What the runs of one test left in the store."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store

    def flow_runs(self) -> list[FlowRun]:
        """Give the flow runs, oldest first."""
        found: list[FlowRun] = drive(self.store.flow_runs(limit=sys.maxsize))
        return found[::-1]

    def flow_run(self) -> FlowRun:
        """Give the one flow run there is."""
        (run,) = self.flow_runs()
        return run

    def task_runs(self) -> list[TaskRun]:
        """Give the task runs in the order in which they began."""
        found: list[TaskRun] = drive(self.store.task_runs(""))
        return sorted(found, key=lambda run: (run.start_time is not None, run.start_time, run.id))

    def task_run(self) -> TaskRun:
        """Give the one task run there is."""
        (run,) = self.task_runs()
        return run

    def lines(self) -> list[LogLine]:
        """Give the log lines kept with runs, oldest first."""
        ids = [run.id for run in self.flow_runs()] + [run.id for run in self.task_runs()]
        found: list[LogLine] = drive(self.store.logs(ids))
        return found

    def path(self, run: FlowRun | TaskRun) -> list[str]:
        """Give the names of the states that *run* was in."""
        return [name for _, name, _, _ in run.transitions]
