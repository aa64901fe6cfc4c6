"""What `map` gives and starts: futures in order, and runs that begin as there is room, of items read as they begin."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest

from headrace import flow, tags, task
from headrace.errors import WaitTimeoutError
from headrace.futures import Future
from headrace.task_runners import ConcurrentTaskRunner
from headrace.testing import virtual_time
from tests.spec.forms import Form, Latch, Record
from tests.spec.mapping import Tasks, mapped

Lines = Callable[[], list[str]]
colour: ContextVar[str] = ContextVar("colour", default="none")


@pytest.fixture
def tasks(inner: Form) -> Tasks:
    return Tasks(inner)


# -- the list of futures ------------------------------------------------------------------------------------


def test_the_list_is_a_sequence_of_futures(form: Form, tasks: Tasks) -> None:
    async def body() -> Any:
        results = tasks.one.map([1, 2, 3])
        assert len(results) == 3
        assert all(isinstance(result, Future) for result in results)
        assert results[0] is next(iter(results)) is results[-3]
        assert results[1:] == [results[1], results[2]]
        assert [*reversed(results)] == [results[2], results[1], results[0]]
        assert results[1] in results
        assert results.index(results[2]) == 2
        with pytest.raises(IndexError):
            _ = results[3]
        return [await form.got(result) for result in results]

    assert form.in_flow(body) == [1, 2, 3]


def test_lists_can_be_put_together(form: Form, tasks: Tasks) -> None:
    async def body() -> Any:
        first, second = tasks.one.map([1, 2]), tasks.one.map([3])
        together = [tasks.one.submit(0)] + first + second  # noqa: RUF005 - that they can be added is what is tested
        return [await form.got(one) for one in together]

    assert form.in_flow(body) == [0, 1, 2, 3]


def test_a_list_tells_how_far_it_is(form: Form, inner: Form) -> None:
    latch = Latch()

    @inner.task()
    async def wait(x: int) -> None:
        await latch.passed()

    async def body() -> list[str]:
        results = wait.map(range(3))
        before = repr(results)
        latch.open()
        await form.got(results)
        return [before, repr(results)]

    assert form.in_flow(body) == [
        "<FutureList of task 'wait': 0 of 3 done>",
        "<FutureList of task 'wait': 3 of 3 done>",
    ]


def test_results_come_in_the_order_of_the_items_whatever_ends_first(form: Form) -> None:
    @task
    async def slow(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    with virtual_time() as time:
        assert mapped(form, slow, [3.0, 1.0, 2.0]) == [3.0, 1.0, 2.0]
    assert time.elapsed == 3


def test_the_one_failure_is_raised_as_it_is(form: Form, tasks: Tasks) -> None:
    with pytest.raises(ValueError, match="2") as caught:
        mapped(form, tasks.odd, [1, 2, 3])
    assert caught.value.args == (2,)


def test_several_failures_are_raised_together_in_order(form: Form, tasks: Tasks) -> None:
    with pytest.raises(ExceptionGroup, match=r"3 of 5 calls of 'odd' failed") as caught:
        mapped(form, tasks.odd, [2, 1, 4, 3, 6])
    assert [error.args for error in caught.value.exceptions] == [(2,), (4,), (6,)]


def test_failures_are_given_in_place_of_values_on_request(tasks: Tasks) -> None:
    @flow
    def main() -> Any:
        return [str(x) for x in tasks.odd.map([1, 2, 3]).result(raise_on_failure=False)]

    assert main() == ["1", "2", "3"]


def test_a_list_can_be_waited_for_so_long_and_no_longer(inner: Form) -> None:
    latch = Latch()

    @inner.task()
    async def wait(x: int) -> int:
        await latch.passed()
        return x

    @flow
    def main() -> Any:
        results = wait.map([1, 2])
        early = results.wait(timeout=0.01)
        with pytest.raises(WaitTimeoutError, match=r"The map of 'wait' did not end within 0\.01 s"):
            results.result(timeout=0.01)
        latch.open()
        return [early, results.wait(), results.wait(0), results.result(0)]

    assert main() == [False, True, True, [1, 2]]


def test_a_list_may_be_asked_often(form: Form, tasks: Tasks) -> None:
    async def body() -> Any:
        results = tasks.one.map([1, 2])
        return [await form.got(results), await form.got(results)]

    assert form.in_flow(body) == [[1, 2], [1, 2]]


def test_map_gives_the_final_states_on_request(tasks: Tasks) -> None:
    @flow
    def main() -> Any:
        return [state.name for state in tasks.odd.map([1, 2], return_state=True)]

    assert main() == ["Completed", "Failed"]


# -- the runs -----------------------------------------------------------------------------------------------


def test_each_run_of_a_map_is_recorded_in_order(form: Form, tasks: Tasks, record: Record) -> None:
    mapped(form, tasks.one, range(12))

    runs = sorted(record.task_runs(), key=lambda run: run.id)
    assert [run.name for run in runs] == [f"one-{n:03x}" for n in range(1, 13)]
    assert {run.state.name for run in runs} == {"Completed"}
    assert {run.flow_run_id for run in runs} == {record.flow_run().id}


def test_a_flow_is_mapped_over_as_well(form: Form, inner: Form, record: Record) -> None:
    @inner.flow(name="child")
    async def child(x: int, y: int) -> int:
        return x * y

    assert mapped(form, child, [1, 2, 3], 10) == [10, 20, 30]

    parent, *children = sorted(record.flow_runs(), key=lambda run: run.flow_name)
    assert [run.flow_name for run in children] == ["child"] * 3
    assert {run.parent_id for run in children} == {parent.id}
    assert sorted(run.parameters["x"] for run in children) == [1, 2, 3]


def test_methods_are_mapped_with_what_they_are_bound_to(form: Form, inner: Form) -> None:
    class Client:
        base: ClassVar[int] = 10

        async def add(self, x: int) -> int:
            return self.base + x

        plus = inner.task()(add)

    assert mapped(form, Client().plus, [1, 2]) == [11, 12]


def test_the_runs_of_a_map_begin_in_order(form: Form, inner: Form) -> None:
    begun: list[int] = []

    @inner.task()
    async def note(x: int) -> None:
        begun.append(x)

    async def body() -> None:
        await form.got(note.map(range(50)))

    form.in_flow(body, task_runner=ConcurrentTaskRunner(limit=1))

    assert begun == list(range(50))


def test_no_more_run_at_once_than_the_runner_has_places_for(form: Form, inner: Form) -> None:
    guard = threading.Lock()
    now, most = [0], [0]
    full = Latch()

    @inner.task()
    async def work(x: int) -> None:
        with guard:
            now[0] += 1
            most[0] = max(most[0], now[0])
            if now[0] == 3:
                full.open()
        await full.passed()
        with guard:
            now[0] -= 1

    async def body() -> None:
        await form.got(work.map(range(40)))

    form.in_flow(body, task_runner=ConcurrentTaskRunner(limit=3))

    assert most == [3]


def test_a_map_within_a_task_runs_beside_the_maps_of_the_flow(form: Form, inner: Form, record: Record) -> None:
    @form.task()
    async def leaf(x: int) -> int:
        return x

    @form.task()
    async def branch(x: int) -> list[int]:
        values: list[int] = await form.got(leaf.map([x, x + 1]))
        return values

    assert mapped(form, branch, [10, 20]) == [[10, 11], [20, 21]]

    branches = {run.id for run in record.task_runs() if run.task_name == "branch"}
    leaves = [run for run in record.task_runs() if run.task_name == "leaf"]
    assert len(leaves) == 4
    assert {run.parent_task_run_id for run in leaves} == branches


def test_a_run_of_a_map_sees_the_context_of_the_call_and_leaves_nothing_in_it(
    form: Form, inner: Form, record: Record
) -> None:
    seen: list[str] = []

    @inner.task()
    async def work(x: int) -> None:
        seen.append(colour.get())
        colour.set("another")

    async def body() -> str:
        colour.set("red")
        with tags("nightly"):
            results = work.map(range(3))
        colour.set("blue")
        await form.got(results)
        return colour.get()

    assert form.in_flow(body) == "blue"
    assert seen == ["red"] * 3
    assert {run.tags for run in record.task_runs()} == {("nightly",)}


# -- as needed ----------------------------------------------------------------------------------------------


def test_an_iterator_is_read_as_its_runs_begin(form: Form, inner: Form) -> None:
    """With one place, the fourth item is not asked for before the second run is over."""
    read: list[int] = []
    seen: list[int] = []

    def source() -> Iterator[int]:
        for x in range(20):
            read.append(x)
            yield x

    @inner.task()
    async def work(x: int) -> None:
        seen.append(len(read) - x)

    async def body() -> None:
        await form.got(work.map(source()))

    form.in_flow(body, task_runner=ConcurrentTaskRunner(limit=1))

    assert read == list(range(20))
    assert max(seen) <= 2


def test_the_length_of_an_iterator_may_be_asked_for(form: Form, tasks: Tasks) -> None:
    async def body() -> Any:
        results = tasks.one.map(x for x in range(5))
        return [len(results), await form.got(results[4]), await form.got(results)]

    assert form.in_flow(body) == [5, 4, [0, 1, 2, 3, 4]]


def test_an_iterator_that_does_not_end_is_read_until_the_flow_is_stopped(inner: Form, record: Record) -> None:
    enough = Latch()

    def numbers() -> Iterator[int]:
        x = 0
        while True:
            yield x
            x += 1

    @inner.task()
    async def work(x: int) -> None:
        if x == 20:
            enough.open()

    @flow(on_child_failure="cancel", task_runner=ConcurrentTaskRunner(limit=2))
    async def main() -> None:
        work.map(numbers())
        await enough.passed()
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        asyncio.run(main())

    assert {run.state.type.value for run in record.task_runs()} <= {"COMPLETED", "CANCELLED"}
    assert len(record.task_runs()) > 20


def test_a_future_is_made_when_it_is_touched(form: Form, inner: Form) -> None:
    latch = Latch()

    @inner.task()
    async def wait(x: int) -> int:
        await latch.passed()
        return x

    async def body() -> Any:
        results = wait.map(range(10_000))
        last = results[-1]
        made = len(results._mapped.made)
        latch.open()
        return [made < 200, await form.got(last), len(await form.got(results))]

    assert form.in_flow(body, task_runner=ConcurrentTaskRunner(limit=20)) == [True, 9_999, 10_000]


def test_a_future_that_is_touched_late_tells_what_one_tells_that_was_touched_early(
    form: Form, tasks: Tasks, record: Record
) -> None:
    async def body() -> Any:
        results = tasks.one.map(range(20))
        early = results[:10]
        values = await form.got(results)
        over = datetime.now(UTC)
        futures = [*early, *results[10:]]
        assert all(future.done() for future in futures)
        assert values == [await form.got(future) for future in futures]
        return [(future.task_run_id, future.state.name, future.state.timestamp <= over) for future in futures]

    told = form.in_flow(body)

    assert sorted(told) == sorted((run.id, "Completed", True) for run in record.task_runs())


def test_a_future_that_is_touched_late_knows_the_name_of_its_run(form: Form, inner: Form) -> None:
    @inner.task(task_run_name="page {page}")
    async def fetch(page: int) -> int:
        return page

    async def body() -> Any:
        results = fetch.map([7, 8])
        await form.got(results)
        return [repr(future) for future in results]

    assert form.in_flow(body) == [f"<Future of task run 'page {page}': Completed>" for page in (7, 8)]


def test_a_future_that_is_touched_while_its_run_is_at_work_is_the_one_that_is_settled(form: Form, inner: Form) -> None:
    latch = Latch()
    begun: list[int] = []

    @inner.task()
    async def wait(x: int) -> int:
        begun.append(x)
        await latch.passed()
        return x

    async def body() -> Any:
        results = wait.map(range(5))
        while len(begun) < 5:
            await asyncio.sleep(0) if form.is_async else threading.Event().wait(0.001)
        early = results[3]
        heard: list[Future[int]] = []
        early.add_done_callback(heard.append)
        latch.open()
        await form.got(results)
        return [early is results[3], await form.got(early), heard == [early]]

    assert form.in_flow(body) == [True, 3, True]


def test_one_failure_among_many_is_found_whoever_touches_what(form: Form, inner: Form) -> None:
    @inner.task()
    async def most(x: int) -> int:
        if x == 70:
            raise LookupError(x)
        return x

    async def body() -> Any:
        results = most.map(range(100))
        with pytest.raises(LookupError, match="70"):
            await form.got(results)
        return [future.state.name for future in results if not future.state.is_completed()], results[71].state.name

    assert form.in_flow(body) == (["Failed"], "Completed")
