"""A web application in a process of its own, for tests of how it ends. Told how its runtime drains, and which loop."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from headrace import Runtime, flow, task


@task
async def step(released: asyncio.Event) -> str:
    print("begun")
    try:
        await released.wait()
    finally:
        await asyncio.sleep(0)
        print("cleaned up")
    return "done"


@flow(name="work")
async def work(name: str, released: Any) -> str:
    return f"{name}: {await step(released)}"


async def submit(request: Request) -> Response:
    """Start a run that goes on when the response is out."""
    work.submit(request.path_params["name"], request.state.released)
    return PlainTextResponse("accepted")


def application(drains: bool) -> Starlette:
    """Make the application, whose runs end by themselves at its end if it *drains*; else never."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[dict[str, Any]]:
        released = asyncio.Event()
        async with Runtime(drain_seconds=60 if drains else 0.1):
            yield {"released": released}
            print("leaving")
            if drains:
                asyncio.get_running_loop().call_soon(released.set)
        print("left")

    return Starlette(routes=[Route("/{name}", submit)], lifespan=lifespan)


def main(how: str, loop: str) -> None:
    """Serve until a signal comes."""
    config = uvicorn.Config(application(how == "drains"), loop=cast("Any", loop), log_level="warning", lifespan="on")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        print(f"port {listening.getsockname()[1]} ")
        uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    main(*sys.argv[1:3])
