"""
Signals: what is sent to a flow run in progress, from anywhere, and kept until the run reads it.

Functions here block; `headrace.aio` has the awaitable ones. What a durable flow reads is on record before it goes on.
"""

from __future__ import annotations

import math
from datetime import datetime
from enum import Enum
from typing import Any, Final, Generic, TypeVar, cast, overload
from uuid import uuid4

import attrs

from headrace import _runtime
from headrace._engine.coercion import fit, reason
from headrace._engine.context import current_run
from headrace._engine.life import drive
from headrace._engine.promises import Gate
from headrace._engine.runs import Run
from headrace._engine.signals import (
    answered,
    later,
    placed,
    received,
    receiver,
    refuse_held,
    refuse_stopped,
    refuse_worker,
)
from headrace._engine.signals_lines import askers, ring
from headrace._model.records import FlowRun, instant
from headrace._model.signals import Signal, as_data, named
from headrace._ports import Host, Store
from headrace._resuming import one_of
from headrace.errors import RunNotFound, wrong_type
from headrace.errors.signals import (
    NotReceiving,
    SignalContextError,
    SignalError,
    SignalNotPlain,
    SignalTimeout,
    SignalTooLarge,
    SignalTypeError,
    Unanswered,
)
from headrace.futures import seconds

__all__ = [
    "NotReceiving",
    "Request",
    "SignalContextError",
    "SignalError",
    "SignalNotPlain",
    "SignalTimeout",
    "SignalTooLarge",
    "SignalTypeError",
    "Unanswered",
    "ask",
    "receive",
    "receive_request",
    "send",
]

T = TypeVar("T")
D = TypeVar("D")
WHOLE: Final = 36  # signs of an id
SOON: Final = 0.05  # seconds between looks for an answer from another process; doubled up to
SELDOM: Final = 0.5
BEGINS_WITHIN: Final = 1_000_000_000  # nanoseconds that a run which was submitted has until it is on record


class Missing(Enum):
    """Stands for a default that was not given."""

    MISSING = "missing"


MISSING: Final = Missing.MISSING


def send(run: FlowRun | str, name: str, value: Any = None, *, key: str | None = None) -> bool:
    """
    Send *value* to a flow run, which reads it by `receive` under that *name*; tell whether it was not sent before.

    It is kept until the run reads it or ends, whichever process runs it, and has reached the disk when this returns.

    Args:
        run: A flow run, its id, or the beginning of that. One that has not begun is waited for, a second at most.
        name: 1 to 100 printable characters.
        value: Plain data, a dataclass, an attrs class or a pydantic model: what JSON of a million bytes at most holds.
        key: Of several that are sent to a run under one key, the first counts. In a durable flow, one that is resumed
            sends nothing twice anyway.

    Raises:
        RunNotFound, AmbiguousRunId: There is no such run, or several begin alike.
        NotReceiving: It has ended.
        SignalNotPlain, SignalTooLarge: The value cannot be sent.
        StoreUnavailable: It is not known whether it was sent; with a *key*, send it again.
    """
    new: bool = drive(sending(blocking("send"), run, name, value, key))
    return new


@overload
def receive(name: str, type: type[T], *, timeout: float | None = None) -> T: ...
@overload
def receive(name: str, type: type[T], *, timeout: float | None = None, default: D) -> T | D: ...
@overload
def receive(name: str, type: Any = None, *, timeout: float | None = None, default: Any = MISSING) -> Any: ...
def receive(name: str, type: Any = None, *, timeout: float | None = None, default: Any = MISSING) -> Any:
    """
    Give the next value that is sent as *name* to the flow run around, as *type*; wait for it.

    Of several in one run that wait for the same name, the first to wait gets the first to come. Of a durable flow, what
    was read and that nothing came in time are on record, and so is when the time is over.

    Args:
        type: What the value is made into, as flow parameters are; None: plain data, as it was sent.
        timeout: Seconds, for ever by default.
        default: What is given when the time is over.

    Raises:
        SignalTimeout: Nothing came in time, and there is no *default*.
        SignalTypeError: What came does not fit *type*; it counts as read.
        MissingContextError, SignalContextError: Nothing can be sent to the code here.
    """
    return drive(receiving(blocking("receive"), name, type, timeout, default))


@attrs.frozen
class Question(Generic[T]):
    """
    What a flow run was asked.

    Attributes:
        value: What came with it.
        signal: As it was sent.
    """

    value: T
    signal: Signal = attrs.field(repr=False)


@attrs.frozen
class Request(Question[T]):
    """What a flow run was asked, in code that blocks."""

    def answer(self, value: Any = None) -> None:
        """
        Answer with *value*, as `send` takes it. The first answer counts, so a flow that is resumed may give it again.

        Nobody hears it where the value was sent, and not asked.

        Raises:
            SignalNotPlain, SignalTooLarge: The value cannot be sent.
            StoreUnavailable: It is not known whether it was sent.
        """
        drive(answering(blocking("receive_request"), self.signal, value))


@overload
def receive_request(name: str, type: type[T], *, timeout: float | None = None) -> Request[T]: ...
@overload
def receive_request(name: str, type: Any = None, *, timeout: float | None = None) -> Request[Any]: ...
def receive_request(name: str, type: Any = None, *, timeout: float | None = None) -> Request[Any]:
    """
    Give the next that is asked, or sent, as *name*: its `value`, as *type*, and what `answer` answers it with.

    As `receive`, and raises what that raises.
    """
    return Request(*drive(requested(blocking("receive_request"), name, type, timeout)))


@overload
def ask(
    run: FlowRun | str,
    name: str,
    value: Any,
    type: type[T],
    *,
    timeout: float | None = None,
    key: str | None = None,
) -> T: ...
@overload
def ask(
    run: FlowRun | str,
    name: str,
    value: Any = None,
    type: Any = None,
    *,
    timeout: float | None = None,
    key: str | None = None,
) -> Any: ...
def ask(
    run: FlowRun | str,
    name: str,
    value: Any = None,
    type: Any = None,
    *,
    timeout: float | None = None,
    key: str | None = None,
) -> Any:
    """
    Send *value* to a flow run, which reads it by `receive_request`, and wait for its answer; give that as *type*.

    A durable flow that asks and is resumed goes on waiting, or has the answer on record.

    Args:
        timeout: Seconds, for ever by default.
        key: Of several asked of a run under one key, the first counts, and all get its answer.

    Raises:
        Unanswered: There was no answer in time, or the run has ended without one.
        SignalTypeError: The answer does not fit *type*.
        Exception: What `send` raises otherwise.
    """
    return drive(asking(blocking("ask"), run, name, value, type, timeout, key))


def blocking(name: str) -> Host:
    """
    Give the host of code that blocks, which calls *name*.

    Raises:
        RunningLoopError: It runs on an event loop's thread.
    """
    return _runtime.thread_host.here(f"headrace.signals.{name}", f"`await headrace.aio.{name}(...)`")


async def sending(host: Host, run: FlowRun | str, name: str, value: Any, key: str | None) -> bool:
    """Send *value* to *run*."""
    around = current_run.get()
    given = None if key is None else named(key, "The key of a signal")
    data = as_data(named(name), value)
    if around is not None and around.scope.past is not None:
        if around.scope.past.dry:
            return False
        await ready(around, host, f"sends {name!r}")
        given = given or placed(around, f"send {name}")[0]
    _, new = await sent(host, run, Signal("", name, data, now(), given))
    return new


def now() -> datetime:
    """Give the time by the clock that runs live by."""
    return instant(_runtime.journal_here().now())


async def ready(run: Run, host: Host, what: str) -> None:
    """
    Have what was drawn for a durable run be on record before it does *what*, which may come of that.

    Raises:
        StepTransactionError: It is in a step transaction, whose lock on the database it may wait for.
    """
    refuse_held(run, what)
    await run.scope.past.secure(run, host)


async def sent(host: Host, run: FlowRun | str, signal: Signal) -> tuple[str, bool]:
    """Send *signal* to *run*; give the id of that, and whether it was not sent before."""
    if not isinstance(cast("object", run), FlowRun | str):
        raise wrong_type("a signal", "The run", "a flow run or its id", run)
    asked = run.id if isinstance(run, FlowRun) else run.strip().lower()

    async def work(store: Store) -> tuple[str, bool]:
        run_id = asked if len(asked) == WHOLE else (await one_of(store, asked)).id
        new = await store.signals.send(attrs.evolve(signal, run_id=run_id))
        if new is None:
            ended = await one_of(store, run_id)
            raise NotReceiving(signal.name, run_id, ended.name, ended.state)
        return run_id, bool(new)

    journal = _runtime.journal_here()
    refuse_worker(journal, signal.name)
    until = journal.now() + BEGINS_WITHIN
    while True:
        try:
            run_id, new = await host.with_store(journal, work)
            break
        except RunNotFound:
            if len(asked) != WHOLE or journal.now() >= until:
                raise
        await host.until([Gate()], SOON)
    for runtime in _runtime.in_use():
        ring(runtime.journal, run_id, signal.name)
    return run_id, new


async def receiving(host: Host, name: str, kind: Any, timeout: float | None, default: Any) -> Any:
    """Give the next value sent as *name*, or *default*."""
    signal = await coming(host, name, timeout, default)
    return default if signal is None else fitted(signal, kind)


async def requested(host: Host, name: str, kind: Any, timeout: float | None) -> tuple[Any, Signal]:
    """Give the next value sent or asked as *name*, and how it was sent."""
    signal = await coming(host, name, timeout, MISSING)
    assert signal is not None
    return fitted(signal, kind), signal


async def coming(host: Host, name: str, timeout: float | None, default: Any) -> Signal | None:
    """Give the next signal *name*; None where *default* stands for it."""
    run, limit = current_run.get(), seconds(timeout)
    signal = await received(run, host, named(name), limit)
    if signal is None and default is MISSING:
        raise SignalTimeout(name, limit, receiver(run, name).id)
    return signal


def fitted(signal: Signal, kind: Any) -> Any:
    """Give the value of *signal* as *kind*."""
    value = signal.value
    try:
        return fit(value, kind)
    except Exception as error:
        raise SignalTypeError(signal.name, reason(error, value, kind)) from None


async def asking(
    host: Host, run: FlowRun | str, name: str, value: Any, kind: Any, timeout: float | None, key: str | None
) -> Any:
    """Send *value* to *run*, and give what it answers."""
    around, limit = current_run.get(), seconds(timeout)
    given = None if key is None else named(key, "The key of a signal")
    signal = Signal("", named(name), as_data(name, value), now(), given, asked=True)

    async def ask(drawn: str, until: int | None) -> str | None:
        return await answer_to(host, run, signal if given else attrs.evolve(signal, key=drawn), until)

    if around is None or around.scope.past is None:
        answer = await ask(uuid4().hex, later(_runtime.journal_here(), limit))
    else:
        await ready(around, host, f"asks {name!r}")
        answer = await answered(around, host, name, limit, ask)
    if answer is None:
        asked = run.id if isinstance(run, FlowRun) else run
        raise Unanswered(name, asked, f"{limit:g} s have passed")
    return fitted(attrs.evolve(signal, data=answer), kind)


async def answer_to(host: Host, run: FlowRun | str, signal: Signal, until: int | None) -> str | None:
    """
    Send *signal*, and give the answer, as JSON; None where there is none by then.

    Raises:
        Unanswered: The run has ended without one.
    """
    try:
        run_id, _ = await sent(host, run, signal)
    except NotReceiving as error:
        run_id = error.run_id  # it may have answered before
    around, journal, key, pause = current_run.get(), _runtime.journal_here(), signal.key or "", SOON
    while True:
        if around is not None:
            refuse_stopped(around)
        gate = askers[run_id, key] = Gate()
        try:
            answer: str | None = await host.with_store(journal, lambda store: store.signals.answered(run_id, key))
        except LookupError:
            raise Unanswered(signal.name, run_id, "it has ended") from None
        left = math.inf if until is None else (until - journal.now()) / 1e9
        if answer is not None or left <= 0:
            return answer
        await host.until([gate], min(pause, left))
        pause = min(2 * pause, SELDOM)


async def answering(host: Host, signal: Signal, value: Any) -> None:
    """Answer *signal* with *value*."""
    data, around = as_data(signal.name, value), current_run.get()
    if around is not None and around.scope.past is not None:
        if around.scope.past.dry:
            return
        await ready(around, host, f"answers {signal.name!r}")
    if signal.asked:
        await host.with_store(_runtime.journal_here(), lambda store: store.signals.answer(signal, data))
        gate = askers.get((signal.run_id, signal.key or ""))
        if gate is not None:
            gate.open()
