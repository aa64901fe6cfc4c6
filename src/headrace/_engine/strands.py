"""
Strands: the tasks and threads in which the code of a durable run is at work here, and which of them wait.

Where all of them wait for a moment or a signal, nobody needs the run in memory: its frames unwind by `Suspended`, its
record says what it waits for, and whoever takes it up goes on from there. Nothing here waits, but for commits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import attrs

from headrace._engine.begin import forget
from headrace._engine.promises import Gate, guard
from headrace._engine.races import branch
from headrace._engine.runs import FlowRunning, Run, TaskRunning
from headrace._engine.transactions import current
from headrace._engine.waits import outside
from headrace._model.annotations import watch
from headrace._model.events import SUSPENDED
from headrace._model.ids import prefix_of
from headrace._model.records import Suspension, instant
from headrace._model.states import State
from headrace._ports import Host
from headrace.errors import Suspended


@attrs.frozen(eq=False)
class Wait:
    """
    One wait.

    Attributes:
        rouse: Has who waits look up; from any thread.
        counts: Whether it is the flow's own code that waits, so that unloading interrupts no task.
        gates: What it is for, where others of the run open that: once all are open, it is over.
        lasts: Whether it is for time or a signal, and not for another strand.
        old: When it has lasted long enough for the run to be unloaded, in nanoseconds since 1970.
        at_once: Whether it has from the beginning.
        until: When it is over by itself, in nanoseconds since 1970; None: never.
        signal: What it is for: the flow run that reads it, and its name.
    """

    rouse: Callable[[], object]
    counts: bool
    gates: tuple[Gate, ...] = ()
    lasts: bool = False
    old: int = 0
    at_once: bool = False
    until: int | None = None
    signal: tuple[str, str] | None = None


class Strands:
    """
    Those of one durable run.

    Attributes:
        begun: The tasks and threads in which runs of it have begun, and not ended.
        flows: The flow runs among these runs.
        waits: Who waits, by task or thread: also some that are none of *begun*, made by the flow's code itself.
        turns: How often any of that has changed.
        suspension: What is left of it once it is unloaded, from the moment in which that is decided.
        state: The state that it has from then on; None before.
        left: The flow runs that have unwound since.
    """

    def __init__(self, root_id: str) -> None:
        self.root_id = root_id
        self.begun: set[Any] = set()
        self.flows: dict[FlowRunning, None] = {}
        self.waits: dict[Any, Wait] = {}
        self.turns = 0
        self.suspension: Suspension | None = None
        self.state: State[Any] | None = None
        self.left: list[FlowRunning] = []

    # -- what is at work ------------------------------------------------------------------------------------------

    def enter(self, run: Run, strand: Any) -> None:
        """Hear that *run* begins in the task or thread *strand*."""
        with guard:
            self.turns += 1
            if strand not in self.begun:
                self.begun.add(strand)
                run.strand = strand
            if isinstance(run, FlowRunning):
                self.flows[run] = None

    def leave(self, run: Run) -> None:
        """Hear that *run* has ended."""
        if run.strand is None and not isinstance(run, FlowRunning):
            return
        with guard:
            self.turns += 1
            self.begun.discard(run.strand)
            if isinstance(run, FlowRunning):
                self.flows.pop(run, None)
        run.strand = None

    def wait(
        self,
        run: Run,
        strand: Any,
        rouse: Callable[[], object],
        gates: Collection[Gate] = (),
        *,
        between: bool = False,
        **about: Any,
    ) -> None:
        """
        Hear that the code of *run* waits in *strand*, until `go_on`; or that it itself waits *between* two attempts.

        *about* the wait is what a `Wait` says; the *gates* are what it is for, where others of the run open them.
        """
        counts = own_code(run, between) and current.get() is None and not outside(run.scope.past, gates)
        wait = Wait(rouse, counts, tuple(gates), **about)
        with guard:
            self.turns += 1
            self.waits[strand] = wait

    def go_on(self, strand: Any) -> None:
        """Hear that the wait in *strand* is over."""
        with guard:
            self.turns += 1
            self.waits.pop(strand, None)

    def refuse(self) -> None:
        """
        See that the run is not being unloaded.

        Raises:
            Suspended: It is.
        """
        if self.state is not None:
            raise Suspended(self.root_id)

    # -- unloading ------------------------------------------------------------------------------------------------

    def look(self, run: Run, *, at_once: bool = False) -> None:
        """Have the run around *run* be unloaded, if that can be, and no wait of it is over soon, unless *at_once*."""
        journal = run.scope.journal
        root = journal.live.get(self.root_id)
        if root is not None:
            self.rest(root, journal.now() + (0 if at_once else int(journal.unload_after * 1e9)))

    def complete(self, run: Run) -> None:
        """Look, as *run* begins to wait for others: those whose waits are old have looked, and do not for a while."""
        with guard:
            idle = self.begun <= self.waits.keys()
            lasting = [wait for wait in self.waits.values() if wait.lasts] if idle else []
        now = run.scope.journal.now()
        old = [wait for wait in lasting if wait.old <= now]
        if old:
            self.look(run, at_once=any(wait.at_once for wait in old))

    def rest(self, root: FlowRunning, soon: int) -> bool:
        """Have *root* be unloaded, if that can be, and it does not go on before *soon*; tell whether it is."""
        turns = self.turns
        return self.may_rest(root, soon) and self.suspend(root, turns)

    def may_rest(self, root: FlowRunning, soon: int) -> bool:
        """Tell whether *root* can be unloaded: nobody waits for it, all of it waits, and goes on after *soon*."""
        if not unloadable(root):
            return False
        with guard:
            waits = [self.waits.get(strand) for strand in self.begun]
            over = any(wait.gates and all(gate.opened for gate in wait.gates) for wait in self.waits.values())
            ends = [wait.until for wait in self.waits.values() if wait.until is not None]
        if over or not all(wait is not None and wait.counts for wait in waits) or min(ends, default=soon) < soon:
            return False
        return all(flow.crew is None or flow.crew.rests() for flow in list(self.flows))

    def suspend(self, root: FlowRunning, turns: int) -> bool:
        """Have all frames of *root* unwind, if nothing has changed since *turns* were counted; tell whether they do."""
        with guard:
            if self.turns != turns or self.state is not None:
                return False
            waits = list(self.waits.values())
            lasting = [wait for wait in waits if wait.lasts]
            wake_at = min((wait.until for wait in lasting if wait.until is not None), default=None)
            signals = tuple(dict.fromkeys(wait.signal for wait in lasting if wait.signal is not None))
            self.suspension = Suspension(self.root_id, wake_at, signals)
            self.state = State(*SUSPENDED, message=said(wake_at, signals))
        watch.stops = True
        root.scope.journal.unloaded[self.root_id] = root.call.promise
        for flow in list(self.flows):
            flow.scope.tell = forget  # the record is that of a run that waits, whatever its cleanup does
            if flow.crew is not None:
                flow.crew.suspend(self.state)
        for wait in waits:
            wait.rouse()
        return True

    async def left_off(self, run: Run, host: Host) -> None:
        """Hear that *run* has unwound; once the root has, have it on record that it waits."""
        if run.ended or self.state is None:
            return
        run.ended, run.final = True, self.state
        if run.call is not None:
            run.call.unwanted = True  # how it ends is no failure
        if isinstance(run, FlowRunning):
            self.left.append(run)
        if run.id != self.root_id:
            return
        journal, at = run.scope.journal, host.clock.now()
        for flow in self.left:
            journal.tell((flow, SUSPENDED, at, self.state.message))
        await host.settled(journal)
        if journal.waking is not None and self.suspension is not None and self.suspension.wake_at is not None:
            journal.waking.at(self.suspension.wake_at)


def own_code(run: Run, between: bool) -> bool:
    """
    Tell whether code in *run* is a flow's own, as far as its strand goes: a race's branch is, a task's body is not.

    A task *between* two attempts is in no body. A timeout is a process's own: it would begin anew in the next one.
    """
    inner: Run | None = run
    while inner is not None:
        at_work = isinstance(inner, TaskRunning) and inner.started and inner.spec.fn is not branch
        if (at_work or inner.spec.timeout is not None) and not (between and inner is run):
            return False
        if inner.strand is not None:
            return True
        inner = inner.parent
    return True


def unloadable(root: FlowRunning) -> bool:
    """Tell whether *root* was submitted to a runtime that takes up runs, and nobody here wants to hear of its end."""
    past, call = root.scope.past, root.call
    if call is None or call.owner is None or call.owner.run is not None or root.scope.journal.waking is None:
        return False
    promise = call.promise
    awaited = promise.awaited or call.mapped is not None
    stuck = past.problem is not None or past.lost is not None or past.holding or past.dry
    return not (awaited or stuck or root.stopping is not None)


def said(wake_at: int | None, waits: Collection[tuple[str, str]]) -> str:
    """Say what a run waits for: a moment, signals, or who resumes it, whose answer is named after a place in it."""
    moment = "" if wake_at is None else f"{instant(wake_at):%Y-%m-%d %H:%M:%S} UTC"
    names = dict.fromkeys(repr(name) for run_id, name in waits if not name.startswith(prefix_of(run_id)))
    parts = [f"for the signal {' or '.join(names)}"] if names else []
    if any(name.startswith(prefix_of(run_id)) for run_id, name in waits):
        parts.append("to be resumed")
    if not parts:
        return f"It sleeps until {moment}."
    return f"It waits {' or '.join(parts)}" + (f", until {moment} at most." if moment else ".")
