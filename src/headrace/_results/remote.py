"""
Remote: results in object storages and in what else fsspec reaches; and which storage a path, URL or object means.

What lies in other hands is not trusted unless the user says so. No secret of a URL is shown again.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from importlib import import_module
from typing import Any, BinaryIO, Final, cast
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from headrace._ports import ResultStorage
from headrace._results.files import STEPS, FileStorage, MemoryStorage, place, pour
from headrace.errors import MissingExtra, OptionError, OptionTypeError, ResultNotFound, ResultStorageError, short

URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two letters at least, so a drive is none
OBJECTS: Final = frozenset("s3 s3a gs az azure abfs abfss adl http https".split())  # noqa: SIM905 - reads better
CONTAINERS: Final = frozenset({"abfs", "abfss", "adl"})  # the container stands where others have the user's name
NAMED: Final = frozenset({"sftp", "ssh", "ftp", "smb", "hdfs", "webhdfs"}) | CONTAINERS
SPOOL: Final = 8 << 20
PARTS: Final = 3  # of SPOOL bytes, sent at once
STEP: Final = "See that it can be reached, and that the credentials in the environment are right."
SECRETS: Final = re.compile("secret|token|password|credential|sas|key", re.IGNORECASE)


def open_storage(spec: Any, *, trusted: bool | None = None) -> ResultStorage:
    """
    Give the storage that *spec* means; nothing is reached or made so far.

    Args:
        spec: A path or file:// URL of a folder; `memory:` or `memory:NAME`; the URL of an object storage (s3://, gs://,
            az://, abfs://, http(s)://), which takes its credentials from the usual environment variables; any other
            URL that fsspec knows; or an object that is a storage.
        trusted: Whether pickles may be loaded from there; None: from a folder and memory. An object says so itself.

    Raises:
        OptionError, OptionTypeError: It means none.
        MissingExtra: What it needs is not installed.
    """
    if isinstance(spec, os.PathLike):
        return FileStorage(cast("Any", spec), trusted=trusted is not False)
    if not isinstance(spec, str):
        return checked(spec)
    scheme = spec.partition(":")[0].lower() if URL.match(spec) else ""
    if not scheme:
        if not spec:
            raise OptionError("A result storage cannot be the empty text. Give a folder, a URL or 'memory:'.")
        return FileStorage(spec, trusted=trusted is not False)
    if scheme == "file":
        return FileStorage(folder_of(spec), trusted=trusted is not False)
    if scheme == "memory" and not spec.startswith("memory://"):
        return MemoryStorage(spec.partition(":")[2])
    if scheme in OBJECTS:
        return ObjectStorage(spec, trusted=bool(trusted))
    return FsspecStorage(spec, trusted=bool(trusted))


def checked(given: Any) -> ResultStorage:
    """
    Give back an object that is a storage.

    Raises:
        OptionTypeError: It is none.
    """
    does = all(callable(getattr(given, name, None)) for name in ("write", "open", "delete"))
    says = isinstance(getattr(given, "where", None), str) and isinstance(getattr(given, "trusted", None), bool)
    if isinstance(given, type) or not (does and says):
        raise OptionTypeError(
            f"{short(given, 80)} is no result storage. Give a folder, a URL, 'memory:', or an object with where, "
            f"trusted, write(key, fill), open(key) and delete(key)."
        )
    return cast("ResultStorage", given)


def folder_of(url: str) -> str:
    """
    Give the folder that a file:// URL names.

    Raises:
        OptionError: It names one of another machine, or none.
    """
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/"):
        raise OptionError(f"{short(url, 120)} names no folder of this machine. Write file:///PATH, or the path alone.")
    return url2pathname(parts.path)


# -- URLs ---------------------------------------------------------------------------------------------------


def shown(url: str) -> str:
    """Give *url* without its credentials: neither a password nor what follows a question mark."""
    return "::".join(shown_link(link) for link in url.split("::"))


def shown_link(url: str) -> str:
    """Give one link of a chain of fsspec's without its credentials."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    kept = f"{name}@{host}" if name and parts.scheme.lower() in NAMED else host
    return f"{parts.scheme}://{kept}{parts.path.rstrip('/')}" if parts.scheme else url


def secrets_of(url: str, options: dict[str, Any]) -> list[str]:
    """List what no sentence may show, of *url* and of *options*; the longest first."""
    told: dict[str, Any] = {**(options.get("config") or {}), **options}
    found = [value for key, value in told.items() if isinstance(value, str) and SECRETS.search(key)]
    for link in url.split("::"):
        parts = urlsplit(link)
        name, _, password = parts.netloc.rpartition("@")[0].partition(":")
        found += [parts.query, parts.fragment, password, "" if parts.scheme.lower() in NAMED else name]
    return sorted({form for one in found if one for form in (one, unquote(one))}, key=len, reverse=True)


class Silent:
    """Builds the errors of one remote storage, in which no secret is told."""

    def __init__(self, where: str, secrets: list[str]) -> None:
        self.where = where
        self.secrets = secrets

    def __call__(self, error: Exception) -> ResultStorageError:
        """Build what to raise for *error*; some libraries add pages of details behind an empty line."""
        number = error.errno if isinstance(error, OSError) else None
        return ResultStorageError(self.where, self.hushed(error), STEPS.get(number or 0, STEP))

    def hushed(self, error: Exception) -> str:
        """Give what *error* says, on one line of 400 characters at most."""
        words = " ".join(str(error).partition("\n\n")[0].split()) or type(error).__name__
        for secret in self.secrets:
            words = words.replace(secret, "…")
        return words.rstrip(".") if len(words) <= 400 else f"{words[:400]}…"


# -- object storages ----------------------------------------------------------------------------------------


class ObjectStorage:
    """
    Results as objects under *url*, by way of obstore.

    What is written is gathered first, beyond 8 MB in a temporary file, and sent in parts; so is what is read.

    Args:
        trusted: Whether nobody else writes there, so that pickles may be loaded from it.
        options: What obstore.store.from_url takes besides, such as endpoint, region or client_options. They are not
            part of `where`: who reads results by it needs the same in the environment.

    Raises:
        MissingExtra: obstore is not installed.
        OptionError: The URL or an option is wrong.
    """

    def __init__(self, url: str, *, trusted: bool = False, **options: Any) -> None:
        try:
            stores = import_module("obstore.store")
        except ImportError:
            raise MissingExtra(f"The result storage {shown(url)}", "storage") from None
        self.obstore: Any = import_module("obstore")
        self.where = shown(url)
        self.trusted = trusted
        self.told = Silent(self.where, secrets_of(url, options))
        try:
            self.store: Any = stores.from_url(url, **keys_in(url), **options)
        except Exception as error:
            raise OptionError(
                f"The result storage {self.where} cannot be used: {self.told.hushed(error)}. See that the URL, the "
                f"options and the environment are right."
            ) from None

    def __repr__(self) -> str:
        return f"ObjectStorage({self.where!r})"

    def write(self, key: str, fill: Callable[[BinaryIO], object]) -> None:
        """
        Send what *fill* writes, once that is whole.

        Raises:
            ResultStorageError: It could not be sent. What was there before still is.
            Exception: Whatever *fill* raises.
        """
        path = place(self.where, key)
        with spool() as file:
            pour(file, fill, self.told)
            file.seek(0)
            try:
                self.obstore.put(self.store, path, cast("Any", file), chunk_size=SPOOL, max_concurrency=PARTS)
            except Exception as error:
                raise self.told(error) from None

    def open(self, key: str) -> BinaryIO:
        """
        Fetch what is kept under *key*.

        Raises:
            ResultNotFound: There is nothing.
            ResultStorageError: It could not be fetched.
        """
        path = place(self.where, key)

        def copy(file: BinaryIO) -> None:
            first = self.obstore.get(self.store, path)
            size, version = first.meta["size"], first.meta["e_tag"]
            if size <= SPOOL:
                file.write(first.bytes())
                return
            # In parts, each in time: a request may take 30 s, and options of ours would void those of the environment.
            for begin in range(0, size, SPOOL):
                part = {"range": (begin, min(begin + SPOOL, size)), "if_match": version}
                file.write(self.obstore.get(self.store, path, options=part).bytes())

        try:
            return fetched(copy)
        except Exception as error:
            raise self.missing(error, key) from None

    def delete(self, key: str) -> bool:
        """
        Remove what is kept under *key*; tell whether there was anything.

        Raises:
            ResultStorageError: It could not be removed.
        """
        path = place(self.where, key)
        try:
            self.obstore.head(self.store, path)
            self.obstore.delete(self.store, path)
        except Exception as error:
            told = self.missing(error, key)
            if isinstance(told, ResultNotFound):
                return False
            raise told from None
        return True

    def missing(self, error: Exception, key: str) -> Exception:
        """Build what to raise for *error*; a bucket that is not there is another thing than a result that is not."""
        missing = isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error)
        return ResultNotFound(self.where, key) if missing else self.told(error)


def keys_in(url: str) -> dict[str, str]:
    """Give the options for a key and its secret that stand in the URL of a bucket; obstore passes over them."""
    parts = urlsplit(url)
    if parts.scheme.lower() not in {"s3", "s3a"} or not parts.username:
        return {}
    return {"access_key_id": unquote(parts.username), "secret_access_key": unquote(parts.password or "")}


def spool() -> BinaryIO:
    """Open a temporary file that keeps up to 8 MB in memory."""
    return cast("BinaryIO", tempfile.SpooledTemporaryFile(SPOOL))


def fetched(copy: Callable[[BinaryIO], object]) -> BinaryIO:
    """Give a temporary file with what *copy* writes to it, from its start."""
    file = spool()
    try:
        copy(file)
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


# -- everything else ----------------------------------------------------------------------------------------


class FsspecStorage:
    """
    Results as files under *url*, by way of fsspec: SFTP, SMB, HDFS and so on.

    What is written goes into a file beside, which then takes the place of the one that was there.

    Args:
        trusted: Whether nobody else writes there, so that pickles may be loaded from it.
        options: What fsspec's file system takes besides.

    Raises:
        OptionError: fsspec does not know such URLs, or lacks a package for them.
    """

    def __init__(self, url: str, *, trusted: bool = False, **options: Any) -> None:
        self.where = shown(url)
        self.trusted = trusted
        self.told = Silent(self.where, secrets_of(url, options))
        try:
            core: Any = import_module("fsspec.core")
        except ImportError:
            raise OptionError(
                f"The result storage {self.where} is of no kind that Headrace knows by itself: a folder, memory:, "
                f"{', '.join(f'{scheme}://' for scheme in sorted(OBJECTS))}. For others run: pip install fsspec"
            ) from None
        try:
            self.files, self.root = core.url_to_fs(url, **options)
        except Exception as error:
            raise OptionError(
                f"The result storage {self.where} cannot be used: {self.told.hushed(error)}. See that the URL is right."
            ) from None

    def __repr__(self) -> str:
        return f"FsspecStorage({self.where!r})"

    def write(self, key: str, fill: Callable[[BinaryIO], object]) -> None:
        """
        Write what *fill* writes to a file beside, and move it to its place.

        Raises:
            ResultStorageError: It could not be written. What was there before still is.
            Exception: Whatever *fill* raises.
        """
        path = self.path(key)
        folder = path.rpartition("/")[0]
        part = f"{folder}/.{os.urandom(8).hex()}.part"
        with spool() as file:
            pour(file, fill, self.told)
            file.seek(0)
            try:
                self.files.makedirs(folder, exist_ok=True)
                try:
                    with self.files.open(part, "wb") as there:
                        shutil.copyfileobj(file, there, 1 << 20)
                    self.move(part, path)
                except BaseException:
                    with contextlib.suppress(Exception):
                        self.files.rm_file(part)
                    raise
            except Exception as error:
                raise self.told(error) from None

    def move(self, part: str, path: str) -> None:
        """Put the file *part* in the place of *path*. Where none may be replaced, remove the one that is there."""
        try:
            self.files.mv(part, path)
        except Exception:
            if not self.files.exists(path):
                raise
        # Some raise where another file is in the way, some just leave all as it is.
        if self.files.exists(part):
            self.files.rm_file(path)
            self.files.mv(part, path)

    def open(self, key: str) -> BinaryIO:
        """
        Fetch what is kept under *key*.

        Raises:
            ResultNotFound: There is nothing.
            ResultStorageError: It could not be fetched.
        """
        path = self.path(key)

        def copy(file: BinaryIO) -> None:
            with self.files.open(path, "rb") as there:
                shutil.copyfileobj(there, file, 1 << 20)

        try:
            return fetched(copy)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            raise ResultNotFound(self.where, key) from None
        except Exception as error:
            raise self.told(error) from None

    def delete(self, key: str) -> bool:
        """
        Remove what is kept under *key*; tell whether there was anything.

        Raises:
            ResultStorageError: It could not be removed.
        """
        path = self.path(key)
        try:
            if not self.files.isfile(path):
                return False
            self.files.rm_file(path)
        except FileNotFoundError:
            return False
        except Exception as error:
            raise self.told(error) from None
        return True

    def path(self, key: str) -> str:
        """Give the path of the file for *key*."""
        return f"{self.root.rstrip('/')}/{place(self.where, key)}"
