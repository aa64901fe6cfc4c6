"""
Hashing: digests of values, for keys of caches. The API, the fast road for JSON, and functions.

How everything else is taken apart is next door: in canonical, and in libraries what is known by name.
"""

from __future__ import annotations

import gc
from hashlib import blake2b
from opcode import opmap
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, NoneType
from typing import Any, Final

import orjson

from headrace._model.canonical import (
    ABSENT,
    SIZE,
    Parts,
    Unhashable,
    Walk,
    Way,
    class_of,
    full_name,
    leaf,
    named,
    node,
    text,
    whole,
)
from headrace._model.libraries import library

__all__ = ["Unhashable", "beginning", "code_digest", "combined", "digest"]


def digest(value: Any, start: Any = None) -> str:
    """
    Give 32 hex digits that are the same for values of equal types and content, in every process and on every machine.

    What counts is content, not what == says: 1, 1.0 and True differ, and so do Decimal("1.0") and Decimal("1.00"), or
    one moment in two time zones. The order of a dict or set does not count, that of an OrderedDict does; NaN is NaN.

    - Dataclasses, attrs classes and pydantic models count by the fields that their == compares; other objects as copy
      and pickle take them apart, without what a cached_property worked out. A class that has a method
      `__headrace_hash__(self)` is hashed by what that returns instead.
    - Functions count by name, code, defaults and the values they close over; the globals that they use are not looked
      into, and the code of one Python version is not that of another. Classes, modules and builtins count by name.
    - Arrays count by dtype, shape and items; tables by index, columns, types and items, without their `attrs`.

    Of the user's code only __headrace_hash__, __reduce_ex__, __getstate__ and what these call is ever run.

    Args:
        start: What counts together with *value*, as `beginning` gives it; None for nothing.

    Raises:
        Unhashable: A part of *value* has no content to be told apart by: a lock, an open file, an object that holds
            itself, one that cannot be taken apart, or what lies deeper than 500 levels.
    """
    dump = dumped(value)
    if dump is not None:
        hashed = (start or EMPTY).copy()
        hashed.update(dump)
        return str(hashed.hexdigest())
    form = sealed(b"value", Walk(dumped, WAYS, library).form(value))
    return form if start is None else combined(start.hexdigest(), form)


def beginning(*parts: str) -> Any:
    """Give the hash object of *parts*, for digests of values that count together with them: at one hash, not two."""
    framed = "".join([f"{len(part)}:{part}" for part in parts])
    return blake2b(framed.encode(errors="surrogatepass"), digest_size=SIZE, person=b"headrace parts")


def combined(*parts: str | None) -> str:
    """Give a digest of *parts*, in this order: digests, names, whatever; None is not the empty text."""
    framed = "".join(["-" if part is None else f"{len(part)}:{part}" for part in parts])
    return blake2b(framed.encode(errors="surrogatepass"), digest_size=SIZE, person=b"combined").hexdigest()


def code_digest(function: Any) -> str:
    """
    Give a digest of what *function* does: the same wherever it stands and whatever it is called, in one Python version.

    Its bytecode, constants, names and defaults count, and those of functions defined in it or wrapped by it with
    functools.wraps; lines, files, closed-over values and globals do not. Other callables count by their __call__, and
    those without Python code by name. A default without content, such as a bare object(), counts by its class.
    """
    return sealed(b"code of", Walk(dumped, WAYS, library).form(Behaviour(function)))


def sealed(name: bytes, form: bytes) -> str:
    """Give the digest of a whole *form*."""
    return node(name, (form,))[1:].hex()


# -- JSON ---------------------------------------------------------------------------------------------------

OPTIONS: Final = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_PASSTHROUGH_SUBCLASS
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
)
JSON: Final = frozenset((dict, list, str, int, float, bool, NoneType))
NESTED: Final = frozenset((dict, list))
# A small dict of these, as most arguments are, is looked at in a hurry.
SIMPLE: Final = frozenset((str, int, bool, NoneType))
FEW: Final = 16
# What is larger, or deeper, is taken apart, and its parts take the fast road if they can. orjson ends at 254 levels.
PARTS: Final = 1 << 22
LEVELS: Final = 250
CHUNK: Final = 1 << 16
# Its digests must not be mistaken for those of forms, which are of another person.
EMPTY: Final = blake2b(digest_size=SIZE, person=b"headrace json")
# From here on orjson writes an exponent: 1e16 as of 3.11.5, 1e+16 as of 3.13. Such floats never take the fast road.
LARGE: Final = 1e16
SIGNED: Final = orjson.dumps(LARGE) == b"1e+16"


class Probe:
    """An object with an attribute: does the collector find it by way of the __dict__?"""

    def __init__(self) -> None:
        self.attribute = ""


PROBE: Final = Probe()
# From 3.13 on it does not: attributes are the living object's own, and what vars() gives seems to hold nothing.
HIDDEN: Final = not gc.get_referents(vars(PROBE))


def dumped(value: Any) -> bytes | None:
    """
    Give *value* as JSON with sorted keys; None if it holds anything of which JSON does not tell all, or very much.

    orjson writes tuples, enums, UUIDs and NaN as something else. So types are looked at first, a level at a time: that
    takes 1 ms for 1 MB, and the dump 2. The bounds end it where a value holds itself, or one part many times over.
    """
    if class_of(value) is dict and len(value) <= FEW and SIMPLE.issuperset(map(class_of, value.values())):
        try:
            return orjson.dumps(value, None, OPTIONS)
        except TypeError:
            return None
    level = [value]
    floating: list[list[Any]] = []
    empty: list[list[Any]] = []
    parts = levels = 0
    while True:
        kinds = set(map(class_of, level))
        if not kinds <= JSON:
            return None
        if float in kinds:
            floating.append(level)
        if NoneType in kinds:
            empty.append(level)
        if kinds.isdisjoint(NESTED):
            break
        level = gc.get_referents(*level) if len(level) <= CHUNK and not HIDDEN else beneath(level, kinds)
        parts += len(level)
        levels += 1
        if parts > PARTS or levels > LEVELS:
            return None
    try:
        dump = orjson.dumps(value, None, OPTIONS)
    except TypeError:
        return None
    if floating and not (SIGNED and steady(dump, empty)):
        return dump if all(map(moderate, floating)) else None
    return dump


def steady(dump: bytes, empty: list[list[Any]]) -> bool:
    """Tell whether no float of a *dump* can be infinite, NaN or large, given all levels that have None among them."""
    # Looking for one byte takes a tenth of looking for two. Each null too many is a float's, or a word in a text.
    large = b"+" in dump and b"e+" in dump
    return not large and dump.count(b"null") == sum(level.count(None) for level in empty)


def beneath(level: list[Any], kinds: set[Any]) -> list[Any]:
    """Give what the containers of a *level* hold, also where the collector does not see it; not much beyond PARTS."""
    found = gc.get_referents(*(level if len(level) <= CHUNK else level[:CHUNK]))
    for start in range(CHUNK, len(level), CHUNK):
        if len(found) > PARTS:
            return found
        found += gc.get_referents(*level[start : start + CHUNK])
    if HIDDEN and dict in kinds:
        dicts = level if len(kinds) == 1 else [each for each in level if class_of(each) is dict]
        if not all(map(gc.get_referents, dicts)):
            for each in dicts:
                if each and not gc.get_referents(each):
                    found += each.values()
    return found


def moderate(level: list[Any]) -> bool:
    """Tell whether all floats among *level* are finite, and written alike by every orjson."""
    floats = [each for each in level if type(each) is float]
    # A sum of what is not negative is never less than its largest part, and NaN is less than nothing.
    return sum(map(abs, floats)) < LARGE or all(abs(each) < LARGE for each in floats)


# -- functions ----------------------------------------------------------------------------------------------


class Behaviour:
    """What a function does: to be looked at, whoever and wherever the function is."""

    __slots__ = ("function",)

    def __init__(self, function: Any) -> None:
        self.function = function


def function_parts(value: FunctionType) -> Parts:
    """Take a function apart: name, behaviour and the values it closes over. Globals are not looked into."""
    forms = [named(value), (yield "", Behaviour(value))]
    for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
        try:
            content = cell.cell_contents
        except ValueError:  # not bound yet
            forms.append(ABSENT)
        else:
            forms.append((yield f".nonlocals[{name!r}]", content))
    return node(b"function", forms)


def method_parts(value: MethodType) -> Parts:
    """Take a bound method apart."""
    return node(b"method", ((yield ".__self__", value.__self__), (yield ".__func__", value.__func__)))


def behaviour(value: Behaviour) -> Parts:
    """Take apart what a callable does, down to the functions that its decorators wrapped."""
    function = value.function
    kind = class_of(function)
    forms: list[bytes] = []
    wrapped = getattr(function, "__dict__", {}).get("__wrapped__")
    if kind is FunctionType:
        forms.append((yield ".__code__", function.__code__))
        forms.append((yield from defaults(function.__defaults__, function.__kwdefaults__)))
    elif kind in {MethodType, staticmethod, classmethod}:
        return (yield "", Behaviour(function.__func__))
    elif full_name(kind) == "functools.partial":
        forms.append((yield ".func", Behaviour(function.func)))
        forms.append((yield from defaults(function.args, function.keywords)))
    elif issubclass(kind, type) or kind is BuiltinFunctionType:
        forms.append(named(function))
    elif wrapped is None:
        forms.append(named(kind))
        if type(kind.__call__) is FunctionType:
            forms.append((yield ".__call__", Behaviour(kind.__call__)))
    if wrapped is not None:
        forms.append((yield ".__wrapped__", Behaviour(wrapped)))
    return node(b"behaviour", forms)


def defaults(args: tuple[Any, ...] | None, keywords: dict[str, Any] | None) -> Parts:
    """Take default values apart; one that has no form, such as a bare object(), counts by its class."""
    forms: list[bytes] = []
    places = {str(place): value for place, value in enumerate(args or ())}
    for name, value in [*places.items(), *sorted((keywords or {}).items())]:
        forms.append(text(name))
        try:
            forms.append((yield ".__defaults__", value))
        except Unhashable:
            forms.append(named(type(value)))
    return node(b"defaults", forms)


LINE: Final = "__firstlineno__"


def bytecode(code: CodeType) -> bytes:
    """Give the bytecode of *code*, without the line that the body of a class notes from 3.13 on."""
    if LINE not in code.co_names:
        return code.co_code
    noting = bytes((opmap["STORE_NAME"], code.co_names.index(LINE)))
    before, found, after = code.co_code.partition(noting)
    return before[:-2] + after if found else before


def code_parts(code: CodeType) -> Parts:
    """Take a code object apart, without its name, file and lines."""
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    forms = [leaf(b"b", bytecode(code)), leaf(b"b", code.co_exceptiontable), *map(whole, counts)]
    for names in (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars):
        forms.append(node(b"names", map(text, names)))
    line = code.co_firstlineno if LINE in code.co_names else None
    for constant in code.co_consts:
        forms.append(ABSENT if type(constant) is int and constant == line else (yield ".__code__", constant))
    return node(b"code", forms)


WAYS: Final[dict[type, Way]] = {
    FunctionType: function_parts,
    MethodType: method_parts,
    CodeType: code_parts,
    Behaviour: behaviour,
}
