"""Tables as Arrow and Parquet: exact where `auto` takes them, and nothing loaded for values that are none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace._results.codecs import choose, codec
from headrace._results.frames import fits_arrow
from headrace.errors import SerializationError
from tests.unit._results.alike import Trickle, back, read, written

numpy, pandas, pyarrow = (pytest.importorskip(name) for name in ("numpy", "pandas", "pyarrow"))

KINDS = ["i1", "i2", "i4", "i8", "u1", "u4", "u8", "f4", "f8", "?", "M8[s]", "M8[ms]", "M8[us]", "M8[ns]", "m8[ns]"]
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


def identical(one: Any, other: Any) -> bool:
    """Whether two frames are equal in values, dtypes, index and names."""
    pandas.testing.assert_frame_equal(one, other, check_exact=True, check_freq=True, check_index_type="exact")
    return type(one) is type(other) and one.attrs == other.attrs and one.columns.dtype == other.columns.dtype


def with_index(index: Any) -> Any:
    return pandas.DataFrame({"a": numpy.arange(len(index))}, index=index)


EXACT: dict[str, Callable[[], Any]] = {
    "numbers": lambda: pandas.DataFrame({"a": [1, 2], "b": [1.5, float("nan")], "c": [True, False]}),
    "no rows": lambda: pandas.DataFrame({"a": numpy.array([], "i4")}),
    "moments": lambda: pandas.DataFrame({"at": pandas.to_datetime(["2026-01-01", None])}),
    "a range": lambda: with_index(pandas.RangeIndex(7, 1, -2, name="n")),
    "an index of numbers": lambda: with_index(pandas.Index([3.5, 1.0], name="x")),
    "an index of moments": lambda: with_index(pandas.DatetimeIndex(["2026-01-03", "2026-01-01"])),
}
OTHER: dict[str, Callable[[], Any]] = {
    "no columns": lambda: pandas.DataFrame(index=pandas.RangeIndex(3)),
    "attrs": lambda: marked(EXACT["numbers"]()),
    "objects": lambda: pandas.DataFrame({"a": pandas.Series([1, "x"], dtype=object)}),
    "tuples": lambda: pandas.DataFrame({"a": [(1, 2), (3,)]}),
    "a freq": lambda: with_index(pandas.date_range("2026-01-01", periods=3)),
    "a zone": lambda: with_index(pandas.DatetimeIndex(["2026-01-01"], tz="Europe/Berlin")),
    "levels": lambda: with_index(pandas.MultiIndex.from_tuples([(1, "a"), (2, "b")])),
    "columns of numbers": lambda: pandas.DataFrame({1: [1], 2: [2]}),
    "columns of one name": lambda: pandas.DataFrame([[1, 2]], columns=["a", "a"]),
    "levels of columns": lambda: pandas.DataFrame([[1]], columns=pandas.MultiIndex.from_tuples([("a", "b")])),
    "categories": lambda: pandas.DataFrame({"a": pandas.Categorical(["x", "y"], ordered=True)}),
    "complex numbers": lambda: pandas.DataFrame({"a": [1j]}),
    "another order of bytes": lambda: pandas.DataFrame({"a": numpy.array([1, 2], ">i4")}),
    "no labels twice": lambda: EXACT["numbers"]().set_flags(allows_duplicate_labels=False),
    "nullable numbers": lambda: pandas.DataFrame({"a": pandas.array([1, None], dtype="Int64")}),
    "periods": lambda: with_index(pandas.period_range("2026-01", periods=2, freq="M")),
    "a subclass": lambda: type("Mine", (pandas.DataFrame,), {"__module__": __name__})({"a": [1]}),
}


def marked(frame: Any) -> Any:
    frame.attrs["source"] = "here"
    return frame


@pytest.mark.parametrize("name", EXACT)
def test_auto_takes_arrow_for_frames_that_come_back_as_they_were(name: str) -> None:
    frame = EXACT[name]()

    chosen = choose(codec("auto"), frame)

    assert chosen.name == "arrow"
    assert identical(back(chosen, frame), frame)


@pytest.mark.parametrize("name", [name for name in OTHER if name != "a subclass"])
def test_auto_takes_pickle_for_frames_that_arrow_would_change(name: str) -> None:
    frame = OTHER[name]()

    chosen = choose(codec("auto"), frame)

    assert chosen.name == "pickle"
    assert identical(back(chosen, frame), frame)


def test_a_column_named_as_arrow_names_an_index_comes_back() -> None:
    frame = pandas.DataFrame({"__index_level_0__": [1]}, index=[5])

    assert identical(back(codec("auto"), frame), frame)


def test_a_class_of_frames_of_its_own_is_none_of_pandas() -> None:
    assert not fits_arrow(OTHER["a subclass"]())


@settings(max_examples=60)
@given(st.data())
def test_a_frame_comes_back_as_it_was_whatever_it_holds(data: st.DataObject) -> None:
    rows = data.draw(st.integers(0, 5))
    columns: dict[str, Any] = {}
    for name in data.draw(st.lists(NAMES, max_size=4, unique=True)):
        kind = data.draw(st.sampled_from([*KINDS, "str", "object"]))
        if kind == "str":
            texts = data.draw(st.lists(st.none() | NAMES, min_size=rows, max_size=rows))
            columns[name] = pandas.Series(texts, dtype="str")
        elif kind == "object":
            values = data.draw(st.lists(st.none() | st.integers() | NAMES, min_size=rows, max_size=rows))
            columns[name] = pandas.Series(values, dtype=object)
        else:
            drawn = data.draw(st.binary(min_size=8 * rows, max_size=8 * rows))
            raw = numpy.frombuffer(drawn, "i8")
            columns[name] = pandas.Series(raw.view("f8") if kind == "f8" else raw.astype(kind))
    frame = pandas.DataFrame(columns)

    assert identical(back(codec("auto"), frame), frame)


def test_auto_takes_arrow_for_tables_of_pyarrow_and_keeps_their_metadata() -> None:
    told = pyarrow.schema([pyarrow.field("a", "int32", metadata={"unit": "m"})], metadata={"source": "here"})
    for table in (
        pyarrow.table({"a": [1, 2]}, schema=told),
        pyarrow.table({"a": [[1], None], "b": [{"x": 1}, {"x": None}]}),
        pyarrow.Table.from_pandas(EXACT["numbers"]()),
    ):
        chosen = choose(codec("auto"), table)
        assert chosen.name == "arrow"
        for name in ("arrow", "compressed/arrow", "parquet"):
            found = back(codec(name), table)
            assert type(found) is type(table)
            assert found.equals(table, check_metadata=name != "parquet")


@pytest.mark.parametrize("name", ["parquet", "compressed/parquet", "compressed/arrow"])
def test_frames_come_back_from_every_form_of_tables(name: str) -> None:
    frame = EXACT["numbers"]()

    assert identical(back(codec(name), frame), frame)


def test_parquet_is_read_by_other_programs() -> None:
    import io

    data = written(codec("parquet"), EXACT["numbers"]())

    assert pandas.read_parquet(io.BytesIO(data)).equals(EXACT["numbers"]())


def test_a_large_table_is_written_in_batches() -> None:
    table = pyarrow.table({"a": numpy.arange(1_000_000)})
    file = Trickle()

    codec("arrow").dump(table, file.file())

    assert file.largest <= 8 * 65_536
    assert read(codec("arrow"), bytes(file.kept)).equals(table)


@pytest.mark.parametrize("name", ["arrow", "parquet"])
def test_what_is_no_table_is_refused(name: str) -> None:
    for value in ({"a": [1]}, [1], numpy.ones(3), pandas.Series([1])):
        with pytest.raises(SerializationError, match="takes a DataFrame of pandas or a Table of pyarrow, and this is"):
            written(codec(name), value)


@pytest.mark.parametrize("name", ["arrow", "parquet"])
def test_a_frame_that_arrow_has_no_type_for_is_refused(name: str) -> None:
    with pytest.raises(SerializationError, match=rf"A pandas.DataFrame cannot be kept as {name}: "):
        written(codec(name), OTHER["complex numbers"]())


@pytest.mark.parametrize("name", ["arrow", "parquet"])
@pytest.mark.parametrize("data", [b"", b"nonsense that is long enough to be a header", b"PAR1" * 10])
def test_bytes_that_are_no_table_are_no_value(name: str, data: bytes) -> None:
    with pytest.raises(SerializationError, match=rf"\({name}\) makes no table here"):
        read(codec(name), data)


def test_nothing_of_these_libraries_is_loaded_for_other_values() -> None:
    program = """
import sys, io, datetime, decimal
from headrace._results.codecs import codec, choose
from headrace._results.packing import pack, unpack, heavy
for value in (1, [1], {"a": (1,)}, b"x", "x" * 100_000, datetime.date(2026, 1, 1), decimal.Decimal(1)):
    heavy(value)
    packed = pack(value, codec("auto"), inline=1 << 20, storage=None, name="x")
    assert unpack(packed, None) == value
print([name for name in ("numpy", "pandas", "pyarrow", "cloudpickle", "obstore", "fsspec") if name in sys.modules])
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("[]\n", "")
