"""
Durable steps on DBOS with SQLite: no-op steps in a row in one workflow. In an environment of its own:

    uv venv --python 3.11 ~/.cache/peer-dbos
    uv pip install --python ~/.cache/peer-dbos/bin/python dbos
    ~/.cache/peer-dbos/bin/python benchmarks/peers/dbos_durable.py 1000
    ~/.cache/peer-dbos/bin/python benchmarks/peers/dbos_durable.py 1000 --wal

`--wal` gives SQLite the settings under which it is fastest: write-ahead log, synchronous NORMAL. DBOS has no option for
that, so it is done by hand, for each connection that SQLAlchemy opens. Logs go no further than WARNING, and no spans
are made, which is in favour of DBOS.

With `--stay` it answers lines `async COUNT` and `sync COUNT` on stdin, as `benchmarks/durable_side.py` does:
`python -m benchmarks.durable` has it take turns with Headrace.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

WARM_UP = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="?", type=int, default=500)
    parser.add_argument("--wal", action="store_true")
    parser.add_argument("--stay", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="peer-dbos-", ignore_cleanup_errors=True) as home:
        if asked.wal:
            hurry()
        works = launched(Path(home))
        if asked.stay:
            for line in sys.stdin:
                work, count = line.split()
                print(json.dumps(works[work](int(count))), flush=True)
            return
        print(f"DBOS {metadata.version('dbos')}, {asked.steps} steps in one workflow")
        for name, work in works.items():
            work(WARM_UP)
            took = work(asked.steps)
            wall, cpu, p50 = (took[key] * 1e6 for key in ("wall", "cpu", "p50"))
            print(f"{name}: wall {wall / asked.steps:,.0f} µs a step, p50 {p50:,.0f}, CPU {cpu / asked.steps:,.0f}")


def hurry() -> None:
    """Have each SQLite connection use the write-ahead log, and wait for the disk only where that must be."""
    alchemy: Any = importlib.import_module("sqlalchemy")

    def connected(connection: Any, _record: Any) -> None:
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")

    alchemy.event.listen(alchemy.engine.Engine, "connect", connected)


def launched(home: Path) -> dict[str, Callable[[int], dict[str, float]]]:
    """Start DBOS with its database in *home*; give the works."""
    # By name and applied by call: a type checker need not have DBOS installed to read this file.
    dbos: Any = importlib.import_module("dbos").DBOS
    dbos(config={"name": "bench", "system_database_url": f"sqlite:///{home / 'dbos.db'}", "log_level": "WARNING"})
    seen: list[float] = []

    async def noop(i: int) -> int:
        return i

    def noop_blocking(i: int) -> int:
        return i

    step, step_blocking = dbos.step()(noop), dbos.step()(noop_blocking)

    async def sequential(steps: int) -> None:
        for i in range(steps):
            await step(i)
            seen.append(time.perf_counter())

    def sequential_blocking(steps: int) -> None:
        for i in range(steps):
            step_blocking(i)
            seen.append(time.perf_counter())

    flow, flow_blocking = dbos.workflow()(sequential), dbos.workflow()(sequential_blocking)
    dbos.launch()
    loop = asyncio.new_event_loop()

    def measured(work: Callable[[int], Any], count: int) -> dict[str, float]:
        seen.clear()
        wall, cpu = time.perf_counter(), time.process_time()
        work(count)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        return {"wall": wall, "cpu": cpu, "p50": median(b - a for a, b in pairwise(seen))}

    return {
        "async": lambda count: measured(lambda steps: loop.run_until_complete(flow(steps)), count),
        "sync": lambda count: measured(flow_blocking, count),
    }


if __name__ == "__main__":
    main()
