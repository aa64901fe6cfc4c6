"""
Visits: one call's stay in a worker process, from handing it over to hearing how it ended, as its run sees it.

What the body says meanwhile is passed on by its correspondence.
"""

from __future__ import annotations

import math
import pickle
import signal
import time
from typing import Any, Final

from headrace._engine import lines
from headrace._engine.begin import hear
from headrace._engine.runs import Run
from headrace._engine.steps import Elapsed
from headrace._hosts.children import Child, Children, Gone
from headrace._hosts.letters import Letters
from headrace._hosts.parcels import Parcel, reason, unpacked_error
from headrace._hosts.wire import Done, Errand
from headrace._model.states import StateType
from headrace.errors import NotPicklable, RunCancelled, WorkerDied, WorkerStartError

STARTING: Final = 120.0  # seconds that a worker may take to import what it needs
GRACE: Final = 2.0  # seconds that a body may take to clean up after it was asked to stop
HANDED: Final = 3  # workers that may die on being handed a call, before it is the call's fault


class Visit:
    """
    One call in a worker.

    Attributes:
        child: The worker, while it is lent to this call.
    """

    def __init__(self, children: Children, run: Run, errand: Errand, parcel: Parcel, blanks: bytes) -> None:
        self.children = children
        self.run = run
        self.errand = errand
        self.parcel = parcel
        self.blanks = blanks
        self.child: Child | None = None
        self.letters = Letters(run)

    def outcome(self, seconds: float) -> Any:
        """
        Give what the body returned; it has *seconds* for that, from when its worker has imported what it needs.

        Raises:
            BaseException: Whatever the body raised.
            Elapsed: It took longer. Its worker was killed.
            RunCancelled: The run is to stop. The body has ended, or its worker was killed.
            WorkerDied: The worker did.
            WorkerStartError: No worker starts.
            NotPicklable: What the body returned cannot be handed over.
        """
        hear(self.run)
        code = 0
        for _ in range(HANDED):
            child = self.child = self.children.lend()
            self.run.stops = [*(self.run.stops or ()), child.rouse]
            try:
                self.wait_until_ready(child)
                done, load = self.work(child, seconds)
                self.give_back()
            except Gone:
                begun = child.took()
                code = self.lose(StateType.CRASHED)
                if begun:
                    break
                # It died while it was idle: another one will do.
            except BaseException as error:
                self.lose(StateType.CRASHED if isinstance(error, WorkerDied) else StateType.CANCELLED)
                raise
            else:
                return self.result(done, load)
            finally:
                self.run.stops = [one for one in self.run.stops or () if one is not child.rouse] or None
        raise WorkerDied(self.run.label, self.run.id, f"{ending(code)}. {advice(code)}")

    def give_back(self) -> None:
        """Let others have the worker, which waits for work."""
        child, self.child = self.child, None
        if child is not None:
            child.took()
            self.children.back(child)

    def lose(self, state: StateType) -> int:
        """End the worker, if it is still lent, and in *state* the runs that its body called; give its exit code."""
        code = 0 if self.child is None else self.children.lost(self.child)
        self.child = None
        self.letters.orphaned(state, f"Its worker process {ending(code)}.")
        return code

    def wait_until_ready(self, child: Child) -> None:
        """
        Wait until *child* can take something.

        Raises:
            WorkerStartError: It never will.
            RunCancelled: The run is to stop.
        """
        deadline = time.monotonic() + STARTING
        while not child.ready:
            try:
                message = child.next(max(0.0, deadline - time.monotonic()))
            except Gone:
                how = ending(self.lose(StateType.CRASHED))
                why = unready(f"it {how} before it was ready; what it said is on stderr")
                self.children.refuse(why)
                raise why from None
            if self.run.stopping is not None and not self.run.heard:
                self.give_back()
                hear(self.run)
            if message is not None:
                child.ready = True
            elif time.monotonic() >= deadline:
                raise unready(f"it was not ready after {STARTING:g} s, and was killed")

    def work(self, child: Child, seconds: float) -> tuple[Done, bytes]:
        """
        Hand the call over to *child*, and listen until the body has ended.

        Raises:
            Gone: The worker has died.
            Elapsed: It took longer than *seconds*.
            RunCancelled: It was asked to stop, and did not end in time.
        """
        run = self.run
        try:
            child.line.send("work", self.errand, self.parcel.function, self.blanks, load=self.parcel.data)
        except OSError:
            raise Gone from None
        now = time.monotonic()
        deadline = end = math.inf
        while True:
            if end == math.inf and run.stopping is not None:
                end = now + GRACE
                child.tell("stop", run.id, run.stopping)
            if now >= end:
                lines.warn(run, "Did not end within %g s of being asked to; its worker process was killed", GRACE)
                raise self.cancelled()
            if now >= deadline:
                raise Elapsed
            until = min(deadline, end)
            try:
                message = child.next(None if until == math.inf else until - now)
            except Gone:
                if end == math.inf:
                    raise
                raise self.cancelled() from None
            if message is not None:
                if message[0] == "done":
                    return message[1:]
                if message[0] == "begun":
                    deadline = time.monotonic() + seconds
                else:
                    self.letters.heard(child, message)
            now = time.monotonic()

    def cancelled(self) -> RunCancelled:
        """Make what the run ends by, which was asked to stop and has heard it by now."""
        self.run.heard = True
        return RunCancelled(self.run.label, self.run.stopping or "")

    def result(self, done: Done, load: bytes) -> Any:
        """Give what the body returned, or raise what it raised."""
        run = self.run
        self.letters.mark(run, done.marks)
        if done.shown and run.span is not None:
            run.span.get_span_context()  # who asks for it relies on its being there
        if done.noticed:
            run.noticed = run.settles = True
        if not done.returned:
            error = unpacked_error(run.label, load)
            if run.stopping is not None and not isinstance(error, Exception):
                raise self.cancelled()
            raise error
        try:
            return pickle.loads(load)  # noqa: S301 - written by a process that this one started
        except Exception as error:
            remedy = "It cannot be made again in the process of the flow."
            raise NotPicklable(f"What {run.label} returned", reason(error), remedy) from error


def unready(why: str) -> WorkerStartError:
    """Make the error of a worker that did not become ready."""
    hint = "Workers import the program that starts them; put what it is to do below `if __name__ == '__main__':`"
    return WorkerStartError(f"{why}. {hint}")


def ending(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def advice(code: int) -> str:
    """Say what may have ended a process so, and what to do."""
    if code == -signal.SIGKILL:
        return "Often that is the system, out of memory: run fewer at once (max_workers), or hand over less"
    if code in {-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGILL, -signal.SIGFPE}:
        return "That is a fault in native code, such as an extension module's; stderr shows where Python was"
    if code < 0:
        return "Something outside of Headrace did that"
    return "Something that the body called ended it, as os._exit does; sys.exit would have ended the run alone"
