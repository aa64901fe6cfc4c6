"""
Replaying: the history of a durable run, gone through by today's code, without a step being run or a row being written.

What is on record is given to the flow as at a resume; at the first step that is not, it ends. A step that may be a
recorded one under another name gets what that came to: if that one is asked for as well, it was a new one after all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal

import attrs

from headrace import _runtime
from headrace._engine.past import Past
from headrace._engine.runs import Run
from headrace._engine.step_names import Recorded, called
from headrace._engine.waits import Beyond
from headrace._loading import NotFound
from headrace._model.records import FlowRun, TaskRun
from headrace._model.states import State
from headrace._model.steps import SIZE, as_called
from headrace._ports import Host, Store
from headrace._resuming import code_of, going_on, parameters
from headrace._runtime import Opening, Runtime
from headrace._stores.memory import MemoryStore
from headrace.errors import HeadraceError, NonDeterministicFlow, NotResumable, short

Outcome = Literal["same", "goes on", "adds", "drifts", "fails", "unknown"]


@attrs.frozen
class Verdict:
    """
    What today's code makes of one history.

    Attributes:
        outcome: "same": it ends as the run has ended. "goes on": the run has not, and the code goes on behind what is
            on record. "adds": the run had ended, and the code asks for a step more. "drifts": it goes another way.
            "fails": it ends otherwise. "unknown": the code, or what is on record, is not to be found.
        said: More of it, in a sentence.
        value: What it returned, where it did.
    """

    run: FlowRun
    outcome: Outcome
    said: str
    value: Any = None


class Inserted(Beyond):
    """A step was taken for a recorded one under another name, and is a new one: that one was asked for as well."""


class Rehearsal(Past):
    """
    What is on record of a durable run that is only gone through.

    Attributes:
        renamed: The recorded steps that others stood for, by their ids, each with the other, as people read it.
    """

    def __init__(self, run: FlowRun) -> None:
        super().__init__(run.id, run.epoch)
        self.dry = self.over = True
        self.renamed: dict[str, str] = {}

    async def enter(self, run: Run, host: Host, args: tuple[Any, ...], kwargs: dict[str, Any]) -> State[Any] | None:
        """
        Name *run*; give the state that it ended in before, under this name or another.

        Raises:
            Beyond: It is not on record, or one before it is not.
        """
        try:
            return await super().enter(run, host, args, kwargs)
        except Inserted:
            raise
        except Beyond as end:
            old = self.at_its_place(run)
            state = None if old is None else await self.recalled(run, host, old)
            if old is None or state is None:
                raise
            self.renamed[old.id] = end.step
            run.ended, run.final = True, state
            return state

    def find(self, run: Run) -> Recorded | None:
        """
        Give what is on record of *run*.

        Raises:
            Inserted: Another step stood for it.
        """
        known = super().find(run)
        if known is not None and known.id in self.renamed:
            raise Inserted(self.renamed.pop(known.id))
        return known

    def at_its_place(self, run: Run) -> Recorded | None:
        """Give the first step on record that *run*'s caller has not asked for, if it has the same arguments."""
        if run.parent is None or run.spec.options.get("persist_result") is False:
            return None  # that is never on record
        left = [one for one in self.below(run.parent) if one.step_id not in self.asked and one.id not in self.renamed]
        first = min(left, key=lambda one: one.id, default=None)
        theirs, ours = ("" if first is None else first.step_args or ""), run.step_args or ""
        alike = isinstance(first, TaskRun) and theirs[:SIZE] == ours[:SIZE] and ours[:SIZE].isalnum()
        return first if alike else None

    @property
    def hints(self) -> str:
        """Which recorded steps may have other names by now, in sentences; "" where none may."""
        pairs = [(self.runs[old], new) for old, new in self.renamed.items()]
        return "".join(f" Was {as_called(called(old), old.step_args)}, is now {new} (renamed?)." for old, new in pairs)


async def replayed(store: Store, run: FlowRun, flow: Any = None) -> Verdict:
    """Go through the history of *run*, which is in *store*, with *flow*, or with the flow that it is a run of."""
    past = Rehearsal(run)
    try:
        await past.load(store)
        if past.root is None:
            raise NotResumable(run.id, "it is not on record any more", "")
        found = code_of(run) if flow is None else flow
        with apart() as journal:
            args, kwargs = parameters(past, journal)
            return await asyncio.to_thread(gone_through, run, past, found, args, kwargs)
    except (NotFound, NotResumable) as error:
        return Verdict(run, "unknown", str(error))


@contextmanager
def apart() -> Generator[Any]:
    """Have what runs inside recorded nowhere."""
    settings = attrs.evolve(_runtime.current().settings, database_url="memory:", progress=False)
    runtime = Runtime(settings, MemoryStore())
    with inside(runtime) as journal:
        yield journal


@contextmanager
def inside(runtime: Runtime) -> Generator[Any]:
    """Have what runs inside recorded by *runtime*, which makes no spans, and is closed behind it."""
    runtime.journal.observer = None
    opening = Opening(runtime, runtime.journal, None, None)
    token = _runtime.inside.set(opening)
    _runtime.enter(opening)
    try:
        yield runtime.journal
    finally:
        _runtime.leave(opening)
        _runtime.inside.reset(token)
        runtime.close()


def gone_through(run: FlowRun, past: Rehearsal, flow: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Verdict:
    """Call *flow* with what is on record; in a thread of its own, on which no loop runs."""

    def call() -> Any:
        came = flow(*args, **kwargs)
        return asyncio.run(came) if flow.spec.is_async else came

    ended = run.state
    try:
        value = going_on(past, call)
    except Beyond as end:
        if past.hints and not isinstance(end, Inserted):
            return Verdict(run, "drifts", f"It goes on with {end.step}, and not by all that is on record.{past.hints}")
        return asks_for(end.step, run, past)
    except NonDeterministicFlow as drift:
        return Verdict(run, "drifts", f"{drift}{past.hints}")
    except Exception as error:
        if past.renamed:  # maybe since it got what another step came to
            return asks_for(next(iter(past.renamed.values())), run, past)
        if ended.is_failed() and type(error).__name__ in (ended.message or ""):
            return Verdict(run, "same", f"It fails with {short(error)}, as it did.")
        return Verdict(run, "fails", f"It fails with {short(error)}, and ended as {ended} on record.")
    return same(run, past, value)


def asks_for(step: str, run: FlowRun, past: Rehearsal) -> Verdict:
    """Tell that the code asks for *step*, which is not on record."""
    if run.state.is_final() and not run.state.is_crashed():
        return Verdict(run, "adds", f"It asks for {step}, which is not on record.{past.hints}")
    return Verdict(run, "goes on", f"Behind {len(past.steps)} steps on record it goes on with {step}.{past.hints}")


def same(run: FlowRun, past: Past, value: Any) -> Verdict:
    """Compare what the flow returned with what is on record."""
    kept = past.results.get(run.id)
    if not run.state.is_completed() or kept is None:
        if run.state.is_final() and not run.state.is_crashed():
            return Verdict(run, "fails", f"It returns {short(value)}, and ended as {run.state} on record.", value)
        return Verdict(run, "same", f"It returns {short(value)}, without a further step.", value)
    try:
        known = _runtime.current().journal.ledger.vault.unpack(kept)
    except HeadraceError as error:
        return Verdict(run, "unknown", f"What it returned cannot be read: {error}", value)
    if known == value or repr(known) == repr(value):
        return Verdict(run, "same", f"It returns {short(value)}, as it did.", value)
    return Verdict(run, "fails", f"It returns {short(value)}, and returned {short(known)} before.", value)
