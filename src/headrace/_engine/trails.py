"""
Trails: the positions that streams over a cursor come by in a durable run, and what is on record of the items there.

Loaded with the past alone. Reads no source.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from headrace._engine.begin import begin_flow, begin_task
from headrace._engine.calls import Call
from headrace._engine.context import current_run
from headrace._engine.forms import formed
from headrace._engine.life import enlist, leave
from headrace._engine.past_spans import again
from headrace._engine.runs import Run
from headrace._engine.spec import Spec
from headrace._engine.step_names import Recorded, nth, qualified
from headrace._engine.transactions import rejoin
from headrace._engine.upstream import replaced
from headrace._model.events import RESULT
from headrace._model.hashing import combined, digest
from headrace._model.records import StoredResult
from headrace._model.states import State
from headrace._model.steps import arguments, step_id
from headrace._ports import Host
from headrace.errors import (
    NonDeterministicFlow,
    OptionError,
    OptionTypeError,
    SerializationError,
    StreamUseError,
    short,
)


class Placed(Call):
    """
    The call of an item that is told from others by its position, in place of its arguments.

    Attributes:
        step_id: What its run is called.
    """

    step_id = ""


class Recalled(Call):
    """
    The call of an item that has ended, of which nothing is known but how: its arguments were not read.

    Attributes:
        known: Its run on record.
        state: What that came to.
    """

    known: Recorded
    state: State[Any]

    def begin(self) -> Coroutine[Any, Any, Any]:
        """Give what stands for the life of its run, to be run in its context."""
        return over(self)


class Trail:
    """
    The positions that one stream in a durable run comes by, in order: those on record, and then those that are new.

    Each is recorded under its turn, and so is the end: a source that has grown since is not read beyond it. The step
    at a position is named by that, and not by its arguments.

    Attributes:
        run: The run that reads the stream.
        id: What the stream is called among those of the durable run.
        passed: How many positions it has come by.

    Raises:
        StreamUseError: Another one that nothing tells from this is being read; which is which could not be found out.
    """

    def __init__(self, past: Any, run: Run, spec: Spec, name: str, constants: list[Any]) -> None:
        self.past = past
        self.run = run
        self.spec = spec
        what = f"stream of {spec.kind} {spec.name} {qualified(spec)}"
        # Futures count for nothing here: what they come to is not known yet.
        by = f"{name} {arguments({'': replaced(constants, lambda _leaf: None)})}"
        self.own = (run.id, run.attempt, what, by)
        if self.own in self.past.streams:
            raise StreamUseError(
                spec.name, f"another one over Cursor({name}) is being read; tell them apart: Cursor(read, name='...')"
            )
        self.past.streams.add(self.own)
        self.id = step_id(run.named_by, what, by, nth(run, (what, by)))
        self.passed = 0

    @property
    def key(self) -> str:
        """What the next position is recorded under."""
        return f"{self.run.scope.prefix}{self.id}{self.passed:012x}"

    def ahead(self) -> list[Any] | None:
        """Give the next position on record, alone in a list; an empty one for the end, None where there is no more."""
        kept = self.past.results.get(self.key)
        return None if kept is None else list(self.run.scope.journal.ledger.vault.unpack(kept))

    def step(self, position: Any) -> str:
        """Name the step at *position*."""
        return combined(self.id, digest(position))

    def ended(self, position: Any) -> Recorded | None:
        """Give the run on record at *position*, if it has ended."""
        found: Recorded | None = self.past.steps.get(self.step(position))
        return found if found is not None and found.state.is_final() else None

    async def recalled(self, position: Any, known: Recorded, call: Call, host: Host) -> Recalled | None:
        """
        Come by *position*; give *call* as the one of the run *known* there.

        None where what that came to does not count, or is not to be had: then its input is to be read.
        """
        run = again(known, self.run)
        run.flow_attempt = self.run.scope.attempt
        state = await self.past.recalled(run, host, known)
        if state is None:
            return None
        found = Recalled(*taken(call))
        found.known, found.state = known, state
        self.past.asked.add(known.step_id)
        nth(self.run, self.step(position))
        self.passed += 1
        return found

    def come_by(self, position: Any, call: Call) -> Placed:
        """
        Come by *position*, which was read; give *call* as the one of the item there.

        Raises:
            NonDeterministicFlow: Another position is on record.
            OptionError: It has come before.
            OptionTypeError: It cannot be recorded.
        """
        kept = self.form(position)
        step = self.step(position)
        if nth(self.run, step) > 1:
            raise OptionError(
                f"The cursor of {self.spec.name}.stream() gave the position {short(position)} again. Each stands for "
                f"one item, and read(after) is to give only those that lie behind *after*."
            )
        self.note([position], kept)
        self.passed += 1
        placed = Placed(*taken(call))
        placed.step_id = step
        return placed

    def end(self) -> None:
        """
        Come by the end of the source.

        Raises:
            NonDeterministicFlow: Another position is on record.
        """
        self.note([], formed(self.run.scope.journal.ledger.vault, self.key, self.run, []))
        self.past.drew()

    def note(self, came: list[Any], kept: StoredResult) -> None:
        """See that what *came*, a position or nothing more, is what is on record, if anything is; else record it."""
        recorded = self.ahead()
        if recorded is None:
            self.run.scope.tell((self.run, RESULT, self.run.scope.journal.now(), kept))
        elif recorded != came:
            raise NonDeterministicFlow(f"The cursor of {self.spec.name}.stream()", [told(recorded)], [told(came)])

    def form(self, position: Any) -> StoredResult:
        """Give *position* as it is recorded."""
        if position is not None:
            with suppress(SerializationError):
                kept = formed(self.run.scope.journal.ledger.vault, self.key, self.run, [position])
                if kept.codec == "json":
                    return kept
        raise OptionTypeError(
            f"The cursor of {self.spec.name}.stream() gave the position {short(position)} ({type(position).__name__}), "
            f"which cannot be recorded. Give a text or a number, or a list or dict of such."
        )

    def close(self) -> None:
        """Have the stream be left; what it had come by before, and was left for now, is no step that is missed."""
        self.past.streams.discard(self.own)
        while recorded := self.ahead():
            self.past.asked.add(self.step(recorded[0]))
            self.passed += 1


def told(came: list[Any]) -> str:
    """Say what came of a cursor."""
    return f"the position {short(came[0])}" if came else "its end"


def taken(call: Call) -> tuple[Any, ...]:
    """Give what *call* was made of, for one that takes its place."""
    return call.promise, call.life, call.host, call.parent, call.context, call.args, call.kwargs, call.wait_for


async def over(call: Recalled) -> None:
    """Begin the run of *call*, and have it end at once as it is on record, for all who hear of ends but its body."""
    host, known = call.host, call.known
    run = (begin_task if call.spec.kind == "task" else begin_flow)(call.spec, host, call)
    past, trace = run.scope.past, run.scope.trace
    before = current_run.set(run)
    around = None if trace is None else trace.attach(run)
    try:
        enlist(run, call, host)
        past.rename(run, known.id)
        run.given_name, run.step_id, run.step_args = known.name, known.step_id, known.step_args
        run.flow_attempt = known.flow_attempt
        run.ended, run.final = True, call.state
        past.show(run, known)
        await rejoin(run, host, known)
    finally:
        leave(run, host, before, around)
