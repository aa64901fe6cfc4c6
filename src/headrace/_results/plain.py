"""
Plain: JSON where it is exact, bytes and text. What anyone may have written can be read.

Takes no other value, and never one that would come back changed.
"""

from __future__ import annotations

import codecs
import itertools
import marshal
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

import orjson

from headrace._results.weight import heavy
from headrace.errors import SerializationError, short

SLICE: Final = 65_536
GROUP: Final = 64
LOOKS: Final = 100_000
DEEPEST: Final = 200  # orjson writes 254 levels below that, and reads 1,024
STRICT: Final = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
PLAIN: Final = frozenset({dict, list, str, int, float, bool, type(None)})


class JSON:
    """JSON, of what comes back from it equal and of the same types all the way down, and of nothing else."""

    name = "json"
    safe = True

    def dump(self, value: Any, file: BinaryIO) -> None:
        """
        Write *value*, each piece of some 64 kB once it was read back and compared.

        Raises:
            SerializationError: Something in it has no exact form in JSON.
        """
        kept = bytearray()
        for piece in pieces(value) if heavy(value) else (exact(value),):
            if not kept and len(piece) >= SLICE:
                file.write(piece)
                continue
            kept += piece
            if len(kept) >= SLICE:
                file.write(kept)
                kept = bytearray()
        if kept:
            file.write(bytes(kept))

    def load(self, file: BinaryIO) -> Any:
        """Read the value back."""
        try:
            return orjson.loads(file.read())
        except (ValueError, RecursionError) as error:
            raise unreadable("JSON", error) from error


def exact(value: Any) -> bytes:
    """
    Give the JSON of *value*.

    What is read back is compared as marshal writes it, which takes a tuple for no list, True for no 1, an IntEnum for
    no int and NaN for no null; it costs 0.6 µs more than == for a small dict, which takes the second and third.

    Raises:
        SerializationError: It would not come back as it is.
    """
    try:
        text = orjson.dumps(value, None, STRICT)
        # In this order: marshal copies arrays and bytes, which orjson has refused by then.
        if marshal.dumps(orjson.loads(text), 2) == marshal.dumps(value, 2):
            return text
    except (TypeError, ValueError, RecursionError):
        pass
    raise SerializationError(
        f"JSON cannot keep this value as it is: {culprit(value)}. Keep it as 'pickle' or let 'auto' choose, or return "
        f"only dicts with keys of type str, lists, str, int, float, bool and None."
    )


def pieces(value: Any, depth: int = 0) -> Iterator[bytes]:
    """
    Give the JSON of *value* in pieces, so that what is large is never encoded as a whole.

    Raises:
        SerializationError: Something in it has no exact form; what came before is worth nothing.
    """
    kind = cast("Any", type(value))
    if kind is str:
        yield b'"'
        for place in range(0, len(value), SLICE):
            yield exact(value[place : place + SLICE])[1:-1]
        yield b'"'
    elif kind is list and value and depth < DEEPEST:
        between = b"["
        for place in range(0, len(value), GROUP):
            group = value[place : place + GROUP]
            parts = (exact(group)[1:-1],) if not heavy(group) else None
            for part in parts or (pieces(item, depth + 1) for item in group):
                yield between
                between = b","
                yield from (part,) if isinstance(part, bytes) else part
        yield b"]"
    elif kind is dict and value and depth < DEEPEST:
        between = b"{"
        items = iter(value.items())
        while group := dict(itertools.islice(items, GROUP)):
            if not heavy(group):
                yield between + exact(group)[1:-1]
                between = b","
                continue
            for key, item in group.items():
                yield between + exact({key: None})[1:-5]  # up to the colon
                between = b","
                yield from pieces(item, depth + 1)
        yield b"}"
    else:
        yield exact(value)


def culprit(value: Any) -> str:
    """Say what of *value* JSON cannot keep."""
    open_ones: list[Iterator[Any]] = [iter((value,))]
    for _ in range(LOOKS):
        if not open_ones or len(open_ones) > DEEPEST + 254:
            break
        try:
            one = next(open_ones[-1])
        except StopIteration:
            open_ones.pop()
            continue
        kind = cast("Any", type(one))
        if kind is list:
            open_ones.append(iter(one))
        elif kind is dict:
            for key in one:
                if type(key) is not str:
                    return f"the key {short(key, 60)} is no str but of type {type(key).__name__}"
            open_ones.append(itertools.chain(one, one.values()))
        else:
            said = fault(one, kind)
            if said:
                return said
    else:
        return "something in it has no exact form there"
    return "it is nested too deeply, or in itself"


def fault(value: Any, kind: Any) -> str:
    """Say why JSON cannot keep *value*, which is neither list nor dict; nothing where it can."""
    if kind is tuple:
        return f"{short(value[:3], 60)} is a tuple, or begins one, and would come back as a list"
    if kind is float and not -float("inf") < value < float("inf"):
        return f"{value} is no number"
    if kind is int and not -(1 << 63) <= value < 1 << 64:
        return "an int has more than 64 bits"
    if kind is str and not encodable(value):
        return f"{short(value[:40], 60)} holds half of a surrogate pair"
    if kind not in PLAIN:
        return f"it holds a value of type {kind.__module__}.{kind.__qualname__}".replace(" builtins.", " ")
    return ""


def encodable(text: str) -> bool:
    """Tell whether *text* can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Raw:
    """Bytes as they are: values of the type bytes, and no other."""

    name = "bytes"
    safe = True

    def dump(self, value: Any, file: BinaryIO) -> None:
        """
        Write *value*.

        Raises:
            SerializationError: It is not of the type bytes.
        """
        if type(value) is not bytes:
            raise other_type(self.name, "bytes", value)
        file.write(value)

    def load(self, file: BinaryIO) -> Any:
        """Read the value back, into its place at once."""
        return file.read()


class Text:
    """Text as UTF-8: values of the type str, and no other."""

    name = "text"
    safe = True

    def dump(self, value: Any, file: BinaryIO) -> None:
        """
        Write *value* in slices.

        Raises:
            SerializationError: It is not of the type str, or holds half of a surrogate pair.
        """
        if type(value) is not str:
            raise other_type(self.name, "str", value)
        for place in range(0, len(value), SLICE):
            try:
                data = value[place : place + SLICE].encode()
            except UnicodeEncodeError as error:
                raise SerializationError(
                    f"This text cannot be written as UTF-8: {error.reason} at character {place + error.start:,}. Keep "
                    f"it as 'pickle', or leave such characters out."
                ) from None
            file.write(data)

    def load(self, file: BinaryIO) -> Any:
        """Read the value back in slices; that and the str made of them are there at once, for a moment."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        found: list[str] = []
        try:
            while data := file.read(1 << 20):
                found.append(decoder.decode(data))
            found.append(decoder.decode(b"", True))
        except UnicodeDecodeError as error:
            raise unreadable("text", error) from error
        return "".join(found)


def other_type(name: str, wanted: str, value: Any) -> SerializationError:
    """Build the error for a *value* that is not of the one type that the codec *name* takes."""
    return SerializationError(
        f"The codec {name!r} takes values of the type {wanted}, and this is {short(value, 60)} "
        f"({type(value).__name__}). Keep it as 'auto', or return {wanted}."
    )


def unreadable(form: str, error: Exception) -> SerializationError:
    """Build the error for stored bytes that make no value."""
    why = str(error).rstrip(".") or type(error).__name__
    return SerializationError(
        f"A stored result ({form}) makes no value here: {type(error).__name__}: {why}. Install or restore what it was "
        f"made with, or run the task again to have it stored anew."
    )
