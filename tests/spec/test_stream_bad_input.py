"""What streams are not: each misuse is refused with what to do instead, before anything runs."""

from __future__ import annotations

import asyncio
import io
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from headrace import allow_failure, flow, quote, task, unmapped
from headrace.errors import (
    CrewGone,
    MappingMissingIterable,
    OptionError,
    OptionTypeError,
    ParameterBindError,
    RunningLoopError,
    SpentSource,
    StreamUseError,
    SubmissionError,
    UpstreamTaskError,
)
from headrace.streams import Stream
from tests.spec.forms import Form, Record
from tests.spec.streaming import asynchronous, double, in_flow, read, triple

ASYNC = Form("async")


def refusal(record: Record, body: Callable[[], Any], kind: type[Exception], *, form: Form | None = None) -> str:
    """Give the sentence with which *body* is refused, in a flow; nothing was run for it."""
    with pytest.raises(kind) as caught:
        in_flow(form or Form("sync"), body)
    assert record.task_runs() == []
    return str(caught.value)


# -- options ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["5", 2.0, True, None, [1]])
def test_a_limit_that_is_no_whole_number_is_refused(limit: Any, record: Record) -> None:
    async def body() -> None:
        triple.stream([1], limit=limit)

    assert refusal(record, body, OptionTypeError).startswith("limit of triple.stream() must be a whole number, not ")


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_lets_nothing_through_is_refused(limit: int, record: Record) -> None:
    async def body() -> None:
        triple.stream([1], limit=limit)

    assert refusal(record, body, OptionError) == (
        f"limit of triple.stream() is {limit}; at least 1 item must be in flight."
    )


def test_a_wait_for_that_is_no_list_is_refused(record: Record) -> None:
    async def body() -> None:
        wrong: Any = 5
        triple.stream([1], wait_for=wrong)

    assert refusal(record, body, OptionTypeError) == "wait_for takes a list of futures or states, not 5."


@pytest.mark.parametrize("shape", ["sync", "async"])
def test_a_generator_cannot_be_streamed(shape: str, record: Record) -> None:
    def numbers(x: int) -> Iterator[int]:
        yield x

    async def async_numbers(x: int) -> AsyncIterator[int]:
        yield x

    streamed: Any = task(name="numbers")(numbers if shape == "sync" else async_numbers)

    async def body() -> None:
        streamed.stream([1])

    assert "task 'numbers' is a generator" in refusal(record, body, OptionError)


# -- sources ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [5, None, "text", b"bytes", io.StringIO("a file"), unmapped([1]), quote([1]), allow_failure("text")],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_mapped_over_is_refused(value: Any, record: Record) -> None:
    async def body() -> None:
        triple.stream(value)

    sentence = refusal(record, body, MappingMissingIterable)

    assert sentence.startswith("triple was given nothing to map over: x=")
    assert sentence.endswith("Give a list or another iterable for at least one parameter.")


def test_a_stream_over_nothing_at_all_is_refused(record: Record) -> None:
    async def body() -> None:
        triple.stream()

    assert "given nothing to map over: no arguments." in refusal(record, body, MappingMissingIterable)


def test_a_generator_that_was_read_to_its_end_is_refused(record: Record) -> None:
    async def body() -> None:
        source = (x for x in range(3))
        list(source)
        triple.stream(source)

    assert refusal(record, body, SpentSource) == (
        "triple cannot be mapped over x: the generator was read to its end before. An iterator gives its items once; "
        "make a list of it first, or a new one."
    )


def test_a_generator_that_was_closed_is_refused(record: Record) -> None:
    async def body() -> None:
        source = (x for x in range(3))
        source.close()
        triple.stream(source)

    assert "the generator was read to its end before" in refusal(record, body, SpentSource)


@pytest.mark.parametrize("how", ["read", "closed"])
async def test_so_is_an_async_one(how: str, record: Record) -> None:
    source = asynchronous(range(3))
    if how == "read":
        assert [x async for x in source] == [0, 1, 2]
    else:
        await source.aclose()

    @flow
    async def main() -> None:
        double.stream(source)

    with pytest.raises(SpentSource, match="x: the generator was read to its end before"):
        await main()
    assert record.task_runs() == []


def test_a_generator_used_by_one_stream_is_refused_by_the_next() -> None:
    source = (x for x in range(3))

    @flow
    def main() -> list[int]:
        first = list(triple.stream(source))
        with pytest.raises(SpentSource):
            triple.stream(source)
        return first

    assert main() == [0, 3, 6]


def add(x: Any, y: Any) -> Any:
    return x, y


TWICE: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "plainly": lambda source: (source, source),
    "with allow_failure": lambda source: (source, allow_failure(source)),
}


@pytest.mark.parametrize("given", TWICE.values(), ids=TWICE)
@pytest.mark.parametrize("kind", ["generator", "iterator", "async generator"])
def test_the_same_iterator_for_two_parameters_is_refused(
    kind: str, given: Callable[[Any], tuple[Any, Any]], record: Record
) -> None:
    made: dict[str, Any] = {
        "generator": (x for x in range(4)),
        "iterator": iter([1, 2, 3, 4]),
        "async generator": asynchronous(range(4)),
    }

    async def body() -> None:
        task(add).stream(*given(made[kind]))

    assert "add cannot be mapped over y: it is the same iterator as x." in refusal(record, body, SpentSource)


def test_one_list_for_two_parameters_is_no_iterator_given_twice(form: Form) -> None:
    items = [1, 2]

    async def body() -> Any:
        return await read(form, task(add).stream(items, items))

    assert in_flow(form, body) == [(1, 1), (2, 2)]


def test_arguments_that_do_not_fit_are_the_first_items_failure(form: Form) -> None:
    async def body() -> None:
        await read(form, triple.stream([1, 2], z=3))

    with pytest.raises(ParameterBindError, match="triple"):
        in_flow(form, body)


def test_a_failed_upstream_fails_its_item(form: Form) -> None:
    @task
    def invert(x: int) -> float:
        return 1 / x

    async def body() -> None:
        await read(form, triple.stream(invert.map([1, 0])))

    with pytest.raises(UpstreamTaskError) as caught:
        in_flow(form, body)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_source_that_asks_for_results_of_its_own_stream_gets_them(form: Form) -> None:
    """A source may go by what was handed on: it is pulled in the same thread, between two results."""
    seen = list[int]()

    def source() -> Iterator[int]:
        yield 1
        while seen and seen[-1] < 100:
            yield seen[-1]

    async def body() -> None:
        await read(form, triple.stream(source(), limit=1), seen.append)

    in_flow(form, body)

    assert seen == [3, 9, 27, 81, 243]


# -- how it is read -----------------------------------------------------------------------------------------


def test_a_stream_gives_its_results_once(form: Form) -> None:
    async def body() -> None:
        stream = triple.stream(range(3))
        assert await read(form, stream) == [0, 3, 6]
        await read(form, stream)

    with pytest.raises(StreamUseError, match=r"triple .*: it was used before; a stream gives its results once"):
        in_flow(form, body)


def test_so_it_does_in_two_plain_fors() -> None:
    @flow
    def main() -> None:
        stream = triple.stream(range(3))
        assert list(stream) == [0, 3, 6]
        list(stream)

    with pytest.raises(StreamUseError, match="it was used before"):
        main()


def test_a_stream_that_is_being_read_by_a_plain_for_cannot_be_opened() -> None:
    @flow
    def main() -> None:
        stream = triple.stream(range(3))
        for _ in stream:
            with stream:
                pass

    with pytest.raises(StreamUseError, match="it was used before"):
        main()


async def test_a_stream_that_was_left_says_so_and_gives_no_empty_answer() -> None:
    @flow
    async def main() -> None:
        async with double.stream(range(3)) as results:
            pass
        async for _ in results:
            pass

    with pytest.raises(StreamUseError, match="its block was left; what it has not given by then was cancelled"):
        await main()


async def test_async_for_without_async_with_says_how_to_open_it(record: Record) -> None:
    @flow
    async def main() -> None:
        async for _ in double.stream(range(3)):
            pass

    with pytest.raises(StreamUseError) as caught:
        await main()
    assert str(caught.value) == (
        "This stream of double cannot be iterated here: open it first, so that leaving early ends what is in flight: "
        "`async with double.stream(...) as results: async for result in results: ...`."
    )
    assert record.task_runs() == []


LOOPS: dict[str, Callable[[Stream[int]], object]] = {
    "for": list,
    "with": lambda stream: stream.__enter__(),
}


@pytest.mark.parametrize("use", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("place", ["async flow", "sync task in it"])
async def test_a_plain_for_on_a_loops_thread_is_refused_before_anything_runs(
    use: Callable[[Stream[int]], object], place: str
) -> None:
    pulled = list[int]()

    def source() -> Iterator[int]:
        for x in itertools.count():
            pulled.append(x)
            yield x

    @task
    def reads() -> None:
        use(double.stream(source()))

    @flow
    async def main() -> None:
        if place == "async flow":
            use(double.stream(source()))
        else:
            reads()

    with pytest.raises(RunningLoopError) as caught:
        await main()
    assert str(caught.value) == (
        "Iterating over a stream with a plain `for` would block the event loop that runs on this thread. Write "
        "`async with double.stream(...) as results: async for result in results: ...` instead."
    )
    assert pulled == []


async def test_a_plain_for_over_an_opened_stream_is_refused_too() -> None:
    @flow
    async def main() -> None:
        async with double.stream(range(3)) as results:
            list(results)

    with pytest.raises(RunningLoopError, match="a plain `for` would block the event loop"):
        await main()


async def test_a_sync_flow_called_on_a_loop_may_read_a_stream() -> None:
    @flow
    def inside() -> list[int]:
        return list(double.stream(range(4), limit=2))

    assert inside() == [0, 2, 4, 6]


def test_an_async_source_in_a_sync_flow_is_refused(record: Record) -> None:
    async def body() -> None:
        list(triple.stream(asynchronous(range(3))))

    assert refusal(record, body, StreamUseError) == (
        "This stream of triple cannot be iterated here: its source is async, and this code is not; make it async, and "
        "write `async with` and `async for`."
    )


# -- where it is made ---------------------------------------------------------------------------------------


def test_a_stream_outside_of_flows_and_runtimes_is_refused() -> None:
    with pytest.raises(SubmissionError, match=r"triple\.stream\(\) was called outside of a flow run"):
        triple.stream([1])


def test_a_stream_that_outlives_its_flow_is_refused_instead_of_waiting_for_ever(form: Form) -> None:
    async def body() -> Any:
        return quote(triple.stream(itertools.count()))

    @form.flow()
    async def other(stream: Any) -> None:
        await read(form, stream)

    stream = in_flow(form, body).unwrap()

    with pytest.raises(CrewGone, match=r"Flow run '[\w-]+' has ended, so nothing can be submitted in it any more"):
        form.run(other, quote(stream))


def test_a_flow_that_is_to_stop_starts_no_more_items() -> None:
    begun = list[int]()

    @task
    def fails() -> None:
        raise LookupError("first")

    @task
    def note(x: int) -> int:
        begun.append(x)
        return x

    @flow(on_child_failure="cancel")
    def main() -> None:
        fails.submit().wait()
        list(note.stream(itertools.count()))

    with pytest.raises(LookupError, match="first"):
        main()
    assert begun == []


def test_cleanup_may_stream_in_a_flow_that_is_to_stop() -> None:
    cleaned = list[int]()

    @task
    def fails() -> None:
        raise LookupError("first")

    @flow(on_child_failure="cancel")
    def main() -> None:
        try:
            fails.submit().wait()
            double.submit(1).wait()
        finally:
            cleaned.extend(double.stream([1, 2]))

    with pytest.raises(LookupError, match="first"):
        main()
    assert cleaned == [2, 4]


def test_a_loop_that_has_gone_is_no_place_for_a_stream() -> None:
    kept = list[Stream[int]]()

    @flow
    async def main() -> None:
        kept.append(double.stream(range(3)))

    asyncio.run(main())
    with pytest.raises(CrewGone, match="has ended"):
        list(kept[0])
