"""
The vault: packs values, and finds what was packed again, in the storages and codecs that this process knows.

The engine asks it; which record is wanted, and for how long it counts, is decided there.
"""

from __future__ import annotations

import contextlib
import os
from hashlib import blake2b
from typing import Any, BinaryIO, Final

import orjson

from headrace._model.records import StoredResult
from headrace._ports import Codec, ResultStorage
from headrace._results.codecs import codec
from headrace._results.packing import Packed, heavy, pack, unpack
from headrace._results.plain import STRICT, exact
from headrace._results.remote import open_storage
from headrace.errors import CorruptResult, HeadraceError, ResultNotFound, SerializationError, UntrustedResult

EVERYTHING: Final = 1 << 62
LONGEST_HEAD: Final = 100_000
SCALARS: Final[frozenset[type]] = frozenset({int, float, bool, type(None)})
# What JSON keeps as it is, if it takes it: unlike a float, which may be no number.
SURE: Final[frozenset[type]] = frozenset({int, bool, type(None)})
PLAIN: Final = SCALARS | {dict, list}
FEW: Final = 16
NOTHING: Final = blake2b(digest_size=16)  # to go on from: making one takes as long as all the rest
SHORT: Final = 1_000


def light(value: Any, among: frozenset[type] = SCALARS) -> bool:
    """Tell whether *value* is a scalar, or a short dict or list of scalars *among* these types, and short texts."""
    kind = value.__class__
    if kind is not dict and kind is not list:
        return kind in among
    if len(value) > FEW:
        return False
    for item in value.values() if kind is dict else value:
        kind = item.__class__
        if kind not in among and not (kind is str and len(item) < SHORT):
            return False
    return True


class Vault:
    """
    What packs and unpacks the results of one runtime.

    Args:
        usual: The folder or URL of the storage for those who name none.
        inline: So many bytes lie in the record itself; None: all do.
        trusted: Whether pickles may be loaded from storages; None: as each storage says.
    """

    def __init__(self, usual: str, *, inline: int | None, trusted: bool | None) -> None:
        self.usual = usual
        self.inline = EVERYTHING if inline is None else inline
        self.trusted = trusted
        self.known: dict[str, ResultStorage] = {}

    def codec(self, given: Any) -> Codec:
        """Give the codec that *given* names or is."""
        found: Codec = codec("auto" if given is None else given)
        return found

    def storage(self, given: Any) -> ResultStorage:
        """Give the storage that *given* names or is; opened once."""
        asked: str = self.usual
        if isinstance(given, str):
            asked = given
        elif given is not None:
            if not hasattr(given, "__fspath__"):
                return self.remembered(open_storage(given, trusted=self.trusted))
            place: os.PathLike[str] = given
            asked = os.fsdecode(place)
        opened = self.known.get(asked)
        if opened is None:
            opened = self.known[asked] = self.remembered(open_storage(asked, trusted=self.trusted))
        return opened

    def remembered(self, opened: ResultStorage) -> ResultStorage:
        """Have *opened* found again by what records call it."""
        return self.known.setdefault(opened.where, opened)

    heavy = staticmethod(heavy)

    def small(self, value: Any) -> tuple[bytes, str] | None:
        """
        Give the JSON of *value*, and its digest, if it is small and JSON keeps it as it is.

        The usual value, without the files and attempts that others need: 2 us instead of 10.
        """
        try:
            if light(value, SURE):
                data = orjson.dumps(value, None, STRICT)
            elif value.__class__ in PLAIN and (light(value) or not heavy(value)):
                data = exact(value)
            else:
                return None
        except (SerializationError, TypeError):
            return None
        if len(data) > self.inline:
            return None
        return data, self.digest(data)

    def digest(self, data: bytes) -> str:
        """Give what *data* is told from others by."""
        hashed = NOTHING.copy()
        hashed.update(data)
        return hashed.hexdigest()

    def pack(self, value: Any, chosen: Codec, storage: ResultStorage, name: str, *, beside: bool) -> Packed:
        """Give the form in which *value* is kept; writes what is large, or is to lie beside the record."""
        return pack(value, chosen, inline=self.inline, storage=lambda: storage, name=name, always=beside)

    def unpack(self, result: StoredResult) -> Any:
        """Give the value of *result*."""
        packed = Packed(result.codec, result.size, result.digest, result.data, result.storage, result.name)
        return unpack(packed, self.storage)

    def fetch(self, storage: ResultStorage, key: str) -> StoredResult | None:
        """
        Give the result recorded under *key* in a storage of keys; None where there is none.

        Raises:
            CorruptResult: What lies there is no record of ours.
            UntrustedResult: Reading it may run code, and others may have written it.
            SerializationError: Its codec is not known here.
        """
        try:
            with storage.open(key) as file:
                head, data = file.readline(LONGEST_HEAD), file.read()
        except ResultNotFound:
            return None
        place = f"{storage.where} under {key!r}"
        try:
            told = orjson.loads(head)
            inline = told.pop("inline")
            found = StoredResult(**told, data=data if inline else None)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise CorruptResult(place, "it is no record of a result") from None
        if found.key != key:
            raise CorruptResult(place, f"it is the record of {found.key!r}")
        if not storage.trusted and not codec(found.codec).safe:
            raise UntrustedResult(place, found.codec)  # wherever the bytes lie: who wrote the record says where
        return found

    def enter(self, storage: ResultStorage, result: StoredResult) -> None:
        """Record *result* in a storage of keys: a line of JSON, and behind it the bytes, where they are few."""
        told = result._asdict()
        head = orjson.dumps({"inline": told.pop("data") is not None, **told}) + b"\n"

        def fill(file: BinaryIO) -> None:
            file.write(head)
            file.write(result.data or b"")

        storage.write(result.key, fill)

    def discard(self, result: StoredResult | Packed) -> None:
        """Remove what lies beside the record of *result*."""
        if result.storage is not None and result.name is not None:
            with contextlib.suppress(HeadraceError):
                self.storage(result.storage).delete(result.name)
