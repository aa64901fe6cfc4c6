"""What every result storage promises: the bytes under a key are whole, or those that were there before, or none."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from headrace._ports import ResultStorage
from headrace._results.codecs import codec
from headrace._results.packing import pack, unpack
from headrace._results.remote import ObjectStorage, open_storage
from headrace.errors import CorruptResult, ResultNotFound, ResultStorageError, UntrustedResult
from tests.contract.storages import BUCKET, ENVIRONMENT, KEY, QUICK, SECRET, STORAGES, needed, s3_server

pytestmark = pytest.mark.required
DIGEST = sha256(b"x").hexdigest()
KEYS = ["plain", "reports/berlin 1.json", "ü/☃ & ? # % + =.json", DIGEST, "x" * 300, "a/b/c/d/e", "../x"[3:]]
SIZES = [0, 1, 65_537, 9 << 20]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Give the address of a server of S3; an empty one where none can be run."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        yield ""
        return
    with s3_server() as address:
        yield address


@pytest.fixture(params=STORAGES)
def storage(request: pytest.FixtureRequest, tmp_path: Path, server: str) -> ResultStorage:
    """Give an empty storage."""
    needed(request.param)
    return STORAGES[request.param](tmp_path, server)


def put(storage: ResultStorage, key: str, data: bytes) -> None:
    storage.write(key, lambda file: file.write(data))


def get(storage: ResultStorage, key: str) -> bytes:
    with storage.open(key) as file:
        return file.read()


@pytest.mark.parametrize("key", KEYS)
def test_what_was_written_under_a_key_is_found_under_it(storage: ResultStorage, key: str) -> None:
    put(storage, key, b"some bytes")

    assert get(storage, key) == b"some bytes"


@pytest.mark.parametrize("size", SIZES)
def test_bytes_come_back_however_many_they_are(storage: ResultStorage, size: int) -> None:
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    put(storage, "x", data)

    assert get(storage, "x") == data


def test_what_is_written_in_pieces_is_one(storage: ResultStorage) -> None:
    def fill(file: BinaryIO) -> None:
        for number in range(1_000):
            file.write(f"{number} ".encode())
        file.write(memoryview(b"y" * 1_000_000))
        file.write(bytearray(b"z"))

    storage.write("x", fill)

    assert get(storage, "x") == "".join(f"{number} " for number in range(1_000)).encode() + b"y" * 1_000_000 + b"z"


def test_an_open_file_seeks_and_fills_what_it_is_given(storage: ResultStorage) -> None:
    put(storage, "x", b"0123456789")

    with storage.open("x") as file:
        room = bytearray(4)
        assert file.seekable()
        assert file.read(3) == b"012"
        assert file.seek(0) == 0
        assert cast("Any", file).readinto(room) == 4
        assert room == b"0123"
        assert file.seek(0, 2) == 10
        assert file.read() == b""


def test_a_later_write_takes_the_place_of_an_earlier_one(storage: ResultStorage) -> None:
    put(storage, "x", b"a longer one")
    put(storage, "x", b"short")

    assert get(storage, "x") == b"short"


def test_keys_do_not_get_in_each_others_way(storage: ResultStorage) -> None:
    for key in KEYS:
        put(storage, key, key.encode())

    assert [get(storage, key) for key in KEYS] == [key.encode() for key in KEYS]
    assert storage.delete(KEYS[0])
    assert [get(storage, key) for key in KEYS[1:]] == [key.encode() for key in KEYS[1:]]


@pytest.mark.parametrize("key", ["nothing", "nothing/below.json", DIGEST])
def test_nothing_under_a_key_is_told_with_the_storage_and_the_key(storage: ResultStorage, key: str) -> None:
    with pytest.raises(ResultNotFound) as raised:
        storage.open(key)

    assert storage.where in str(raised.value)
    assert key in str(raised.value)


def test_what_was_deleted_is_gone_and_deleting_tells_whether_there_was_anything(storage: ResultStorage) -> None:
    put(storage, "a/x", b"1")

    assert storage.delete("a/x")
    assert not storage.delete("a/x")
    assert not storage.delete("never/there")
    with pytest.raises(ResultNotFound):
        storage.open("a/x")


@pytest.mark.parametrize("size", [1, 9 << 20])
def test_what_fill_raises_leaves_what_was_there_before(storage: ResultStorage, size: int) -> None:
    put(storage, "x", b"old")
    error = ZeroDivisionError("mine")

    def fill(file: BinaryIO) -> None:
        file.write(b"n" * size)
        raise error

    for key in ("x", "new"):
        with pytest.raises(ZeroDivisionError) as raised:
            storage.write(key, fill)
        assert raised.value is error

    assert get(storage, "x") == b"old"
    with pytest.raises(ResultNotFound):
        storage.open("new")


@pytest.mark.parametrize("key", ["", "..", "../x", "a/../../x", "/etc/x", "a\0b", "a\\b", "c:/x"])
def test_a_key_that_leads_out_of_the_storage_is_refused(storage: ResultStorage, key: str) -> None:
    for use in (lambda: put(storage, key, b"1"), lambda: get(storage, key), lambda: storage.delete(key)):
        with pytest.raises(ResultStorageError, match="cannot be the key of a result"):
            use()


def test_a_file_that_is_open_stays_as_it_was_while_another_takes_its_place(storage: ResultStorage) -> None:
    put(storage, "x", b"old" * 100_000)

    with storage.open("x") as file:
        begin = file.read(3)
        put(storage, "x", b"new" * 100_000)
        assert begin + file.read() == b"old" * 100_000


def test_threads_write_and_read_beside_each_other(storage: ResultStorage) -> None:
    wrong: list[object] = []
    put(storage, "shared", b"0" * 70_000)

    def work(number: int) -> None:
        try:
            for turn in range(5):
                mine = bytes([65 + number]) * (70_000 + turn)
                put(storage, f"own/{number}", mine)
                put(storage, "shared", mine)
                if get(storage, f"own/{number}") != mine or len(set(get(storage, "shared"))) != 1:
                    wrong.append((number, turn))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_a_storage_is_found_again_by_what_it_is_called(
    storage: ResultStorage, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": server}.items():
        monkeypatch.setenv(name, value)
    put(storage, "a/x", b"1")

    assert get(open_storage(storage.where), "a/x") == b"1"


def test_an_object_that_is_a_storage_is_taken_as_it_is(storage: ResultStorage) -> None:
    assert open_storage(storage) is storage
    assert open_storage(storage, trusted=False) is storage


# -- packed values ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [{"a": [1, "x" * 100_000]}, b"b" * 3_000_000, ("a tuple", {1, 2}), "ü" * 3_000_000])
def test_a_value_comes_back_from_every_storage(storage: ResultStorage, value: Any) -> None:
    for name in ("auto", "compressed/auto"):
        packed = pack(value, codec(name), inline=10, storage=lambda: storage, name="reports/x")

        assert (packed.data, packed.storage, packed.name) == (None, storage.where, "reports/x")
        assert unpack(packed, lambda where: storage) == value


@pytest.mark.parametrize(
    ("left", "why"),
    [(b"", "shorter"), (b"[1,2", "shorter"), (b"[1,2,3]]", "longer"), (b"[1,2,4]", "not those that were stored")],
)
def test_other_bytes_in_the_place_of_a_result_are_told_and_not_read(
    storage: ResultStorage, left: bytes, why: str
) -> None:
    packed = pack([1, 2, 3], codec("json"), inline=0, storage=lambda: storage, name="x")
    put(storage, "x", left)

    with pytest.raises(CorruptResult, match=f"under 'x' cannot be used: it.*{why}"):
        unpack(packed, lambda where: storage)


def test_a_result_that_was_deleted_is_told(storage: ResultStorage) -> None:
    packed = pack([1, 2, 3], codec("json"), inline=0, storage=lambda: storage, name="x")
    storage.delete("x")

    with pytest.raises(ResultNotFound, match="There is no result 'x'"):
        unpack(packed, lambda where: storage)


# -- S3 -----------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(server: str) -> dict[str, Any]:
    """Give the options that reach the server of S3, and try once."""
    needed("s3")
    return {
        "endpoint": server,
        "access_key_id": KEY,
        "secret_access_key": SECRET,
        "region": "us-east-1",
        "client_options": {"allow_http": True},
        **QUICK,
    }


def test_a_bucket_that_is_not_there_is_another_thing_than_a_result_that_is_not(bucket: dict[str, Any]) -> None:
    storage = ObjectStorage("s3://no-such-bucket/results", **bucket)

    for use in (lambda: put(storage, "x", b"1"), lambda: get(storage, "x")):
        with pytest.raises(ResultStorageError, match=r"s3://no-such-bucket/results failed: .*NoSuchBucket"):
            use()


def test_pickles_from_a_bucket_are_read_only_where_the_user_trusts_it(bucket: dict[str, Any]) -> None:
    storage = ObjectStorage(f"s3://{BUCKET}/untrusted", **bucket)
    packed = pack({1, 2}, codec("auto"), inline=0, storage=lambda: storage, name="x")
    plain = pack([1, 2], codec("auto"), inline=0, storage=lambda: storage, name="y")

    assert unpack(plain, lambda where: storage) == [1, 2]
    with pytest.raises(UntrustedResult, match=f"s3://{BUCKET}/untrusted under 'x' is in the form 'pickle'"):
        unpack(packed, lambda where: storage)
    assert unpack(packed, lambda where: ObjectStorage(where, trusted=True, **bucket)) == {1, 2}


def test_the_secrets_of_a_bucket_are_in_no_name_and_no_sentence(bucket: dict[str, Any]) -> None:
    del bucket["access_key_id"], bucket["secret_access_key"]
    storage = ObjectStorage(f"s3://{KEY}:{SECRET}@no-such-bucket/results?token=hidden", **bucket)

    with pytest.raises(ResultStorageError) as raised:
        put(storage, "x", b"1")

    for said in (storage.where, repr(storage), str(raised.value)):
        assert "no-such-bucket" in said
        assert not any(secret in said for secret in (KEY, SECRET, "hidden"))


def test_keys_in_the_url_of_a_bucket_are_used(bucket: dict[str, Any]) -> None:
    del bucket["access_key_id"], bucket["secret_access_key"]
    storage = ObjectStorage(f"s3://{KEY}:{SECRET}@{BUCKET}/by-url", **bucket)

    put(storage, "x", b"1")

    assert get(storage, "x") == b"1"


def test_a_server_that_does_not_answer_is_told(bucket: dict[str, Any]) -> None:
    bucket["endpoint"] = "http://127.0.0.1:9"
    storage = ObjectStorage(f"s3://{BUCKET}/x", **bucket)

    for use in (lambda: put(storage, "x", b"1"), lambda: get(storage, "x"), lambda: storage.delete("x")):
        with pytest.raises(ResultStorageError, match=r"error sending request.*See that it can be reached"):
            use()
