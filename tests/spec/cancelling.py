"""What tests of cancellation share: a flow with all that can be submitted, how to stop it, and what may be left."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import anyio

from headrace import _runtime, flow, task
from headrace._engine.runs import FlowRunning
from headrace._model.records import FlowRun, TaskRun
from headrace.errors import RunCancelled
from tests.chaos.processes import until
from tests.spec.forms import Record

WHY = "the test wants it"


def live(name: str) -> FlowRunning:
    """Give the one run of the flow *name* that is in progress."""
    (found,) = [run for run in list(_runtime.desk().live.values()) if run.spec.name == name]
    assert isinstance(found, FlowRunning)
    return found


def stop(name: str) -> None:
    """Stop the one run of the flow *name*, as `headrace flow-run cancel` does; from any thread."""
    assert _runtime.desk().stop(live(name).id, WHY)


class Meanwhile:
    """A thread that does something about a sync flow, in a `with` block, once that is as far as *when* says."""

    def __init__(self, when: Callable[[], object], act: Callable[[], object]) -> None:
        self.when, self.act = when, act
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self.work, name="the test's own", daemon=True)

    def work(self) -> None:
        """Wait, and act."""
        try:
            until(self.when)
            self.act()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Meanwhile:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.join()
        if self.error is not None:
            raise self.error


class Turns:
    """Counts the turns of the running loop, in an `async with` block."""

    def __init__(self) -> None:
        self.count = 0

    def turn(self) -> None:
        """Count one, and come again at the next."""
        self.count += 1
        self.handle = asyncio.get_running_loop().call_soon(self.turn)

    async def __aenter__(self) -> Turns:
        self.turn()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.handle.cancel()


async def happens(condition: Callable[[], object], within: int = 20_000) -> None:
    """Let the loop turn until *condition* holds."""
    for _ in range(within):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError(f"it did not happen within {within:,} turns of the loop: {others()}")


async def nothing_goes_on(record: Record) -> None:
    """See that no run, task of the loop or place at work is left, and that no run's record says that it goes on."""
    await happens(lambda: not others())
    nothing_is_left(record)


def cancellations() -> int:
    """Count how often the current task was cancelled, and nobody has taken that back."""
    current = asyncio.current_task()
    assert current is not None
    return current.cancelling()


def others() -> list[str]:
    """Name the tasks of this loop, but for the current one and that of anyio's test runner, which waits for it."""
    names = [str(one.get_coro()) for one in asyncio.all_tasks() if one is not asyncio.current_task()]
    return [name for name in names if "TestRunner" not in name]


def nothing_is_left(record: Record) -> None:
    """See that no run or place at work is left, and that no run's record says that it goes on."""
    runs: list[FlowRun | TaskRun] = [*record.flow_runs(), *record.task_runs()]
    assert [run.name for run in runs if not run.state.is_final()] == []
    assert list(_runtime.desk().live.values()) == []
    until(lambda: _runtime.shop().threads.taken == 0)


class Wide:
    """
    A flow in which runs of all kinds wait for ever, each in a body with a cleanup that waits as well.

    Attributes:
        begun: How many async tasks are at work, on the flow's loop and, for the blocking subflow, on another one.
        heard: When those on the flow's loop heard that they are to stop, by *clock*.
        elsewhere: How many on another loop did: those of a flow that blocks.
        cleaned: How many of them have cleaned up.
        stopped: What the tasks in threads were raised, each where it waits.
        hooks: Which hooks of which flows were called, in which state.
        tidied: Whether the body of the flow has cleaned up.
    """

    THREADS = 4
    TASKS = 100 + 20 + 10 + (5 + 5) + 2 + THREADS

    def __init__(self, clock: Callable[[], float], **options: Any) -> None:
        self.clock = clock
        self.guard = threading.Lock()
        self.loop = asyncio.get_running_loop()
        self.begun = self.cleaned = self.elsewhere = 0
        self.heard: list[float] = []
        self.stopped: list[type[BaseException]] = []
        self.hooks: list[tuple[str, str]] = []
        self.tidied = False
        endless, blocks, tidy = self.tasks()
        inner, blocking = self.subflows(endless)

        @flow(name="wide", on_cancellation=self.told("wide"), **options)
        async def wide() -> None:
            for x in range(100):
                endless.submit(x)
            for _ in range(self.THREADS):
                blocks.submit()
            endless.map(range(20))
            inner.submit()
            blocking.submit()
            try:
                async with endless.stream(itertools.count(), limit=10) as results:
                    async for _ in results:
                        raise AssertionError("there is none")
            finally:
                # A scope of anyio's that is cancelled would cancel each of these waits again.
                with anyio.CancelScope(shield=True):
                    await tidy()
                self.tidied = True

        self.flow: Callable[[], Coroutine[Any, Any, None]] = wide

    def tasks(self) -> tuple[Any, Any, Any]:
        """Make the tasks: one that awaits for ever, one that waits for it in a thread, and one for cleanup."""

        @task
        async def tidy() -> None:
            await asyncio.sleep(0)

        @task
        async def endless(_item: object) -> None:
            with self.guard:
                self.begun += 1
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                if asyncio.get_running_loop() is self.loop:
                    self.heard.append(self.clock())
                else:
                    self.elsewhere += 1
                raise
            finally:
                for _ in range(3):
                    await asyncio.sleep(0)
                await tidy()
                with self.guard:
                    self.cleaned += 1

        @task
        def blocks() -> None:
            try:
                endless.submit("for a thread").result()
            except BaseException as error:
                self.stopped.append(type(error))
                raise

        return endless, blocks, tidy

    def subflows(self, endless: Any) -> tuple[Any, Any]:
        """Make the subflows: one that awaits, with one of its own that it calls, and one that blocks."""

        @flow(name="innermost", on_cancellation=self.told("innermost"))
        async def innermost() -> None:
            await asyncio.gather(*[endless.submit(x) for x in range(5)])

        @flow(name="inner", on_cancellation=self.told("inner"))
        async def inner() -> None:
            for x in range(5):
                endless.submit(x)
            await innermost()

        @flow(name="blocking", on_cancellation=self.told("blocking"))
        def blocking() -> None:
            first, _ = endless.submit(1), endless.submit(2)
            first.result()

        return inner, blocking

    def told(self, name: str) -> list[Any]:
        """Give the hooks of the flow *name*."""

        def hook(_flow: Any, _run: Any, state: Any) -> None:
            self.hooks.append((name, state.name))

        async def async_hook(_flow: Any, _run: Any, state: Any) -> None:
            await asyncio.sleep(0)
            self.hooks.append((f"{name}, async", state.name))

        return [hook, async_hook]

    def at_work(self) -> bool:
        """Tell whether all of it has begun."""
        return self.begun == self.TASKS

    def has_ended(self, record: Record, *, end: str, hooked: bool = True) -> None:
        """See that all of it heard, cleaned up, and is recorded as cancelled; the flow itself as *end*."""
        assert (len(self.heard), self.elsewhere) == (self.TASKS - 2, 2)
        assert (self.cleaned, self.tidied) == (self.TASKS, True)
        assert self.stopped == [RunCancelled] * self.THREADS
        flows = {run.flow_name: run for run in record.flow_runs()}
        assert record.path(flows.pop("wide"))[-1] == end
        assert {name: record.path(run)[-1] for name, run in flows.items()} == dict.fromkeys(flows, "Cancelled")
        assert sorted(flows) == ["blocking", "inner", "innermost"]
        names = [*flows, "wide"] if hooked else [*flows]
        hooks = [(f"{name}{kind}", "Cancelled") for name in names for kind in ("", ", async")]
        assert sorted(self.hooks) == sorted(hooks)
        ends = Counter((run.task_name, run.state.name) for run in record.task_runs())
        assert ends == {
            ("endless", "Cancelled"): self.TASKS,
            ("blocks", "Cancelled"): self.THREADS,
            ("tidy", "Completed"): self.TASKS + 1,
        }
        paths = {tuple(record.path(run)) for run in record.task_runs() if run.task_name == "endless"}
        assert paths <= {("Running", "Cancelling", "Cancelled"), ("Pending", "Running", "Cancelling", "Cancelled")}
