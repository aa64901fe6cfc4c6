"""Results in local files: where they land, whose they are, and what is left where writing them ends early."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import stat
import subprocess
import sys
import uuid
from collections.abc import Generator
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace._ports import ResultStorage
from headrace._results.files import LONGEST, FileStorage, MemoryStorage, failure, place, pour
from headrace.errors import ResultNotFound, ResultStorageError

DIGEST = sha256(b"x").hexdigest()


def put(storage: ResultStorage, key: str, data: bytes) -> None:
    storage.write(key, lambda file: file.write(data))


def get(storage: ResultStorage, key: str) -> bytes:
    with storage.open(key) as file:
        return file.read()


def found(folder: Path) -> list[str]:
    """Every file under *folder*."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# -- keys ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["reports/berlin.json", "a", "a b/ü ☃.x", "...", ".hidden", "ab:c", "~/x", "x" * 200])
def test_a_key_is_the_path_of_its_file(tmp_path: Path, key: str) -> None:
    put(FileStorage(tmp_path), key, b"1")

    assert found(tmp_path) == [key]


@pytest.mark.parametrize("key", [DIGEST, str(uuid.UUID(int=0x1234)), "0123456789abcdef"])
def test_a_digest_or_an_id_lies_in_one_of_256_folders(tmp_path: Path, key: str) -> None:
    put(FileStorage(tmp_path), key, b"1")

    assert found(tmp_path) == [f"{key[-2:]}/{key}"]


@pytest.mark.parametrize(
    "key",
    ["", ".", "..", "../x", "a/../x", "a/./x", "/etc/x", "a//b", "a/", "a\0b", "a\\b", "C:/x", "c:x", "a\nb", "\ud800"],
)
def test_a_key_that_leads_elsewhere_is_refused(tmp_path: Path, key: str) -> None:
    for storage in (FileStorage(tmp_path / "results"), MemoryStorage()):
        for use in (lambda: put(storage, key, b"1"), lambda: storage.open(key), lambda: storage.delete(key)):  # noqa: B023
            with pytest.raises(ResultStorageError, match=r"cannot be the key of a result\. Choose a relative path"):
                use()

    assert found(tmp_path) == []


@given(st.text(max_size=300).map(lambda text: text * 3))
def test_a_key_is_refused_or_stays_below_the_folder_in_parts_that_file_systems_take(key: str) -> None:
    try:
        path = place("here", key)
    except ResultStorageError:
        return

    parts = path.split("/")
    assert not path.startswith("/")
    assert all(0 < len(part.encode()) <= LONGEST and part not in {".", ".."} for part in parts)
    assert path == place("here", key)


def test_a_long_name_ends_in_a_digest_of_it_and_keeps_its_ending(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    for number in range(2):
        put(storage, f"reports/{'ü' * 300}{number}.json", str(number).encode())

    names = found(tmp_path)

    assert len(names) == 2
    assert all(name.startswith("reports/üüü") and name.endswith(".json") for name in names)
    assert get(storage, f"reports/{'ü' * 300}1.json") == b"1"


# -- whose they are -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fsync", [False, True])
def test_folders_and_files_are_their_owners_alone_whatever_the_umask(tmp_path: Path, fsync: bool) -> None:
    before = os.umask(0)
    try:
        put(FileStorage(tmp_path / "deep" / "results", fsync=fsync), "a/b/c.json", b"1")
    finally:
        os.umask(before)

    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_dir()}
    assert modes == {0o700}
    assert stat.S_IMODE((tmp_path / "deep/results/a/b/c.json").stat().st_mode) == 0o600


def test_a_storage_stays_where_it_was_when_the_working_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = FileStorage("results")
    monkeypatch.chdir("/")

    put(storage, "x", b"1")

    assert found(tmp_path) == ["results/x"]
    assert storage.where == str(tmp_path / "results")


# -- what is left -------------------------------------------------------------------------------------------


def test_what_fill_raises_is_raised_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    put(storage, "x", b"old")
    for error in (ValueError("mine"), FileNotFoundError(2, "No such file", "mine"), KeyboardInterrupt()):

        def fill(file: BinaryIO, error: BaseException = error) -> None:
            file.write(b"n" * 1_000_000)
            raise error

        with pytest.raises(type(error)) as raised:
            storage.write("x", fill)
        assert raised.value is error

    assert found(tmp_path) == ["x"]
    assert get(storage, "x") == b"old"


WRITER = """
import sys
from headrace._results.files import FileStorage

def fill(file):
    file.write(b"n" * 1_000_000)
    print("half", flush=True)
    sys.stdin.read()

FileStorage(sys.argv[1]).write("x", fill)
"""


def test_a_process_that_is_killed_while_it_writes_leaves_what_was_there(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    put(storage, "x", b"old")
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL

    assert get(storage, "x") == b"old"
    (left,) = (name for name in found(tmp_path) if name != "x")
    assert left.startswith(".")
    assert left.endswith(".part")


LIMITED = """
import resource, sys
from headrace._results.files import FileStorage
from headrace.errors import ResultStorageError

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for fill in (lambda file: file.write(b"n" * 1_000_000), lambda file: [file.write(b"n" * 999) for _ in range(999)]):
    try:
        FileStorage(sys.argv[1]).write("x", fill)
    except ResultStorageError as error:
        print(error)
"""


def test_a_disk_that_takes_no_more_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    put(FileStorage(tmp_path), "x", b"old")

    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.count(f"The result storage {tmp_path} failed: File too large. Raise the limit") == 2
    assert found(tmp_path) == ["x"]
    assert get(FileStorage(tmp_path), "x") == b"old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("count", [1, 1_000_000])
def test_a_full_disk_is_told_whatever_a_codec_makes_of_it(count: int) -> None:
    def fill(file: BinaryIO) -> None:
        try:
            file.write(b"n" * count)
        except OSError:
            raise TypeError("not the reason") from None

    with (
        open("/dev/full", "wb", 0) as full,
        pytest.raises(ResultStorageError, match=r"No space left on device\. Free some space there"),
    ):
        pour(full, fill, lambda error: failure("here", error))


@contextlib.contextmanager
def as_nobody() -> Generator[None]:
    """Be a user who may do little, where this one may do all."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_that_may_not_be_written_or_read_is_told(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "closed")
    put(storage, "a/x", b"1")
    (tmp_path / "closed" / "a").chmod(0)
    try:
        with as_nobody():
            for use in (lambda: put(storage, "a/x", b"2"), lambda: get(storage, "a/x"), lambda: storage.delete("a/x")):
                with pytest.raises(ResultStorageError, match=r"failed: Permission denied\. See that it is there"):
                    use()
    finally:
        (tmp_path / "closed" / "a").chmod(0o700)

    assert get(storage, "a/x") == b"1"


def test_a_file_in_the_place_of_a_folder_and_a_folder_in_that_of_a_file_are_told(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    put(storage, "a", b"1")
    put(storage, "b/c", b"1")

    with pytest.raises(ResultStorageError, match="Remove the file that stands where a folder is to be"):
        put(storage, "a/x", b"2")
    with pytest.raises(ResultStorageError, match="Remove the folder that stands where a file is to be"):
        put(storage, "b", b"2")
    for key in ("a/x", "b"):
        with pytest.raises(ResultNotFound):
            storage.open(key)
        assert not storage.delete(key)

    assert found(tmp_path) == ["a", "b/c"]


def test_files_that_cannot_be_opened_any_more_are_told(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull) as last:
        resource.setrlimit(resource.RLIMIT_NOFILE, (last.fileno() + 1, hard))
        try:
            with pytest.raises(ResultStorageError, match="Too many open files"):
                put(storage, "x", b"1")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert found(tmp_path) == []


# -- memory -------------------------------------------------------------------------------------------------


def test_storages_in_memory_of_one_name_hold_the_same_and_others_their_own() -> None:
    one, other, third = MemoryStorage("test-a"), MemoryStorage("test-a"), MemoryStorage()
    put(one, "x", b"1")

    assert get(other, "x") == b"1"
    with pytest.raises(ResultNotFound):
        third.open("x")
    assert len({one.where, other.where, third.where, MemoryStorage().where}) == 3


def test_what_a_storage_in_memory_held_goes_with_the_last_who_holds_it() -> None:
    one = MemoryStorage("test-b")
    put(one, "x", b"1")
    del one

    with pytest.raises(ResultNotFound):
        MemoryStorage("test-b").open("x")
