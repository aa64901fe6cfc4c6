"""Ports of stores: where runs, results and the bytes of large results are kept, and in which form."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, TypedDict, Unpack, cast, runtime_checkable

import attrs

from headrace._model.events import CRASHED, Stamp
from headrace._model.records import FlowRun, History, LogLine, Request, StoredResult, Suspension, TaskRun

if TYPE_CHECKING:
    from headrace._model.filters import KeyFilter
    from headrace._model.slots import Claim, Lease, Limit
    from headrace._ports.owners import Owners
    from headrace._ports.signals import Signals

Row = Sequence[Any]

# `list[Row]` makes one as well, but takes five times as long: 3 us of each step.
LIST: Final = cast("Callable[[], list[Any]]", list)
DICT: Final = cast("Callable[[], dict[str, Any]]", dict)


@attrs.define
class Batch:
    """
    What one commit holds: the rows of flow runs, task runs, log lines and results as they now stand.

    Attributes:
        kept_runs: Of task runs that simply completed: the first six values, and the 32 signs of the key of the result.
        owned: Of durable runs that begin: id, owner, epoch, since when, and, unless it is 0, the priority.
        fences: The durable runs of which there is anything, each with the epoch under which it is written.
        released: Those of them that have ended, so that nobody has them any more.
        read: Of signals that durable flows have read: the run, the number, and under which key the results hold it.
        suspended: Those of *fences* that no process has from now on. One is due at once where a signal that it waits
            for is there and not among *read*, or where somebody has asked something of it that it has not heard.
    """

    flow_runs: list[Row] = attrs.Factory(LIST)
    task_runs: list[Row] = attrs.Factory(LIST)
    kept_runs: list[Row] = attrs.Factory(LIST)
    logs: list[Row] = attrs.Factory(LIST)
    results: list[StoredResult] = attrs.Factory(LIST)
    strict: bool = False
    owned: list[Row] = attrs.Factory(LIST)
    fences: dict[str, int] = attrs.Factory(DICT)
    released: list[str] = attrs.Factory(LIST)
    read: list[Row] = attrs.Factory(LIST)
    suspended: list[Suspension] = attrs.Factory(LIST)

    def __len__(self) -> int:
        rows = len(self.flow_runs) + len(self.task_runs) + len(self.kept_runs) + len(self.logs) + len(self.results)
        return rows + len(self.suspended)


class Which(TypedDict, total=False):
    """
    Which results are meant: those of which all that is said here holds.

    Attributes:
        begins: Their keys begin so.
        task: The task or flow of this name returned them.
        before: They were made before this moment, in nanoseconds since 1970.
        expired: They expire, and do so at this moment or before.
        cached: Whether only those are meant that are found by a cache key, not those kept for their run alone.
    """

    begins: str
    task: str | None
    before: int | None
    expired: int | None
    cached: bool


class Results(Protocol):
    """The results and leases in a store. Used as the store is, but for `look`."""

    @property
    def guard(self) -> AbstractContextManager[Any]:
        """What is held while `look` is at work; whoever forks takes it first."""
        ...

    def close(self) -> None:
        """Let go of what `look` uses; it may be used again."""
        ...

    async def learn(self, known: KeyFilter, limit: int) -> None:
        """
        Tell *known* at most *limit* of the keys that it was not told yet; complete it, where those are all.

        A store in which to look is as quick as in a filter tells nothing.

        Raises:
            StoreUnavailable: It cannot be read.
        """
        ...

    async def recall(self, keys: Collection[str]) -> dict[str, StoredResult]:
        """
        Give what is kept under *keys*, expired or not; those without anything are left out.

        A task run whose row holds what it came to, as `data`, has that under its id. So it is with `look`, `glance` and
        `under`; the other methods tell of nothing that is part of a row.

        Raises:
            StoreUnavailable: It cannot be read.
        """
        ...

    def look(self, key: str) -> StoredResult | None:
        """
        Give what is kept under *key*. Blocks for 5 us where nobody is in the way and the file is warm; any thread may.

        Raises:
            StoreUnavailable: It cannot be read.
        """
        ...

    def glance(self, key: str) -> StoredResult | None:
        """
        Do what `look` does, where that is as quick as it says: for who must not be kept.

        Raises:
            StoreUnavailable: It cannot be read, or looking takes longer.
        """
        ...

    async def under(self, prefix: str) -> dict[str, StoredResult]:
        """Give all whose keys begin with *prefix*, by key."""
        ...

    async def listed(
        self, *, limit: int = 100, after: StoredResult | None = None, **which: Unpack[Which]
    ) -> list[StoredResult]:
        """
        List at most *limit* results, newest first, without their bytes.

        Args:
            after: Only those that come behind this one, whether it is still there or not.
            which: Only those of which all of this holds.
        """
        ...

    async def total(self, **which: Unpack[Which]) -> tuple[int, int]:
        """Count the results of which all of *which* holds, and their bytes."""
        ...

    async def taken(self, results: Collection[StoredResult]) -> set[tuple[str, str]]:
        """Give those of the places of *results* beside the store, storage and name, that results in it still need."""
        ...

    async def forget(self, results: Collection[StoredResult]) -> int:
        """Remove *results* where they were not made anew meanwhile; give how many that were."""
        ...

    async def claim(self, name: str, owner: str, *, now: int, until: int, dead: str = "") -> tuple[str, int] | None:
        """
        Have *owner* hold the lease *name* until then, in nanoseconds since 1970.

        Gives None where it does now; else who holds it, and until when. A lease of *dead* is taken from it.
        """
        ...

    async def renew(self, names: Collection[str], owner: str, until: int) -> None:
        """Have *owner* hold those of the leases *names* that are still its own until then."""
        ...

    async def release(self, name: str, owner: str) -> None:
        """Give the lease *name* back, if it is *owner*'s."""
        ...


class Limits(Protocol):
    """The limits in a store, and which process has how many of their slots. Used as the store is."""

    async def define(self, limit: Limit) -> bool:
        """Have *limit* be as it says; tell whether there was none of its name."""
        ...

    async def remove(self, name: str) -> bool:
        """Remove a limit, and what is leased of it; tell whether there was one."""
        ...

    async def listed(self, names: Collection[str] | None = None) -> list[Limit]:
        """List the limits *names*, or all, by name."""
        ...

    async def claims(self, name: str | None = None) -> list[Claim]:
        """List what processes have and want of a limit, or of all and of their keys, by name and owner."""
        ...

    async def reset(self, name: str) -> int:
        """Take back all slots of a limit, in use or not; give how many were leased."""
        ...

    async def settle(
        self, asks: Sequence[Claim], now: int, mark: str, dead: Callable[[Claim], bool]
    ) -> dict[str, Lease]:
        """
        Lease to one process what is its due of what it *asks* for; give what it has from now on, by limit.

        All in one transaction, so that never more is leased than there is. An ask that wants nothing gives all back.

        Args:
            now: In nanoseconds since 1970.
            mark: This boot and its clock, as `headrace._model.slots` reads it: since when a rate's slots rest.
            dead: Tells of the claim of another process whether that has ended, or not said for too long that it lives.

        Raises:
            StoreUnavailable: Nothing has changed.
        """
        ...


class Store(Protocol):
    """
    Where runs are kept. Used from one thread and one loop: the back office's, or a reader's own.

    Attributes:
        where: What it is called in sentences; holds no secret.
        suspends: Whether its methods await something, so that they need an event loop to write.
        quick: Whether `append` waits for no disk, whatever the batch, so that an event loop may be held up for it.
        patient: Whether `append` waits for others that hold the database. Set by who calls it.
    """

    where: str
    suspends: bool
    patient: bool

    @property
    def quick(self) -> bool:
        """Whether an event loop may be held up for `append`."""
        ...

    @property
    def results(self) -> Results:
        """The results and leases in it."""
        ...

    @property
    def limits(self) -> Limits:
        """The limits in it."""
        ...

    @property
    def owners(self) -> Owners:
        """Who has the durable runs in it."""
        ...

    @property
    def signals(self) -> Signals:
        """What was sent to the flow runs in it."""
        ...

    async def open(self) -> None:
        """
        Make ready for `append`; create what is missing.

        Raises:
            StoreUnavailable: It cannot be opened, or is of a newer version.
        """
        ...

    async def append(self, batch: Batch) -> None:
        """
        Write *batch* as one transaction; a row replaces the one of the same run.

        Raises:
            StoreUnavailable: Nothing of it was written; as Occupied: others hold the database, and it is not `patient`.
            StaleRuns: Nor here: other processes have durable runs in it by now, of a later epoch than its `fences` say.
        """
        ...

    async def close(self) -> None:
        """Let go of files and connections; may be opened again."""
        ...

    async def flow_runs(self, *, limit: int = 100, state: str | None = None, begins: str = "") -> list[FlowRun]:
        """List at most *limit* flow runs, newest first, in the state (type or name) *state*, whose ids begin so."""
        ...

    async def crash(self, run: FlowRun, why: str, at: int, stamp: Stamp = CRASHED) -> bool:
        """
        Have *run*, and its task runs that have not ended, end under *stamp* at that time, in nanoseconds since 1970.

        Gives False, and changes nothing, where it has ended, or another process has it by now. Who has a durable run
        stays as it is.
        """
        ...

    async def unfinished(self) -> list[FlowRun]:
        """List the flow runs that have not ended, oldest first, but for those that are suspended: their owner is ""."""
        ...

    async def task_runs(
        self, prefix: str, *, limit: int | None = None, state: str | None = None, slowest: bool = False
    ) -> list[TaskRun]:
        """
        List the task runs whose ids begin with *prefix*, in the order in which they were called.

        Args:
            limit: So many at most.
            state: Only those whose state has this type.
            slowest: Only those that ended, the slowest first.
        """
        ...

    async def task_counts(self, prefix: str) -> dict[str, int]:
        """Count the task runs whose ids begin with *prefix*, by the type of their state."""
        ...

    async def children(self, run_ids: Sequence[str]) -> list[FlowRun]:
        """List the flow runs that the runs *run_ids* called, oldest first."""
        ...

    async def below(self, prefix: str) -> list[FlowRun]:
        """List the flow runs that runs whose ids begin with *prefix* called, on record or not yet, oldest first."""
        ...

    async def histories(self, run_ids: Collection[str]) -> dict[str, History]:
        """
        Give what is on record of the runs *run_ids*, which no other run called, and of all below them.

        However many there are, it is read at once: 4 reads for all, and 4 more for each level of subflows. Those that
        are not on record are left out.
        """
        ...

    async def logs(self, run_ids: Sequence[str], *, limit: int | None = None) -> list[LogLine]:
        """List at most *limit* log lines of *run_ids* and of the task runs under them, oldest first."""
        ...

    async def delete(self, run_id: str) -> int:
        """Remove a flow run and its subflows, with task runs and log lines; give the number of flow runs."""
        ...

    async def request(self, request: Request) -> bool:
        """
        Leave *request* for the process that runs the run; asking twice is asking once. One that is suspended is due.

        Gives False, and leaves nothing, where no such run goes on.
        """
        ...

    async def requests(self, run_ids: Collection[str]) -> list[Request]:
        """
        List what was asked of the runs *run_ids* and not heard yet, oldest first.

        Made to be called often by who appends: while nobody else wrote, nothing is read.
        """
        ...

    async def heard(self, requests: Collection[Request]) -> None:
        """
        Remove *requests*; those of a run also go when it is deleted.

        Raises:
            StoreUnavailable: They are still there: another process was writing, and is not waited for as long as in
                `append`.
        """
        ...

    async def facts(self) -> dict[str, str]:
        """Give what `headrace doctor` shows of the store."""
        ...


@runtime_checkable
class Ringing(Protocol):
    """
    A store that can tell of what other processes leave in it; the others are looked at now and then.

    Attributes:
        rang: Called when one has left something, soon and on the loop that appends; not for each, and maybe in vain.
    """

    rang: Callable[[], None] | None


class Codec(Protocol):
    """
    How a value becomes bytes, and bytes a value again.

    Attributes:
        name: Stands beside the bytes: 1 to 60 of a-z, 0-9 and . _ / + -
        safe: Whether bytes that anyone may have written can be read: reading runs no code of theirs.
    """

    name: str
    safe: bool

    def dump(self, value: Any, file: BinaryIO) -> None:
        """
        Write *value* to *file*, in pieces where it is large.

        Raises:
            SerializationError: It has no such form.
        """
        ...

    def load(self, file: BinaryIO) -> Any:
        """
        Read the value back from *file*, to its end; its bytes are known to be those that were written.

        Raises:
            SerializationError: They make no value here and now.
        """
        ...


class ResultStorage(Protocol):
    """
    Where the bytes of large results are kept, each under a key. Its methods block; used from several threads at once.

    Attributes:
        where: What it is called in sentences and records, and where it is found again; holds no secret.
        trusted: Whether nobody else writes there, so that pickles may be loaded from it.
    """

    where: str
    trusted: bool

    def write(self, key: str, fill: Callable[[BinaryIO], object]) -> None:
        """
        Keep what *fill* writes to the file it is given, whole or not at all, in the place of what was under *key*.

        Raises:
            ResultStorageError: It could not be written. What was there before still is.
            Exception: Whatever *fill* raises.
        """
        ...

    def open(self, key: str) -> BinaryIO:
        """
        Open what is kept under *key* for reading from its start; it can seek. The caller closes it.

        Raises:
            ResultNotFound: There is nothing.
            ResultStorageError: It could not be read.
        """
        ...

    def delete(self, key: str) -> bool:
        """
        Remove what is kept under *key*; tell whether there was anything.

        Raises:
            ResultStorageError: It could not be removed.
        """
        ...
