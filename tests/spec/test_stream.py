"""Streams: what they give, in which order, and what they can be made of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from headrace import State, allow_failure, flow, quote, runtime, tags, task, unmapped
from tests.spec.forms import Form, Latch, Record, call
from tests.spec.streaming import asynchronous, double, in_flow, read, triple

colour: ContextVar[str] = ContextVar("colour", default="none")


# -- what it gives ------------------------------------------------------------------------------------------


def test_a_stream_gives_the_result_of_each_item(form: Form, inner: Form, record: Record) -> None:
    @inner.task()
    async def halve(x: int) -> float:
        return x / 2

    async def body() -> Any:
        return await read(form, halve.stream(range(250)))

    assert in_flow(form, body) == [x / 2 for x in range(250)]
    assert {run.state.name for run in record.task_runs()} == {"Completed"}
    assert {run.flow_run_id for run in record.task_runs()} == {record.flow_run().id}
    assert len({run.name for run in record.task_runs()}) == 250


def test_a_plain_for_reads_a_stream_in_a_sync_flow() -> None:
    @flow
    def main() -> list[int]:
        return [result for result in triple.stream(range(5))]  # noqa: C416 - the loop is the subject

    assert main() == [0, 3, 6, 9, 12]


def test_an_empty_source_gives_nothing(form: Form) -> None:
    async def body() -> Any:
        sources: list[Any] = [[], iter(()), set()]
        return [await read(form, double.stream(source)) for source in sources]

    assert in_flow(form, body) == [[], [], []]


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_results_come_in_the_order_of_the_items(form: Form, inner: Form, limit: int) -> None:
    latches = [Latch() for _ in range(10)]

    @inner.task()
    async def late(x: int) -> int:
        if x % limit < limit - 1 and x < 9:  # of those in flight together the last ends first
            await latches[x + 1].passed()
        latches[x].open()
        return x

    async def body() -> Any:
        return await read(form, late.stream(range(10), limit=limit))

    assert in_flow(form, body) == list(range(10))


def test_unordered_results_come_as_they_end(form: Form, inner: Form) -> None:
    latches = [Latch() for _ in range(6)]
    latches[5].open()

    @inner.task()
    async def take(x: int) -> int:
        await latches[x].passed()
        return x

    async def body() -> Any:
        def let_the_next_end(x: int) -> None:
            latches[x - 1].open()

        return await read(form, take.stream(range(6), ordered=False), let_the_next_end)

    assert in_flow(form, body) == [5, 4, 3, 2, 1, 0]


def test_each_item_is_given_once_however_they_end(form: Form, inner: Form) -> None:
    @inner.task()
    async def same(x: int) -> int:
        return x

    async def body() -> Any:
        return await read(form, same.stream(range(3_000), limit=7, ordered=False))

    assert sorted(in_flow(form, body)) == list(range(3_000))


def test_states_are_given_in_place_of_results_on_request(form: Form, inner: Form) -> None:
    @inner.task()
    async def invert(x: int) -> float:
        return 1 / x

    async def body() -> Any:
        states: list[State[Any]] = await read(form, invert.stream([2, 0, 4], return_state=True))
        return [(state.name, state.result(raise_on_failure=False), bool(state.task_run_id)) for state in states]

    good, bad, other = in_flow(form, body)

    assert (good, other) == (("Completed", 0.5, True), ("Completed", 0.25, True))
    assert (bad[0], type(bad[1])) == ("Failed", ZeroDivisionError)


def test_a_stream_of_a_flow_runs_subflows(form: Form, inner: Form, record: Record) -> None:
    @inner.flow(flow_run_name="sub {x}")
    async def sub(x: int) -> int:
        return -x

    async def body() -> Any:
        return await read(form, sub.stream([1, 2, 3], limit=2))

    assert in_flow(form, body) == [-1, -2, -3]
    above, *subs = sorted(record.flow_runs(), key=lambda run: run.parent_id is not None)
    assert sorted(run.name for run in subs) == ["sub 1", "sub 2", "sub 3"]
    assert {run.parent_id for run in subs} == {above.id}


def test_a_stream_of_a_method_gives_each_call_its_instance(form: Form, inner: Form) -> None:
    class Scale:
        factor = 10

        @inner.task()
        async def times(self, x: int) -> int:
            return self.factor * x

    async def body() -> Any:
        return await read(form, Scale().times.stream([1, 2]))

    assert in_flow(form, body) == [10, 20]


def test_a_stream_within_a_task_belongs_to_the_flow_run(form: Form, inner: Form, record: Record) -> None:
    @form.task()
    async def outer(n: int) -> Any:
        return await read(form, double.stream(range(n), limit=2))

    async def body() -> Any:
        return await call(outer, 4)

    assert in_flow(form, body) == [0, 2, 4, 6]
    runs = record.task_runs()
    (above,) = [run for run in runs if run.task_name == "outer"]
    assert {run.parent_task_run_id for run in runs if run.task_name == "double"} == {above.id}


def test_streams_nest(form: Form) -> None:
    @form.task()
    async def inside(n: int) -> int:
        return sum(await read(form, triple.stream(range(n), limit=2)))

    async def body() -> Any:
        return await read(form, inside.stream(range(30), limit=3))

    assert in_flow(form, body) == [3 * n * (n - 1) // 2 for n in range(30)]


def test_retries_tags_and_context_reach_the_runs(form: Form, inner: Form, record: Record) -> None:
    seen = list[str]()

    @inner.task(retries=1)
    async def flaky(x: int) -> int:
        seen.append(f"{colour.get()} {runtime.flow_run.name}")
        if runtime.task_run.run_count == 1:
            raise ConnectionError
        return x

    async def body() -> Any:
        colour.set("red")
        with tags("night"):
            stream = flaky.stream([1, 2])
        colour.set("blue")
        return await read(form, stream)

    assert in_flow(form, body, flow_run_name="one") == [1, 2]
    assert seen == ["red one"] * 4
    assert [(run.run_count, run.tags) for run in record.task_runs()] == [(2, ("night",))] * 2


# -- what is mapped over ------------------------------------------------------------------------------------


def add(x: int, y: int, z: int = 0) -> int:
    return x + 10 * y + 100 * z


SOURCES: dict[str, Callable[[], Any]] = {
    "lists": lambda: ([1, 2, 3], [4, 5, 6]),
    "iterators": lambda: (iter([1, 2, 3]), (y for y in (4, 5, 6))),
    "a dict and a range": lambda: ({1: "a", 2: "b", 3: "c"}, range(4, 7)),
}


@pytest.mark.parametrize("sources", SOURCES.values(), ids=SOURCES)
def test_several_iterables_are_taken_together(form: Form, sources: Callable[[], Any]) -> None:
    async def body() -> Any:
        first, second = sources()
        return [
            await read(form, task(add).stream(first, second, z=7)),
            await read(form, task(add).stream(x=[1, 2], y=[1, 2], z=iter([1, 2]))),
        ]

    assert in_flow(form, body) == [[741, 752, 763], [111, 222]]


def test_what_is_unmapped_or_quoted_or_a_text_goes_to_every_call(form: Form) -> None:
    @task
    def pick(x: int, *more: Any) -> Any:
        return x, *more

    async def body() -> Any:
        return await read(form, pick.stream([1, 2], unmapped([3, 4]), quote((5,)), "text", b"bytes", 6, None))

    assert in_flow(form, body) == [(x, [3, 4], (5,), "text", b"bytes", 6, None) for x in (1, 2)]


def test_futures_are_waited_for_item_by_item(form: Form, inner: Form) -> None:
    latch = Latch()

    @inner.task()
    async def slow(x: int) -> int:
        if x == 2:
            await latch.passed()
        return 10 * x

    async def body() -> Any:
        futures = slow.map([0, 1, 2])

        def let_the_last_end(result: int) -> None:
            if result == 20:
                latch.open()

        return await read(form, double.stream(futures), let_the_last_end)

    assert in_flow(form, body) == [0, 20, 40]


def test_a_future_of_a_list_is_mapped_over_its_items() -> None:
    @task
    def several(n: int) -> list[int]:
        return list(range(n))

    @flow
    def main() -> tuple[list[int], list[int]]:
        return list(triple.stream(several.submit(3))), list(triple.stream(several(2, return_state=True)))

    assert main() == ([0, 3, 6], [0, 3])


def test_a_failed_upstream_is_a_value_where_that_is_allowed(form: Form) -> None:
    @task
    def invert(x: int) -> float:
        return 1 / x

    @task
    def known(x: Any) -> str:
        return "unknown" if not x else f"{x:g}"

    async def body() -> Any:
        return [
            await read(form, known.stream(allow_failure(invert.map([2, 0])))),
            await read(form, known.stream([allow_failure(one) for one in invert.map([0, 4])])),
        ]

    assert in_flow(form, body) == [["0.5", "unknown"], ["unknown", "0.25"]]


def test_allow_failure_maps_over_what_map_would(form: Form) -> None:
    @task
    def pick(x: Any, y: Any) -> Any:
        return x, y

    async def body() -> Any:
        return [
            await read(form, pick.stream([1, 2], allow_failure("ab"))),
            await read(form, pick.stream([1, 2], allow_failure(unmapped([3])))),
            await read(form, pick.stream(allow_failure(x for x in (1, 2)), 3)),
        ]

    assert in_flow(form, body) == [[(1, "ab"), (2, "ab")], [(1, [3]), (2, [3])], [(1, 3), (2, 3)]]


def test_a_stream_can_be_the_source_of_another(form: Form) -> None:
    async def body() -> Any:
        if not form.is_async:
            return list(triple.stream(double.stream(range(4), limit=2), limit=3))
        async with double.stream(range(4), limit=2) as doubled:
            return await read(form, triple.stream(doubled, limit=3))

    assert in_flow(form, body) == [0, 6, 12, 18]


def test_what_can_be_iterated_both_ways_is_read_as_the_code_is_written(form: Form) -> None:
    class Both:
        def __iter__(self) -> Iterator[str]:
            return iter(["plain"])

        def __aiter__(self) -> AsyncIterator[str]:
            return asynchronous(["awaited"])

    @task
    def same(x: str) -> str:
        return x

    async def body() -> Any:
        return await read(form, same.stream(Both()))

    assert in_flow(form, body) == ["awaited" if form.is_async else "plain"]


def test_runs_wait_for_what_wait_for_names(form: Form, inner: Form) -> None:
    story = list[str]()

    @inner.task()
    async def first(x: int) -> None:
        story.append(f"first {x}")

    @inner.task()
    async def then(x: int) -> None:
        story.append(f"then {x}")

    async def body() -> Any:
        before = [first.submit(x) for x in range(3)]
        await read(form, then.stream(range(2), wait_for=(one for one in before)))

    in_flow(form, body)

    assert sorted(story[:3]) == ["first 0", "first 1", "first 2"]
    assert sorted(story[3:]) == ["then 0", "then 1"]


async def test_async_sources_are_awaited() -> None:
    class Pages:
        """What is iterated over has no `__aiter__` of its own, as `async for` allows."""

        def __init__(self, n: int) -> None:
            self.left = iter(range(n))

        def __aiter__(self) -> Any:
            outside = self

            class Turning:
                def __aiter__(self) -> Any:
                    return self

                async def __anext__(self) -> int:
                    await asyncio.sleep(0)
                    for page in outside.left:
                        return page
                    raise StopAsyncIteration

            return Turning()

    @flow
    async def main() -> list[list[int]]:
        sources: list[Any] = [asynchronous(range(4)), Pages(4)]
        return [await read(Form("async"), double.stream(source, limit=2)) for source in sources]

    assert await main() == [[0, 2, 4, 6]] * 2


async def test_an_async_source_goes_with_a_plain_one() -> None:
    @flow
    async def main() -> list[int]:
        return await read(Form("async"), task(add).stream(asynchronous([1, 2]), [3, 4], z=5))

    assert await main() == [531, 542]


async def test_an_iterator_without_aiter_is_awaited_as_async_for_does() -> None:
    class Bare:
        def __init__(self) -> None:
            self.left = iter("abc")

        async def __anext__(self) -> str:
            for letter in self.left:
                return letter
            raise StopAsyncIteration

    class Source:
        def __aiter__(self) -> Any:
            return Bare()

    @task
    def upper(letter: str) -> str:
        return letter.upper()

    @flow
    async def main() -> list[str]:
        return await read(Form("async"), upper.stream(Source()))

    assert await main() == ["A", "B", "C"]


async def test_a_generator_task_can_be_the_source(record: Record) -> None:
    @task
    async def numbers(n: int) -> AsyncIterator[int]:
        for x in range(n):
            await asyncio.sleep(0)
            yield x

    @flow
    async def main() -> list[int]:
        return await read(Form("async"), double.stream(numbers(5), limit=2))

    assert await main() == [0, 2, 4, 6, 8]
    runs = record.task_runs()
    assert {run.state.name for run in runs} == {"Completed"}
    assert {run.flow_run_id for run in runs} == {record.flow_run().id}


def test_a_sync_generator_task_can_be_the_source() -> None:
    @task
    def numbers(n: int) -> Iterator[int]:
        yield from range(n)

    @flow
    def main() -> list[int]:
        return list(triple.stream(numbers(4)))

    assert main() == [0, 3, 6, 9]
