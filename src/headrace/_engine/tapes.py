"""
Tapes: what a generator task has yielded in a durable run, as it is on record, and what is recorded of it from now on.

Loaded with the past alone. An item is handed on before it is on record; whatever is recorded later is so behind it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from headrace._engine import lines
from headrace._engine.forms import formed
from headrace._engine.promises import guard
from headrace._engine.runs import Run
from headrace._engine.step_names import brief
from headrace._engine.waits import Beyond
from headrace._model.events import RESULT, YIELDED
from headrace._model.records import StoredResult
from headrace._model.states import State
from headrace._model.steps import SIZE, arguments, as_called, told
from headrace._ports import Host
from headrace.errors import NonDeterministicItems, SerializationError

MOST: Final = 1_000  # items that are not on record yet
LARGEST: Final = 65_536  # bytes of their JSON
MISSING: Final = "missing"


class Stretch:
    """
    Items in a row that are told by one event: more are added until the back office takes them.

    So their order in the journal is that of the first, and a thousand small ones are one row.

    Attributes:
        run: Whose items they are.
        key: What they are recorded under.
        parts: The JSON of each; None once they were taken.
        size: Bytes of these.
        at: When the last of them was yielded, in nanoseconds since 1970: before the step that was given it began.
        turn: Up to which step's beginning it lasts: what comes behind that is not told with what came before it.
    """

    def __init__(self, run: Run, key: str, turn: object) -> None:
        self.run = run
        self.key = key
        self.turn = turn
        self.at = 0
        self.parts: list[bytes] | None = []
        self.size = 0

    def add(self, part: bytes, at: int) -> bool:
        """Have *part*, yielded *at* that moment, be the next; tell whether it still can be."""
        with guard:
            if self.parts is None:
                return False
            self.parts.append(part)
            self.size += len(part)
            self.at = at
            return True

    @property
    def full(self) -> bool:
        """Whether so many wait for their commit that the generator had better wait, too."""
        parts = self.parts
        return parts is not None and (len(parts) >= MOST or self.size >= LARGEST)

    def stored(self) -> StoredResult:
        """Take them, as they are stored; in the back office, or whoever commits."""
        with guard:
            parts, self.parts = self.parts or [], None
        run, data = self.run, b"[%s]" % b",".join(parts)
        digest = run.scope.journal.ledger.vault.digest(data)
        return StoredResult(self.key, run.id, run.spec.name, self.at, None, "json", len(data), digest, data=data)


class Tape:
    """
    What one run of a generator task has yielded: first what is on record of it, then what is new.

    Attributes:
        past: A `headrace._engine.past.Past`.
        take: How often it was begun anew by now because nothing relied on what it had yielded.
        count: How many items it has come by.
        end: That number, and what the generator has returned; None unless it has ended.
        compares: Whether the generator, if it is run again from its start, has to yield what it had yielded.
        seen: What tells those items from others.
        relied: Whether something does rely on them, so that the generator has to yield the same again.
        at: When it has yielded last, in nanoseconds since 1970.
    """

    def __init__(self, past: Any, run: Run) -> None:
        self.past = past
        self.run = run
        self.vault = run.scope.journal.ledger.vault
        self.way = run.spec.goes_on
        self.take = self.count = self.at = 0
        while self.key(0, self.take + 1) in past.results:
            self.take += 1
        self.end: list[Any] | None = None
        self.seen: list[str] = []
        self.stretch: Stretch | None = None
        self.compares = self.way == "again" and run.spec.policy is not None
        kept = past.results.get(f"{self.id}relied")
        # In another attempt of the flow those steps are not asked for that came of other items.
        self.relied = kept is not None and self.vault.unpack(kept) == run.flow_attempt

    @property
    def id(self) -> str:
        """What all that is recorded of it begins with."""
        return f"{self.run.scope.prefix}{self.run.step_id}"

    def key(self, number: int, take: int | None = None) -> str:
        """Give what items are recorded under of which the first is *number*."""
        return f"{self.id}{self.take if take is None else take:04x}{number:012x}"

    # -- what is on record --------------------------------------------------------------------------------------------

    def whole(self, state: State[Any] | None) -> State[Any] | None:
        """
        Give *state*, in which the generator had ended, if its items are all on record; None where it is to go on.

        One that had not ended, and does not say how it goes on, is begun anew where no step relies on its items.
        """
        begun = self.key(0) in self.past.results
        if state is not None and state.is_completed() and self.recorded() < state.data[0]:
            lines.warn(self.run, "Is begun anew, since not all that it had yielded is on record any more")
            state, begun, self.take = None, False, self.take + 1
        elif state is None and begun and self.way is None and not self.relied:
            begun, self.take = False, self.take + 1
        self.compares = self.compares or (begun and self.way != "from")
        return state

    def recorded(self) -> int:
        """Count the items on record."""
        number = 0
        while (kept := self.past.results.get(self.key(number))) is not None:
            number += 1 if kept.data is None else len(self.vault.unpack(kept))  # what lies beside is one
        return number

    async def ahead(self, host: Host) -> list[Any] | None:
        """
        Come by the next items on record; None where there are no more.

        Raises:
            HeadraceError: They cannot be read.
        """
        kept = self.past.results.get(self.key(self.count))
        if kept is None:
            return None
        unpack = partial(self.vault.unpack, kept)
        items: list[Any] = unpack() if kept.data is not None else await host.aside(unpack)
        self.note(items)
        return items

    def leave(self) -> None:
        """
        Come by the end of what is on record.

        Raises:
            Beyond: What comes behind it is not to be run.
        """
        if self.past.dry:
            raise Beyond(as_called(self.run.spec.name, self.run.step_args))

    def note(self, items: Iterable[Any]) -> None:
        """Count *items*, and remember what they were, if that will matter."""
        for item in items:
            self.count += 1
            if self.compares:
                self.seen.append(told(arguments({"": item}), brief(item)))

    def see_same(self, number: int, *item: Any) -> None:
        """
        See that *item*, the one of this *number* of a generator that was run again, is what it was; none: its end.

        Raises:
            NonDeterministicItems: It is not.
        """
        before = self.seen[number]
        now = told(arguments({"": item[0]}), brief(item[0])) if item else MISSING
        if before[:SIZE] != now[:SIZE]:
            asked = now[SIZE:] if item else MISSING
            raise NonDeterministicItems(self.run.label, number, before[SIZE:], asked)

    # -- what is recorded ---------------------------------------------------------------------------------------------

    async def keep(self, item: Any, host: Host) -> None:
        """
        Have *item*, which comes next, be recorded soon; waits for that only where very many are not yet.

        Raises:
            SerializationError: It has no form in which it could be kept.
            LostRun, StoreUnavailable: Nothing of the run is recorded here any more.
        """
        journal = self.run.scope.journal
        full = journal.crowded or (self.stretch is not None and self.stretch.full)
        # Not amid a step transaction: the commit would wait for its end.
        problem = await host.settled(journal) if full and not self.past.holding else None
        problem = self.past.lost or self.past.problem or problem
        if problem is not None:
            raise problem
        small = self.vault.small([item])
        if small is None:
            await self.keep_alone(item, host)
        else:
            self.add(small[0][1:-1])
        self.note((item,))
        if self.way is None and not self.relied:
            self.past.unrelied.add(self)
        self.past.drew()

    def add(self, part: bytes) -> None:
        """Have *part*, the JSON of an item, be recorded: in the open stretch, unless a step has begun since."""
        stretch, turn, self.at = self.stretch, self.past.turn, self.run.scope.journal.now()
        if stretch is None or stretch.turn is not turn or not stretch.add(part, self.at):
            stretch = self.stretch = Stretch(self.run, self.key(self.count), turn)
            stretch.add(part, self.at)
            self.run.scope.tell((self.run, YIELDED, 0, stretch))

    async def keep_alone(self, item: Any, host: Host) -> None:
        """Have *item* be recorded by itself: it is large, or no JSON."""
        try:
            kept = await self.past.packed(self.run, host, self.key(self.count), [item])
        except SerializationError as error:
            raise SerializationError(
                f"Item {self.count} of {self.run.label} in a durable flow cannot be recorded: {error} Yield plain "
                f"data, or say persist_result=False: then it is run from its start when the flow is resumed."
            ) from None
        self.stretch, self.at = None, kept.created
        self.run.scope.tell((self.run, RESULT, kept.created, kept))

    def rely(self) -> None:
        """
        Have it on record that a step begins which may come of what was yielded.

        As of the last item: a fork that goes on from the step has what came before that alone.
        """
        if not self.relied:
            self.relied = True
            kept = formed(self.vault, f"{self.id}relied", self.run, self.run.flow_attempt)._replace(created=self.at)
            self.run.scope.tell((self.run, RESULT, kept.created, kept))


def kept_by(run: Run) -> bool:
    """Tell whether what *run*, a generator, yields is recorded: a task's, unless it says otherwise."""
    return run.spec.kind == "task" and run.spec.options.get("persist_result") is not False


def rely(tapes: set[Tape]) -> None:
    """Have it on record that a step begins which may come of what these *tapes* hold."""
    with suppress(KeyError):  # of the last; another thread may be at it
        while True:
            tapes.pop().rely()
