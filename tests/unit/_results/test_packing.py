"""Packing: small values inline, large ones in a storage, and none of either unless the bytes are the right ones."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO

import attrs
import pytest
from hypothesis import given

from headrace._ports import ResultStorage
from headrace._results.codecs import codec
from headrace._results.files import FileStorage, MemoryStorage
from headrace._results.packing import Packed, pack, unpack
from headrace.errors import (
    CorruptResult,
    ResultNotFound,
    ResultStorageError,
    SerializationError,
    UntrustedResult,
)
from tests.unit._results import heaps
from tests.unit._results.alike import Point, same
from tests.unit._results.test_plain import ANY

LINUX = Path("/proc/self/clear_refs").exists()


def none() -> ResultStorage:
    raise AssertionError("no storage is needed")


def inlined(value: Any, name: str = "auto") -> Packed:
    return pack(value, codec(name), inline=1 << 30, storage=none, name="x")


def put(storage: ResultStorage, key: str, data: bytes) -> None:
    storage.write(key, lambda file: file.write(data))


# -- inline and beside --------------------------------------------------------------------------------------


@given(ANY)
def test_a_value_comes_back_from_the_record_and_from_a_storage(value: Any) -> None:
    storage = MemoryStorage()
    inline = inlined(value)
    beside = pack(value, codec("compressed/auto"), inline=0, storage=lambda: storage, name="a/x", always=True)

    assert same(unpack(inline, lambda where: none()), value)
    assert same(unpack(beside, lambda where: storage), value)
    assert (inline.storage, inline.name, beside.data) == (None, None, None)
    assert (beside.storage, beside.name) == (storage.where, "a/x")
    assert beside.codec == f"compressed/{inline.codec}"


def test_the_record_holds_size_and_digest_of_the_very_bytes() -> None:
    packed = inlined({"a": [1, 2.5, None]})

    assert packed.data == b'{"a":[1,2.5,null]}'
    assert packed.size == len(packed.data)
    assert packed.digest == blake2b(packed.data, digest_size=16).hexdigest()
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        packed.size = 1  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", ["bytes", "text", "json", "pickle", "compressed/json", "auto"])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_what_is_longer_than_may_be_inline_goes_to_the_storage(name: str, more: int) -> None:
    storage = MemoryStorage()
    value: Any = b"x" * 500 if name == "bytes" else "".join(chr(65 + number % 50) for number in range(500))
    size = inlined(value, name).size

    packed = pack(value, codec(name), inline=size + more, storage=lambda: storage, name="x")

    assert packed.size == size
    assert (packed.data is None) == (more < 0)
    assert len(storage.kept) == (1 if more < 0 else 0)
    assert unpack(packed, lambda where: storage) == value


@pytest.mark.parametrize("value", [None, b"", "", {}, 0, (), Point(1)])
def test_the_smallest_values_go_to_the_storage_where_all_do(value: Any) -> None:
    storage = MemoryStorage()

    packed = pack(value, codec("auto"), inline=1_000, storage=lambda: storage, name="x", always=True)

    assert packed.data is None
    assert same(unpack(packed, lambda where: storage), value)


class Counting:
    """A codec that counts how often it was asked."""

    def __init__(self, name: str, pieces: int) -> None:
        self.name = name
        self.pieces = pieces
        self.asked = 0

    def dump(self, value: Any, file: BinaryIO) -> None:
        self.asked += 1
        for _ in range(self.pieces):
            file.write(value)

    def load(self, file: BinaryIO) -> Any:
        return file.read()


def test_what_comes_in_one_piece_is_encoded_once_and_what_streams_is_begun_anew() -> None:
    storage = MemoryStorage()
    for given_codec, asked in ((Counting("one-piece", 1), 1), (Counting("many-pieces", 50), 2)):
        packed = pack(b"x" * 1_000, codec(given_codec), inline=100, storage=lambda: storage, name="x")

        assert given_codec.asked == asked
        assert packed.size == 1_000 * given_codec.pieces
        assert unpack(packed, lambda where: storage) == b"x" * packed.size


def test_a_codec_that_reuses_what_it_wrote_spoils_nothing() -> None:
    class Reusing(Counting):
        def dump(self, value: Any, file: BinaryIO) -> None:
            room = bytearray(value)
            file.write(room)
            room[:] = bytes(len(room))

    storage = MemoryStorage()
    for inline in (0, 5, 100):
        packed = pack(b"12345", codec(Reusing("reusing", 1)), inline=inline, storage=lambda: storage, name="x")
        assert unpack(packed, lambda where: storage) == b"12345"


def test_auto_goes_on_to_pickle_where_json_ends_in_the_middle_of_a_storage(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    value = [*({"id": number} for number in range(20_000)), (1, 2)]

    packed = pack(value, codec("auto"), inline=1_000, storage=lambda: storage, name="x")

    assert packed.codec == "pickle"
    assert same(unpack(packed, lambda where: storage), value)
    assert [path.name for path in tmp_path.rglob("*")] == ["x"]


# -- what cannot be written ---------------------------------------------------------------------------------


def test_a_value_without_a_form_leaves_nothing_behind(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    for value in (["x" * 1_000] * 1_000 + [sys.stdout], sys.stdout):
        with pytest.raises(SerializationError, match=r"cannot be pickled: .* Return plain data"):
            pack(value, codec("auto"), inline=1_000, storage=lambda: storage, name="x")

    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("inline", [0, 10_000_000])
def test_a_codec_that_fails_is_told_with_its_name(inline: int) -> None:
    class Failing(Counting):
        def dump(self, value: Any, file: BinaryIO) -> None:
            file.write(b"x" * 1_000_000)
            raise FileNotFoundError(2, "No such file", "mine")

    with pytest.raises(SerializationError, match="The codec 'failing' cannot write a value of type int: FileNotFound"):
        pack(1, codec(Failing("failing", 1)), inline=inline, storage=MemoryStorage, name="x")


def test_a_codec_that_hides_that_it_was_stopped_is_begun_anew_all_the_same() -> None:
    class Hiding(Counting):
        def dump(self, value: Any, file: BinaryIO) -> None:
            try:
                super().dump(value, file)
            except Exception:
                if self.name == "hiding-by-another":
                    raise ValueError("another") from None

    storage = MemoryStorage()
    for name in ("hiding", "hiding-by-another"):
        packed = pack(b"x" * 60, codec(Hiding(name, 3)), inline=100, storage=lambda: storage, name="x")
        assert packed.size == 180


@pytest.mark.skipif(not LINUX, reason="this system has no /dev/full")
@pytest.mark.parametrize("name", ["auto", "compressed/pickle", "json", "bytes", "counting-full"])
def test_a_storage_that_is_full_is_told_and_not_blamed_on_the_codec(name: str) -> None:
    from headrace._results.files import failure, pour

    class Full(MemoryStorage):
        def write(self, key: str, fill: Any) -> None:
            with open("/dev/full", "wb", 0) as full:
                pour(full, fill, lambda error: failure(self.where, error))

    codec(Counting("counting-full", 10))
    value = {"auto": ["x"] * 500_000, "json": ["x"] * 500_000, "compressed/pickle": os.urandom(1_000_000)}
    with pytest.raises(ResultStorageError, match=r"No space left on device\. Free some space"):
        pack(value.get(name, b"x" * 200_000), codec(name), inline=0, storage=Full, name="x")


# -- what cannot be read ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"data": b"[1,2"}, "it is shorter than what was stored: 4 bytes, not 7"),
        ({"data": b"[1,2,3]]]"}, "it is longer than what was stored: 9 bytes, not 7"),
        ({"data": b"[1,2,4]"}, "its bytes are not those that were stored"),
        ({"digest": "0" * 32}, "its bytes are not those that were stored"),
        ({"size": 8}, "it is shorter"),
        ({"data": None}, "it holds neither the bytes nor where they are"),
    ],
)
def test_a_record_with_other_bytes_is_told(change: dict[str, Any], why: str) -> None:
    packed = attrs.evolve(inlined([1, 2, 3]), **change)

    with pytest.raises(CorruptResult, match=f"The result in the record cannot be used: {why}"):
        unpack(packed, lambda where: none())


def test_bytes_are_checked_before_any_of_them_is_decoded(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    packed = pack((1, 2), codec("auto"), inline=0, storage=lambda: storage, name="x")
    put(storage, "x", inlined(Trap(tmp_path / "sprung"), "pickle").data or b"")

    with pytest.raises(CorruptResult):
        unpack(packed, lambda where: storage)

    assert not (tmp_path / "sprung").exists()


class Trap:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["pickle", "cloudpickle", "compressed/pickle", "compressed/compressed/pickle", "auto"])
def test_a_pickle_that_others_may_have_written_is_never_run(tmp_path: Path, name: str) -> None:
    trap = Trap(tmp_path / "sprung")
    storage = FileStorage(tmp_path / "results", trusted=False)
    packed = pack(trap, codec(name), inline=0, storage=lambda: storage, name="x")
    inline = inlined(trap, name)
    by_auto = attrs.evolve(packed, codec="auto")

    for refused in (packed, by_auto):
        with pytest.raises(
            UntrustedResult, match=r"results under 'x' is in the form .* and the storage is not trusted"
        ):
            unpack(refused, lambda where: storage)
    with pytest.raises(UntrustedResult, match="The result in the record is in the form"):
        unpack(inline, lambda where: none(), trusted=False)
    assert not (tmp_path / "sprung").exists()

    unpack(packed, lambda where: FileStorage(where))
    assert (tmp_path / "sprung").exists()


def test_an_untrusted_storage_is_not_even_asked_for_a_pickle() -> None:
    class Silent(MemoryStorage):
        def open(self, key: str) -> BinaryIO:
            raise AssertionError("it was opened")

    packed = pack({1}, codec("auto"), inline=0, storage=MemoryStorage, name="x")
    silent = Silent()
    silent.trusted = False

    with pytest.raises(UntrustedResult):
        unpack(packed, lambda where: silent)


def test_plain_values_come_from_untrusted_storages() -> None:
    storage = MemoryStorage()
    storage.trusted = False
    for value in ({"a": 1}, b"x", "x" * 70_000):
        packed = pack(value, codec("auto"), inline=0, storage=lambda: storage, name="x")
        assert unpack(packed, lambda where: storage, trusted=False) == value


def test_a_result_of_an_unknown_codec_says_which_and_what_to_do() -> None:
    packed = attrs.evolve(inlined([1]), codec="msgpack/9")

    with pytest.raises(SerializationError, match="No codec named 'msgpack/9' is known here"):
        unpack(packed, lambda where: none())


def test_a_result_that_is_not_there_is_told(tmp_path: Path) -> None:
    packed = Packed("json", 1, "0" * 32, None, str(tmp_path), "x")

    with pytest.raises(ResultNotFound):
        unpack(packed, FileStorage)


def test_whatever_a_codec_of_the_users_raises_is_told_with_its_name() -> None:
    class Unreadable(Counting):
        def load(self, file: BinaryIO) -> Any:
            raise KeyError("missing")

    packed = pack(b"x", codec(Unreadable("unreadable", 1)), inline=100, storage=none, name="x")

    with pytest.raises(SerializationError, match=r"the record cannot be read by the codec 'unreadable': KeyError"):
        unpack(packed, lambda where: none())


def test_a_class_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = inlined(Point(1))
    monkeypatch.delattr("tests.unit._results.alike.Point")

    with pytest.raises(SerializationError, match=r"\(pickle\) makes no value here: AttributeError: .*Point"):
        unpack(packed, lambda where: none())


# -- how much it takes --------------------------------------------------------------------------------------


@pytest.mark.required
@pytest.mark.skipif(not LINUX, reason="only Linux tells what memory a process had at most")
@pytest.mark.parametrize(
    ("kind", "form", "read"),
    [
        ("bytes", "auto", 1),
        ("array", "auto", 1),
        ("frame", "auto", 2),  # Arrow gives a table, of which pandas makes its own
        ("text", "auto", 2),  # slices, and the str that is made of them
        ("rows", "json", None),
        ("array", "compressed/pickle", 1),
    ],
)
def test_packing_takes_little_memory_and_unpacking_that_of_the_value(
    tmp_path: Path, kind: str, form: str, read: int | None
) -> None:
    for package in ("numpy", "pandas", "pyarrow"):
        pytest.importorskip(package)

    def said(doing: str) -> float:
        command = [sys.executable, "-m", heaps.__name__, doing, kind, form, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
        assert done.returncode == 0, done.stderr
        return float(done.stdout)

    assert said("pack") < 64
    if read is not None:
        assert said("unpack") < read * heaps.SIZE + 96


def test_moments_come_back_by_pickle() -> None:
    value = {"at": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)}

    assert unpack(inlined(value), lambda where: none()) == value
