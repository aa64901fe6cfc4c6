"""
Ids: of runs, traces and spans. Arithmetic on ids that others drew; draws none itself.

A flow run's id is a version 4 UUID whose last group is zero. The id of a task run is that of its flow run with the
last group counting, so the tasks of a flow stand side by side in the store, in order, and need no index of their own.
Trace and span ids are worked out from run ids: a span that is sent twice, or made again after a crash, is one span.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

PREFIX_LENGTH: Final = 24
LENGTH: Final = 36
FIRST: Final = "0" * 12
SHORT: Final = 8
_WORD: Final = (1 << 64) - 1


def run_id(prefix: str, number: int) -> str:
    """Give the id of run *number* (0 is the root itself) under *prefix*, the first four groups with their dashes."""
    return f"{prefix}{number:012x}"


def prefix_of(run_id: str) -> str:
    """Give the four groups that a root and all the task runs under it share."""
    return run_id[:PREFIX_LENGTH]


def short_id(whole: str) -> str:
    """Give the id of a run as it is shown: eight signs, and for a task within another run its number behind a dot."""
    number = whole[PREFIX_LENGTH:]
    return whole[:SHORT] if number == FIRST else f"{whole[:SHORT]}.{number.lstrip('0'):0>3}"


def trace_id(root_id: str) -> int:
    """Give the 128-bit trace id of the root run *root_id*."""
    return digest(root_id, 16) or 1


@lru_cache(64)
def trace_text(trace: int) -> str:
    """Give a trace id as it is written: in 32 hexadecimal digits."""
    return f"{trace:032x}"


def span_base(prefix: str) -> int:
    """Give the 64-bit number from which the span ids of the runs under *prefix* are worked out."""
    return digest(prefix, 8)


def digest(text: str, size: int) -> int:
    """Give a number of *size* bytes that stands for *text*."""
    import hashlib  # noqa: PLC0415 - 6 ms to import, for those who trace

    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest(), "big")


def span_id(base: int, number: int) -> int:
    """Give the span id of run *number* under *base*, mixed as in SplitMix64: sums would look alike, and collide."""
    z = (base + number * 0x9E3779B97F4A7C15) & _WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _WORD
    return (z ^ (z >> 31)) or 1


def segment_id(span: int, segment: int) -> int:
    """Give the span id of the *segment*-th state (from 1) of the run whose own span id is *span*."""
    return (span ^ (segment * 0xD1B54A32D192ED03 & _WORD)) or 1
