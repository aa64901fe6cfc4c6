"""
ASGI: what a flow in a web application needs from the server, which is to hear that its client is gone.

Knows messages of the protocol, no framework, no server, and nothing of runs: a flow that is awaited in a handler is
cancelled with the handler.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final, cast

from anyio import to_thread

__all__ = ["CancelOnDisconnect"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

REASON: Final = "the client disconnected"
BODIES: Final = frozenset(["http.response.body", "http.response.pathsend", "http.response.zerocopysend"])
# What proxies write into their logs for a client that did not wait; servers send nothing of it, for there is nobody.
CLIENT_CLOSED_REQUEST: Final = 499
LOOK_AGAIN: Final = 0.05


class CancelOnDisconnect:
    """
    ASGI middleware that cancels the handling of a request when its client disconnects before it has the response.

    With FastAPI or Starlette: `app.add_middleware(CancelOnDisconnect)`, before other middlewares are added. What
    handles the request gets one `asyncio.CancelledError` where it awaits, and so do the flows and tasks awaited there;
    they are recorded as Cancelled. Their cleanup may await. A handler that does not end on it is not asked again.

    Not cancelled is what comes after the last message of the response, such as background tasks; what was started on
    the loop and is not awaited; and what runs in a worker thread, until the thread is done: it could not be stopped,
    and would no longer count among those that may run. Scopes other than http are handed on as they are.

    A client that leaves while it still sends a body is noticed only once the application has asked for that body, to
    its last message: no more than one message of it is held here. The handler may end in an exception of its own,
    which is passed on. If it began no response, middlewares around this one see the status 499.
    """

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, or hand on what is none."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        listener = asyncio.create_task(exchange.listen(), name="headrace disconnect")
        try:
            await self.app(scope, exchange.receive, exchange.send)
        except asyncio.CancelledError:
            if not exchange.over():
                raise
            await exchange.abandon()
        finally:
            exchange.over()
            listener.cancel()
            # Not awaited itself: a cancellation of this task would then look like that of the listener.
            await asyncio.wait([listener])


class Exchange:
    """
    One request and its response, between the server and the application that handles it in the calling task.

    Attributes:
        messages: What came from the server and was not asked for yet.
        arrived: Set when there are messages, and for good once no more will come.
        wanted: Whether the next message of the server may be asked for.
        last: Said again to who asks after the last message.
        started: Whether the response has begun.
        complete: Whether nothing may be cancelled any more.
        cancelling: How often the task was asked to end, before this and by others.
        cancelled: Whether this has asked it.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Never None: an application is awaited, and that is done in tasks.
        self.task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.cancelling = self.task.cancelling()
        self.cancelled = False
        self.ask, self.tell = receive, send
        self.messages: deque[Message] = deque()
        self.arrived = asyncio.Event()
        self.wanted = asyncio.Event()
        self.last: Message | Exception | None = None
        self.started = self.complete = False
        if not awaits_permission(scope):
            self.wanted.set()

    async def receive(self) -> Message:
        """Give the application the next message."""
        self.wanted.set()
        while not self.messages:
            if isinstance(self.last, Exception):
                raise self.last
            if self.last is not None:
                return dict(self.last)
            self.arrived.clear()
            await self.arrived.wait()
        return self.messages.popleft()

    async def send(self, message: Message) -> None:
        """Send a message of the application's, and note how far the response has come."""
        if message["type"] == "http.response.start":
            self.started = True
        elif message["type"] in BODIES and not message.get("more_body", False):
            # Before it is sent: a slow client may be waited for, while the handler has done its part.
            self.complete = True
        await self.tell(message)

    async def listen(self) -> None:
        """Ask the server for messages until the client is gone; at most one ahead of the application in the body."""
        while self.last is None:
            await self.wanted.wait()
            try:
                message = await self.ask()
            except Exception as error:  # the application's to hear of, when it asks
                self.last = error
            else:
                if message["type"] == "http.disconnect":
                    self.last = message
                else:
                    self.messages.append(message)
                    if message.get("more_body", False):
                        self.wanted.clear()
            self.arrived.set()
        if not isinstance(self.last, Exception):
            await self.cancel()

    async def cancel(self) -> None:
        """Ask the task to end, unless the response is complete or somebody else has asked it."""
        while in_worker_thread(self.task):  # noqa: ASYNC110 - a limiter tells nobody when a place is given back
            await asyncio.sleep(LOOK_AGAIN)
        if not self.complete and self.task.cancelling() == self.cancelling:
            self.cancelled = True
            self.task.cancel(REASON)

    def over(self) -> bool:
        """Take the cancellation back, if there was one, and let none follow; tell whether it was the only one."""
        self.complete = True
        if not self.cancelled:
            return False
        self.cancelled = False
        return self.task.uncancel() <= self.cancelling

    async def abandon(self) -> None:
        """Give a response that was never begun to the middlewares around; the server has nobody to send it to."""
        if self.started:
            return
        with suppress(OSError):  # how a server may say that the client is gone
            headers = [(b"content-length", b"0")]
            await self.tell({"type": "http.response.start", "status": CLIENT_CLOSED_REQUEST, "headers": headers})
            await self.tell({"type": "http.response.body", "body": b""})


def awaits_permission(scope: Scope) -> bool:
    """Tell whether the client sends its body only once it is told to, which asking the server for the body would do."""
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in scope["headers"])


def in_worker_thread(task: asyncio.Task[Any]) -> bool:
    """Tell whether *task* waits for one of the worker threads that frameworks run sync handlers in."""
    return task in to_thread.current_default_thread_limiter().statistics().borrowers
