"""Beginnings: how a call becomes a run, and what its arguments go through before the body sees them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from headrace._engine import lines
from headrace._engine.calls import Call
from headrace._engine.coercion import coerced
from headrace._engine.context import current_run, current_tags, drawn, resumed
from headrace._engine.homes import HERE
from headrace._engine.inputs import (
    bare,
    bind,
    named,
    recorded,
    spread,
)
from headrace._engine.runs import FlowRunning, Run, Scope, TaskRunning
from headrace._engine.spec import Spec
from headrace._engine.upstream import check_upstream, resolve_arguments, resolved
from headrace._model.annotations import watch
from headrace._model.events import clipped
from headrace._ports import Host
from headrace.errors import RunNameError, short

LONGEST_NAME: Final = 200
Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Begin = Callable[[Spec, Host, Call | None], Run]
Prepare = Callable[[Run, tuple[Any, ...], dict[str, Any], Any], Arguments]


def begin_task(spec: Spec, host: Host, call: Call | None) -> Run:
    """
    Make the run of a task's call: within the run that calls, or as a root of its own.

    Raises:
        BaseException: The run that calls is to stop, and has not heard of it yet.
    """
    parent = current_run.get()
    tags = current_tags.get()
    tags = spec.tags | tags if tags else spec.tags
    if parent is None:
        journal = host.open()
        scope = Scope(journal, journal.draw() if call is None else call.promise.prefix, journal.level, flow=False)
        run = TaskRunning(spec, scope, None, 0, tags)
        run.group = None if call is None else call.group
        furnish(run, settles=True)
        return run
    if watch.stops and call is None:
        heed(parent)
    scope = parent.scope
    run = TaskRunning(spec, scope, parent, next(scope.counter) if call is None else call.promise.number, tags)
    if call is not None:
        run.group = call.group
    if scope.attempt != 1:
        run.flow_attempt = scope.attempt
    if scope.level == "strict" or parent.inherited:
        run.settles = True
    return run


def begin_flow(spec: Spec, host: Host, call: Call | None) -> Run:
    """
    Make the run of a flow's call, with a scope of its own; a subflow keeps its parent's durability and trace.

    Raises:
        BaseException: The run that calls is to stop, and has not heard of it yet.
    """
    parent = current_run.get()
    if watch.stops and call is None:
        heed(parent)
    journal = host.open() if parent is None else parent.scope.journal
    level = spec.options.get("durability") or ("strict" if spec.options.get("durable") else None)
    level = level or (journal.level if parent is None else parent.scope.level)
    scope = Scope(journal, drawn(journal) if call is None else call.promise.prefix, level, flow=True)
    if parent is not None:
        scope.keeps = parent.scope.keeps
    elif resumed(scope.prefix):
        level = scope.level = "strict"  # as it was when it began, whatever its flow says by now
    if spec.keeps is not None:
        scope.keeps = spec.keeps.under(scope.keeps)
    run = FlowRunning(spec, scope, parent, 0, current_tags.get())
    run.group = None if call is None else call.group
    if level == "strict":
        scope.past = journal.past_of(run)
    furnish(run, settles=parent is None or parent.inherited or level == "strict")
    if call is None:
        run.home = host.home(run)
    journal.live[run.id] = run
    return run


def heed(run: Run | None) -> None:
    """
    Have the code in *run*, which is about to wait or to begin something, hear that it is to stop, where it is.

    Of the runs around it, up to the one that was submitted, the innermost that is to stop counts: while its body cleans
    up, those above are not heard.

    Raises:
        BaseException: It has not heard it before: RunCancelled, or CancelledError on a loop.
        Suspended: It is being unloaded.
    """
    if run is not None and run.scope.past is not None:
        run.scope.past.strands.refuse()
    while run is not None and not run.noticed:
        if run.stopping is not None:
            hear(run)
            return
        if run.call is not None:
            return
        run = run.parent


def hear(run: Run) -> None:
    """
    Have the body of *run* hear that it is to stop: once, so that what its cleanup calls may run.

    Raises:
        BaseException: It has not heard it before: RunCancelled, or CancelledError on a loop.
    """
    if run.stopping is None or run.heard:
        return
    run.heard = True
    above = run
    while above.call is None and above.parent is not None:
        above = above.parent
        if above.home is not None and above.home.told:
            return  # what was sent there has come, or will come, to this body, too
    (run.home or HERE).hear(run)


def pass_on(run: Run) -> None:
    """Note that the caller of *run* hears of being stopped by how *run* ends: it need not hear it again."""
    above = run
    while above.call is None and above.parent is not None:
        above = above.parent
        if above.stopping is not None:
            above.heard = (above.home or HERE).hush() or above.heard
            return


def furnish(run: Run, *, settles: bool) -> None:
    """Give a root's scope its trace; where nothing is to be recorded or traced, have nothing told."""
    scope = run.scope
    observer = scope.journal.observer
    if observer is not None:
        scope.trace = observer.open(run)
    if scope.level == "off" and scope.trace is None:
        scope.tell = forget
    else:
        run.settles = settles


def forget(_event: object) -> None:
    """Take an event nobody wants."""


def preparation(spec: Spec) -> Prepare | None:
    """Give what the arguments of *spec*'s calls go through; None where a task uses nothing of it."""
    if spec.kind == "flow":
        return flow_arguments
    return task_arguments if spec.run_name is not None else None


def plain_arguments(run: Run, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any) -> Arguments:
    """Wait for upstream states, and put results where arguments are states."""
    if wait_for is not None:
        check_upstream(run, wait_for)
    return resolve_arguments(run, args, kwargs) if watch.states else (args, kwargs)


def task_arguments(run: Run, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any) -> Arguments:
    """Do what `plain_arguments` does, and name the run by its template."""
    run.args, run.kwargs = args, kwargs = plain_arguments(run, args, kwargs, wait_for)
    run.given_name = run_name(run.spec, named(run.spec, args, kwargs))
    return args, kwargs


def flow_arguments(run: Run, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any) -> Arguments:
    """Bind, resolve, record and, unless switched off, validate a flow's parameters; name the run and say it begins."""
    spec = run.spec
    parameters = bind(spec, args, kwargs)
    if wait_for is not None:
        check_upstream(run, wait_for)
    if watch.states:
        parameters = {name: resolved(run, value) for name, value in parameters.items()}
    run.args, run.kwargs = spread(spec, parameters)
    known = named(spec, run.args, run.kwargs)
    run.parameters = recorded(known)
    if spec.run_name is not None:
        run.given_name = run_name(spec, known)
    if run.scope.past is None or not run.scope.past.resumed:
        lines.created(run)
    if spec.options.get("validate_parameters", True):
        parameters = coerced(spec, parameters)
    return spread(spec, parameters)


def run_name(spec: Spec, parameters: dict[str, Any]) -> str | None:
    """
    Give the run's name from the user's template or callable, at most 200 characters of it; None where it is empty.

    Raises:
        RunNameError: It failed, or gave something that is no string.
    """
    wanted = spec.run_name
    option = f"{spec.kind}_run_name"
    try:
        if isinstance(wanted, str):
            value: Any = wanted.format(**parameters)
        else:
            value = wanted(parameters) if takes_parameters(wanted) else wanted()
    except Exception as error:
        bare(error)
        raise RunNameError(
            f"The {option} {short(wanted)} of {spec.kind} {spec.name!r} failed with {type(error).__name__}: {error}. "
            f"It can use the parameters {', '.join(parameters) or '(there are none)'}."
        ) from (None if isinstance(wanted, str) else error)
    if not isinstance(value, str):
        raise RunNameError(f"The {option} of {spec.kind} {spec.name!r} gave {short(value)}; it must give a string.")
    return (clipped(value, LONGEST_NAME) or "").strip() or None


def takes_parameters(function: Callable[..., Any]) -> bool:
    """Tell whether *function* wants the parameters handed to it: whether it has a place for one argument."""
    try:
        return any(
            parameter.kind in {parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD, parameter.VAR_POSITIONAL}
            for parameter in inspect.signature(function).parameters.values()
        )
    except ValueError:
        return False
