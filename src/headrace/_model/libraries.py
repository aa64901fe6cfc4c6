"""
Libraries: how values whose classes are known by name are taken apart, and which are refused. Imports none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from headrace._model.canonical import Parts, Step, Unhashable, Way, class_of, full_name, node, text

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
