"""
The present: what runs in progress tell of themselves to the code inside them.

Asks and answers; the one thing it changes is to note that a body asked whether it is to stop, and was told so.
"""

from __future__ import annotations

from typing import Any

from headrace._engine.context import current_attempt, current_run
from headrace._engine.inputs import named
from headrace._engine.runs import FlowRunning, Run, TaskRunning
from headrace.errors import ParameterBindError


def flow_around() -> FlowRunning | None:
    """Give the flow run this code is in, also from within a task of it; None where it is in none."""
    return nearest_flow(current_run.get())


def task_around() -> TaskRunning | None:
    """Give the task run this code is in; None where it is in none, as a flow's own body is."""
    run = current_run.get()
    return run if isinstance(run, TaskRunning) else None


def nearest_flow(run: Run | None) -> FlowRunning | None:
    """Give *run* if it is a flow's, else the first flow run on the way up."""
    while run is not None and not isinstance(run, FlowRunning):
        run = run.parent
    return run


def root_flow(run: FlowRunning) -> FlowRunning:
    """Give the outermost flow run around *run*; itself where there is none."""
    above = nearest_flow(run.parent)
    while above is not None:
        run, above = above, nearest_flow(above.parent)
    return run


def parameters(run: Run) -> dict[str, Any]:
    """
    Give the arguments of *run*'s call by name, the very objects that its body gets.

    Bound when asked for, because binding each call would cost 3 us. Empty where nothing has a name: before the
    arguments are known, once the run has let go of them at its end, and where they do not fit the signature.
    """
    if run.args is None or run.kwargs is None:
        return {}
    try:
        return named(run.spec, run.args, run.kwargs)
    except (ParameterBindError, ValueError):
        return {}  # a ValueError: a builtin that keeps its signature to itself


def cancelled() -> bool:
    """
    Tell whether the run this code is in is to stop: it, or a run around it, is being cancelled or took too long.

    For sync bodies, which nothing can interrupt: a long loop that asks now and then, cleans up and returns lets its run
    end as `Cancelled`. Async bodies are cancelled at their next await and need not ask. False outside of runs.
    """
    attempt = current_attempt.get()
    if attempt is not None and attempt.left:
        return True
    asking = run = current_run.get()
    while run is not None:
        if run.stopping is not None:
            if asking is not None:
                asking.noticed = asking.settles = True
            return True
        run = run.parent
    return False
