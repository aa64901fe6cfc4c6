"""Generators and async generators as flows and tasks: items, conversation, endings, retries, context."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any

import pytest

import headrace
from headrace import flow, tags, task
from headrace.context import get_run_context
from headrace.errors import MissingContextError, OptionError
from tests.spec.forms import Record

Lines = Callable[[], list[str]]
DECORATORS: Any = {"task": task, "flow": flow}


class Items:
    """A generator in both forms, and its items taken in the way that is the form's."""

    def __init__(self, form: str, kind: str, fail_at: tuple[int, ...] = (), **options: Any) -> None:
        self.story: list[str] = []
        self.starts = 0

        def body(count: int = 3) -> Iterator[int]:
            self.starts += 1
            try:
                for item in range(count):
                    if item in fail_at and self.starts <= 2:
                        raise ValueError(f"at {item}")
                    yield item
                self.story.append("end")
            finally:
                self.story.append("closed")

        async def body_async(count: int = 3) -> AsyncIterator[int]:
            for item in body(count):
                await asyncio.sleep(0)
                yield item

        self.form = form
        self.stream: Any = DECORATORS[kind](name="items", **options)(body if form == "sync" else body_async)

    def take(self, count: int = 3) -> list[int]:
        """Take all items."""
        if self.form == "sync":
            return list(self.stream(count))

        async def taken() -> list[int]:
            return [item async for item in self.stream(count)]

        return asyncio.run(taken())


@pytest.fixture(params=["sync", "async"])
def form(request: pytest.FixtureRequest) -> str:
    """Take the test's items from a generator, then from an async one."""
    return str(request.param)


def test_items_come_lazily_and_the_run_ends_after_the_last(form: str, kind: str, record: Record) -> None:
    items = Items(form, kind)
    assert items.stream.isgenerator

    assert items.take() == [0, 1, 2]

    (run,) = record.flow_runs() or record.task_runs()
    assert record.path(run) == ["Running", "Completed"]
    assert items.story == ["end", "closed"]


def test_nothing_runs_before_the_first_item_is_asked_for(kind: str, record: Record) -> None:
    items = Items("sync", kind)

    stream = items.stream()
    assert items.starts == 0
    assert next(stream) == 0
    stream.close()


def test_an_empty_generator_completes(form: str, kind: str, record: Record) -> None:
    assert Items(form, kind).take(0) == []
    (run,) = record.flow_runs() or record.task_runs()
    assert run.state.name == "Completed"


def test_a_failing_generator_gives_what_it_had_then_raises(form: str, kind: str, record: Record) -> None:
    items = Items(form, kind, fail_at=(2,))

    with pytest.raises(ValueError, match="at 2"):
        items.take()

    (run,) = record.flow_runs() or record.task_runs()
    assert run.state.name == "Failed"


def test_a_generator_is_tried_again_while_it_has_given_nothing(form: str, kind: str, record: Record) -> None:
    items = Items(form, kind, fail_at=(0,), retries=3)

    assert items.take() == [0, 1, 2]

    (run,) = record.flow_runs() or record.task_runs()
    assert (items.starts, run.run_count) == (3, 3)
    assert record.path(run) == ["Running", "Retrying", "Retrying", "Completed"]


def test_a_generator_that_gave_items_is_not_tried_again_and_says_so(form: str, kind: str, said: Lines) -> None:
    items = Items(form, kind, fail_at=(1,), retries=3)

    with pytest.raises(ValueError, match="at 1"):
        items.take()

    assert items.starts == 1
    assert [line for line in said() if "Is not retried: its consumer already has items" in line]


def test_hooks_hear_of_a_generators_run(form: str, kind: str) -> None:
    heard: list[str] = []

    def hear(_public: Any, _run: Any, state: Any) -> None:
        heard.append(state.name)

    Items(form, kind, on_running=[hear], on_completion=[hear]).take()

    assert heard == ["Running", "Completed"]


def test_a_consumer_that_stops_early_ends_the_run_well(kind: str, record: Record) -> None:
    items = Items("sync", kind)

    for _ in items.stream():
        break
    gc.collect()

    assert items.story == ["closed"]
    (run,) = record.flow_runs() or record.task_runs()
    assert (run.state.name, run.state.message) == ("Completed", "Its consumer stopped early.")


def test_an_async_generator_can_be_closed_early(kind: str, record: Record) -> None:
    closed: list[int] = []

    @DECORATORS[kind]  # type: ignore[untyped-decorator]
    async def items() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append(1)

    async def consume() -> None:
        stream = items()
        assert await anext(stream) == 1
        await stream.aclose()

    asyncio.run(consume())

    assert closed == [1]
    (run,) = record.flow_runs() or record.task_runs()
    assert run.state.message == "Its consumer stopped early."


def test_a_dropped_async_generator_is_closed_by_its_loop(kind: str, record: Record) -> None:
    items = Items("async", kind)

    async def consume() -> None:
        async for _ in items.stream():
            break
        gc.collect()
        while not ended():  # noqa: ASYNC110 - the record has no event to wait for
            await asyncio.sleep(0.001)

    def ended() -> Any:
        found = record.flow_runs() or record.task_runs()
        return found[0].state if found and found[0].state.is_final() else None

    asyncio.run(consume())

    assert ended().message == "Its consumer stopped early."


@DECORATORS["task"]  # type: ignore[untyped-decorator]
def talks() -> Generator[str, str, str]:
    """Answer each word, and give the last of them."""
    word = yield "ready"
    while word != "bye":
        try:
            word = yield f"heard {word}"
        except LookupError as error:
            word = yield f"caught {error.args[0]}"
    return "farewell"


def test_what_is_sent_and_thrown_reaches_the_body_and_its_value_comes_back() -> None:
    stream = talks()

    assert next(stream) == "ready"
    assert stream.send("a") == "heard a"
    assert stream.throw(LookupError("odd")) == "caught odd"
    with pytest.raises(StopIteration) as end:
        stream.send("bye")
    assert end.value.value == "farewell"


def test_yield_from_gives_the_generators_value(record: Record) -> None:
    @flow
    def pipeline() -> Iterator[str]:
        def inner() -> Generator[str, str, None]:
            conversation: Generator[str, str, str] = talks()
            value = yield from conversation
            yield value

        conversation = inner()
        yield next(conversation)
        yield conversation.send("bye")

    assert list(pipeline()) == ["ready", "farewell"]


def test_what_the_body_does_not_catch_comes_back_to_the_thrower(kind: str, record: Record) -> None:
    error = KeyError("thrown")

    @DECORATORS[kind]  # type: ignore[untyped-decorator]
    def items() -> Iterator[int]:
        yield 1
        yield 2

    stream = items()
    next(stream)
    with pytest.raises(KeyError) as caught:
        stream.throw(error)

    assert caught.value is error
    (run,) = record.flow_runs() or record.task_runs()
    assert run.state.name == "Failed"


def test_an_async_generator_converses_too() -> None:
    @task
    async def echoes() -> AsyncGenerator[str, str]:
        word = yield "ready"
        try:
            yield f"heard {word}"
        except LookupError:
            yield "caught"

    async def converse() -> list[str]:
        stream = echoes()
        return [await anext(stream), await stream.asend("a"), await stream.athrow(LookupError())]

    assert asyncio.run(converse()) == ["ready", "heard a", "caught"]


def test_the_run_is_current_only_inside_the_body(form: str, kind: str) -> None:
    seen: list[str] = []

    def body() -> Iterator[str]:
        for _ in range(2):
            yield type(get_run_context()).__name__

    async def body_async() -> AsyncIterator[str]:
        for item in body():
            await asyncio.sleep(0)
            yield item

    def outside() -> None:
        with pytest.raises(MissingContextError):
            get_run_context()

    async def consume() -> None:
        async for item in DECORATORS[kind](body_async)():
            seen.append(item)
            outside()

    if form == "sync":
        for item in DECORATORS[kind](body)():
            seen.append(item)
            outside()
    else:
        asyncio.run(consume())
    outside()

    assert seen == [f"{kind.title()}RunContext"] * 2


def test_two_generators_taken_in_turns_keep_their_own_runs(record: Record) -> None:
    @task
    def step(of: str) -> str:
        return of

    @flow
    def pipeline(name: str) -> Iterator[str]:
        yield step(name)
        yield step(name)

    pairs = list(zip(pipeline("a"), pipeline("b"), strict=True))

    assert pairs == [("a", "b"), ("a", "b")]
    assert len({run.flow_run_id for run in record.task_runs()}) == 2
    assert [run.state.name for run in record.flow_runs()] == ["Completed", "Completed"]


def test_tasks_called_between_two_items_belong_to_the_consumer(record: Record) -> None:
    @task
    def step() -> None: ...

    @task(name="items")
    def items() -> Iterator[int]:
        yield 1
        step()
        yield 2

    @flow
    def pipeline() -> None:
        for _ in items():
            step()

    pipeline()

    parents = [run.parent_task_run_id for run in record.task_runs() if run.task_name == "step"]
    stream = next(run.id for run in record.task_runs() if run.task_name == "items")
    assert sorted(parents, key=str) == sorted([None, None, stream], key=str)


def test_prints_in_a_generator_are_lines_of_its_run(said: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    @task(log_prints=True, task_run_name="items")
    def items() -> Iterator[int]:
        print("inside")
        yield 1

    for _ in items():
        print("outside")

    assert "INFO | Task run 'items' - inside" in said()
    assert capsys.readouterr().out == "outside\n"


def test_a_generator_has_no_state_to_return(form: str, kind: str) -> None:
    with pytest.raises(OptionError, match=f"{kind} 'items' is a generator, so it has no state to return"):
        Items(form, kind).stream(return_state=True)


def test_a_generators_parameters_are_validated_as_a_flows_are(record: Record) -> None:
    def body(count: int) -> Iterator[int]:
        yield count

    items: Any = flow(body)
    assert list(items("3")) == [3]
    with pytest.raises(TypeError, match="'three' is not a valid int"):
        list(items("three"))


def test_generator_methods_are_methods() -> None:
    class Source:
        def __init__(self, *items: int) -> None:
            self.items = items

        @task
        def each(self) -> Iterator[int]:
            yield from self.items

    assert list(Source(1, 2).each()) == [1, 2]


def test_tags_around_the_first_item_are_the_runs(record: Record) -> None:
    items = Items("sync", "task")

    with tags("a"):
        items.take()

    assert record.task_run().tags == ("a",)


def test_a_flow_in_a_generator_flow_is_its_subflow(record: Record) -> None:
    @flow(name="inner")
    async def inner() -> int:
        return 1

    @flow(name="outer")
    async def outer() -> AsyncIterator[int]:
        yield await inner()

    async def consume() -> list[int]:
        return [item async for item in outer()]

    assert headrace.run(consume()) == [1]
    runs = {run.flow_name: run for run in record.flow_runs()}
    assert runs["inner"].parent_id == runs["outer"].id
