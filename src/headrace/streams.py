"""
Streams: a task mapped over a source of any length, with so many items in flight and no more. Made by `task.stream`.

The source is pulled when there is room, results are handed on when they are there; what is kept is what is in flight.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Iterator
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from headrace import _runtime
from headrace._decorated import Decorated
from headrace._engine.begin import heed
from headrace._engine.calls import Call
from headrace._engine.context import current_run
from headrace._engine.inputs import bare
from headrace._engine.life import drive
from headrace._engine.promises import Gate, Promise
from headrace._engine.upstream import listed
from headrace._model.annotations import watch
from headrace._ports import Host
from headrace._sources import ASYNC_SOURCE, END, Rows
from headrace._submission import Submission
from headrace.errors import OptionError, OptionTypeError, RunningLoopError, StreamUseError, short
from headrace.futures import blocked

if TYPE_CHECKING:
    from headrace._engine.trails import Trail
    from headrace._runners.feeder import Feeder

__all__ = ["Stream"]

T_co = TypeVar("T_co", covariant=True)
LIMIT: Final = 100
BREATH: Final = 0.001  # seconds without a wait, after which the loop is let go on
SLOW: Final = 0.02  # seconds; a source is slow if two pulls in a row take as long


class Stream(Generic[T_co]):
    """
    The results of a task over a source, with a bounded number of items in flight. Used once.

    In async code: `async with task.stream(source) as results: async for result in results: ...`. In sync flows:
    `for result in task.stream(source): ...`, also inside a `with`. Leaving early cancels what is in flight and waits
    for its cleanup.
    """

    def __init__(self, decorated: Decorated, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        options = {name: kwargs.pop(name, default) for name, default in DEFAULTS.items()}
        self._limit = limited(decorated.name, options["limit"])
        self._ordered = bool(options["ordered"])
        self._states = bool(options["return_state"])
        self._wait_for = None if options["wait_for"] is None else listed(options["wait_for"])
        self._way = Submission(decorated, "stream")
        self._rows = Rows(decorated, args, kwargs)
        self._trail: Trail | None = None
        self._group: Any = None
        # What is in flight, in the order of the items. A plain dict looks for its first key from its beginning, past
        # all that were taken out there.
        self._flight: OrderedDict[Promise, None] = OrderedDict()
        self._landed: deque[Promise] = deque()
        self._exhausted = False
        self._broken: BaseException | None = None
        self._bell = Gate()
        self._feeder: Feeder | None = None
        self._fed = Gate()
        self._took = 0.0
        self._quick = True
        self._used = False
        self._closed = False

    # -- what both have ------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._used:
            raise StreamUseError(self._way.decorated.name, "it was used before; a stream gives its results once")
        self._used = True
        way, reading = self._way, self._rows.reading
        if reading is not None and way.parent is not None and way.parent.scope.past is not None:
            self._trail = way.parent.scope.past.trail(way.parent, way.spec, reading.cursor.name, self._rows.given)
        self._group = way.group(None)

    def _submit(self, row: Any) -> None:
        """Start the call with the arguments *row*; at the end of the sources, note that."""
        trail = self._trail
        if row is END:
            if trail is not None:
                trail.end()
            self._exhausted = True
            return
        args, kwargs = row
        way = self._way
        call = way.call(args, kwargs, self._wait_for, way.context.copy())
        if trail is not None:
            call = trail.come_by(self._rows.position, call)
        self._put(call)

    async def _recalled(self, host: Host) -> bool:
        """Hand on what is on record next, an item that has ended or the end; tell whether there was any such."""
        trail, way = self._trail, self._way
        recorded = None if trail is None else trail.ahead()
        if trail is None or recorded is None:
            return False
        if not recorded:
            self._exhausted = True
            return True
        (position,) = recorded
        known = trail.ended(position)
        if known is None:
            return False
        call = await trail.recalled(position, known, way.call((), {}, None, way.context.copy()), host)
        if call is None:
            return False
        await self._rows.move(position)
        if not self._closed:
            self._put(call)
        return True

    def _put(self, call: Call) -> None:
        """Have *call* be in flight."""
        call.group = self._group
        promise = call.promise
        self._way.crew.submit(call)  # which may refuse: so nothing was in flight before
        self._flight[promise] = None
        if not self._ordered:
            promise.when_done(self._land)

    def _land(self, promise: Any) -> None:
        self._landed.append(promise)
        self._bell.open()

    def _pull(self) -> None:
        """Pull one row, and start its call."""
        before = perf_counter()
        try:
            if self._trail is None or not drive(self._recalled(_runtime.thread_host)):
                self._submit(self._rows.pull())
        except Exception as error:
            self._breaks(error)
        before, self._took = self._took, perf_counter() - before
        self._quick = min(before, self._took) < SLOW

    def _breaks(self, error: BaseException) -> None:
        """Note that a source has raised: what is in flight is still handed on."""
        self._exhausted = True
        self._broken = error
        self._bell.open()

    @property
    def _room(self) -> bool:
        return not self._exhausted and len(self._flight) < self._limit

    def _ready(self) -> bool:
        """Tell whether a result can be handed on."""
        if self._ordered and self._flight:
            return next(iter(self._flight)).opened
        # Several consumers may wait for one bell, so only one that has rung is replaced.
        if self._bell.opened and not self._landed:
            self._bell = Gate()
        return bool(self._landed)  # looked at again: one may have landed in between, and rung the bell before

    def _take(self) -> Any:
        """
        Give the next result.

        Raises:
            Exception: What its run raised.
        """
        promise = next(iter(self._flight)) if self._ordered else self._landed.popleft()
        del self._flight[promise]
        if self._feeder is not None:
            self._feeder.rouse()
        if not self._flight:
            self._bell.open()  # there may be other consumers, and nothing to come for them
        return promise.state if self._states else promise.outcome()

    def _refill(self) -> None:
        """Pull one for one handed on, though others may be ready: not from a source that keeps them waiting."""
        if self._quick and self._room and self._feeder is None:
            self._pull()

    def _awaited(self) -> list[Gate]:
        """Give what has to happen before there is anything to do."""
        return [next(iter(self._flight))] if self._ordered and self._flight else [self._bell]

    def _over(self) -> bool:
        """
        Tell whether everything was handed on.

        Raises:
            BaseException: What a source has raised.
        """
        if not self._exhausted or self._flight:
            return False
        if self._broken is not None:
            broken, self._broken = self._broken, None
            raise broken
        return True

    def _cancel(self) -> list[Gate]:
        """Have what is in flight end; give what to wait for."""
        self._exhausted = self._closed = True
        left = [promise for promise in self._flight if not promise.opened]
        if left:
            calls = [promise.call for promise in left if promise.call is not None]
            self._way.crew.cancel(calls, "nobody wants its result any more")
        for promise in self._flight:
            promise.looked = True
        self._bell.open()
        return list(left)

    def _end(self) -> None:
        """Count the group as whole."""
        if self._trail is not None:
            self._trail.close()
        group = self._group
        group.total = group.done
        self._way.crew.whole(group)
        self._flight.clear()
        self._landed.clear()

    @property
    def _patience(self) -> float:
        patience: float = self._way.crew.journal.patience
        return patience

    # -- in sync flows -------------------------------------------------------------------------------------------------

    def _refuse_on_loop(self) -> None:
        """
        See that this thread may block.

        Raises:
            RunningLoopError: An event loop runs on it.
        """
        if not _runtime.thread_host.may_block():
            raise RunningLoopError(
                "Iterating over a stream with a plain `for`",
                f"`async with {self._way.decorated.name}.stream(...) as results: async for result in results: ...`",
            )

    def __enter__(self) -> Stream[T_co]:
        self._refuse_on_loop()
        if self._rows.waits:
            raise StreamUseError(self._way.decorated.name, ASYNC_SOURCE)
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left = self._cancel()
        try:
            if left:
                drive(_runtime.thread_host.until(left, self._patience, shielded=True))
            drive(self._rows.close())
        finally:
            self._end()

    def __iter__(self) -> Iterator[T_co]:
        self._refuse_on_loop()
        if self._used and not self._closed:
            return self._results()
        return self._alone()

    def _alone(self) -> Iterator[T_co]:
        try:
            with self:
                yield from self._results()
        except BaseException as error:
            bare(error)
            raise

    def _results(self) -> Iterator[T_co]:
        try:
            while not self._closed:
                if self._ready():
                    if watch.stops:
                        heed(current_run.get())  # before it hears so of what was stopped with it
                    yield self._take()
                    self._refill()
                elif self._room:
                    self._pull()
                elif self._over():
                    return
                else:
                    blocked(self._awaited(), None)
        except BaseException as error:
            bare(error)
            raise

    # -- in async code -------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Stream[T_co]:
        self._begin()
        if self._rows.waits:
            self._feeder = _runtime.shop().feeder(self._feed, self._fed.open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left = self._cancel()
        if self._feeder is not None:
            self._feeder.cancel()
            left.append(self._fed)
        try:
            if left:
                await _runtime.host_for(True).until(left, self._patience, shielded=True)
        finally:
            self._end()

    def __aiter__(self) -> AsyncIterator[T_co]:
        name = self._way.decorated.name
        if not self._used:
            raise StreamUseError(
                name,
                f"open it first, so that leaving early ends what is in flight: "
                f"`async with {name}.stream(...) as results: async for result in results: ...`",
            )
        if self._closed:
            raise StreamUseError(name, "its block was left; what it has not given by then was cancelled")
        return self._results_async()

    async def _results_async(self) -> AsyncIterator[T_co]:
        host = _runtime.host_for(True)
        breath = perf_counter()
        try:
            while not self._closed:
                if self._ready():
                    yield self._take()
                    self._refill()
                elif self._room and self._feeder is None:
                    self._pull()
                elif self._over():
                    return
                else:
                    await host.until(self._awaited())
                    breath = perf_counter()
                    continue
                if perf_counter() - breath > BREATH:
                    await host.sleep(0)
                    breath = perf_counter()
        except BaseException as error:
            bare(error)
            raise

    async def _feed(self, feeder: Feeder) -> None:
        """Pull sources that are awaited, as room appears."""
        host = _runtime.host_for(True)
        breath = perf_counter()
        try:
            while not self._exhausted:
                if not self._room:
                    await feeder.rest()
                    breath = perf_counter()
                    continue
                if not await self._recalled(host):
                    row = await self._rows.pull_async()
                    if self._closed:
                        return
                    self._submit(row)
                if len(self._flight) < 2:  # the first in flight; or none, and maybe no more to come
                    self._bell.open()
                if perf_counter() - breath > BREATH:
                    await host.sleep(0)
                    breath = perf_counter()
        except Exception as error:
            self._breaks(error)
        except BaseException as stop:  # a cancellation that is the source's own is its consumer's to hear of
            self._breaks(stop)
            raise
        finally:
            await self._rows.close()


DEFAULTS: Final[dict[str, Any]] = {"limit": LIMIT, "ordered": True, "return_state": False, "wait_for": None}


def limited(name: str, value: Any) -> int:
    """
    Give *value* back.

    Raises:
        OptionTypeError: It is no whole number.
        OptionError: It is less than 1.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise OptionTypeError(f"limit of {name}.stream() must be a whole number, not {short(value)}.")
    if value < 1:
        raise OptionError(f"limit of {name}.stream() is {value}; at least 1 item must be in flight.")
    return value
