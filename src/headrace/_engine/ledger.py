"""
The ledger: what one process knows of results without asking its store.

Those it used lately, those on their way to the store, and those that are being computed. Reads and writes nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from headrace._engine.calls import call_of
from headrace._engine.promises import Gate, guard
from headrace._engine.runs import Run
from headrace._model.filters import KeyFilter
from headrace._model.records import StoredResult
from headrace.errors import StoreUnavailable

LONG: Final = 20_000_000  # nanoseconds
SPARED: Final = 100
LEASE: Final = 15.0  # seconds for which a lease is held
CURRENT: Final = 700_000_000  # nanoseconds for which the filter counts; it is looked after twice a second


class Vault(Protocol):
    """Who makes a value a stored result, and a stored result a value. Its methods block."""

    def codec(self, given: Any, /) -> Any:
        """
        Give the codec that *given* names or is; None stands for the one that fits each value.

        Raises:
            SerializationError: There is none of that name.
        """
        ...

    def storage(self, given: Any, /) -> Any:
        """
        Give the storage that *given* names or is; None stands for the usual one.

        Raises:
            OptionError, OptionTypeError: It is none.
            MissingExtra: It needs packages that are not installed.
        """
        ...

    def heavy(self, value: Any, /) -> bool:
        """Tell whether packing *value* may take long."""
        ...

    def small(self, value: Any, /) -> tuple[bytes, str] | None:
        """Give the JSON of *value*, and its digest, if it is small and JSON keeps it as it is."""
        ...

    def digest(self, data: bytes, /) -> str:
        """Give what *data* is told from others by."""
        ...

    def pack(self, value: Any, codec: Any, storage: Any, name: str, /, *, beside: bool) -> Any:
        """
        Give the form in which *value* is kept; writes what is large, or is to lie *beside* the store, to *storage*.

        Raises:
            SerializationError: It has no such form.
            ResultStorageError: It could not be written.
        """
        ...

    def unpack(self, result: StoredResult, /) -> Any:
        """
        Give the value.

        Raises:
            MissingResult: It is not there any more, was damaged, or must not be read.
            SerializationError: It cannot be read here.
            ResultStorageError: The storage failed.
        """
        ...

    def fetch(self, storage: Any, key: str, /) -> StoredResult | None:
        """
        Give the result recorded under *key* in a storage of keys.

        Raises:
            ResultStorageError: The storage failed.
        """
        ...

    def enter(self, storage: Any, result: StoredResult, /) -> None:
        """
        Record *result* in a storage of keys.

        Raises:
            ResultStorageError: The storage failed.
        """
        ...

    def discard(self, result: Any, /) -> None:
        """Remove what lies beside the store for *result*, recorded or just packed; says nothing where that fails."""
        ...


Look = Callable[[str], StoredResult | None]


class Flight(Gate):
    """
    A result that is being computed; opens when that is over, well or not.

    Attributes:
        holder: Who computes it: a run, or the transaction of a block.
        call: The submitted call that this is, or is within.
        root: The outermost transaction that the result waits for; None where it waits for none.
        computed: Opens when the body has ended, which with a *root* is earlier than the whole.
    """

    __slots__ = ("call", "computed", "holder", "root")

    def __init__(self, holder: Any, call: Any, root: Any = None) -> None:
        super().__init__()
        self.holder = holder
        self.call = call
        self.root = root
        self.computed: Gate | None = None if root is None else Gate()

    def deserted(self) -> bool:
        """Tell whether nobody will ever end it: the loop on which it was computed is closed."""
        run = self.holder if isinstance(self.holder, Run) else None
        while run is not None:
            loop = None if run.home is None else run.home.loop
            if loop is not None:
                return bool(loop.is_closed())
            run = run.parent
        return False


class Ledger:
    """
    What a process knows of results.

    Attributes:
        owner: Host and process, which holds leases.
        gone: Tells of an owner whether its process is proved to have ended.
        room: How many results are known without asking the store.
        look: Asks the store at once, blocking for some microseconds.
        known: Which keys the store may hold; the back office looks twice a second what others have added.
        larger: What is to replace it because it is full, once that knows all keys, too.
        known_at: When the back office last looked, in nanoseconds since 1970; an idle one does not.
        spared: How many are to ask by way of the back office, because the last who looked had to wait long.
        flights: Who computes what; a run alone, as long as nobody waits for it.
        leases: The names of those it holds.
        landings: How many computations were over so far: where it has grown, what was looked for may be there now.
    """

    def __init__(self, vault: Vault, owner: str, gone: Callable[[str], bool], room: int, look: Look) -> None:
        self.vault = vault
        self.owner = owner
        self.gone = gone
        self.room = room
        self.look = look
        self.spared = 0
        self.known = KeyFilter()
        self.larger: KeyFilter | None = None
        self.known_at = 0
        self.recent: OrderedDict[str, StoredResult] = OrderedDict()
        self.pending: dict[str, StoredResult] = {}
        self.flights: dict[str, Flight | Run] = {}
        self.landings = 0
        self.waiting: list[tuple[frozenset[Any], Flight, bool]] = []
        self.leases: dict[str, None] = {}

    def find(self, key: str) -> StoredResult | None:
        """Give what is known under *key*, expired or not."""
        known = self.recent.get(key)
        if known is None:
            return self.pending.get(key)
        try:
            self.recent.move_to_end(key)  # what was used last goes last
        except KeyError:
            pass  # another thread has just let go of it
        return known

    def denies(self, key: str, now: int) -> bool:
        """Tell whether it is sure that there is nothing under *key*, but for what others added in the last moment."""
        known = self.known
        if known.version is None or not 0 <= now - self.known_at < CURRENT:
            return False
        return not (known.may_hold(key) or key in self.recent or key in self.pending)

    def grow(self) -> None:
        """Have a larger filter; until that is told all keys, the full one goes on: it only takes more to be there."""
        if not self.known.complete:
            self.known = self.known.larger()
        elif self.larger is None:
            self.larger = self.known.larger()

    def change_over(self) -> None:
        """Use the larger filter, if it was told all keys."""
        if self.larger is not None and self.larger.complete:
            self.known, self.larger = self.larger, None

    def glance(
        self, key: str, now: Callable[[], int], *, may_block: bool, certain: bool
    ) -> tuple[bool, StoredResult | None]:
        """
        Look at the store at once; give whether that went well, and what is there.

        Measured: 5 us alone, 40 beside a busy thread, since SQLite gives the interpreter's lock away; so first the
        filter is asked, which takes 0.3, and knows what another process added half a second later, unless it is to be
        *certain*. To ask the back office and to be woken by it takes 100 us of CPU in all, and a worker of a map
        another task. Should a look take long, as on a disk that sleeps, a loop is spared the next hundred.
        """
        if not certain and self.denies(key, now()):
            return True, None
        if self.spared and not may_block:
            self.spared -= 1
            return False, None
        began = now()
        try:
            found = self.look(key)
        except StoreUnavailable:
            return False, None
        if now() - began > LONG:
            self.spared = SPARED
        return True, found

    def keep(self, mark: str, result: StoredResult) -> None:
        """Know *result* for a while as *mark*, if its bytes are few; the least used one goes for it."""
        if not self.room or result.data is None:
            self.recent.pop(mark, None)
            return
        recent = self.recent
        recent.pop(mark, None)
        recent[mark] = result
        if len(recent) > self.room:
            # Not of a dict: its first item is looked for among all that were removed before it.
            recent.popitem(last=False)

    def forget(self, key: str) -> None:
        """Know no more what is under *key*."""
        self.recent.pop(key, None)

    def committed(self, results: Iterable[StoredResult]) -> None:
        """Hear that the store holds *results*, or never will."""
        keys: list[str] = []
        for one in results:
            keys.append(one.key)
            if self.pending.get(one.key) is one:
                self.pending.pop(one.key, None)
        self.known.add(keys)

    def slip_off(self, key: str, run: Run) -> bool:
        """Have *run* compute what is under *key*, outside of transactions; tell whether nobody else does already."""
        with guard:
            return self.flights.setdefault(key, run) is run

    def take_off(self, key: str, holder: Any, call: Any, root: Any = None) -> Flight | None:
        """Have *holder* compute what is under *key*: None where it does now, else the flight of who does already."""
        with guard:
            flight = self.flights.get(key)
            if isinstance(flight, Run):
                flight = self.flights[key] = Flight(flight, call_of(flight))
            if flight is None or flight.deserted():
                self.flights[key] = Flight(holder, call, root)
                return None
            return flight

    def waits(self, flight: Flight, own: frozenset[Any], *, whole: bool) -> bool:
        """
        Note that somebody, who is part of *own*, waits for *flight*; tell whether that would never end.

        So it would where one of *own* computes it, or waits for somebody who waits for them: the last in a circle sees
        it, since all of them are noted first.

        Args:
            whole: Wait until the transaction has ended that the result waits for, not only for the body.
        """
        with guard:
            heap, seen = [(flight, whole)], {flight}
            while heap:
                one, all_of_it = heap.pop()
                blocking = {one.holder, one.root} if all_of_it else {one.holder}
                if not blocking.isdisjoint(own):
                    return True
                for whose, waited, entirely in self.waiting:
                    if not blocking.isdisjoint(whose) and waited not in seen:
                        seen.add(waited)
                        heap.append((waited, entirely))
            self.waiting.append((own, flight, whole))
            return False

    def waits_no_more(self, flight: Flight, own: frozenset[Any], *, whole: bool) -> None:
        """Hear that who was part of *own* waits no more."""
        with guard:
            self.waiting.remove((own, flight, whole))

    def computed(self, key: str) -> None:
        """Hear that the body has ended, and what came of it is known within its transaction."""
        flight = self.flights.get(key)
        if isinstance(flight, Flight) and flight.computed is not None:
            flight.computed.open()

    def land(self, key: str) -> None:
        """Hear that the computation of *key* is over."""
        self.landings += 1
        with guard:
            flight = self.flights.pop(key, None)
        if isinstance(flight, Flight):
            if flight.computed is not None:
                flight.computed.open()
            flight.open()
