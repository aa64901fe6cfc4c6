"""
Codecs: how any value becomes bytes and a value again, and the names that stand beside the bytes.

Opens no file and knows no storage. What takes only some values has modules of its own: plain, frames.
"""

from __future__ import annotations

import importlib.util
import io
import pickle
import re
import zlib
from collections.abc import Iterator
from importlib import import_module
from typing import Any, BinaryIO, Final, cast

from headrace._ports import Codec
from headrace._results.frames import Arrow, Parquet, fits_arrow
from headrace._results.plain import JSON, PLAIN, SLICE, Raw, Text, unreadable
from headrace.errors import OptionError, OptionTypeError, SerializationError, nearest, short

PROTOCOL: Final = 5
LEVEL: Final = 4
GZIP: Final = 31  # for zlib: with gzip's header, of no name and no time, so that equal values are equal bytes
COMPRESSED: Final = "compressed/"
FORM: Final = re.compile(r"[a-z0-9._/+-]{1,60}")
BYTES: tuple[type[Any], ...] = (bytes, bytearray, memoryview)
PAIRS: Final = (("dump", "load"), ("dumps", "loads"))


class Pickle:
    """
    Pickles of protocol 5, a plain pickle in the file.

    Large bytes and the buffers of arrays are written from where they lie, and read into where they stay: the pickler
    hands them to the file as they are, and the unpickler has it read into them. Buffers beside the pickle, in a frame
    of our own, save nothing on top of that (measured: 0 MB over the value for 256 MB of bytes, arrays or frames).
    """

    name = "pickle"
    safe = False

    def forms(self, value: Any) -> Iterator[Codec]:
        """
        Give those to try: this one, then cloudpickle where that is installed.

        It has a name of its own, so that the record tells what has to be installed to read the value back. Nothing of
        it is imported for that but by what it wrote: this is a plain pickle as well.
        """
        yield self
        if importlib.util.find_spec("cloudpickle"):
            yield CLOUD

    def dump(self, value: Any, file: BinaryIO) -> None:
        """
        Write *value*.

        Raises:
            SerializationError: It cannot be pickled.
        """
        try:
            pickle.Pickler(file, PROTOCOL).dump(value)
        except OSError:  # as a rule the file's
            raise
        except Exception as error:
            raise unpicklable(value, error) from error

    def load(self, file: BinaryIO) -> Any:
        """Read the value back."""
        try:
            return pickle.load(file)  # noqa: S301 - not safe, as said above; who asks has seen that it is trusted
        except Exception as error:
            raise unreadable("pickle", error) from error


class CloudPickle(Pickle):
    """Pickles that hold lambdas, and functions and classes of the program itself, whole. Read as any pickle is."""

    name = "cloudpickle"

    def forms(self, value: Any) -> Iterator[Codec]:
        """Give this one."""
        yield self

    def dump(self, value: Any, file: BinaryIO) -> None:
        """
        Write *value*.

        Raises:
            SerializationError: It cannot be pickled, or cloudpickle is not installed.
        """
        try:
            cloudpickle: Any = import_module("cloudpickle")
        except ImportError:
            raise SerializationError("'cloudpickle' is not installed. Run: pip install cloudpickle") from None
        try:
            cloudpickle.Pickler(file, PROTOCOL).dump(value)
        except OSError:
            raise
        except Exception as error:
            raise unpicklable(value, error) from error


class Auto:
    """The codec that fits the value: as a rule JSON where that is exact, and else pickle. Bytes stay bytes."""

    name = "auto"
    safe = False

    def forms(self, value: Any) -> Iterator[Codec]:
        """Give the codecs to try for *value*, in turn; the first that takes it is right."""
        kind = cast("Any", type(value))
        if kind is bytes:
            yield RAW
            return
        if kind is str and len(value) > SLICE:
            yield TEXT
        elif kind in PLAIN:
            yield AS_JSON
        elif fits_arrow(value):
            yield ARROW
        yield from PICKLE.forms(value)

    def dump(self, value: Any, file: BinaryIO) -> None:
        """
        Write *value* behind the name of the codec that fits.

        Raises:
            SerializationError: There is none.
        """
        chosen = choose(self, value)
        file.write(f"{chosen.name}\n".encode())
        chosen.dump(value, file)

    def load(self, file: BinaryIO) -> Any:
        """Read the value back."""
        return named(file.readline(61).decode("ascii", "replace").strip()).load(file)


class Compressed:
    """
    What another codec writes, as gzip, which other programs read.

    Of 24 MB of source code zlib leaves 28 % at level 1 (107 MB/s), 24 % at level 4 (70), 23 % at level 6 (33); lzma
    leaves 22 % at its quickest (24) and 16 % as usual (3 MB/s), and reads back at 84 to 122 MB/s, zlib at 250 to 350.
    """

    def __init__(self, inner: Codec) -> None:
        self.inner = inner
        self.name = COMPRESSED + inner.name
        self.safe = inner.safe

    def forms(self, value: Any) -> Iterator[Codec]:
        """Give those to try: the inner one's, each compressed."""
        for form in forms(self.inner, value):
            yield self if form is self.inner else Compressed(form)

    def dump(self, value: Any, file: BinaryIO) -> None:
        """
        Write *value* as it is encoded.

        Raises:
            SerializationError: The inner codec has no form for it.
        """
        packed = Deflating(file)
        self.inner.dump(value, cast("BinaryIO", packed))
        packed.finish()

    def load(self, file: BinaryIO) -> Any:
        """Read the value back as it is decoded."""
        try:
            with io.BufferedReader(Inflating(file), SLICE) as unpacked:
                return self.inner.load(cast("BinaryIO", unpacked))
        except (EOFError, zlib.error) as error:
            raise unreadable(self.name, error) from error


class Deflating(io.BufferedIOBase):
    """Compresses what is written, as gzip.GzipFile does, which cannot be left alone once its file has refused."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.work = zlib.compressobj(LEVEL, zlib.DEFLATED, GZIP)
        self.size = 0

    def writable(self) -> bool:
        """Say yes."""
        return True

    def tell(self) -> int:
        """Give the number of bytes so far."""
        return self.size

    def write(self, data: Any) -> int:
        """Write *data* on, compressed, in small pieces."""
        view = memoryview(data).cast("B")
        for place in range(0, len(view), SLICE):
            packed = self.work.compress(view[place : place + SLICE])
            if packed:
                self.file.write(packed)
        self.size += len(view)
        return len(view)

    def finish(self) -> None:
        """Write what is left."""
        self.file.write(self.work.flush())


class Inflating(io.RawIOBase):
    """Reads what was compressed in small pieces, so that a large buffer is filled in its place."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.work = zlib.decompressobj(GZIP)

    def readable(self) -> bool:
        """Say yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """
        Fill the beginning of *buffer*.

        Raises:
            EOFError: The file ends in the middle.
        """
        while len(buffer) and not self.work.eof:
            packed = self.work.unconsumed_tail or self.file.read(SLICE)
            if not packed:
                raise EOFError("it ends in the middle")
            data = self.work.decompress(packed, min(len(buffer), SLICE))
            if data:
                buffer[: len(data)] = data
                return len(data)
        return 0


class Adapted:
    """A codec of the user's, which may know only bytes, and may not say whether it is safe."""

    def __init__(self, given: Any, name: str) -> None:
        self.given = given
        self.name = name
        self.safe = bool(getattr(given, "safe", False))
        self.streams = callable(getattr(given, "dump", None)) and callable(getattr(given, "load", None))

    def dump(self, value: Any, file: BinaryIO) -> None:
        """
        Write *value* as the user's codec does.

        Raises:
            SerializationError: It gives something that is not bytes.
        """
        if self.streams:
            self.given.dump(value, file)
            return
        data = self.given.dumps(value)
        if not isinstance(data, BYTES):
            raise SerializationError(
                f"The codec {self.name!r} gave {short(data, 60)} ({type(data).__name__}) for a value. Have its dumps() "
                f"give bytes."
            )
        file.write(data)

    def load(self, file: BinaryIO) -> Any:
        """Read the value back as the user's codec does."""
        return self.given.load(file) if self.streams else self.given.loads(file.read())


# -- names --------------------------------------------------------------------------------------------------

RAW: Final = Raw()
TEXT: Final = Text()
AS_JSON: Final = JSON()
PICKLE: Final = Pickle()
CLOUD: Final = CloudPickle()
ARROW: Final = Arrow()
BUILT: Final[dict[str, Codec]] = {
    one.name: one for one in (Auto(), RAW, TEXT, AS_JSON, PICKLE, CLOUD, ARROW, Parquet())
}
_registered: Final[dict[str, Adapted]] = {}


def codec(wanted: Any) -> Codec:
    """
    Give the codec *wanted*: by its name, or an object of the user's, which is found by its name from then on.

    Raises:
        SerializationError: None of this name is known here.
        OptionTypeError, OptionError: The object is no codec, or its name cannot be used.
    """
    if isinstance(wanted, str):
        return named(wanted)
    return wanted if isinstance(wanted, OURS) else register(wanted)


def named(name: str) -> Codec:
    """
    Give the codec called *name*.

    Raises:
        SerializationError: There is none.
    """
    found = BUILT.get(name) or _registered.get(name)
    if found is not None:
        return found
    if name.startswith(COMPRESSED) and FORM.fullmatch(name):
        return Compressed(named(name.removeprefix(COMPRESSED)))
    known = [*BUILT, *_registered, *(COMPRESSED + one for one in ("json", "pickle"))]
    raise SerializationError(
        f"No codec named {short(name, 60)} is known here{nearest(name, known)} Known are {', '.join(known)}. One of "
        f"your own is known once headrace.serializers.register(codec), or a decorator that it is given to, has run."
    )


def register(given: Any) -> Codec:
    """
    Have *given* found by its name, and give it as a codec; another of the same class replaces it.

    Args:
        given: Has `dump(value, file)` and `load(file)`, or `dumps(value)` and `loads(data)` with bytes; its `name`,
            or `type`; and `safe = True` if anyone's bytes can be read without running code of theirs.

    Raises:
        OptionTypeError: It has not.
        OptionError: Its name is taken, or is none.
    """
    pairs = [all(callable(getattr(given, part, None)) for part in pair) for pair in PAIRS]
    name = getattr(given, "name", None) or getattr(given, "type", None)
    if isinstance(given, type) or not any(pairs) or not isinstance(name, str):
        raise OptionTypeError(
            f"{short(given, 80)} is no codec. Give the name of one, or an object with a name and dump(value, file) and "
            f"load(file), or dumps(value) and loads(data)."
        )
    if not FORM.fullmatch(name) or name in BUILT or name.startswith(COMPRESSED):
        why = "is one of Headrace's own" if FORM.fullmatch(name) else "is not 1 to 60 of a-z, 0-9 and . _ / + -"
        raise OptionError(f"A codec cannot be named {short(name, 80)}: that {why}. Give it another name.")
    known = _registered.get(name)
    if known is not None and known.given is given:
        return known
    if known is not None and origin(known.given) != origin(given):
        raise OptionError(
            f"Two codecs are named {name!r}: {short(known.given, 80)} and {short(given, 80)}. What one has written the "
            f"other would read; rename one."
        )
    made = _registered[name] = Adapted(given, name)
    return made


OURS: Final = (Raw, Text, JSON, Pickle, Auto, Arrow, Parquet, Compressed, Adapted)


def origin(given: Any) -> tuple[str, str]:
    """Give the place of the class of *given*, which stays the same where a notebook's cell defines it again."""
    kind = cast("Any", type(given))
    return kind.__module__, kind.__qualname__


def forms(chosen: Codec, value: Any) -> Iterator[Codec]:
    """Give the codecs of which the first that takes *value* is the one that *chosen* stands for; as a rule itself."""
    return chosen.forms(value) if isinstance(chosen, Pickle | Auto | Compressed) else iter((chosen,))


def choose(chosen: Codec, value: Any) -> Codec:
    """
    Give the codec that *chosen* comes to for *value*, which is encoded to see.

    Who writes *value* as well spares that: write it with each of `forms` in turn.

    Raises:
        SerializationError: There is none.
    """
    refused = SerializationError(f"The codec {chosen.name!r} stands for none.")
    for form in forms(chosen, value):
        try:
            form.dump(value, cast("BinaryIO", Nowhere()))
        except SerializationError as error:
            refused = error
            continue
        return form
    raise refused


class Nowhere(io.RawIOBase):
    """A file that keeps nothing."""

    def writable(self) -> bool:
        """Say yes."""
        return True

    def write(self, data: Any) -> int:
        """Pass *data* over."""
        return memoryview(data).nbytes


def unpicklable(value: Any, error: Exception) -> SerializationError:
    """Build the error for a *value* that pickle has refused with *error*."""
    hint = "" if importlib.util.find_spec("cloudpickle") else ", or install what pickles lambdas: cloudpickle"
    why = str(error).rstrip(".") or type(error).__name__
    return SerializationError(
        f"A value of type {type(value).__name__} cannot be pickled: {why}. Return plain data, and open again what "
        f"holds a connection, a lock or a generator where it is needed{hint}."
    )
