"""The harness: a runtime of a test's own, in memory, and a way to look at what it recorded. Knows no test framework."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Generator
from pathlib import Path

import attrs

from headrace import _runtime
from headrace._engine.ledger import Vault
from headrace._engine.life import drive
from headrace._hosts.clock import wall
from headrace._kept import with_results
from headrace._model.ids import prefix_of
from headrace._model.records import FlowRun, LogLine, TaskRun
from headrace._runtime import Runtime
from headrace._stores.memory import MemoryStore
from headrace._telemetry import logs
from headrace.settings import Settings
from headrace.testing.around import Around
from headrace.testing.counting import counter

ALL = 1_000_000_000
COMMITTED_WITHIN = 60.0


class Harness:
    """
    What was recorded inside the harness. May be read at any time, from any thread, also after it was closed.

    Attributes:
        home: The HEADRACE_HOME of the block; taken away at its end.
    """

    def __init__(self, runtime: Runtime, store: MemoryStore, home: Path) -> None:
        self._runtime = runtime
        self._store = store
        self.home = home
        self.closed = False

    def flow_runs(self, state: str | None = None) -> list[FlowRun]:
        """List the flow runs, subflows too, in the order in which they began; only those in *state*, where given."""
        self.settle()
        order = {run_id: place for place, run_id in enumerate(list(self._store.flows))}
        found: list[FlowRun] = drive(self._store.flow_runs(limit=ALL, state=state))
        return sorted(with_results(found, self._store, self._vault), key=lambda run: order[run.id])

    def task_runs(self, flow_run: FlowRun | str | None = None) -> list[TaskRun]:
        """List the task runs of *flow_run*, or of the one with that id, in the order of their calls; else all."""
        self.settle()
        if flow_run is None:
            prefixes = dict.fromkeys(prefix_of(run_id) for run_id in list(self._store.tasks))
        else:
            prefixes = dict.fromkeys([prefix_of(id_of(flow_run))])
        found: list[TaskRun] = [run for prefix in prefixes for run in drive(self._store.task_runs(prefix))]
        return with_results(found, self._store, self._vault)

    def logs(self, run: FlowRun | TaskRun | str) -> list[LogLine]:
        """List the lines kept with *run*, oldest first; those of a flow run with those of its task runs."""
        self.settle()
        run_id = id_of(run)
        lines: list[LogLine] = drive(self._store.logs([run_id]))
        return lines if run_id in self._store.flows else [line for line in lines if line.run_id == run_id]

    def tree(self, *, times: bool = False) -> str:
        """
        Draw all runs as text: a line each, what they called below them.

        Args:
            times: Add the seconds each took; the same every time only in virtual time.
        """
        flows = self.flow_runs()
        tasks = self.task_runs()
        below: dict[str | None, list[FlowRun | TaskRun]] = {}
        known = {run.id for run in flows} | {run.id for run in tasks}
        for task in tasks:
            above = task.parent_task_run_id or task.flow_run_id
            below.setdefault(above if above in known else None, []).append(task)
        for flow in flows:
            below.setdefault(flow.parent_id if flow.parent_id in known else None, []).append(flow)
        return "\n".join(drawn(below, None, "", times))

    @property
    def _vault(self) -> Vault:
        vault: Vault = self._runtime.journal.ledger.vault
        return vault

    def settle(self) -> None:
        """Wait until all that was told so far is recorded: runs may still be in progress."""
        if self.closed:
            return
        done = threading.Event()
        self._runtime.journal.ask(lambda _error: done.set(), whole=True)
        done.wait(COMMITTED_WITHIN)


def headrace_test_harness(*, counting: bool = False) -> Around[Harness]:
    """
    Run flows against a store in memory and a home of their own; a `with` block or a decorator.

    The process's runtime is replaced for the block and put back after it, so nothing that is recorded inside is seen
    outside, and the other way round. Blocks nest. HEADRACE_HOME and HEADRACE_DATABASE_URL are set for the block too,
    for processes that the test starts. Ready in well under a millisecond.

    Args:
        counting: Number the runs from 1 on, as `counting_ids` does.
    """
    return Around(lambda: harnessed(counting))


@contextlib.contextmanager
def harnessed(counting: bool) -> Generator[Harness, None, None]:
    """Put up a runtime of the block's own."""
    with contextlib.ExitStack() as undo:
        home = Path(tempfile.mkdtemp(prefix="headrace-test-"))
        undo.callback(shutil.rmtree, home, ignore_errors=True)
        # Progress is for people who wait: in a test, the line would stand amid the runner's own, on its clock.
        settings = attrs.evolve(Settings.read(), home=str(home), database_url="memory:", progress=False)
        undo.callback(restore_level, logging.getLogger("headrace").level)
        store = MemoryStore()
        runtime = Runtime(settings, store, counter()) if counting else Runtime(settings, store)
        harness = Harness(runtime, store, home)
        undo.callback(runtime.close)
        undo.enter_context(in_force(runtime, HEADRACE_HOME=str(home), HEADRACE_DATABASE_URL="memory:"))
        yield harness
        harness.settle()
        harness.closed = True


def restore_level(level: int) -> None:
    """Give our loggers *level* again, where there was one: a harness may have been told another by the environment."""
    if level != logging.NOTSET:
        logs.set_up("OFF" if level > logging.CRITICAL else logging.getLevelName(level), wall.read)
        logging.getLogger("headrace").setLevel(level)


@attrs.define(eq=False)
class Layer:
    """A runtime in force, and what was in its place: the one below it, and environment variables."""

    runtime: Runtime
    below: Runtime | None
    environment: dict[str, str | None]


_layers: list[Layer] = []
_guard = threading.Lock()


@contextlib.contextmanager
def in_force(runtime: Runtime, **environment: str) -> Generator[None, None, None]:
    """
    Let the process use *runtime*, in this *environment*.

    Blocks may end in any order: the one begun last of those still open counts.
    """
    with _guard:
        layer = Layer(runtime, _runtime.replace(runtime), {name: os.environ.get(name) for name in environment})
        os.environ.update(environment)
        _layers.append(layer)
    try:
        yield
    finally:
        with _guard:
            place = _layers.index(layer)
            _layers.remove(layer)
            if place < len(_layers):
                _layers[place].below, _layers[place].environment = layer.below, layer.environment
            else:
                _runtime.replace(layer.below)
                put_back(layer.environment)


def put_back(environment: dict[str, str | None]) -> None:
    """Give environment variables the values they had."""
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def id_of(run: FlowRun | TaskRun | str) -> str:
    """Give the id of *run*, or the id that it is."""
    return run if isinstance(run, str) else run.id


def drawn(
    below: dict[str | None, list[FlowRun | TaskRun]], above: str | None, indent: str, times: bool
) -> Generator[str, None, None]:
    """Draw the runs below *above*."""
    runs = below.get(above, [])
    for place, run in enumerate(runs, 1):
        branch, stem = ("", "") if above is None else ("└─ ", "   ") if place == len(runs) else ("├─ ", "│  ")
        yield f"{indent}{branch}{line_of(run, times)}"
        yield from drawn(below, run.id, indent + stem, times)


def line_of(run: FlowRun | TaskRun, times: bool) -> str:
    """Give one run as a line: what it is, in which state, after how many attempts, after how long."""
    what = f"{run.flow_name} '{run.name}'" if isinstance(run, FlowRun) else run.name
    more = [f"{run.run_count} attempts"] if run.run_count > 1 else []
    if times and run.total_run_time is not None:
        more.append(f"{run.total_run_time:g} s")
    return f"{what} {run.state.name}" + (f" ({', '.join(more)})" if more else "")
