"""
Lives: the order of events of a run, from its call to its end, written once for flows and tasks, hosts and shapes.

A life awaits nothing but the user's function and its host. On a loop it suspends; a thread's host only blocks, so
`drive` runs the same life to its end by one `send(None)` in the caller's own thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Token
from typing import Any, Final

from headrace._engine import lines
from headrace._engine.admission import bodies
from headrace._engine.begin import Begin, Prepare, begin_flow, begin_task, hear, pass_on, plain_arguments, preparation
from headrace._engine.calls import Call
from headrace._engine.context import current_run
from headrace._engine.hooks import run_hooks
from headrace._engine.inputs import bare, explained, stop_within
from headrace._engine.runs import FlowRunning, Run
from headrace._engine.scopes import flow_calling, settled
from headrace._engine.spec import Spec
from headrace._engine.steps import calling
from headrace._engine.upstream import FLAT, unfinished
from headrace._model import outcomes
from headrace._model.annotations import watch
from headrace._model.events import COMPLETED, PENDING, RUNNING
from headrace._model.states import State, StateType
from headrace._ports import Host
from headrace.errors import CancelledRun, LostRun, RunCancelled, StoreUnavailable, TerminationSignal, UpstreamTaskError

CallLife = Callable[..., Coroutine[Any, Any, Any]]
Positional = tuple[Any, ...]
Named = dict[str, Any]
STATEFUL: tuple[type[Any], ...] = (State, list, tuple, set)
LEFT: Final = "Its process ended before it did. It goes on where it is taken up."
A_WHILE: Final = 1_000_000  # nanoseconds in line that are worth a Pending state


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
    innermost = calling(spec, host) if spec.kind == "task" else flow_calling(spec, host)
    body, other = bodies(spec, host, innermost)
    prepare: Prepare | None = preparation(spec)
    clock, may_strain, on_completion = host.clock, spec.kind == "task", spec.hooks["on_completion"]

    async def live(
        args: Positional, kwargs: Named, wait_for: Any = None, return_state: bool = False, call: Call | None = None
    ) -> Any:
        try:
            run = begin(spec, host, call)
        except Exception as refused:
            bare(refused)  # a setting that cannot be: the sentence says all, our frames nothing
            raise
        scope = run.scope
        before = current_run.set(run)
        around = None if scope.trace is None else scope.trace.attach(run)
        try:
            if prepare is not None or wait_for is not None or watch.states:
                if watch.promises:
                    await admit(run, host, call, args, kwargs, wait_for)
                args, kwargs = (prepare or plain_arguments)(run, args, kwargs, wait_for)
            run.args, run.kwargs, run.started = args, kwargs, clock.now()
            if not run.settles:
                scope.tell((run, RUNNING, run.started, None))
            elif (ended := await ready(run, host)) is not None:
                return replayed(ended, return_state)
            value = await (other(run) if run.tags or scope.keeps or watch.works else body)(run, args, kwargs)
            if run.ended:
                return value  # its flow went on without it, and has said so
            if may_strain and watch.promises and value.__class__ not in FLAT and run.result_key is None:
                value = await settled(run, host, value)
            state = outcomes.from_value(value) if isinstance(value, STATEFUL) else None
            if state is not None or return_state or run.settles or on_completion:
                return await over(run, host, value, state, return_state)
            scope.tell((run, COMPLETED, clock.now(), None))
            if lines.ENGINE.isEnabledFor(logging.INFO):
                lines.completed(run)
            if may_strain and call is None and scope.journal.crowded:
                await relief(run, host)
            return value
        except Exception as raised:
            error, state = await failed(run, host, raised, args, kwargs)
            if state is not None and return_state:
                return state
            if error is not raised:
                raise error from None
            bare(raised)
            raise
        except BaseException as stop:
            asked = await interrupt(run, host, stop)
            if asked is not None:
                raise asked from None
            raise
        finally:
            leave(run, host, before, around)

    return live


def leave(run: Run, host: Host, before: Token[Run | None], around: object) -> None:
    """Let go of all that *run* held, and make current again what was before it."""
    release(run, host)
    try:
        current_run.reset(before)
        if run.scope.trace is not None:
            run.scope.trace.detach(around)
    except ValueError:
        # The coroutine is closed in another context than it ran in, where nothing of ours is current.
        return


def release(run: Run, host: Host) -> None:
    """Let go of what *run* held, and have its home let go of it; tell the host of a root's end."""
    run.args = run.kwargs = None
    if run.home is not None:
        run.home.rest()  # kept: what the body has left behind may ask where that was
    if run.parent is None:
        host.close()
    if run.scope.past is not None:
        run.scope.past.strands.leave(run)
    live = run.scope.journal.live
    if type(run) is FlowRunning and live.get(run.id) is run:  # one that was unloaded may be back by now
        live.pop(run.id, None)


def unloads(run: Run) -> bool:
    """Tell whether the durable run that *run* is part of is being unloaded: how its code ends does not count."""
    past = run.scope.past
    return past is not None and past.strands.state is not None


def usual(run: Run, value: Any) -> State[Any]:
    """Give the state of a run whose body returned *value*: cancelled, if that is what it did on being told to stop."""
    if run.noticed:
        return State(StateType.CANCELLED, message=f"Its body ended early when it was told to stop: {reason(run)}.")
    return State(StateType.COMPLETED, data=value)


def reason(run: Run) -> str | None:
    """Give why *run*, or a run around it, is to stop; None where none is."""
    above: Run | None = run
    while above is not None:
        if above.stopping is not None:
            return above.stopping
        above = above.parent
    return None


def enlist(run: Run, call: Call, host: Host) -> None:
    """Join *run* and the submitted *call* that it is; tell since when it has waited, if that was a while."""
    run.call = call
    run.home = call.home
    if run.home is not None:
        run.home.holds(run)
    call.run = run  # from here on, who stops the call stops the run
    group = call.group
    if group is not None:
        group.begun += 1
    if run.scope.past is None:
        queued(run, call, host)
    if call.stopping is not None:
        run.stop(call.stopping)


def queued(run: Run, call: Call, host: Host) -> None:
    """Tell since when *run* has waited in line as the submitted *call*, if that was a while."""
    if call.submitted and host.clock.now() - call.submitted > A_WHILE:
        run.scope.tell((run, PENDING, call.submitted, None))


async def admit(run: Run, host: Host, call: Call | None, args: Positional, kwargs: Named, wait_for: Any) -> None:
    """
    Join *run* with the submitted *call* that it is; one called directly waits here for the futures it was given.

    Raises:
        BaseException: The call was stopped in the moment in which its turn came.
    """
    if call is not None:
        enlist(run, call, host)
        hear(run)
        return
    waits = unfinished(args, kwargs, wait_for)
    if waits:
        if run.scope.past is None:
            run.scope.tell((run, PENDING, host.clock.now(), None))
        await host.until(waits)


def never_begun(call: Call, why: str) -> tuple[State[Any], int]:
    """Record the run of *call*, stopped before its turn came; give its state and the moment. Called in its context."""
    host = call.host
    begin: Begin = begin_task if call.spec.kind == "task" else begin_flow
    run = begin(call.spec, host, call)
    call.run = run
    state: State[Any] = State(StateType.CANCELLED, message=f"It was stopped before it began: {why}.")
    try:
        run.scope.tell((run, PENDING, call.submitted or host.clock.now(), None))
        at = tell_end(run, host, state)
    finally:
        run.scope.journal.live.pop(run.id, None)
        if run.parent is None:
            host.close()
    return run.stamped(state, at), at


def given_up(call: Call, why: str, at: int) -> tuple[State[Any], int]:
    """Record the run of *call*, which goes on though it was cancelled, as ended; give its state and the moment."""
    run = call.run
    state: State[Any] = State(StateType.CANCELLED, message=f"Its flow went on without it: {why}.")
    if run is None or unloads(run):
        return state, at
    if run.ended:
        return run.final or state, at
    for one in at_work(call, run):
        if isinstance(one, FlowRunning) and one.crew is not None:
            one.crew.stop(why)
            one.crew.abandon(why)
        if not one.ended:
            one.settles = True  # so that its end, whenever it comes, takes the way on which it is seen to be late
            at = tell_end(one, call.host, state)
            one.scope.journal.live.pop(one.id, None)
    return run.stamped(state, at), at


def at_work(call: Call, run: Run) -> list[Run]:
    """Give the runs in progress within *run*, which is *call*'s, the innermost first, and *run* itself."""
    found: list[Run] = []
    innermost = call.context.get(current_run)
    while innermost is not None and innermost is not run:
        found.append(innermost)
        innermost = innermost.parent
    live = list(run.scope.journal.live.values())
    found += [one for one in reversed(live) if one not in found and any(above is run for above in one.ancestors())]
    return [*found, run]


async def ready(run: Run, host: Host) -> State[Any] | None:
    """
    Tell that *run* begins, which waits for its record; gives how it ended, where that is on record already.

    A strict flow run's beginning is recorded before its body runs; a store that fails stops it here.
    """
    scope = run.scope
    if scope.past is not None:
        ended: State[Any] | None = await scope.past.enter(run, host, run.args, run.kwargs)
        if ended is not None:
            return ended
    scope.tell((run, RUNNING, run.started, None))
    if run.number == 0 and scope.level == "strict":
        problem = await host.settled(scope.journal) or lost(run)
        if problem is not None:
            raise problem
    return None


def replayed(state: State[Any], return_state: bool) -> Any:
    """Give the caller of a run that had ended before what that came to."""
    if not return_state:
        return state.result()
    watch.states = True
    return state


def lost(run: Run) -> Exception | None:
    """Give why what *run* tells is not recorded any more: another process has it, or the store has failed."""
    past = run.scope.past
    return None if past is None else past.lost or past.problem


async def relief(run: Run, host: Host) -> None:
    """Wait until the journal is less crowded. Who cancels this wait does not cancel *run*: it has completed."""
    run.ended = True
    await host.relieved(run.scope.journal)


async def failed(
    run: Run, host: Host, raised: Exception, args: Positional, kwargs: Named
) -> tuple[Exception, State[Any] | None]:
    """End *run*, out of which *raised* came; give what its caller gets, and its state: None if it was over before."""
    if unloads(run):
        await run.scope.past.strands.left_off(run, host)
        run.scope.past.strands.refuse()
    if run.ended:
        return raised, None
    error = explained(run.spec, raised, args, kwargs)
    return error, await fail(run, host, error)


async def fail(run: Run, host: Host, error: Exception) -> State[Any]:
    """End *run* with *error*: shown, recorded, told to its hooks; or as never started, where that is what it says."""
    if isinstance(error, UpstreamTaskError) and error.run_id == run.id:
        waiting: State[Any] = await finish(run, host, outcomes.not_started(error), True)
        return waiting
    if isinstance(error, RecursionError):
        end_stranded(run, host, error)
    run.error_type = type(error).__name__
    if isinstance(error, CancelledRun) and error.run_id == run.id:
        stopped: State[Any] = await finish(run, host, outcomes.from_error(run.spec.kind, error, run.id), True)
        return stopped
    if run.span is not None:
        run.span.attempt_failed(error, escaped=True)
    lines.failed(run, error)
    state: State[Any] = outcomes.from_error(run.spec.kind, error, run.id)
    if isinstance(error, StoreUnavailable) and run.scope.past is not None:
        # No failure of its own: it is to go on from what is on record, once the database works again.
        state = State(StateType.CRASHED, message=f"It stopped, since it could not be recorded: {error}", data=error)
    ended: State[Any] = await finish(run, host, state, True)
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


async def interrupt(run: Run, host: Host, stop: BaseException) -> Exception | None:
    """
    End *run* because of *stop*, which is no Exception: never a failure, never retried, never swallowed.

    Recorded is what *stop* really was, where the host knows better: SIGTERM comes to a task as a cancellation. Of a
    flow run that was asked to stop while its body was not at work, gives what its caller gets instead.
    """
    if unloads(run):
        await run.scope.past.strands.left_off(run, host)
    if run.ended:
        return None
    asked = host.really(run, stop) if type(run) is FlowRunning else stop
    if isinstance(asked, Exception):
        await fail(run, host, asked)
        return asked
    if isinstance(stop, RunCancelled) or run.stopping is not None:
        pass_on(run)
    really = host.translated(stop)
    if isinstance(really, TerminationSignal) and run.scope.past is not None:
        run.scope.past.leaves = True  # a process that is replaced by another ends no durable run
    state = outcomes.from_interruption(really, reason(run), begun=run.started > 0)
    if isinstance(really, GeneratorExit):
        # Who closes a coroutine does not wait for it: no hook can be called, no commit awaited.
        tell_end(run, host, state)
        lines.finished(run, state)
        return None
    if state.is_crashed():
        run.error_type = type(really).__name__
        if run.span is not None:
            run.span.attempt_failed(really, escaped=True)
    with suppress(StoreUnavailable, LostRun):  # of which who stops it wants to hear least of all
        await finish(run, host, state, True)
    return None


def tell_end(run: Run, host: Host, state: State[Any]) -> int:
    """Tell that *run* ends in *state*; give the moment."""
    at = host.clock.now()
    stamp = (state.type.value, state.name)
    if not state.is_final():
        run.last = stamp
    run.scope.tell((run, stamp, at, state.message))
    run.ended = True
    run.final = state
    return at


async def remember(run: Run, host: Host, state: State[Any]) -> bool:
    """Have recorded what *run*, which is part of a durable one, came to; tell whether that is all: it was not real."""
    past = run.scope.past
    if type(run) is FlowRunning and state.is_completed():
        past.check(run)
    await past.keep(run, host, state)
    dry: bool = past.dry
    return dry


async def over(run: Run, host: Host, value: Any, state: State[Any] | None, return_state: bool) -> Any:
    """End *run*, whose body returned *value*, which stands for *state* if it is one."""
    scope, past = run.scope, run.scope.past
    if past is not None:
        past.strands.refuse()
    plain = state is None and not return_state and run.call is None and not run.noticed
    if not plain or past is None or run.spec.hooks["on_completion"] or not past.keeps(run, value):
        return await finish(run, host, state or usual(run, value), return_state)
    # A step that was called: as `finish` does, without what hardly any such step has.
    if run.span is not None:
        run.span.close()
    scope.tell((run, COMPLETED, host.clock.now(), None))
    run.ended = True
    problem = await host.settled(scope.journal) or lost(run)
    if problem is not None:
        raise problem
    if lines.ENGINE.isEnabledFor(logging.INFO):
        lines.completed(run)
    return value


async def finish(run: Run, host: Host, state: State[Any], return_state: bool) -> Any:
    """End *run* in *state*: tell it, call its hooks, wait until it is recorded where that was promised, and say so."""
    if run.ended or unloads(run):
        return run.final if return_state else None  # its flow went on without it
    if run.scope.past is not None and run.scope.past.leaves and state.is_cancelled():
        state = State(StateType.CRASHED, message=LEFT, data=state.data)
    if run.step_id is not None and await remember(run, host, state):
        run.ended, run.final = True, state
        return state if return_state else state.result()
    if run.span is not None:
        run.span.close()
    run.final = ended = run.stamped(state, tell_end(run, host, state))
    await run_hooks(run, host, ended)
    if run.settles:
        problem = await host.settled(run.scope.journal) or lost(run)
        if problem is not None and run.scope.level == "strict" and not isinstance(state.data, StoreUnavailable):
            raise problem
    lines.finished(run, ended)
    if return_state:
        watch.states = True
        return ended
    return ended.result()
