"""
Resuming: a durable run that was left behind is taken over, its code is found again, and it goes on where it was.

Who has a run is a row with an epoch: whoever moves it on has it, and what its last owner still writes is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextvars import copy_context
from typing import Any, Final, TypeAlias, cast
from weakref import WeakValueDictionary

from headrace._engine.context import NO_TAGS, current_run, current_tags, resuming
from headrace._engine.journal import Journal
from headrace._engine.life import LEFT
from headrace._engine.past import PARAMETERS, Past
from headrace._engine.step_names import transitions
from headrace._loading import NotFound, loaded
from headrace._model.events import SUSPENDED
from headrace._model.records import FlowRun, Owned, StoredResult
from headrace._owners import PROCESS, SILENCE, dead
from headrace._ports import Host, Store
from headrace._suspects import SUSPECT, given_up, on_trial, steps_in
from headrace.errors import AmbiguousRunId, CrashLoop, HeadraceError, NotResumable, RunHeld, RunNotFound, wrong_type

Called: TypeAlias = tuple[tuple[Any, ...], dict[str, Any]]
Claim: TypeAlias = tuple[Any, Past, tuple[Any, ...], dict[str, Any]]
CRASHES: Final = 5  # processes that may end in a row while they run it, none having recorded a step
CRASHED: Final = ("CRASHED", "Crashed")
log: Final = logging.getLogger("headrace.engine")
# Runs that this process has taken, by their ids: until each begins, it is in no list of what is in progress.
claims: Final[WeakValueDictionary[str, Past]] = WeakValueDictionary()


class InTurn(NotResumable):
    """A run that is taken up in its turn is not to be taken up yet."""


def held(owned: Owned, leases: dict[str, int], journal: Journal) -> float | None:
    """Tell for how many seconds somebody has *owned* at least; None where it can be taken."""
    now = journal.now()
    if owned.suspended:
        return None
    if owned.owner == journal.owner:
        return SILENCE / 1e9 if owned.run_id in journal.live or about_to_begin(owned.run_id) else None
    if dead(owned.owner, leases, owned.since, now):
        return None
    return (leases.get(f"{PROCESS}{owned.owner}", owned.since + SILENCE) - now) / 1e9


def about_to_begin(run_id: str) -> bool:
    """Tell whether this process has taken the run *run_id* to go on with it, and has not begun yet."""
    past = claims.get(run_id)
    return past is not None and not past.begun


async def one_of(store: Store, run_id: str) -> FlowRun:
    """
    Give the flow run whose id is, or begins with, *run_id*.

    Raises:
        OptionTypeError: It is no text.
        RunNotFound: There is none.
        AmbiguousRunId: There are several.
    """
    if not isinstance(cast("object", run_id), str):
        raise wrong_type("a flow run", "The id", "a text", run_id)
    begins = run_id.strip().lower()
    runs = await store.flow_runs(begins=begins, limit=5) if begins else []  # every id begins with the empty text
    if not runs:
        raise RunNotFound("flow", run_id, "List them: headrace flow-run ls")
    if len(runs) > 1:
        raise AmbiguousRunId("flow", run_id, [run.id for run in runs])
    return runs[0]


async def looked_at(store: Store, journal: Journal, run_id: str) -> tuple[FlowRun, Owned]:
    """
    Give the run *run_id* and who had it, if it can go on here.

    Raises:
        RunNotFound, AmbiguousRunId: It is none, or several.
        NotResumable: It was not durable, is part of another, or has ended.
        RunHeld: Somebody has it.
    """
    run = await one_of(store, run_id)
    owned = await store.owners.one(run.id)
    refuse_plain(run)
    if has_ended(run):
        step = "Run its flow anew." if run.state.is_completed() else f"Retry it: headrace flow-run retry {run.id[:8]}"
        raise NotResumable(run.id, f"it has ended as {run.state.name}", step)
    if owned is None:
        raise NotResumable(
            run.id, "it is part of another flow run", f"Resume that: headrace flow-run resume {run.parent_id or 'ID'}"
        )
    seconds = held(owned, await store.owners.leases(PROCESS), journal)
    if seconds is not None and not given_up(run, owned):
        raise RunHeld(run.id, owned.owner, seconds)
    return run, owned


def refuse_plain(run: FlowRun, refused: type[NotResumable] = NotResumable) -> None:
    """
    See that *run* was durable.

    Raises:
        NotResumable: As *refused*: it was not.
    """
    if run.durability != "strict":
        raise refused(run.id, "it was not durable", "Declare its flow with @flow(durable=True), and run it anew.")


def refuse_part(run: FlowRun, refused: type[NotResumable]) -> None:
    """
    See that *run* is no part of another.

    Raises:
        NotResumable: As *refused*: it is.
    """
    if run.parent_id is not None:
        step = f"Say it of that: headrace flow-run {refused.to} {run.parent_id[:8]}"
        raise refused(run.id, "it is part of another flow run", step)


def has_ended(run: FlowRun) -> bool:
    """Tell whether the durable *run* has come to an end from which nobody takes it up, as one that crashed is."""
    return run.state.is_final() and not run.state.is_crashed()


def code_of(run: FlowRun, refused: type[NotResumable] = NotResumable) -> Any:
    """
    Give the flow that *run* is a run of.

    Raises:
        NotResumable: As *refused*: its code is not to be found any more.
    """
    try:
        flow = loaded(run.entrypoint or "", run.flow_name)
    except NotFound as error:
        raise refused(run.id, str(error), f"Put its code back to where it was, and {refused.to} it then.") from None
    if flow.spec.shape != "call":
        raise refused(run.id, "its flow is a generator, and nobody takes its items any more", "Run it anew.")
    return flow


async def take(store: Store, journal: Journal, run: FlowRun, owned: Owned, turns: bool = False) -> Past:
    """
    Have this process have a run; give what is on record of it.

    Args:
        turns: Whether it waits while a suspect is on trial here, if it is one itself.

    Raises:
        RunHeld: Somebody else was faster.
        InTurn: It is to wait.
        CorruptResult, MissingResult: Its parameters are not there any more.
    """
    steps = await steps_in(store, run)
    # What waited for its turn in a process that ended had no part in that, nor what was left by one told to end.
    took_part = not owned.suspended and run.epoch >= owned.epoch and run.state.message != LEFT
    crashes = 0 if steps > owned.steps else owned.crashes + took_part
    now = journal.now()
    if about_to_begin(run.id):
        raise RunHeld(run.id, journal.owner)
    # One in a crash loop is told so, and runs nothing that could end the process.
    if turns and SUSPECT <= crashes < CRASHES and await on_trial(store, journal):
        raise InTurn(run.id, "another run that processes have ended with is on trial", "It is taken up after that.")
    past = claims[run.id] = Past(run.id, owned.epoch + 1)
    try:
        if not await store.owners.take(owned, journal.owner, now=now, crashes=crashes, steps=steps):
            raise RunHeld(run.id, None)
    except BaseException:
        claims.pop(run.id, None)
        raise
    await past.load(store)  # only now: what its last owner does from here on is not recorded
    if crashes >= CRASHES:
        past.doom = CrashLoop(run.id, crashes)
    follow(past)
    if not past.earlier or past.earlier[-1][0] not in {CRASHED, SUSPENDED}:
        past.earlier.append((CRASHED, now, f"Its owner, {owned.owner}, ended or was silent for longer than its lease"))
    return past


def follow(past: Past) -> None:
    """Have what goes on from *past*, which has been read, follow the states and the spans that there were."""
    past.taken_over()
    if past.root is not None:
        past.trace_id = None if past.root.trace_id is None else int(past.root.trace_id, 16)
        past.earlier = transitions(past.root)


async def read(store: Store, owned: Collection[Owned]) -> list[tuple[Owned, Past]]:
    """Give what is on record of suspended runs, under the epoch of who claims them next."""
    found = [(one, Past(one.run_id, one.epoch + 1)) for one in owned]
    histories = await store.histories([one.run_id for one in owned])
    for one, past in found:
        past.hold(histories.get(one.run_id))
        follow(past)
    return found


def parameters(past: Past, journal: Journal) -> Called:
    """
    Give what the run was called with.

    Raises:
        NotResumable: That is not on record.
    """
    return called_with(past.root_id, past.results.get(f"{past.root_id} {PARAMETERS}"), journal)


def called_with(
    run_id: str, kept: StoredResult | None, journal: Journal, refused: type[NotResumable] = NotResumable
) -> Called:
    """
    Give what the run *run_id* was called with, as it is *kept*.

    Raises:
        NotResumable: As *refused*: it is not, or cannot be read.
    """
    if kept is None:
        raise refused(run_id, "what it was called with is not on record", "Run its flow anew.")
    try:
        called = journal.ledger.vault.unpack(kept)
    except HeadraceError as error:
        why = str(error).removesuffix(".")
        raise refused(run_id, f"what it was called with cannot be read: {why}", "Run it anew.") from None
    return tuple(called["args"]), dict(called["kwargs"])


async def claimed(
    host: Host, journal: Journal, run_id: str, known: Callable[[FlowRun], Any] = code_of, *, turns: bool = False
) -> Claim:
    """
    Have the run *run_id* be this process's; give its flow, its past and what it was called with.

    Args:
        known: Gives the flow of a run.
        turns: Whether it waits while a suspect is on trial here, if it is one itself.

    Raises:
        DurableError, RunNotFound, AmbiguousRunId: It cannot go on here; says why.
    """

    async def look(store: Store) -> tuple[FlowRun, Owned]:
        return await looked_at(store, journal, run_id)

    run, owned = await host.with_store(journal, look)
    flow = known(run)  # before it is taken: what cannot go on here is left to others

    async def taking(store: Store) -> Past:
        return await take(store, journal, run, owned, turns)

    past: Past = await host.with_store(journal, taking)
    try:
        args, kwargs = parameters(past, journal)
    except BaseException:
        claims.pop(run.id, None)
        raise
    log.info("Flow run %r goes on where it was left, with %d finished steps on record", run.name, ended_in(past))
    return flow, past, args, kwargs


def ended_in(past: Past) -> int:
    """Count the steps of *past* that have ended."""
    return sum(one.id != past.root_id and one.state.is_final() for one in past.steps.values())


def going_on(past: Past, begin: Callable[[], Any]) -> Any:
    """Have *begin*, which calls or submits the flow, go on with the run of *past*."""

    def inside() -> Any:
        current_run.set(None)
        current_tags.set(NO_TAGS if past.root is None else frozenset(past.root.tags))
        resuming.set(past)
        try:
            return begin()
        except BaseException:
            claims.pop(past.root_id, None)
            raise

    return copy_context().run(inside)
