"""
The composition root: settings become store, journal, back office, observer and hosts. Builds, never decides.

One runtime a process, made at the first run and replaced in a forked child.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import attrs

from headrace._engine import promises
from headrace._engine.context import current_run
from headrace._engine.journal import Journal
from headrace._engine.runs import FlowRunning, Run
from headrace._hosts.clock import wall
from headrace._hosts.rooted import WORKER
from headrace._hosts.signals import terminations
from headrace._hosts.thread import ThreadHost, stopping_guard
from headrace._model.urls import IN_MEMORY, POSTGRESQL, shown
from headrace._ports import Host, Observer, Progress, Store
from headrace.errors import CrewGone, RunningLoopError, SettingError, StartingError

if TYPE_CHECKING:
    from headrace._engine.ledger import Ledger
    from headrace._hosts.processes import ProcessHost
    from headrace._runners.concurrent import Shop
    from headrace._runners.crew import Crew
    from headrace.settings import Settings

CHILDREN: Final = 1 << 47  # task runs that a forked child calls within its parent's runs are numbered from here
THREADS: Final = 64  # for submitted sync bodies, in the whole process
TRACING: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def draw_prefix() -> str:
    """Draw the first four groups of a new root's id."""
    # As uuid.uuid4 does it, without the 5 ms that importing uuid costs: version 4, variant 10.
    digits = os.urandom(10).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{'89ab'[int(digits[16], 16) & 3]}{digits[17:20]}-"


class Runtime:
    """What the runs of a process share."""

    def __init__(self, settings: Settings, store: Store | None = None, draw: Callable[[], str] = draw_prefix) -> None:
        from headrace._telemetry import logs  # noqa: PLC0415 - for those who run something

        self.settings = settings
        logs.set_up(settings.log_level, wall.read)
        self.journal = Journal(draw=draw, level=settings.durability, now=wall.read)
        self.journal.patience = settings.cleanup_seconds
        self.journal.unload_after = settings.unload_after
        self.journal.open_ledger = self.open_ledger
        self.journal.open_limits = self.open_limits
        self.journal.past_of = _past_of
        if settings.persist_results or settings.refresh_cache:
            from headrace._engine.plans import Keeps  # noqa: PLC0415 - for those who keep results

            self.journal.keeps = Keeps(persist=settings.persist_results or None, refresh=settings.refresh_cache)
        self.furnish(store or open_store(settings))
        self.progress = self.journal.progress = open_progress(self)

    def furnish(self, store: Store) -> None:
        """Give the journal a back office that commits into *store*."""
        from headrace._office import BackOffice  # noqa: PLC0415 - asyncio: 45 ms that importing headrace need not cost
        from headrace._owners import owner  # noqa: PLC0415 - for those who run something

        journal = self.journal
        self.store = store
        journal.observer = open_observer(self.settings)
        self.office = BackOffice(store, journal)
        journal.opened = journal.desk = None
        journal.at_once, journal.on_loop = self.office.at_once, self.office.on_loop
        journal.start(self.office.wake, owner())

    @property
    def lasts(self) -> bool:
        """Whether the store outlives the process."""
        return self.settings.database_url not in IN_MEMORY

    def open_ledger(self) -> Ledger:
        """Give what knows of results in this process; made by the first who asks."""
        with _ledger_guard:
            if self.journal.opened is None:
                self.journal.opened = _desks().ledger_of(self)
            ledger: Ledger = self.journal.opened
            return ledger

    def open_limits(self) -> Any:
        """Give who hands out slots of limits in this process; made by the first who asks."""
        with _ledger_guard:
            if self.journal.desk is None:
                self.journal.desk = desk = _desks().desk_of(self)
                if "opentelemetry.metrics" in sys.modules:
                    from headrace._telemetry.meters import metered  # noqa: PLC0415 - for those who measure

                    desk.waited = metered(desk)
            return self.journal.desk

    def close(self) -> None:
        """Commit what is left and end the back office."""
        self.office.close()
        if self.progress is not None:
            self.progress.close()


def _desks() -> Any:
    """Give what makes ledgers and desks."""
    from headrace import _desks as desks  # noqa: PLC0415 - for those who keep results or have limits

    return desks


_ledger_guard = threading.Lock()
# Reentrant, so that a run within the making of the runtime meets a sentence instead of itself.
_guard = threading.RLock()
_current: Runtime | None = None
_making = False


def current() -> Runtime:
    """
    Give the runtime of this process; make it where there is none yet.

    Raises:
        SettingError: The environment says something that cannot be.
        StartingError: A run was begun by a module that Headrace itself was just importing.
    """
    return _current or _made()


def _made() -> Runtime:
    """Make the runtime of this process, unless another thread has done so meanwhile."""
    global _current, _making
    with _guard:
        if _making:
            raise StartingError
        if (worker := imported_by_worker()) is not None:
            raise StartingError(worker)
        if _current is None:
            _making = True
            try:
                from headrace.settings import Settings  # noqa: PLC0415 - for those who run something

                _current = Runtime(Settings.read())
            finally:
                _making = False
        return _current


def replace(runtime: Runtime | None) -> Runtime | None:
    """Use *runtime* from now on, None to make one anew at the next run; give the one before."""
    global _current
    with _guard:
        before, _current = _current, runtime
    return before


@attrs.define(eq=False)
class Opening:
    """
    A runtime opened by a block, which outlives the flow runs in it.

    Attributes:
        runtime: Who records root runs.
        journal: What they tell to; that of *runtime*, maybe with a durability of its own.
        runner: Where what is submitted outside of flow runs goes; None for the usual.
        home: Where the block runs; None in blocking code.
        crew: What was submitted outside of flow runs.
    """

    runtime: Runtime
    journal: Journal
    runner: Any
    home: Any
    crew: Crew = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin with nothing submitted."""
        self.crew = make_crew(self.journal, None, "wait", self.runner, self.home)

    @property
    def loop(self) -> Any:
        """The event loop that runs in the block; None in blocking code."""
        return getattr(self.home, "loop", None)


inside: Final[ContextVar[Opening | None]] = ContextVar("headrace_runtime", default=None)
_openings: Final[list[Opening]] = []


def opening() -> Opening | None:
    """
    Give the runtime that this code is in, as far as blocks opened one.

    That around this code, where the context tells; else the one opened last on the loop that runs here, or, where none
    runs, in the process: a request's handler does not descend from the block around the server.
    """
    if not _openings:
        return None
    around = inside.get()
    if around is not None and around in _openings:
        return around
    asyncio = sys.modules.get("asyncio")
    loop = None if asyncio is None else asyncio._get_running_loop()
    for one in reversed(_openings):
        if loop is None or one.loop is loop:
            return one
    return None


def desk() -> Journal:
    """Give the journal that root runs tell to; looks for a tracer provider that came since."""
    around = opening()
    runtime = current() if around is None else around.runtime
    if runtime.journal.observer is None and "opentelemetry.sdk.trace" in sys.modules:
        runtime.journal.observer = open_observer(runtime.settings)
    return runtime.journal if around is None else around.journal


def journal_here() -> Journal:
    """Give the journal that the code on this stack tells to: that of its run, or that of root runs."""
    run = current_run.get()
    return desk() if run is None else run.scope.journal


def enter(one: Opening) -> None:
    """Have *one* be used, until `leave`."""
    _openings.append(one)


def leave(one: Opening) -> None:
    """Use *one* no more."""
    _openings.remove(one)


def open_store(settings: Settings) -> Store:
    """
    Give the store that the database URL names; opens nothing yet.

    Raises:
        SettingError: The URL is of a kind we do not know.
        MissingExtra: It is of a kind that needs packages which are not installed.
    """
    url = settings.database_url
    if url in IN_MEMORY:
        from headrace._stores.memory import MemoryStore  # noqa: PLC0415 - one store is used, the others need not load

        return MemoryStore()
    if url.startswith("sqlite:///") and len(url) > len("sqlite:///") and "?" not in url:
        from pathlib import Path  # noqa: PLC0415 - with urllib.parse 9 ms, paid at the first run instead of at import
        from urllib.parse import unquote  # noqa: PLC0415 - see above

        from headrace._stores.sqlite import SQLiteStore  # noqa: PLC0415 - sqlite3 and aiosqlite: 50 ms

        # As SQLAlchemy writes it: what follows the third slash is the path, so four slashes begin an absolute one.
        return SQLiteStore(Path(unquote(url.removeprefix("sqlite:///"))).expanduser(), settings.sqlite_synchronous)
    if url.partition("://")[0] in POSTGRESQL and "://" in url:
        from headrace._stores.postgres import PostgresStore  # noqa: PLC0415 - asyncpg: 100 ms

        return PostgresStore(url)
    known = "sqlite:///PATH (sqlite:////absolute/path), postgresql://USER:PASSWORD@HOST/DATABASE or memory:"
    raise SettingError("HEADRACE_DATABASE_URL", shown(url), known)


def open_observer(settings: Settings) -> Observer | None:
    """
    Give the maker of spans; None while nobody listens.

    Somebody does when the application has set an SDK tracer provider, or when OTEL_EXPORTER_OTLP_ENDPOINT is set.
    """
    asked = any(os.environ.get(name) for name in TRACING) and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"
    if "opentelemetry.sdk.trace" not in sys.modules and not asked:
        return None
    from headrace._telemetry import provider  # noqa: PLC0415 - the SDK costs 200 ms and is loaded only for those who trace

    return provider.observer(wall.read, export=asked, map_limit=settings.trace_map_limit)


def open_progress(runtime: Runtime) -> Progress | None:
    """Give what shows the progress of *runtime*'s maps and streams; None where stderr is no terminal, or it is off."""
    from headrace._telemetry import logs  # noqa: PLC0415 - there by now

    stream = sys.stderr
    if not runtime.settings.progress or not logs.on_terminal(stream) or child_process():
        return None
    from headrace._telemetry.progress import Progress as Shown  # noqa: PLC0415 - only where there is a terminal

    return Shown(stream, wall.read, runtime.office.later)


def imported_by_worker() -> str | None:
    """Give the name of the worker process of ours that this is, while it imports the program that started it."""
    process = sys.modules.get("multiprocessing.process")
    if process is None or not getattr(process.current_process(), "_inheriting", False):
        return None
    name: str = process.current_process().name
    return f"The {name}" if name.startswith(WORKER) else None


def child_process() -> bool:
    """Tell whether multiprocessing made this process: the terminal is its parent's to draw on."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


_forks: Final[list[ExitStack]] = []


def _before_fork() -> None:
    """
    Have the back office's store at rest, and no thread at what all threads share: the child would find it locked.

    Nor one that starts a worker process, which the child could not let go of before its parent knows it.
    """
    stack = ExitStack()
    for host in _process_hosts:
        stack.enter_context(host.children.starting)
    for runtime in in_use():
        stack.enter_context(runtime.office.still())
    stack.enter_context(promises.guard)
    stack.enter_context(stopping_guard)
    _forks.append(stack)


def _in_parent() -> None:
    """Let the store go on."""
    _forks.pop().close()


def _in_child() -> None:
    """
    Furnish a forked child's runtime anew: its parent's back office, and its connection, did not come along.

    The journal stays, because runs that were in progress at the fork go on telling to it. Their own rows are their
    parent's to write; tasks that the child calls within them are its own, and count from a number drawn at random.
    """
    global _guard, _crews, _shop, _ledger_guard
    _guard, _crews, _shop, _ledger_guard = threading.RLock(), threading.Lock(), None, threading.Lock()
    terminations.reset()
    for host in _process_hosts:
        host.children.forget()
    _in_parent()
    run = current_run.get()
    while run is not None:
        run.inherited = True
        run.scope.counter = itertools.count(CHILDREN | int.from_bytes(os.urandom(3), "big") << 20)
        if isinstance(run, FlowRunning):
            run.crew = None
        run = run.parent
    for runtime in in_use():
        runtime.journal.live = {}
        _left_behind.append(runtime.store)
        runtime.furnish(open_store(runtime.settings))
    for one in _openings:
        # Its loop and its threads stayed behind, and what was submitted is the parent's to run.
        one.home = None
        one.begin()


def in_use() -> list[Runtime]:
    """Give the runtimes of this process: its own, and those that blocks opened."""
    found = [one.runtime for one in _openings]
    return list(dict.fromkeys(found if _current is None else [_current, *found]))


# Stores of parents are kept, for a connection that is collected in the child would close the parent's file under it.
_left_behind: Final[list[Store]] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)


def crew_of(run: Run | None) -> Any:
    """Give the crew of the flow run that *run* belongs to; outside of flows that of the runtime around, if any."""
    if run is None:
        around = opening()
        return None if around is None else around.crew
    above: Run | None = run
    while above is not None and not isinstance(above, FlowRunning):
        if above.parent is None and above.call is not None:
            return above.call.crew
        above = above.parent
    # What a mirrored flow run's body starts, it starts in another process.
    return None if above is None or above.away else above.crew or made_crew(above)


def made_crew(run: FlowRunning) -> Any:
    """
    Make the crew of *run*, at the first that is submitted in it.

    Raises:
        CrewGone: The run has ended.
        RunningLoopError: It is a sync flow, called in async code on a loop: at its end it could not wait for anything.
    """
    if run.ended:
        raise CrewGone(run.label, None)
    if run.crew is None and not run.spec.is_async and not thread_host.may_block():
        raise RunningLoopError(
            f"Submitting in the sync flow {run.spec.name!r}, which waits for it at its end,",
            f"`await {run.spec.function_name.rpartition('.')[2]}.submit(...)`",
        )
    with _crews:
        if run.crew is None:
            options = run.spec.options
            policy = options.get("on_child_failure", "wait")
            run.crew = make_crew(run.scope.journal, run, policy, options.get("task_runner"), run.home)
        return run.crew


def make_crew(journal: Journal, run: FlowRunning | None, policy: str, runner: Any, home: Any) -> Crew:
    """Make a crew whose calls go where *runner* says; None stands for the usual one."""
    from headrace._runners.crew import Crew  # noqa: PLC0415 - for those who submit

    crew = Crew(wall, journal, run, policy)
    crew.loop = getattr(home, "loop", None)
    crew.lanes = shop().lanes(crew, home, None) if runner is None else runner.open(shop(), crew, home)
    return crew


def shop() -> Shop:
    """Give what the crews of this process share."""
    global _shop
    if _shop is None:
        from headrace._runners.concurrent import Shop  # noqa: PLC0415 - asyncio, for those who submit

        _shop = Shop(THREADS, lambda: host_for(True), thread_host, process_host)
    return _shop


_crews = threading.Lock()
_shop: Shop | None = None


def _past_of(run: FlowRunning) -> Any:
    """Give what a durable flow run that begins has on record."""
    from headrace._engine.past import past_of  # noqa: PLC0415 - for those whose flows are durable

    return past_of(run)


def keeper() -> Any:
    """Give what composes the keeping of results around a body."""
    from headrace._engine.keeping import keeping  # noqa: PLC0415 - for those who keep results

    return keeping


def policies() -> Any:
    """Give the module of cache policies."""
    from headrace._engine import policies as module  # noqa: PLC0415 - for those who cache

    return module


thread_host: Final = ThreadHost(desk, keeper)
_loop_hosts: Final[list[Host]] = []
_process_hosts: Final[list[ProcessHost]] = []


def process_host() -> ProcessHost:
    """Give the host of bodies that are called in worker processes."""
    if not _process_hosts:
        from headrace._hosts.processes import ProcessHost  # noqa: PLC0415 - multiprocessing, for those who want processes

        _process_hosts.append(ProcessHost(desk, keeper, "headrace._worker.program"))
    return _process_hosts[0]


def carried() -> Any:
    """Give the module of what stands for traces in a worker process."""
    from headrace._telemetry import carried as module  # noqa: PLC0415 - the SDK, for workers whose flow is traced

    return module


def host_for(is_async: bool) -> Host:
    """Give the host of async functions or of sync ones."""
    if not is_async:
        return thread_host
    if not _loop_hosts:
        from headrace._hosts.loop import LoopHost  # noqa: PLC0415 - asyncio: 45 ms that programs without async need not pay

        _loop_hosts.append(LoopHost(desk, keeper))
    return _loop_hosts[0]
