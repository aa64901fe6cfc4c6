"""
Schemas: whether plain data is what a JSON Schema says, field by field. Knows what our own schemas and pydantic's say.

As lax as flow parameters are: a text that reads as a number passes for one. What a schema says beyond types, required
fields and choices, such as a pattern, is left to the type that it was made of.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Final

from headrace.errors import nearest, short

Schema = Mapping[str, Any]
Problem = tuple[str, str]
WORDS: Final = frozenset({"true", "yes", "on", "1", "t", "y", "false", "no", "off", "0", "f", "n"})
TEXTS: tuple[type[Any], ...] = (str,)
NUMBERS: tuple[type[Any], ...] = (int, float)
OBJECTS: tuple[type[Any], ...] = (dict,)
ARRAYS: tuple[type[Any], ...] = (list,)


def misfits(schema: Schema, value: Any, whole: Schema | None = None) -> list[Problem]:
    """
    Give what of *value* is not as *schema* says: each with the field, "" for all of it, and a sentence.

    Args:
        whole: What *schema* is part of, in which its references are found; itself by default.
    """
    return list(looked(schema, value, "", schema if whole is None else whole))


def looked(schema: Schema, value: Any, where: str, whole: Schema) -> Generator[Problem]:
    """Look at *value*, which stands at the field *where*; references are found in *whole*."""
    schema = resolved(schema, whole)
    choices = alternatives(schema)
    if choices:
        if not any(not list(looked(one, value, where, whole)) for one in choices):
            yield where, f"{short(value)} is not {worded(schema, whole)}."
        return
    if "enum" in schema and value not in schema["enum"]:
        yield where, f"{short(value)} is none of {', '.join(map(short, schema['enum']))}."
        return
    kinds = types_of(schema)
    if kinds and not any(IS[kind](value) for kind in kinds):
        yield where, f"{short(value)} is not {worded(schema, whole)}."
    elif isinstance(value, OBJECTS) and "properties" in schema:
        yield from fields(schema, value, where, whole)
    elif isinstance(value, OBJECTS) and isinstance(schema.get("additionalProperties"), OBJECTS):
        for name, item in value.items():
            yield from looked(schema["additionalProperties"], item, within(where, name), whole)
    elif isinstance(value, ARRAYS) and isinstance(schema.get("items"), OBJECTS):
        for place, item in enumerate(value):
            yield from looked(schema["items"], item, within(where, place), whole)


def fields(schema: Schema, value: Mapping[str, Any], where: str, whole: Schema) -> Generator[Problem]:
    """Look at the fields of an object: those that are missing, that nobody asked for, and each of the others."""
    known: Schema = schema["properties"]
    for name in schema.get("required", ()):
        if name not in value:
            yield within(where, name), "It is missing."
    for name, item in value.items():
        if name in known:
            yield from looked(known[name], item, within(where, name), whole)
        elif not schema.get("additionalProperties"):
            yield within(where, name), f"There is no such field{nearest(name, known)}"


def within(where: str, name: object) -> str:
    """Give the field *name* of what stands at *where*."""
    return f"{where}.{name}" if where else str(name)


def resolved(schema: Schema, whole: Schema) -> Schema:
    """Give what *schema* refers to, if it does."""
    while "$ref" in schema:
        found: Any = whole
        for part in str(schema["$ref"]).lstrip("#/").split("/"):
            found = found.get(part, {})
        schema = {**found, **{name: said for name, said in schema.items() if name != "$ref"}}
    only = schema.get("allOf", ())
    return resolved(only[0], whole) if len(only) == 1 else schema


def alternatives(schema: Schema) -> Sequence[Schema]:
    """Give the schemas of which one is to fit; none where there is one alone."""
    found: Sequence[Schema] = schema.get("anyOf") or schema.get("oneOf") or ()
    return found


def types_of(schema: Schema) -> list[str]:
    """Give the types that *schema* names; none where any will do."""
    said = schema.get("type", [])
    return [said] if isinstance(said, TEXTS) else [kind for kind in said if kind in IS]


def worded(schema: Schema, whole: Schema) -> str:
    """Say what *schema* wants, for people: "an integer or null"."""
    schema = resolved(schema, whole)
    choices = alternatives(schema)
    if choices:
        return " or ".join(dict.fromkeys(worded(one, whole) for one in choices))
    if "enum" in schema:
        return f"one of {', '.join(map(short, schema['enum']))}"
    words = [NAMES.get(kind, kind) for kind in types_of(schema)]
    form = FORMATS.get(schema.get("format", ""), "")
    return f"{' or '.join(words)}{form}" if words else "anything"


def is_boolean(value: Any) -> bool:
    """Tell whether *value* is a truth value, or a word for one."""
    return value in (True, False) or (isinstance(value, TEXTS) and value.strip().lower() in WORDS)


def is_integer(value: Any) -> bool:
    """Tell whether *value* is a whole number, or reads as one."""
    return is_number(value) and reads(value, int if isinstance(value, TEXTS) else whole_number)


def is_number(value: Any) -> bool:
    """Tell whether *value* is a number, or reads as one."""
    return not isinstance(value, bool) and isinstance(value, NUMBERS + TEXTS) and reads(value, float)


def whole_number(value: Any) -> int:
    """Give the number *value*, which has no fraction."""
    if value != int(value):
        raise ValueError(value)
    return int(value)


def reads(value: Any, kind: Callable[[Any], object]) -> bool:
    """Tell whether *value* reads as a *kind*."""
    try:
        kind(value)
    except (ValueError, OverflowError):
        return False
    return True


IS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "boolean": is_boolean,
    "integer": is_integer,
    "number": is_number,
    "string": lambda value: isinstance(value, TEXTS),
    "null": lambda value: value is None,
    "object": lambda value: isinstance(value, OBJECTS),
    "array": lambda value: isinstance(value, ARRAYS),
}
NAMES: Final = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "a text",
    "null": "null",
    "object": "an object",
    "array": "a list",
}
FORMATS: Final = {
    "date-time": ", such as 2030-01-31T09:00:00+00:00",
    "date": ", such as 2030-01-31",
    "time": ", such as 09:00:00",
}
