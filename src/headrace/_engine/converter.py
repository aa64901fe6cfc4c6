"""The converter: cattrs with our rules for plain types. Loads cattrs only when a parameter first needs it."""

from __future__ import annotations

import datetime as dt
import functools
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

if TYPE_CHECKING:
    from cattrs import Converter

MAPPINGS: tuple[type[Any], ...] = (Mapping,)
PYDANTICS = frozenset(["pydantic", "annotated_types"])
OCTETS: tuple[type[Any], ...] = (bytes, bytearray, memoryview)
STANDARD = frozenset(
    ["builtins", "collections", "collections.abc", "datetime", "decimal", "enum", "pathlib", "typing", "uuid"]
)


@functools.cache
def converter() -> Converter:
    """Make the converter, once."""
    import decimal  # noqa: PLC0415 - with the next three 10 ms to import, and most flows need none of them
    import pathlib  # noqa: PLC0415 - see above
    import uuid  # noqa: PLC0415 - see above

    from cattrs import Converter  # noqa: PLC0415 - 100 ms to import, and most flows need none of it

    # What cattrs has no rule for (callables, iterators, type variables) is left as it is, also inside of lists.
    made = Converter(structure_fallback_factory=lambda _: untouched)
    made.register_structure_hook(bool, boolean)
    made.register_structure_hook(int, integer)
    made.register_structure_hook(float, number)
    made.register_structure_hook(str, string)
    made.register_structure_hook(bytes, octets)
    for kind in (dt.datetime, dt.date, dt.time):
        made.register_structure_hook(kind, from_iso)
    made.register_structure_hook(dt.timedelta, duration)
    for named in (uuid.UUID, decimal.Decimal, pathlib.Path):
        made.register_structure_hook(named, from_text)
    made.register_structure_hook_factory(is_record, functools.partial(kept_or_made, made))
    made.register_structure_hook_func(is_sequence, lambda value, kind: listed(made, value, kind))
    made.register_structure_hook_func(is_named_tuple, lambda value, kind: named_tuple(made, value, kind))
    made.register_structure_hook_func(is_pydantic, validated)
    made.register_structure_hook_func(is_pydantics, judged)
    made.register_structure_hook_func(is_opaque, instance)
    made.register_structure_hook_func(is_mixed_union, lambda value, kind: first_that_fits(made, value, kind))
    return made


def boolean(value: Any, _: Any) -> bool:
    """Take True and False, 1 and 0, and the words people write for them."""
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    if isinstance(value, str):
        word = value.strip().lower()
        if word in {"true", "yes", "on", "1", "t", "y"}:
            return True
        if word in {"false", "no", "off", "0", "f", "n"}:
            return False
    raise ValueError("write true or false")


def integer(value: Any, _: Any) -> int:
    """Take whole numbers, also as text or as a float without a fraction."""
    if isinstance(value, float) and not value.is_integer():
        raise ValueError("it is no whole number")
    if isinstance(value, int | float | str) or hasattr(value, "__index__"):
        return int(value)
    raise ValueError("write a whole number")


def number(value: Any, _: Any) -> float:
    """Take numbers, also as text."""
    if isinstance(value, int | float | str) or hasattr(value, "__float__"):
        return float(value)
    raise ValueError("write a number")


def string(value: Any, _: Any) -> str:
    """Take text; a number is not made into one."""
    if isinstance(value, str):
        return value
    raise ValueError(f"it is {type(value).__name__}, not text")


def octets(value: Any, _: Any) -> bytes:
    """Take bytes, or text as UTF-8."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, OCTETS):
        return bytes(value)
    raise ValueError(f"it is {type(value).__name__}, not bytes")


def from_iso(value: Any, kind: Any) -> Any:
    """Take a moment, date or time, also in ISO 8601."""
    if kind is dt.date and isinstance(value, dt.datetime):
        return value.date()
    if isinstance(value, kind):
        return value
    if kind is dt.datetime and isinstance(value, int | float) and not isinstance(value, bool):
        return dt.datetime.fromtimestamp(value, dt.UTC)
    if isinstance(value, str):
        return kind.fromisoformat(value)
    raise ValueError(f"write it as ISO 8601 text, such as {kind.max.isoformat()[:10]}")


def duration(value: Any, _: Any) -> dt.timedelta:
    """Take a duration, also as a number of seconds."""
    if isinstance(value, dt.timedelta):
        return value
    return dt.timedelta(seconds=number(value, float))


def from_text(value: Any, kind: Any) -> Any:
    """Take a UUID, a Decimal or a Path, also as text."""
    return value if isinstance(value, kind) else kind(str(value) if isinstance(value, int | float) else value)


def untouched(value: Any, _: Any) -> Any:
    """Leave a value alone."""
    return value


def is_record(kind: Any) -> bool:
    """Tell whether *kind* is an attrs class or a dataclass."""
    return isinstance(kind, type) and (hasattr(kind, "__attrs_attrs__") or hasattr(kind, "__dataclass_fields__"))


def kept_or_made(made: Converter, kind: Any) -> Callable[[Any, Any], Any]:
    """Give what keeps instances of *kind* or a subclass, and makes one of a dict: cattrs itself knows dicts only."""
    from cattrs.gen import make_dict_structure_fn  # noqa: PLC0415 - see above

    make = make_dict_structure_fn(kind, made)

    def keep_or_make(value: Any, _: Any) -> Any:
        if isinstance(value, kind):
            return value
        if not isinstance(value, MAPPINGS):
            raise ValueError(f"it is {type(value).__name__}")
        return make(value, kind)

    return keep_or_make


def is_named_tuple(kind: Any) -> bool:
    """Tell whether *kind* is a class of tuples whose items have names."""
    return hasattr(kind, "_fields") and isinstance(kind, type) and issubclass(kind, tuple)


def named_tuple(made: Converter, value: Any, kind: Any) -> Any:
    """Make a *kind* of a dict or of items in order; cattrs itself passes over what the items are annotated with."""
    if isinstance(value, kind):
        return value
    kinds = typing.get_type_hints(kind)
    given = value if isinstance(value, MAPPINGS) else dict(zip(kind._fields, value, strict=False))
    if len(given) != len(value):
        raise ValueError(f"it has {len(value)} items, not {len(kind._fields)}")
    return kind(**{name: made.structure(item, kinds.get(name, Any)) for name, item in given.items()})


def is_pydantic(kind: Any) -> bool:
    """Tell whether *kind* is a pydantic model; asks for its validator, so pydantic is never imported here."""
    return isinstance(kind, type) and hasattr(kind, "model_validate") and hasattr(kind, "__pydantic_validator__")


def validated(value: Any, kind: Any) -> Any:
    """Let a pydantic model validate."""
    return kind.model_validate(value)


def is_pydantics(kind: Any) -> bool:
    """Tell whether *kind* says more than its type in pydantic's words: a type of its own, or a Field's bounds."""
    if typing.get_origin(kind) is Annotated:
        return any(type(mark).__module__.partition(".")[0] in PYDANTICS for mark in kind.__metadata__)
    return hasattr(kind, "__get_pydantic_core_schema__") and not is_pydantic(kind)


@functools.cache
def judge(kind: Any) -> Any:
    """Give pydantic's validator of *kind*; whoever wrote such a kind has imported pydantic."""
    return sys.modules["pydantic"].TypeAdapter(kind)


def judged(value: Any, kind: Any) -> Any:
    """Let pydantic judge *value*."""
    return judge(kind).validate_python(value)


def is_sequence(kind: Any) -> bool:
    """Tell whether *kind* is Sequence[...]: a list where it has to be made, as most are, and not cattrs's tuple."""
    return typing.get_origin(kind) is Sequence


def listed(made: Converter, value: Any, kind: Any) -> Any:
    """Make a list of what *kind* is a sequence of."""
    wanted: Any = types.GenericAlias(list, typing.get_args(kind))
    return made.structure(value, wanted)


def is_opaque(kind: Any) -> bool:
    """Tell whether *kind* is a class that only its own instances fit: no standard, attrs, dataclass or typed form."""
    if not isinstance(kind, type) or typing.get_origin(kind) is not None or is_pydantic(kind) or is_pydantics(kind):
        return False
    if kind.__module__ in STANDARD:
        return False
    known = ("__attrs_attrs__", "__dataclass_fields__", "__members__", "__supertype__", "_fields", "__required_keys__")
    return not any(hasattr(kind, mark) for mark in known)


def instance(value: Any, kind: Any) -> Any:
    """Take instances only."""
    if getattr(kind, "_is_protocol", False) or isinstance(value, kind):
        return value
    raise ValueError(f"it is {type(value).__name__}")


def is_mixed_union(kind: Any) -> bool:
    """Tell whether *kind* is a union of more than one type and None."""
    is_union = typing.get_origin(kind) in {typing.Union, types.UnionType}
    return is_union and len([part for part in typing.get_args(kind) if part is not type(None)]) > 1


def first_that_fits(made: Converter, value: Any, kind: Any) -> Any:
    """Take a value that already is one of the union's types as it is; else the first type it can be made into."""
    parts = typing.get_args(kind)
    if type(value) in parts:
        return value
    problems: list[str] = []
    for part in parts:
        if part is type(None):
            if value is None:
                return None
            continue
        try:
            return made.structure(value, part)
        except Exception as error:
            problems.append(str(error))
    raise ValueError("; ".join(problems))
