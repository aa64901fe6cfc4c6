"""
Runs in progress: what the engine knows of a call while it lives. Made once a call, told to the journal, then dropped.

These are the engine's own, changed as the run goes on; `headrace._model.records` are what others see.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from headrace._engine.journal import Journal
from headrace._engine.spec import Spec
from headrace._model.annotations import watch
from headrace._model.events import CANCELLING, Stamp, Transition
from headrace._model.ids import FIRST
from headrace._model.naming import flow_run_name
from headrace._model.records import FlowRun, TaskRun, moment, task_run_name
from headrace._model.states import State
from headrace._ports import Crew, Home, Trace


class Scope:
    """What a root and the task runs below it share: where they tell, how surely, in which trace, under which ids."""

    __slots__ = (
        "attempt", "counter", "flow_run_id", "journal", "keeps", "level", "past", "prefix", "shown", "tell", "trace",
    )  # fmt: skip

    def __init__(self, journal: Journal, prefix: str, level: str, *, flow: bool) -> None:
        self.journal = journal
        self.prefix = prefix
        self.level = level
        self.flow_run_id = prefix + FIRST if flow else None
        # The flow's attempt: tasks note which one called them.
        self.attempt = 1
        self.counter: Iterator[int] = itertools.count(1)
        self.trace: Trace | None = None
        # What runs do with their results that do not say; None to keep none.
        self.keeps: Any = journal.keeps
        self.tell: Callable[[tuple[Any, ...]], None] = journal.tell
        # What a durable run has on record; None for the others. A `headrace._engine.past.Past`.
        self.past: Any = None
        # The last exceptions whose tracebacks were logged, so that a failure passing upwards is shown once.
        self.shown: tuple[BaseException, ...] = ()


class Run:
    """
    One call in progress.

    A plain class whose rarely used attributes have class defaults: 0.2 us to make against 0.4 with all of them set.
    """

    attempt = 1
    started = 0
    given_name: str | None = None
    span: Any = None
    error_type: str | None = None
    parameters: dict[str, Any] | None = None
    transitions: list[Transition] | None = None
    settles = False
    # In progress when this process was forked: the parent records it, we never do.
    inherited = False
    # A mirror of a run that lives in another process.
    away = False
    ended = False
    # The submitted call that it is; None for one called directly. A `headrace._engine.calls.Call`.
    call: Any = None
    # The state it ended in, where that is not the usual one.
    final: State[Any] | None = None
    # Where its body runs, where that matters.
    home: Home | None = None
    # What is called when it is to stop, while a thread waits in it.
    stops: list[Callable[[], object]] | None = None
    # Whether its body has heard that it is to stop: it is told once, so that its cleanup may go on.
    heard = False
    # Whether it ends what it had submitted, after its body: who stops it then comes too late to matter.
    closing = False
    # Whether a generator's body rests at a yield, while its consumer is at work.
    yields = False
    # The map or stream it is one of; a `headrace._engine.groups.Group`.
    group: Any = None
    # Slots that a generator has while its body rests at a yield; a `headrace._engine.admission.Holding`.
    slots: Any = None
    # Why it is to stop, once somebody wants that.
    stopping: str | None = None
    # Whether its body asked whether it is to stop and was told so: it then ends as Cancelled when the body returns.
    noticed = False
    # What it was called with, for who asks; let go of at its end, since the record outlives the call.
    args: tuple[Any, ...] | None = None
    kwargs: dict[str, Any] | None = None
    # What is to be stored of its result, together with its end: for who asks for the same, and as a step of a durable
    # run.
    kept: Any = None
    recorded: Any = None
    # What it came to as a step, as JSON, where that is small enough to be part of its row.
    value: str | None = None
    # What its result is kept under, and the run that computed it, with its trace, where it was found there.
    result_key: str | None = None
    cached_from: str | None = None
    cached_trace: str | None = None
    # The stamp it ended under, where that is of a kind that does not say so: a body may return Scheduled().
    last: Stamp | None = None
    flow_attempt = 1
    # Within a durable run: what it is called, so that it is found again, what it was called with, and how often it has
    # called what. And the states that it went through when somebody else ran it.
    step_id: str | None = None
    step_args: str | None = None
    calls: dict[Any, int] | None = None
    # Of a generator task within a durable run: what it has yielded, a `headrace._engine.tapes.Tape`, and how often.
    tape: Any = None
    items = 0
    earlier: Sequence[Transition] = ()
    # The task or thread that began with it, of a durable run.
    strand: Any = None

    def __init__(self, spec: Spec, scope: Scope, parent: Run | None, number: int, tags: frozenset[str]) -> None:
        self.spec = spec
        self.scope = scope
        self.parent = parent
        self.number = number
        self.tags = tags

    def stop(self, why: str) -> None:
        """Ask the run to end, for the reason *why*: from any thread, and heard at the body's next wait or call."""
        if self.stopping is not None or self.ended or self.closing:
            return
        self.to_stop(why)
        if self.home is not None:
            self.home.interrupt()

    def to_stop(self, why: str) -> None:
        """Have it known that the run is to stop."""
        watch.stops = True
        self.stopping = why
        self.scope.tell((self, CANCELLING, self.scope.journal.now(), why))
        for rouse in list(self.stops or ()):
            rouse()

    def ancestors(self) -> Iterator[Run]:
        """Give the runs above it, the nearest first."""
        above = self.parent
        while above is not None:
            yield above
            above = above.parent

    @property
    def id(self) -> str:
        """The run's UUID."""
        return f"{self.scope.prefix}{self.number:012x}"

    @property
    def named_by(self) -> str:
        """What its calls and draws are named by: of a generator also the item that it is about to yield."""
        name = self.step_id or self.id
        return name if self.tape is None else f"{name} {self.items}"

    @property
    def name(self) -> str:
        """The name given by the user's template, or the one worked out from the id."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """What log lines about the run begin with."""
        return f"{self.spec.kind.title()} run {self.name!r}"

    def record(self, state: State[Any]) -> Any:
        """Give the run as hooks see it."""
        raise NotImplementedError

    def stamped(self, state: State[Any], at: int) -> State[Any]:
        """Give *state* as this run's, entered at *at*."""
        raise NotImplementedError


def entered(state: State[Any], at: int, flow_run_id: str | None, task_run_id: str | None) -> State[Any]:
    """Give *state* as that of these runs, entered at *at*; a fifth of what attrs.evolve takes."""
    return State(
        state.type,
        state.name,
        message=state.message,
        data=state.data,
        timestamp=moment(at),
        flow_run_id=flow_run_id,
        task_run_id=task_run_id,
    )


class TaskRunning(Run):
    """A task run in progress."""

    @property
    def name(self) -> str:
        return self.given_name or task_run_name(self.spec.name, self.id)

    @property
    def flow_run_id(self) -> str | None:
        """The id of the flow run it belongs to; None outside flows."""
        return self.scope.flow_run_id

    @property
    def parent_task_run_id(self) -> str | None:
        """The id of the task run whose body called it."""
        return self.parent.id if isinstance(self.parent, TaskRunning) else None

    def record(self, state: State[Any]) -> TaskRun:
        return TaskRun(
            id=self.id,
            name=self.name,
            task_name=self.spec.name,
            state=state,
            flow_run_id=self.flow_run_id,
            parent_task_run_id=self.parent_task_run_id,
            start_time=moment(self.started) if self.started else None,
            end_time=state.timestamp if state.is_final() else None,
            run_count=self.attempt,
            tags=tuple(sorted(self.tags)),
        )

    def stamped(self, state: State[Any], at: int) -> State[Any]:
        return entered(state, at, self.flow_run_id, self.id)


class FlowRunning(Run):
    """
    A flow run in progress.

    Attributes:
        crew: All that was submitted in it; made at the first.
    """

    crew: Crew | None = None

    def stop(self, why: str) -> None:
        """
        Ask the run to end, and with it the flow runs that were called or submitted in it, and all that these submitted.

        Its own body first, so that this one hears that it is cancelled before it hears so of what it waits for.
        """
        if self.stopping is not None or self.ended or self.closing:
            return
        runs: list[FlowRunning] = [self, *self.below()]
        watch.stops = True
        for run in runs:
            run.stopping = why  # all of them before anybody is told: a body that looks meanwhile hears it as its own
        for run in runs:
            run.to_stop(why)
        for run in runs:
            # One that was called ends with its caller, whose task or thread it is in.
            if run.home is not None and (run is self or run.call is not None):
                run.home.interrupt()
        for run in runs:
            if run.crew is not None:
                run.crew.halt(why)

    def below(self) -> list[FlowRunning]:
        """Give the flow runs in progress that were called or submitted in it, and are neither to stop nor ending."""
        return [
            run
            for run in list(self.scope.journal.live.values())
            if run.stopping is None
            and not (run.ended or run.closing)
            and any(above is self for above in run.ancestors())
        ]

    @property
    def name(self) -> str:
        if self.given_name is None:
            self.given_name = flow_run_name(self.scope.prefix)
        return self.given_name

    def record(self, state: State[Any]) -> FlowRun:
        return FlowRun(
            id=self.id,
            name=self.name,
            flow_name=self.spec.name,
            state=state,
            flow_version=self.spec.version,
            parameters=dict(self.parameters or {}),
            parent_id=None if self.parent is None else self.parent.id,
            start_time=moment(self.started) if self.started else None,
            end_time=state.timestamp if state.is_final() else None,
            run_count=self.attempt,
            tags=tuple(sorted(self.tags)),
            durability=self.scope.level,
            owner=self.scope.journal.owner,
        )

    def stamped(self, state: State[Any], at: int) -> State[Any]:
        return entered(state, at, self.id, state.task_run_id)
