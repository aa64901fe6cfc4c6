"""
Replaying: the history of a durable run, gone through by today's code, without a step being run or a row being written.

What is on record is given to the flow as at a resume; at the first step that is not, it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal

import attrs

from headrace import _runtime
from headrace._engine.past import Beyond, Past
from headrace._loading import NotFound
from headrace._model.records import FlowRun
from headrace._ports import Store
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


async def replayed(store: Store, run: FlowRun, flow: Any = None) -> Verdict:
    """Go through the history of *run*, which is in *store*, with *flow*, or with the flow that it is a run of."""
    past = Past(run.id, run.epoch)
    past.dry = past.over = True
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


def gone_through(run: FlowRun, past: Past, flow: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Verdict:
    """Call *flow* with what is on record; in a thread of its own, on which no loop runs."""

    def call() -> Any:
        came = flow(*args, **kwargs)
        return asyncio.run(came) if flow.spec.is_async else came

    ended = run.state
    try:
        value = going_on(past, call)
    except Beyond as end:
        if ended.is_final() and not ended.is_crashed():
            return Verdict(run, "adds", f"It asks for {end.step}, which is not on record.")
        return Verdict(run, "goes on", f"Behind {len(past.steps)} steps on record it goes on with {end.step}.")
    except NonDeterministicFlow as drift:
        return Verdict(run, "drifts", str(drift))
    except Exception as error:
        if ended.is_failed() and type(error).__name__ in (ended.message or ""):
            return Verdict(run, "same", f"It fails with {short(error)}, as it did.")
        return Verdict(run, "fails", f"It fails with {short(error)}, and ended as {ended} on record.")
    return same(run, past, value)


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
