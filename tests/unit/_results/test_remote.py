"""Which storage a path, a URL or an object means, what is said where it means none, and that no secret is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace._ports import ResultStorage
from headrace._results.files import FileStorage, MemoryStorage
from headrace._results.remote import FsspecStorage, ObjectStorage, open_storage, shown
from headrace.errors import MissingExtra, OptionError, OptionTypeError, ResultStorageError


def put(storage: ResultStorage, key: str, data: bytes) -> None:
    storage.write(key, lambda file: file.write(data))


@pytest.mark.parametrize("spec", ["results", "./a:b", "C:results", "a/s3://b", "~/results", "/tmp/ü x"])
def test_a_path_means_a_folder(spec: str) -> None:
    for folder in (spec, Path(spec)):
        storage = open_storage(folder)

        assert isinstance(storage, FileStorage)
        assert storage.where == str(Path(spec).expanduser().absolute())
        assert storage.trusted


@pytest.mark.parametrize("host", ["", "localhost"])
def test_a_file_url_means_a_folder(host: str) -> None:
    assert open_storage(f"file://{host}/tmp/my%20results").where == "/tmp/my results"
    assert open_storage("file:/tmp/x").where == "/tmp/x"


@pytest.mark.parametrize("url", ["file://elsewhere/x", "file://x", "file:", "file:x"])
def test_a_file_url_of_another_machine_is_refused(url: str) -> None:
    with pytest.raises(OptionError, match="names no folder of this machine"):
        open_storage(url)


def test_memory_is_the_same_for_everyone_in_the_process() -> None:
    put(open_storage("memory:"), "test_remote", b"1")

    assert open_storage("memory:").delete("test_remote")
    assert open_storage("memory:test-one").where == "memory:test-one"
    assert open_storage(MemoryStorage("test-two").where).where == "memory:test-two"


def test_an_empty_text_means_nothing() -> None:
    with pytest.raises(OptionError, match="cannot be the empty text"):
        open_storage("")


@pytest.mark.parametrize("given", [None, 7, object(), MemoryStorage, {"where": "x"}, b"/tmp"])
def test_an_object_that_is_no_storage_is_refused(given: Any) -> None:
    with pytest.raises(OptionTypeError, match=r"is no result storage\. Give a folder, a URL, 'memory:'"):
        open_storage(given)


@pytest.mark.required
@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("s3://bucket/results", ObjectStorage),
        ("gs://bucket/results", ObjectStorage),
        ("abfss://container@account.dfs.core.windows.net/results", ObjectStorage),
        ("https://example.invalid/results", ObjectStorage),
        ("memory://results", FsspecStorage),
        ("local:///tmp/results", FsspecStorage),
    ],
)
def test_what_lies_in_other_hands_is_trusted_only_if_the_user_says_so(url: str, kind: type[Any]) -> None:
    pytest.importorskip("obstore")
    pytest.importorskip("fsspec")

    assert [open_storage(url, trusted=trusted).trusted for trusted in (None, False, True)] == [False, False, True]
    assert isinstance(open_storage(url), kind)
    assert open_storage(url + "/").where == url


def test_a_folder_is_trusted_unless_the_user_says_otherwise() -> None:
    for spec in ("/tmp/x", Path("/tmp/x"), "file:///tmp/x"):
        assert [open_storage(spec, trusted=trusted).trusted for trusted in (None, False, True)] == [True, False, True]


@pytest.mark.required
@pytest.mark.parametrize("url", ["nonsense://x/y", "s4://bucket", "sftp://host/x"])
def test_a_url_that_nobody_knows_or_that_lacks_a_package_is_refused(url: str) -> None:
    pytest.importorskip("fsspec")

    with pytest.raises(OptionError, match=rf"The result storage {url} cannot be used: .*See that the URL is right"):
        open_storage(url)


@pytest.mark.required
def test_a_wrong_option_is_refused() -> None:
    pytest.importorskip("obstore")

    with pytest.raises(OptionError, match=r"s3://bucket cannot be used: .*nonsense.*See that the URL, the options"):
        ObjectStorage("s3://bucket", nonsense="1")


def test_an_object_storage_without_obstore_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)

    with pytest.raises(MissingExtra, match=r's3://bucket/x needs packages .* pip install "headrace\[storage\]"'):
        open_storage("s3://key:secret@bucket/x")


def test_another_url_without_fsspec_says_what_is_known_and_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)

    with pytest.raises(OptionError, match=r"sftp://host/x is of no kind .* s3://.* pip install fsspec"):
        open_storage("sftp://host/x")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://key:secret@bucket/x", "s3://bucket/x"),
        ("https://user:secret@host:8080/x/?signature=secret#secret", "https://host:8080/x"),
        ("https://secret@host/x", "https://host/x"),
        ("sftp://user:secret@host/x", "sftp://user@host/x"),
        ("abfss://container@account.dfs.core.windows.net/x", "abfss://container@account.dfs.core.windows.net/x"),
        ("s3://bucket", "s3://bucket"),
        ("simplecache::sftp://user:secret@host/x", "simplecache::sftp://user@host/x"),
        ("local:///tmp/x/", "local:///tmp/x"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, name: str) -> None:
    assert shown(url) == name


@given(st.text("abcXYZ019-_%~!$&'()*+,;=", min_size=6), st.sampled_from(["https", "sftp", "ftp", "s3", "webdav"]))
def test_no_password_is_ever_shown(password: str, scheme: str) -> None:
    secret = f"{password}-0f1e2d"

    assert secret not in shown(f"{scheme}://user:{secret}@host/path?token={secret}")


@pytest.mark.required
def test_no_error_tells_a_secret() -> None:
    pytest.importorskip("obstore")
    quick: dict[str, Any] = {"retry_config": {"max_retries": 0}, "client_options": {"allow_http": True}}
    storage = ObjectStorage("http://someone:pa%3Ass@127.0.0.1:9/x", **quick)

    with pytest.raises(ResultStorageError) as raised:
        put(storage, "x", b"1")

    said = str(raised.value)
    assert "http://127.0.0.1:9/x failed" in said
    assert not any(secret in said for secret in ("someone", "pa%3Ass", "pa:ss"))
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__


@pytest.mark.required
def test_a_file_system_that_replaces_no_file_is_made_to(tmp_path: Path) -> None:
    pytest.importorskip("fsspec")
    storage = FsspecStorage(f"local://{tmp_path}/results")
    move = storage.files.mv

    def refusing(part: str, path: str) -> None:
        if os.path.exists(path):
            raise FileExistsError(path)
        move(part, path)

    def silent(part: str, path: str) -> None:
        if not os.path.exists(path):
            move(part, path)

    for number, behaving in enumerate((refusing, silent)):
        storage.files.mv = behaving
        put(storage, "a/x", b"old")
        put(storage, "a/x", str(number).encode())
        assert (tmp_path / "results/a/x").read_bytes() == str(number).encode()
    del storage.files.mv

    assert [path.name for path in (tmp_path / "results/a").iterdir()] == ["x"]


def test_nothing_is_loaded_for_a_folder() -> None:
    program = "import sys; from headrace._results.remote import open_storage; open_storage('/tmp/x'); "
    program += "print([name for name in ('obstore', 'fsspec', 'asyncio') if name in sys.modules])"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
