"""Lines: what the engine says about runs in the log. Words only; handlers and formats live in telemetry."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Any, Final

from headrace._engine.inputs import own_frames
from headrace._engine.runs import Run
from headrace._model.states import State
from headrace.errors import RunTimeoutError, StoreUnavailable, WorkerDied, short

REMEMBERED: Final = 8
ENGINE: Final = logging.getLogger("headrace.engine")
RUNS: Final = {
    "flow": logging.getLogger("headrace.flow_runs"),
    "task": logging.getLogger("headrace.task_runs"),
}
EXC_INFO = tuple[type[BaseException], BaseException, TracebackType | None]


def created(run: Run) -> None:
    """Say that a flow run begins."""
    if not ENGINE.isEnabledFor(logging.INFO):
        return
    what = "flow run" if run.parent is None else "subflow run"
    ENGINE.info(
        "Created %s %r for flow %r",
        what,
        run.name,
        run.spec.name,
        extra={"headrace_run": run, "run_label": None},
    )


def say(run: Run, level: int, message: str, *args: Any, exc_info: EXC_INFO | None = None, kept: bool = False) -> None:
    """Say *message* about *run*; *kept* lines are stored with the run, others are states told another way."""
    logger = RUNS[run.spec.kind] if kept else ENGINE
    if logger.isEnabledFor(level):
        logger.log(level, message, *args, exc_info=exc_info, extra={"headrace_run": run, "run_label": run.label})


def finished(run: Run, state: State[Any]) -> None:
    """Say in which state a run ended: at INFO if it completed, or somebody wanted it to end, else at ERROR."""
    unwanted = state.is_cancelled() or (run.call is not None and run.call.unwanted)
    level = logging.INFO if state.is_completed() or unwanted else logging.ERROR
    if ENGINE.isEnabledFor(level):  # before a state of any size is put into words
        say(run, level, "Finished in state %s", short_state(state))


def completed(run: Run) -> None:
    """Say that a run completed with an ordinary value; the hot path's form of `finished`."""
    say(run, logging.INFO, "Finished in state Completed()")


def failed(run: Run, error: BaseException) -> None:
    """Show *error* with the user's frames, unless a run below has shown it."""
    scope = run.scope
    shown = any(error is known for known in scope.shown)
    if not shown:
        for above in ancestors(run):
            above.scope.shown = (error, *above.scope.shown[: REMEMBERED - 1])
    # The back office has said the one, the final state says the other.
    if not shown and not isinstance(error, StoreUnavailable | RunTimeoutError | WorkerDied):
        trace = own_frames(error)
        say(run, logging.ERROR, "Failed with an exception", exc_info=(type(error), error, trace), kept=True)


def source_failed(run: Run, name: str, items: int, error: BaseException) -> None:
    """Show the *error* of what a map of *name* in *run* was reading, after so many *items*."""
    trace = own_frames(error)
    message = "The source of a map of %r failed after %s items"
    say(run, logging.ERROR, message, name, f"{items:,}", exc_info=(type(error), error, trace), kept=True)


def ancestors(run: Run) -> list[Run]:
    """Give *run* and those above it that have a scope of their own."""
    found: list[Run] = []
    above: Run | None = run
    while above is not None:
        if not found or above.scope is not found[-1].scope:
            found.append(above)
        above = above.parent
    return found


def retrying(run: Run, attempts: int, delay: float, reason: str) -> None:
    """Say that an attempt failed, why, and when the next one starts."""
    when = f"retrying in {delay:g} s" if delay else "retrying at once"
    say(run, logging.WARNING, "Attempt %d of %d failed: %s; %s", run.attempt, attempts, reason, when)


def warn(run: Run, message: str, *args: Any) -> None:
    """Say something about *run* that its author should know."""
    say(run, logging.WARNING, message, *args, kept=True)


def short_state(state: State[Any]) -> str:
    """Give a state as one bounded line."""
    text = str(state)
    return text if len(text) <= 400 else f"{text[:400]}…"


def short_error(error: object) -> str:
    """Give an exception as one bounded line."""
    return short(error, 200)
