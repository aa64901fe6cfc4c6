"""Embedding: a runtime for the life of an application, in which runs can go on beyond the request that started them."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Iterable
from contextvars import Token
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, TypeAlias, TypeVar, overload

import attrs

from headrace import _runtime
from headrace._decorated import Decorated
from headrace._engine.journal import Leveled
from headrace._engine.life import drive
from headrace._engine.scopes import names
from headrace._hosts.signals import terminations
from headrace._model.options import Durability, flag, level, runner, seconds, text
from headrace._model.states import State
from headrace._recovering import Recovery
from headrace._runtime import Opening
from headrace._submission import map_over, submit
from headrace.errors import OptionTypeError, RuntimeUseError, short
from headrace.flows import Flow
from headrace.futures import Future, FutureList
from headrace.settings import Settings
from headrace.tasks import Task

if TYPE_CHECKING:
    from headrace._runners.crew import Crew

P = ParamSpec("P")
T = TypeVar("T")
What: TypeAlias = Flow[P, T] | Task[P, T]
Waiting: TypeAlias = Coroutine[Any, Any, T]
OWNER: Final = "headrace.Runtime"
log: Final = logging.getLogger("headrace.engine")


class Runtime:
    """
    A place for runs that are submitted outside of flow runs: `async with Runtime():`, or `with` in blocking code.

    While the block is open, `submit`, `map` and `stream` work outside of flow runs, on the block's event loop. Leaving
    it waits for what was submitted, *drain_seconds* at most; what is still at work then is cancelled, and so is
    everything where the block is left by an exception. A web application opens it in its lifespan; see the how-to page
    on FastAPI.

    Several may be open at once, each with the database it names. Code that stands in none of their blocks, such as a
    request's handler, uses the one opened last on its event loop; `runtime.submit(...)` names one.

    Args:
        database_url: Where runs are recorded that begin in it; by default where all others are.
        durability: What flows do that do not say; by default as all others.
        task_runner: Where what is submitted runs, and how much of it at once; see `headrace.task_runners`.
        drain_seconds: Seconds, or a timedelta, that leaving the block waits. 30.
        recover: Whether durable runs that another process has left behind go on here, if this program has their flow.

    Raises:
        OptionError, OptionTypeError: An argument is out of bounds, or of the wrong type.
        SettingError: The database URL is of a kind that is not known; on entering.
    """

    def __init__(
        self,
        *,
        database_url: str | None = None,
        durability: Durability | None = None,
        task_runner: Any = None,
        drain_seconds: float | timedelta = 30.0,
        recover: bool = True,
    ) -> None:
        self._url = None if database_url is None else text(OWNER, "database_url", database_url)
        self._durability = None if durability is None else level(OWNER, "durability", durability)
        self._runner = None if task_runner is None else runner(OWNER, "task_runner", task_runner)
        self._drain = seconds(OWNER, "drain_seconds", drain_seconds)
        self._recovers = flag(OWNER, "recover", recover)
        self._recovery: Recovery | None = None
        self._opening: Opening | None = None
        self._own: _runtime.Runtime | None = None
        self._token: Token[Opening | None] | None = None

    # In the order of `Task.submit`, which says why the first two are no overlaps.
    @overload
    def submit(  # type: ignore[overload-overlap]
        self,
        what: What[..., Waiting[T]],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = ...,
        **kwargs: Any,
    ) -> State[T]: ...
    @overload
    def submit(  # type: ignore[overload-overlap]
        self,
        what: What[..., T],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = ...,
        **kwargs: Any,
    ) -> State[T]: ...
    @overload
    def submit(self, what: What[P, Waiting[T]], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
    @overload
    def submit(self, what: What[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]: ...
    @overload
    def submit(
        self,
        what: What[..., Waiting[T]],
        /,
        *args: Any,
        return_state: Literal[False] = ...,
        wait_for: Iterable[Any] | None = ...,
        **kwargs: Any,
    ) -> Future[T]: ...
    @overload
    def submit(
        self,
        what: What[..., T],
        /,
        *args: Any,
        return_state: Literal[False] = ...,
        wait_for: Iterable[Any] | None = ...,
        **kwargs: Any,
    ) -> Future[T]: ...

    def submit(self, what: Any, /, *args: Any, **kwargs: Any) -> Any:
        """
        Start a run of the flow or task *what* that belongs to this runtime, also from within another flow run.

        Gives a `headrace.futures.Future`. The run is a root of its own and goes on when the code around it has ended.

        Raises:
            RuntimeUseError: The block is not open.
            CrewGone: It is being left.
        """
        return submit(decorated(what), args, kwargs, self._here())

    @overload
    def map(
        self,
        what: What[..., Waiting[T]],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = ...,
        **kwargs: Any,
    ) -> list[State[T]]: ...
    @overload
    def map(
        self,
        what: What[..., T],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = ...,
        **kwargs: Any,
    ) -> list[State[T]]: ...
    @overload
    def map(
        self,
        what: What[..., Waiting[T]],
        /,
        *args: Any,
        return_state: Literal[False] = ...,
        wait_for: Iterable[Any] | None = ...,
        **kwargs: Any,
    ) -> FutureList[T]: ...
    @overload
    def map(
        self,
        what: What[..., T],
        /,
        *args: Any,
        return_state: Literal[False] = ...,
        wait_for: Iterable[Any] | None = ...,
        **kwargs: Any,
    ) -> FutureList[T]: ...

    def map(self, what: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Start a run for each item, as `Task.map` does, that belongs to this runtime. Raises what `submit` raises."""
        return map_over(decorated(what), args, kwargs, self._here())

    def _here(self) -> Opening:
        if self._opening is None:
            raise RuntimeUseError("it is not open. Submit inside its block: `async with runtime: ...`")
        return self._opening

    def _open(self, home: Any) -> None:
        if self._opening is not None:
            raise RuntimeUseError("it is open already. Make another one for another block")
        if self._url is not None:
            self._own = _runtime.Runtime(attrs.evolve(Settings.read(), database_url=self._url))
        runtime = self._own or _runtime.current()
        journal = runtime.journal if self._durability is None else Leveled(runtime.journal, self._durability)
        self._opening = Opening(runtime, journal, self._runner, home)
        self._token = _runtime.inside.set(self._opening)
        _runtime.enter(self._opening)
        if self._recovers:
            self._recovery = Recovery(self._opening)
            self._recovery.start()
        # What it holds may run in other threads, where SIGTERM reaches nobody: then this code is who hears it.
        terminations.hold(home is not None)

    def _leave(self) -> None:
        """Be used no more."""
        recovery, self._recovery = self._recovery, None
        if recovery is not None:
            recovery.stop()
        opening, self._opening = self._opening, None
        if opening is not None:
            _runtime.leave(opening)
            terminations.let_go(opening.home is not None)
        token, self._token = self._token, None
        if token is not None:
            try:
                _runtime.inside.reset(token)
            except ValueError:  # left in another context than it was entered in, where it was never set
                token = None

    def _close(self) -> None:
        """Let go of a database of its own."""
        self._leave()
        own, self._own = self._own, None
        if own is not None:
            own.close()

    def _abandon(self, crew: Crew) -> None:
        """Leave behind what did not end in time, and say so."""
        late = crew.abandon("it did not end in time after it was cancelled")
        if late:
            log.warning(
                "A runtime was left while %s went on, though cancelled. What they return is dropped", names(late)
            )

    async def __aenter__(self) -> Runtime:
        host: Any = _runtime.host_for(True)
        self._open(host.home(None))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        host = _runtime.host_for(True)
        opening = self._here()
        crew, journal = opening.crew, opening.journal
        rest = crew.finish()
        try:
            try:
                if error is None and not await host.until([rest], self._drain):
                    leave_behind(opening)
                    crew.stop(self._late())
            except BaseException as stop:
                error = stop
                raise
            finally:
                if error is not None:
                    leave_behind(opening)
                    crew.stop(left_by(error))
                if not await host.until([rest], journal.patience, shielded=True):
                    self._abandon(crew)
        finally:
            self._leave()
            if self._own is not None:
                await host.settled(journal)  # so that closing it has nothing to wait for
            self._close()

    def __enter__(self) -> Runtime:
        self._open(None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        opening = self._here()
        crew, journal = opening.crew, opening.journal
        rest = crew.finish()

        def until(seconds: float) -> bool:
            return bool(drive(_runtime.thread_host.until([rest], seconds, shielded=True)))

        try:
            try:
                if error is None and not until(self._drain):
                    leave_behind(opening)
                    crew.stop(self._late())
            except BaseException as stop:
                error = stop
                raise
            finally:
                if error is not None:
                    leave_behind(opening)
                    crew.stop(left_by(error))
                if not until(journal.patience):
                    self._abandon(crew)
        finally:
            self._close()

    def _late(self) -> str:
        return f"its runtime was left {self._drain:g} s before"


def leave_behind(opening: Opening) -> None:
    """Have the durable runs in *opening*, which is being left, be unloaded, or end as Crashed: others take them up."""
    now = opening.journal.now()
    for run in list(opening.journal.live.values()):
        past = run.scope.past
        if past is not None and run.call is not None and run.call.crew is opening.crew:
            past.leaves = not past.strands.rest(run, now)


def left_by(error: BaseException) -> str:
    """Say why what a runtime holds is to stop."""
    return f"its runtime was left by {type(error).__name__}"


def decorated(what: Any) -> Decorated:
    """
    Give the flow or task *what*.

    Raises:
        OptionTypeError: It is neither.
    """
    if not isinstance(what, Decorated):
        raise OptionTypeError(
            f"A runtime runs flows and tasks, not {short(what)}. Decorate the function with @flow or @task, and hand "
            f"it over without calling it: runtime.submit(my_flow, 1)."
        )
    return what
