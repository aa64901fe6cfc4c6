"""Sources: what a stream is mapped over, pulled one row of arguments at a time. Starts no runs and keeps no items."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable
from typing import Any, Final, NamedTuple, cast

from headrace import _runtime
from headrace._decorated import Decorated
from headrace._engine.promises import Promises
from headrace._engine.upstream import FORGIVING, ITERABLES, ONE, QUOTED, fields
from headrace._model.annotations import allow_failure
from headrace._submission import SIZED, UNMAPPED, WHOLE, named, upstream
from headrace.errors import MappingLengthMismatch, MappingMissingIterable, SpentSource, short

# Held as `type[Any]`, so that a checker goes on knowing nothing of the user's values once they are told apart.
ASYNC: tuple[type[Any], ...] = (AsyncIterable,)
END: Final = object()


class Column(NamedTuple):
    """An argument that is mapped over: the iterator of its items, whether it is awaited, and its `allow_failure`."""

    name: str
    items: Any
    waits: bool
    forgiving: bool


class Rows:
    """
    The arguments of one call after another.

    Attributes:
        given: For each argument what every call gets of it.
        columns: For each argument its column; None where every call gets the same.
        waits: Whether a source has to be awaited.

    Raises:
        MappingMissingIterable: Nothing among the arguments is to be iterated.
        SpentSource: An iterator was read to its end before, or is given twice.
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
