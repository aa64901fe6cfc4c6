"""
A FastAPI application on loopback, asked by a process of its own 200 times a second: what its clients wait for,
and how late its loop is meanwhile. What its handler does is no concern of it.

Loaded only where it is asked for: the framework alone is half of a small process's memory.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from benchmarks.lag import watched
from benchmarks.sample import Notes

RATE = 200
TASKS = 5
Handler = Callable[[], Awaitable[int]]


async def requested(tasks: int, handler: Handler) -> Notes:
    """Have *handler* called as often as *tasks* need, with so many a request; note milliseconds."""
    async with served(handler) as port, watched() as lag:
        took = sorted(await answers(port, tasks // TASKS))
    return {
        "requests": len(took),
        "p50": took[len(took) // 2] * 1e3,
        "p99": took[int(len(took) * 0.99)] * 1e3,
        **lag.notes(),
    }


@asynccontextmanager
async def served(handler: Handler) -> AsyncGenerator[int]:
    """Serve *handler* on this loop for the block; give the port."""
    app = FastAPI()
    app.get("/")(handler)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    # Bound before the server starts: a client that comes early waits in the backlog. With its protocol named:
    # else asyncio does not switch Nagle's algorithm off, and each answer takes the 40 ms of a delayed ACK.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        serving = asyncio.create_task(server.serve([listening]))
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await serving


async def answers(port: int, requests: int) -> list[float]:
    """
    Have another process ask; give the seconds that it waited for each answer.

    Raises:
        RuntimeError: It failed, or got fewer answers than it asked for.
    """
    asked = ("-m", "benchmarks.load", str(port), f"--rate={RATE}", f"--requests={requests}")
    load = await asyncio.create_subprocess_exec(sys.executable, *asked, stdout=asyncio.subprocess.PIPE)
    out, _ = await load.communicate()
    took: list[float] = json.loads(out) if out else []
    if load.returncode or len(took) != requests:
        raise RuntimeError(
            f"the load of {requests:,} requests ended with {load.returncode} after {len(took):,} answers"
        )
    return took
