"""
The plain work as the harness runs it; it records nothing, so there is nothing to look into.

With level "all" the application has a tracer all the same, for frameworks that make spans of their own.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import plain
from benchmarks.sample import Recorded, Works


@contextmanager
def works(*, home: Path, level: str) -> Generator[Works]:
    if level not in ("off", "all"):
        raise ValueError(f"nothing is recorded here, and the level is {level!r}")
    yield Works(
        awaited={"naps": plain.naps, "crowd": plain.crowd, "idle": plain.idle, "web": plain.web},
        blocking={},
        recorded=Recorded,
    )
