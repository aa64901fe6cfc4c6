"""
Parcels: what of a call travels between processes, as bytes. Knows pickling, and what of values is ours; moves nothing.

The futures and states among a call's arguments are left blank when it is packed, at its submission. What they came to
is filled in when its turn comes, so the rest is pickled once.
"""

from __future__ import annotations

import functools
import io
import os
import pickle
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.reduction import ForkingPickler
from types import FunctionType
from typing import Any, Final

import attrs

from headrace._engine.inputs import named, own_frames
from headrace._engine.promises import Promise, Promises
from headrace._engine.runs import Run
from headrace._engine.spec import Spec
from headrace._engine.upstream import FLAT, LEAVES, flat, found, resolved
from headrace._model.annotations import quote, unmapped
from headrace._model.outcomes import describe
from headrace.errors import NotPicklable, ParameterBindError, rebuilt, short

PROTOCOL: Final = 5
FUTURES: tuple[type[Any], ...] = (Promise, Promises)
QUOTED: tuple[type[Any], ...] = (quote,)
Reference = tuple[str, str, int]
LISTS: tuple[type[Any], ...] = (list, tuple)
UNMAPPED: tuple[type[Any], ...] = (unmapped,)
THREADS: Final = "or run the task in threads: task_runner=ThreadPoolTaskRunner()"


@attrs.frozen
class Parcel:
    """
    A call, packed.

    Attributes:
        function: Where it is found; pickled, where it has no name of its own.
        data: The arguments.
        blanks: The futures, states and annotations among them, in the order of their places.
    """

    function: Reference | bytes
    data: bytes
    blanks: Sequence[Any] = ()


class Packer(ForkingPickler):
    """Pickles as multiprocessing does, and knows decorated functions, exceptions of any kind, and what is ours."""

    def __init__(self, file: io.BytesIO, blanks: list[Any] | None, awaited: frozenset[int] = frozenset()) -> None:
        super().__init__(file, PROTOCOL)
        self.blanks = blanks
        self.awaited = awaited

    def reducer_override(self, value: Any) -> Any:
        """Give how *value* is made again, where pickle's own way will not do."""
        if isinstance(value, FunctionType):
            return self.of_function(value)
        if isinstance(value, LEAVES):
            return self.of_ours(value)
        if isinstance(value, BaseException):
            return of_exception(value)
        if isinstance(value, type) and value.__module__ == "__main__" and not main_is_importable():
            raise pickle.PicklingError(f"the class {value.__qualname__} {NOWHERE}")
        return NotImplemented

    def of_function(self, function: FunctionType) -> Any:
        """Find a function by its name, also where a decorator has put an object that wraps it in its place."""
        module, path, steps = reference(function)
        return (unwrapped, (module, path, steps)) if steps else NotImplemented

    def of_ours(self, value: Any) -> Any:
        """Leave futures and states blank; take what is said of a plain value as said."""
        if self.blanks is None:
            if isinstance(value, FUTURES):
                raise pickle.PicklingError("a future stays in the process that made it")
            return NotImplemented
        if isinstance(value, QUOTED):
            return pickle.loads, (pack(value.value),)
        if isinstance(value, UNMAPPED):
            return itself, (value.value,)
        if isinstance(value, Promise) and not value.opened and id(value) not in self.awaited:
            raise pickle.PicklingError("a future is hidden in it, where none is looked for; hand it over by itself")
        self.blanks.append(value)
        return filled, (len(self.blanks) - 1,)


def pack(value: Any) -> bytes:
    """
    Give *value* as bytes.

    Raises:
        Exception: It cannot be pickled, for whatever reason.
    """
    if value.__class__ in FLAT:
        return pickle.dumps(value, PROTOCOL)
    file = io.BytesIO()
    Packer(file, None).dump(value)
    return file.getvalue()


def packed_call(spec: Spec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Parcel:
    """
    Pack a call of *spec*.

    Raises:
        NotPicklable: The function or an argument cannot be; says which.
    """
    fn: Any = spec.fn
    awaited: frozenset[int] = frozenset()
    try:
        function = reference(fn) if isinstance(fn, FunctionType) else pack(fn)
        if flat(args, kwargs):
            return Parcel(function, pickle.dumps((args, kwargs), PROTOCOL))
        file = io.BytesIO()
        blanks: list[Any] = []
        awaited = frozenset(id(promise) for value in (*args, *kwargs.values()) for promise in found(value))
        Packer(file, blanks, awaited).dump((args, kwargs))
    except Exception as error:
        raise refusal(spec, args, kwargs, error, awaited) from None
    return Parcel(function, file.getvalue(), blanks)


def probe(spec: Spec, name: str, items: Any) -> None:
    """
    See that those *items* can be packed which are the first of their type, but for the very first.

    Raises:
        NotPicklable: One cannot be.
    """
    if not isinstance(items, LISTS) or len(items) < 2:
        return
    kinds: set[Any] = {type(items[0]), *FLAT}
    for place, item in enumerate(items):
        if type(item) not in kinds:
            kinds.add(type(item))
            refused = problem(item, frozenset(map(id, found(item))))
            if refused is not None:
                what = f"Item {place} of {name}, {short(item, 80)},"
                raise NotPicklable(what, reason(refused), f"Map over data, {THREADS}.")


def problem(value: Any, awaited: frozenset[int]) -> Exception | None:
    """Give what pickling *value* raises; None where it does not."""
    try:
        Packer(io.BytesIO(), [], awaited).dump(value)
    except Exception as refused:
        return refused
    return None


def refusal(
    spec: Spec, args: Sequence[Any], kwargs: Mapping[str, Any], error: Exception, awaited: frozenset[int] = frozenset()
) -> NotPicklable:
    """Find out what of a call made pickling raise *error*, and say so."""
    refused = problem(spec.fn, awaited)
    if refused is not None:
        where = "Define it at the top level of a module"
        return NotPicklable(f"The function of task {spec.name!r}", reason(refused), f"{where}, {THREADS}.")
    for name, value in by_name(spec, tuple(args), dict(kwargs)).items():
        refused = problem(value, awaited)
        if refused is not None:
            what = f"Argument {name}={short(value, 80)} of task {spec.name!r}"
            remedy = f"Hand over data, or what is defined at the top level of a module, {THREADS}."
            return NotPicklable(what, reason(refused), remedy)
    return NotPicklable(f"The arguments of task {spec.name!r}", reason(error), f"Hand over data, {THREADS}.")


def by_name(spec: Spec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Give arguments by the names that they are spoken of by, the instance of a method included."""
    instances = {"self": args[0]} if spec.bound and args else {}
    try:
        return {**instances, **named(spec, args, kwargs)}
    except (ParameterBindError, ValueError):
        return {**{f"number {place}": value for place, value in enumerate(args, 1)}, **kwargs}


def reason(error: Exception) -> str:
    """Give in one line why pickling failed."""
    text = describe(error).removeprefix("PicklingError: ").partition("\n")[0].rstrip(".")
    return text if len(text) <= 300 else f"{text[:300]}…"


def filling(run: Run, parcel: Parcel, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """
    Give what goes into the blanks of *parcel*, a call of *run* that was resolved to *args* and *kwargs*.

    Raises:
        NotPicklable: The result of an upstream run cannot be.
    """
    if not parcel.blanks:
        return b""
    try:
        return pack([resolved(run, value) for value in parcel.blanks])
    except Exception as error:
        raise refusal(run.spec, args, kwargs, error) from None


# -- in the other process ----------------------------------------------------------------------------------------------


def unpacked_call(
    function: Reference | bytes, data: bytes, blanks: bytes
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """
    Give function and arguments of a packed call.

    Raises:
        Exception: It cannot be made again here, for whatever reason.
    """
    # Bytes are from the process that started this one, here and below.
    fn: Any = pickle.loads(function) if isinstance(function, bytes) else unwrapped(*function)  # noqa: S301
    _filling.append(pickle.loads(blanks) if blanks else [])  # noqa: S301
    try:
        args, kwargs = pickle.loads(data)  # noqa: S301
    finally:
        _filling.pop()
    return fn, args, kwargs


_filling: Final[list[list[Any]]] = []


def filled(place: int) -> Any:
    """Give what belongs in a blank of the call that is being unpacked."""
    return _filling[-1][place]


def itself(value: Any) -> Any:
    """Give *value*."""
    return value


# -- functions ---------------------------------------------------------------------------------------------------------

NOWHERE: Final = "is defined in a session or a package's __main__, which other processes cannot import"


@functools.lru_cache(maxsize=1_000)
def reference(function: FunctionType) -> Reference:
    """
    Give where other processes find *function*: module, path in it, and how many wrappers lie between that and itself.

    Raises:
        PicklingError: They do not.
    """
    found: Any = by_path(function.__module__, function.__qualname__)
    steps = 0
    while found is not None and found is not function:
        found = getattr(found, "__wrapped__", None)
        steps += 1
    if found is None or (function.__module__ == "__main__" and not main_is_importable()):
        raise pickle.PicklingError(lost(function))
    return function.__module__, function.__qualname__, steps


def by_path(module: str, path: str) -> Any:
    """Give what stands at *path* in a *module* that is loaded; None where nothing does."""
    found: Any = sys.modules.get(module)
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def lost(function: FunctionType) -> str:
    """Say why other processes cannot find *function*."""
    name = function.__qualname__
    if name.endswith("<lambda>"):
        return "it is a lambda, which other processes cannot find by name"
    if "<locals>" in name:
        return f"{name} is defined inside a function, where other processes cannot find it"
    if function.__module__ == "__main__" and not main_is_importable():
        return f"{name} {NOWHERE}"
    return f"{function.__module__}.{name} is not it, or not there"


@functools.lru_cache(maxsize=1_000)
def unwrapped(module: str, path: str, steps: int) -> Any:
    """Give the function that lies *steps* wrappers below what stands at *path* in *module*."""
    __import__(module)
    found: Any = sys.modules[module]
    for name in path.split("."):
        found = getattr(found, name)
    for _ in range(steps):
        found = found.__wrapped__
    return found


def main_is_importable() -> bool:
    """Tell whether other processes can import what this one was started with, as multiprocessing has them do."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        name = str(spec.name)
        return name != "__main__" and not name.endswith(".__main__")
    path = getattr(main, "__file__", None)
    return path is not None and os.path.isfile(path)


# -- exceptions --------------------------------------------------------------------------------------------------------


class RemoteTraceback(Exception):
    """What a traceback in another process looked like. The cause of the exceptions that come from there."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def of_exception(error: BaseException) -> tuple[Any, ...]:
    """
    Give how *error* is made again with its text, notes and cause.

    Its own way is tried out first: an exception whose __init__ takes other arguments than those it hands on would come
    back with another text, or not at all.
    """
    usual: Any = (rebuilt, (type(error), error.args), error.__dict__)
    try:
        own: Any = error.__reduce_ex__(PROTOCOL)
        parts: Any = (*own, None)[:3]
        again: Any = restored(parts[0], parts[1], parts[2], None)
        known = type(again).__qualname__ == type(error).__qualname__ and describe(again) == describe(error)
    except Exception:
        known, parts = False, usual
    return restored, (*(parts if known else usual), error.__cause__)


def restored(make: Callable[..., Any], args: tuple[Any, ...], state: Any, cause: BaseException | None) -> Any:
    """Make an exception again."""
    error = make(*args)
    if isinstance(state, dict):
        error.__dict__.update(state)
    elif state is not None:
        error.__setstate__(state)
    if cause is not None:
        error.__cause__ = cause
    return error


def packed_error(name: str, error: BaseException) -> bytes:
    """Pack what left a body, with its traceback as text; where that cannot be, what says so."""
    try:
        data = pack(error)
    except Exception as refused:
        what = f"What {name} raised, {short(describe(error), 200)},"
        data = pack(NotPicklable(what, reason(refused), "How it came about is shown as the cause."))
    return pack((data, shown(error)))


def shown(error: BaseException) -> str:
    """Give the traceback of *error* as text, the user's frames first, even if it cannot be formatted."""
    try:
        return "".join(traceback.format_exception(type(error), error, own_frames(error))).rstrip()
    except Exception as broken:
        return f"<its traceback cannot be shown: {type(broken).__name__}>"


def unpacked_error(name: str, data: bytes) -> BaseException:
    """Give what left a body in another process: caused, in the end, by its traceback there."""
    packed, text = pickle.loads(data)  # noqa: S301 - written by a process that this one started
    try:
        error: BaseException = pickle.loads(packed)  # noqa: S301 - see above
    except Exception as refused:
        remedy = "It cannot be made again here; how it came about is shown as the cause."
        error = NotPicklable(f"What {name} raised", reason(refused), remedy)
    last, seen = error, {id(error)}
    while last.__cause__ is not None and id(last.__cause__) not in seen:
        last = last.__cause__
        seen.add(id(last))
    if last.__cause__ is None:
        last.__cause__ = RemoteTraceback(text)
    return error
