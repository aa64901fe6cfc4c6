"""What lies beside the store: whether a result's bytes are whole, the beginning of its value, and their removal."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from typing import BinaryIO, Final

import attrs
import orjson

from headrace._model.columns import plain
from headrace._model.records import StoredResult
from headrace._ports import Store
from headrace._results.packing import Packed, check
from headrace._results.vault import Vault
from headrace.cli.wording import counted
from headrace.errors import CorruptResult, HeadraceError, ResultNotFound
from headrace.settings import Settings

PREVIEWED: Final = ("json", "text")  # what is read without running code, and means something to people
LINES: Final = 10
SIGNS: Final = 1_000
ONE_LINE: Final = 80
LAID_OUT: Final = 100_000  # bytes of JSON that are read as a whole, to be laid out in lines


@attrs.define
class Gone:
    """
    What was removed.

    Attributes:
        count, size: Results, and their bytes.
        files: How many of them lay beside the store.
        failed: How many lie there still.
        why: What the first of these said.
    """

    count: int = 0
    size: int = 0
    files: int = 0
    failed: int = 0
    why: str = ""

    def add(self, more: Gone) -> None:
        """Count *more* with it."""
        self.count += more.count
        self.size += more.size
        self.files += more.files
        self.failed += more.failed
        self.why = self.why or more.why

    @property
    def trouble(self) -> str:
        """Say what is left, "" where nothing is."""
        if not self.failed:
            return ""
        return f"The bytes of {counted(self.failed, 'result')} could not be removed beside the database: {self.why}"


def vault_of_settings() -> Vault:
    """Give what finds results in storages, as runs in this environment do."""
    settings = Settings.read()
    usual = settings.result_storage or os.path.join(settings.home, "results")
    return Vault(usual, inline=settings.result_inline_bytes, trusted=settings.trust_results)


def opened(vault: Vault, one: StoredResult) -> BinaryIO:
    """
    Open the bytes of *one*.

    Raises:
        ResultNotFound: There are none.
        ResultStorageError, OptionError, MissingExtra: The storage cannot be reached from here.
    """
    if one.data is not None:
        return io.BytesIO(one.data)
    if one.storage is None or one.name is None:
        raise ResultNotFound("the record", one.key)
    return vault.storage(one.storage).open(one.name)


def soundness(vault: Vault, one: StoredResult) -> tuple[str, str]:
    """
    Tell whether the bytes of *one* are there and those that were stored; decodes nothing.

    Gives "whole" with nothing more to say; or "missing", "damaged" or "out of reach" with a sentence.
    """
    where = "the database" if one.storage is None else f"{one.storage} under {one.name!r}"
    try:
        with opened(vault, one) as file:
            check(file, Packed(one.codec, one.size, one.digest), where)
    except ResultNotFound as error:
        return "missing", str(error)
    except CorruptResult as error:
        return "damaged", str(error)
    except (HeadraceError, OSError) as error:
        return "out of reach", str(error)
    return "whole", ""


def preview(vault: Vault, one: StoredResult, more: str) -> list[str]:
    """Give the first lines of the value of *one*, whose bytes are whole, if it is of a form that anyone may read."""
    if one.codec not in PREVIEWED:
        return []
    whole = one.codec == "json" and one.size <= LAID_OUT
    with opened(vault, one) as file:
        data = file.read(-1 if whole else 4 * SIGNS + 1)
    text = laid_out(data) if whole else data.decode(errors="replace")
    lines = text.splitlines() or [""]
    left, found = SIGNS, list[str]()
    for line in lines[:LINES]:
        said = plain(line[: left + 1])
        found.append(said[:left])
        left -= len(said)
        if left < 0:
            break
    if left < 0 or len(lines) > LINES or (len(data) < one.size and not whole):
        found[-1] += more
    return found


def laid_out(data: bytes) -> str:
    """Give JSON as people read it: what is short as it is, a longer text as itself, all else in lines."""
    try:
        value = orjson.loads(data)
    except ValueError:  # of more levels than are read
        return data.decode(errors="replace")
    if len(data) <= ONE_LINE:
        return data.decode()
    return value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


async def remove(store: Store, vault: Vault, results: Sequence[StoredResult]) -> Gone:
    """Remove *results* from the store and beside it, but for those that were made anew meanwhile."""
    count = await store.results.forget(results)
    if count < len(results):
        anew = await store.results.recall([one.key for one in results])
        results = [one for one in results if one.key not in anew]
    gone = await remove_beside(store, vault, results)
    gone.count, gone.size = count, sum(one.size for one in results)
    return gone


async def remove_beside(store: Store, vault: Vault, results: Sequence[StoredResult]) -> Gone:
    """Remove what lies beside the store of *results*, which it has no more, unless others are said to lie there."""
    gone = Gone()
    beside = [one for one in results if one.storage is not None and one.name is not None]
    taken = await store.results.taken(beside) if beside else ()
    for storage, name in dict.fromkeys((one.storage, one.name) for one in beside):
        if storage is None or name is None or (storage, name) in taken:
            continue
        try:
            gone.files += vault.storage(storage).delete(name)
        except HeadraceError as error:
            gone.failed += 1
            gone.why = gone.why or str(error)
    return gone
