"""Web applications behind a real uvicorn on loopback, in a thread of this process, and those who ask them."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any

import fastapi
import httpx2
import pytest
import uvicorn
from opentelemetry import propagate
from opentelemetry import trace as api
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.asgi import CancelOnDisconnect

WITHIN = 30.0
Application = Starlette | fastapi.FastAPI


def with_starlette(handler: Callable[[Request], Any], lifespan: Any = None) -> Starlette:
    """Give a Starlette application with one route, /{name}."""
    return Starlette(routes=[Route("/{name}", handler, methods=["GET", "POST"])], lifespan=lifespan)


def with_fastapi(handler: Callable[[Request], Any], lifespan: Any = None) -> fastapi.FastAPI:
    """Give a FastAPI application with one route, /{name}."""
    app = fastapi.FastAPI(lifespan=lifespan)
    app.add_api_route("/{name}", handler, methods=["GET", "POST"], response_model=None)
    return app


def client(url: str = "") -> httpx2.AsyncClient:
    """Give a client for *url*."""
    # No certificates: they take 100 ms to load, and all is plain HTTP here.
    return httpx2.AsyncClient(base_url=url, timeout=WITHIN, verify=False, trust_env=False)


@contextmanager
def served(app: Callable[..., Awaitable[None]], loop: Any = "asyncio") -> Generator[str]:
    """Serve *app* for the block, on a loop of its own; give the address. What uvicorn says goes to logging."""
    config = uvicorn.Config(app, loop=loop, log_config=None, lifespan="on", timeout_graceful_shutdown=10)
    server = uvicorn.Server(config)
    # Bound before the server starts: a client that comes early waits in the backlog.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],), name="server")
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(WITHIN)
    assert not thread.is_alive(), "the server did not end"


def ask(url: str, **options: Any) -> httpx2.Response:
    """Ask as any client would, and see that the answer is a good one."""
    return httpx2.get(url, timeout=WITHIN, verify=False, trust_env=False, **options).raise_for_status()


async def leave(url: str, begun: threading.Event, method: str = "GET", **options: Any) -> None:
    """Ask for *url*, and hang up once *begun* is set."""
    async with client() as leaving:
        asking = asyncio.create_task(leaving.request(method, url, **options))
        await asyncio.wait(
            [asking, asyncio.create_task(asyncio.to_thread(begun.wait, WITHIN))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        assert not asking.done(), asking.result().text
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking


class Traced:
    """A middleware that opens the request's span, as instrumentation of a server does. FastAPI does so itself."""

    def __init__(self, app: ASGIApp, tracer: api.Tracer) -> None:
        self.app, self.tracer = app, tracer

    @classmethod
    def around(cls, app: Application, tracer: api.Tracer) -> Application:
        """Have the requests of *app* traced, and cancelled, too: that must not part a flow from its request."""
        app.add_middleware(CancelOnDisconnect)
        if not isinstance(app, fastapi.FastAPI):
            app.add_middleware(cls, tracer=tracer)
        return app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        with self.tracer.start_as_current_span(f"GET {scope['path']}", context=propagate.extract(headers)):
            await self.app(scope, receive, send)
