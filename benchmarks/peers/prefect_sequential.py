"""
The sequential workload on Prefect: awaited no-op async tasks in an async flow, recorded by the local server
it starts. It needs an environment of its own: Prefect brings some eighty packages that Headrace must not see.

    uv venv --python 3.11 ~/.cache/peer-prefect
    uv pip install --python ~/.cache/peer-prefect/bin/python prefect "fastapi<0.150"
    ~/.cache/peer-prefect/bin/python benchmarks/peers/prefect_sequential.py 300

(Prefect 3.8.8 accepts later versions of fastapi, but its server does not start with 0.165.)

Prints wall and CPU microseconds a task, the CPU of this process and that of the server. Logging is at WARNING
and results are not persisted, as in our workload; no spans are made, which is in Prefect's favour.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import platform
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

WARM_UP = 20


async def noop(i: int) -> int:
    return i


def children_cpu() -> float:
    """
    Give the CPU seconds so far of this process's living children, which is where Prefect's server runs
    (Linux).
    """
    ticks = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended between the listing and the look
        if int(fields[1]) == os.getpid():
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


async def measure(tasks: int) -> None:
    # By name and applied by call: a type checker need not have Prefect installed to read this file.
    prefect: Any = importlib.import_module("prefect")
    task = prefect.task(noop)

    async def sequential(count: int) -> None:
        for i in range(count):
            await task(i)

    flow = prefect.flow(sequential)
    await flow(WARM_UP)
    wall, cpu, served = time.perf_counter(), time.process_time(), children_cpu()
    await flow(tasks)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    served = children_cpu() - served
    a_task = 1e6 / tasks
    python = platform.python_version()
    print(f"Prefect {metadata.version('prefect')}, Python {python}, {tasks} tasks in one flow")
    print(f"wall {wall * a_task:,.0f} µs a task", end="; ")
    print(f"CPU {cpu * a_task:,.0f} µs here, {served * a_task:,.0f} µs in the server")


def main() -> None:
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with tempfile.TemporaryDirectory(prefix="peer-prefect-", ignore_cleanup_errors=True) as home:
        os.environ["PREFECT_HOME"] = home
        os.environ["DO_NOT_TRACK"] = "1"
        os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
        os.environ["PREFECT_LOGGING_LEVEL"] = "WARNING"
        os.environ["PREFECT_RESULTS_PERSIST_BY_DEFAULT"] = "false"
        os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "180"
        asyncio.run(measure(tasks))


if __name__ == "__main__":
    main()
