"""
Steps: what stands between a life and the user's function. A body is composed once, at decoration, of those in use.

`ORDER` below is the order, from the function outwards; a new option is one step in it. A step takes what the spec
asks for and the body within, and gives the body with itself around it, or the same body where the option is unused.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

from headrace._engine import lines, prints
from headrace._engine.hooks import retry_wanted, run_hooks
from headrace._engine.inputs import explained
from headrace._engine.runs import Run
from headrace._engine.spec import Spec
from headrace._model import outcomes
from headrace._model.events import AWAITING_RETRY, RETRYING, RUNNING
from headrace._model.policy import RetryPolicy
from headrace._model.states import State, StateType
from headrace._ports import Host
from headrace.errors import (
    FlowRunTimeoutError,
    NotPicklable,
    ParameterBindError,
    ParameterTypeError,
    TaskRunTimeoutError,
)

Body = Callable[[Run, tuple[Any, ...], dict[str, Any]], Awaitable[Any]]
Step = Callable[[Spec, Host, Body], Body]


class Elapsed(Exception):
    """A host left a call because its time was up."""


def calling(spec: Spec, host: Host) -> Body:
    """Make the innermost body: the user's function, left in time where there is a timeout."""
    fn = spec.fn
    limit = math.inf if spec.timeout is None and host.elsewhere else spec.timeout
    if limit is not None:

        async def timed(run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return await leaving(run, host, limit, args, kwargs)

        return timed
    if spec.is_async:
        # The user's own coroutine is handed up, so awaiting it adds no frame of ours.
        return lambda _run, args, kwargs: fn(*args, **kwargs)

    async def direct(_run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return fn(*args, **kwargs)

    return direct


async def leaving(run: Run, host: Host, limit: float, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """
    Call the user's function, and leave it after *limit* seconds.

    Raises:
        RunTimeoutError: It took longer.
    """
    try:
        return await host.call(run, limit, run.spec.fn, args, kwargs)
    except Elapsed:
        raise too_long(run, limit, killed=host.elsewhere) from None


def announcing(spec: Spec, host: Host, body: Body) -> Body:
    """Call the on_running hooks at each attempt."""
    if not spec.hooks["on_running"]:
        # Where the first one comes after decoration, by @task.on_running, the life is compiled again.
        return body

    async def announced(run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        await announce(run, host)
        return await body(run, args, kwargs)

    return announced


async def announce(run: Run, host: Host) -> None:
    """Call the on_running hooks, if there are any, for the attempt that begins."""
    if run.spec.hooks["on_running"]:
        stamp = RUNNING if run.attempt == 1 else RETRYING
        await run_hooks(run, host, run.stamped(State(StateType.RUNNING, stamp[1]), host.clock.now()))


def printing(spec: Spec, _host: Host, body: Body) -> Body:
    """Turn prints into log lines."""
    if not spec.prints:
        return body

    async def printed(run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with prints.captured():
            return await body(run, args, kwargs)

    return printed


def retrying(spec: Spec, host: Host, body: Body) -> Body:
    """Try again after a failure, as the policy says."""
    policy = spec.policy
    if policy is None:
        return body

    async def tried(run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if run.scope.past is not None and spec.kind == "task":
            await run.scope.past.catch_up(run, host)
        while True:
            try:
                value = await body(run, args, kwargs)
            except Exception as raised:
                error = explained(spec, raised, args, kwargs)
                if not await again(run, host, policy, outcomes.from_error(spec.kind, error, run.id)):
                    if error is raised:
                        raise
                    raise error from None
            else:
                state = outcomes.from_value(value)
                if state is None or not state.is_failed() or not await again(run, host, policy, state):
                    return value

    return tried


async def again(run: Run, host: Host, policy: RetryPolicy, state: State[Any]) -> bool:
    """Decide on another attempt after *state*; if there is one, wait for its time and say that it begins."""
    if state.is_crashed() or isinstance(state.data, ParameterBindError | ParameterTypeError | NotPicklable):
        return False
    past = run.scope.past
    if run.stopping is not None or (past is not None and (run in past.sealed or past.strands.state is not None)):
        return False  # who asked it to stop wants no other attempt, and what was committed with the user's rows is over
    delay = policy.delay(run.attempt, host.draw)
    if delay is None or not await retry_wanted(run, host, state):
        return False
    reason = lines.short_error(state.data) if isinstance(state.data, BaseException) else str(state)
    lines.retrying(run, policy.attempts, delay, reason)
    if run.span is not None and isinstance(state.data, BaseException):
        run.span.attempt_failed(state.data)
    tell = run.scope.tell
    said: str | None = f"Attempt {run.attempt} of {policy.attempts} failed: {reason}"
    if delay:
        tell((run, AWAITING_RETRY, host.clock.now(), f"{said}; the next starts in {delay:g} s"))
        await (host.sleep(delay) if past is None else past.delay(run, host, delay))
        said = None
    run.attempt += 1
    run.calls = None
    if run.spec.kind == "flow":
        run.scope.attempt = run.attempt
        if run.scope.past is not None:
            await run.scope.past.reload(run, host)
    tell((run, RETRYING, host.clock.now(), said))
    return True


ORDER: Final[tuple[Step, ...]] = (announcing, printing, retrying)


def compose(spec: Spec, host: Host, innermost: Body) -> Body:
    """Compose the body of *spec*: *innermost*, which calls its function, within the steps it uses."""
    body = innermost
    for step in ORDER:
        body = step(spec, host, body)
    return body


def too_long(run: Run, limit: float, *, killed: bool = False) -> Exception:
    """Make the exception of a run that took longer than *limit* seconds."""
    if killed:
        after = "its worker process was killed"
    elif run.spec.is_async:
        after = "its body was cancelled"
    else:
        after = "its body goes on in its thread until it returns, and what it returns is dropped"
    kind = TaskRunTimeoutError if run.spec.kind == "task" else FlowRunTimeoutError
    return kind(f"{run.label} took longer than its timeout of {limit:g} s; {after}", run.id)
