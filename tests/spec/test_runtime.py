"""`headrace.Runtime`: runs that outlive the code that started them, and how leaving the block ends them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
import uvloop

import headrace
from headrace import Runtime, aio, flow, get_run_logger, runs, runtime, tags, task
from headrace.errors import (
    CrewGone,
    NoDatabaseYet,
    OptionError,
    OptionTypeError,
    RunningLoopError,
    RuntimeUseError,
    SettingError,
    SubmissionError,
)
from headrace.task_runners import ConcurrentTaskRunner
from headrace.testing import headrace_test_harness
from tests.chaos.processes import database
from tests.spec.forms import Latch, Record
from tests.spec.keeping import runtime_at
from tests.spec.seen import Tracing
from tests.spec.streaming import double, triple

colour: ContextVar[str] = ContextVar("colour", default="none")


@flow
async def greet(name: str) -> str:
    await asyncio.sleep(0)
    return f"hello, {name}"


@flow
def add(x: int, y: int) -> int:
    return x + y


class Held:
    """A flow and a task that wait until they are let go on, or cancelled; and what became of them."""

    def __init__(self) -> None:
        self.begun = Latch()
        self.latch = Latch()
        self.story = list[str]()

        @task
        async def wait(x: int) -> int:
            self.begun.open()
            try:
                await self.latch.passed()
            finally:
                await asyncio.sleep(0)
                self.story.append(f"cleaned {x}")
            return x

        @flow
        async def work(x: int) -> int:
            return await wait(x)

        self.task, self.flow = wait, work


@pytest.fixture
def held() -> Held:
    return Held()


def recorded(path: Path) -> list[tuple[str, str]]:
    """Give the flow runs recorded in the database *path*, by flow and state."""
    with database(path) as connection:
        return connection.execute("SELECT flow_name, state_name FROM flow_run ORDER BY flow_name").fetchall()


# -- submitting ---------------------------------------------------------------------------------------------


async def test_what_is_submitted_goes_on_when_the_code_around_it_has_ended(record: Record, held: Held) -> None:
    async def request() -> Any:
        return held.flow.submit(7)

    async with Runtime():
        future = await asyncio.create_task(request())
        await held.begun.passed()
        assert not future.done()
        held.latch.open()

    assert future.result() == 7
    assert record.flow_run().state.is_completed()
    assert record.flow_run().parent_id is None


async def test_submit_and_map_work_outside_of_flows_while_it_is_open(record: Record) -> None:
    async with Runtime() as opened:
        assert await greet.submit("ada") == "hello, ada"
        assert await add.submit(1, 2) == 3
        assert await double.map(range(3)) == [0, 2, 4]
        assert await opened.submit(greet, "bob") == "hello, bob"
        assert await opened.submit(triple, x=4) == 12
        assert await opened.map(add, [1, 2], y=[3, 4]) == [4, 6]
        future = triple.submit(5)
        assert await future == 15
        assert future.flow_run_id is None
        assert future.task_run_id

    assert {run.state.name for run in record.flow_runs()} == {"Completed"}
    assert len(record.flow_runs()) == 5
    assert len(record.task_runs()) == 5


def test_it_works_in_blocking_code(record: Record) -> None:
    with Runtime() as opened:
        assert greet.submit("ada").result() == "hello, ada"
        assert add.submit(1, 2).result() == 3
        assert opened.map(double, range(3)).result() == [0, 2, 4]
        late = triple.submit(5)

    assert late.result() == 15
    assert {run.state.name for run in record.flow_runs()} == {"Completed"}


async def test_async_runs_are_on_the_loop_of_the_block_and_blocking_ones_in_threads() -> None:
    found: dict[str, Any] = {}

    @task
    async def on_loop() -> None:
        found["loop"] = asyncio.get_running_loop()

    @task
    def in_thread() -> None:
        found["thread"] = threading.current_thread().name

    async with Runtime():
        _ = on_loop.submit()
        _ = in_thread.submit()

    assert found["loop"] is asyncio.get_running_loop()
    assert found["thread"].startswith("headrace worker")


def test_it_runs_on_uvloop(record: Record) -> None:
    async def main() -> str:
        async with Runtime():
            _ = greet.submit("late")
            return await greet.submit("ada")

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) == "hello, ada"
    assert [run.state.name for run in record.flow_runs()] == ["Completed"] * 2


async def test_context_variables_and_tags_are_those_of_the_submission(record: Record) -> None:
    @flow
    async def paint() -> str:
        return colour.get()

    async with Runtime():
        colour.set("red")
        with tags("night"):
            future = paint.submit()
        colour.set("blue")
        assert await future == "red"

    @task(tags=["own"])
    async def tagged() -> list[str]:
        return runtime.task_run.tags

    async with Runtime():
        with tags("night"):
            assert await tagged.submit() == ["night", "own"]


async def test_hooks_are_called_and_lines_are_kept(record: Record) -> None:
    heard = list[str]()

    @flow(on_completion=[lambda _flow, run, state: heard.append(f"{run.name} {state.name}")], flow_run_name="it")
    async def hooked() -> None:
        get_run_logger().info("from within")

    async with Runtime():
        _ = hooked.submit()

    assert heard == ["it Completed"]
    assert [line.message for line in record.lines()] == ["from within"]


async def test_a_run_may_submit_more_and_its_own_are_its_own(record: Record) -> None:
    @flow
    async def outer() -> list[int]:
        return await double.map([1, 2])

    @task
    async def alone() -> int:
        return await triple.submit(2)

    async with Runtime():
        assert await outer.submit() == [2, 4]
        assert await alone.submit() == 6

    (run,) = record.flow_runs()
    of_flow = [one for one in record.task_runs() if one.flow_run_id == run.id]
    assert [one.task_name for one in of_flow] == ["double", "double"]


async def test_a_flow_submits_a_root_run_that_outlives_it(record: Record, held: Held) -> None:
    async with Runtime() as opened:

        @flow
        async def short() -> Any:
            return headrace.quote(opened.submit(held.flow, 3))

        future = (await short()).unwrap()
        await held.begun.passed()
        (above,) = [run for run in record.flow_runs() if run.flow_name == "short"]
        assert above.state.is_completed()
        assert not future.done()
        held.latch.open()

    assert future.result() == 3
    (below,) = [run for run in record.flow_runs() if run.flow_name == "work"]
    assert below.parent_id is None


async def test_a_thread_submits_to_it(record: Record) -> None:
    async with Runtime() as opened:

        def request() -> str:
            return greet.submit("implied").result() + opened.submit(greet, ", named").result()

        assert await asyncio.to_thread(request) == "hello, impliedhello, , named"

    assert len(record.flow_runs()) == 2


async def test_a_bare_thread_that_knows_no_context_submits_to_the_one_opened_last(record: Record) -> None:
    given = list[str]()

    async with Runtime():
        thread = threading.Thread(target=lambda: given.append(greet.submit("ada").result()))
        thread.start()
        await asyncio.to_thread(thread.join, 30)

    assert given == ["hello, ada"]


async def test_a_run_joins_the_trace_in_which_it_was_submitted(app: Tracing, held: Held) -> None:
    async with Runtime() as opened:
        with app.tracer.start_as_current_span("request"):
            _ = held.flow.submit(1)
            _ = opened.submit(triple, 2)
        await held.begun.passed()
        held.latch.open()

    spans = app.spans().whole(late=["work", "wait", "triple"])
    assert spans.parent_name(spans.one("work")) == "request"
    assert spans.parent_name(spans.one("triple")) == "request"
    assert spans.parent_name(spans.one("wait")) == "work"


async def test_a_task_runner_bounds_what_is_at_work_at_once() -> None:
    at_work = most = 0

    @task
    async def count(_x: int) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0)
        at_work -= 1

    async with Runtime(task_runner=ConcurrentTaskRunner(limit=2)) as opened:
        await opened.map(count, range(10))
    assert most == 2


async def test_it_can_be_opened_again_once_it_was_left() -> None:
    one = Runtime()
    for name in ("ada", "bob"):
        async with one:
            assert await one.submit(greet, name) == f"hello, {name}"


# -- where it is recorded -----------------------------------------------------------------------------------


async def test_runs_are_recorded_where_all_others_are() -> None:
    with headrace_test_harness() as harness:
        async with Runtime():
            _ = greet.submit("ada")
        async with Runtime(durability="strict"):
            _ = greet.submit("bob")

        assert [(run.state.name, run.durability) for run in harness.flow_runs()] == [
            ("Completed", "batched"),
            ("Completed", "strict"),
        ]


async def test_durability_is_that_of_flows_that_do_not_say(record: Record) -> None:
    @flow(durability="batched")
    async def own() -> None:
        """Says."""

    async with Runtime(durability="off") as opened:
        await greet("ada")
        await opened.submit(greet, "ada")
        await opened.submit(triple, 1)
        await opened.submit(own)
    await greet("bob")

    assert [(run.flow_name, run.durability) for run in record.flow_runs()] == [("own", "batched"), ("greet", "batched")]
    assert record.task_runs() == []


async def test_a_database_of_its_own_has_all_that_begins_in_it_and_nothing_else(record: Record, tmp_path: Path) -> None:
    own = tmp_path / "own.db"
    async with Runtime(database_url=f"sqlite:///{own}") as opened:
        await greet("called")
        await opened.submit(add, 1, 2)
        await add.submit(3, 4)
        late = opened.submit(greet, "late")
    await greet("outside")

    assert late.result() == "hello, late"
    assert recorded(own) == [("add", "Completed"), ("add", "Completed"), ("greet", "Completed"), ("greet", "Completed")]
    assert [run.parameters for run in record.flow_runs()] == [{"name": "outside"}]


async def test_a_database_that_cannot_be_opened_costs_the_record_and_not_the_runs(
    tmp_path: Path, said: Callable[[], list[str]]
) -> None:
    (tmp_path / "file").touch()

    async with Runtime(database_url=f"sqlite:///{tmp_path}/file/in.db") as opened:
        assert await opened.submit(greet, "ada") == "hello, ada"

    assert [line for line in said() if "Cannot use the database" in line]


# -- wrong use ----------------------------------------------------------------------------------------------


async def test_what_is_submitted_after_it_was_left_is_refused() -> None:
    async with Runtime() as opened:
        pass

    with pytest.raises(RuntimeUseError) as caught:
        _ = opened.submit(greet, "ada")
    assert str(caught.value) == (
        "This Runtime cannot be used so: it is not open. Submit inside its block: `async with runtime: ...`."
    )
    with pytest.raises(RuntimeUseError, match="it is not open"):
        _ = opened.map(greet, ["ada"])
    with pytest.raises(SubmissionError, match="outside of a flow run"):
        _ = greet.submit("ada")


async def test_what_is_submitted_when_all_has_ended_is_refused(held: Held) -> None:
    caught = list[BaseException]()

    async with Runtime() as opened:
        future = opened.submit(held.flow, 1)

        def too_late(_future: Any) -> None:
            asyncio.get_running_loop().call_soon(submit_more)

        def submit_more() -> None:
            try:
                _ = opened.submit(greet, "ada")
            except CrewGone as error:
                caught.append(error)

        await held.begun.passed()
        future.add_done_callback(too_late)
        asyncio.get_running_loop().call_soon(held.latch.open)

    assert [str(error) for error in caught] == [
        "The runtime has ended, so nothing can be submitted in it any more. Submit and wait while it runs."
    ]


async def test_it_cannot_be_opened_twice_at_once() -> None:
    async with Runtime() as opened:
        with pytest.raises(RuntimeUseError, match=r"it is open already\. Make another one for another block"):
            await opened.__aenter__()
        assert await opened.submit(greet, "ada") == "hello, ada"


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        ({"drain_seconds": -1}, OptionError, "drain_seconds of headrace.Runtime is -1; it must be a finite number"),
        ({"drain_seconds": float("inf")}, OptionError, "drain_seconds of headrace.Runtime is inf; it must be a finite"),
        ({"drain_seconds": "5"}, OptionTypeError, "drain_seconds of headrace.Runtime must be a number of seconds or a"),
        ({"durability": "some"}, OptionError, "durability of headrace.Runtime is 'some'; it must be 'off', 'batched'"),
        ({"task_runner": 5}, OptionTypeError, "task_runner of headrace.Runtime must be a task runner, as in headrace"),
        ({"database_url": Path("x.db")}, OptionTypeError, "database_url of headrace.Runtime must be a string, not "),
    ],
    ids=["negative", "infinite", "text", "durability", "runner", "path"],
)
def test_wrong_arguments_are_refused_at_once(arguments: Any, kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind) as caught:
        Runtime(**arguments)
    assert str(caught.value).startswith(sentence)


def test_an_unknown_argument_is_refused() -> None:
    wrong: Any = {"workers": 5}
    with pytest.raises(TypeError, match="workers"):
        Runtime(**wrong)


async def test_a_database_of_an_unknown_kind_is_refused_on_entering() -> None:
    opened = Runtime(database_url="mysql://user:secret@host/db")
    with pytest.raises(SettingError, match=r"HEADRACE_DATABASE_URL is 'mysql://\*\*\*'; it must be sqlite"):
        await opened.__aenter__()
    with pytest.raises(RuntimeUseError, match="it is not open"):
        _ = opened.submit(greet, "ada")


@pytest.mark.parametrize("what", [print, lambda: 1, "greet", None], ids=["function", "lambda", "text", "nothing"])
async def test_what_is_no_flow_and_no_task_is_refused(what: Any) -> None:
    async with Runtime() as opened:
        with pytest.raises(OptionTypeError, match="A runtime runs flows and tasks, not "):
            _ = opened.submit(what, 1)
        with pytest.raises(OptionTypeError, match=r"hand it over without calling it: runtime.submit\(my_flow, 1\)"):
            _ = opened.map(what, [1])


async def test_a_coroutine_is_refused_with_the_way_to_hand_it_over() -> None:
    async with Runtime() as opened:
        coroutine: Any = greet("ada")
        with pytest.raises(OptionTypeError, match=r"not <coroutine object \S*greet"):
            _ = opened.submit(coroutine)
        coroutine.close()


async def test_waiting_for_a_future_on_the_blocks_loop_is_refused() -> None:
    async with Runtime() as opened:
        future = opened.submit(greet, "ada")
        with pytest.raises(RunningLoopError, match="`await` before the future"):
            future.result()
        with pytest.raises(RunningLoopError):
            _ = opened.submit(greet, "ada", return_state=True)


def test_there_are_no_runs_yet_in_a_block_around_which_nothing_was_recorded(tmp_path: Path) -> None:
    async def main() -> list[object]:
        async with Runtime():
            return [*await aio.flow_runs()]

    with runtime_at(tmp_path):
        with pytest.raises(NoDatabaseYet):
            runs.flow_runs()
        assert asyncio.run(main()) == []
