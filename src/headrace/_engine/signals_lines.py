"""Lines: who waits in this process for what is sent to a run. Wakes them; neither reads what was sent nor keeps it."""

from __future__ import annotations

from typing import Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from headrace._engine.journal import Journal
from headrace._engine.promises import Gate, guard
from headrace._engine.runs import Run
from headrace._model.signals import Signal


class Inbox:
    """
    What is waited for in one flow run in progress.

    Attributes:
        lines: Who waits for signals of a name, first come first: only the first one looks whether there is any.
        got: What was found for one who then went without it, by its name: it is the next one's.
    """

    def __init__(self) -> None:
        self.lines: dict[str, list[Turn]] = {}
        self.got: dict[str, Signal] = {}


class Turn:
    """
    The place of one who waits, from its making until `leave`.

    Attributes:
        gate: Opens when it is time to look; made anew before each look.
        at_once: Whether its run need not stay for a while before it is unloaded.
    """

    def __init__(self, run: Run, name: str, *, at_once: bool = False) -> None:
        self.name = name
        self.at_once = at_once
        self.gate = Gate()
        with guard:
            inbox = inboxes.get(run)
            if inbox is None:
                inbox = inboxes[run] = Inbox()
            self.inbox = inbox
            self.line = inbox.lines.setdefault(name, [])
            self.line.append(self)

    def come(self) -> bool:
        """Tell whether it is this one's turn to look; whatever comes from here on opens the gate."""
        self.gate = Gate()
        return self.line[0] is self

    def leave(self) -> None:
        """Let the next one look."""
        with guard:
            self.line.remove(self)
            following = self.line[0] if self.line else None
            if following is None:
                del self.inbox.lines[self.name]
        if following is not None:
            following.gate.open()


inboxes: Final[WeakKeyDictionary[Run, Inbox]] = WeakKeyDictionary()
# Who waits for an answer here: by the run that was asked, and the key.
askers: Final[WeakValueDictionary[tuple[str, str], Gate]] = WeakValueDictionary()


def waits(run: Run) -> bool:
    """Tell whether anybody waits for what is sent to *run*."""
    inbox = inboxes.get(run)
    return inbox is not None and bool(inbox.lines)


def wake(run: Run) -> None:
    """Wake all who wait for what is sent to *run*."""
    inbox = inboxes.get(run)
    with guard:
        turns = [turn for line in inbox.lines.values() for turn in line] if inbox is not None else []
    for turn in turns:
        turn.gate.open()


def ring(journal: Journal, run_id: str, name: str) -> None:
    """
    Wake who waits for a signal *name* to the flow run *run_id*, if that is in progress here; from any thread.

    Else it may be unloaded, and due now.
    """
    run = journal.live.get(run_id)
    if run is None and journal.waking is not None:
        journal.waking.at(journal.now())
    inbox = None if run is None else inboxes.get(run)
    with guard:
        line = None if inbox is None else inbox.lines.get(name)
        first = line[0] if line else None
    if first is not None:
        first.gate.open()
