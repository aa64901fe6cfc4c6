"""
Coercion: flow parameters made to fit their annotations. Tasks' parameters never come here.

Lax for standard types, through cattrs; pydantic models by their own validator; everything else is left alone. A value
that already is what its annotation says is handed on as the same object, and cattrs is imported only when one is not.
"""

from __future__ import annotations

import collections
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Collection, Sequence, Set
from typing import Any, Final

from headrace._engine.converter import converter
from headrace._engine.fitting import UNIONS, fits
from headrace._engine.spec import Spec
from headrace.errors import ParameterTypeError, short

GROUPS: tuple[type[Any], ...] = (BaseExceptionGroup,)
CONTAINERS: Final = frozenset({list, tuple, set, frozenset, collections.deque, Sequence, Collection, Set})
UNTOUCHED: Final = (Any, inspect.Parameter.empty, object, None)


def coerced(spec: Spec, parameters: dict[str, Any]) -> dict[str, Any]:
    """
    Give *parameters* made to fit the annotations of *spec*'s function.

    Raises:
        ParameterTypeError: Some do not fit; names each with the reason.
    """
    problems: list[tuple[str, str]] = []
    result: dict[str, Any] = {}
    if spec.kinds is None:
        spec.kinds = kinds_of(spec.fn)
    kinds = spec.kinds
    signature = spec.signature.parameters
    for name, value in parameters.items():
        kind = gathered(kinds.get(name, Any), signature[name])
        try:
            result[name] = fit(value, kind)
        except Exception as error:
            problems.append((name, reason(error, value, kind)))
    if problems:
        raise ParameterTypeError(spec.name, problems)
    return result


def gathered(kind: Any, parameter: inspect.Parameter) -> Any:
    """Give what *parameter* gathers when its annotation says *kind*: *args a tuple of it, **kwargs a dict."""
    if parameter.kind is parameter.VAR_POSITIONAL:
        return types.GenericAlias(tuple, (kind, ...))
    return types.GenericAlias(dict, (str, kind)) if parameter.kind is parameter.VAR_KEYWORD else kind


def fit(value: Any, kind: Any) -> Any:
    """Give *value* as *kind*; the same object where it already is one."""
    if kind in UNTOUCHED or unknown(kind) or fits(value, kind):
        return value
    if isinstance(value, str | bytes) and is_container(kind):
        # To cattrs a text is a list of its letters.
        raise ValueError("it is text, not a container of values")
    return converter().structure(value, kind)


def is_container(kind: Any) -> bool:
    """Tell whether *kind* is a list, tuple or set of something, or such a one or None."""
    if typing.get_origin(kind) in UNIONS:
        return all(part is type(None) or is_container(part) for part in typing.get_args(kind))
    return (typing.get_origin(kind) or kind) in CONTAINERS


def unknown(kind: Any) -> bool:
    """Tell whether *kind* says nothing that could be checked: type variables, names that could not be resolved."""
    return isinstance(kind, str | typing.TypeVar | typing.ForwardRef)


def kinds_of(fn: Callable[..., Any]) -> dict[str, Any]:
    """Give the annotations of *fn*'s parameters, resolved as far as they can be."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    target: Any = fn if hasattr(fn, "__annotations__") else getattr(type(fn), "__call__", fn)  # noqa: B004
    target = inspect.unwrap(target)
    try:
        return typing.get_type_hints(target, include_extras=True)
    except Exception:
        # One name that cannot be resolved (imported for checkers only) must not leave the others unchecked.
        space = getattr(target, "__globals__", {})
        found: dict[str, Any] = {}
        for name, kind in getattr(target, "__annotations__", {}).items():
            try:
                found[name] = eval(kind, space) if isinstance(kind, str) else kind  # noqa: S307 - the user's own annotation
            except Exception:
                found[name] = Any
        return found


def reason(error: Exception, value: Any, kind: Any) -> str:
    """Say in one line why *value* is no *kind*."""
    wanted = kind.__name__ if isinstance(kind, type) and typing.get_origin(kind) is None else str(kind)
    details = leaf(error)
    if "pydantic_core" in sys.modules and type(details).__name__ == "ValidationError" and hasattr(details, "errors"):
        said = (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in details.errors())
        return "; ".join(line.removeprefix(": ") for line in said)
    return f"{short(value)} is not a valid {wanted}: {details}"


def leaf(error: BaseException) -> Any:
    """Give the first ordinary exception inside nested groups."""
    found: Any = error
    while isinstance(found, GROUPS):
        found = found.exceptions[0]
    return found
