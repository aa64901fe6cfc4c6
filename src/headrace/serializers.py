"""Serializers, for users: the forms in which results are stored. Where options take one, a name such as "json" does."""

from __future__ import annotations

from headrace._ports import Codec
from headrace._results.codecs import codec, register

__all__ = ["CompressedSerializer", "JSONSerializer", "PickleSerializer", "Serializer", "register"]

Serializer = Codec


def JSONSerializer() -> Codec:
    """Give the form that is JSON; it refuses values that would not come back equal and of the same types."""
    return codec("json")


def PickleSerializer(picklelib: str = "pickle") -> Codec:
    """
    Give the form that is a pickle, by *picklelib*: "pickle" or "cloudpickle".

    Raises:
        SerializationError: It is another one.
    """
    return codec(picklelib)


def CompressedSerializer(serializer: str | Codec = "json") -> Codec:
    """
    Give the form that is *serializer*'s, compressed.

    Raises:
        SerializationError: There is none of that name.
    """
    name = serializer if isinstance(serializer, str) else serializer.name
    return codec(f"compressed/{name}")
