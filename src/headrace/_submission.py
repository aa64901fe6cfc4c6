"""Submission: how `submit`, `map` and `stream` make a call work of the crew around it. Runs and waits for nothing."""

from __future__ import annotations

import inspect
import io
import itertools
from collections.abc import Iterable, Iterator, Sized
from contextvars import Context, copy_context
from typing import Any, Final, cast

from headrace import _runtime
from headrace._decorated import Decorated, awaited
from headrace._engine.begin import heed
from headrace._engine.calls import Call
from headrace._engine.context import current_run, drawn
from headrace._engine.groups import Group
from headrace._engine.promises import Promise, Promises
from headrace._engine.runs import Run
from headrace._engine.upstream import FORGIVING, ITERABLES, ONE, QUOTED, fields
from headrace._model.annotations import allow_failure, unmapped, watch
from headrace._model.ids import FIRST
from headrace._ports import Host
from headrace._runners.maps import LONGEST, Arguments, Mapped
from headrace._runtime import Opening
from headrace.errors import (
    MappingLengthMismatch,
    MappingMissingIterable,
    OptionError,
    RunningLoopError,
    SourceTooLong,
    SpentSource,
    SubmissionError,
    short,
)
from headrace.futures import Future, FutureList, blocked

# Held as `type[Any]`, so that a checker goes on knowing nothing of the user's values once they are told apart.
COUNTED: tuple[type[Any], ...] = (tuple, range)
SIZED: tuple[type[Any], ...] = (Sized,)
UNMAPPED: tuple[type[Any], ...] = (unmapped,)
WHOLE: tuple[type[Any], ...] = (str, bytes, bytearray, io.IOBase)
Column = tuple[Any, int | None]
NOTHING: Final[dict[str, Any]] = {}  # the keywords of calls that have none; unpacked, never handed out
ROOT: Final = int(FIRST, 16)


class Submission:
    """
    One way into a crew for the calls of one flow or task.

    Attributes:
        verb: What the user called: submit, map or stream.
        context: The submitter's, as it is now.
    """

    def __init__(self, decorated: Decorated, method: str, opening: Opening | None = None) -> None:
        if decorated.streams:
            raise OptionError(
                f"{decorated.kind} {decorated.name!r} is a generator, and {method} gives a future of one value. "
                f"Iterate over it, or have it return a list."
            )
        self.decorated = decorated
        self.verb = method
        self.spec = decorated.spec
        self.parent: Run | None = current_run.get() if opening is None else None
        if self.parent is None and opening is None:
            opening = _runtime.opening()
        if watch.stops:
            heed(self.parent)
        self.crew: Any = _runtime.crew_of(self.parent) if opening is None else opening.crew
        if self.crew is None:
            worker = self.parent is not None and (self.parent.away or any(run.away for run in self.parent.ancestors()))
            raise SubmissionError(decorated.kind, decorated.name, method, worker)
        self.host = self.crew.lanes.host(self.spec)
        self.life = decorated.life_on(self.host)
        self.context: Context = copy_context()
        if opening is not None:
            self.context.run(current_run.set, None)
            self.context.run(_runtime.inside.set, opening)

    def promise(self, number: int | None = None) -> Future[Any]:
        """Make the future of one more run; of a task run that was numbered before, if *number* is given."""
        parent = self.parent
        if self.spec.kind == "flow" or parent is None:
            prefix = drawn(self.crew.journal)
            held = self.crew.journal.unloaded.pop(prefix + FIRST, None)
            return held or Future(self.spec, prefix, ROOT, None)
        scope = parent.scope
        own = next(scope.counter) if number is None else number
        return Future(self.spec, scope.prefix, own, scope.flow_run_id)

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any], wait_for: Any, context: Context) -> Call:
        """Make one more call."""
        return Call(
            self.promise(),
            self.life,
            self.host,
            self.parent,
            context,
            self.decorated.arguments + args,
            kwargs,
            wait_for,
        )

    def group(self, total: int | None) -> Group:
        """Make the group of a map or stream."""
        group = Group(self.spec, self.parent, total, self.host.clock.now())
        group.verb = self.verb
        parent = self.parent
        if parent is not None:
            if parent.scope.trace is not None:
                group.number = next(parent.scope.counter)
            if parent.scope.journal.progress is not None:
                parent.scope.journal.progress.begin(group)
        return group


def submit(decorated: Decorated, args: tuple[Any, ...], kwargs: dict[str, Any], opening: Opening | None = None) -> Any:
    """
    Submit one call; give its future.

    Raises:
        SubmissionError: There is no flow run and no runtime around.
        CrewGone: The one around has ended.
        RunningLoopError: Its state is asked for, and waiting for it would block an event loop.
    """
    kwargs = dict(kwargs)
    wait_for = awaited(kwargs)
    return_state = wants_state(kwargs, f"{decorated.name}.submit")
    way = Submission(decorated, "submit", opening)
    call = way.call(args, kwargs, wait_for, way.context)
    call.parcel = way.host.parcel(call.spec, call.args, call.kwargs)
    way.crew.submit(call)
    future = cast("Future[Any]", call.promise)
    if return_state:
        future.wait()
        return future.state
    return future


def map_over(
    decorated: Decorated, args: tuple[Any, ...], kwargs: dict[str, Any], opening: Opening | None = None
) -> Any:
    """
    Submit a call for each item of the iterables among the arguments; give their futures.

    Raises:
        MappingMissingIterable: No argument can be iterated.
        MappingLengthMismatch: They have different lengths.
        SpentSource: An iterator has no items any more, or is given twice.
        SubmissionError: There is no flow run and no runtime around.
        CrewGone: The one around has ended.
        RunningLoopError: Their states are asked for, and waiting for them would block an event loop.
    """
    kwargs = dict(kwargs)
    wait_for = awaited(kwargs)
    return_state = wants_state(kwargs, f"{decorated.name}.map")
    way = Submission(decorated, "map", opening)
    arguments, total = columns(decorated, args, kwargs, way.host)
    packed = None
    if way.host.elsewhere and total:
        first = next(arguments)
        packed = way.host.parcel(way.spec, *first)
        arguments = itertools.chain([first], arguments)
    mapped = Mapped(way.crew, way.group(total), arguments, way.promise, way.life, way.host, way.context, wait_for)
    mapped.packed = packed
    if total == 0:
        way.crew.whole(mapped.group)
    else:
        way.crew.map(mapped)
    futures: FutureList[Any] = FutureList(mapped)
    if return_state:
        futures.wait()
        return [future.state for future in futures]
    return futures


def wants_state(kwargs: dict[str, Any], method: str) -> bool:
    """
    Take out of *kwargs* whether states are asked for, which *method* blocks for. Refused here, nothing has begun.

    Raises:
        RunningLoopError: It would block an event loop.
    """
    asked = bool(kwargs.pop("return_state", False))
    if asked and not _runtime.thread_host.may_block():
        raise RunningLoopError(
            f"{method}(..., return_state=True)", "`await` before what it gives without, then ask for `state`,"
        )
    return asked


# -- what is mapped over -----------------------------------------------------------------------------------------------


def columns(
    decorated: Decorated, args: tuple[Any, ...], kwargs: dict[str, Any], host: Host
) -> tuple[Arguments, int | None]:
    """Give the arguments of each call, and how many calls there are; None where an iterator has not told."""
    names = named(decorated, args)
    given = {**dict(zip(names, args, strict=True)), **kwargs}
    made: dict[str, Column | None] = {}
    constants: dict[str, Any] = {}
    iterators: dict[int, str] = {}
    for name, value in given.items():
        mapped, decided = part(decorated.name, name, value, iterators)
        made[name] = decided if mapped else None
        if not mapped:
            constants[name] = decided
    found = {name: column for name, column in made.items() if column is not None}
    if not found:
        raise MappingMissingIterable(decorated.name, {name: short(value, 60) for name, value in given.items()})
    unsized = [name for name, (_, length) in found.items() if length is None]
    if len(found) > 1:
        for name in unsized:
            items = read(decorated.name, found[name][0])
            found[name] = items, len(items)
        unsized = []
    lengths = {name: length for name, (_, length) in found.items() if length is not None}
    if len(set(lengths.values())) > 1:
        raise MappingLengthMismatch(decorated.name, {name: f"{length:,}" for name, length in lengths.items()})
    if host.elsewhere:
        for name, (items, _) in found.items():
            host.probe(decorated.spec, name, items)

    def column(name: str) -> Iterator[Any]:
        return iter(found[name][0]) if name in found else itertools.repeat(constants[name])

    first = decorated.arguments
    positional: Iterator[tuple[Any, ...]] = zip(*(column(name) for name in names), strict=False)
    if not names:
        positional = itertools.repeat(())
    if first:
        positional = (first + one for one in positional)
    if not kwargs:
        arguments: Arguments = ((one, NOTHING) for one in positional)
    else:
        keys = list(kwargs)
        keyed = zip(*(column(name) for name in keys), strict=False)
        arguments = ((one, dict(zip(keys, other, strict=True))) for one, other in zip(positional, keyed, strict=False))
    return arguments, None if unsized else next(iter(lengths.values()))


def named(decorated: Decorated, args: tuple[Any, ...]) -> list[str]:
    """Give each of the positional arguments a name to be spoken of by: its parameter's, where there is one."""
    try:
        parameters = list(decorated.spec.signature.parameters.values())[len(decorated.arguments) :]
    except (TypeError, ValueError):
        parameters = []
    names = [one.name for one in parameters if one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD}]
    return [names[i] if i < len(names) else f"argument {i + 1}" for i in range(len(args))]


def part(task: str, name: str, value: Any, iterators: dict[int, str]) -> tuple[bool, Any]:
    """Tell whether an argument is mapped over; give its items and their number, or the value that each call gets."""
    if isinstance(value, QUOTED):
        return False, value
    if isinstance(value, UNMAPPED):
        return False, value.value
    if isinstance(value, FORGIVING):
        inner = value.value
        if isinstance(inner, UNMAPPED):
            return False, allow_failure(inner.value)
        if isinstance(inner, ONE):
            return False, value
        mapped, decided = part(task, name, inner, iterators)
        if not mapped:
            return False, value
        items, length = decided
        return True, (map(allow_failure, items), length)
    if isinstance(value, ONE):
        value = upstream(value)
    if isinstance(value, Promises):
        promises = value.promises()
        return True, (promises, len(promises))
    if (
        not isinstance(value, ITERABLES)
        or isinstance(value, WHOLE)
        or (fields(value.__class__) and not isinstance(value, SIZED))
    ):
        return False, value
    return True, items_of(task, name, value, iterators)


def upstream(one: Any) -> Any:
    """Give the result of a future or state that is mapped over; blocks until it is there."""
    if isinstance(one, Promise):
        blocked([one], None)
        return one.outcome()
    return one.result()


def items_of(task: str, name: str, value: Any, iterators: dict[int, str]) -> Column:
    """
    Give the items of *value*, as they are now, and their number; None for an iterator, which has not told.

    Raises:
        SpentSource: It is an iterator that was read to its end, or is another argument, too.
    """
    if isinstance(value, COUNTED):
        return value, len(value)
    if isinstance(value, SIZED):
        items = list(value)
        return items, len(items)
    if inspect.isgenerator(value) and inspect.getgeneratorstate(value) == inspect.GEN_CLOSED:
        raise SpentSource(task, name, "the generator was read to its end before")
    if id(value) in iterators:
        raise SpentSource(task, name, f"it is the same iterator as {iterators[id(value)]}")
    iterators[id(value)] = name
    return value, None


def read(task: str, items: Iterable[Any]) -> list[Any]:
    """
    Read an iterator to its end.

    Raises:
        SourceTooLong: There is none in sight.
    """
    found = list(itertools.islice(items, LONGEST + 1))
    if len(found) > LONGEST:
        raise SourceTooLong(task, LONGEST)
    return found
