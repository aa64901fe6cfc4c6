"""
Streams: a task mapped over a source of any length, with so many items in flight and no more. Made by `task.stream`.

The source is pulled when there is room, results are handed on when they are there; what is kept is what is in flight.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from time import perf_counter
from typing import Any, Final, Generic, TypeVar, cast

from headrace import _runtime
from headrace._decorated import Decorated
from headrace._engine.inputs import bare
from headrace._engine.life import drive
from headrace._engine.promises import Gate, Promise, Promises
from headrace._engine.upstream import fields
from headrace._model.annotations import allow_failure, quote
from headrace._submission import ITERABLES, UNMAPPED, WHOLE, Submission, named
from headrace.errors import (
    MappingLengthMismatch,
    MappingMissingIterable,
    OptionError,
    OptionTypeError,
    SpentSource,
    StreamUseError,
    short,
)
from headrace.futures import blocked

__all__ = ["Stream"]

T_co = TypeVar("T_co", covariant=True)
ASYNC: tuple[type[Any], ...] = (AsyncIterable,)
END: Final = object()
LIMIT: Final = 100
BREATH: Final = 0.001  # seconds of pulling without a wait, after which the loop is let go on


class Rows:
    """
    The arguments of one call after another, pulled from the sources.

    Attributes:
        columns: For each argument its name and the iterator it comes from; None for what every call gets.
        waits: Whether a source has to be awaited.
    """

    def __init__(self, decorated: Decorated, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.name = decorated.name
        self.first = decorated.arguments
        names = named(decorated, args)
        self.keys = list(kwargs)
        self.given = [*args, *kwargs.values()]
        self.places = len(args)
        self.columns: list[tuple[str, Any] | None] = []
        seen: dict[int, str] = {}
        for i, (name, value) in enumerate(zip([*names, *self.keys], self.given, strict=True)):
            items = self.items(name, value, i, seen)
            self.columns.append(None if items is None else (name, items))
        if not any(self.columns):
            given = zip([*names, *self.keys], self.given, strict=True)
            raise MappingMissingIterable(self.name, {name: short(value, 60) for name, value in given})
        self.waits = any(column is not None and isinstance(column[1], ASYNC) for column in self.columns)

    def items(self, name: str, value: Any, place: int, seen: dict[int, str]) -> Any:
        """Give the iterator of an argument that is mapped over; None for any other, whose value is kept."""
        if isinstance(value, UNMAPPED):
            self.given[place] = value.value
            return None
        if isinstance(value, allow_failure) and isinstance(value.value, ITERABLES):
            return map(allow_failure, cast("Iterable[Any]", value.value))
        if isinstance(value, Promises):
            return iter(value.promises())
        if isinstance(value, ASYNC):
            found: Any = aiter(value)
        elif isinstance(value, (quote, *WHOLE)) or not isinstance(value, ITERABLES) or fields(value.__class__):
            return None
        else:
            if inspect.isgenerator(value) and inspect.getgeneratorstate(value) == inspect.GEN_CLOSED:
                raise SpentSource(self.name, name, "the generator was read to its end before")
            found = iter(value)
        if id(found) in seen:
            raise SpentSource(self.name, name, f"it is the same iterator as {seen[id(found)]}")
        seen[id(found)] = name
        return found

    def pull(self) -> Any:
        """Give the arguments of the next call, or END."""
        row: list[Any] = []
        ended: list[str] = []
        for column, value in zip(self.columns, self.given, strict=True):
            item = value if column is None else next(column[1], END)
            if item is END and column is not None:
                ended.append(column[0])
            row.append(item)
        return self.whole(row, ended)

    async def pull_async(self) -> Any:
        """Give the arguments of the next call, or END; sources that are async are awaited."""
        row: list[Any] = []
        ended: list[str] = []
        for column, value in zip(self.columns, self.given, strict=True):
            item = value
            if column is not None:
                name, items = column
                item = await anext(items, END) if isinstance(items, ASYNC) else next(items, END)
                if item is END:
                    ended.append(name)
            row.append(item)
        return self.whole(row, ended)

    def whole(self, row: list[Any], ended: list[str]) -> Any:
        """
        Give *row* as arguments, or END where all sources have ended.

        Raises:
            MappingLengthMismatch: Some have ended, and others have not.
        """
        if not ended:
            return self.first + tuple(row[: self.places]), dict(zip(self.keys, row[self.places :], strict=True))
        mapped = [column[0] for column in self.columns if column is not None]
        if len(ended) < len(mapped):
            told = {name: "ended" if name in ended else "another item" for name in mapped}
            raise MappingLengthMismatch(self.name, told)
        return END


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
        self._way = Submission(decorated, "stream")
        self._rows = Rows(decorated, args, kwargs)
        self._group: Any = None
        # What is in flight, in the order of the items: a dict, because of those one is taken out of the middle.
        self._flight: dict[Promise, None] = {}
        self._ended: deque[Promise] = deque()
        self._exhausted = False
        self._broken: Exception | None = None
        self._bell = Gate()
        self._hunger = Gate()
        self._feeding: AbstractAsyncContextManager[None] | None = None
        self._used = False
        self._closed = False

    # -- what both have ------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._used:
            raise StreamUseError(self._way.decorated.name, "it was used before; a stream gives its results once")
        self._used = True
        self._group = self._way.group(None)

    def _submit(self, row: Any) -> None:
        """Start the call with the arguments *row*; at the end of the sources, note that."""
        if row is END:
            self._exhausted = True
            return
        args, kwargs = row
        way = self._way
        call = way.call(args, kwargs, None, way.context.copy())
        call.group = self._group
        promise = call.promise
        self._flight[promise] = None
        if not self._ordered:
            promise.when_done(self._land)
        way.crew.submit(call)

    def _land(self, promise: Any) -> None:
        self._ended.append(promise)
        self._bell.open()

    def _pull(self) -> None:
        """Pull one row, and start its call."""
        try:
            self._submit(self._rows.pull())
        except Exception as error:
            self._breaks(error)

    def _breaks(self, error: Exception) -> None:
        """Note that a source has raised: what is in flight is still handed on."""
        self._exhausted = True
        self._broken = error

    @property
    def _room(self) -> bool:
        return not self._exhausted and len(self._flight) < self._limit

    def _ready(self) -> Promise | None:
        """Take the next promise that has ended, if there is one whose turn it is."""
        promise = next(iter(self._flight), None) if self._ordered else self._landed()
        if promise is None or not promise.opened:
            if promise is None and self._ordered:
                self._bell = Gate()
            return None
        del self._flight[promise]
        self._hunger.open()
        return promise

    def _landed(self) -> Promise | None:
        """Take one that has ended, whichever came first."""
        if not self._ended:
            self._bell = Gate()
            if not self._ended:  # else one landed in between, and has rung the bell before
                return None
        return self._ended.popleft()

    def _awaited(self) -> list[Gate]:
        """Give what has to happen before there is anything to do."""
        return [next(iter(self._flight))] if self._ordered and self._flight else [self._bell]

    def _value(self, promise: Promise) -> Any:
        if self._states:
            return promise.state
        return promise.outcome()

    def _over(self) -> bool:
        """
        Tell whether everything was handed on.

        Raises:
            Exception: What a source has raised.
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
        return list(left)

    def _end(self) -> None:
        """Count the group as whole."""
        group = self._group
        group.total = group.done
        self._way.crew.whole(group)
        self._flight.clear()
        self._ended.clear()

    @property
    def _patience(self) -> float:
        parent = self._way.parent
        return 10.0 if parent is None else parent.scope.journal.patience

    # -- in sync flows -------------------------------------------------------------------------------------------------

    def __enter__(self) -> Stream[T_co]:
        if self._rows.waits:
            raise StreamUseError(self._way.decorated.name, "its source is async; use `async with` and `async for`")
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left = self._cancel()
        if left:
            drive(_runtime.thread_host.until(left, self._patience, shielded=True))
        self._end()

    def __iter__(self) -> Iterator[T_co]:
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
        while not self._closed:
            promise = self._ready()
            if promise is not None:
                try:
                    value: T_co = self._value(promise)
                except BaseException as error:
                    bare(error)
                    raise
                yield value
            elif self._room:
                self._pull()
            elif self._over():
                return
            else:
                blocked(self._awaited(), None)

    # -- in async code -------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Stream[T_co]:
        self._begin()
        if self._rows.waits:
            self._feeding = _runtime.shop().beside(self._feed)
            await self._feeding.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        left = self._cancel()
        feeding, self._feeding = self._feeding, None
        if feeding is not None:
            await feeding.__aexit__(None, None, None)
        if left:
            await _runtime.host_for(True).until(left, self._patience, shielded=True)
        self._end()

    def __aiter__(self) -> AsyncIterator[T_co]:
        if not self._used:
            raise StreamUseError(
                self._way.decorated.name,
                f"open it first, so that leaving early ends what is in flight: "
                f"`async with {self._way.decorated.name}.stream(...) as results: async for result in results: ...`",
            )
        return self._results_async()

    async def _results_async(self) -> AsyncIterator[T_co]:
        host = _runtime.host_for(True)
        breath = perf_counter()
        while not self._closed:
            promise = self._ready()
            if promise is not None:
                try:
                    value: T_co = self._value(promise)
                except BaseException as error:
                    bare(error)
                    raise
                yield value
            elif self._room and not self._rows.waits:
                self._pull()
                if perf_counter() - breath > BREATH:
                    await host.sleep(0)
                    breath = perf_counter()
            elif self._over():
                return
            else:
                await host.until(self._awaited())
                breath = perf_counter()

    async def _feed(self) -> None:
        """Pull sources that are awaited, as room appears."""
        host = _runtime.host_for(True)
        while not self._exhausted:
            if not self._room:
                self._hunger = Gate()
                if not self._room:
                    await host.until([self._hunger])
                continue
            try:
                self._submit(await self._rows.pull_async())
            except Exception as error:
                self._breaks(error)
            self._bell.open()


DEFAULTS: Final[dict[str, Any]] = {"limit": LIMIT, "ordered": True, "return_state": False}


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
