"""
The smallest program with the floor: one flow, one task, recorded in $HEADRACE_HOME. Run as a whole process by
`benchmarks`.

As in the other hello, no tracer provider is set, so the spans are the API's own that record nothing.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from opentelemetry import trace

from benchmarks.floor import Floor, Writer


async def greet(name: str) -> str:
    return f"Hello, {name}!"


async def hello(floor: Floor) -> None:
    async def body(flow_run: str) -> None:
        print(await floor.task(flow_run, greet, "world"))

    await floor.flow(body)


def main() -> None:
    writer = Writer(Path(os.environ["HEADRACE_HOME"]) / "floor.db")
    writer.start()
    asyncio.run(hello(Floor(writer, trace.get_tracer("floor"))))
    writer.close()


if __name__ == "__main__":
    main()
