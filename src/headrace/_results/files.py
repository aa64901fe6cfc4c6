"""
Files: results in a local folder, or in memory, each under a key; and what keys may look like in any storage.

Knows nothing of values and codecs.
"""

from __future__ import annotations

import errno
import io
import itertools
import os
import re
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Final, cast
from weakref import WeakValueDictionary

from headrace.errors import ResultNotFound, ResultStorageError, short

BUFFER: Final = 65_536
LONGEST: Final = 200  # bytes in a part of a path; file systems take 255, and the temporary file's name is no longer
TAIL: Final = 16
IDENTITY: Final = re.compile(r"[0-9a-f-]{14,}[0-9a-f]{2}")  # a digest, or a UUID
BAD: Final = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]|^[A-Za-z]:")  # the last: a drive
STEPS: Final = {
    errno.ENOSPC: "Free some space there, or choose another place for results.",
    errno.EDQUOT: "Free some space there, or choose another place for results.",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f), or choose another place for results.",
    errno.EROFS: "It is mounted read-only; choose another place for results.",
    errno.ENOTDIR: "Remove the file that stands where a folder is to be, or choose other keys.",
    errno.EEXIST: "Remove the file that stands where a folder is to be, or choose other keys.",
    errno.EISDIR: "Remove the folder that stands where a file is to be, or choose other keys.",
}
USUAL_STEP: Final = "See that it is there, and who may read and write there."


# -- keys ---------------------------------------------------------------------------------------------------


def place(where: str, key: str) -> str:
    """
    Give the relative path for *key*: the key itself, but for two things.

    A digest or a UUID goes into one of 256 folders, named for its last two digits: the first ones are the same for all
    tasks of one run. A part of more than 200 bytes ends in a digest of it, before what follows its last dot.

    Raises:
        ResultStorageError: It would lead out of the storage, or cannot be a path everywhere.
    """
    if IDENTITY.fullmatch(key):
        key = f"{key[-2:]}/{key}"
    parts = key.split("/")
    if BAD.search(key) or any(part in {"", ".", ".."} for part in parts):
        raise ResultStorageError(
            where,
            f"{short(key, 80)} cannot be the key of a result",
            "Choose a relative path of names and slashes, without '..', backslashes, control characters and the like.",
        )
    return key if len(key) <= LONGEST // 4 else "/".join([shortened(part) for part in parts])


def shortened(part: str) -> str:
    """Give *part*, cut and with a digest of the whole where it is too long for a file's name."""
    data = part.encode()
    if len(data) <= LONGEST:
        return part
    dot = part.rfind(".")
    ending = part[dot:] if dot > 0 and len(part[dot:].encode()) <= TAIL else ""
    tail = f"-{blake2b(data, digest_size=16).hexdigest()}{ending}"
    return data[: LONGEST - len(tail.encode())].decode(errors="ignore") + tail


# -- writing ------------------------------------------------------------------------------------------------


def failure(where: str, error: BaseException) -> ResultStorageError:
    """Build the error for what the system has refused with *error*."""
    number = error.errno if isinstance(error, OSError) else None
    words = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return ResultStorageError(where, words, STEPS.get(number or 0, USUAL_STEP))


class Refusals:
    """Raises what the system refuses within as a ResultStorageError of the storage *where*."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, ResultStorageError):
            raise failure(self.where, error) from error


class Outlet(io.RawIOBase):
    """Writes to *file*, and knows which error was that file's, whatever became of it in the hands of a codec."""

    def __init__(self, file: Any) -> None:
        super().__init__()
        self.file = file
        self.over = False
        self.error: Exception | None = None

    def writable(self) -> bool:
        """Say yes."""
        return True

    def write(self, data: Any) -> int:
        """Write *data*; once all is over, drop what a buffer is emptied of that nobody needs."""
        if self.over:
            return memoryview(data).nbytes
        try:
            return cast("int", self.file.write(data))
        except Exception as error:
            self.error, self.over = error, True
            raise


def pour(file: Any, fill: Callable[[BinaryIO], object], told: Callable[[Exception], Exception]) -> None:
    """
    Have *fill* write to *file*.

    Raises:
        Exception: What *told* makes of an error of the file's; or whatever else *fill* raises.
    """
    outlet = Outlet(file)
    buffer = io.BufferedWriter(outlet, BUFFER)
    try:
        fill(buffer)
        buffer.flush()
    except BaseException:
        if outlet.error is not None:
            raise told(outlet.error) from outlet.error
        raise
    finally:
        outlet.over = True


class FileStorage:
    """
    Results as files in *folder*, which is made when the first is written; folders and files are their owner's alone.

    A process that is killed while it writes leaves a file whose name begins with a dot and ends in `.part`.

    Args:
        fsync: Wait until the disk has each, so that it survives a power cut.
        trusted: Whether nobody else writes there, so that pickles may be loaded from it.
    """

    def __init__(self, folder: str | os.PathLike[str], *, fsync: bool = False, trusted: bool = True) -> None:
        # Absolute from the start: a flow may change the working directory.
        self.folder = Path(folder).expanduser().absolute()
        self.where = str(self.folder)
        self.fsync = fsync
        self.trusted = trusted

    def __repr__(self) -> str:
        return f"FileStorage({self.where!r})"

    def path(self, key: str) -> str:
        """Give the path of the file for *key*, as text."""
        return f"{self.where}/{place(self.where, key)}"

    def write(self, key: str, fill: Callable[[BinaryIO], object]) -> None:
        """
        Write a file beside the one for *key*, and put it in its place once it is whole.

        Raises:
            ResultStorageError: It could not be written. What was there before still is.
            Exception: Whatever *fill* raises.
        """
        path = self.path(key)
        folder = path.rpartition("/")[0]
        part = f"{folder}/.{os.urandom(8).hex()}.part"
        refusals = Refusals(self.where)
        with refusals:
            file = io.FileIO(self.created(part, folder), "w")
        try:
            try:
                pour(file, fill, self.told)
                if self.fsync:
                    with refusals:
                        os.fsync(file.fileno())
            finally:
                with refusals:
                    file.close()
            with refusals:
                os.replace(part, path)
        except BaseException:
            removed(part)
            raise
        if self.fsync:
            with refusals:
                synchronized(folder)

    def told(self, error: Exception) -> Exception:
        """Give what to raise for the *error* of a file."""
        return failure(self.where, error)

    def created(self, part: str, folder: str) -> int:
        """Open the new file *part*; make its *folder* where it is missing."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return os.open(part, flags, 0o600)
        except FileNotFoundError:
            self.make(folder)
            return os.open(part, flags, 0o600)

    def make(self, folder: str) -> None:
        """Make *folder* and those above it, as os.makedirs does, which leaves the ones between open to others."""
        try:
            os.mkdir(folder, 0o700)
        except FileNotFoundError:
            self.make(os.path.dirname(folder))
            self.make(folder)
            return
        except FileExistsError:
            if not os.path.isdir(folder):
                raise
            return
        if self.fsync:
            synchronized(os.path.dirname(folder))

    def open(self, key: str) -> BinaryIO:
        """
        Open the file for *key*.

        Raises:
            ResultNotFound: There is none.
            ResultStorageError: It could not be read.
        """
        path = self.path(key)
        with Refusals(self.where):
            try:
                return open(path, "rb", BUFFER)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                raise ResultNotFound(self.where, key) from None

    def delete(self, key: str) -> bool:
        """
        Remove the file for *key*; tell whether there was one.

        Raises:
            ResultStorageError: It could not be removed.
        """
        path = self.path(key)
        with Refusals(self.where):
            try:
                os.unlink(path)
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return False
            except PermissionError:
                if os.path.isdir(path):  # macOS says of a folder that it is not permitted
                    return False
                raise
        return True


def synchronized(folder: str) -> None:
    """Wait until the disk has the names in *folder*."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def removed(path: str) -> None:
    """Remove the file at *path*, if there is one and it can be."""
    try:
        os.unlink(path)
    except OSError:
        pass


# -- memory -------------------------------------------------------------------------------------------------


class Kept(dict[str, bytes]):
    """What a storage in memory holds: a dict that is found for as long as somebody holds it."""


_numbers: Final = itertools.count(1)
_known: Final[WeakValueDictionary[str, Kept]] = WeakValueDictionary()


class MemoryStorage:
    """
    Results in the memory of this process, found again by `memory:NAME` as long as somebody holds the storage.

    Args:
        name: Which one; None: a new one.
    """

    trusted = True

    def __init__(self, name: str | None = None) -> None:
        self.where = f"memory:{next(_numbers) if name is None else name}"
        self.kept = _known.setdefault(self.where, Kept())

    def __repr__(self) -> str:
        return f"<storage {self.where}>"

    def write(self, key: str, fill: Callable[[BinaryIO], object]) -> None:
        """
        Keep what *fill* writes.

        Raises:
            Exception: Whatever *fill* raises.
        """
        path = place(self.where, key)
        file = io.BytesIO()
        fill(file)
        self.kept[path] = file.getvalue()

    def open(self, key: str) -> BinaryIO:
        """
        Open what is kept under *key*.

        Raises:
            ResultNotFound: There is nothing.
        """
        try:
            return io.BytesIO(self.kept[place(self.where, key)])
        except KeyError:
            raise ResultNotFound(self.where, key) from None

    def delete(self, key: str) -> bool:
        """Remove what is kept under *key*; tell whether there was anything."""
        return self.kept.pop(place(self.where, key), None) is not None


_usual: Final = MemoryStorage("")  # held here, so that `memory:` is there for as long as the process
