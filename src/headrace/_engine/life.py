"""
Lives: the order of events of a run, from its call to its end, written once for flows and tasks, hosts and shapes.

A life awaits nothing but the user's function and its host. On a loop it suspends; a thread's host only blocks, so
`drive` runs the same life to its end by one `send(None)` in the caller's own thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from contextvars import Token
from typing import Any

from headrace._engine import lines
from headrace._engine.begin import Begin, Prepare, begin_flow, begin_task, plain_arguments, preparation
from headrace._engine.context import current_run
from headrace._engine.hooks import run_hooks
from headrace._engine.inputs import bare, explained, stop_within, watch
from headrace._engine.runs import Run
from headrace._engine.spec import Spec
from headrace._engine.steps import compose
from headrace._model import outcomes
from headrace._model.events import COMPLETED, RUNNING
from headrace._model.states import State, StateType
from headrace._ports import Host
from headrace.errors import StoreUnavailable, UpstreamTaskError

CallLife = Callable[..., Coroutine[Any, Any, Any]]
Positional = tuple[Any, ...]
Named = dict[str, Any]
STATEFUL: tuple[type[Any], ...] = (State, list, tuple, set)


def drive(life: Coroutine[Any, Any, Any]) -> Any:
    """Run *life* to its end in this thread. Its host must block where a loop's would suspend."""
    try:
        life.send(None)
    except StopIteration as end:
        return end.value
    except RuntimeError as error:
        stop = stop_within(error)
        if stop is None:
            raise
        raise stop from None
    life.close()
    raise RuntimeError("A life on a thread suspended; its host must block instead.")


def call_life(spec: Spec, host: Host) -> CallLife:
    """Compile *spec* into the coroutine function that is one call of it."""
    begin: Begin = begin_task if spec.kind == "task" else begin_flow
    body = compose(spec, host)
    prepare: Prepare | None = preparation(spec)
    clock = host.clock
    may_strain = spec.kind == "task"
    on_completion = spec.hooks["on_completion"]

    async def live(args: Positional, kwargs: Named, wait_for: Any = None, return_state: bool = False) -> Any:
        try:
            run = begin(spec, host)
        except Exception as refused:
            bare(refused)  # a setting that cannot be: the sentence says all, our frames nothing
            raise
        scope = run.scope
        tell = scope.tell
        trace = scope.trace
        before = current_run.set(run)
        around = None if trace is None else trace.attach(run)
        try:
            if prepare is not None or wait_for is not None or watch.states:
                args, kwargs = (prepare or plain_arguments)(run, args, kwargs, wait_for)
            run.started = clock.now()
            tell((run, RUNNING, run.started, None))
            if run.settles:
                await ready(run, host)
            value = await body(run, args, kwargs)
            state = outcomes.from_value(value) if isinstance(value, STATEFUL) else None
            if state is not None or return_state or run.settles or on_completion:
                return await finish(run, host, state or State(StateType.COMPLETED, data=value), return_state)
            tell((run, COMPLETED, clock.now(), None))
            if lines.ENGINE.isEnabledFor(logging.INFO):
                lines.completed(run)
            if may_strain and scope.journal.crowded:
                await relief(run, host)
            return value
        except Exception as raised:
            if run.ended:
                bare(raised)
                raise
            error = explained(spec, raised, args, kwargs)
            state = await fail(run, host, error)
            if return_state:
                return state
            if error is not raised:
                raise error from None
            bare(error)
            raise
        except BaseException as stop:
            await interrupt(run, host, stop)
            raise
        finally:
            leave(run, host, before, around)

    return live


def leave(run: Run, host: Host, before: Token[Run | None], around: object) -> None:
    """Make current again what was before *run*, and tell the host of a root's end."""
    if run.parent is None:
        host.close()
    try:
        current_run.reset(before)
        if run.scope.trace is not None:
            run.scope.trace.detach(around)
    except ValueError:
        # The coroutine is closed in another context than it ran in, where nothing of ours is current.
        return


async def ready(run: Run, host: Host) -> None:
    """See that a strict flow run's beginning is recorded before its body runs; a store that fails stops it here."""
    if run.number == 0 and run.scope.level == "strict":
        problem = await host.settled(run.scope.journal)
        if problem is not None:
            raise problem


async def relief(run: Run, host: Host) -> None:
    """Wait until the journal is less crowded. Who cancels this wait does not cancel *run*: it has completed."""
    run.ended = True
    await host.settled(run.scope.journal)


async def fail(run: Run, host: Host, error: Exception) -> State[Any]:
    """End *run* with *error*: shown, recorded, told to its hooks; or as never started, where that is what it says."""
    if isinstance(error, UpstreamTaskError) and error.run_id == run.id:
        waiting: State[Any] = await finish(run, host, outcomes.not_started(error), True)
        return waiting
    if isinstance(error, RecursionError):
        end_stranded(run, host, error)
    run.error_type = type(error).__name__
    if run.span is not None:
        run.span.record_exception(error, escaped=True)
    lines.failed(run, error)
    ended: State[Any] = await finish(run, host, outcomes.from_error(run.spec.kind, error, run.id), True)
    return ended


def end_stranded(run: Run, host: Host, error: RecursionError) -> None:
    """
    End the runs below *run* that had no room left on the stack to end themselves.

    They are found in the frames that *error*, or one it came of, passed through: nothing has to be kept for them.
    """
    passed: BaseException | None = error
    while passed is not None:
        trace = passed.__traceback__
        while trace is not None:
            found = trace.tb_frame.f_locals.get("run")
            if isinstance(found, Run) and found is not run and not found.ended:
                tell_end(found, host, outcomes.from_error(found.spec.kind, error, found.id))
            trace = trace.tb_next
        passed = passed.__context__


async def interrupt(run: Run, host: Host, stop: BaseException) -> None:
    """
    End *run* because of *stop*, which is no Exception: never a failure, never retried, never swallowed.

    Recorded is what *stop* really was, where the host knows better: SIGTERM comes to a task as a cancellation.
    """
    if run.ended:
        return
    really = host.translated(stop)
    state = outcomes.from_interruption(really)
    if isinstance(really, GeneratorExit):
        # Who closes a coroutine does not wait for it: no hook can be called, no commit awaited.
        tell_end(run, host, state)
        lines.finished(run, state)
        return
    if state.is_crashed():
        run.error_type = type(really).__name__
        if run.span is not None:
            run.span.record_exception(really, escaped=True)
    await finish(run, host, state, True)


def tell_end(run: Run, host: Host, state: State[Any]) -> int:
    """Tell that *run* ends in *state*; give the moment."""
    at = host.clock.now()
    stamp = (state.type.value, state.name)
    if not state.is_final():
        run.last = stamp
    run.scope.tell((run, stamp, at, state.message))
    run.ended = True
    return at


async def finish(run: Run, host: Host, state: State[Any], return_state: bool) -> Any:
    """End *run* in *state*: tell it, call its hooks, wait until it is recorded where that was promised, and say so."""
    if run.span is not None:
        run.span.close()
    ended = run.stamped(state, tell_end(run, host, state))
    await run_hooks(run, host, ended)
    if run.settles:
        problem = await host.settled(run.scope.journal)
        if problem is not None and run.scope.level == "strict" and not isinstance(state.data, StoreUnavailable):
            raise problem
    lines.finished(run, ended)
    if return_state:
        watch.states = True
        return ended
    return ended.result()
