"""
Scopes: the end of a flow run, which comes when all that was submitted in it has ended. A body of a flow is called here.

What a body's failure, its cancellation and a child's failure do to the others is decided here and nowhere else.
"""

from __future__ import annotations

import math
from typing import Any

from headrace._engine import lines
from headrace._engine.runs import FlowRunning, Run
from headrace._engine.spec import Spec
from headrace._engine.steps import Body, leaving
from headrace._engine.upstream import FLAT, found, results
from headrace._model.annotations import watch
from headrace._model.events import CANCELLING
from headrace._ports import Crew, Host
from headrace.errors import RunTimeoutError

SHOWN = 5


def flow_calling(spec: Spec, host: Host) -> Body:
    """Make the innermost body of a flow: the user's function, and the end of all that it submitted."""
    fn = spec.fn
    limit = spec.timeout
    is_async = spec.is_async

    async def called(run: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            if limit is not None:
                value = await leaving(run, host, limit, args, kwargs)
            else:
                value = fn(*args, **kwargs)
                if is_async:
                    value = await value
            if watch.promises:
                value = await settled(run, host, value)
        except BaseException as stop:
            raised = await broken(run, host, stop)
            if raised is stop:
                raise
            raise raised from None
        if run.crew is not None or run.stopping is not None:
            await whole(run, host)
        return value

    return called


async def settled(run: Run, host: Host, value: Any) -> Any:
    """
    Give what a body returned with the futures in it replaced by their results; waits for them.

    Raises:
        Exception: That of the one which failed.
        ExceptionGroup: Several did.
    """
    if value.__class__ in FLAT:
        return value
    promises = list(found(value))
    if not promises:
        return value
    await host.until([promise for promise in promises if not promise.opened])
    return results(value, promises)


async def whole(run: FlowRunning, host: Host) -> None:
    """
    Wait, after a body has returned, until all that it submitted has ended.

    Raises:
        Exception: A run failed, and the flow's `on_child_failure` is "cancel".
        ExceptionGroup: Several did.
    """
    crew = run.crew
    patience = math.inf
    if run.stopping is not None:
        # Its body has returned all the same; what it did not wait for is not to go on.
        if run.home is not None:
            run.home.calm()
        if crew is not None:
            patience = run.scope.journal.patience
            crew.stop(run.stopping)
    if crew is None:
        return
    try:
        if not await host.until([crew.finish()], patience, shielded=run.stopping is not None):
            given_up(run, crew)
    except BaseException as stop:
        raised = await broken(run, host, stop)
        if raised is stop:
            raise
        raise raised from None
    error = concluded(run, crew)
    if error is not None:
        raise error


async def broken(run: FlowRunning, host: Host, stop: BaseException) -> BaseException:
    """
    End all that was submitted after *stop* has left the body; give what is to be raised in its place.

    An ordinary exception lets the others go on and waits for them. What is none, a timeout, and any exception where
    the policy is "cancel", cancels them; what they do to clean up is waited for, in spite of the cancellation, as long
    as the setting allows.
    """
    crew = run.crew
    if crew is None or isinstance(stop, GeneratorExit):
        if crew is not None:
            crew.stop("its flow's coroutine was closed")
            crew.finish()
        return host.really(run, stop)
    if run.scope.past is not None and run.scope.past.strands.state is not None:
        await host.until([crew.finish()], shielded=True)  # all of it is being unloaded
        run.crew = None
        return stop
    ordinary = isinstance(stop, Exception) and not (isinstance(stop, RunTimeoutError) and stop.run_id == run.id)
    patience = math.inf
    if not ordinary or crew.policy == "cancel":
        patience = run.scope.journal.patience
        run.closing = True
        if not isinstance(stop, Exception) and run.stopping is None:
            run.scope.tell((run, CANCELLING, host.clock.now(), None))
        crew.stop(run.stopping or f"its flow ended with {type(host.translated(stop)).__name__}")
    try:
        ended = await host.until([crew.finish()], patience, shielded=not ordinary)
    except Exception:
        raise
    except BaseException as again:
        if ordinary:
            return await broken(run, host, again)
        ended = False  # asked a second time: whoever asks does not want to wait
    if not ended:
        given_up(run, crew)
    raised = host.really(run, stop)
    error = concluded(run, crew)
    # What is no Exception even so was asked by others than a child that failed, and is not for that one to take away.
    return error if error is not None and isinstance(raised, Exception) else raised


async def cut_short(run: FlowRunning, host: Host) -> None:
    """End all that was submitted in a flow that yields, whose consumer has had enough of it."""
    crew = run.crew
    if crew is None:
        return
    crew.stop("its consumer stopped early")
    if not await host.until([crew.finish()], run.scope.journal.patience, shielded=True):
        given_up(run, crew)
    concluded(run, crew)


def given_up(run: FlowRunning, crew: Crew) -> None:
    """Leave behind what did not end in time, and say so."""
    late = crew.abandon("it did not end in time after it was cancelled")
    if late:
        lines.warn(
            run, "Goes on without %s: cancelled, but still at work. Whatever they return is dropped", names(late)
        )


def concluded(run: FlowRunning, crew: Crew) -> Exception | None:
    """Let go of *crew*, which is at rest; say which failures nobody saw; give what its policy makes of them."""
    run.crew = None
    run.closing = False
    if crew.broke and (errors := crew.errors()):
        run.stopping, run.heard = None, False
        if run.home is not None:
            run.home.renew()
        return errors[0] if len(errors) == 1 else ExceptionGroup(f"{len(errors)} runs of {run.label} failed", errors)
    unseen = crew.unseen()
    if unseen:
        lines.warn(
            run,
            "%s did not complete, and the flow never asked for the result: %s",
            "1 submitted run" if len(unseen) == 1 else f"{len(unseen):,} submitted runs",
            names(unseen),
        )
    return None


def names(runs: list[str]) -> str:
    """Give the names of *runs* in one line."""
    shown = ", ".join(repr(name) for name in runs[:SHOWN])
    return shown if len(runs) <= SHOWN else f"{shown} and {len(runs) - SHOWN:,} more"
