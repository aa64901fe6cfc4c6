"""
Errors of durable runs and of paused ones: what was recorded does not fit what is asked, or the run is somebody else's;
nobody resumed it in time, or it is not to be resumed like that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from headrace.errors.base import HeadraceError, nearest, taken_apart

LISTED = 5


class DurableError(HeadraceError):
    """A durable run cannot go on."""


class NonDeterministicFlow(DurableError):
    """The code asked for other steps than those that were recorded."""

    def __init__(self, label: str, recorded: Sequence[str], asked: Sequence[str]) -> None:
        self.recorded = tuple(recorded)
        self.asked = tuple(asked)
        super().__init__(
            f"{label} went another way than the one recorded. Recorded, and not asked for now: {listed(recorded)}. "
            f"Asked for now, and not recorded: {listed(asked)}. What decides the way must be the same at each resume: "
            f"put it into a task, or use headrace.durable.now(), random() or uuid(). If the code was changed on "
            f"purpose, run the flow anew."
        )


class NonDeterministicItems(NonDeterministicFlow):
    """A generator that was run again yields other items than it did."""

    def __init__(self, label: str, number: int, recorded: str, asked: str) -> None:
        self.recorded = (recorded,)
        self.asked = (asked,)
        HeadraceError.__init__(
            self,
            f"{label} was run again from its start, and yields other items than before: item {number} was {recorded}, "
            f"and is {asked} now. Have it yield the same each time, or give it a parameter resume_from=0: then it is "
            f"called with the number of the first item that is missing.",
        )


class LostRun(DurableError):
    """Another process has taken the run over; nothing that is done for it here is recorded."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(
            f"Flow run {run_id} was taken over by another process, since this one was silent for longer than its "
            f"lease. It goes on there: headrace flow-run inspect {run_id[:8]}"
        )


class Suspended(BaseException):
    """
    A durable run is unloaded while it waits: raised where it waits, and by all it asks for until its code is left.

    No Exception, so that no handler of errors takes it for one. What the code does on its way out is not recorded.
    """

    def __init__(self, run_id: str) -> None:
        super().__init__(f"Flow run {run_id} is unloaded while it waits. It goes on from its record.")

    def __reduce__(self) -> tuple[Any, ...]:
        return taken_apart(self)


class StaleRuns(DurableError):
    """A batch holds rows of runs that other processes have taken over by now; nothing of it was written."""

    def __init__(self, run_ids: Sequence[str]) -> None:
        self.run_ids = tuple(run_ids)
        super().__init__(f"Other processes have taken over {', '.join(run_ids)}; nothing was written for them.")


class RunHeld(DurableError):
    """A run is in progress in a process that lives, or may live."""

    def __init__(self, run_id: str, owner: str | None, seconds: float | None = None) -> None:
        self.run_id = run_id
        self.owner = owner
        until = "" if seconds is None else f", and holds it for {max(seconds, 0.0):.0f} s more at least"
        super().__init__(
            f"Flow run {run_id} is not to be resumed here: {named(owner)} has it{until}. Wait for it, or cancel it "
            f"first: headrace flow-run cancel {run_id[:8]}"
        )


class NotResumable(DurableError):
    """A run that cannot be resumed: it has ended, was not durable, or its code is not to be found."""

    to: ClassVar[str] = "resume"
    done: ClassVar[str] = "resumed"

    def __init__(self, run_id: str, why: str, step: str) -> None:
        self.run_id = run_id
        super().__init__(f"Flow run {run_id} cannot be {self.done}: {why}. {step}")


class NotRetryable(NotResumable):
    """A run that cannot be retried: it has completed, goes on, was not durable, or its code is not to be found."""

    to = "retry"
    done = "retried"


class NotForkable(NotResumable):
    """A run that cannot be forked: it was not durable, is part of another, or its code is not to be found."""

    to = "fork"
    done = "forked"


class ResultNotSet(NotResumable):
    """No result can be set in a run: it has completed, goes on, or was not durable, or the step has completed."""

    to = "set-result"
    done = "changed"


class ResultMisfit(DurableError, TypeError):
    """A result that was to be set is not what the task or flow returns."""

    def __init__(self, run_id: str, step: str, why: str) -> None:
        self.run_id = run_id
        super().__init__(f"Step {step!r} of flow run {run_id} cannot have come to that: {why}")


class StepNotFound(DurableError, LookupError):
    """A run has no step of this id or name."""

    def __init__(self, run_id: str, asked: str, known: Sequence[str]) -> None:
        self.run_id = run_id
        self.known = tuple(known)
        super().__init__(
            f"Flow run {run_id} has no step {asked!r} on record{nearest(asked, known)} It has: {listed(known)}."
        )


class CrashLoop(DurableError):
    """A run has ended its process again and again."""

    def __init__(self, run_id: str, times: int) -> None:
        self.run_id = run_id
        super().__init__(
            f"Flow run {run_id} is in a crash loop: {times} processes in a row ended while they ran it, and none "
            f"recorded a new step. It is not tried again by itself. See what it did last: headrace flow-run inspect "
            f"{run_id[:8]}"
        )


class RecordedError(DurableError):
    """Stands for an exception of a step that was recorded, and cannot be made again here."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(f"{kind}: {message}" if message else kind)


class FlowPauseTimeout(HeadraceError, TimeoutError):
    """A paused flow run was not resumed in time."""

    def __init__(self, run: str, run_id: str, seconds: float) -> None:
        super().__init__(
            f"Flow run {run!r} was paused for {seconds:g} s and never resumed. Do so in time: headrace flow-run resume "
            f"{run_id[:8]}"
        )


class NotPausedError(HeadraceError):
    """A flow run was to be resumed that is not paused."""

    def __init__(self, run_id: str, why: str) -> None:
        self.run_id = run_id
        self.why = why
        super().__init__(f"Flow run {run_id} cannot be resumed: {why}. See what it does: headrace flow-run ls")


class InvalidRunInput(HeadraceError, ValueError):
    """
    The input that a flow run was to be resumed with does not fit.

    Attributes:
        problems: Each field that does not fit, "" for the whole, with a sentence.
    """

    def __init__(self, run_id: str, problems: Sequence[tuple[str, str]]) -> None:
        self.run_id = run_id
        self.problems = tuple(problems)
        said = " ".join(f"{field}: {why}" if field else why for field, why in problems)
        super().__init__(f"Flow run {run_id} stays paused, since the input does not fit. {said}")


class PauseContextError(HeadraceError, RuntimeError):
    """A flow run was to be paused by code that cannot."""

    def __init__(self, why: str) -> None:
        super().__init__(f"Flow runs can only be paused from within their flow: {why}")


def named(owner: str | None) -> str:
    """Say which process *owner* is."""
    parts = (owner or "").rsplit(":", 3)
    return f"process {parts[1]} on {parts[0]}" if len(parts) == 4 else "another process"


def listed(steps: Sequence[str]) -> str:
    """Give *steps* in one line."""
    if not steps:
        return "nothing"
    shown = ", ".join(steps[:LISTED])
    return shown if len(steps) <= LISTED else f"{shown} and {len(steps) - LISTED:,} more"
