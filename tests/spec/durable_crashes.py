"""
What tests of durable flows share: a database that outlives the runtimes on it, and crashes without a process that ends.

From a crash on the database takes nothing more, and bodies do nothing that would be seen: what happened after it never
happened. The next runtime is then on the same database.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import attrs

import headrace
from headrace import _runtime, aio, durable, runs
from headrace._ports import Batch, Store
from headrace._runtime import Runtime
from headrace._stores.memory import MemoryStore
from headrace._stores.sqlite import SQLiteStore
from headrace.errors import NoDatabaseYet, StoreUnavailable
from headrace.runs import FlowRun, TaskRun
from headrace.settings import Settings
from tests.spec.forms import Form

NEVER = 1 << 30


class Killed(Exception):
    """Leaves a body at the moment at which its process is taken to have ended, or later."""


class InMemory(MemoryStore):
    """A store in memory that takes what *world* lets it take."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    async def append(self, batch: Batch) -> None:
        self.world.commit()
        await super().append(batch)

    async def flow_runs(self, **which: Any) -> list[FlowRun]:
        self.world.read()
        return await super().flow_runs(**which)


class InFile(SQLiteStore):
    """A store in a file that takes what *world* lets it take."""

    def __init__(self, world: World, path: Path) -> None:
        super().__init__(path)
        self.world = world

    async def append(self, batch: Batch) -> None:
        self.world.commit()
        await super().append(batch)

    async def flow_runs(self, **which: Any) -> list[FlowRun]:
        self.world.read()
        return await super().flow_runs(**which)


class World:
    """
    A database, and what the bodies of the test's tasks did.

    Attributes:
        ran: The places that bodies came to, in order, those after a crash left out.
        fatal: The place at which the process is taken to end.
        commits: How many batches were committed.
        left: How many more are to be, before the process is taken to end.
        away: How many questions for flow runs find no database.
        fails: How many commits find none.
    """

    def __init__(self, kind: str, home: Path) -> None:
        self.kind = kind
        self.home = home
        self.memory = InMemory(self) if kind == "memory" else None
        self.ran: list[str] = []
        self.fatal: str | None = None
        self.dead = False
        self.commits = 0
        self.left = NEVER
        self.away = self.fails = 0

    # -- what bodies do -------------------------------------------------------------------------------------------

    def visit(self, place: str) -> None:
        """Note that a body came to *place*; there it may end."""
        if self.dead:
            raise Killed(place)
        self.ran.append(place)
        if place == self.fatal:
            self.crash()

    def crash(self) -> NoReturn:
        """Take the process to have ended."""
        self.dead = True
        raise Killed(self.fatal)

    def seen(self) -> list[str]:
        """Give where bodies came since the last question."""
        ran, self.ran = self.ran, []
        return ran

    # -- the database ---------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """Let a batch be committed, unless the process has ended."""
        if self.fails:
            self.fails -= 1
            raise StoreUnavailable("here", "it is away")
        if self.left <= 0:
            self.dead = True
        if self.dead:
            raise StoreUnavailable("here", "the process has ended")
        self.left -= 1
        self.commits += 1

    def read(self) -> None:
        """Let flow runs be read, unless the database is away."""
        if self.away:
            self.away -= 1
            raise StoreUnavailable("here", "it is away")

    def store(self) -> Store:
        """Give the store, as the next process opens it."""
        return self.memory or InFile(self, self.home / "headrace.db")

    @contextmanager
    def runtime(self, **settings: Any) -> Generator[Runtime]:
        """Use a runtime on the database."""
        url = "memory:" if self.memory else f"sqlite:///{self.home / 'headrace.db'}"
        given = attrs.evolve(Settings.read(), home=str(self.home), database_url=url, progress=False, **settings)
        runtime = Runtime(given, self.store())
        before = _runtime.replace(runtime)
        try:
            yield runtime
        finally:
            _runtime.replace(before)
            runtime.close()
            self.dead, self.fatal, self.left = False, None, NEVER

    # -- runs -----------------------------------------------------------------------------------------------------

    def crashes(
        self, form: Form, callee: Any, /, *args: Any, at: str | None, durability: str = "batched", **kwargs: Any
    ) -> str:
        """Call a flow, and have its process end when a body comes to *at*; give the id of the run."""
        with self.runtime(durability=durability):
            known = {run.id for run in self.roots()}
            self.fatal = at
            with contextlib.suppress(Killed, StoreUnavailable, ExceptionGroup):
                form.run(callee, *args, **kwargs)
            assert self.dead, f"no body came to {at!r}: {self.ran}"
        with self.runtime():
            (run_id,) = {run.id for run in self.roots()} - known
            return run_id

    def crashes_again(self, form: Form, run_id: str, *, at: str) -> None:
        """Resume a run, and have its process end when a body comes to *at*."""
        with self.runtime():
            self.fatal = at
            with contextlib.suppress(Killed, StoreUnavailable, ExceptionGroup):
                resume(form, run_id)
            assert self.dead, f"no body came to {at!r}: {self.ran}"

    def resumes(self, form: Form, run_id: str) -> Any:
        """Resume a run in a fresh runtime; give what it returns."""
        with self.runtime():
            return resume(form, run_id)

    def survives(self, form: Form, callee: Any, /, *args: Any, at: str | None, **kwargs: Any) -> Any:
        """Call a flow, have its process end at *at*, and resume it; give what it returns."""
        return self.resumes(form, self.crashes(form, callee, *args, at=at, **kwargs))

    def roots(self) -> list[FlowRun]:
        """List the flow runs that none called, oldest first."""
        try:
            return [run for run in runs.flow_runs(limit=1_000)[::-1] if run.parent_id is None]
        except NoDatabaseYet:
            return []

    def flow_runs(self) -> list[FlowRun]:
        """List the flow runs on record, oldest first."""
        with self.runtime():
            return runs.flow_runs(limit=1_000)[::-1]

    def task_runs(self) -> list[TaskRun]:
        """List the task runs on record, those of older flow runs first."""
        with self.runtime():
            return [task for flow in runs.flow_runs(limit=1_000)[::-1] for task in runs.task_runs(flow)]


def resume(form: Form, run_id: str) -> Any:
    """Resume a run, in the runtime there is."""
    return headrace.run(aio.resume(run_id)) if form.is_async else durable.resume(run_id)


def doubling(world: World, form: Form, **options: Any) -> Any:
    """Give a task that notes its name and X, as in `step X`, and doubles X."""
    name = options.get("name", "step")

    async def step(x: int) -> int:
        world.visit(f"{name} {x}")
        return 2 * x

    return form.task(**options)(step)


def path(run: FlowRun | TaskRun) -> list[str]:
    """Give the names of the states that *run* was in."""
    return [name for _, name, _, _ in run.transitions]


Resume = Callable[[str], Any]
STORES = ["memory", "sqlite"]
