"""
Hashing: digests of values, for keys of caches. The API, the fast road for JSON, functions, and libraries by name.

How everything else is taken apart is next door, in canonical. Never imports what a value's class comes from.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from hashlib import blake2b
from opcode import opmap
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, NoneType
from typing import Any, Final, TypeAlias

import orjson

from headrace._model.canonical import (
    ABSENT,
    SIZE,
    Parts,
    Step,
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

__all__ = ["Unhashable", "code_digest", "combined", "digest"]


def digest(value: Any) -> str:
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

    Raises:
        Unhashable: A part of *value* has no content to be told apart by: a lock, an open file, an object that holds
            itself, one that cannot be taken apart, or what lies deeper than 500 levels.
    """
    dump = dumped(value)
    if dump is None:
        return sealed(b"value", Walk(dumped, WAYS, library).form(value))
    hashed = EMPTY.copy()
    hashed.update(dump)
    return hashed.hexdigest()


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


# -- libraries ----------------------------------------------------------------------------------------------

Steps: TypeAlias = Iterable[tuple[Step, Any]]
LIBRARIES: Final = frozenset(
    ("decimal", "functools", "ipaddress", "numpy", "pandas", "pathlib", "polars", "pyarrow", "re", "uuid", "zoneinfo")
)
# What items of these kinds have in memory is all that there is to them, unlike references and padded long doubles.
RAW: Final = frozenset("biufcmMSUV")
PADDED: Final = frozenset("gG")


def root(kind: Any) -> str:
    """Give the package that a class is from."""
    return str(kind.__module__).partition(".")[0]


def key_of(kind: Any) -> str:
    """Give the name of a class with its package alone: in which module of it a class lives is changed now and then."""
    return f"{root(kind)}.{kind.__qualname__}"


def holding(look: Callable[[Any], Steps], known: str = "") -> Way:
    """Give the way of a class whose values are what *look* sees of them, under the name *known* or their own."""

    def parts(value: Any) -> Parts:
        kind = class_of(value)
        forms = [text(known or (key_of(kind) if root(kind) in LIBRARIES else full_name(kind)))]
        for step, part in look(value):
            forms.append((yield step, part))
        return node(b"library", forms)

    return parts


def refused(noun: str) -> Way:
    """Give the way of a class whose values are no content."""

    def parts(value: Any) -> Parts:
        kind = full_name(type(value)).removeprefix("builtins.")
        raise Unhashable(f"{noun} ({kind}) has no content to be told apart by")

    return parts


def attributes(*names: str) -> Way:
    """Give the way of a class whose values are these attributes."""
    return holding(lambda value: [(f".{name}", getattr(value, name)) for name in names])


def array(value: Any) -> Steps:
    """See a NumPy array: its items in C order, whatever their order in memory; a structured one field by field."""
    kind = value.dtype
    yield ".dtype", kind
    yield ".shape", value.shape
    if kind.names is not None:
        yield from ((f"[{name!r}]", value[name]) for name in kind.names)
    elif kind.char in PADDED:
        yield "", [str(item) for item in value.ravel().tolist()]
    elif kind.kind in RAW:
        flat = value.ravel()
        yield "", flat.view("u1").data if flat.nbytes else b""
    else:
        yield "", value.ravel().tolist()


def dtype(value: Any) -> Steps:
    """See a NumPy dtype."""
    yield ".str", [value.name, value.str, value.itemsize]
    yield ".names", value.names
    yield from ((f".fields[{name!r}]", value.fields[name]) for name in value.names or ())
    yield ".subdtype", value.subdtype
    yield ".na_object", getattr(value, "na_object", None)


def table(value: Any) -> Steps:
    """See a DataFrame of pandas, and what its subclass says it keeps beside that."""
    yield ".index", value.index
    yield ".columns", value.columns
    for place, label in enumerate(value.columns):
        yield (label,), value.iloc[:, place].array
    yield from ((f".{name}", getattr(value, name, None)) for name in value._metadata)


def series(value: Any) -> Steps:
    """See a Series of pandas."""
    yield ".name", value.name
    yield ".index", value.index
    yield "", value.array
    yield from ((f".{name}", getattr(value, name, None)) for name in value._metadata)


def index(value: Any) -> Steps:
    """See an index of pandas; its frequency is no content, as == does not compare it."""
    yield ".names", list(value.names)
    if hasattr(value, "levels"):
        yield from ((f".levels[{place}]", value.get_level_values(place)) for place in range(value.nlevels))
    elif type(value).__name__ == "RangeIndex":
        yield "", range(value.start, value.stop, value.step)
    else:
        yield "", value.array


def extension(value: Any) -> Steps:
    """See an array of pandas: numbers where it has them, else item by item."""
    yield ".dtype", str(value.dtype)
    if hasattr(value, "categories"):
        yield ".categories", value.categories
        yield ".ordered", value.ordered
        yield ".codes", value.codes
    elif hasattr(value, "asi8"):
        yield "", value.asi8
    elif type(value.dtype).__name__ in {"NumpyEADtype", "PandasDtype"}:
        yield "", value.to_numpy()
    else:
        yield "", list(value)


def polars_series(value: Any) -> Steps:
    """See a Series of polars: moments as numbers, as Python's are not fine enough; categories as their texts."""
    kind = str(value.dtype)
    yield ".name", value.name
    yield ".dtype", kind
    yield "", (value if "Categorical" in kind or "Enum" in kind else value.to_physical()).to_list()


def arrow_array(value: Any) -> Steps:
    """See an array of Arrow, in chunks or not: moments as numbers."""
    kind = str(value.type)
    yield ".type", kind
    if kind.startswith(("timestamp", "time64", "date64", "duration")):
        value = value.cast("int64")
    yield "", value.to_pylist()


def arrow_table(value: Any) -> Steps:
    """See a table of Arrow, without the metadata of its schema."""
    for field, column in zip(value.schema, value.columns, strict=True):
        yield ".schema", [field.name, field.nullable]
        yield (field.name,), column


ADDRESSES: Final = [f"ipaddress.IPv{n}{kind}" for n in (4, 6) for kind in ("Address", "Interface", "Network")]
PATHS: Final = [f"pathlib.{kind}" for kind in ("PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath")]
# Exactly these: what is derived from them may hold more, which pickle finds.
EXACTLY: Final[dict[str, Way]] = {
    **dict.fromkeys([*ADDRESSES, *PATHS, "decimal.Decimal"], holding(lambda value: [("", str(value))])),
    "functools._lru_cache_wrapper": attributes("__wrapped__"),
    "functools.partial": attributes("func", "args", "keywords"),
    "numpy.ndarray": holding(array),
    "re.Pattern": attributes("pattern", "flags"),
    "uuid.UUID": attributes("int"),
    # One that was read from a file has no key, and does not let itself be taken apart.
    "zoneinfo.ZoneInfo": holding(lambda value: [(".key", value.key or value.__reduce__())]),
}
# These and what the same library derives from them. Tables also as others derive them.
FAMILIES: Final[dict[str, Way]] = {
    "numpy.dtype": holding(dtype, "numpy.dtype"),
    "numpy.generic": holding(lambda value: [("", value.reshape(1))]),
    "pandas.DataFrame": holding(table),
    "pandas.ExtensionArray": holding(extension, "pandas.ExtensionArray"),
    "pandas.Index": holding(index),
    "pandas.Series": holding(series),
    "polars.DataFrame": holding(lambda value: [((column.name,), column) for column in value.get_columns()]),
    "polars.Series": holding(polars_series),
    **dict.fromkeys(("pyarrow.Array", "pyarrow.ChunkedArray"), holding(arrow_array)),
    **dict.fromkeys(("pyarrow.RecordBatch", "pyarrow.Table"), holding(arrow_table)),
}
DERIVED: Final = frozenset(("pandas.DataFrame", "pandas.Series"))
# Classes, and whole packages, with what they and all that is derived from them are.
REFUSED: Final = {
    "_asyncio": "a part of an event loop",
    "_io._IOBase": "an open file",
    "_thread.RLock": "a lock",
    "_thread._local": "what differs from thread to thread",
    "_thread.lock": "a lock",
    "aiosqlite.Connection": "a database connection",
    "asyncio": "a part of an event loop",
    "builtins.async_generator": "an async generator",
    "builtins.coroutine": "a coroutine",
    "builtins.generator": "a generator",
    "concurrent.Executor": "a pool of workers",
    "concurrent.Future": "a future",
    "itertools": "an iterator",
    "multiprocessing": "what processes share",
    "polars.LazyFrame": "a query that was not run",
    "psycopg.BaseConnection": "a database connection",
    "socket": "a socket",
    "sqlite3.Connection": "a database connection",
    "sqlite3.Cursor": "a database cursor",
    "subprocess.Popen": "a process",
    "threading": "a part of a thread",
    "threading.Thread": "a thread",
}
IN_MEMORY: Final = frozenset(("_io.BytesIO", "_io.StringIO"))


def library(kind: Any) -> Way | None:
    """Find how values of a class that is known by its name, or derived from such a one, are taken apart."""
    known = EXACTLY.get(key_of(kind))
    if known is not None or issubclass(kind, BaseException):
        return known
    for base in kind.__mro__:
        key = key_of(base)
        if key in IN_MEMORY:
            return None
        noun = REFUSED.get(key) or REFUSED.get(root(base))
        if noun is not None:
            return refused(noun)
        if key in FAMILIES:
            return FAMILIES[key] if key in DERIVED or root(kind) == root(base) else None
    return None
