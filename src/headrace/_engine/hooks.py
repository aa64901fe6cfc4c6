"""Hooks: the user's functions that hear of states. Each is guarded by itself and never changes the run."""

from __future__ import annotations

import inspect
import logging
from contextlib import nullcontext
from typing import Any, Final

from headrace._engine import lines
from headrace._engine.inputs import own_frames
from headrace._engine.prints import captured, logs_prints
from headrace._engine.runs import Run
from headrace._model.options import Hook
from headrace._model.states import State, StateType
from headrace._ports import Host

BY_STATE: Final = {
    StateType.RUNNING: "on_running",
    StateType.COMPLETED: "on_completion",
    StateType.FAILED: "on_failure",
    StateType.CANCELLED: "on_cancellation",
    StateType.CRASHED: "on_crashed",
}


async def run_hooks(run: Run, host: Host, state: State[Any]) -> None:
    """Call the hooks of *run* that *state* concerns, in order; one that raises is logged, and the next is called."""
    option = BY_STATE.get(state.type)
    hooks = run.spec.hooks[option] if option else []
    if not hooks:
        return
    record = run.record(state)
    with captured() if logs_prints(run) else nullcontext():
        for hook in list(hooks):
            await one(run, host, hook, record, state)


async def one(run: Run, host: Host, hook: Hook, record: Any, state: State[Any]) -> None:
    """Call one hook."""
    name = getattr(hook, "__name__", type(hook).__name__)
    lines.say(run, logging.INFO, "Running hook %r in response to entering state %r", name, state.name)
    try:
        value = hook(run.spec.public, record, state)
        if inspect.isawaitable(value):
            await host.answer(value)
    except Exception as error:
        info = (type(error), error, own_frames(error))
        lines.say(run, logging.ERROR, "Hook %r failed; the run goes on", name, exc_info=info, kept=True)
    else:
        lines.say(run, logging.INFO, "Hook %r finished", name)


async def retry_wanted(run: Run, host: Host, state: State[Any]) -> bool:
    """Ask the user's `retry_condition_fn`; one that raises means no."""
    condition = run.spec.options.get("retry_condition_fn")
    if condition is None:
        return True
    try:
        value = condition(run.spec.public, run.record(state), state)
        return bool(await host.answer(value) if inspect.isawaitable(value) else value)
    except Exception as error:
        info = (type(error), error, own_frames(error))
        lines.say(run, logging.ERROR, "retry_condition_fn failed, so there is no retry", exc_info=info, kept=True)
        return False
