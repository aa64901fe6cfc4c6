"""Errors of signals: what cannot be sent, does not come, or is not what was waited for."""

from __future__ import annotations

import shlex

from headrace.errors.base import HeadraceError, short


class SignalError(HeadraceError):
    """Something cannot be sent to a run, or is not what it waited for."""


class SignalNotPlain(SignalError, TypeError):
    """A value that has no form in JSON."""

    def __init__(self, name: str, value: object, why: Exception) -> None:
        super().__init__(
            f"The value of the signal {name!r} has no form in JSON: {why}. Send plain data, a dataclass or a model, "
            f"not {short(value)}."
        )


class SignalTooLarge(SignalError, ValueError):
    """A value that is too large to be sent."""

    def __init__(self, name: str, size: int, most: int) -> None:
        super().__init__(
            f"The value of the signal {name!r} has {size:,} bytes of JSON; {most:,} can be sent. Put it into a file or "
            f"a table, and send where it lies."
        )


class NotReceiving(SignalError):
    """A signal was sent to a run that has ended, and reads nothing any more."""

    def __init__(self, name: str, run_id: str, run: str, state: object) -> None:
        self.run_id = run_id
        super().__init__(
            f"The signal {name!r} cannot be sent: flow run {run!r} has ended, in state {state}. Send it to a run that "
            f"goes on: headrace flow-run ls --state running"
        )


class SignalContextError(SignalError, RuntimeError):
    """A signal was sent, or waited for, in a place that no signal leaves or comes to."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"The signal {name!r} can neither be sent nor received here: {why}")


class SignalTypeError(SignalError, TypeError):
    """What was sent is not of the type that was waited for."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"The signal {name!r} does not fit: {why}. It counts as read: receive again for the next one.")


class SignalTimeout(SignalError, TimeoutError):
    """
    A signal did not come in time.

    Attributes:
        seconds: How long it was waited for.
        run_id: The run that waited.
    """

    def __init__(self, name: str, seconds: float, run_id: str, step: str = "") -> None:
        self.seconds = seconds
        self.run_id = run_id
        step = step or f"headrace flow-run signal {run_id[:8]} {shlex.quote(name)}"
        super().__init__(f"No signal {name!r} came within {seconds:g} s. To send one: {step}")


class Unanswered(SignalError, TimeoutError):
    """What was asked of a run got no answer."""

    def __init__(self, name: str, run_id: str, why: str) -> None:
        super().__init__(
            f"Flow run {run_id} was asked {name!r}, and did not answer: {why}. See what it does: headrace flow-run "
            f"inspect {run_id[:8]}"
        )
