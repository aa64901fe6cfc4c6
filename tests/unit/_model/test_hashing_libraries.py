"""Arrays and tables are told apart by type, shape and items, whatever their layout in memory."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from headrace._model.hashing import Unhashable, digest


def distinct(values: list[Any]) -> bool:
    """Tell whether each of *values* has a digest of its own, and the same twice."""
    digests = [digest(value) for value in values]
    return len(set(digests)) == len(values) and digests == [digest(value) for value in values]


def test_arrays_of_numpy_count_by_dtype_shape_and_items() -> None:
    np: Any = pytest.importorskip("numpy")
    row = np.arange(6)

    assert distinct(
        [
            *(
                row,
                row.reshape(2, 3),
                row.reshape(3, 2),
                row.astype("i4"),
                row.astype("f8"),
                row.astype(">i8"),
                row[:5],
            ),
            *(
                row.astype("U1"),
                row.astype("S1"),
                row.astype(object),
                row.astype("M8[s]"),
                row.astype("M8[ms]"),
                list(row),
            ),
            *(row.astype("m8[s]"), row.astype("g"), row.astype("G"), row.astype("?"), np.array(5), np.array([5])),
            *(
                np.zeros((0, 3)),
                np.zeros((3, 0)),
                np.array([""]),
                np.array(["a", ""]),
                np.array([np.nan]),
                np.array([None]),
            ),
            *(np.array([1, "a", (2,)], dtype=object), np.array([1, "a", [2]], dtype=object), row.view(np.matrix)),
            *(np.ma.array(row, mask=row > 3), np.ma.array(row, mask=row > 4), row.tobytes(), row.tolist(), tuple(row)),
        ]
    )


def test_the_layout_of_an_array_does_not_count() -> None:
    np: Any = pytest.importorskip("numpy")
    table = np.arange(12.0).reshape(3, 4)

    assert digest(table) == digest(np.asfortranarray(table)) == digest(table.T.copy().T)
    assert digest(table[:, ::2]) == digest(table[:, ::2].copy())
    assert digest(table[::-1]) == digest(table[::-1].copy()) != digest(table)
    assert digest(table.astype(object)) == digest(np.asfortranarray(table.astype(object)))


def test_structured_arrays_count_by_field_and_not_by_what_lies_between() -> None:
    np: Any = pytest.importorskip("numpy")
    kind = np.dtype([("a", "i1"), ("b", "f8"), ("c", object)], align=True)
    one, other = np.zeros(3, kind), np.ones(3, kind)
    other[:] = one
    # NumPy does not copy what lies between fields: only memory of our own has known bytes there.
    numbers, ones, threes = b"\2" * 8, b"\1" * 7, b"\3" * 7
    gaps = np.dtype([("a", "i1"), ("b", "f8")], align=True)
    plain = np.frombuffer((b"\1" + ones + numbers) * 2, gaps)
    padded = np.frombuffer((b"\1" + threes + numbers) * 2, gaps)

    assert plain.tobytes() != padded.tobytes()
    assert digest(plain) == digest(padded)
    assert digest(one) == digest(other)
    other["c"][1] = "x"
    assert digest(one) != digest(other)
    assert digest(one) != digest(one.astype(np.dtype([("x", "i1"), ("b", "f8"), ("c", object)], align=True)))
    assert len(digest(one[0])) == 32


def test_scalars_and_dtypes_of_numpy_are_types_of_their_own() -> None:
    np: Any = pytest.importorskip("numpy")

    assert distinct(
        [
            *(
                1,
                1.0,
                True,
                "1",
                b"1",
                np.int64(1),
                np.int32(1),
                np.uint8(1),
                np.float64(1),
                np.float32(1),
                np.bool_(True),
            ),
            *(
                np.str_("1"),
                np.bytes_(b"1"),
                np.complex128(1),
                np.longdouble(1),
                np.datetime64(1, "s"),
                np.datetime64(1, "ms"),
            ),
            *(np.timedelta64(1, "s"), np.void(b"1"), np.array(1), np.array([1])),
            *(
                np.dtype("i8"),
                np.dtype(">i8"),
                np.dtype("f8"),
                np.dtype("M8[s]"),
                np.dtype([("a", "i8")]),
                np.int64,
                np.add,
            ),
            *(np.dtype([("a", "i8", 2)]), np.dtype([("a", "i8", (2, 1))]), np.dtype(object), np.random.default_rng(1)),
        ]
    )
    assert digest(np.dtype("l")) == digest(np.dtype("q")) or np.dtype("l") != np.dtype("q")


def test_texts_of_any_length_count_by_text() -> None:
    np: Any = pytest.importorskip("numpy")
    kind = np.dtypes.StringDType()
    one = np.array(["a" * 50, "b"], kind)
    other = np.array(["x", "b"], kind)
    other[0] = "a" * 50

    assert digest(one) == digest(other) != digest(np.array(["a" * 49, "b"], kind))


def test_what_in_an_array_has_no_content_is_named() -> None:
    np: Any = pytest.importorskip("numpy")

    with pytest.raises(Unhashable) as caught:
        digest({"rows": np.array([1, object()], dtype=object)})
    assert caught.value.path == "['rows'][1]"


def frame(pd: Any, **changed: Any) -> Any:
    """Give a table with columns of many types, some of them *changed*."""
    columns = {
        "whole": [1, 2, 3],
        "half": [0.5, None, 2.5],
        "text": ["a", None, "c"],
        "day": pd.date_range("2024-01-01", periods=3),
        "moment": pd.date_range("2024-01-01", periods=3, tz="Europe/Berlin"),
        "kind": pd.Categorical(["x", "y", "x"]),
        "maybe": pd.array([1, None, 3], dtype="Int64"),
        "any": [(1,), {2}, None],
        "month": pd.period_range("2024-01", periods=3, freq="M"),
        "span": pd.to_timedelta([1, 2, 3], unit="s"),
    }
    return pd.DataFrame({**columns, **changed})


def test_tables_of_pandas_count_by_index_columns_types_and_items() -> None:
    pd: Any = pytest.importorskip("pandas")
    whole = frame(pd)

    assert distinct(
        [
            *(
                whole,
                whole.rename(columns={"whole": "w"}),
                whole[whole.columns[::-1]],
                whole.iloc[:2],
                whole.iloc[::-1],
            ),
            *(
                whole.set_index("whole"),
                whole.rename_axis("rows"),
                whole.astype({"whole": "i4"}),
                frame(pd, whole=[1, 2, 4]),
            ),
            *(frame(pd, half=[0.5, None, 2.0]), frame(pd, text=["a", "b", "c"]), frame(pd, text=["a", "", "c"])),
            *(frame(pd, day=pd.date_range("2024-01-02", periods=3)), frame(pd, any=[[1], {2}, None])),
            *(frame(pd, moment=pd.date_range("2024-01-01", periods=3, tz="UTC")), frame(pd, maybe=[1, None, 3])),
            *(frame(pd, kind=pd.Categorical(["x", "y", "x"], ordered=True)), frame(pd, kind=["x", "y", "x"])),
            *(
                frame(pd, kind=pd.Categorical(["x", "y", "x"], ["y", "x"])),
                frame(pd, maybe=pd.array([1, 2, 3], "Int64")),
            ),
        ]
    )


def test_how_a_table_is_kept_in_memory_does_not_count() -> None:
    pd: Any = pytest.importorskip("pandas")
    one, other = frame(pd), frame(pd)[["whole"]]
    for name in one.columns[1:]:
        other[name] = one[name]
    other.attrs["source"] = "elsewhere"

    assert (
        digest(one)
        == digest(other)
        == digest(one.copy())
        == digest(pd.concat([one.iloc[:1], one.iloc[1:]]).set_axis(one.index))
    )


def test_series_and_indexes_of_pandas_are_told_apart() -> None:
    pd: Any = pytest.importorskip("pandas")
    row = pd.Series([1, 2], name="a")

    assert distinct(
        [
            *(
                row,
                row.rename("b"),
                row.rename(None),
                row.astype("f8"),
                row.astype("Int64"),
                row.set_axis([1, 2]),
                row.array,
            ),
            *(row.to_frame(), row.to_numpy(), pd.Index([1, 2]), pd.Index([1, 2], name="a"), pd.RangeIndex(1, 3)),
            *(pd.MultiIndex.from_tuples([(1, "a"), (2, "b")]), pd.MultiIndex.from_tuples([(1, "a"), (2, "c")])),
            *(
                pd.MultiIndex.from_arrays([[1, 2]]),
                pd.date_range("2024", periods=2),
                pd.date_range("2024", periods=2, tz="UTC"),
            ),
            *(
                pd.Timestamp(2024, 1, 1),
                pd.Timestamp(2024, 1, 1, tz="UTC"),
                pd.Timedelta(1),
                pd.NaT,
                pd.NA,
                pd.Interval(1, 2),
            ),
            *(pd.CategoricalIndex(["a"]), pd.IntervalIndex.from_breaks([1, 2]), pd.arrays.SparseArray([0, 1])),
        ]
    )
    levels = pd.MultiIndex.from_tuples([(1, "a"), (2, "b")])
    assert digest(levels[:1]) == digest(pd.MultiIndex.from_tuples([(1, "a")]))


def test_a_table_of_a_class_counts_with_what_the_class_keeps() -> None:
    pd: Any = pytest.importorskip("pandas")

    class Noted(pd.DataFrame):  # type: ignore[misc]
        _metadata = ("note",)

    one, other = Noted({"a": [1]}), Noted({"a": [1]})
    object.__setattr__(one, "note", "x")
    object.__setattr__(other, "note", "y")

    assert distinct([one, other, pd.DataFrame({"a": [1]})])


def test_what_in_a_table_has_no_content_is_named() -> None:
    pd: Any = pytest.importorskip("pandas")

    with pytest.raises(Unhashable) as caught:
        digest([pd.DataFrame({"a": [1, 2], "b": [1, object()]})])
    assert caught.value.path == "[0]['b'][1]"


def test_tables_of_arrow_count_by_type_and_item_and_not_by_chunk() -> None:
    pa: Any = pytest.importorskip("pyarrow")
    columns = {"a": [1, 2], "text": ["x", None], "at": pa.array([1, 2], pa.timestamp("ns")), "rows": [[1], [2, 3]]}
    whole = pa.table(columns)

    assert digest(whole) == digest(pa.concat_tables([whole.slice(0, 1), whole.slice(1)]))
    assert digest(whole.slice(1)) == digest(
        pa.table({name: whole[name].to_pylist()[1:] for name in columns}, whole.schema)
    )
    assert distinct(
        [
            *(whole, whole.rename_columns(["b", "text", "at", "rows"]), whole.slice(1), whole.select(["text", "a"])),
            *(pa.table({**columns, "a": [1, 3]}), pa.table({**columns, "a": pa.array([1, 2], pa.int8())}), whole["a"]),
            *(
                pa.table({**columns, "at": pa.array([1, 3], pa.timestamp("ns"))}),
                whole["a"].chunk(0),
                whole.to_batches()[0],
            ),
            *(whole["text"], whole["text"].dictionary_encode(), pa.int64(), pa.array([1, 2], pa.duration("ns"))),
        ]
    )


def test_frames_of_polars_count_by_type_and_item() -> None:
    pl: Any = pytest.importorskip("polars")
    columns = {
        "a": [1, 2],
        "text": ["x", None],
        "at": [dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None],
        "rows": [[1], [2, 3]],
    }
    whole = pl.DataFrame(columns)
    kinds = pl.Series("kind", ["u", "v", "u"], pl.Categorical)

    assert digest(whole) == digest(pl.concat([whole[:1], whole[1:]], rechunk=False))
    assert digest(kinds[1:]) == digest(pl.Series("kind", ["v", "u"], pl.Categorical))
    assert distinct(
        [
            *(
                whole,
                whole.rename({"a": "b"}),
                whole[:1],
                whole.select("text", "a"),
                pl.DataFrame({**columns, "a": [1, 3]}),
            ),
            *(
                whole.cast({"a": pl.Int8}),
                whole["a"],
                whole["a"].rename("b"),
                whole["text"],
                kinds,
                kinds.cast(pl.String),
            ),
            *(pl.Series([1], dtype=pl.Datetime("ns")), pl.Series([2], dtype=pl.Datetime("ns")), pl.Series([1.0, None])),
        ]
    )
    with pytest.raises(Unhashable, match="a query that was not run"):
        digest(whole.lazy())
