"""Flows in handlers of web applications: on the request's loop, in its trace, cancelled when the client leaves."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import fastapi
import pytest
from opentelemetry import trace as api
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from headrace import flow, tags, task
from headrace.asgi import CancelOnDisconnect
from headrace.context import get_flow_run
from tests.chaos.processes import until
from tests.spec.forms import Record
from tests.spec.seen import Tracing
from tests.spec.served import WITHIN, Application, Traced, ask, client, leave, served, with_fastapi, with_starlette


@pytest.fixture(params=[with_starlette, with_fastapi], ids=["starlette", "fastapi"])
def framework(request: pytest.FixtureRequest) -> Callable[[Callable[[Request], Any]], Application]:
    """Run the test once with each framework."""
    made: Callable[[Callable[[Request], Any]], Application] = request.param
    return made


Framework = Callable[[Callable[[Request], Any]], Application]


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    """Run the test once with each kind of loop."""
    return str(request.param)


def states(record: Record) -> list[str]:
    """Give the names of the states of the flow runs, then of the task runs, as far as they are recorded by now."""
    flows, tasks = record.flow_runs(), record.task_runs()
    return [run.state.name for run in flows] + [run.state.name for run in tasks]


# -- loop, threads and records ----------------------------------------------------------------------------------


def test_a_flow_awaited_in_a_handler_runs_on_the_requests_loop(record: Record, framework: Framework, loop: str) -> None:
    loops = list[asyncio.AbstractEventLoop]()

    @task
    async def double(x: int) -> int:
        loops.append(asyncio.get_running_loop())
        await asyncio.sleep(0)
        return 2 * x

    @flow
    async def work(name: str) -> str:
        loops.append(asyncio.get_running_loop())
        return f"{name} {await double(1) + await double(2)}"

    async def handler(request: Request) -> Response:
        loops.append(asyncio.get_running_loop())
        return PlainTextResponse(await work(request.path_params["name"]))

    with served(framework(handler), loop) as url:
        assert ask(f"{url}/ada").text == "ada 6"

    assert len(loops) == 4
    assert len(set(loops)) == 1
    assert type(loops[0]).__module__.partition(".")[0] == loop
    assert record.flow_run().state.is_completed()
    assert [run.state.name for run in record.task_runs()] == ["Completed"] * 2


def test_a_sync_flow_in_a_sync_handler_runs_in_the_handlers_thread(record: Record, framework: Framework) -> None:
    threads = list[threading.Thread]()

    @task
    def double(x: int) -> int:
        threads.append(threading.current_thread())
        return 2 * x

    @flow
    def work(name: str) -> str:
        threads.append(threading.current_thread())
        return f"{name} {double(1)}"

    def handler(request: Request) -> Response:
        threads.append(threading.current_thread())
        return PlainTextResponse(work(request.path_params["name"]))

    app = framework(handler)
    app.add_middleware(CancelOnDisconnect)
    with served(app) as url:
        assert ask(f"{url}/ada").text == "ada 2"

    assert len(set(threads)) == 1
    assert threads[0].name != "server"
    assert record.flow_run().state.is_completed()
    assert record.task_run().state.is_completed()


@flow
def rows(count: int) -> list[int]:
    return list(range(count))


@flow
async def async_rows(count: int) -> list[int]:
    return list(range(count))


async def total(found: Annotated[list[int], fastapi.Depends(rows)]) -> int:
    return sum(found)


async def async_total(found: Annotated[list[int], fastapi.Depends(async_rows)]) -> int:
    return sum(found)


@pytest.mark.parametrize(("handler", "dependent"), [(rows, total), (async_rows, async_total)], ids=["sync", "async"])
def test_a_flow_may_stand_for_a_handler_and_for_a_dependency_of_fastapi(
    record: Record, handler: Callable[..., Any], dependent: Callable[..., Any]
) -> None:
    app = fastapi.FastAPI()
    app.add_api_route("/rows", handler)
    app.add_api_route("/total", dependent)
    with served(app) as url:
        assert ask(f"{url}/rows?count=3").json() == [0, 1, 2]
        assert ask(f"{url}/total?count=4").json() == 6

    assert states(record) == ["Completed"] * 2


# -- traces and contexts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["sync", "async"])
def test_a_flow_joins_the_trace_of_its_request(app: Tracing, framework: Framework, form: str) -> None:
    @task
    def fetch() -> str:
        return "it"

    @flow
    def work() -> str:
        return fetch()

    @flow(name="work")
    async def async_work() -> str:
        return fetch()

    above = list[str]()

    def note() -> None:
        above.append(f"{api.get_current_span().get_span_context().span_id:016x}")

    async def async_handler(request: Request) -> Response:
        note()
        return PlainTextResponse(await async_work())

    def handler(request: Request) -> Response:
        note()
        return PlainTextResponse(work())

    with served(Traced.around(framework(handler if form == "sync" else async_handler), app.tracer)) as url:
        ask(f"{url}/x", headers={"traceparent": f"00-{0xABC:032x}-{0xDEF:016x}-01"})

    spans = app.spans().whole(outside=f"{0xDEF:016x}")
    assert [spans.one("work").parent] == above  # FastAPI opens another span around the handler
    assert spans.parent_name(spans.one("fetch")) == "work"
    assert {span.trace for span in spans.all} == {f"{0xABC:032x}"}
    assert app.record.flow_run().trace_id == f"{0xABC:032x}"


async def test_requests_at_the_same_time_keep_their_contexts_apart(app: Tracing, framework: Framework) -> None:
    both = asyncio.Barrier(2)

    @task
    async def meet(name: str) -> str:
        await both.wait()
        with app.tracer.start_as_current_span(f"own {name}"):
            await both.wait()
            run = get_flow_run()
            return f"{run.parameters['name']} {sorted(run.tags)}"

    @flow
    async def work(name: str) -> str:
        return await meet(name)

    async def handler(request: Request) -> Response:
        name = request.path_params["name"]
        with tags(name):
            return PlainTextResponse(await work(name))

    traces = {"a": f"{0xA:032x}", "b": f"{0xB:032x}"}
    with served(Traced.around(framework(handler), app.tracer)) as url:
        async with client(url) as asking:
            parents = {name: {"traceparent": f"00-{trace}-{0xDEF:016x}-01"} for name, trace in traces.items()}
            asked = [asking.get(f"/{name}", headers=headers) for name, headers in parents.items()]
            answers = [answer.text for answer in await asyncio.gather(*asked)]

    assert answers == ["a ['a']", "b ['b']"]
    spans = app.spans()
    assert {run.parameters["name"]: run.trace_id for run in app.record.flow_runs()} == traces
    for name, trace in traces.items():
        assert [span.trace for span in spans.named(f"own {name}")] == [trace]
    assert sorted(span.trace for span in spans.named("meet")) == sorted(traces.values())


# -- disconnects ------------------------------------------------------------------------------------------------


class Trouble:
    """A flow that waits in a task for ever, and what became of it; and what the server had to say."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.cleaned = threading.Event()
        self.story = list[str]()

        @task
        async def wait() -> None:
            self.begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                self.cleaned.set()

        @flow
        async def work() -> None:
            await wait()

        self.flow = work

    async def handler(self, request: Request) -> Response:
        """Await the flow, whatever is asked."""
        try:
            await self.flow()
        except asyncio.CancelledError:
            self.story.append("handler cancelled")
            raise
        return PlainTextResponse("never")


@pytest.fixture
def trouble() -> Trouble:
    return Trouble()


@pytest.fixture
def errors(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Give a function that lists what uvicorn and asyncio complained about."""
    return lambda: [
        entry.getMessage()
        for entry in caplog.records
        if entry.levelno >= logging.WARNING and entry.name.startswith(("uvicorn", "asyncio"))
    ]


async def recorded(record: Record, expected: list[str]) -> None:
    """Wait until *expected* are the states that are recorded."""
    await asyncio.to_thread(until, lambda: states(record) == expected, WITHIN)


@pytest.mark.parametrize("content", [b"a small body", b"x" * 1_000_000], ids=["small", "large"])
async def test_a_flow_is_cancelled_when_its_client_disconnects(
    record: Record,
    framework: Framework,
    loop: str,
    trouble: Trouble,
    errors: Callable[[], list[str]],
    content: bytes,
) -> None:
    async def handler(request: Request) -> Response:
        assert await request.body() == content
        return await trouble.handler(request)

    app = framework(handler)
    app.add_middleware(CancelOnDisconnect)
    with served(app, loop) as url:
        await leave(f"{url}/x", trouble.begun, "POST", content=content)
        await recorded(record, ["Cancelled"] * 2)
        assert trouble.cleaned.is_set()

    assert trouble.story == ["handler cancelled"]
    assert errors() == []


async def test_what_a_flow_submitted_is_cancelled_with_it_when_its_client_disconnects(
    record: Record, framework: Framework, errors: Callable[[], list[str]]
) -> None:
    begun, at_work, cleaned = threading.Event(), list[int](), list[int]()

    @task
    async def wait(number: int) -> None:
        at_work.append(number)
        if len(at_work) == 3:
            begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append(number)

    @flow
    async def work() -> None:
        first = wait.submit(0)
        await wait.map([1, 2])
        await first

    async def handler(request: Request) -> Response:
        await work()
        return PlainTextResponse("never")

    app = framework(handler)
    app.add_middleware(CancelOnDisconnect)
    with served(app) as url:
        await leave(f"{url}/x", begun)
        await recorded(record, ["Cancelled"] * 4)

    assert sorted(cleaned) == [0, 1, 2]
    assert errors() == []


async def test_a_handler_that_reads_no_body_hears_of_the_disconnect_too(
    record: Record, framework: Framework, trouble: Trouble, errors: Callable[[], list[str]]
) -> None:
    app = framework(trouble.handler)
    app.add_middleware(CancelOnDisconnect)
    with served(app) as url:
        await leave(f"{url}/x", trouble.begun)
        await recorded(record, ["Cancelled"] * 2)
        assert trouble.cleaned.is_set()

    assert errors() == []


async def test_without_the_middleware_a_disconnect_changes_nothing(record: Record, framework: Framework) -> None:
    begun, requests = threading.Event(), list[Request]()

    @flow
    async def work() -> None:
        begun.set()
        while (await requests[0].receive())["type"] != "http.disconnect":
            pass
        await asyncio.sleep(0)

    async def handler(request: Request) -> Response:
        requests.append(request)
        await work()
        return PlainTextResponse("to nobody")

    with served(framework(handler)) as url:
        await leave(f"{url}/x", begun)
        await recorded(record, ["Completed"])


@pytest.mark.parametrize("place", ["outside", "inside"])
async def test_other_middlewares_may_stand_on_either_side(
    record: Record, framework: Framework, trouble: Trouble, errors: Callable[[], list[str]], place: str
) -> None:
    statuses = list[int]()

    async def look(request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        statuses.append(response.status_code)
        return response

    app = framework(trouble.handler)
    if place == "inside":
        app.add_middleware(BaseHTTPMiddleware, dispatch=look)
    app.add_middleware(CancelOnDisconnect)
    if place == "outside":
        app.add_middleware(BaseHTTPMiddleware, dispatch=look)
    with served(app) as url:
        await leave(f"{url}/x", trouble.begun)
        await recorded(record, ["Cancelled"] * 2)

    assert statuses == ([499] if place == "outside" else [])
    assert trouble.cleaned.is_set() or place == "inside"  # there a cancel scope cancels the cleanup again
    assert errors() == []


async def test_a_flow_in_the_middle_of_a_stream_is_cancelled(
    record: Record, framework: Framework, trouble: Trouble, errors: Callable[[], list[str]]
) -> None:
    async def handler(request: Request) -> Response:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"first"
            await trouble.flow()

        return StreamingResponse(chunks())

    app = framework(handler)
    app.add_middleware(CancelOnDisconnect)
    with served(app) as url:
        async with client(url) as asking, asking.stream("GET", "/x") as answer:
            assert await anext(answer.aiter_bytes()) == b"first"
            assert await asyncio.to_thread(trouble.begun.wait, WITHIN)
        await recorded(record, ["Cancelled"] * 2)

    assert errors() == []


async def test_background_tasks_go_on_when_the_client_leaves_with_its_response(
    record: Record, framework: Framework, errors: Callable[[], list[str]]
) -> None:
    left = threading.Event()

    @flow
    async def after() -> str:
        return "left" if await asyncio.to_thread(left.wait, WITHIN) else "never left"

    async def go_on() -> None:
        await after()

    async def handler(request: Request) -> Response:
        return PlainTextResponse("here", background=BackgroundTask(go_on))

    app = framework(handler)
    app.add_middleware(CancelOnDisconnect)
    with served(app) as url:
        async with client(url) as asking:
            assert (await asking.get("/x")).text == "here"
        left.set()
        await recorded(record, ["Completed"])

    assert errors() == []


async def test_a_flow_in_a_worker_thread_runs_to_its_end_when_its_client_disconnects(
    record: Record, framework: Framework, errors: Callable[[], list[str]]
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    @flow
    def work() -> str:
        begun.set()
        assert may_end.wait(WITHIN)
        return "done"

    def handler(request: Request) -> Response:
        return PlainTextResponse(work())

    app = framework(handler)
    app.add_middleware(CancelOnDisconnect)
    with served(app) as url:
        await leave(f"{url}/x", begun)
        may_end.set()
        await recorded(record, ["Completed"])

    assert errors() == []


async def test_other_requests_on_the_loop_are_not_cancelled(record: Record, trouble: Trouble) -> None:
    begun, left = threading.Event(), threading.Event()

    @flow
    async def quiet() -> str:
        begun.set()
        assert await asyncio.to_thread(left.wait, WITHIN)
        return "quiet"

    async def handler(request: Request) -> Response:
        if request.path_params["name"] == "leaving":
            return await trouble.handler(request)
        return PlainTextResponse(await quiet())

    app = with_fastapi(handler)
    app.add_middleware(CancelOnDisconnect)
    with served(app) as url:
        async with client(url) as asking:
            staying = asyncio.create_task(asking.get("/staying"))
            assert await asyncio.to_thread(begun.wait, WITHIN)
            await leave(f"{url}/leaving", trouble.begun)
            assert await asyncio.to_thread(trouble.cleaned.wait, WITHIN)
            left.set()
            assert (await staying).text == "quiet"

    assert [run.state.name for run in record.flow_runs()] == ["Completed", "Cancelled"]
    assert record.task_run().state.is_cancelled()
