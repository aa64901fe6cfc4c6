"""The result storages that keep the contract, and a real server of S3. A new one joins by a line in `STORAGES`."""

from __future__ import annotations

import importlib.util
import urllib.request
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headrace._ports import ResultStorage
from headrace._results.files import FileStorage, MemoryStorage
from headrace._results.remote import FsspecStorage, ObjectStorage, open_storage

REGION, BUCKET, KEY, SECRET = "us-east-1", "results", "an-id-of-a-key", "a-secret-that-nobody-sees"
QUICK: dict[str, Any] = {"retry_config": {"max_retries": 0}}
Made = Callable[[Path, str], ResultStorage]

# From the test's own folder, and the address of the server of S3.
STORAGES: dict[str, Made] = {
    "memory": lambda folder, server: MemoryStorage(),
    "files": lambda folder, server: FileStorage(folder / "results"),
    "files, synchronized": lambda folder, server: FileStorage(folder / "results", fsync=True),
    "file URL": lambda folder, server: open_storage((folder / "my results").as_uri()),
    "files by obstore": lambda folder, server: ObjectStorage((made(folder / "objects")).as_uri(), trusted=True),
    "files by fsspec": lambda folder, server: FsspecStorage(f"local://{folder}/results", trusted=True),
    "memory by fsspec": lambda folder, server: open_storage(f"memory://{uuid.uuid4()}/results", trusted=True),
    "s3": lambda folder, server: ObjectStorage(
        f"s3://{BUCKET}/{uuid.uuid4()}",
        trusted=True,
        endpoint=server,
        access_key_id=KEY,
        secret_access_key=SECRET,
        region=REGION,
        client_options={"allow_http": True},
    ),
}
NEEDS = {"files by obstore": "obstore", "files by fsspec": "fsspec", "memory by fsspec": "fsspec", "s3": "obstore"}
# What finds the server of S3 for a storage that is given no options.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": REGION,
    "AWS_ALLOW_HTTP": "true",
}


def made(folder: Path) -> Path:
    """Give *folder*, which is there."""
    folder.mkdir()
    return folder


def needed(name: str) -> None:
    """Skip the test where the package that the storage *name* needs is not installed."""
    for package in (NEEDS.get(name), "moto" if name == "s3" else None):
        if package is not None and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed, so no storage {name!r} can be made")


@contextmanager
def s3_server() -> Generator[str]:
    """Run a server of S3 with one bucket; give its address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        asked = urllib.request.Request(f"{address}/{BUCKET}", method="PUT")
        urllib.request.urlopen(asked, timeout=30).close()
        yield address
    finally:
        server.stop()
