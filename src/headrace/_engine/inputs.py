"""Inputs: the arguments of a call, as the body gets them and as the record keeps them. Coercion lives next door."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, cast

from headrace._engine.spec import Spec
from headrace.errors import ParameterBindError, short

HERE: Final = __file__.rpartition("_engine")[0]
RECORDED_TEXT: Final = 1_000
RECORDED_ITEMS: Final = 100
RECORDED_TOTAL: Final = 20_000
INT64: Final = 1 << 63

# Held as `type[Any]`, so that a checker goes on knowing nothing of the user's values once they are told apart.
MAPPINGS: tuple[type[Any], ...] = (Mapping,)
CONTAINERS: tuple[type[Any], ...] = (list, tuple, set, frozenset)


def bind(spec: Spec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """
    Give the arguments by parameter name, defaults included.

    Raises:
        ParameterBindError: They do not fit the signature.
    """
    plain = spec.plain
    if plain is not None and len(args) <= len(plain):
        if not kwargs and len(args) == len(plain):
            return dict(zip(plain, args, strict=False))
        # What inspect does in 8 us, in 1, for functions and calls of the usual kind; that one says what does not fit.
        given = dict(zip(plain, args, strict=False))
        if kwargs.keys().isdisjoint(given) and kwargs.keys() <= plain.keys():
            given.update(kwargs)
            if spec.required <= given.keys():
                return {**plain, **given}
    try:
        bound = spec.signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ParameterBindError(spec.kind, spec.name, str(error), str(spec.signature)) from None
    bound.apply_defaults()
    return bound.arguments


def spread(spec: Spec, parameters: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give *parameters* back as positional and keyword arguments."""
    bound = inspect.BoundArguments(spec.signature, dict(parameters))
    return bound.args, bound.kwargs


def named(spec: Spec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Give the arguments by the names that templates and hooks know: without self, with the items of **kwargs."""
    parameters = bind(spec, args, kwargs)
    for index, parameter in enumerate(spec.signature.parameters.values()):
        if index < spec.bound:
            parameters.pop(parameter.name, None)
        elif parameter.kind is parameter.VAR_KEYWORD:
            parameters |= parameters.pop(parameter.name)
    return parameters


def explained(spec: Spec, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Exception:
    """
    Give a TypeError that came of arguments which do not fit as the ParameterBindError it is; others as they are.

    Looked at after the fact, because binding each call first would cost 3 us. Only a TypeError whose traceback ends
    in our own code can be one: the body was never entered. A StopIteration of a sync body is unwrapped, too.
    """
    if type(error) is RuntimeError and not spec.is_async:
        return stop_within(error) or error
    if type(error) is not TypeError or entered(error.__traceback__):
        return error
    try:
        bind(spec, args, kwargs)
    except ParameterBindError as misfit:
        return misfit.with_traceback(None)
    return error


def stop_within(error: RuntimeError) -> StopIteration | None:
    """Give the StopIteration of which Python made *error* because it left a coroutine, as every life is one."""
    stop = error.__cause__
    return stop if isinstance(stop, StopIteration) and error.args == ("coroutine raised StopIteration",) else None


def entered(trace: TracebackType | None) -> bool:
    """Tell whether *trace* reaches code that is not ours."""
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(HERE):
            return True
        trace = trace.tb_next
    return False


def bare(error: BaseException) -> None:
    """Take our frames off *error*'s traceback; with_traceback works on exceptions that refuse to be assigned to."""
    error.with_traceback(own_frames(error))


def own_frames(error: BaseException) -> TracebackType | None:
    """Give the traceback of *error* from the first frame that is the user's on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(HERE):
        trace = trace.tb_next
    return trace


# -- the record ---------------------------------------------------------------------------------------------


def recorded(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """
    Give *parameters* as the record keeps them: values of JSON, bounded in size.

    Texts beyond 1,000 characters and containers beyond 100 items are cut and say so; what has no JSON form is its repr.
    """
    budget = [RECORDED_TOTAL]
    return {name: safely(value, budget) for name, value in parameters.items()}


def safely(value: Any, budget: list[int]) -> Any:
    """Give the preview of *value*; its repr where looking into it raises: a closed shelf, a lazy mapping."""
    try:
        return preview(value, budget)
    except Exception:
        return bounded(short(value, RECORDED_TEXT), budget)


def preview(value: Any, budget: list[int], depth: int = 0) -> Any:
    """Give a bounded JSON form of *value*, taking what it costs from *budget*."""
    if value is None or isinstance(value, bool):
        return value
    if budget[0] <= 0 or depth > 6:
        return "…"
    kind = cast("Any", type(value))
    if isinstance(value, enum.Enum):
        return preview(value.value, budget, depth + 1)
    if kind is int:
        budget[0] -= 8
        if -INT64 <= value < INT64:
            return value
        return bounded(str(value) if abs(value) < 10**1000 else "<a huge int>", budget)
    if kind is float:
        budget[0] -= 8
        return value
    if isinstance(value, str):
        return bounded(str(value), budget)
    if isinstance(value, MAPPINGS):
        kept = {str(key)[:200]: preview(item, budget, depth + 1) for key, item in first(value.items())}
        if len(value) > RECORDED_ITEMS:
            kept["…"] = f"cut: {len(value):,} items"
        return kept
    if isinstance(value, CONTAINERS):
        items = [preview(item, budget, depth + 1) for item in first(value)]
        return [*items, f"… (cut: {len(value):,} items)"] if len(value) > RECORDED_ITEMS else items
    fields = getattr(kind, "__attrs_attrs__", None) or getattr(kind, "__dataclass_fields__", {}).values()
    if fields:
        return {one.name: preview(getattr(value, one.name, None), budget, depth + 1) for one in fields if one.repr}
    return bounded(as_text(value), budget)


def as_text(value: Any) -> str:
    """Give paths, moments, UUIDs and decimals as people write them, everything else as its repr."""
    kind = cast("Any", type(value))
    written = kind.__module__ in {"uuid", "decimal", "pathlib", "pathlib._local"}
    if not (written or (kind.__module__ == "datetime" and hasattr(value, "isoformat"))):
        return short(value, RECORDED_TEXT)
    return str(value) if written else str(value.isoformat())


def first(items: Iterable[Any]) -> Iterable[Any]:
    """Give as many of *items* as the record keeps."""
    return (item for item, _ in zip(items, range(RECORDED_ITEMS), strict=False))


def bounded(text: str, budget: list[int]) -> str:
    """Give *text*, cut with a note of its length where it is long."""
    kept = text[:RECORDED_TEXT]
    budget[0] -= len(kept)
    kept = kept.encode(errors="backslashreplace").decode()
    return kept if len(text) <= RECORDED_TEXT else f"{kept}… (cut: {len(text):,} characters)"
