"""
Frames: tables as Arrow and Parquet, which other programs read. Knows pandas and pyarrow, and loads them for their own.

No other value is taken, and nothing is loaded to see that.
"""

from __future__ import annotations

import importlib.util
import io
from importlib import import_module
from typing import Any, BinaryIO, Final, cast

from headrace.errors import SerializationError, short

ORIGIN: Final = b"headrace.kind"
FRAME, TABLE = "pandas.DataFrame", "pyarrow.Table"
ROWS: Final = 65_536  # a batch, so that few of a table's rows are copied at a time
EXACT: Final = "iufbmM"  # kinds of numpy dtypes whose every value is the same in Arrow


class Arrow:
    """
    The stream format of Arrow.

    A DataFrame's attrs, an index's freq and some types of object columns do not survive; `fits_arrow` tells.
    """

    name = "arrow"
    safe = True

    def dump(self, value: Any, file: BinaryIO) -> None:
        """
        Write a DataFrame of pandas or a Table of pyarrow.

        Raises:
            SerializationError: It is neither, or holds what Arrow has no type for.
        """
        try:
            table = as_table(self.name, value)
            ipc, sink = arrow(file, "w", "pyarrow.ipc")
            with ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table, max_chunksize=ROWS)
        except (SerializationError, OSError):
            raise
        except Exception as error:
            raise refused(self.name, value, error) from error

    def load(self, file: BinaryIO) -> Any:
        """Read the table back."""
        try:
            ipc, source = arrow(file, "r", "pyarrow.ipc")
            with ipc.open_stream(source) as reader:
                return as_value(reader.read_all())
        except Exception as error:
            raise unreadable(self.name, error) from error


class Parquet:
    """Parquet, compressed as pyarrow usually does it."""

    name = "parquet"
    safe = True

    def dump(self, value: Any, file: BinaryIO) -> None:
        """
        Write a DataFrame of pandas or a Table of pyarrow.

        Raises:
            SerializationError: It is neither, or holds what Parquet has no type for.
        """
        try:
            table = as_table(self.name, value)
            parquet, sink = arrow(file, "w", "pyarrow.parquet")
            parquet.write_table(table, sink)
        except (SerializationError, OSError):
            raise
        except Exception as error:
            raise refused(self.name, value, error) from error

    def load(self, file: BinaryIO) -> Any:
        """Read the table back."""
        try:
            # It begins at the end, where a compressed file cannot be entered.
            whole = file if file.seekable() else io.BytesIO(file.read())
            parquet, source = arrow(whole, "r", "pyarrow.parquet")
            return as_value(parquet.ParquetFile(source).read())
        except Exception as error:
            raise unreadable(self.name, error) from error


def arrow(file: BinaryIO, mode: str, module: str) -> tuple[Any, Any]:
    """Give a *module* of pyarrow, which is loaded only here, and *file* as pyarrow takes it."""
    return import_module(module), import_module("pyarrow").PythonFile(file, mode)


def kind_of(value: Any) -> str:
    """Give the name of the type of *value*, if that is one of the two that are kept as tables, else an empty one."""
    kind = cast("Any", type(value))
    package = kind.__module__.partition(".")[0]
    name = f"{package}.{kind.__qualname__}"
    return name if name in {FRAME, TABLE} else ""


def fits_arrow(value: Any) -> bool:
    """
    Tell whether *value* is a table that comes back from Arrow equal and of the same types.

    Of a DataFrame the structure is tried, on its first row: dtypes, index, names. Values are right by their dtypes.
    """
    kind = kind_of(value)
    if not kind or importlib.util.find_spec("pyarrow") is None:
        return False
    if kind == TABLE:
        return True
    try:
        return fits(value)
    except Exception:  # of what pyarrow has no type for
        return False


def fits(frame: Any) -> bool:
    """Tell whether a DataFrame is of values that Arrow keeps, and its first row comes back like itself."""
    index = frame.index
    plain = type(index).__name__ in {"RangeIndex", "Index", "DatetimeIndex"} and getattr(index, "freq", None) is None
    if not plain or frame.attrs or not frame.flags.allows_duplicate_labels:
        return False
    if not frame.columns.is_unique or any(type(name) is not str for name in frame.columns):
        return False
    if not all(exact(dtype) for dtype in (*frame.dtypes, index.dtype)):
        return False
    some = frame.iloc[:1]
    back = import_module("pyarrow").Table.from_pandas(some).to_pandas()
    return bool(
        list(back.dtypes) == list(frame.dtypes)
        and back.columns.identical(frame.columns)
        and back.columns.dtype == frame.columns.dtype
        and back.index.identical(some.index)
        and type(back.index) is type(index)
        and back.index.dtype == index.dtype
        and back.equals(some)
    )


def exact(dtype: Any) -> bool:
    """Tell whether every value of *dtype* has one of its own in Arrow: numbers, moments, and pandas' own str."""
    if type(dtype).__module__.partition(".")[0] == "numpy":
        return dtype.kind in EXACT and dtype.isnative and dtype.itemsize <= 8
    return str(dtype) == "str"


def as_table(codec: str, value: Any) -> Any:
    """
    Give *value* as a Table that says what it was.

    Raises:
        SerializationError: It is no table, or pyarrow is not installed.
    """
    kind = kind_of(value)
    if not kind:
        raise SerializationError(
            f"The codec {codec!r} takes a DataFrame of pandas or a Table of pyarrow, and this is {short(value, 60)} "
            f"({type(value).__name__}). Keep it as 'auto', or return a table."
        )
    table = value if kind == TABLE else import_module("pyarrow").Table.from_pandas(value)
    return table.replace_schema_metadata({**(table.schema.metadata or {}), ORIGIN: kind.encode()})


def as_value(table: Any) -> Any:
    """Give what *table* was made of."""
    told = dict(table.schema.metadata or {})
    kind = told.pop(ORIGIN, b"").decode()
    table = table.replace_schema_metadata(told or None)
    return table.to_pandas() if kind == FRAME else table


def refused(codec: str, value: Any, error: Exception) -> SerializationError:
    """Build the error for a table that pyarrow has refused with *error*."""
    if isinstance(error, ImportError):
        return SerializationError(
            f"The codec {codec!r} needs pyarrow, which is not installed. Run: pip install pyarrow"
        )
    why = str(error).rstrip(".") or type(error).__name__
    return SerializationError(
        f"A {kind_of(value)} cannot be kept as {codec}: {why}. Keep it as 'pickle', or change the columns it names."
    )


def unreadable(codec: str, error: Exception) -> SerializationError:
    """Build the error for stored bytes that make no table."""
    if isinstance(error, ImportError):
        return SerializationError(
            f"A stored result ({codec}) needs {error.name} to be read. Run: pip install {error.name}"
        )
    why = f"{type(error).__name__}: {str(error).rstrip('.')}"
    return SerializationError(
        f"A stored result ({codec}) makes no table here: {why}. Run the task again to have it stored anew."
    )
