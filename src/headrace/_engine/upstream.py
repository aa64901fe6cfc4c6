"""
Upstream: the futures and states among a call's arguments, and in what a body returns. Finds and replaces; never waits.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from headrace._engine.promises import Promise, Promises, joined
from headrace._engine.runs import Run
from headrace._model.annotations import Annotation, allow_failure, forgiven, quote
from headrace._model.states import State, StateType, exception_of, unsuccessful
from headrace.errors import OptionTypeError, UpstreamTaskError, WaitCircleError, short

# Types that hold nothing of ours and are not looked into; everything else that is a container is.
FLAT: Final[frozenset[type[Any]]] = frozenset({int, float, str, bytes, bool, type(None), complex, bytearray})
DEEPEST: Final = 8
Shape = Literal["leaf", "mapping", "sequence", "named", "record", "opaque"]

# Held as `type[Any]`, so that a checker goes on knowing nothing of the user's values once they are told apart.
LEAVES: tuple[type[Any], ...] = (State, Promise, Promises, Annotation)
STATES: tuple[type[Any], ...] = (State,)
ONE: tuple[type[Any], ...] = (State, Promise)
ITERABLES: tuple[type[Any], ...] = (Iterable,)
TUPLES: tuple[type[Any], ...] = (tuple,)
ANNOTATIONS: tuple[type[Any], ...] = (Annotation,)
FORGIVING: tuple[type[Any], ...] = (allow_failure,)
QUOTED: tuple[type[Any], ...] = (quote,)


@functools.lru_cache(maxsize=1_000)
def shape(kind: Any) -> Shape:
    """Tell how values of the type *kind* are looked into."""
    if issubclass(kind, LEAVES):
        return "leaf"
    if issubclass(kind, dict):
        return "mapping"
    if kind in {list, tuple, set, frozenset}:
        return "sequence"
    if issubclass(kind, TUPLES) and hasattr(kind, "_fields") and hasattr(kind, "_make"):
        return "named"
    return "record" if fields(kind) else "opaque"


@functools.lru_cache(maxsize=1_000)
def fields(kind: Any) -> tuple[str, ...]:
    """Give the names of the fields of an attrs class, a dataclass or a pydantic model; of any other, none."""
    attributes = getattr(kind, "__attrs_attrs__", None)
    if attributes is not None:
        return tuple(one.name for one in attributes)
    return tuple(getattr(kind, "__dataclass_fields__", None) or getattr(kind, "__pydantic_fields__", None) or ())


def plain(kinds: Iterable[Any]) -> bool:
    """Tell whether no value of these types can be, or hold, anything of ours."""
    return all(kind in FLAT or shape(kind) == "opaque" for kind in set(kinds))


def parts(value: Any, form: Shape) -> Iterable[Any]:
    """Give what the container *value* holds; nothing where none of it could be, or hold, anything of ours."""
    if form == "record":
        return [getattr(value, name, None) for name in fields(value.__class__)]
    held: Iterable[Any] = value.values() if form == "mapping" else value
    return () if plain(map(type, held)) else held


def found(value: Any, depth: int = 0) -> Iterator[Promise]:
    """Give the promises in *value*, in order; what is quoted is not looked into."""
    kind: Any = value.__class__
    if kind in FLAT or depth > DEEPEST:
        return
    form = shape(kind)
    if form == "opaque" or kind is quote:
        return
    if form != "leaf":
        for part in parts(value, form):
            yield from found(part, depth + 1)
    elif isinstance(value, Promise):
        yield value
    elif isinstance(value, Promises):
        yield from value.promises()
    elif isinstance(value, ANNOTATIONS):
        yield from found(value.value, depth + 1)


def replaced(value: Any, instead: Callable[[Any], Any], depth: int = 0) -> Any:
    """
    Give *value* with each future, state and annotation in it replaced; itself where there are none.

    Looks into lists, tuples, sets, dicts, attrs classes, dataclasses and pydantic models, but only where they hold
    something that could be or hold one: the types of a list's items are gathered in C first, so a million numbers cost
    some milliseconds and are not copied.
    """
    kind: Any = value.__class__
    if kind in FLAT or depth > DEEPEST:
        return value
    form = shape(kind)
    if form == "opaque":
        return value
    if form == "leaf":
        return instead(value)
    old = list(parts(value, form))
    new = [replaced(part, instead, depth + 1) for part in old]
    if all(one is other for one, other in zip(new, old, strict=True)):
        return value
    return rebuilt(value, form, new)


def rebuilt(value: Any, form: Shape, new: list[Any]) -> Any:
    """Give the container *value* with *new* parts."""
    kind: Any = value.__class__
    if form == "sequence":
        return kind(new)
    if form == "named":
        return kind._make(new)
    if form == "mapping":
        made = copy.copy(value)
        for key, part in zip(value, new, strict=True):
            made[key] = part
        return made
    changed = dict(zip(fields(kind), new, strict=True))
    if hasattr(kind, "__pydantic_fields__"):
        return value.model_copy(update=changed)
    made = copy.copy(value)
    for name, part in changed.items():
        object.__setattr__(made, name, part)
    return made


# -- before a body runs ------------------------------------------------------------------------------------------------


def flat(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Tell, fast, whether the arguments are plain values."""
    for value in args:
        if value.__class__ not in FLAT:
            return False
    return all(value.__class__ in FLAT for value in kwargs.values()) if kwargs else True


def unfinished(args: Sequence[Any], kwargs: Mapping[str, Any], wait_for: Any) -> list[Promise]:
    """Give the promises that a call has to wait for: those in its arguments and in *wait_for* that have not ended."""
    if wait_for is None and flat(args, kwargs):
        return []
    given = [*args, *kwargs.values()]
    if wait_for is not None:
        given += listed(wait_for)
    return [promise for value in given for promise in seen(value) if not promise.opened]


def seen(value: Any) -> list[Promise]:
    """Give the promises in *value*; none where it raises on being looked into: that is its run's failure, later."""
    try:
        return list(found(value))
    except Exception:
        return []


def listed(wait_for: Any) -> list[Any]:
    """
    Give what *wait_for* names; of a dict its values.

    Raises:
        OptionTypeError: It is no iterable.
    """
    if isinstance(wait_for, (*LEAVES, dict)):
        return [wait_for]
    if isinstance(wait_for, str | bytes) or not isinstance(wait_for, ITERABLES):
        raise OptionTypeError(f"wait_for takes a list of futures or states, not {short(wait_for)}.")
    return list(wait_for)


def check_upstream(run: Run, wait_for: Any) -> None:
    """
    See that every run in *wait_for* has completed; values that stand for no run count as there.

    Raises:
        UpstreamTaskError: One has not, and is not forgiven.
        OptionTypeError: *wait_for* is no iterable.
    """
    for item in listed(wait_for):
        replaced(item, lambda leaf: resolved(run, leaf))


def resolve_arguments(
    run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give the arguments with the futures and states in them replaced by their results."""
    if flat(args, kwargs):
        return args, kwargs
    return tuple(resolved(run, value) for value in args), {name: resolved(run, value) for name, value in kwargs.items()}


def resolved(run: Run, value: Any, forgiving: bool = False) -> Any:
    """
    Give *value*, an argument of *run*, with the futures and states in it replaced by their results.

    Raises:
        UpstreamTaskError: One did not complete, and is not forgiven; caused by its exception.
        MissingResult: It did, but its value was not kept.
        WaitCircleError: One cannot end before *run* has.
    """

    # It does not call itself, here and below: a function that its own closure holds is garbage for the collector.
    def instead(leaf: Any) -> Any:
        if isinstance(leaf, Promise):
            return promised(run, leaf, forgiving)
        if isinstance(leaf, STATES):
            return upstream_value(run, leaf, forgiving)
        if isinstance(leaf, Promises):
            return [promised(run, promise, forgiving) for promise in leaf.promises()]
        if isinstance(leaf, QUOTED):
            return leaf.value
        return resolved(run, leaf.value, forgiving or isinstance(leaf, FORGIVING))

    return replaced(value, instead)


def promised(run: Run, promise: Promise, forgiving: bool) -> Any:
    """Give the value of *promise*, an argument of *run*; of one that failed its exception, where that is forgiven."""
    if not promise.opened:
        raise WaitCircleError(run.name)  # else it would have been waited for
    promise.looked = True
    return promise.value if promise.final is None else upstream_value(run, promise.final, forgiving)


def upstream_value(run: Run, state: State[Any], forgiving: bool) -> Any:
    """Give the value of *state*, which *run* was handed as an argument; of one that failed its exception, forgiven."""
    if state.is_completed():
        return state.result()
    never_begun = isinstance(state.data, UpstreamTaskError)
    if forgiving and (state.type is StateType.FAILED or never_begun):
        return forgiven(exception_of(state))
    raise refusal(run, state)


def refusal(run: Run, state: State[Any]) -> UpstreamTaskError:
    """Make the error of *run*, which needs *state* to be a completed one."""
    error = UpstreamTaskError(run.label, run.id, state.task_run_id or state.flow_run_id or state.name, state)
    cause = exception_of(state) if unsuccessful(state) else state.data
    error.__cause__ = cause if isinstance(cause, BaseException) else None
    return error


# -- after it ----------------------------------------------------------------------------------------------------------


def results(value: Any, promises: Sequence[Promise]) -> Any:
    """
    Give *value* with the futures in it replaced by their results.

    Raises:
        Exception: That of the one which failed.
        ExceptionGroup: Several did.
    """
    return filled(
        value, dict(zip(map(id, promises), joined(promises, "runs whose futures were returned"), strict=True))
    )


def filled(value: Any, given: Mapping[int, Any]) -> Any:
    """Give *value* with what is *given* for the futures in it, by their identity."""

    def instead(leaf: Any) -> Any:
        if isinstance(leaf, Promise):
            return given[id(leaf)]
        if isinstance(leaf, Promises):
            return [given[id(promise)] for promise in leaf.promises()]
        if isinstance(leaf, ANNOTATIONS) and not isinstance(leaf, QUOTED):
            return filled(leaf.value, given)
        return leaf

    return replaced(value, instead)


def states(value: Any) -> Any:
    """Give *value* with the futures in it, all of which have ended, replaced by their final states."""

    def instead(leaf: Any) -> Any:
        if isinstance(leaf, Promise):
            return leaf.state
        if isinstance(leaf, Promises):
            return [promise.state for promise in leaf.promises()]
        if isinstance(leaf, ANNOTATIONS) and not isinstance(leaf, QUOTED):
            return states(leaf.value)
        return leaf

    return replaced(value, instead)
