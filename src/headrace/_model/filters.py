"""Filters: which keys a store may hold, in a few bits each. None that is there is denied, few others are taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

SMALLEST: Final = 1 << 17  # bytes: 128 kB, for 65,536 keys
BITS: Final = 16  # for each key: one in a hundred that are not there is taken to be


class KeyFilter:
    """
    A Bloom filter with two places a key, which is told all keys of a store in the order in which they came.

    Attributes:
        last: The number of the last key that it was told.
        version: As of which version of the store it was told all; None where it was not.
    """

    def __init__(self) -> None:
        self.bits = bytearray(SMALLEST)
        self.count = 0
        self.last = 0
        self.version: int | None = None

    @property
    def complete(self) -> bool:
        """Whether it was told all keys, so that what it denies is not there."""
        return self.version is not None

    def add(self, keys: Iterable[str]) -> None:
        """Be told of *keys*. From one thread at a time."""
        bits = self.bits
        size = len(bits) - 1
        for key in keys:
            mark = hash(key)
            first, second = mark & size, (mark >> 30) & size
            bits[first] |= 1 << ((mark >> 21) & 7)
            bits[second] |= 1 << ((mark >> 51) & 7)
            self.count += 1

    def full(self) -> bool:
        """Tell whether it takes too many keys to be there by now; then a larger one is to be told all."""
        return self.count * BITS > len(self.bits) * 8

    def larger(self) -> KeyFilter:
        """Give one for four times as many, which knows none so far."""
        made = KeyFilter()
        made.bits = bytearray(len(self.bits) * 4)
        return made

    def may_hold(self, key: str) -> bool:
        """Tell whether *key* may be there."""
        bits = self.bits
        size = len(bits) - 1
        mark = hash(key)
        if not bits[mark & size] >> ((mark >> 21) & 7) & 1:
            return False
        return bool(bits[(mark >> 30) & size] >> ((mark >> 51) & 7) & 1)
