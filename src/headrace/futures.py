"""Futures: what `submit` and `map` give at once, and how to wait for one, for all, or for whichever comes first."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from typing import Any, Final, Generic, Literal, NamedTuple, TypeVar, cast, get_args, overload

from headrace import _runtime
from headrace._engine.context import current_run
from headrace._engine.inputs import bare
from headrace._engine.life import drive
from headrace._engine.promises import Countdown, Gate, Promise, Promises
from headrace._engine.upstream import found, results, states
from headrace._ports import Host
from headrace.errors import OptionError, OptionTypeError, WaitTimeoutError, nearest, short

__all__ = [
    "DoneAndNotDoneFutures",
    "Future",
    "FutureList",
    "as_completed",
    "resolve_futures_to_results",
    "resolve_futures_to_states",
    "wait",
]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
log: Final = logging.getLogger("headrace.futures")
FOREVER: Final = float("inf")
Timeout = float | None
ReturnWhen = Literal["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"]


class Future(Promise, Generic[T_co]):
    """
    What a submitted run will come to. Made by `submit`, `map` and `stream`.

    Async code awaits it; blocking code calls `result`. Handed to a task as an argument, also within lists, dicts,
    dataclasses and the like, it is waited for, and the task gets the result.
    """

    __slots__ = ()

    @property
    def task_run_id(self) -> str:
        """The id of the task run, known before it begins."""
        if self.kind != "task":
            raise AttributeError("This future stands for a flow run, not for a task run; ask for its flow_run_id.")
        return self.run_id

    @property
    def flow_run_id(self) -> str | None:
        """The id of the flow run that it stands for, or that its task run belongs to."""
        return self.run_id if self.kind == "flow" else self.owner_id

    def done(self) -> bool:
        """Tell whether the run has ended, well or not."""
        return self.opened

    @overload
    def result(self, timeout: Timeout = ..., raise_on_failure: Literal[True] = ...) -> T_co: ...
    @overload
    def result(self, timeout: Timeout = ..., *, raise_on_failure: bool) -> T_co | Exception: ...

    def result(self, timeout: Timeout = None, raise_on_failure: bool = True) -> T_co | Exception:
        """
        Block until the run has ended, and give its value.

        Args:
            timeout: Seconds to wait at most; None waits as long as it takes.
            raise_on_failure: Raise what the run raised; if False, return it.

        Raises:
            Exception: What the run raised.
            CancelledRun, CrashedRun: It was cancelled, or ended by something that is no error of its own.
            WaitTimeoutError: It has not ended in time. It goes on.
            RunningLoopError: An event loop runs on this thread, which this would block: `await` the future there.
            WaitCircleError: The run that asks is one that this one waits for.
            OptionError: *timeout* is negative or no number.
        """
        try:
            # Also where it has ended badly: who stops a flow stops this one, too, and the flow hears of itself first.
            if (not self.opened or self.failed) and not blocked([self], timeout):
                raise WaitTimeoutError(f"{self.kind.title()} run {self.name!r}", timeout or 0.0)
            if not raise_on_failure and self.error is not None:
                self.looked = True
                return self.error
            value: T_co = self.outcome()
        except BaseException as error:
            bare(error)
            raise
        return value

    def wait(self, timeout: Timeout = None) -> bool:
        """
        Block until the run has ended, or for *timeout* seconds; tell whether it has. Never raises what the run raised.

        Raises:
            RunningLoopError: An event loop runs on this thread, which this would block: `await` the future there.
        """
        return blocked([self], timeout)

    def __await__(self) -> Generator[Any, Any, T_co]:
        self.looked = True
        try:
            if not self.opened:
                yield from _runtime.host_for(True).until([self]).__await__()
            value: T_co = self.outcome()
        except BaseException as error:
            bare(error)
            raise
        return value

    def add_done_callback(self, callback: Callable[[Future[T_co]], object]) -> None:
        """
        Have *callback(future)* called once the run has ended; at once where it has.

        It is called in the thread or on the loop where the run ended, so it had better be quick. What it raises is
        logged.
        """

        def guarded(_gate: Gate) -> None:
            try:
                callback(self)
            except KeyboardInterrupt:
                raise
            except BaseException:  # sys.exit() or a test's failure must not end the thread or loop where a run ended
                log.exception("A done callback of %r failed", self)

        self.when_done(guarded)

    def __repr__(self) -> str:
        state = (
            self.final.name if self.final else "Completed" if self.opened else "Running" if self.began else "Pending"
        )
        return f"<Future of {self.kind} run {self.name!r}: {state}>"


class FutureList(Promises, Sequence[Future[T_co]]):
    """
    The futures of one `map`, in the order of its items. A future is made when it is touched.

    Async code awaits it for the list of results; blocking code calls `result`.
    """

    def __init__(self, mapped: Any) -> None:
        self._mapped = mapped

    def promises(self) -> Sequence[Promise]:
        """Give all futures."""
        return cast("Sequence[Promise]", self._mapped.promises())

    def __len__(self) -> int:
        return len(self._mapped)

    @overload
    def __getitem__(self, place: int) -> Future[T_co]: ...
    @overload
    def __getitem__(self, place: slice) -> list[Future[T_co]]: ...

    def __getitem__(self, place: int | slice) -> Future[T_co] | list[Future[T_co]]:
        try:
            places = range(len(self))[place]
        except IndexError:
            raise IndexError(f"There is no future at {place}: the map has {len(self):,}.") from None
        if isinstance(places, range):
            return [self._mapped.touch(one) for one in places]
        future: Future[T_co] = self._mapped.touch(places)
        return future

    def __iter__(self) -> Iterator[Future[T_co]]:
        for place in range(len(self)):
            yield self._mapped.touch(place)

    def __add__(self, more: Iterable[Future[Any]]) -> list[Future[Any]]:
        return [*self, *more]

    def __radd__(self, before: Iterable[Future[Any]]) -> list[Future[Any]]:
        return [*before, *self]

    @overload
    def result(self, timeout: Timeout = ..., raise_on_failure: Literal[True] = ...) -> list[T_co]: ...
    @overload
    def result(self, timeout: Timeout = ..., *, raise_on_failure: bool) -> list[T_co | Exception]: ...

    def result(self, timeout: Timeout = None, raise_on_failure: bool = True) -> list[T_co] | list[T_co | Exception]:
        """
        Block until all runs have ended, and give their values in order.

        Args:
            timeout: Seconds to wait at most; None waits as long as it takes.
            raise_on_failure: Raise what failed; if False, give exceptions in the place of values.

        Raises:
            Exception: What the one run that failed raised.
            ExceptionGroup: Several failed; it holds what they raised, in order.
            WaitTimeoutError: Not all have ended in time. They go on.
            RunningLoopError: An event loop runs on this thread, which this would block: `await` the list there.
            OptionError: *timeout* is negative or no number.
        """
        try:
            if not self.wait(timeout):
                raise WaitTimeoutError(f"The map of {self._mapped.group.spec.name!r}", timeout or 0.0)
            if not raise_on_failure:
                return [future.result(raise_on_failure=False) for future in self]
            values: list[T_co] = self._mapped.results()
        except BaseException as error:
            bare(error)
            raise
        return values

    def wait(self, timeout: Timeout = None) -> bool:
        """
        Block until all runs have ended, or for *timeout* seconds; tell whether they have. Raises nothing of theirs.

        Raises:
            RunningLoopError: An event loop runs on this thread, which this would block: `await` the list there.
        """
        self._mapped.crew.forsake()
        return blocked([self._mapped.group.whole], timeout)

    def __await__(self) -> Generator[Any, Any, list[T_co]]:
        try:
            whole = self._mapped.group.whole
            if not whole.opened:
                self._mapped.crew.forsake()
                yield from _runtime.host_for(True).until([whole]).__await__()
            values: list[T_co] = self._mapped.results()
        except BaseException as error:
            bare(error)
            raise
        return values

    def __repr__(self) -> str:
        group = self._mapped.group
        total = "?" if group.total is None else f"{group.total:,}"
        return f"<FutureList of {group.spec.kind} {group.spec.name!r}: {group.done:,} of {total} done>"


class DoneAndNotDoneFutures(NamedTuple):
    """What `wait` gives: those that have ended, and those that have not."""

    done: set[Future[Any]]
    not_done: set[Future[Any]]


def wait(
    futures: Iterable[Future[Any]], timeout: Timeout = None, return_when: ReturnWhen = "ALL_COMPLETED"
) -> DoneAndNotDoneFutures:
    """
    Block until all *futures* have ended, or for *timeout* seconds. Never raises what a run raised.

    In async code: `await headrace.aio.wait(futures)`. A durable flow that is resumed is told again what it was told.

    Args:
        return_when: "FIRST_COMPLETED" waits until one has ended, well or not; "FIRST_EXCEPTION" until one has ended
            otherwise than well, or all have.

    Raises:
        RunningLoopError: An event loop runs on this thread, which this would block.
        OptionTypeError: *futures* holds something else.
        OptionError: *timeout* is negative or no number, or *return_when* is none of the three.
    """
    found: DoneAndNotDoneFutures = drive(waited(_runtime.thread_host, futures, timeout, return_when))
    return found


async def waited(
    host: Host, futures: Iterable[Future[Any]], timeout: Timeout, return_when: ReturnWhen
) -> DoneAndNotDoneFutures:
    """Wait as `wait` does, on *host*."""
    awaited, limit = gathered(futures), seconds(timeout)
    if return_when not in get_args(ReturnWhen):
        raise OptionError(
            f"return_when is {short(return_when)}, and can be {', '.join(map(repr, get_args(ReturnWhen)))}"
            f"{nearest(str(return_when), get_args(ReturnWhen))}"
        )
    by_chance = limit != FOREVER or return_when != "ALL_COMPLETED"
    order = order_of("wait", len(awaited)) if by_chance else None
    known: list[int] | None = None if order is None else order.ahead()
    if known is not None:
        done = [awaited[place] for place in known]
        await host.until(done)
        return DoneAndNotDoneFutures(set(done), set(awaited) - set(done))
    if return_when == "ALL_COMPLETED" or not awaited:
        await host.until(awaited, limit)
    else:
        await first(host, awaited, limit, return_when, order)
    found = parted(awaited)
    if order is not None:
        order.note([place for place, one in enumerate(awaited) if one in found.done])
    return found


async def first(
    host: Host, gates: Sequence[Gate], limit: float, return_when: ReturnWhen = "FIRST_COMPLETED", order: Any = None
) -> Any:
    """Wait until one of *gates* is open, or has failed, or all are, for *limit* seconds at most; give that one."""
    enough = Gate()
    came: list[Gate] = []

    def heard(gate: Any) -> None:
        if return_when == "FIRST_COMPLETED" or gate.failed:
            came.append(gate)
            enough.open()

    whole = Countdown(gates, enough.open)
    for gate in gates:
        gate.when_done(heard)
    try:
        await (host.until([enough], limit) if order is None else order.wait(host, enough, gates, limit))
    finally:
        whole.forget()
        for gate in gates:
            gate.forget(heard)
    return came[0] if came else None


def order_of(what: str, total: int) -> Any:
    """Give the order of ends, *total* at most, in the wait *what* of the run around; None outside of durable runs."""
    run = current_run.get()
    return None if run is None or run.scope.past is None else run.scope.past.order(run, what, total)


def as_completed(futures: Iterable[Future[T]], timeout: Timeout = None) -> AsCompleted[T]:
    """
    Give *futures* in the order in which they end, each once: `for future in ...` or `async for future in ...`.

    In a durable flow that is resumed: first those that it was given before, in the same order.

    Args:
        timeout: Seconds that all may take together, from now on; None waits as long as it takes.

    Raises:
        OptionTypeError: *futures* holds something else.
        WaitTimeoutError: While iterating: not all have ended in time.
        RunningLoopError: While iterating with `for`: an event loop runs on this thread. Use `async for`.
    """
    return AsCompleted(gathered(futures), timeout)


class AsCompleted(Generic[T]):
    """Futures in the order in which they end; may be iterated once."""

    def __init__(self, futures: Sequence[Future[T]], timeout: Timeout) -> None:
        self._futures = futures
        self._left = {future: place for place, future in enumerate(futures)}
        self._ended: deque[Any] = deque()
        self._bell = Gate()
        self._order = order_of("as_completed", len(futures))
        self._timeout = seconds(timeout) if self._order is None else self._order.patience(futures, seconds(timeout))
        self._deadline = now() + self._timeout
        # What is on record as given next; None once all of that was given again.
        self._known: list[int] | None = None if self._order is None else self._order.ahead()
        for future in futures:
            future.when_done(self._end)

    def _end(self, future: Any) -> None:
        self._ended.append(future)
        self._bell.open()

    def _take(self) -> Future[T] | None:
        future = self._again() if self._known is not None else self._next()
        if future is not None:
            del self._left[future]
        return future

    def _again(self) -> Future[T] | None:
        """Give what was given before, if it has ended by now."""
        if not self._known:
            raise self._late()
        future = self._futures[self._known[0]]
        if not future.opened:
            return None
        self._known = self._order.ahead()
        return future

    def _next(self) -> Future[T] | None:
        """Give the next that has ended."""
        while True:
            if not self._ended:
                self._bell = Gate()
                if not self._ended:  # else one ended in between, and has opened the gate before
                    return None
            future: Future[T] = self._ended.popleft()
            if future in self._left:
                if self._order is not None:
                    self._order.note([self._left[future]])
                return future

    def _awaited(self) -> tuple[list[Gate], float]:
        """Give what to wait for, and how long."""
        if self._known:
            return [self._futures[self._known[0]]], FOREVER
        return [self._bell], FOREVER if self._timeout == FOREVER else max(0.0, self._deadline - now())

    def _out_of_time(self) -> WaitTimeoutError:
        if self._order is not None:
            self._order.note([])
        return self._late()

    def _late(self) -> WaitTimeoutError:
        return WaitTimeoutError(f"{len(self._left):,} of {len(self._futures):,} futures", self._timeout)

    def __iter__(self) -> Iterator[Future[T]]:
        while self._left:
            future = self._take()
            if future is not None:
                blocked([future], None)  # it has ended; but here is heard that the flow is to stop
                yield future
            elif not blocked(*self._awaited()):
                raise self._out_of_time()

    async def __aiter__(self) -> AsyncIterator[Future[T]]:
        while self._left:
            future = self._take()
            if future is not None:
                yield future
            elif not await _runtime.host_for(True).until(*self._awaited()):
                raise self._out_of_time()


def resolve_futures_to_results(value: Any) -> Any:
    """
    Block until the futures in *value* have ended, and give *value* with their results in their place.

    Looks into lists, tuples, sets, dicts, attrs classes, dataclasses and pydantic models.

    Raises:
        Exception: What the one run that failed raised.
        ExceptionGroup: Several failed.
        RunningLoopError: An event loop runs on this thread, which this would block.
    """
    promises = list(found(value))
    blocked(promises, None)
    return results(value, promises)


def resolve_futures_to_states(value: Any) -> Any:
    """
    Block until the futures in *value* have ended, and give *value* with their final states in their place.

    Raises:
        RunningLoopError: An event loop runs on this thread, which this would block.
    """
    blocked(list(found(value)), None)
    return states(value)


def now() -> float:
    """Give the seconds that have passed on the clock by which runs live."""
    return _runtime.thread_host.clock.now() / 1e9


def gathered(futures: Iterable[Future[T]]) -> list[Future[T]]:
    """
    Give *futures* as a list, each once.

    Raises:
        OptionTypeError: Something else is among them.
    """
    listed = list(dict.fromkeys([futures] if isinstance(futures, Future) else futures))
    for one in listed:
        if not isinstance(cast("object", one), Future):
            raise OptionTypeError(f"Futures are waited for, as `submit` and `map` give them, not {short(one)}.")
    return listed


def parted(futures: Iterable[Future[Any]]) -> DoneAndNotDoneFutures:
    """Part *futures* into those that have ended and those that have not."""
    listed = list(futures)
    return DoneAndNotDoneFutures({one for one in listed if one.opened}, {one for one in listed if not one.opened})


def blocked(gates: Sequence[Gate], timeout: Timeout) -> bool:
    """Block until all *gates* are open, for *timeout* seconds at most; tell whether they are."""
    limit = seconds(timeout)
    opened: bool = drive(_runtime.thread_host.until(gates, limit))
    return opened


def seconds(timeout: Timeout) -> float:
    """
    Give *timeout* as a number of seconds, infinite for None.

    Raises:
        OptionError: It is negative or no number.
    """
    if timeout is None:
        return FOREVER
    if (
        isinstance(cast("object", timeout), bool)
        or not isinstance(cast("object", timeout), int | float)
        or not timeout >= 0
    ):
        raise OptionError(f"timeout must be a number of seconds, 0 or more, or None; not {short(timeout)}.")
    return float(timeout)
