"""
One side of a comparison in a process that stays: `python -m benchmarks.durable_side floor --synchronous FULL`.

For each line `WORK COUNT` on stdin it does that work and answers with one line of JSON: the seconds, the CPU seconds of
all threads, and the median seconds from step to step. So two sides, each warm, take turns of a fraction of a second.
`total 0` answers with how many steps are on record as finished.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

Works: TypeAlias = dict[str, Callable[[int], None]]
FLOWS_OF = 10  # steps of each of the many flows
seen_at: list[float] = []


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.durable_side", description=__doc__)
    parser.add_argument("side", choices=("floor", "ours", "unkept", "postgres"))
    parser.add_argument("--synchronous", default="NORMAL")
    parser.add_argument("--spans", action="store_true")
    asked = parser.parse_args()
    tracer = traced() if asked.spans else None
    home = Path(os.environ["HEADRACE_HOME"])
    if asked.side == "ours":
        works = ours() | items(kept=True)
    elif asked.side == "unkept":
        works = items(kept=False)
    elif asked.side == "postgres":
        works = by_hand_on_postgres(os.environ["BENCH_POSTGRES"])
    else:
        works = by_hand(home, asked.synchronous, tracer)
    for line in sys.stdin:
        work, count = line.split()
        print(json.dumps(measured(works[work], int(count))) if work in works else total(home), flush=True)


def measured(work: Callable[[int], None], count: int) -> dict[str, float]:
    """Do *work*, and give what it took."""
    seen_at.clear()
    wall, cpu = time.perf_counter(), time.process_time()
    work(count)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    laps = [after - before for before, after in pairwise(seen_at)]
    return {"wall": wall, "cpu": cpu, "p50": median(laps) if laps else 0.0}


def see() -> None:
    """Note that a step is over."""
    seen_at.append(time.perf_counter())


def traced() -> Any:
    """Have spans made as an application would; give a tracer."""
    from opentelemetry import trace

    from benchmarks.spans import Spans

    Spans()
    return trace.get_tracer("floor")


def total(home: Path) -> int:
    """Count the steps that are on record as finished."""
    path, query = home / "floor.db", "select count(*) from step where number > 0"
    if not path.exists():
        path, query = home / "headrace.db", "select count(*) from task_run where state_type = 'COMPLETED'"
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute(query).fetchone()[0])


def ours() -> Works:
    """Give the works as Headrace does them."""
    from benchmarks import durable_flows as flows

    async def many(count: int) -> None:
        flows.seen = int
        await asyncio.gather(*[flows.sequential(FLOWS_OF) for _ in range(count)])

    def one(count: int) -> None:
        flows.seen = see
        asyncio.run(flows.sequential(count))

    def one_blocking(count: int) -> None:
        flows.seen = see
        flows.sequential_blocking(count)

    return {"async": one, "sync": one_blocking, "many": lambda count: asyncio.run(many(count))}


def items(*, kept: bool) -> Works:
    """Give the works of flows that read a generator task, whose items are on record or not."""
    from benchmarks import durable_flows as flows

    return {
        "items": lambda count: asyncio.run(flows.reading(count, kept)),
        "items-sync": lambda count: flows.reading_blocking(count, kept),
    }


def by_hand(home: Path, synchronous: str, tracer: Any) -> Works:
    """Give the works as `durable_floor.py` does them."""
    from benchmarks.durable_floor import Floor, Writer

    writer = Writer(home / "floor.db", synchronous)
    writer.start()
    floor = Floor(writer, tracer)

    async def many(count: int) -> None:
        await asyncio.gather(*[floor.flow(FLOWS_OF, int) for _ in range(count)])

    return {
        "async": lambda count: asyncio.run(floor.flow(count, see)),
        "sync": lambda count: floor.flow_blocking(count, see),
        "many": lambda count: asyncio.run(many(count)),
    }


def by_hand_on_postgres(url: str) -> Works:
    """Give one work: a row inserted and committed by asyncpg, again and again."""
    asyncpg: Any = importlib.import_module("asyncpg")
    table = "create table if not exists bench_step(id bigserial primary key, name text, at bigint)"

    async def inserted(count: int) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(table)
        for _ in range(count):
            await connection.execute("insert into bench_step(name, at) values($1, $2)", "noop", time.time_ns())
            see()
        await connection.close()

    return {"async": lambda count: asyncio.run(inserted(count))}


if __name__ == "__main__":
    main()
