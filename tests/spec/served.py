"""A web application behind a real uvicorn on loopback, in a thread of this process. Knows nothing of its routes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any

import httpx2
import uvicorn

WITHIN = 30.0


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
