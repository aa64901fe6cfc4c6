"""
Receiving: a run waits for the next signal of a name. What a durable run reads is on record before it goes on.

A signal leaves the store in the same commit in which a durable run records it, so that a crash neither loses nor
doubles it. A run that is not durable takes it out at once.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from headrace._engine.forms import formed
from headrace._engine.journal import Journal
from headrace._engine.past import Past
from headrace._engine.runs import FlowRunning, Run
from headrace._engine.sealing import holds, within
from headrace._engine.signals_lines import Inbox, Turn
from headrace._engine.step_names import nth
from headrace._engine.waits import Beyond, waited
from headrace._model.events import READ, RESULT
from headrace._model.records import StoredResult, instant, nanoseconds
from headrace._model.signals import Signal
from headrace._model.steps import step_id
from headrace._ports import Host, Store
from headrace.errors import MissingContextError
from headrace.errors.signals import SignalContextError

# What is on record of a receive: a signal, that none came in time, or that who waited went without what had come.
LATE: dict[str, Any] = {"late": True}
GONE: dict[str, Any] = {}


def receiver(run: Run | None, name: str) -> FlowRunning:
    """
    Give the flow run that reads signals *name* for *run*: itself, or the one that it is part of.

    Raises:
        MissingContextError: There is none.
        SignalContextError: Nothing can be sent to it from here.
    """
    flow = run
    while flow is not None and not isinstance(flow, FlowRunning):
        flow = flow.parent
    if flow is None:
        raise MissingContextError("What is sent to a flow run")
    refuse_worker(flow.scope.journal, name)
    if flow.inherited:
        raise SignalContextError(name, "this process was forked amid the flow run. Receive it in the one that runs it.")
    if flow.scope.level == "off":
        raise SignalContextError(name, "the run is not recorded, as its durability is 'off'. Say 'batched'.")
    return flow


def refuse_worker(journal: Journal, name: str) -> None:
    """
    See that the code here can come to the store.

    Raises:
        SignalContextError: It runs in a worker process.
    """
    if not journal.keeps_results:
        raise SignalContextError(name, "this is a worker process. Do it in the flow that calls the task.")


async def received(run: Run | None, host: Host, name: str, seconds: float) -> Signal | None:
    """
    Give the next signal *name* for *run*; None where none comes within *seconds*.

    Raises:
        MissingContextError, SignalContextError: None can come here.
        StoreUnavailable: It cannot be read, or recorded.
        LostRun: Another process has the run by now.
    """
    flow = receiver(run, name)
    assert run is not None
    past: Past | None = run.scope.past
    if past is None:
        return await following(run, host, Turn(flow, name), lambda: later(run.scope.journal, seconds))
    refuse_held(run, f"receives {name!r}")
    place, number = placed(run, f"receive {name}")
    known = await recorded(run, host, past, place)
    if known == LATE:
        return None
    if known:
        return Signal(flow.id, name, known["data"], instant(known["at"]), known["key"], known["asked"])
    if past.dry:
        raise Beyond(f"receive({name!r})")
    what = f"receive {name} {number}"
    return await following(run, host, Turn(flow, name), lambda: deadline(run, what, seconds), place)


async def answered(
    run: Run, host: Host, name: str, seconds: float, ask: Callable[[str, int | None], Awaitable[str | None]]
) -> str | None:
    """
    Give what *ask* gives, which gets a key for the request and the end of its time: in a durable run, once.

    Raises:
        StoreUnavailable: It cannot be recorded.
        LostRun: Another process has the run by now.
    """
    past: Past = run.scope.past
    place, number = placed(run, f"ask {name}")
    known = await recorded(run, host, past, place)
    if not known:
        if past.dry:
            raise Beyond(f"ask({name!r})")
        answer = await ask(place, deadline(run, f"ask {name} {number}", seconds))
        known = LATE if answer is None else {"data": answer}
        await record(run, host, place, known)
    return known.get("data")


def deadline(run: Run, what: str, seconds: float) -> int | None:
    """Give the moment at which *what* is over, in nanoseconds since 1970, which is recorded; None for never."""
    if math.isinf(seconds):
        return None
    attempt = run.scope.attempt
    what = f"deadline of {what}" if attempt == 1 else f"deadline of {what}, attempt {attempt}"
    moment: int | None = run.scope.past.drawn(run, what, lambda: later(run.scope.journal, seconds))
    return moment


def refuse_stopped(run: Run) -> None:
    """
    See that what *run* does is on record.

    Raises:
        StoreUnavailable, LostRun: It is part of a durable run that the store, or this process, has lost.
    """
    past: Past | None = run.scope.past
    problem = None if past is None else past.lost or past.problem
    if problem is not None:
        raise problem
    if past is not None:
        past.strands.refuse()


def refuse_held(run: Run, what: str) -> None:
    """
    See that *run* may do *what*, which waits for the database.

    Raises:
        StepTransactionError: It is in a step transaction, whose lock on the database it may wait for.
    """
    if holds(run):
        raise within(run, what)


def placed(run: Run, what: str) -> tuple[str, int]:
    """Give what *run* records this *what* under, and how often it did so by now, this time counted."""
    number = nth(run, what)
    return f"{run.scope.prefix}{step_id(run.named_by, what, None, number)}", number


def later(journal: Journal, seconds: float) -> int | None:
    """Give the moment in *seconds*, in nanoseconds since 1970; None for never."""
    return None if math.isinf(seconds) else journal.now() + int(seconds * 1e9)


def about(signal: Signal | None) -> dict[str, Any]:
    """Give what is recorded of *signal*, or of that none came."""
    if signal is None:
        return LATE
    return {"data": signal.data, "at": nanoseconds(signal.at), "key": signal.key, "asked": signal.asked}


async def following(
    run: Run,
    host: Host,
    turn: Turn,
    deadline: Callable[[], int | None],
    place: str | None = None,
    said: Callable[[Signal | None], dict[str, Any]] = about,
) -> Signal | None:
    """
    Wait for one's *turn* and for a signal, until the *deadline*; record under *place* what came of it, as *said*.

    The deadline is asked for when there is something to wait for: of a durable run it is recorded.
    """
    until: list[int | None] = []
    late = False
    try:
        while True:
            refuse_stopped(run)
            mine = turn.come()
            signal = await found(run, host, turn, keeps=place is not None) if mine else None
            if signal is not None or late:
                if place is not None:
                    await record(run, host, place, said(signal), None if signal is None else signal.id)
                if signal is not None:
                    del turn.inbox.got[turn.name]
                return signal
            until = until or [deadline()]
            who = (run.scope.flow_run_id or run.id, turn.name)
            late = not await waited(host, turn.gate, until[0], signal=who, at_once=turn.at_once)
    finally:
        turn.leave()


async def found(run: Run, host: Host, turn: Turn, *, keeps: bool) -> Signal | None:
    """Give the first signal there is, which stays in the inbox; out of the store, unless that *keeps* it for now."""
    inbox: Inbox = turn.inbox
    flow_run_id = run.scope.flow_run_id

    async def look(store: Store) -> None:
        if turn.name in inbox.got:
            return  # for one before, who has gone
        for signal in await store.signals.unread([flow_run_id or ""], name=turn.name, limit=1):
            if not keeps:
                await store.signals.heard([signal])
            inbox.got[turn.name] = signal

    if turn.name not in inbox.got:
        await host.with_store(run.scope.journal, look)
    return inbox.got.get(turn.name)


async def kept_at(run: Run, host: Host, past: Past, place: str) -> dict[str, Any]:
    """Give what is on record under *place*; GONE where nothing is."""
    kept = past.results.get(place)
    if kept is None:
        return GONE
    unpack = partial(run.scope.journal.ledger.vault.unpack, kept)
    known: dict[str, Any] = unpack() if kept.data is not None else await host.aside(unpack)
    return known


async def recorded(run: Run, host: Host, past: Past, place: str) -> dict[str, Any]:
    """Give what is on record under *place*; GONE where nothing is that counts: another attempt waits anew."""
    known = await kept_at(run, host, past, place)
    late = known.get("late")  # in which attempt of the flow, the first as True
    if late is None:
        return known
    return LATE if late == run.scope.attempt else GONE


async def record(run: Run, host: Host, place: str, what: dict[str, Any], number: int | None = None) -> None:
    """
    Record *what* came under *place*, and with it that the signal *number* was read; it is safe when this is over.

    Raises:
        StoreUnavailable, LostRun: It is not; the signal is unread still.
    """
    scope, past = run.scope, run.scope.past
    if what == LATE and scope.attempt > 1:
        what = {"late": scope.attempt}
    told(run, place, await past.packed(run, host, place, what), number)
    try:
        problem = await host.settled(scope.journal) or past.lost or past.problem
    except BaseException:
        # Who asked has gone amid the commit. What was read is the next one's, and so it is when the run is resumed.
        told(run, place, formed(scope.journal.ledger.vault, place, run, GONE))
        raise
    if problem is not None:
        raise problem


def told(run: Run, place: str, kept: StoredResult, number: int | None = None) -> None:
    """Tell what is to be on record under *place*: of the signal *number*, if it is one."""
    now = run.scope.journal.now()
    run.scope.past.results[place] = kept
    run.scope.tell((run, RESULT, now, kept) if number is None else (run, READ, now, (kept, number)))
