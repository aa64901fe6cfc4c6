"""Sources: what a stream is mapped over, pulled one row of arguments at a time. Starts no runs and keeps no items."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

from headrace import _runtime
from headrace._decorated import Decorated
from headrace._engine.promises import Promises
from headrace._engine.upstream import FORGIVING, ITERABLES, ONE, QUOTED, TUPLES, fields
from headrace._model.annotations import allow_failure
from headrace._submission import SIZED, UNMAPPED, WHOLE, named, upstream
from headrace.errors import (
    MappingLengthMismatch,
    MappingMissingIterable,
    OptionTypeError,
    SpentSource,
    StreamUseError,
    short,
)

T = TypeVar("T")
# Held as `type[Any]`, so that a checker goes on knowing nothing of the user's values once they are told apart.
ASYNC: tuple[type[Any], ...] = (AsyncIterable,)
END: Final = object()
ASYNC_SOURCE: Final = "its source is async, and this code is not; make it async, and write `async with` and `async for`"


class Column(NamedTuple):
    """An argument that is mapped over: the iterator of its items, whether it is awaited, and its `allow_failure`."""

    name: str
    items: Any
    waits: bool
    forgiving: bool


class Cursor(Generic[T]):
    """
    A source for `stream` that can be read on from where it was, so that a durable flow does not begin it anew.

    Args:
        read: Called as `read(after)`, gives pairs `(position, item)` of all that lies behind the position *after*, in
            order; None stands for the start. An iterable or, in async code, an async one. A position stands for the
            same item each time, comes once, and is what JSON keeps as it is: a text, a number, a list or dict of such.
        name: What the positions are recorded under; that of *read*, unless given.

    Raises:
        OptionTypeError: *read* cannot be called, or *name* is no string.
    """

    def __init__(
        self, read: Callable[[Any], Iterable[tuple[Any, T]] | AsyncIterable[tuple[Any, T]]], *, name: str | None = None
    ) -> None:
        if not callable(read):
            raise OptionTypeError(
                f"A Cursor takes a function, not {short(read)} ({type(read).__name__}). Write Cursor(read), where "
                f"read(after) gives pairs (position, item) of what lies behind the position *after*."
            )
        if name is not None and not isinstance(cast("object", name), str):
            raise OptionTypeError(f"The name of a Cursor must be a string, not {short(name)} ({type(name).__name__}).")
        self.read = read
        self.name: str = name or getattr(read, "__qualname__", None) or type(read).__name__

    def __repr__(self) -> str:
        return f"Cursor({self.name})"


CURSORS: tuple[type[Any], ...] = (Cursor,)


class Reading:
    """
    The items of a cursor, from the start, or from where it was moved to.

    Attributes:
        waits: Whether it is read in async code.
        position: That of the item given last; what is read next lies behind it.
        pairs: What reads; None where nothing does yet.
    """

    def __init__(self, name: str, cursor: Cursor[Any], waits: bool) -> None:
        self.name = name
        self.cursor = cursor
        self.waits = waits
        self.position: Any = None
        self.pairs: Any = None

    def __next__(self) -> Any:
        if self.pairs is None:
            self.pairs = self.opened()
        return self.item(next(self.pairs))

    async def __anext__(self) -> Any:
        if self.pairs is None:
            self.pairs = self.opened()
        pairs = self.pairs
        pair = await anext(pairs, END) if hasattr(pairs, "__anext__") else next(pairs, END)
        if pair is END:
            raise StopAsyncIteration
        return self.item(pair)

    def opened(self) -> Any:
        """
        Give an iterator over what lies behind the position, sync or async.

        Raises:
            StreamUseError: It is async, and the code around is not.
            OptionTypeError: It is nothing to iterate over.
        """
        given: Any = self.cursor.read(self.position)
        if isinstance(given, ITERABLES):
            return iter(given)
        if not isinstance(given, ASYNC):
            if inspect.iscoroutine(given):
                given.close()
            raise OptionTypeError(
                f"The cursor of {self.name}.stream() gave {short(given)} when it was asked for what lies behind "
                f"{short(self.position)}. It is to give pairs (position, item): yield them, or return a list."
            )
        if not self.waits:
            raise StreamUseError(self.name, ASYNC_SOURCE)
        return aiter(given)

    def item(self, pair: Any) -> Any:
        """
        Give the item of a *pair*, and be at its position.

        Raises:
            OptionTypeError: It is no pair.
        """
        if not isinstance(pair, TUPLES) or len(pair) != 2:
            raise OptionTypeError(
                f"The cursor of {self.name}.stream() gave {short(pair)} ({type(pair).__name__}), which is no pair "
                f"(position, item). Say with each item where it stands: its number, its id or its offset."
            )
        self.position, item = pair
        return item

    async def close(self) -> None:
        """End the generator that reads, if one does; what else *read* gives may be used for the next."""
        pairs, self.pairs = self.pairs, None
        if inspect.isasyncgen(pairs):
            await pairs.aclose()
        elif inspect.isgenerator(pairs):
            pairs.close()


class Rows:
    """
    The arguments of one call after another.

    Attributes:
        given: For each argument what every call gets of it.
        columns: For each argument its column; None where every call gets the same.
        waits: Whether a source has to be awaited.
        reading: The cursor that is read; None where none is.

    Raises:
        MappingMissingIterable: Nothing among the arguments is to be iterated.
        SpentSource: An iterator was read to its end before, or is given twice.
        StreamUseError: There is another source beside a cursor.
    """

    def __init__(self, decorated: Decorated, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.name = decorated.name
        self.keys = list(kwargs)
        self.places = len(args)
        self.given: list[Any] = []
        self.columns: list[Column | None] = []
        values = [*args, *kwargs.values()]
        names = [*named(decorated, args), *self.keys]
        seen: dict[int, str] = {}
        for name, value in zip(names, values, strict=True):
            whole, column = self.part(name, value, seen)
            self.given.append(whole)
            self.columns.append(column)
        mapped = [column for column in self.columns if column is not None]
        if not mapped:
            given = zip(names, values, strict=True)
            raise MappingMissingIterable(self.name, {name: short(value, 60) for name, value in given})
        cursors = [column for column in mapped if isinstance(column.items, Reading)]
        self.reading: Reading | None = cursors[0].items if cursors else None
        if cursors and len(mapped) > 1:
            other = next(column.name for column in mapped if column is not cursors[0])
            raise StreamUseError(
                self.name,
                f"{other} is another source beside the cursor {cursors[0].name}, and no position tells how far that is "
                f"read; have the cursor give both as one item, or say unmapped(...) where every call is to get it",
            )
        self.waits = any(column.waits for column in mapped)

    def part(self, name: str, value: Any, seen: dict[int, str]) -> tuple[Any, Column | None]:
        """Decide on one argument, as `map` does: give what every call gets of it, or the column that it is."""
        if isinstance(value, UNMAPPED):
            return value.value, None
        if isinstance(value, FORGIVING):
            if isinstance(value.value, ONE):
                return value, None
            whole, column = self.part(name, value.value, seen)
            return (allow_failure(whole), None) if column is None else (None, column._replace(forgiving=True))
        if isinstance(value, CURSORS):
            waits = not _runtime.thread_host.may_block()
            return None, Column(name, Reading(self.name, value, waits), waits, forgiving=False)
        if isinstance(value, ONE):
            value = upstream(value)
        if isinstance(value, Promises):
            return None, Column(name, iter(value.promises()), waits=False, forgiving=False)
        # What can be iterated both ways, a stream for one, is read as the code around is written.
        both = isinstance(value, ASYNC) and isinstance(value, ITERABLES)
        waits = isinstance(value, ASYNC) and not (both and _runtime.thread_host.may_block())
        if not waits and (
            isinstance(value, QUOTED + WHOLE)
            or not isinstance(value, ITERABLES)
            or (fields(value.__class__) and not isinstance(value, SIZED))
        ):
            return value, None
        if spent(value):
            raise SpentSource(self.name, name, "the generator was read to its end before")
        items: Any = aiter(value) if waits else iter(value)
        if id(items) in seen:
            raise SpentSource(self.name, name, f"it is the same iterator as {seen[id(items)]}")
        seen[id(items)] = name
        return None, Column(name, items, waits, forgiving=False)

    def pull(self) -> Any:
        """
        Give the arguments of the next call, or END where all sources have ended.

        Raises:
            MappingLengthMismatch: Some have ended, and others have not.
            BaseException: What a source raised.
        """
        return self.row([None if column is None else next(column.items, END) for column in self.columns])

    async def pull_async(self) -> Any:
        """Do what `pull` does; sources that are async are awaited."""
        items: list[Any] = []
        for column in self.columns:
            if column is None:
                items.append(None)
            else:
                items.append(await anext(column.items, END) if column.waits else next(column.items, END))
        return self.row(items)

    @property
    def position(self) -> Any:
        """That of the item which a cursor gave last."""
        return None if self.reading is None else self.reading.position

    async def move(self, position: Any) -> None:
        """Have a cursor go on behind *position*."""
        if self.reading is not None:
            await self.reading.close()
            self.reading.position = position

    async def close(self) -> None:
        """End what a cursor has begun to read; sources are ended by who made them."""
        if self.reading is not None:
            await self.reading.close()

    def row(self, items: list[Any]) -> Any:
        """Give *items*, one for each argument, as the arguments of a call."""
        row: list[Any] = []
        ended: list[str] = []
        for whole, column, item in zip(self.given, self.columns, items, strict=True):
            if column is None:
                row.append(whole)
            elif item is END:
                ended.append(column.name)
            else:
                row.append(allow_failure(item) if column.forgiving else item)
        if not ended:
            return tuple(row[: self.places]), dict(zip(self.keys, row[self.places :], strict=True))
        mapped = [column.name for column in self.columns if column is not None]
        if len(ended) < len(mapped):
            told = {name: "ended" if name in ended else "another item" for name in mapped}
            raise MappingLengthMismatch(self.name, told)
        return END


def spent(value: Any) -> bool:
    """Tell whether *value* is a generator, async or not, that has ended."""
    if inspect.isgenerator(value):
        return inspect.getgeneratorstate(value) == inspect.GEN_CLOSED
    return inspect.isasyncgen(value) and cast("Any", value).ag_frame is None
