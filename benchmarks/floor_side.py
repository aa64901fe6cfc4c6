"""
The floor as the harness runs it: what to build, and how to look into its file. The work itself is in
`floor.py`.

The floor has one level: everything on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path

from anyio.from_thread import BlockingPortal, start_blocking_portal
from opentelemetry import trace

from benchmarks.floor import TABLE, Floor, Writer
from benchmarks.sample import Recorded, Works


@cache
def numbers() -> list[int]:
    """Make the large argument, in the lap that warms up and only where it is asked for: it is 40 MB."""
    return list(range(1_000_000))


@contextmanager
def works(*, home: Path, level: str) -> Generator[Works]:
    if level != "all":
        raise ValueError(f"the floor knows no level {level!r}; it is measured with everything on")
    path = home / "floor.db"
    # Before anybody else has the file open: SQLite does not wait for its turn to change the journal mode, it refuses.
    with closing(sqlite3.connect(path)) as database:
        database.execute("pragma journal_mode = wal")
    writer = Writer(path)
    writer.start()
    floor = Floor(writer, trace.get_tracer("floor"))

    async def large(_: int) -> None:
        await floor.one(numbers())

    with ExitStack() as stack:
        stack.callback(writer.close)

        @cache
        def portal() -> BlockingPortal:
            """Start the loop that blocking calls share, on the first of them: other works do without."""
            return stack.enter_context(start_blocking_portal())

        yield Works(
            awaited={
                "sequential": floor.sequential,
                "fan_out": floor.fan_out,
                "pooled": floor.pooled,
                "large": large,
            },
            blocking={"warm": lambda _: portal().call(floor.one, 1), "threaded": floor.threaded},
            recorded=lambda: _recorded(path),
        )


def _recorded(path: Path) -> Recorded:
    with closing(sqlite3.connect(path)) as database:
        database.execute(TABLE)
        (rows,) = database.execute("select count(*) from state").fetchone()
        (finished,) = database.execute(
            "select count(*) from state where state = 'Completed' and run != flow_run"
        ).fetchone()
    return Recorded(rows, finished)
