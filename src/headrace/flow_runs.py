"""
Pausing: a flow run waits until somebody resumes it, perhaps with an input of a type, from whichever process.

Functions here block; `headrace.aio` has the awaitable ones. In a durable flow a pause, its deadline and its answer are
on record.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar, cast, overload

from headrace import _owners, _runtime
from headrace._engine.coercion import reason
from headrace._engine.context import current_run
from headrace._engine.life import drive
from headrace._engine.pauses import kinds, made, paused
from headrace._engine.runs import Run
from headrace._engine.schemas import refuse_no_type
from headrace._engine.signals import placed, record, recorded, refuse_stopped, refuse_worker
from headrace._engine.signals_lines import ring
from headrace._model.pauses import Pause, key_of
from headrace._model.records import FlowRun, StoredResult, instant
from headrace._model.signals import Signal, as_data
from headrace._ports import Host, Store
from headrace._resuming import one_of
from headrace.errors import (
    FlowPauseTimeout,
    InvalidRunInput,
    NotPausedError,
    OptionTypeError,
    PauseContextError,
    RunNotFound,
    short,
    wrong_type,
)
from headrace.futures import seconds
from headrace.signals import now, ready

__all__ = [
    "FlowPauseTimeout",
    "InvalidRunInput",
    "NotPausedError",
    "PauseContextError",
    "pause_flow_run",
    "resume_flow_run",
    "suspend_flow_run",
]

T = TypeVar("T")
AN_HOUR: Final = 3_600
Unpack = Callable[[StoredResult], Any]


@overload
def pause_flow_run(wait_for_input: type[T], timeout: float | None = AN_HOUR, key: str | None = None) -> T: ...
@overload
def pause_flow_run(wait_for_input: None = None, timeout: float | None = AN_HOUR, key: str | None = None) -> None: ...
@overload
def pause_flow_run(wait_for_input: Any, timeout: float | None = AN_HOUR, key: str | None = None) -> Any: ...
def pause_flow_run(wait_for_input: Any = None, timeout: float | None = AN_HOUR, key: str | None = None) -> Any:
    """
    Pause the flow run around until somebody resumes it; give their input, as the type *wait_for_input*.

    The run is Paused meanwhile, and gives back its place at work and slots of limits that say so. An input that does
    not fit is refused, and the run stays paused.

    Args:
        wait_for_input: A type as flow parameters may have: None takes no input.
        timeout: Seconds, an hour by default; None for ever. In a durable flow, counted from the first time.
        key: Of several pauses of one key in a run, the first is asked, and all get its answer.

    Raises:
        FlowPauseTimeout: Nobody has resumed it in time.
        PauseContextError: It is called outside of a flow's own code, or the run is not recorded.
        OptionTypeError: *wait_for_input* is no type, or *key* no text.
        RunCancelled: The run is to stop.
    """
    return drive(pausing(blocking("pause_flow_run"), wait_for_input, timeout, key))


@overload
def suspend_flow_run(wait_for_input: type[T], timeout: float | None = None, key: str | None = None) -> T: ...
@overload
def suspend_flow_run(wait_for_input: None = None, timeout: float | None = None, key: str | None = None) -> None: ...
@overload
def suspend_flow_run(wait_for_input: Any, timeout: float | None = None, key: str | None = None) -> Any: ...
def suspend_flow_run(wait_for_input: Any = None, timeout: float | None = None, key: str | None = None) -> Any:
    """
    Pause the durable flow run around, and have it leave the memory at once: it comes back when somebody resumes it.

    As `pause_flow_run`, and raises what that raises. All of the run has to wait, and nobody for it, as with those that
    were submitted to a `Runtime`; else it stays in memory, and is paused there.

    Args:
        timeout: Seconds; for ever by default.

    Raises:
        PauseContextError: The run is not durable.
        Suspended: It is unloaded. No Exception; code that cleans up meanwhile is not recorded.
    """
    return drive(pausing(blocking("suspend_flow_run"), wait_for_input, timeout, key, at_once=True))


def resume_flow_run(run: FlowRun | str, run_input: Any = None) -> None:
    """
    Resume a paused flow run, with *run_input* where it waits for one. It has reached the disk when this returns.

    A durable run that was left behind amid its pause finds the answer when it is taken up.

    Args:
        run: A flow run, its id, or the beginning of that.
        run_input: An instance of the type, or its fields as a dict; plain data where it is no class.

    Raises:
        NotPausedError: It goes on, has ended, its time is over, somebody was faster, or there is no such run.
        InvalidRunInput: The input does not fit; the run stays paused.
        SignalNotPlain, SignalTooLarge: It has no form in JSON, or more than a million bytes of it.
        StoreUnavailable: It is not known whether it was resumed; do it again.
    """
    drive(resuming(blocking("resume_flow_run"), run, run_input))


def blocking(name: str) -> Host:
    """
    Give the host of code that blocks, which calls *name*.

    Raises:
        RunningLoopError: It runs on an event loop's thread.
    """
    return _runtime.thread_host.here(f"headrace.{name}", f"`await headrace.aio.{name}(...)`")


async def pausing(host: Host, kind: Any, timeout: float | None, key: str | None, *, at_once: bool = False) -> Any:
    """Pause the run around."""
    if key is not None and not isinstance(cast("object", key), str):
        raise OptionTypeError(f"The key of a pause must be a text, not {short(key)}.")
    refuse_no_type(kind, "wait_for_input")
    return await paused(current_run.get(), host, kind, seconds(timeout), key, at_once=at_once)


async def resuming(host: Host, run: FlowRun | str, given: Any) -> None:
    """Resume *run*; from a durable run once, however often that is taken up."""
    if not isinstance(cast("object", run), FlowRun | str):
        raise wrong_type("resume_flow_run", "The run", "a flow run or its id", run)
    asked = run.id if isinstance(run, FlowRun) else run
    around = current_run.get()
    if around is None or around.scope.past is None:
        await answered(host, *await judged(host, asked, given))
    elif not around.scope.past.dry:
        await once(around, host, asked, given)


async def once(around: Run, host: Host, asked: str, given: Any) -> None:
    """Resume the run *asked*: what is to be answered is on record first, so that the same pause gets it at each try."""
    refuse_stopped(around)
    await ready(around, host, "resumes a flow run")
    place, _ = placed(around, "resume")
    known = await recorded(around, host, around.scope.past, place)
    if "why" in known:
        raise NotPausedError(asked, known["why"])
    if known:
        with suppress(NotPausedError):  # it was answered, most probably by this run
            await answered(host, *known["answer"])
        return
    answer = await judged(host, asked, given)
    await record(around, host, place, {"answer": list(answer)})
    try:
        await answered(host, *answer)
    except NotPausedError as error:
        await record(around, host, place, {"why": error.why})
        raise


async def judged(host: Host, asked: str, given: Any) -> tuple[str, str, str]:
    """
    Give the id of the run *asked*, the place of its pause, and the input *given*, as JSON.

    Raises:
        NotPausedError: It waits for nobody.
        InvalidRunInput: The input does not fit.
    """
    journal = _runtime.journal_here()
    refuse_worker(journal, "resume")
    data = as_data("run_input", given)
    unpack: Unpack = journal.ledger.vault.unpack
    run, pause = await host.with_store(journal, lambda store: waiting(store, asked, unpack, journal.now()))
    if given is None and pause.form:
        data = "{}"
    refuse_misfits(run, pause, data)
    return run.id, pause.place, data


async def answered(host: Host, run_id: str, place: str, data: str) -> None:
    """Answer the pause at *place* with *data*, as JSON; raises what `answer` raises."""
    journal = _runtime.journal_here()
    signal, unpack = Signal(run_id, place, data, now(), place), journal.ledger.vault.unpack
    await host.with_store(journal, lambda store: answer(store, signal, unpack))
    for runtime in _runtime.in_use():
        ring(runtime.journal, run_id, place)


async def waiting(store: Store, asked: str, unpack: Unpack, at: int) -> tuple[FlowRun, Pause]:
    """
    Give the run *asked*, and what it waits for *at* that moment, in nanoseconds since 1970.

    Raises:
        NotPausedError: It waits for nobody.
    """
    try:
        run = await one_of(store, asked)
    except RunNotFound as error:
        raise NotPausedError(asked, str(error).removesuffix(" List them: headrace flow-run ls").rstrip(".")) from None
    pause = await pause_of(store, run, unpack)
    if pause is None:
        why = "has ended" if run.state.is_final() else "is not paused"
        raise NotPausedError(run.id, f"it {why}, and is {run.state}")
    if run.durability != "strict" and _owners.gone(run.owner or ""):
        raise NotPausedError(run.id, "its process has ended, and it is not durable")
    if pause.until is not None and pause.until <= at:
        raise NotPausedError(run.id, f"its time was over at {instant(pause.until):%Y-%m-%d %H:%M:%S} UTC")
    return run, pause


async def pause_of(store: Store, run: FlowRun, unpack: Unpack) -> Pause | None:
    """Give what *run* waits for; None where it is not paused, and would not be if somebody took it up."""
    if run.state.is_final() and not (run.state.is_crashed() and run.durability == "strict"):
        return None
    kept = (await store.results.recall([key_of(run.id)])).get(key_of(run.id))
    said: dict[str, Any] = {} if kept is None else unpack(kept)
    return Pause(**said) if said else None


def refuse_misfits(run: FlowRun, pause: Pause, data: str) -> None:
    """
    See that *data*, as JSON, is what *run* waits for: by the schema, and by the type where it waits in this process.

    Raises:
        InvalidRunInput: It is not.
    """
    value = json.loads(data)
    problems = pause.problems(value)
    if not problems and pause.place in kinds:
        try:
            made(data, kinds[pause.place])
        except Exception as error:
            problems = [("", f"{reason(error, value, kinds[pause.place])}.")]
    if problems:
        raise InvalidRunInput(run.id, problems)


async def answer(store: Store, signal: Signal, unpack: Unpack) -> None:
    """
    Answer a pause, whose place the *signal* is named after.

    Raises:
        NotPausedError: Somebody was faster, or the run has just gone on or ended.
    """
    new = await store.signals.send(signal)
    if new is None:
        raise NotPausedError(signal.run_id, "it has ended")
    if not new:
        raise NotPausedError(signal.run_id, "somebody has resumed it already")
    pause = await pause_of(store, await one_of(store, signal.run_id), unpack)
    if pause is not None and pause.place == signal.name:
        return
    # It has gone on: with this answer, which is then read, or since its time was over. So this is looked at last.
    left = await store.signals.unread([signal.run_id], name=signal.name)
    if left:
        await store.signals.heard(left)
        raise NotPausedError(signal.run_id, "its time was over in this moment")
