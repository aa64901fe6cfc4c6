"""JSON where it is exact, bytes and text: what is taken comes back as it was, all else is refused with the reason."""

from __future__ import annotations

import datetime
import io
import uuid
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace._results.plain import JSON, Raw, Text, exact
from headrace._results.weight import heavy
from headrace.errors import SerializationError
from tests.unit._results.alike import ODD, Colour, Count, Level, Name, Point, Trickle, Word, back, read, same, written

NUMBERS = st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False, allow_infinity=False)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)
HASHABLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters()),
    st.binary(),
    st.datetimes(),
    st.uuids(),
    st.sampled_from([Colour.RED, Level.LOW, Word.YES, Name("n"), Count(3), ..., int, datetime.UTC]),
)
ANY = st.recursive(
    HASHABLE | st.builds(bytearray, st.binary()) | st.sampled_from(list(ODD.values())),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text() | HASHABLE, inner)
        | st.tuples(inner, inner)
        | st.builds(Point, st.integers(), inner)
        | st.frozensets(HASHABLE, max_size=3)
    ),
)


@given(PLAIN)
def test_json_gives_back_what_json_is_made_of(value: Any) -> None:
    assert same(back(JSON(), value), value)


@given(ANY)
def test_json_gives_back_what_it_took_or_takes_nothing(value: Any) -> None:
    try:
        data = written(JSON(), value)
    except SerializationError:
        return

    assert same(read(JSON(), data), value)


@settings(max_examples=30)
@given(PLAIN, ANY)
def test_json_in_pieces_gives_back_what_it_took_or_takes_nothing(plain: Any, value: Any) -> None:
    large = {"a": [plain] * 3_000, "b": {str(number): [plain, "x" * 300] for number in range(300)}, "c": value}
    assert heavy(large)
    try:
        data = written(JSON(), large)
    except SerializationError:
        with pytest.raises(SerializationError):
            exact(value)
        return

    assert same(orjson.loads(data), large)


@pytest.mark.parametrize("name", ODD)
def test_json_refuses_what_would_come_back_as_something_else(name: str) -> None:
    for value in (ODD[name], [1, ODD[name]], {"a": {"b": ODD[name]}}, [[0] * 3_000, ODD[name]]):
        with pytest.raises(SerializationError, match="JSON cannot keep this value as it is"):
            written(JSON(), value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([(1, 2)], r"\(1, 2\) is a tuple, or begins one, and would come back as a list"),
        ({"a": {3: 1}}, "the key 3 is no str but of type int"),
        ([float("nan")], "nan is no number"),
        (1 << 70, "an int has more than 64 bits"),
        (["\ud800"], "holds half of a surrogate pair"),
        ([{1, 2}], "it holds a value of type set"),
        ({"at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)}, "it holds a value of type datetime.datetime"),
    ],
)
def test_a_refusal_says_what_json_cannot_keep_and_what_to_do(value: Any, reason: str) -> None:
    with pytest.raises(SerializationError, match=f"{reason}. Keep it as 'pickle' or let 'auto' choose"):
        written(JSON(), value)


def test_json_refuses_an_enum_that_passes_for_bytes_and_for_a_number() -> None:
    numpy = pytest.importorskip("numpy")
    import enum

    def made(kind: Any, value: int) -> Any:
        one = numpy.int64.__new__(kind, value)
        one._value_ = value
        return one

    cunning = enum.Enum("cunning", {"ONE": 1}, type=type("Mixed", (numpy.int64,), {"__new__": made}))
    one: Any = next(iter(cunning))
    assert one == 1

    with pytest.raises(SerializationError):
        written(JSON(), [one])
    with pytest.raises(SerializationError):
        written(JSON(), [numpy.float64(1.5)])


def test_json_refuses_what_is_nested_in_itself_or_too_deeply() -> None:
    ring: list[Any] = []
    ring.append(ring)
    crowd: list[Any] = [0] * 100
    crowd.append(crowd)
    deep: Any = []
    for _ in range(500):
        deep = [deep, "x" * 1_000]

    for value in (ring, crowd, deep):
        with pytest.raises(SerializationError, match="nested too deeply, or in itself"):
            written(JSON(), value)


def test_json_written_in_pieces_can_be_read_however_deep_it_is() -> None:
    deep: Any = []
    for _ in range(300):
        deep = [deep, "x" * 70_000]

    assert back(JSON(), deep) == deep


@pytest.mark.parametrize(
    "value",
    [
        [{"id": number, "tags": ["a", "b"]} for number in range(60_000)],
        {"rows": [[number, str(number)] for number in range(100_000)]},
        ["x" * 1_000_000, "ü" * 1_000_000],
        {"one": {"large": ["\n" * 3_000_000]}},
    ],
    ids=["records", "rows", "texts", "escapes"],
)
def test_large_json_is_written_in_small_pieces(value: Any) -> None:
    file = Trickle()

    JSON().dump(value, file.file())

    assert len(file.kept) > 1_500_000
    assert file.largest < 500_000
    assert same(orjson.loads(bytes(file.kept)), value)


@pytest.mark.parametrize("data", [b"", b"{", b"[1,2", b"nan", b"\xff", b"[" * 5_000])
def test_bytes_that_are_no_json_are_no_value(data: bytes) -> None:
    with pytest.raises(SerializationError, match=r"\(JSON\) makes no value here"):
        read(JSON(), data)


@given(st.binary())
def test_bytes_stay_as_they_are(value: bytes) -> None:
    assert written(Raw(), value) == value
    assert same(back(Raw(), value), value)


@pytest.mark.parametrize("value", ["x", bytearray(b"x"), memoryview(b"x"), None, type("B", (bytes,), {})(b"x")])
def test_bytes_of_any_other_type_are_refused(value: Any) -> None:
    with pytest.raises(SerializationError, match="takes values of the type bytes, and this is"):
        written(Raw(), value)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_stays_as_it_is(value: str) -> None:
    assert written(Text(), value) == value.encode()
    assert same(back(Text(), value), value)


@pytest.mark.parametrize("sign", ["x", "ü", "☃", "😀", "\r\n", "\ufeff"])
def test_long_text_is_written_and_read_in_slices(sign: str) -> None:
    value = sign * 700_001
    file = Trickle()

    Text().dump(value, file.file())

    assert file.largest <= 4 * 65_536
    assert read(Text(), bytes(file.kept)) == value


def test_text_with_half_of_a_surrogate_pair_is_refused_with_its_place() -> None:
    with pytest.raises(SerializationError, match="surrogates not allowed at character 70,001"):
        written(Text(), "x" * 70_001 + "\ud800")


@pytest.mark.parametrize("value", [b"x", Name("x"), Word.YES, 1, None])
def test_text_of_any_other_type_is_refused(value: Any) -> None:
    with pytest.raises(SerializationError, match="takes values of the type str, and this is"):
        written(Text(), value)


def test_bytes_that_are_no_text_are_no_value() -> None:
    for data in (b"\xff", b"ok \xc3"):
        with pytest.raises(SerializationError, match="makes no value here: UnicodeDecodeError"):
            Text().load(io.BytesIO(data))


def test_ids_and_moments_are_not_taken_for_text() -> None:
    for value in (uuid.UUID(int=1), datetime.date(2026, 1, 1)):
        with pytest.raises(SerializationError):
            exact({"a": value})
