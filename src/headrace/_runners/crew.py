"""
The crew: all that one flow run, or a runtime outside of flows, has submitted, from the submission to the last end.

What was submitted has ended when the crew is at rest. Failures are kept until somebody looks at them, and said once if
nobody does. Counts and hands on; waits for nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from headrace._engine.calls import Call, held_up, leads_to, refuse_own_flow
from headrace._engine.groups import Group
from headrace._engine.journal import Journal
from headrace._engine.life import given_up, never_begun, unloads
from headrace._engine.promises import Countdown, Gate, Promise
from headrace._engine.runs import Run, TaskRunning
from headrace._engine.spec import Spec
from headrace._engine.upstream import unfinished
from headrace._model.events import GROUP
from headrace._model.states import State, StateType
from headrace._ports import Clock, Host
from headrace._runners.lanes import Lane
from headrace.errors import CrewGone

REMEMBERED: Final = 1_000


class Lanes(Protocol):
    """What a task runner makes for one crew."""

    def lane(self, spec: Spec) -> Lane:
        """Give the lane on which calls of *spec* run."""
        ...

    def host(self, spec: Spec) -> Host:
        """Give the host for which the lives of calls of *spec* are compiled."""
        ...

    def close(self, closed: Callable[[], object]) -> None:
        """Close all lanes, then call *closed*."""
        ...


class Many(Protocol):
    """A map: a source of calls that is cut short when the crew stops."""

    group: Group
    total: int | None

    def take(self) -> Call | None:
        """Make the next call that can begin."""
        ...

    def cut(self, why: str) -> None:
        """Give up the calls that have not been made yet, and count them out."""
        ...


class Crew:
    """
    What one flow run has submitted.

    Attributes:
        journal: Where its runs tell.
        run: The flow run; None for a runtime.
        rest: Opens when everything has ended, after `finish`.
        spared: Calls, and groups of maps, that the flow's body has submitted in its cleanup.
        failed: Promises of runs that did not complete, at most 1,000; `failures` counts them all.
        broke: Whether the first of them has stopped the flow.
    """

    lanes: Lanes

    def __init__(self, clock: Clock, journal: Journal, run: Run | None, policy: str) -> None:
        self.clock = clock
        self.journal = journal
        # That of the flow's body, where it has one: all that was submitted ends there.
        self.loop: Any = None
        self.run = run
        self.policy = policy
        self.guard = threading.Lock()
        self.left = 0
        # In the order in which they came, which is that in which they are stopped: sets have another one each time.
        self.calls: dict[Call, None] = {}
        self.begun: dict[Call, None] = {}
        self.many: set[Many] = set()
        self.spared: set[Any] = set()
        self.failed: list[Promise] = []
        self.failures = 0
        self.finishing = False
        self.stopping: str | None = None
        self.broke = False
        self.rest = Gate()

    # -- coming in -----------------------------------------------------------------------------------------------------

    def enter(self, calls: int) -> None:
        """
        Count *calls* in.

        Raises:
            CrewGone: Everything has ended, or is about to.
        """
        with self.guard:
            if self.stopping is not None or self.rest.opened or (self.finishing and not self.left):
                raise CrewGone(None if self.run is None else self.run.label, self.stopping)
            self.left += calls

    def submit(self, call: Call) -> None:
        """
        Take *call*: it runs when its turn comes, after those whose futures it was given have ended.

        Raises:
            CrewGone: Everything has ended, or is about to.
            WaitCircleError: One of the futures is of the flow run itself, or waits for it.
            RuntimeError: The system starts no more threads.
        """
        if call.group is None:
            call.submitted = self.clock.now()
        call.owner = self
        waits = unfinished(call.args, call.kwargs, call.wait_for)
        refuse_own_flow(call, self.run, waits)
        self.enter(1)
        with self.guard:
            self.calls[call] = None
            if self.cleans_up():
                self.spared.add(call)
        try:
            self.place(call, waits)
        except RuntimeError as error:
            with self.guard:
                self.calls.pop(call, None)
                call.stopping = f"it could not be begun: {error}"
            self.count_out(1)
            raise

    def map(self, source: Many) -> None:
        """
        Take the calls of a map.

        Raises:
            CrewGone: Everything has ended, or is about to.
            RuntimeError: The system starts no more threads.
        """
        self.enter(1 if source.total is None else source.total)
        group = source.group
        with self.guard:
            self.many.add(source)
            if self.cleans_up():
                self.spared.add(group)
        try:
            self.lanes.lane(group.spec).put(source, inner=isinstance(group.parent, TaskRunning))
        except RuntimeError as error:
            source.cut(f"it could not be begun: {error}")
            raise

    def cleans_up(self) -> bool:
        """Tell whether the flow's body has heard that it is to stop, so that what it submits is of its cleanup."""
        run = self.run
        if run is None or run.stopping is None:
            return False
        return run.heard or (run.home is not None and bool(run.home.told))

    def place(self, call: Call, waits: Sequence[Promise]) -> None:
        """Put *call* on its lane, once what it *waits* for has ended."""
        inner = isinstance(call.parent, TaskRunning)
        if not waits:
            self.lanes.lane(call.spec).put(call, inner=inner)
            return
        call.awaits = tuple(waits)

        def ready() -> None:
            call.awaits = ()
            if call.stopping is None:  # else it was dropped, and its lane may be gone
                self.lanes.lane(call.spec).put(call, inner=inner)

        Countdown(waits, ready)

    def hold(self, call: Call) -> bool:
        """
        Have a call of a map wait for what it was given, and be placed then; False if it may begin at once.

        It is claimed by that. Calls are noted without the guard here and in `ended`: one operation of theirs is never
        interrupted by another thread's.
        """
        waits = unfinished(call.args, call.kwargs, call.wait_for)
        if waits and not leads_to(held_up(self.run), waits):
            with self.guard:
                self.calls[call] = None
            self.place(call, waits)
            return True
        # Where it waits for its own flow run it begins, to fail with a sentence that says so.
        call.crew = self
        self.begun[call] = None
        if self.stopping is not None:
            call.stopping = self.stopping
        return False

    def claim(self, call: Call) -> bool:
        """Tell whether *call* may begin: nobody has dropped it meanwhile."""
        if call.crew is self:
            return True
        with self.guard:
            self.calls.pop(call, None)
            if call.stopping is not None:
                return False
            call.crew = self
            self.begun[call] = None
            return True

    # -- going out -----------------------------------------------------------------------------------------------------

    def ended(self, call: Call, value: Any) -> None:
        """
        Hear that *call* has ended: with *value*, where its run does not say otherwise.

        Of a call whose run could not begin, *value* is the exception.
        """
        try:
            del self.begun[call]
        except KeyError:
            return  # it was given up
        run = call.run
        if run is not None and self.run is None and unloads(run):
            run.call = None
            call.promise.unload(run.final)
            self.count_out(1)
            return
        if run is not None:
            final = run.final
            run.call = None  # they hold each other, and would be garbage that only a collection finds
        else:
            message = f"Its run could not begin: {type(value).__name__}: {value}"
            final = call.promise.stamped(State(StateType.CRASHED, message=message, data=value))
        self.leave(call, value, final, self.clock.now())

    def leave(self, call: Call, value: Any, final: State[Any] | None, at: int) -> None:
        """Settle what *call* came to, and count it out; the flow may end only after that."""
        promise = call.promise
        try:
            if call.mapped is None:
                promise.settle(value, final, at)
            else:
                call.mapped.settle(call, value, final, at)
        finally:
            self.counted(call, promise, final)

    def counted(self, call: Call, promise: Promise, final: State[Any] | None) -> None:
        """Count out *call*, which ended in *final*, where that is not the usual state."""
        failed = final is not None and not final.is_completed()
        group = call.group
        whole = first = False
        with self.guard:
            if group is not None:
                group.done += 1
                whole = group.done == group.total
            if failed:
                if group is not None:
                    group.failed += 1
                first = not call.unwanted and self.counts(promise)
            # The last of a group counts once that is told, below: the flow's end may be told right after.
            self.left -= not whole
            last = self.finishing and not self.left
        if whole and group is not None:
            self.whole(group)
        if first:
            self.failing(f"{promise.kind} run {promise.name!r}")
        if whole:
            self.count_out(1)
        elif last:
            self.lanes.close(self.rest.open)

    def missed(self, promise: Promise) -> bool:
        """
        Count a failure that is no run's but a map's source's; tell whether it is the first, and ends the others.

        Counted in as well, as something that goes on: to be counted out after `failing`, for the flow may end then.
        """
        with self.guard:
            self.left += 1
            return self.counts(promise)

    def counts(self, promise: Promise) -> bool:
        """Count a failure; tell whether it is the first, and ends the others. Called with the guard held."""
        self.failures += 1
        if len(self.failed) < REMEMBERED:
            self.failed.append(promise)
        return self.failures == 1 and self.policy == "cancel"

    def failing(self, what: str) -> None:
        """Stop the flow, and with it everything else, since *what* failed first; unless it is to stop anyway."""
        run = self.run
        if run is not None and run.stopping is None and not run.closing:
            self.broke = True
            run.stop(f"{what} failed")

    def whole(self, group: Group) -> None:
        """Tell that all runs of *group* have ended."""
        group.whole.open()
        run = group.parent
        if run is None:
            return
        if group.number:
            run.scope.tell((group, GROUP, self.clock.now(), None))
        if run.scope.journal.progress is not None:
            run.scope.journal.progress.end(group)

    def count_out(self, calls: int) -> None:
        """Count *calls* out; at the last, close."""
        with self.guard:
            self.left -= calls
            last = self.finishing and not self.left
        if last:
            self.lanes.close(self.rest.open)

    def finish(self) -> Gate:
        """Take nothing more, but from what still runs; give the gate that opens when all has ended."""
        with self.guard:
            first = not self.finishing
            self.finishing = True
            idle = first and not self.left
        if idle:
            self.lanes.close(self.rest.open)
        return self.rest

    def stop(self, why: str) -> None:
        """Stop everything, for the reason *why*, and take nothing more."""
        with self.guard:
            if self.stopping is not None:
                return
            self.stopping = why
        self.halt(why)

    def halt(self, why: str) -> None:
        """
        Stop all that was submitted so far: what has not begun never does, what runs is cancelled.

        What the cleanup of the flow's body submits afterwards runs.
        """
        with self.guard:
            waiting, running, many = list(self.calls), list(self.begun), list(self.many)
            if self.spared and self.stopping is None:
                # Whoever stops the flow comes to its crew last; the body may have heard, and clean up by then.
                spared = self.spared
                waiting, running = (
                    [call for call in calls if call not in spared and call.group not in spared]
                    for calls in (waiting, running)
                )
                many = [source for source in many if source.group not in spared]
            for call in waiting:
                call.stopping = why
                self.calls.pop(call, None)
        for call in running:
            call.stop(why)
        self.drop(waiting, why)
        for source in many:
            source.cut(why)

    def rests(self) -> bool:
        """Tell whether nothing is about to begin: all calls that have not begun wait for others that have."""
        with self.guard:
            queued = self.many or not all(call.awaits for call in self.calls)
            return not queued and all(call.run is not None and call.run.strand is not None for call in self.begun)

    def suspend(self, state: State[Any]) -> None:
        """Take nothing more, and give up what has not begun, without a word: the flow run is unloaded, in *state*."""
        with self.guard:
            self.stopping = state.message
            waiting, many = list(self.calls), list(self.many)
            for call in waiting:
                call.stopping, call.unwanted = state.message, True
                self.calls.pop(call, None)
        for call in waiting:
            self.leave(call, None, state, self.clock.now())
        for source in many:
            source.cut(state.message or "")

    def cancel(self, calls: Iterable[Call], why: str) -> None:
        """Stop some *calls*, for the reason *why*: a stream's, whose consumer has had enough. None is a failure."""
        given = list(calls)
        with self.guard:
            for call in given:
                call.unwanted = True
            waiting = [call for call in given if call in self.calls]
            for call in waiting:
                call.stopping = why
                self.calls.pop(call, None)
            running = [call for call in given if call in self.begun]
        for call in running:
            call.stop(why)
        self.drop(waiting, why)

    def drop(self, calls: Iterable[Call], why: str) -> None:
        """End *calls*, which never began: recorded as cancelled."""
        for call in calls:
            final, at = call.context.run(never_begun, call, why)
            self.leave(call, None, final, at)

    def abandon(self, why: str) -> list[str]:
        """Give up on what does not end: recorded as cancelled, whatever it does later; give the names of the runs."""
        with self.guard:
            late = list(self.begun)
            self.begun.clear()
        for call in late:
            final, at = given_up(call, why, self.clock.now())
            self.leave(call, None, final, at)
        self.rest.open()
        return [call.promise.name for call in late]

    def forsake(self) -> None:
        """Settle all, if the loop on which the flow ran was closed before its end: nobody else ever would."""
        if self.loop is None or not self.loop.is_closed() or self.rest.opened:
            return
        why = "its event loop was closed"
        self.stop(why)
        self.abandon(why)

    # -- afterwards ----------------------------------------------------------------------------------------------------

    def unseen(self) -> list[str]:
        """Give the names of runs that did not complete, and of which nobody asked what came of them."""
        stopped = self.stopping is not None
        return [
            promise.name
            for promise in self.failed
            if not promise.looked and not (stopped and promise.final is not None and promise.final.is_cancelled())
        ]

    def errors(self) -> list[Exception]:
        """Give the exceptions of the runs that failed by themselves, each once."""
        found: dict[int, Exception] = {}
        for promise in self.failed:
            error = promise.error
            if error is not None and promise.final is not None and not promise.final.is_cancelled():
                promise.looked = True
                found.setdefault(id(error), error)
        return list(found.values())
