"""Bad input to `map`: refused before anything starts, or where that cannot be, an end of the map that is told."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NoReturn

import pytest

from headrace import _runtime, allow_failure, flow, quote, task, unmapped
from headrace._runners import maps
from headrace.errors import (
    CancelledRun,
    CrashedRun,
    MappingLengthMismatch,
    MappingMissingIterable,
    OptionTypeError,
    SourceTooLong,
    SpentSource,
    SubmissionError,
)
from headrace.task_runners import ConcurrentTaskRunner
from tests.spec.forms import Form, Latch, Record

Lines = Callable[[], list[str]]
BOOM = ConnectionError("the line is dead")


@pytest.fixture
def work(inner: Form) -> Any:
    """Give a task that gives its two parameters back."""

    async def work(x: Any, y: Any = None) -> Any:
        return x if y is None else (x, y)

    return inner.task(name="work")(work)


def refused(form: Form, record: Record, work: Any, kind: type[Exception], sentence: str, *args: Any, **kw: Any) -> None:
    """See that a map is refused with *sentence*, and that nothing of it runs."""

    async def body() -> None:
        with pytest.raises(kind, match=sentence):
            work.map(*args, **kw)

    form.in_flow(body)
    assert record.task_runs() == []


# -- refused ------------------------------------------------------------------------------------------------


def test_unequal_lengths_are_refused_with_the_length_of_each(form: Form, work: Any, record: Record) -> None:
    sentence = r"work is mapped over arguments of different lengths \(x: 3, y: 2\)\. Make them equally long, or"
    refused(form, record, work, MappingLengthMismatch, sentence, [1, 2, 3], y=(1, 2))
    refused(form, record, work, MappingLengthMismatch, sentence, iter([1, 2, 3]), [1, 2])
    refused(form, record, work, MappingLengthMismatch, r"x: 0, y: 1", [], [1])


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((1,), "x=1"),
        (("text", None), "x='text', y=None"),
        ((unmapped([1, 2]),), r"x=unmapped\(\[1, 2\]\)"),
        ((quote([1]),), r"x=quote\(\[1\]\)"),
        ((allow_failure(5),), r"x=allow_failure\(5\)"),
        ((), "no arguments"),
    ],
)
def test_a_map_without_anything_to_map_over_is_refused_with_what_was_given(
    form: Form, work: Any, record: Record, args: tuple[Any, ...], told: str
) -> None:
    sentence = f"work was given nothing to map over: {told}. Give a list or another iterable for at least one parameter"
    refused(form, record, work, MappingMissingIterable, sentence, *args)


def test_what_is_iterated_with_async_for_is_nothing_to_map_over(form: Form, work: Any, record: Record) -> None:
    async def items() -> AsyncIterator[int]:
        yield 1

    refused(form, record, work, MappingMissingIterable, "work was given nothing to map over: x=<async_gen", items())


def test_a_generator_function_that_was_not_called_is_nothing_to_map_over(form: Form, work: Any, record: Record) -> None:
    def items() -> Iterator[int]:
        yield 1

    refused(form, record, work, MappingMissingIterable, "work was given nothing to map over: x=<function", items)


def test_a_generator_that_was_read_before_is_refused(form: Form, work: Any, record: Record) -> None:
    items = (x for x in range(3))
    assert list(items) == [0, 1, 2]

    sentence = "work cannot be mapped over x: the generator was read to its end before. An iterator gives its items"
    refused(form, record, work, SpentSource, sentence, items)


def test_a_generator_cannot_be_mapped_over_twice(form: Form, work: Any) -> None:
    async def body() -> Any:
        items = (x for x in range(3))
        first = await form.got(work.map(items))
        with pytest.raises(SpentSource):
            work.map(items)
        return first

    assert form.in_flow(body) == [0, 1, 2]


@pytest.mark.parametrize("make", [lambda: (x for x in "ab"), lambda: iter("ab"), lambda: zip("a", "b", strict=True)])
def test_one_iterator_for_two_parameters_is_refused(form: Form, work: Any, record: Record, make: Any) -> None:
    items = make()
    refused(form, record, work, SpentSource, "work cannot be mapped over y: it is the same iterator as x", items, items)


def test_iterators_without_end_are_refused_where_they_have_to_be_read_first(
    form: Form, work: Any, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headrace import _submission

    monkeypatch.setattr(_submission, "LONGEST", 1_000)

    def numbers() -> Iterator[int]:
        while True:
            yield 1

    sentence = r"work was to be mapped over more than 1,000 items, .*Use work\.stream"
    refused(form, record, work, SourceTooLong, sentence, numbers(), [1])
    refused(form, record, work, SourceTooLong, sentence, numbers(), numbers())


class Broken:
    """A collection that raises wherever it is asked."""

    def __init__(self, at: str) -> None:
        self.at = at

    def __iter__(self) -> Iterator[int]:
        if self.at == "iter":
            raise BOOM
        yield 1
        raise BOOM

    def __len__(self) -> int:
        if self.at == "len":
            raise BOOM
        return 3


@pytest.mark.parametrize("at", ["iter", "len", "next"])
def test_what_a_collection_raises_comes_out_of_the_map(form: Form, work: Any, record: Record, at: str) -> None:
    refused(form, record, work, ConnectionError, "the line is dead", Broken(at))


@pytest.mark.parametrize("wrong", [5, "state", b"x"])
def test_a_wait_for_that_is_no_list_is_refused(form: Form, work: Any, record: Record, wrong: Any) -> None:
    refused(form, record, work, OptionTypeError, "wait_for takes a list of futures or states", [1], wait_for=wrong)


def test_a_map_outside_of_a_flow_is_refused(work: Any, record: Record) -> None:
    with pytest.raises(SubmissionError, match=r"work\.map\(\) was called outside of a flow run"):
        work.map([1, 2])
    assert record.task_runs() == []


def test_a_parameter_that_the_function_does_not_have_fails_each_run(form: Form, inner: Form) -> None:
    @task
    def work(x: int) -> int:
        return x

    async def body() -> Any:
        results = work.map([1, 2], y=5)
        with pytest.raises(ExceptionGroup, match="2 of 2 calls of 'work' failed") as caught:
            await form.got(results)
        return [str(error)[:40] for error in caught.value.exceptions]

    assert form.in_flow(body) == ["The task 'work' cannot be called like th"] * 2


# -- a source that fails while it is read -------------------------------------------------------------------


def four(last: BaseException) -> Iterator[int]:
    """Give 0 to 3, and raise *last*."""
    yield from range(4)
    raise last


def test_a_source_that_raises_midway_ends_its_map_and_what_has_begun_goes_on(
    form: Form, work: Any, record: Record, said: Lines
) -> None:
    async def body() -> Any:
        results = work.map(four(BOOM))
        with pytest.raises(ConnectionError, match="the line is dead") as caught:
            await form.got(results)
        return [caught.value is BOOM, len(results), [await form.got(result) for result in results]]

    assert form.in_flow(body) == [True, 4, [0, 1, 2, 3]]
    assert {run.state.name for run in record.task_runs()} == {"Completed"}
    assert any(line.endswith("- The source of a map of 'work' failed after 4 items") for line in said())
    assert not any("never asked" in line for line in said())


def test_a_source_that_raises_at_once_ends_a_map_without_runs(form: Form, work: Any, record: Record) -> None:
    def source() -> Iterator[int]:
        yield from ()
        raise BOOM

    async def body() -> Any:
        results = work.map(source())
        with pytest.raises(ConnectionError):
            await form.got(results)
        return len(results)

    assert form.in_flow(body) == 0
    assert record.task_runs() == []


def test_the_length_of_a_source_that_raises_is_that_of_what_it_gave(form: Form, work: Any) -> None:
    async def body() -> Any:
        results = work.map(four(BOOM))
        length = len(results)
        values = [await form.got(result) for result in results]
        with pytest.raises(ConnectionError):
            await form.got(results)
        return [length, values]

    assert form.in_flow(body) == [4, [0, 1, 2, 3]]


def test_a_source_that_failed_unseen_is_said_at_the_end(form: Form, work: Any, said: Lines) -> None:
    async def body() -> None:
        work.map(four(BOOM))

    form.in_flow(body)

    assert [line.partition(" - ")[2] for line in said() if line.startswith("WARNING")] == [
        "1 submitted run did not complete, and the flow never asked for the result: 'the source of the map of work'"
    ]


def test_a_source_that_fails_ends_a_flow_that_is_to_end_with_its_children(form: Form, work: Any) -> None:
    async def body() -> None:
        work.map(four(BOOM))

    with pytest.raises(ConnectionError, match="the line is dead"):
        form.in_flow(body, on_child_failure="cancel")


@pytest.mark.parametrize("stop", [SystemExit(3), asyncio.CancelledError(), GeneratorExit()], ids=repr)
def test_a_source_that_raises_what_is_no_exception_ends_its_map_alone(
    form: Form, work: Any, record: Record, stop: BaseException
) -> None:
    async def body() -> Any:
        results = work.map(four(stop))
        with pytest.raises(CrashedRun, match="The source of the map of 'work' ended by") as caught:
            await form.got(results)
        later = await form.got(work.map([5]))
        return [caught.value.__cause__ is stop, len(results), later]

    assert form.in_flow(body) == [True, 4, [5]]
    assert {run.state.name for run in record.task_runs()} == {"Completed"}


def test_an_endless_source_is_ended_when_it_has_given_more_than_can_be_kept(
    form: Form, work: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "LONGEST", 50)

    def numbers() -> Iterator[int]:
        while True:
            yield 1

    async def body() -> Any:
        results = work.map(numbers())
        with pytest.raises(SourceTooLong, match=r"more than 50 items, which map keeps until all are done"):
            await form.got(results)
        other = work.map(numbers())
        return [len(results), len(other)]

    assert form.in_flow(body) == [50, 50]


# -- a source that does more than give items ----------------------------------------------------------------


def test_a_source_may_call_tasks_which_are_the_flow_s(form: Form, work: Any, record: Record) -> None:
    @task
    def page(number: int) -> int:
        return 10 * number

    async def body() -> Any:
        return await form.got(work.map(page(number) for number in range(3)))

    assert form.in_flow(body) == [0, 10, 20]
    assert {run.flow_run_id for run in record.task_runs()} == {record.flow_run().id}
    assert len(record.task_runs()) == 6


def test_a_source_may_submit(form: Form, work: Any) -> None:
    async def body() -> Any:
        return await form.got(work.map(work.submit(number) for number in range(3)))

    assert form.in_flow(body) == [0, 1, 2]


def test_a_source_that_waits_holds_up_nobody_but_its_map(form: Form) -> None:
    """What feeds the source is submitted while a thread is waiting in it."""
    items: queue.Queue[int | None] = queue.Queue()
    asked = Latch()

    def source() -> Iterator[int]:
        while True:
            asked.open()
            item = items.get(timeout=20)
            if item is None:
                return
            yield item

    @task
    def work(x: int) -> int:
        return x

    @task
    def feed(x: int | None) -> None:
        items.put(x)

    async def body() -> Any:
        results = work.map(source())
        await asked.passed()
        for item in (1, 2, None):
            await form.got(feed.submit(item))
        return await form.got(results)

    assert form.in_flow(body) == [1, 2]


def test_a_source_may_look_at_the_futures_of_its_own_map(inner: Form, work: Any) -> None:
    seen: list[bool] = []

    @flow
    def main() -> Any:
        def source() -> Iterator[int]:
            for number in range(3):
                ready.wait(10)
                seen.append(results[0].done() if number else False)
                yield number

        ready = threading.Event()
        results = work.map([7, 8])
        later = work.map(source())
        ready.set()
        return [results.result(), later.result()]

    assert main() == [[7, 8], [0, 1, 2]]
    assert seen[0] is False


async def test_a_flow_that_is_stopped_does_not_wait_for_a_source_that_waits(record: Record) -> None:
    """Nor does its loop, on which the stop is heard."""
    asked, answer = Latch(), threading.Event()
    _runtime.desk().patience = 0.05

    def source() -> Iterator[int]:
        yield 1
        asked.open()
        answer.wait(20)
        yield 2

    @task
    def work(x: int) -> int:
        return x

    @flow(on_child_failure="cancel")
    async def main() -> None:
        _ = work.map(source())
        await asked.passed()
        raise BOOM

    with pytest.raises(ConnectionError):
        await main()
    assert not answer.is_set()
    answer.set()

    assert [run.state.name for run in record.task_runs()] == ["Completed"]


def test_a_source_may_stop_its_own_flow(form: Form, work: Any, record: Record) -> None:
    def source() -> Iterator[int]:
        for number in range(10):
            if number == 3:
                (run,) = _runtime.desk().live.values()
                run.crew.stop("the source wants it")
            yield number

    async def body() -> list[Any]:
        results = work.map(source())
        return [await form.got(results), len(results)]

    assert form.in_flow(body) == [[0, 1, 2], 3]
    assert len(record.task_runs()) == 3


# -- arguments that cannot be looked into -------------------------------------------------------------------


class Shy(dict[str, Any]):
    """A mapping that shows nobody what it holds."""

    def values(self) -> NoReturn:
        raise BOOM


def test_an_argument_that_cannot_be_looked_into_fails_the_run_it_is_for(form: Form, work: Any, record: Record) -> None:
    async def body() -> Any:
        work.submit(1)
        alone = work.submit(Shy())
        results = work.map([{"a": 1}, Shy(), {"b": 2}])
        with pytest.raises(ConnectionError):
            await form.got(alone)
        with pytest.raises(ConnectionError):
            await form.got(results)
        return await form.got(results[2])

    assert form.in_flow(body) == {"b": 2}
    assert sorted(run.state.name for run in record.task_runs()) == ["Completed"] * 3 + ["Failed"] * 2


# -- an end that comes from elsewhere -----------------------------------------------------------------------


def test_the_items_that_were_never_made_are_cancelled_with_the_flow(inner: Form, record: Record) -> None:
    begun = Latch()
    kept: list[Any] = []

    @inner.task()
    async def work(x: int) -> None:
        begun.open()
        await Latch().passed() if inner.is_async else None

    @flow(on_child_failure="cancel", task_runner=ConcurrentTaskRunner(limit=2))
    async def main() -> None:
        kept.append(work.map(iter(range(1_000_000))))
        kept.append(work.map(range(1_000_000)))
        await begun.passed()
        raise BOOM

    with pytest.raises(ConnectionError):
        asyncio.run(main())

    for results in kept:
        assert results.wait(0)
    last = kept[1][999_999]
    assert last.done()
    with pytest.raises(CancelledRun, match="It was stopped before it began"):
        last.result()
    assert len(record.task_runs()) < 1_000_000
