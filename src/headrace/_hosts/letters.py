"""
Letters: what a body in a worker process says while it is at work, passed on in the process of its run.

Lines go to the log, output to this process's streams, and what happens to the runs that the body calls to the journal,
under the names of their mirrors.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Iterable
from contextvars import Context, copy_context
from typing import Any, Final

from headrace._engine.begin import furnish
from headrace._engine.homes import Home
from headrace._engine.mirrors import Facts, known, mirrored, update
from headrace._engine.runs import FlowRunning, Run
from headrace._hosts.children import Child
from headrace._hosts.wire import Message
from headrace._model.events import CANCELLING, ENDED
from headrace._model.states import State, StateType

STREAMS: Final = ("stdout", "stderr")
REMEMBERED: Final = 100
NUMBERS: Final = 16  # for task runs that a body calls, at a time


class Letters:
    """
    What one body says.

    Attributes:
        mirrors: By id, the runs that the body called, and the context in which each is the current one. Of those that
            have ended, the last: something may still be said of them.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.journal = run.scope.journal
        self.mirrors: dict[str, tuple[Run, Context]] = {}
        self.over: deque[str] = deque()

    def heard(self, child: Child, message: Message) -> None:
        """Pass on what *child* says."""
        kind = message[0]
        if kind == "line":
            self.line(*message[1:])
        elif kind == "output":
            self.output(*message[1:])
        elif kind == "told":
            self.told(child, *message[1:])
        elif kind == "count":
            counter = self.run.scope.counter
            child.tell("numbers", [next(counter) for _ in range(NUMBERS)])
        elif kind == "ask":
            number = message[1]
            self.journal.ask(lambda problem: child.tell("committed", number, problem))

    def line(self, run_id: str | None, said: dict[str, Any]) -> None:
        """Say a log record as if it had been said here."""
        record = logging.makeLogRecord(said)
        run = self.run if run_id == self.run.id else self.mirrors[run_id][0] if run_id in self.mirrors else None
        if run is not None:
            record.__dict__["headrace_run"] = run
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)

    def output(self, name: str, data: bytes) -> None:
        """Write to this process's own stream, wherever that points."""
        stream = getattr(sys, name) if name in STREAMS else None
        if stream is not None and not getattr(stream, "closed", False):
            stream.write(data.decode(errors="replace"))
            stream.flush()

    def told(self, child: Child, facts: Facts, marks: Iterable[Message], stamp: Any, at: int, said: Any) -> None:
        """Tell the journal what happened to a run that the body called."""
        run = self.mirrors[facts.id][0] if facts.id in self.mirrors else self.mirror(child, facts)
        update(run, facts)
        if stamp == CANCELLING:
            if run.stopping is not None:
                return  # it was asked from here
            run.stopping = said or "asked in its worker process"
        self.mark(run, marks)
        run.scope.tell((run, known(stamp), at, said))
        if stamp[0] in ENDED or stamp is run.last:
            self.end(run)

    def end(self, run: Run) -> None:
        """Have *run* be over."""
        run.ended = True
        self.over.append(run.id)
        if len(self.over) > REMEMBERED:
            self.mirrors.pop(self.over.popleft(), None)
        if run.span is not None:
            run.span.close()
        self.journal.live.pop(run.id, None)

    def mark(self, run: Run, marks: Iterable[Message]) -> None:
        """Set on the span of *run* what was set where its body is."""
        if run.span is not None:
            for name, args in marks:
                getattr(run.span, name)(*args)

    def mirror(self, child: Child, facts: Facts) -> Run:
        """Make the mirror of a run that the body called."""
        above, around = self.mirrors.get(facts.above or "", (None, None))
        if facts.above == self.run.id:
            above = self.run
        around = copy_context() if around is None else around.copy()
        run = mirrored(facts, above, self.journal)
        if above is None or run.scope is not above.scope:
            around.run(furnish, run, settles=False)
        if isinstance(run, FlowRunning):
            run.home = Away(child, run)
            self.journal.live[run.id] = run
        if run.scope.trace is not None:
            around.run(run.scope.trace.attach, run)
        self.mirrors[facts.id] = run, around
        return run

    def orphaned(self, state: StateType, why: str) -> None:
        """End in *state* the runs that the body called, if any have not ended: it is gone."""
        for run, _ in list(self.mirrors.values())[::-1]:
            if not run.ended:
                stamp = (state.value, State(state).name)
                run.scope.tell((run, stamp, self.journal.now(), why))
                self.end(run)


class Away(Home):
    """Where the body of a mirrored flow run is: in a worker."""

    __slots__ = ("child", "run")

    def __init__(self, child: Child, run: Run) -> None:
        self.child = child
        self.run = run

    def interrupt(self) -> None:
        """Have the run itself hear that it is to stop."""
        self.child.tell("stop", self.run.id, self.run.stopping)
