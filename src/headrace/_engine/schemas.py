"""
Schemas: what a type wants, as JSON Schema, for people and programs that fill it and do not have the type.

Says what is sure: of a type that is not known here it says nothing, and then everything fits.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import sys
import typing
from collections.abc import Collection, Mapping, Sequence, Set
from typing import Annotated, Any, Final, Literal, NotRequired, Required

import attrs

from headrace._engine.converter import is_pydantic, is_pydantics
from headrace._engine.fitting import UNIONS
from headrace._model.signals import as_data
from headrace.errors import OptionTypeError, short
from headrace.errors.signals import SignalError

Schema = dict[str, Any]
DESCRIPTION: Final = "__input_description__"
MISSING: Final = object()
UNTOLD: Final = object()
PLAIN: Final[Mapping[Any, Schema]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bytes: {"type": "string"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    dt.date: {"type": "string", "format": "date"},
    dt.time: {"type": "string", "format": "time"},
    dt.timedelta: {"type": "number"},
    dict: {"type": "object"},
    list: {"type": "array"},
    tuple: {"type": "array"},
    set: {"type": "array"},
    frozenset: {"type": "array"},
}
TYPING: Final = frozenset({"typing", "typing_extensions"})  # whose forms, type variables and aliases are no classes
ARRAYS: Final = frozenset({list, tuple, set, frozenset, Sequence, Collection, Set})


def refuse_no_type(kind: Any, name: str) -> None:
    """
    See that *kind*, given as *name*, is a type, as annotations are.

    Raises:
        OptionTypeError: It is none, such as an instance of one.
    """
    if kind is None or isinstance(kind, type) or typing.get_origin(kind) is not None:
        return
    maker: Any = kind.__class__
    if maker.__module__ in TYPING:
        return
    step = f"the class, {maker.__name__}"
    if maker.__module__ == "builtins":
        step = "a type, such as int, or a class with fields"
    elif hasattr(maker, "with_initial_data"):
        step += f"; {maker.__name__}.with_initial_data(...) for defaults"
    raise OptionTypeError(f"{name} must be a type, not {short(kind)}. Give {step}.")


def schema_of(kind: Any, around: tuple[Any, ...] = ()) -> Schema:
    """Give what *kind* wants, which stands within the classes *around*: what is within itself is not told again."""
    if is_pydantic(kind):
        found: Schema = kind.model_json_schema()
        return described(kind, found)
    if is_pydantics(kind):
        judged: Schema = sys.modules["pydantic"].TypeAdapter(kind).json_schema()
        return judged
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in {Annotated, NotRequired, Required}:
        return schema_of(parts[0], around)
    if origin in UNIONS:
        return {"anyOf": [schema_of(part, around) for part in parts]}
    if origin is Literal:
        return {"enum": list(parts)}
    if origin in ARRAYS:
        alike = len(parts) == 1 or (len(parts) == 2 and parts[1] is ...)
        return {"type": "array", **({"items": schema_of(parts[0], around)} if alike else {})}
    if origin in {dict, Mapping}:
        return {"type": "object", "additionalProperties": schema_of(parts[1], around)}
    if hasattr(kind, "__supertype__"):
        return schema_of(kind.__supertype__, around)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return {"enum": [one.value for one in kind]}
    return of_class(kind, around)


def of_class(kind: Any, around: tuple[Any, ...]) -> Schema:
    """Give the schema of *kind*, a class or what nothing is known of."""
    fields = fields_of(kind)
    if fields is None:
        return dict(PLAIN.get(kind, {})) if kind is None or isinstance(kind, type) else {}
    return {"type": "object"} if kind in around else record(kind, fields, (*around, kind))


def record(kind: Any, fields: Mapping[str, Any], around: tuple[Any, ...]) -> Schema:
    """Give the schema of the class *kind*, whose *fields* have these defaults."""
    try:
        hints = typing.get_type_hints(kind, include_extras=True)
    except Exception:  # a name that is not to be found: nothing is said of the types
        hints = {}
    properties = {name: schema_of(hints.get(name, Any), around) for name in fields}
    for name, default in fields.items():
        if default is not MISSING and default is not UNTOLD:
            properties[name] |= told(default)
    optional = {name for name, hint in hints.items() if typing.get_origin(hint) is NotRequired}
    required = [name for name, default in fields.items() if default is MISSING and name not in optional]
    return described(kind, {"type": "object", "properties": properties, "required": required})


def described(kind: Any, schema: Schema) -> Schema:
    """Give *schema* with what was said of *kind* for people."""
    said = getattr(kind, DESCRIPTION, None)
    return schema if said is None else {**schema, "description": said}


def fields_of(kind: Any) -> dict[str, Any] | None:
    """
    Give the fields of the class *kind*, each with its default, and MISSING where it has to be given; None: it has none.

    UNTOLD stands for a default that a function makes, and for a field that may be left out.
    """
    one: Any = kind if isinstance(kind, type) else None
    if hasattr(one, "__attrs_attrs__"):
        return {field.name: default_of(field, attrs.NOTHING) for field in one.__attrs_attrs__ if field.init}
    if hasattr(one, "__dataclass_fields__"):
        return {field.name: default_of(field, dataclasses.MISSING) for field in dataclasses.fields(one) if field.init}
    if hasattr(one, "_field_defaults"):
        return {name: one._field_defaults.get(name, MISSING) for name in one._fields}
    if hasattr(one, "__required_keys__"):
        return {name: MISSING if name in one.__required_keys__ else UNTOLD for name in one.__annotations__}
    return None


def default_of(field: Any, nothing: object) -> Any:
    """Give the default of *field*, of a class that says *nothing* where there is none."""
    if getattr(field, "default_factory", nothing) is not nothing or hasattr(field.default, "takes_self"):
        return UNTOLD
    return MISSING if field.default is nothing else field.default


def told(default: Any) -> Schema:
    """Give what a schema says of a *default*; nothing of one that has no form in JSON."""
    try:
        return {"default": json.loads(as_data("default", default))}
    except SignalError:
        return {}
