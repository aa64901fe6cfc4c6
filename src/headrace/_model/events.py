"""
Events: the transitions of a run as small tuples, and what a list of them amounts to. Never keeps or sends any.

An event is `(run, stamp, at, said)`: whose it is, the type and name of the state entered, nanoseconds since 1970, and
the state's message. Log lines travel the same way under the stamp LOG, with `(level, logger, message)` as what is said.
Under RESULT comes what a run returned, as it is to be stored, under YIELDED who gives that of some items of a
generator, and under READ, with its number, a signal that a durable run has read. Under GROUP comes, in the place of a
run, a map or stream of which every run has ended; under ASK comes who wants to be called when all before is committed,
under ERRAND who has something to do with the store, and under RECALL who wants to know what it holds under a key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

Stamp: TypeAlias = tuple[str, str]
Transition: TypeAlias = tuple[Stamp, int, str | None]

PENDING: Final[Stamp] = ("PENDING", "Pending")
RUNNING: Final[Stamp] = ("RUNNING", "Running")
RETRYING: Final[Stamp] = ("RUNNING", "Retrying")
AWAITING_RETRY: Final[Stamp] = ("SCHEDULED", "AwaitingRetry")
COMPLETED: Final[Stamp] = ("COMPLETED", "Completed")
LOG: Final[Stamp] = ("LOG", "Log")
CANCELLED: Final[Stamp] = ("CANCELLED", "Cancelled")
CRASHED: Final[Stamp] = ("CRASHED", "Crashed")
CANCELLING: Final[Stamp] = ("CANCELLING", "Cancelling")
PAUSED: Final[Stamp] = ("PAUSED", "Paused")
SUSPENDED: Final[Stamp] = ("PAUSED", "Suspended")
GROUP: Final[Stamp] = ("GROUP", "Group")
ASK: Final[Stamp] = ("ASK", "Ask")
WHOLE: Final = 1  # in the place of the moment of who asks: is to find on record what is in progress, too
ERRAND: Final[Stamp] = ("ERRAND", "Errand")
RECALL: Final[Stamp] = ("RECALL", "Recall")
RESULT: Final[Stamp] = ("RESULT", "Result")
YIELDED: Final[Stamp] = ("YIELDED", "Yielded")
READ: Final[Stamp] = ("READ", "Read")
ROLLED_BACK: Final[Stamp] = ("COMPLETED", "RolledBack")
CACHED: Final[Stamp] = ("COMPLETED", "Cached")

ENDED: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED", "CRASHED"})
STORED_MESSAGE: Final = 8_000


def history(transitions: Sequence[Transition]) -> list[list[Any]] | None:
    """
    Give *transitions* as they are stored; None where the run's row tells all of it.

    That is so for a run that started and, perhaps, ended: its states follow from start, end and final state.
    """
    if transitions[0][0] is RUNNING and (len(transitions) == 1 or (len(transitions) == 2 and ended(transitions[1]))):
        return None
    return [[kind, name, at, clipped(said)] for (kind, name), at, said in transitions]


def ended(transition: Transition) -> bool:
    """Tell whether a run has ended with *transition*."""
    return transition[0][0] in ENDED


def clipped(text: str | None, limit: int = STORED_MESSAGE) -> str | None:
    """Give *text*, cut to *limit* characters with a note of how many there were."""
    if text is None or len(text) <= limit:
        return text
    return f"{text[:limit]}… (cut: {len(text):,} characters)"
