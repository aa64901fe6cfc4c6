"""Codecs of any value, and how they are found: by name, by what fits, and those of the user's own."""

from __future__ import annotations

import functools
import gzip
import io
import pickle
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import given

from headrace._results.codecs import Compressed, choose, codec, forms, register
from headrace.errors import OptionError, OptionTypeError, SerializationError
from tests.unit._results.alike import ODD, Point, Trickle, back, read, same, written
from tests.unit._results.test_plain import ANY, PLAIN

NAMES = ["auto", "bytes", "text", "json", "pickle", "cloudpickle", "arrow", "parquet"]


@pytest.mark.parametrize("name", [*NAMES, *(f"compressed/{name}" for name in NAMES)])
def test_a_codec_is_found_by_its_name(name: str) -> None:
    found = codec(name)

    assert found.name == name
    assert found.safe == (name.rpartition("/")[2] in {"bytes", "text", "json", "arrow", "parquet"})
    assert codec(found) is found


@pytest.mark.parametrize("name", ["jsn", "", "JSON", "compressed/", "compressed/nope", "../pickle", "x" * 100, "a b"])
def test_a_name_that_nobody_has_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(SerializationError, match=r"No codec named .* Known are auto, bytes, text, json, pickle"):
        codec(name)


def test_a_mistyped_name_is_told_the_nearest() -> None:
    with pytest.raises(SerializationError, match="did you mean 'pickle'"):
        codec("pikle")


# -- pickle -------------------------------------------------------------------------------------------------


@given(ANY)
def test_pickle_gives_back_any_value(value: Any) -> None:
    assert same(back(codec("pickle"), value), value)


def test_a_pickle_is_one_that_python_reads_alone() -> None:
    assert pickle.loads(written(codec("pickle"), {"a": (1, 2)})) == {"a": (1, 2)}  # noqa: S301 - our own bytes


@pytest.mark.required
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_array_is_written_from_where_it_lies_and_read_into_where_it_stays(order: str) -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.asarray(numpy.arange(2_000_000.0).reshape(2_000, 1_000), order=order)
    file = Trickle()
    codec("pickle").dump({"a": array, "b": b"x" * 3_000_000}, file.file())

    class Filled(io.BytesIO):
        """Knows the largest piece that was asked of it as new bytes."""

        largest = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            Filled.largest = max(Filled.largest, len(data))
            return data

    found = codec("pickle").load(Filled(bytes(file.kept)))

    assert file.largest == array.nbytes
    assert Filled.largest < 100_000
    assert found["a"].flags.writeable
    assert numpy.array_equal(found["a"], array)
    assert found["b"] == b"x" * 3_000_000


def unpicklable() -> dict[str, Any]:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    return {
        "a lock": {"lock": threading.Lock()},
        "a generator": (one for one in [1]),
        "a file": sys.stdout,
        "something too deep": deep,
        "an object that will not": Stubborn(),
    }


class Stubborn:
    def __reduce__(self) -> Any:
        raise KeyError("no")


@pytest.mark.parametrize("name", ["pickle", "cloudpickle", "auto", "compressed/pickle"])
def test_what_cannot_be_pickled_is_refused_with_the_reason(name: str) -> None:
    for value in unpicklable().values():
        with pytest.raises(SerializationError, match=r"cannot be pickled: .+\. Return plain data"):
            choose(codec(name), value)


@pytest.mark.required
def test_what_only_cloudpickle_takes_is_kept_by_it_under_its_own_name() -> None:
    pytest.importorskip("cloudpickle")

    class Local:
        def __eq__(self, other: object) -> bool:
            return type(other).__name__ == "Local"

        def __hash__(self) -> int:
            return 1

    for value in (lambda: 7, Local()):
        for name in ("pickle", "auto"):
            chosen = choose(codec(name), value)
            assert chosen.name == "cloudpickle"
            found = back(chosen, value)
            assert found() == 7 if callable(value) else found == value
    assert choose(codec("compressed/auto"), lambda: 7).name == "compressed/cloudpickle"


def test_cloudpickle_is_not_asked_where_pickle_does() -> None:
    assert [choose(codec("pickle"), value).name for value in (1, Point(1), {"a": int})] == ["pickle"] * 3


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\x80\x05cno_such_module\nThing\n.", b"\x80\x05\x95\xff"])
def test_bytes_that_are_no_pickle_are_no_value(data: bytes) -> None:
    with pytest.raises(SerializationError, match=r"\(pickle\) makes no value here"):
        read(codec("pickle"), data)


# -- auto ---------------------------------------------------------------------------------------------------


@given(ANY)
def test_auto_gives_back_any_value(value: Any) -> None:
    assert same(back(codec("auto"), value), value)
    assert same(back(codec("compressed/auto"), value), value)


@given(PLAIN)
def test_auto_takes_json_for_what_json_is_made_of(value: Any) -> None:
    assert choose(codec("auto"), value).name == "json"


@pytest.mark.parametrize("name", ODD)
def test_auto_takes_bytes_for_bytes_and_pickle_for_what_json_would_change(name: str) -> None:
    chosen = choose(codec("auto"), ODD[name])

    assert chosen.name == ("bytes" if name == "bytes" else "pickle")
    assert same(back(chosen, ODD[name]), ODD[name])


def test_auto_takes_text_for_what_is_long() -> None:
    auto = codec("auto")

    assert choose(auto, "x" * 60_000).name == "json"
    assert choose(auto, "x" * 70_000).name == "text"
    assert choose(auto, "x" * 70_000 + "\ud800").name == "pickle"


def test_auto_tells_what_to_try_without_encoding_anything() -> None:
    values: list[Any] = [b"", {}, 1j, "x" * 70_000]

    first = [next(iter(forms(codec("auto"), value))).name for value in values]

    assert first == ["bytes", "json", "pickle", "text"]
    assert [form.name for form in forms(codec("json"), 1)] == ["json"]


# -- compressed ---------------------------------------------------------------------------------------------


def test_what_is_compressed_is_gzip_of_equal_bytes_for_equal_values() -> None:
    value = {"a": ["x" * 1_000] * 100}

    data = written(codec("compressed/json"), value)

    assert len(data) < 2_000
    assert gzip.decompress(data) == written(codec("json"), value)
    assert data == written(codec("compressed/json"), value)


@pytest.mark.required
def test_large_values_are_compressed_and_read_in_small_pieces() -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(1_000_000)
    file = Trickle()
    packed = codec("compressed/pickle")

    packed.dump(array, file.file())

    assert len(file.kept) > 100_000
    assert numpy.array_equal(read(packed, bytes(file.kept)), array)


@pytest.mark.parametrize("unit", [b"0", b"ab", bytes(range(256))])
@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 131_072, 3_000_001])
def test_compressed_bytes_come_back_whatever_their_number(unit: bytes, size: int) -> None:
    value = (unit * size)[:size]

    assert back(codec("compressed/bytes"), value) == value
    assert back(codec("compressed/pickle"), [value, b"", bytearray(value)]) == [value, b"", value]


@pytest.mark.parametrize("cut", [1, 5, 12, 40])
def test_compressed_bytes_that_are_cut_short_are_no_value(cut: int) -> None:
    for name in ("compressed/json", "compressed/pickle", "compressed/text"):
        value = "some text" * 1_000
        with pytest.raises(SerializationError, match="makes no value here"):
            read(codec(name), written(codec(name), value)[:cut])


# -- the user's own -----------------------------------------------------------------------------------------


class Shout:
    """Knows bytes only, and calls its name a type."""

    type = "shout"

    def dumps(self, value: Any) -> bytes:
        return str(value).upper().encode()

    def loads(self, data: bytes) -> Any:
        return data.decode()


class Whisper:
    """Knows files, and says that it is safe."""

    name = "whisper/1"
    safe = True

    def dump(self, value: Any, file: BinaryIO) -> None:
        file.write(str(value).lower().encode())

    def load(self, file: BinaryIO) -> Any:
        return file.read().decode()


def test_a_codec_of_the_users_that_knows_bytes_is_found_by_its_name_afterwards() -> None:
    made = codec(Shout())

    assert (made.name, made.safe) == ("shout", False)
    assert codec("shout") is made
    assert back(made, "hey") == "HEY"
    assert back(codec("compressed/shout"), "hey") == "HEY"


def test_a_codec_of_the_users_that_knows_files_says_whether_it_is_safe() -> None:
    made = codec(Whisper())

    assert (made.name, made.safe) == ("whisper/1", True)
    assert back(codec("whisper/1"), "HEY") == "hey"


def test_a_later_codec_of_the_same_class_takes_the_place_of_an_earlier_one() -> None:
    one, other = Shout(), Shout()

    assert codec(one) is codec(one)
    assert codec(other) is not codec(one)
    assert codec("shout") is codec("shout")


def test_two_classes_of_codecs_cannot_share_a_name() -> None:
    class Loud(Shout):
        type = "shout"

    register(Shout())
    with pytest.raises(OptionError, match="Two codecs are named 'shout'"):
        register(Loud())


@pytest.mark.parametrize("name", ["pickle", "auto", "compressed/mine", "Mine", "my codec", "x" * 61, "ü"])
def test_a_codec_cannot_take_a_name_that_is_taken_or_is_none(name: str) -> None:
    mine = Shout()
    cast("Any", mine).name = name

    with pytest.raises(OptionError, match="A codec cannot be named"):
        register(mine)


@pytest.mark.parametrize("given", [None, 7, Shout, pickle, object(), functools.partial(print), {"name": "x"}])
def test_what_is_no_codec_is_refused(given: Any) -> None:
    with pytest.raises(OptionTypeError, match=r"is no codec\. Give the name of one, or an object with a name"):
        codec(given)


def test_a_codec_that_gives_text_for_bytes_is_told() -> None:
    class Texts(Shout):
        type = "texts"

        def dumps(self, value: Any) -> Any:
            return "text"

    with pytest.raises(SerializationError, match=r"The codec 'texts' gave 'text' \(str\) for a value"):
        written(codec(Texts()), 1)


def test_compression_goes_around_any_codec(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    with path.open("wb") as file:
        Compressed(codec(Whisper())).dump("HEY" * 100, file)

    assert gzip.decompress(path.read_bytes()) == b"hey" * 100
