"""
Packing: a value as it is recorded, inline or beside the record, and as a value again.

Knows no codec and no storage by name.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, BinaryIO, Final, cast

import attrs

from headrace._ports import Codec, ResultStorage
from headrace._results.codecs import codec as codec_named
from headrace._results.codecs import forms
from headrace._results.weight import heavy
from headrace.errors import CorruptResult, ResultStorageError, SerializationError, UntrustedResult

__all__ = ["Packed", "heavy", "pack", "unpack"]

DIGEST: Final = 16
CHUNK: Final = 1 << 20
RECORD: Final = "the record"


@attrs.frozen
class Packed:
    """
    What the record keeps of one result.

    Attributes:
        codec: The name of the one that wrote it.
        size: How many bytes it has.
        digest: The BLAKE2b of 16 bytes of these, as hexadecimal digits.
        data: The bytes, where they are in the record itself.
        storage: What the storage is called that has them, where they are not.
        name: Their key there.
    """

    codec: str
    size: int
    digest: str
    data: bytes | None = None
    storage: str | None = None
    name: str | None = None


# -- packing ------------------------------------------------------------------------------------------------


def pack(
    value: Any,
    codec: Codec,
    *,
    inline: int,
    storage: Callable[[], ResultStorage],
    name: str,
    always: bool = False,
) -> Packed:
    """
    Encode *value*, into memory as long as that takes at most *inline* bytes, else into the storage under *name*.

    Args:
        storage: Gives the storage; called only if it is needed.
        always: Keep it in the storage, however small it is.

    Raises:
        SerializationError: It has no form in *codec*.
        ResultStorageError: It could not be stored.
    """
    refused = SerializationError(f"The codec {codec.name!r} stands for none.")
    for form in forms(codec, value):
        try:
            return packed_as(form, value, inline=-1 if always else inline, storage=storage, name=name)
        except SerializationError as error:
            refused = error
    raise refused


def packed_as(form: Codec, value: Any, *, inline: int, storage: Callable[[], ResultStorage], name: str) -> Packed:
    """
    Encode *value* with *form* and no other.

    It is begun in memory. Whatever outgrows *inline* is begun anew in the storage, which asks for its bytes by itself:
    that costs the encoding of *inline* bytes once more, 0.1 ms for 64 kB, and nothing where the codec writes all of it
    at once, as for bytes and small JSON: that is held as it came. Nothing is guessed from the value; `heavy` cannot
    know what is left of it once it is compressed.
    """
    small = Small(inline)
    if inline >= 0:
        try:
            dumped(form, value, small)
        except Outgrown:
            pass
        except SerializationError:
            if not small.outgrown:  # by a codec that says so in its own way
                raise
        if not small.outgrown and small.size <= inline:
            data = small.data()
            return Packed(form.name, small.size, blake2b(data, digest_size=DIGEST).hexdigest(), data)
    whole = None if small.outgrown or inline < 0 else small.parts[0]
    place = storage()
    large = Large()

    def fill(file: BinaryIO) -> None:
        large.begin(file)
        if whole is None:
            dumped(form, value, large)
        else:
            large.write(whole)

    place.write(name, fill)
    return Packed(form.name, large.size, large.digest.hexdigest(), None, place.where, name)


def dumped(form: Codec, value: Any, file: io.BufferedIOBase) -> None:
    """
    Have *form* write *value* to *file*.

    Raises:
        SerializationError: It cannot, for whatever reason.
        Outgrown: The file is to hold no more.
    """
    try:
        form.dump(value, cast("BinaryIO", file))
    except (SerializationError, ResultStorageError, Outgrown, MemoryError):
        raise
    except Exception as error:  # an error of the file's is told by its storage, which knows its own
        raise SerializationError(
            f"The codec {form.name!r} cannot write a value of type {type(value).__name__}: {type(error).__name__}: "
            f"{error}. Choose another codec, or return what it takes."
        ) from error


class Outgrown(OSError):
    """More was written than is to be kept in memory; codecs hand on what a file says."""


class Small(io.BufferedIOBase):
    """Keeps up to *limit* bytes; or more, where they come in one piece that holds for itself."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self.parts: list[bytes] = []
        self.outgrown = False

    def writable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Give the number of bytes so far."""
        return self.size

    def write(self, data: Any) -> int:
        """
        Keep *data*.

        Raises:
            Outgrown: It is too much.
        """
        lasting = type(data) is bytes
        count = len(data) if lasting else memoryview(data).nbytes
        if count:
            if self.size + count > self.limit and (self.size or not lasting):
                self.outgrown = True
                self.parts.clear()
                raise Outgrown
            self.parts.append(data if lasting else bytes(data))
            self.size += count
        return count

    def data(self) -> bytes:
        """Give all."""
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)


class Large(io.BufferedIOBase):
    """Counts and digests what goes on into a file of a storage's."""

    def writable(self) -> bool:
        """Say yes."""
        return True

    def begin(self, file: BinaryIO) -> None:
        """Begin, perhaps once more, with an empty *file*."""
        self.file = file
        self.size = 0
        self.digest = blake2b(digest_size=DIGEST)

    def tell(self) -> int:
        """Give the number of bytes so far."""
        return self.size

    def write(self, data: Any) -> int:
        """Pass *data* on."""
        view = memoryview(data)
        self.file.write(view)
        self.digest.update(view)
        self.size += view.nbytes
        return view.nbytes


# -- unpacking ----------------------------------------------------------------------------------------------


def unpack(packed: Packed, storage: Callable[[str], ResultStorage], *, trusted: bool = True) -> Any:
    """
    Give the value of *packed*, once its bytes are seen to be those that were packed.

    Args:
        storage: Gives the storage of a name.
        trusted: Whether nobody else could have written what is in *packed*, so that a pickle in it may be loaded.

    Raises:
        UntrustedResult: Reading it may run code, and others may have written it.
        ResultNotFound: The storage has nothing under that name.
        CorruptResult: There are other bytes.
        SerializationError: The codec is not known here, or makes no value of them.
        ResultStorageError: They could not be read.
    """
    form = codec_named(packed.codec)
    if packed.data is not None:
        if not (form.safe or trusted):
            raise UntrustedResult(RECORD, packed.codec)
        with io.BytesIO(packed.data) as kept:
            return loaded(form, kept, packed, RECORD)
    if packed.storage is None or packed.name is None:
        raise CorruptResult(RECORD, "it holds neither the bytes nor where they are")
    place = storage(packed.storage)
    told = f"{place.where} under {packed.name!r}"
    if not (form.safe or (place.trusted and trusted)):
        raise UntrustedResult(told, packed.codec)
    with place.open(packed.name) as file:
        return loaded(form, file, packed, told)


def loaded(form: Codec, file: BinaryIO, packed: Packed, told: str) -> Any:
    """Check *file*, then have *form* read it."""
    try:
        check(file, packed, told)
        file.seek(0)
    except OSError as error:
        raise ResultStorageError(told, str(error)) from error
    try:
        return form.load(file)
    except (SerializationError, MemoryError):
        raise
    except Exception as error:
        raise SerializationError(
            f"The result in {told} cannot be read by the codec {form.name!r}: {type(error).__name__}: {error}. Install "
            f"or restore what it was made with, or run the task again to have it stored anew."
        ) from error


def check(file: BinaryIO, packed: Packed, told: str) -> None:
    """
    See that *file* holds what was packed; decodes nothing.

    Raises:
        CorruptResult: It is shorter, longer or other.
    """
    digest = blake2b(digest_size=DIGEST)
    size = 0
    while data := file.read(CHUNK):
        size += len(data)
        if size > packed.size:
            size = file.seek(0, io.SEEK_END)
            break
        digest.update(data)
    if size != packed.size:
        how = "shorter" if size < packed.size else "longer"
        raise CorruptResult(told, f"it is {how} than what was stored: {size:,} bytes, not {packed.size:,}")
    if digest.hexdigest() != packed.digest:
        raise CorruptResult(told, "its bytes are not those that were stored")
