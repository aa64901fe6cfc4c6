"""
`python -m benchmarks.hashing`: what the digest of a call's arguments costs, beside one dump of them and its hash.

Measured in this process, the sides in turns; the least of many. No test: nothing fails for being slow.
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from hashlib import blake2b
from time import perf_counter
from typing import Any

import orjson

from benchmarks.table import aligned, surroundings
from headrace._model.hashing import digest

BAR = 2.0
SMALL_BAR = 3.0
DRAW = random.Random(1)


def record(number: int) -> dict[str, Any]:
    """Give one of many records, of 250 bytes as JSON."""
    return {
        "id": number,
        "name": f"user {DRAW.getrandbits(40):x}",
        "score": DRAW.random(),
        "active": number % 3 == 0,
        "note": "text with an ü, a ☃ and some words more" if number % 4 else None,
        "tags": ["alpha", "beta", f"tag {number % 50}"],
        "address": {"street": f"Long Street {number % 900}", "position": [DRAW.uniform(-90, 90), DRAW.uniform(0, 180)]},
    }


RECORDS = [record(number) for number in range(4_200)]
LARGE = {
    "records": RECORDS,
    "records without floats": [{**each, "score": 1, "address": {"street": "x" * 50}} for each in RECORDS],
    "texts": {f"key {number}": "some words of a text, " * 40 for number in range(1_100)},
    "numbers": [DRAW.random() for _ in range(52_000)],
    "lists of integers": [list(range(number, number + 20)) for number in range(8_500)],
}
FLAT = '{"x": 1, "y": "a"}'
SMALL = {
    FLAT: {"x": 1, "y": "a"},
    "None": None,
    "one number": 12,
    "ten arguments": {f"argument_{number}": number / 3 for number in range(10)},
    "a list in a dict": {"ids": [1, 2, 3], "name": "a"},
    "a tuple": (1, "a"),
    "a date in a dict": {"day": dt.date(2024, 1, 2), "x": 1},
}


def least(rounds: int, *bodies: Callable[[], object]) -> list[float]:
    """Give the least microseconds that each of *bodies* took in *rounds*, taken in turns."""
    times = [float("inf")] * len(bodies)
    for _ in range(rounds):
        for place, body in enumerate(bodies):
            start = perf_counter()
            body()
            times[place] = min(times[place], (perf_counter() - start) * 1e6)
    return times


def dumped(value: Any, options: int) -> Callable[[], str]:
    """Give the floor: one dump and its hash."""
    return lambda: blake2b(orjson.dumps(value, option=options), digest_size=16).hexdigest()


def digested(value: Any, times: int = 1) -> Callable[[], None]:
    """Give *times* digests of *value*."""

    def digests() -> None:
        for _ in range(times):
            digest(value)

    return digests


def main() -> None:
    print(f"{surroundings()}\npython -m benchmarks.hashing\n")
    rows: list[tuple[str, ...]] = []
    for name, value in LARGE.items():
        size = len(orjson.dumps(value)) / 1e6
        plain, ordered, ours = least(40, dumped(value, 0), dumped(value, orjson.OPT_SORT_KEYS), digested(value))
        times = (f"{microseconds / 1e3:.2f}" for microseconds in (plain, ordered, ours))
        bar = f"<= {BAR:g}x" if value is RECORDS else ""
        rows.append((name, bar, f"{size:.2f}", *times, f"{ours / plain:.2f}", f"{ours / ordered:.2f}"))
    head = ("large value", "bar", "MB", "dump + hash, ms", "sorted + hash, ms", "digest, ms", "ratio", "to sorted")
    print(f"{aligned(head, rows)}\n")
    rows = []
    for name, value in SMALL.items():
        (ours,) = least(40, digested(value, 1_000))
        rows.append((name, f"<= {SMALL_BAR:g} µs" if name == FLAT else "", f"{ours / 1e3:.2f}"))
    print(aligned(("small value", "bar", "digest, µs"), rows))


if __name__ == "__main__":
    main()
