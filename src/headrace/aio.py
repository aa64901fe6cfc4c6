"""Awaitable forms of functions that block. What is a coroutine already, or gives futures at once, needs none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from contextvars import copy_context
from datetime import datetime
from typing import Any, TypeVar, overload

import attrs

from headrace import _runtime, runs, signals
from headrace._engine.inputs import bare
from headrace._engine.upstream import found, results, states
from headrace._forking import forked
from headrace._model.records import FlowRun, TaskRun
from headrace._ports import Host
from headrace._racing import Winner, raced
from headrace._resuming import Claim, claimed, going_on
from headrace._retrying import reclaimed
from headrace._setting_results import result_set
from headrace._sleeping import Seconds, slept
from headrace.flow_runs import AN_HOUR, pausing, resuming
from headrace.futures import DoneAndNotDoneFutures, Future, ReturnWhen, as_completed, waited
from headrace.input import sending_input
from headrace.signals import MISSING

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
D = TypeVar("D")
__all__ = [
    "as_completed",
    "ask",
    "flow_run",
    "flow_runs",
    "fork",
    "pause_flow_run",
    "race",
    "receive",
    "receive_request",
    "resolve_futures_to_results",
    "resolve_futures_to_states",
    "resume",
    "resume_flow_run",
    "retry",
    "send",
    "send_input",
    "set_result",
    "sleep",
    "suspend_flow_run",
    "task_runs",
    "wait",
]


async def wait(
    futures: Iterable[Future[Any]], timeout: float | None = None, return_when: ReturnWhen = "ALL_COMPLETED"
) -> DoneAndNotDoneFutures:
    """
    Await that all *futures* have ended, or *timeout* seconds. Never raises what a run raised.

    *return_when* as in `headrace.futures.wait`.

    Raises:
        OptionTypeError: *futures* holds something else.
        OptionError: *timeout* is negative or no number, or *return_when* is none of the three.
    """
    return await waited(_runtime.host_for(True), futures, timeout, return_when)


@overload
async def race(one: Awaitable[A], other: Awaitable[B], /, *, timeout: float | None = None) -> Winner[A | B]: ...
@overload
async def race(*entrants: Awaitable[T], timeout: float | None = None) -> Winner[T]: ...


async def race(*entrants: Any, timeout: float | None = None) -> Winner[Any]:
    """
    Await that one of *entrants* has ended, well or not, and the others, cancelled, have, too; give the winner.

    They are futures, coroutines, or anything else that can be awaited. As `headrace.race`, and raises what that raises.
    In a durable flow each coroutine is a task run of its own.
    """
    try:
        return await raced(_runtime.host_for(True), entrants, timeout)
    except BaseException as error:
        bare(error)
        raise


async def resolve_futures_to_results(value: Any) -> Any:
    """
    Await the futures in *value*, and give *value* with their results in their place.

    Raises:
        Exception: What the one run that failed raised.
        ExceptionGroup: Several failed.
    """
    promises = list(found(value))
    await _runtime.host_for(True).until(promises)
    return results(value, promises)


async def resolve_futures_to_states(value: Any) -> Any:
    """Await the futures in *value*, and give *value* with their final states in their place."""
    await _runtime.host_for(True).until(list(found(value)))
    return states(value)


async def resume(run_id: str) -> Any:
    """
    Go on with the durable flow run *run_id*, which its process has left behind; gives what it returns.

    As `headrace.durable.resume`, and raises what that raises. A sync flow runs in a thread.
    """
    host = _runtime.host_for(True)
    return await ended(host, await claimed(host, _runtime.journal_here(), run_id))


async def retry(run_id: str, *, whole: bool = False) -> Any:
    """
    Go on with the durable flow run *run_id*, which failed, crashed or was cancelled; gives what it returns.

    As `headrace.durable.retry`, and raises what that raises. A sync flow runs in a thread.
    """
    host = _runtime.host_for(True)
    return await ended(host, await reclaimed(host, _runtime.journal_here(), run_id, whole))


async def fork(run_id: str, *, from_task: str | None = None) -> Any:
    """
    Have a new durable run go on from what *run_id* did before the step *from_task*; gives what it returns.

    As `headrace.durable.fork`, and raises what that raises. A sync flow runs in a thread.
    """
    host = _runtime.host_for(True)
    return await ended(host, await forked(host, _runtime.journal_here(), run_id, from_task))


async def set_result(run_id: str, task: str, value: Any) -> None:
    """
    Have a step of the durable flow run *run_id*, which failed or has not ended, have completed with *value*.

    As `headrace.durable.set_result`, and raises what that raises.
    """
    await result_set(_runtime.host_for(True), _runtime.journal_here(), run_id, task, value)


async def ended(host: Host, claim: Claim) -> Any:
    """Go on with the run of *claim*, to its end; give what it returns."""
    flow, past, args, kwargs = claim
    if flow.spec.is_async:
        return await asyncio.create_task(
            going_on(past, lambda: flow(*args, **kwargs)), context=going_on(past, copy_context)
        )
    return await host.aside(lambda: going_on(past, lambda: flow(*args, **kwargs)))


async def sleep(seconds: Seconds | None = None, *, until: datetime | None = None) -> None:
    """
    Sleep for so long, or until that moment; in a durable flow for what is left of it when it is resumed.

    As `headrace.sleep`, and raises what that raises, but RunningLoopError; who is cancelled sleeps no longer.
    """
    await slept(_runtime.host_for(True), seconds, until)


async def send(run: FlowRun | str, name: str, value: Any = None, *, key: str | None = None) -> bool:
    """
    Send *value* to a flow run, which reads it by `receive` under that *name*; tell whether it was not sent before.

    As `headrace.signals.send`, and raises what that raises.
    """
    return await signals.sending(_runtime.host_for(True), run, name, value, key)


@overload
async def receive(name: str, type: type[T], *, timeout: float | None = None) -> T: ...
@overload
async def receive(name: str, type: type[T], *, timeout: float | None = None, default: D) -> T | D: ...
@overload
async def receive(name: str, type: Any = None, *, timeout: float | None = None, default: Any = MISSING) -> Any: ...
async def receive(name: str, type: Any = None, *, timeout: float | None = None, default: Any = MISSING) -> Any:
    """
    Give the next value that is sent as *name* to the flow run around, as *type*; wait for it.

    As `headrace.signals.receive`, and raises what that raises. Who is cancelled here has read nothing.
    """
    return await signals.receiving(_runtime.host_for(True), name, type, timeout, default)


@attrs.frozen
class Request(signals.Question[T]):
    """What a flow run was asked, in code that awaits."""

    async def answer(self, value: Any = None) -> None:
        """Answer with *value*, as `headrace.signals.Request.answer`."""
        await signals.answering(_runtime.host_for(True), self.signal, value)


@overload
async def receive_request(name: str, type: type[T], *, timeout: float | None = None) -> Request[T]: ...
@overload
async def receive_request(name: str, type: Any = None, *, timeout: float | None = None) -> Request[Any]: ...
async def receive_request(name: str, type: Any = None, *, timeout: float | None = None) -> Request[Any]:
    """
    Give the next that is asked, or sent, as *name*: its `value`, as *type*, and what `answer` answers it with.

    As `headrace.signals.receive_request`, and raises what that raises.
    """
    return Request(*await signals.requested(_runtime.host_for(True), name, type, timeout))


@overload
async def ask(
    run: FlowRun | str,
    name: str,
    value: Any,
    type: type[T],
    *,
    timeout: float | None = None,
    key: str | None = None,
) -> T: ...
@overload
async def ask(
    run: FlowRun | str,
    name: str,
    value: Any = None,
    type: Any = None,
    *,
    timeout: float | None = None,
    key: str | None = None,
) -> Any: ...
async def ask(
    run: FlowRun | str,
    name: str,
    value: Any = None,
    type: Any = None,
    *,
    timeout: float | None = None,
    key: str | None = None,
) -> Any:
    """
    Send *value* to a flow run, which reads it by `receive_request`, and await its answer; give that as *type*.

    As `headrace.signals.ask`, and raises what that raises.
    """
    return await signals.asking(_runtime.host_for(True), run, name, value, type, timeout, key)


@overload
async def pause_flow_run(wait_for_input: type[T], timeout: float | None = AN_HOUR, key: str | None = None) -> T: ...
@overload
async def pause_flow_run(
    wait_for_input: None = None, timeout: float | None = AN_HOUR, key: str | None = None
) -> None: ...
@overload
async def pause_flow_run(wait_for_input: Any, timeout: float | None = AN_HOUR, key: str | None = None) -> Any: ...
async def pause_flow_run(wait_for_input: Any = None, timeout: float | None = AN_HOUR, key: str | None = None) -> Any:
    """
    Pause the flow run around until somebody resumes it; give their input, as the type *wait_for_input*.

    As `headrace.pause_flow_run`, and raises what that raises.
    """
    return await pausing(_runtime.host_for(True), wait_for_input, timeout, key)


@overload
async def suspend_flow_run(wait_for_input: type[T], timeout: float | None = None, key: str | None = None) -> T: ...
@overload
async def suspend_flow_run(
    wait_for_input: None = None, timeout: float | None = None, key: str | None = None
) -> None: ...
@overload
async def suspend_flow_run(wait_for_input: Any, timeout: float | None = None, key: str | None = None) -> Any: ...
async def suspend_flow_run(wait_for_input: Any = None, timeout: float | None = None, key: str | None = None) -> Any:
    """
    Pause the durable flow run around, and have it leave the memory at once: it comes back when somebody resumes it.

    As `headrace.suspend_flow_run`, and raises what that raises.
    """
    return await pausing(_runtime.host_for(True), wait_for_input, timeout, key, at_once=True)


async def resume_flow_run(run: FlowRun | str, run_input: Any = None) -> None:
    """
    Resume a paused flow run, with *run_input* where it waits for one.

    As `headrace.resume_flow_run`, and raises what that raises.
    """
    await resuming(_runtime.host_for(True), run, run_input)


async def send_input(run_input: Any, flow_run_id: FlowRun | str, key_prefix: str | None = None) -> None:
    """
    Send *run_input* to a flow run, which receives it by its type.

    As `headrace.input.send_input`, and raises what that raises.
    """
    await sending_input(_runtime.host_for(True), run_input, flow_run_id, key_prefix)


async def flow_runs(*, limit: int = 100, state: str | None = None) -> list[FlowRun]:
    """
    List at most *limit* flow runs, newest first; only those in *state*, a type or a name, where given.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    return await runs.listed(limit, state)


async def flow_run(run_id: str) -> FlowRun:
    """
    Give the flow run *run_id*; the beginning of an id will do. `.state.result()` gives its value where that is kept.

    Raises:
        RunNotFound: There is none.
        AmbiguousRunId: Several begin alike.
        StoreUnavailable: The database cannot be read.
    """
    return await runs.one(run_id)


async def task_runs(flow_run: FlowRun | str) -> list[TaskRun]:
    """
    List the task runs of *flow_run*, a flow run or the id of one, in the order of their calls.

    Raises:
        StoreUnavailable: The database cannot be read.
    """
    return await runs.tasks_of(flow_run)
