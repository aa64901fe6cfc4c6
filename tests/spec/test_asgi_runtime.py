"""`headrace.Runtime` in the lifespan of web applications: runs that outlive their requests, and the server's end."""

from __future__ import annotations

import asyncio
import re
import signal
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from headrace import Runtime, flow, task
from headrace.asgi import CancelOnDisconnect
from headrace.context import get_flow_run
from tests.chaos.processes import Child, rows, until
from tests.spec.forms import Latch, Record
from tests.spec.seen import Tracing
from tests.spec.served import WITHIN, Application, Traced, ask, client, leave, served, with_fastapi, with_starlette
from tests.spec.streaming import double, triple

Framework = Callable[..., Application]
Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


@pytest.fixture(params=[with_starlette, with_fastapi], ids=["starlette", "fastapi"])
def framework(request: pytest.FixtureRequest) -> Framework:
    """Run the test once with each framework."""
    made: Framework = request.param
    return made


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> str:
    """Run the test once with each kind of loop."""
    return str(request.param)


def lifespan(**options: Any) -> Lifespan:
    """Give a lifespan that opens a runtime and lends it to requests."""

    @asynccontextmanager
    async def living(_app: Any) -> AsyncGenerator[dict[str, Any]]:
        async with Runtime(**options) as runtime:
            yield {"runtime": runtime}

    return living


class Job:
    """A flow that waits in a task until it is let go on."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.latch = Latch()
        self.story = list[str]()
        self.loops = list[Any]()

        @task
        async def wait() -> None:
            self.loops.append(asyncio.get_running_loop())
            self.begun.set()
            try:
                await self.latch.passed()
            finally:
                self.story.append("over")

        @flow
        async def work(name: str) -> str:
            await wait()
            return f"for {name}"

        self.task, self.flow = wait, work


def named(request: Request) -> str:
    """Give the last part of the path that was asked for."""
    return str(request.path_params["name"])


@pytest.fixture
def job() -> Job:
    return Job()


def states(record: Record) -> list[str]:
    """Give the names of the states of the flow runs, then of the task runs."""
    return [run.state.name for run in record.flow_runs()] + [run.state.name for run in record.task_runs()]


# -- requests -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", ["flow.submit", "runtime.submit"])
def test_a_run_that_a_handler_submits_outlives_the_response(
    record: Record, framework: Framework, loop: str, job: Job, spelling: str
) -> None:
    loops = list[Any]()

    async def handler(request: Request) -> Response:
        loops.append(asyncio.get_running_loop())
        name = named(request)
        runtime: Runtime = request.state.runtime
        future = job.flow.submit(name) if spelling == "flow.submit" else runtime.submit(job.flow, name)
        return PlainTextResponse(str(future.flow_run_id))

    with served(framework(handler, lifespan()), loop) as url:
        answered = ask(f"{url}/ada").text
        assert job.begun.wait(WITHIN)
        assert job.story == []
        job.latch.open()

    assert record.flow_run().id == answered
    assert record.flow_run().parameters == {"name": "ada"}
    assert states(record) == ["Completed"] * 2
    assert set(loops) == set(job.loops)
    assert type(loops[0]).__module__.partition(".")[0] == loop


def test_a_handler_in_a_worker_thread_submits_to_the_servers_loop(
    record: Record, framework: Framework, loop: str, job: Job
) -> None:
    def handler(request: Request) -> Response:
        _ = job.flow.submit(named(request))
        return PlainTextResponse(str(triple.submit(5).result()))

    with served(framework(handler, lifespan()), loop) as url:
        assert ask(f"{url}/ada").text == "15"
        assert job.begun.wait(WITHIN)
        job.latch.open()

    assert states(record) == ["Completed"] * 3
    assert type(job.loops[0]).__module__.partition(".")[0] == loop


def test_a_handler_awaits_what_it_submits_maps_and_streams(record: Record, framework: Framework, loop: str) -> None:
    async def handler(request: Request) -> Response:
        async def lines() -> AsyncGenerator[str]:
            yield f"{await double.submit(1)} {await triple.map([1, 2])}"
            async with double.stream(range(3), limit=2) as results:
                async for result in results:
                    yield f" {result}"

        return StreamingResponse(lines())

    with served(framework(handler, lifespan()), loop) as url:
        assert ask(f"{url}/ada").text == "2 [3, 6] 0 2 4"

    assert states(record) == ["Completed"] * 6


def test_a_flow_in_a_handler_submits_a_run_that_outlives_it(record: Record, framework: Framework, job: Job) -> None:
    async def handler(request: Request) -> Response:
        runtime: Runtime = request.state.runtime

        @flow
        async def accept(name: str) -> str:
            _ = runtime.submit(job.flow, name)
            return get_flow_run().id

        return PlainTextResponse(await accept(request.path_params["name"]))

    with served(framework(handler, lifespan())) as url:
        accepted = ask(f"{url}/ada").text
        (above,) = [run for run in record.flow_runs() if run.id == accepted]
        assert above.state.is_completed()
        assert job.begun.wait(WITHIN)
        job.latch.open()

    assert states(record) == ["Completed"] * 3
    assert [run.parent_id for run in record.flow_runs()] == [None, None]


def test_a_run_that_outlives_its_request_stays_in_its_trace(app: Tracing, framework: Framework, job: Job) -> None:
    async def handler(request: Request) -> Response:
        _ = job.flow.submit(named(request))
        return PlainTextResponse("accepted")

    with served(Traced.around(framework(handler, lifespan()), app.tracer)) as url:
        ask(f"{url}/ada", headers={"traceparent": f"00-{0xABC:032x}-{0xDEF:016x}-01"})
        assert job.begun.wait(WITHIN)
        until(lambda: app.spans().named("GET /ada") or app.spans().named("GET /{name}"), WITHIN)
        job.latch.open()

    spans = app.spans().whole(outside=f"{0xDEF:016x}", late=["work", "wait"])
    run = spans.one("work")
    assert run.trace == f"{0xABC:032x}"
    assert spans.parent_name(spans.one("wait")) == "work"
    assert {span.trace for span in spans.all} == {run.trace}
    assert app.record.flow_run().trace_id == run.trace


async def test_a_client_that_leaves_does_not_cancel_what_was_submitted_for_it(
    record: Record, framework: Framework, job: Job
) -> None:
    async def handler(request: Request) -> Response:
        return PlainTextResponse(await job.flow.submit(named(request)))

    app = framework(handler, lifespan())
    app.add_middleware(CancelOnDisconnect)
    with served(app) as url:
        await leave(f"{url}/ada", job.begun)
        job.latch.open()

    assert states(record) == ["Completed"] * 2


def test_without_a_runtime_a_handler_is_told_to_open_one(framework: Framework) -> None:
    told = list[str]()

    async def handler(request: Request) -> Response:
        try:
            _ = double.submit(1)
        except RuntimeError as error:
            told.append(str(error))
        return PlainTextResponse("refused")

    with served(framework(handler)) as url:
        ask(f"{url}/ada")

    (sentence,) = told
    assert "outside of a flow run" in sentence
    assert "inside `async with headrace.Runtime():`" in sentence


async def test_two_servers_in_one_process_keep_their_records_apart(tmp_path: Path, framework: Framework) -> None:
    @flow
    def blocking(name: str) -> str:
        return name

    @flow
    async def awaiting(name: str) -> str:
        return name

    async def handler(request: Request) -> Response:
        name = named(request)
        return PlainTextResponse(f"{await awaiting.submit(name)} {await blocking.submit(name)} {await awaiting(name)}")

    def app(name: str) -> Application:
        return framework(handler, lifespan(database_url=f"sqlite:///{tmp_path}/{name}/headrace.db"))

    async def asking(url: str, name: str) -> None:
        async with client(url) as one:
            for answer in await asyncio.gather(*(one.get(f"/{name}") for _ in range(10))):
                assert answer.text == f"{name} {name} {name}"

    with served(app("left")) as left, served(app("right"), "uvloop") as right:
        await asyncio.gather(asking(left, "left"), asking(right, "right"))

    for name in ("left", "right"):
        found = rows(tmp_path / name, "SELECT json_extract(parameters, '$.name') FROM flow_run")
        assert found == [(name,)] * 30


# -- the server's end ---------------------------------------------------------------------------------------


def test_a_server_that_is_shut_down_waits_for_what_its_handlers_submitted(
    record: Record, framework: Framework, loop: str, job: Job
) -> None:
    story = list[str]()

    @asynccontextmanager
    async def living(_app: Any) -> AsyncGenerator[None]:
        """The user's own lifespan: what runs use is closed after they have ended."""
        story.append("pool opened")
        async with Runtime():
            yield
            asyncio.get_running_loop().call_soon(job.latch.open)
        story.append("pool closed")

    @flow
    async def work(name: str) -> None:
        await job.flow(name)
        story.append("pool used")

    async def handler(request: Request) -> Response:
        _ = work.submit(named(request))
        return PlainTextResponse("accepted")

    with served(framework(handler, living), loop) as url:
        ask(f"{url}/ada")
        assert job.begun.wait(WITHIN)

    assert story == ["pool opened", "pool used", "pool closed"]
    assert states(record) == ["Completed"] * 3


def test_a_server_that_is_shut_down_cancels_what_does_not_end_in_time(
    record: Record, framework: Framework, loop: str, job: Job
) -> None:
    async def handler(request: Request) -> Response:
        _ = job.flow.submit(named(request))
        return PlainTextResponse("accepted")

    with served(framework(handler, lifespan(drain_seconds=0)), loop) as url:
        ask(f"{url}/ada")
        assert job.begun.wait(WITHIN)

    assert job.story == ["over"]
    assert states(record) == ["Cancelled"] * 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize(("how", "state"), [("drains", "COMPLETED"), ("never", "CANCELLED")])
def test_a_server_process_that_is_told_to_end_drains_first(
    tmp_path: Path, loop: str, how: str, state: str, number: signal.Signals
) -> None:
    home = tmp_path / "home"
    server = Child("tests.spec.background", how, loop, home=home)
    server.said("port")
    until(lambda: re.search(r"port (\d+) ", server.out))
    port = server.out.split()[1]

    assert ask(f"http://127.0.0.1:{port}/ada").text == "accepted"
    server.said("begun")
    server.send(number)
    ended = server.ended()

    assert ended.out.split("\n")[1:-1] == ["begun", "leaving", "cleaned up", "left"]
    assert ended.status in {-number, 0, 130}, ended.err
    assert rows(home, "SELECT state_type FROM flow_run") == [(state,)]
    assert rows(home, "SELECT state_type FROM task_run") == [(state,)]
    assert "Task was destroyed" not in ended.err
    assert "never retrieved" not in ended.err
