"""Cancellation on disconnect, message by message: what the application hears, and what the server hears of it."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import anyio.to_thread
import pytest

from headrace.asgi import CancelOnDisconnect, Message, Receive, Scope, Send

App = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]
GONE: Message = {"type": "http.disconnect"}
START: Message = {"type": "http.response.start", "status": 200, "headers": []}
END: Message = {"type": "http.response.body", "body": b"done"}
WITHIN = 20.0


def body(text: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": text, "more_body": more}


class Server:
    """One request, as a server sees it: what it tells when it is asked, and what it is told."""

    def __init__(self, *messages: Message, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        self.scope: Scope = {"type": "http", "headers": headers or []}
        self.coming: asyncio.Queue[Message | Exception] = asyncio.Queue()
        self.asked = 0
        self.told: list[Message] = []
        for message in messages:
            self.coming.put_nowait(message)

    def say(self, message: Message | Exception) -> None:
        """Have something to tell to who asks next."""
        self.coming.put_nowait(message)

    async def receive(self) -> Message:
        self.asked += 1
        message = await self.coming.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def send(self, message: Message) -> None:
        self.told.append(message)

    async def serve(self, app: App) -> None:
        """Have *app* handle the request, and see that it leaves no task behind."""
        others = asyncio.all_tasks()
        try:
            async with asyncio.timeout(WITHIN):
                await CancelOnDisconnect(app)(self.scope, self.receive, self.send)
        finally:
            assert asyncio.all_tasks() <= others

    @staticmethod
    def task() -> asyncio.Task[Any]:
        task = asyncio.current_task()
        assert task is not None
        return task

    def statuses(self) -> list[int]:
        """Give the statuses of the responses that were begun."""
        return [message["status"] for message in self.told if message["type"] == "http.response.start"]


async def settle() -> None:
    """Let the loop do all that can be done now."""
    for _ in range(20):
        await asyncio.sleep(0)


async def for_ever() -> None:
    await asyncio.Event().wait()


# -- the application's side -------------------------------------------------------------------------------------


async def test_the_application_gets_one_cancellation_that_says_why_and_its_cleanup_may_wait() -> None:
    server, heard = Server(body(b""), GONE), list[str]()

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        try:
            await for_ever()
        except asyncio.CancelledError as stop:
            heard.extend(map(str, stop.args))
            await settle()
            heard.append("cleaned up")
            raise

    await server.serve(app)

    assert heard == ["the client disconnected", "cleaned up"]


async def test_the_application_runs_in_the_callers_task_and_context() -> None:
    server, name = Server(), contextvars.ContextVar[str]("name")
    seen = list[object]()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        seen.extend([asyncio.current_task(), name.get()])
        name.set("inner")
        await send(START)
        await send(END)

    async def outer() -> None:
        name.set("outer")
        await CancelOnDisconnect(app)(server.scope, server.receive, server.send)
        seen.append(name.get())

    task = asyncio.create_task(outer())
    await task

    assert seen == [task, "outer", "inner"]


async def test_each_message_reaches_the_application_in_order_and_the_disconnect_for_ever() -> None:
    server, got = Server(body(b"a", True), body(b"b", True), body(b"c")), list[Message]()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        got.extend([await receive() for _ in range(3)])
        await send(START)
        await send(END)
        server.say(GONE)
        got.extend([await receive() for _ in range(3)])

    await server.serve(app)

    assert got == [body(b"a", True), body(b"b", True), body(b"c"), GONE, GONE, GONE]


async def test_all_who_wait_for_a_message_hear_of_the_disconnect() -> None:
    server = Server(body(b""))

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(START)
        await send(END)
        waiting = asyncio.gather(*(receive() for _ in range(3)))
        await settle()
        server.say(GONE)
        assert await waiting == [GONE] * 3

    await server.serve(app)


async def test_of_a_body_one_message_is_asked_for_ahead_and_no_more() -> None:
    server = Server(*(body(b"x", True) for _ in range(9)))
    asked = list[int]()

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(3):
            await settle()
            asked.append(server.asked)
            await receive()
        await send(START)
        await send(END)

    await server.serve(app)

    assert asked == [1, 2, 3]


async def test_a_client_that_waits_for_permission_to_send_is_not_given_it_unasked() -> None:
    server = Server(body(b"x"), headers=[(b"expect", b"100-Continue")])
    asked = list[int]()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        await settle()
        asked.append(server.asked)
        await receive()
        server.say(GONE)
        await for_ever()

    await server.serve(app)

    assert asked == [0]


async def test_a_client_that_leaves_within_its_body_cancels_who_waits_for_the_rest() -> None:
    server, got = Server(body(b"a", True), GONE), list[Message]()

    async def app(_scope: Scope, receive: Receive, _send: Send) -> None:
        got.append(await receive())
        got.append(await receive())
        await for_ever()

    await server.serve(app)

    assert got[0] == body(b"a", True)
    assert server.statuses() == [499]


async def test_an_exception_of_the_application_is_passed_on_as_it_is() -> None:
    server, error = Server(body(b"")), LookupError("mine")

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise error

    with pytest.raises(LookupError) as caught:
        await server.serve(app)

    assert caught.value is error
    assert server.told == []


async def test_an_exception_of_a_cancelled_application_is_passed_on_as_well() -> None:
    server, error = Server(body(b""), GONE), LookupError("while cleaning up")

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        try:
            await for_ever()
        finally:
            raise error

    with pytest.raises(LookupError) as caught:
        await server.serve(app)

    assert caught.value is error
    assert server.task().cancelling() == 0


async def test_what_the_server_raises_is_raised_where_the_application_asks() -> None:
    error = ConnectionError("broken")
    server = Server()
    server.say(error)

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await settle()
        for _ in range(2):
            with pytest.raises(ConnectionError) as caught:
                await receive()
            assert caught.value is error
        await send(START)
        await send(END)

    await server.serve(app)

    assert server.told == [START, END]


# -- what is not cancelled --------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [END, {"type": "http.response.pathsend", "path": "/tmp/file"}])
async def test_what_follows_the_last_message_of_the_response_is_not_cancelled(last: Message) -> None:
    server, done = Server(body(b"")), list[str]()

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send(last)
        server.say(GONE)
        await settle()
        done.append("background task")

    await server.serve(app)

    assert (done, server.told) == (["background task"], [START, last])


async def test_a_response_in_the_middle_is_cancelled_and_not_completed() -> None:
    server, half = Server(body(b"")), {"type": "http.response.body", "body": b"half", "more_body": True}

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(START)
        await send(half)
        server.say(GONE)
        await for_ever()

    await server.serve(app)

    assert server.told == [START, half]


async def test_a_worker_thread_is_waited_for_and_what_follows_it_is_cancelled() -> None:
    server, story = Server(body(b"")), list[str]()
    loop = asyncio.get_running_loop()

    def work() -> None:
        asyncio.run_coroutine_threadsafe(leave(), loop).result(WITHIN)
        story.append("thread ended")

    async def leave() -> None:
        server.say(GONE)
        await settle()

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await anyio.to_thread.run_sync(work)
        story.append("handler went on")
        await for_ever()

    await server.serve(app)

    assert story == ["thread ended", "handler went on"]
    assert server.statuses() == [499]


async def test_a_handler_that_swallows_the_cancellation_may_answer_and_is_not_asked_again() -> None:
    server = Server(body(b""), GONE)

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        try:
            await for_ever()
        except asyncio.CancelledError:
            await settle()
        await send(START)
        await send(END)

    await server.serve(app)

    assert server.told == [START, END]
    assert server.task().cancelling() == 0


@pytest.mark.parametrize("kind", ["websocket", "lifespan"])
async def test_other_scopes_are_handed_on_as_they_are(kind: str) -> None:
    server, given = Server(), list[object]()
    server.scope["type"] = kind

    async def app(*args: object) -> None:
        given.extend(args)

    await CancelOnDisconnect(app)(server.scope, server.receive, server.send)

    assert given == [server.scope, server.receive, server.send]


# -- the server's side ------------------------------------------------------------------------------------------


async def test_middlewares_around_see_499_where_no_response_was_begun() -> None:
    server = Server(body(b""), GONE)

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await for_ever()

    await server.serve(app)

    assert server.statuses() == [499]
    assert server.told[-1] == {"type": "http.response.body", "body": b""}


async def test_a_server_that_refuses_to_send_to_nobody_is_heard_without_a_fuss() -> None:
    server = Server(body(b""), GONE)

    async def refuse(message: Message) -> None:
        server.told.append(message)
        raise OSError("nobody there")

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await for_ever()

    await CancelOnDisconnect(app)(server.scope, server.receive, refuse)

    assert server.statuses() == [499]


@pytest.mark.parametrize("disconnected", [False, True])
async def test_a_cancellation_by_the_server_is_its_own_and_passed_on(disconnected: bool) -> None:
    server, ready, reasons = Server(body(b"")), asyncio.Event(), list[str]()

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        ready.set()
        try:
            await for_ever()
        except asyncio.CancelledError as stop:
            reasons.extend(map(str, stop.args))
            await settle()
            reasons.append("cleaned up")
            raise

    task = asyncio.create_task(server.serve(app))
    await ready.wait()
    task.cancel("shutting down")
    if disconnected:  # finds a cancellation in progress and adds none
        server.say(GONE)

    with pytest.raises(asyncio.CancelledError):
        await task
    assert (reasons, server.told) == (["shutting down", "cleaned up"], [])


async def test_a_server_that_stops_while_the_client_leaves_gets_its_cancellation_back() -> None:
    server, cleaning = Server(body(b""), GONE), asyncio.Event()

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        try:
            await for_ever()
        finally:
            cleaning.set()
            await for_ever()

    task = asyncio.create_task(CancelOnDisconnect(app)(server.scope, server.receive, server.send))
    await cleaning.wait()
    task.cancel("shutting down")

    with pytest.raises(asyncio.CancelledError):
        await task
    assert (task.cancelled(), server.told) == (True, [])


async def test_a_timeout_within_the_handler_does_not_take_the_disconnect_for_its_own() -> None:
    server, story = Server(body(b""), GONE), list[str]()

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        try:
            async with asyncio.timeout(WITHIN), asyncio.TaskGroup() as group:
                group.create_task(for_ever())
        except TimeoutError:
            story.append("timed out")
        story.append("went on")

    await server.serve(app)

    assert (story, server.statuses()) == ([], [499])


async def test_a_cancel_scope_around_ends_the_handling_as_ever() -> None:
    server = Server(body(b""))

    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        scope.cancel()
        await for_ever()

    with anyio.CancelScope() as scope:
        await CancelOnDisconnect(app)(server.scope, server.receive, server.send)

    assert scope.cancelled_caught
    assert server.told == []
