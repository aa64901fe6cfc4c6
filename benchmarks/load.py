"""
Load: a program of its own that asks one address so many times a second, whether or not the answers keep up,
and prints how long each took as one line of JSON.

    python -m benchmarks.load 8000 --rate 200 --requests 1000

Sockets and no HTTP library: what the client does between two packets stands in every figure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from time import perf_counter

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
LENGTH = b"content-length:"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def asked(connection: Connection) -> None:
    """
    Send one request and read its answer.

    Raises:
        RuntimeError: The answer is none of status 200.
    """
    reader, writer = connection
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"the server answered {head[:100]!r}")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(LENGTH)]
    await reader.readexactly(int(lengths[0].removeprefix(LENGTH)))


async def load(port: int, rate: float, requests: int) -> list[float]:
    """Give the seconds that each of the *requests* took, from when it was sent."""
    free: list[Connection] = []
    took: list[float] = []

    async def one() -> None:
        # A connection for each request on its way: none waits for another here.
        connection = free.pop() if free else await asyncio.open_connection("127.0.0.1", port)
        start = perf_counter()
        await asked(connection)
        took.append(perf_counter() - start)
        free.append(connection)

    begun = perf_counter()
    async with asyncio.TaskGroup() as group:
        for i in range(requests):
            # By the clock and not by the last request, or a slow server would be asked less.
            await asyncio.sleep(max(0.0, begun + i / rate - perf_counter()))
            group.create_task(one())
    for _, writer in free:
        writer.close()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--requests", type=int, required=True)
    given = parser.parse_args()
    print(json.dumps(asyncio.run(load(given.port, given.rate, given.requests))))


if __name__ == "__main__":
    main()
