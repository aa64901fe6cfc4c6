"""
The journal: what runs told and nobody has committed yet. Telling is a list append and never waits.

One back office takes what has arrived, has it committed, and answers those who asked to know. Writes nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple, Protocol
from weakref import WeakValueDictionary

from headrace._model.events import ASK, ERRAND, RECALL, WHOLE
from headrace._ports import Observer, Progress

CROWDED: Final = 4_000

Event = tuple[Any, ...]
Answer = Callable[[Exception | None], None]


class Said(NamedTuple):
    """What came of a commit: *problem* is what went wrong, None where nothing did."""

    problem: Exception | None


SAFE: Final = Said(None)


class Waking(Protocol):
    """Who has unloaded runs go on when they are due. Called from any thread."""

    def at(self, moment: int) -> None:
        """Hear that one will be due at that *moment*, in nanoseconds since 1970, or is by now."""
        ...


class Journal:
    """
    Where the runs of a process tell what happens to them.

    Attributes:
        draw: Gives the first four groups of a new root's id.
        usual: The durability of roots that do not say; asked for as `level`.
        now: Gives nanoseconds since 1970.
        observer: Who makes spans; None while nobody listens.
        owner: Host and process, recorded with each flow run.
        progress: Who shows how far maps and streams are; None where nobody looks.
        patience: Seconds that cancelled runs have to clean up before their flow ends without them.
        unload_after: Seconds after which a durable run that waits may be unloaded.
        live: The flow runs in progress in this process, by id.
        keeps: What runs do with their results that do not say; None to keep none.
        open_ledger: Makes `ledger`, what this process knows of results, once; not before the first is asked for.
        keeps_results: Whether there is one: not in worker processes.
        open_limits: Makes `limits`, once.
        recovering: Hears, on the back office's thread, of durable runs that others left behind; None: nobody wants to.
        waking: Who has runs go on here that are due; None: nobody does.
        unloaded: The promises of runs that were unloaded here, as far as somebody holds them, by the runs' ids.
        at_once: Commits what was told, on the thread that calls it, if that is done in a moment; gives what came of it,
            None where it has to be asked for. Called with whether an event loop runs there.
        on_loop: Begins to commit what was told, on the loop that runs where it is called, if that is a step of a flow
            on it; tells whether it does. Then who calls hears there what came of it; else it has to be asked for.
        past_of: Gives what a flow run that begins, and is durable, has on record: a `headrace._engine.past.Past`.
    """

    keeps_results = True

    def __init__(self, *, draw: Callable[[], str], level: str, now: Callable[[], int]) -> None:
        self.draw = draw
        self.usual = level
        self.now = now
        self.observer: Observer | None = None
        self.owner = ""
        self.patience: float = 10
        self.unload_after: float = 10
        self.progress: Progress | None = None
        self.live: dict[str, Any] = {}
        self.keeps: Any = None
        self.open_ledger: Callable[[], Any]
        self.opened: Any = None
        self.open_limits: Callable[[], Any]
        self.recovering: Callable[[list[str]], None] | None = None
        self.waking: Waking | None = None
        self.unloaded: WeakValueDictionary[str, Any] = WeakValueDictionary()
        self.at_once: Callable[[bool], Said | None] = nothing
        self.on_loop: Callable[[Answer], bool | None] = nothing
        self.past_of: Callable[[Any], Any] = nothing
        self.desk: Any = None

    @property
    def limits(self) -> Any:
        """Who hands out slots of limits in this process: a `headrace._limits.desk.Desk`; None in worker processes."""
        return self.desk or self.open_limits()

    @property
    def level(self) -> str:
        """The durability of roots that do not say."""
        return self.usual

    @property
    def ledger(self) -> Any:
        """What this process knows of results: a `headrace._engine.ledger.Ledger`."""
        return self.opened or self.open_ledger()

    def start(self, wake: Callable[[], None], owner: str) -> None:
        """Begin empty, with a back office that *wake* wakes, in the process *owner*."""
        self.told: list[Event] = []
        self.wake = wake
        self.owner = owner
        self.asleep = True

    def tell(self, event: Event) -> None:
        """Note *event*; wakes the back office if it sleeps."""
        self.told.append(event)
        if self.asleep:
            self.asleep = False
            self.wake()

    def ask(self, answer: Answer, *, whole: bool = False) -> None:
        """
        Have *answer* called, on the back office's thread, once all that was told before is committed.

        What has only begun may be recorded a moment later, unless *whole*.

        Wakes the back office in any case: a Ctrl-C may have struck a teller between its two last steps.
        """
        self.told.append((None, ASK, WHOLE if whole else 0, answer))
        self.asleep = False
        self.wake()

    def errand(self, work: Callable[[Any], Any], answer: Callable[[Any, Exception | None], None]) -> None:
        """Have the back office await *work(store)*, and call *answer* there with what comes of it."""
        self.told.append((None, ERRAND, 0, (work, answer)))
        self.asleep = False
        self.wake()

    def recall(self, keys: Collection[str], answer: Callable[[Mapping[str, Any]], None]) -> None:
        """Have *answer* called, on the back office's thread, with what the store holds under *keys*, by key."""
        self.told.append((None, RECALL, 0, (keys, answer)))
        self.asleep = False
        self.wake()

    def held(self) -> list[Any]:
        """Give the promises of runs that were unloaded here, as far as somebody holds them."""
        # Not by iterating, which another thread that unloads one would break.
        return [promise for found in self.unloaded.valuerefs() if (promise := found()) is not None]

    def stop(self, run_id: str, why: str) -> bool:
        """Ask the flow run *run_id* to end, for the reason *why*; tell whether it is in progress here."""
        run = self.live.get(run_id)
        if run is None:
            return False
        run.stop(why)
        return True

    @property
    def crowded(self) -> bool:
        """Whether so much waits for its commit that tellers had better wait, too."""
        return len(self.told) > CROWDED

    def take(self, limit: int) -> list[Event]:
        """
        Take the oldest events, at most *limit*.

        Copy, then delete that many: an append by another thread in between only adds behind them.
        """
        events = self.told[:limit]
        del self.told[: len(events)]
        return events


def nobody_hears(_value: Any, _error: Exception | None) -> None:
    """Take what came of an errand that nobody waits for."""


def nothing(_asked: Any) -> None:
    """Give None: no run has anything on record here, and nothing is committed at once."""


class Leveled(Journal):
    """A journal as roots see it that are to have another durability: the same one, with the same back office."""

    __slots__ = ("own",)

    def __init__(self, journal: Journal, level: str) -> None:
        self.__dict__ = journal.__dict__  # one state for both, whoever tells
        self.own = level

    @property
    def level(self) -> str:
        """The durability of roots that do not say."""
        return self.own
