"""
`python -m benchmarks.caching`: what a cached call costs: found in memory, found in SQLite, missed; and with many keys.

Each line is measured in a process of its own with an empty home: CPU of all threads, in microseconds a call, the least
of three rounds. The maps and the writes alone, which are compared, take turns in one process; theirs is the median of
nine rounds, and the ratio that of nine ratios: a machine whose speed changes from second to second changes it for all
three. `--keys 1000000` says how many results lie in the store of the last line.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

CALLS = 2_000
ITEMS = 10_000
ROUNDS = 3
TURNS = 9
LINES = ("plain", "hit in memory", "hit in SQLite", "async hit in SQLite", "map plain, misses, writes", "keys")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.caching", description=__doc__)
    parser.add_argument("line", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--keys", type=int, default=1_000_000)
    asked = parser.parse_args()
    if asked.line is not None:
        measure(asked.line, asked.keys)
        return 0
    found: dict[str, list[float]] = {}
    for line in LINES:
        found[line] = fresh(line, asked.keys)
        print(f"{line:26} {'  '.join(f'{value:8.1f}' for value in found[line][:3])}", flush=True)
    print(f"\nmisses without the writes, against the plain map: {found['map plain, misses, writes'][3]:.2f}")
    print(f"a lookup among {asked.keys:,} keys, against one among 1,000: {found['keys'][1] / found['keys'][0]:.2f}")
    return 0


def fresh(line: str, keys: int) -> list[float]:
    """Measure *line* in a process of its own; give its figures."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HEADRACE_HOME": home, "HEADRACE_LOG_LEVEL": "WARNING"}
        if "SQLite" in line:
            environment["HEADRACE_RESULT_MEMORY"] = "0"
        command = [sys.executable, "-m", "benchmarks.caching", line, "--keys", str(keys)]
        out = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return [float(word) for word in out.split()]


def cpu(work: Callable[[], Any], calls: int) -> float:
    """Give the CPU that *work* takes, in microseconds a call; the least of several rounds."""
    best = float("inf")
    for _ in range(ROUNDS):
        before = time.process_time()
        work()
        best = min(best, (time.process_time() - before) / calls * 1e6)
    return best


def measure(line: str, keys: int) -> None:
    """Measure *line* here, and print its figures."""
    from headrace import flow, task
    from headrace.cache_policies import INPUTS

    @task
    def plain(x: int) -> dict[str, int]:
        return {"x": x}

    @task
    async def async_plain(x: int) -> dict[str, int]:
        return {"x": x}

    cached, async_cached = plain.with_options(cache_policy=INPUTS), async_plain.with_options(cache_policy=INPUTS)
    place = [0]  # no item comes twice

    @flow
    def repeated() -> float:
        chosen = plain if line == "plain" else cached
        chosen(1)
        return cpu(lambda: [chosen(1) for _ in range(CALLS)], CALLS)

    @flow
    async def awaited() -> float:
        await async_cached(1)
        before = time.process_time()
        for _ in range(CALLS):
            await async_cached(1)
        return (time.process_time() - before) / CALLS * 1e6

    @flow
    async def mapped(chosen: Any) -> None:
        place[0] += ITEMS
        await chosen.map(range(place[0], place[0] + ITEMS))

    if line.startswith("map"):
        turns = asyncio.run(in_turns(lambda: mapped(async_plain), lambda: mapped(async_cached)))
        print(*[statistics.median(column) for column in zip(*turns, strict=True)])
    elif line == "keys":
        print(*[looked(number) for number in (1_000, keys)])
    else:
        print(asyncio.run(awaited()) if line.startswith("async") else repeated())


def results(count: int) -> list[Any]:
    """Make *count* results as a small one is kept: under keys that are digests, so that each goes to another place."""
    from hashlib import blake2b

    from headrace._model.records import StoredResult

    now = time.time_ns()
    return [
        StoredResult(
            blake2b(b"%d" % number, digest_size=16).hexdigest(),
            f"00000000-0000-4000-8000-{number:012x}",
            "async_plain",
            now + number,
            None,
            "json",
            10,
            blake2b(b"result %d" % number, digest_size=16).hexdigest(),
            data=b'{"x":1000}',
            trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        )
        for number in range(count)
    ]


async def in_turns(plain: Callable[[], Any], misses: Callable[[], Any]) -> list[tuple[float, float, float, float]]:
    """
    Give the CPU an item of a plain map, of one of misses, and of the store alone; and the ratio, of each round.

    The store alone writes as many results in as many batches as it was given in the map.
    """
    from pathlib import Path

    from headrace import _runtime
    from headrace._ports import Batch
    from headrace._stores.sqlite import SQLiteStore

    store = SQLiteStore(Path(os.environ["HEADRACE_HOME"]) / "writes.db")
    await store.open()
    made = iter(results(ITEMS * (TURNS + 1)))
    sizes: list[int] = []
    used: Any = _runtime.current().store
    append = used.append

    async def counted(batch: Batch) -> None:
        if batch.results:
            sizes.append(len(batch.results))
        await append(batch)

    async def writes() -> None:
        for size in sizes:
            await store.append(Batch(results=list(itertools.islice(made, size))))

    used.append = counted
    turns: list[tuple[float, float, float, float]] = []
    for _ in range(TURNS + 1):
        sizes.clear()
        took: list[float] = []
        for work in (plain, misses, writes):
            before = time.process_time()
            await work()
            took.append((time.process_time() - before) / ITEMS * 1e6)
        assert sum(sizes) == ITEMS
        turns.append((took[0], took[1], took[2], (took[1] - took[2]) / took[0]))
    await store.close()
    return turns[1:]  # the first warms up


def looked(keys: int) -> float:
    """Give the CPU of a lookup that finds something, in a store of so many *keys*, in microseconds."""
    from pathlib import Path

    from headrace._ports import Batch
    from headrace._stores.sqlite import SQLiteStore

    async def filled() -> SQLiteStore:
        store = SQLiteStore(Path(os.environ["HEADRACE_HOME"]) / f"{keys}.db")
        await store.open()
        made = results(keys)
        for start in range(0, keys, 5_000):
            await store.append(Batch(results=made[start : start + 5_000]))
        return store

    store = asyncio.run(filled())
    wanted = [one.key for one in results(keys)[:: max(keys // CALLS, 1)]][:CALLS]
    for key in wanted:
        assert store.results.look(key) is not None
    took = cpu(lambda: [store.results.look(key) for key in wanted], len(wanted))
    asyncio.run(store.close())
    return took


if __name__ == "__main__":
    sys.exit(main())
