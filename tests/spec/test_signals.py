"""Signals: what is sent to a flow run is kept in order until the run reads it, from whichever thread it comes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import attrs
import pydantic
import pytest

import headrace
from headrace import aio, runs, signals
from headrace.errors import (
    MissingContextError,
    OptionError,
    OptionTypeError,
    RunningLoopError,
    RunNotFound,
)
from headrace.task_runners import ProcessPoolTaskRunner
from headrace.testing import virtual_time
from tests.spec.forms import Form, Latch, Record, call
from tests.spec.sending import answer, ask, me, receive, request, send, to_myself

WITHIN = 30.0


@dataclass
class Order:
    number: int
    at: datetime


@attrs.frozen
class Item:
    name: str
    tags: tuple[str, ...] = ()


class Model(pydantic.BaseModel):
    number: int
    inner: UUID


NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
ONE = UUID(int=1)


@pytest.fixture
def beside(record: Record) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Give what does something in another thread; what that raises fails the test."""
    del record
    threads: list[threading.Thread] = []
    raised: list[BaseException] = []

    def begin(work: Callable[[], object]) -> None:
        def safely() -> None:
            try:
                work()
            except BaseException as error:
                raised.append(error)

        threads.append(threading.Thread(target=safely))
        threads[-1].start()

    yield begin
    for thread in threads:
        thread.join(WITHIN)
    assert not raised
    assert not any(thread.is_alive() for thread in threads)


def test_signals_come_in_the_order_in_which_they_were_sent(form: Form, record: Record) -> None:
    async def reads() -> list[Any]:
        await to_myself(form, "go", 1, 2)
        await to_myself(form, "stop", "now")
        await to_myself(form, "go", 3)
        return [await receive(form, name) for name in ("go", "stop", "go", "go")]

    assert form.in_flow(reads) == [1, "now", 2, 3]


def test_who_waits_is_woken_at_once(form: Form, record: Record, beside: Any) -> None:
    waits = Latch()
    woken: list[float] = []

    async def reads() -> list[Any]:
        beside(sends)
        waits.open()
        found: list[Any] = []
        for _ in range(20):
            found.append(await receive(form, "go", timeout=WITHIN))
            woken.append(time.perf_counter() - found[-1])
        return found

    def sends() -> None:
        assert waits.event.wait(WITHIN)
        (run,) = runs.flow_runs()
        for _ in range(20):
            seen = len(woken)
            signals.send(run, "go", time.perf_counter())
            while len(woken) == seen:
                time.sleep(0.001)

    form.in_flow(reads)

    assert sorted(woken)[10] < 0.25  # the next look of the back office would be 0.5 s away


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ({"a": [1, 2.5, None, True, "☃\0"]}, None, {"a": [1, 2.5, None, True, "☃\0"]}),
        ("5", int, 5),
        (5, int | None, 5),
        ((1, 2), tuple[int, ...], (1, 2)),
        (Order(1, NOON), Order, Order(1, NOON)),
        (Order(1, NOON), None, {"number": 1, "at": "2030-01-01T12:00:00+00:00"}),
        ([Item("a", ("b",))], list[Item], [Item("a", ("b",))]),
        (Model(number=1, inner=ONE), Model, Model(number=1, inner=ONE)),
        ({1: ONE}, dict[int, UUID], {1: ONE}),
    ],
)
def test_a_value_becomes_what_is_waited_for(form: Form, record: Record, value: Any, kind: Any, expected: Any) -> None:
    async def reads() -> Any:
        await to_myself(form, "go", value)
        return await receive(form, "go", kind)

    assert form.in_flow(reads) == expected


def test_what_does_not_fit_is_refused_and_counts_as_read(form: Form, record: Record) -> None:
    async def reads() -> Any:
        await to_myself(form, "go", "five", 6)
        with pytest.raises(signals.SignalTypeError, match=r"'go' does not fit: 'five' is not a valid int: .* read"):
            await receive(form, "go", int)
        return await receive(form, "go", int)

    assert form.in_flow(reads) == 6


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", float("nan"), object(), "\udc80", {(1, 2): 3}])
def test_what_has_no_json_is_not_sent(form: Form, record: Record, value: Any) -> None:
    async def sends() -> Any:
        with pytest.raises(signals.SignalNotPlain, match="'go' has no form in JSON"):
            await to_myself(form, "go", value)
        return await receive(form, "go", timeout=0, default="nothing")

    assert form.in_flow(sends) == "nothing"


def test_what_is_larger_than_a_million_bytes_is_not_sent(form: Form, record: Record) -> None:
    async def sends() -> Any:
        await to_myself(form, "go", "x" * 999_998)
        with pytest.raises(signals.SignalTooLarge, match="1,000,001 bytes of JSON; 1,000,000 can be sent"):
            await to_myself(form, "go", "x" * 999_999)
        with pytest.raises(signals.SignalTooLarge):
            await to_myself(form, "go", "☃" * 400_000)
        return await receive(form, "go")

    assert form.in_flow(sends) == "x" * 999_998


@pytest.mark.parametrize("name", ["", "x" * 101, "two\nlines", "\udc80"])
def test_names_are_1_to_100_printable_characters(form: Form, record: Record, name: str) -> None:
    async def sends() -> None:
        with pytest.raises(OptionError, match="1 to 100 printable characters"):
            await to_myself(form, name, 1)
        with pytest.raises(OptionError, match="1 to 100 printable characters"):
            await receive(form, name)
        with pytest.raises(OptionError, match="The key of a signal"):
            await send(form, me(), "go", key=name)
        with pytest.raises(OptionTypeError, match="must be a text, not 5"):
            await receive(form, cast("Any", 5))

    form.in_flow(sends)


def test_a_key_is_sent_once_even_after_it_was_read(form: Form, record: Record) -> None:
    async def reads() -> list[Any]:
        told = [await send(form, me(), "go", 1, key="a"), await send(form, me(), "go", 2, key="a")]
        found = await receive(form, "go")
        told += [await send(form, me(), "go", 3, key="a"), await send(form, me(), "go", 4, key="b")]
        return [found, await receive(form, "go"), told]

    assert form.in_flow(reads) == [1, 4, [True, False, False, True]]


def test_a_run_is_named_by_its_record_its_id_or_the_beginning_of_that(form: Form, record: Record) -> None:
    async def reads() -> list[Any]:
        whole = await aio.flow_run(me()) if form.is_async else runs.flow_run(me())
        for place, run in enumerate((whole, me(), me()[:8].upper(), f" {me()} ")):
            await send(form, run, "go", place)
        return [await receive(form, "go") for _ in range(4)]

    assert form.in_flow(reads) == [0, 1, 2, 3]


def test_nothing_is_sent_to_a_run_that_has_ended_or_never_was(form: Form, record: Record) -> None:
    async def nothing() -> None:
        pass

    form.in_flow(nothing)
    (run,) = runs.flow_runs()

    with pytest.raises(signals.NotReceiving, match=r"has ended, in state Completed"):
        signals.send(run, "go")
    for unknown in ("", "ffffffff-0000", "ffffffff-0000-4000-8000-000000000000"):
        with pytest.raises(RunNotFound):
            signals.send(unknown, "go")
    with pytest.raises(OptionTypeError, match="The run of a signal must be a flow run or its id, not None"):
        signals.send(cast("Any", None), "go")


def test_a_run_that_was_submitted_may_be_sent_to_before_it_begins(form: Form, record: Record) -> None:
    @form.flow()
    async def reads() -> Any:
        return await receive(form, "go")

    async def sends() -> Any:
        future = reads.submit()
        await send(form, future.flow_run_id, "go", 1)
        return await form.got(future)

    assert form.in_flow(sends) == 1


def test_time_is_over_when_nothing_came(form: Form, record: Record) -> None:
    async def reads() -> list[Any]:
        with pytest.raises(TimeoutError, match=r"No signal 'go' came within 60 s.*flow-run signal \w{8} go"):
            await receive(form, "go", timeout=60)
        await to_myself(form, "stop", 1)
        found = await receive(form, "go", timeout=120, default="nothing")
        return [found, await receive(form, "stop", timeout=0)]

    with virtual_time() as clock:
        assert form.in_flow(reads) == ["nothing", 1]
        assert clock.elapsed == pytest.approx(180, abs=1)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "5", True])
def test_a_timeout_is_a_number_of_seconds(form: Form, record: Record, timeout: Any) -> None:
    async def reads() -> None:
        with pytest.raises(OptionError, match="timeout must be a number of seconds"):
            await receive(form, "go", timeout=timeout)

    form.in_flow(reads)


def test_of_two_who_wait_the_first_gets_the_first(record: Record) -> None:
    async def main() -> list[Any]:
        @headrace.flow
        async def reads() -> list[Any]:
            readers = [asyncio.create_task(aio.receive("go")) for _ in range(3)]
            await asyncio.sleep(0)
            for number in range(3):
                await aio.send(me(), "go", number)
            return await asyncio.gather(*readers)

        return await reads()

    assert asyncio.run(main()) == [0, 1, 2]


def test_who_is_cancelled_while_it_waits_has_read_nothing(record: Record) -> None:
    @headrace.flow
    async def reads() -> Any:
        first = asyncio.create_task(aio.receive("go"))
        second = asyncio.create_task(aio.receive("go"))
        await asyncio.sleep(0)
        first.cancel()
        await aio.send(me(), "go", 1)
        return await second

    assert asyncio.run(reads()) == 1


def test_what_was_found_for_one_who_has_gone_is_the_next_ones(record: Record) -> None:
    @headrace.flow
    async def reads() -> list[int]:
        found: list[int] = []
        for number in range(20):
            await aio.send(me(), "go", number)
        for turns in range(40):  # cancelled a little later each time: amid the look, and after it
            one = asyncio.create_task(aio.receive("go"))
            for _ in range(turns % 5):
                await asyncio.sleep(0.0002)
            if not one.cancel():
                found.append(await one)
            await asyncio.wait([one])
        while (one_more := await aio.receive("go", timeout=0, default=None)) is not None:
            found.append(one_more)
        return found

    assert asyncio.run(reads()) == list(range(20))


def test_a_task_reads_what_was_sent_to_its_flow(form: Form, record: Record) -> None:
    @form.task()
    async def inside() -> Any:
        return await receive(form, "go")

    async def reads() -> Any:
        await to_myself(form, "go", 1)
        return await call(inside)

    assert form.in_flow(reads) == 1


def test_a_subflow_reads_only_what_was_sent_to_itself(form: Form, record: Record) -> None:
    @form.flow()
    async def part() -> list[Any]:
        await to_myself(form, "go", "mine")
        return [await receive(form, "go"), await receive(form, "go", timeout=0, default=None)]

    async def reads() -> Any:
        await to_myself(form, "go", "outer")
        return [*await call(part), await receive(form, "go")]

    assert form.in_flow(reads) == ["mine", None, "outer"]


def test_a_cancelled_run_stops_waiting(form: Form, record: Record, beside: Any) -> None:
    def cancels() -> None:
        (run,) = runs.flow_runs()
        assert headrace._runtime.current().journal.stop(run.id, "the test said so")

    async def reads() -> None:
        beside(cancels)
        await receive(form, "go")

    with pytest.raises(headrace.errors.CancelledRun):
        form.in_flow(reads)


def test_nothing_can_be_received_outside_of_a_flow(form: Form, record: Record) -> None:
    @form.task()
    async def alone() -> None:
        await receive(form, "go")

    with pytest.raises(MissingContextError, match="What is sent to a flow run"):
        form.run(alone)
    with pytest.raises(MissingContextError):
        signals.receive("go")


def test_a_run_that_is_not_recorded_receives_nothing(form: Form, record: Record) -> None:
    async def reads() -> None:
        with pytest.raises(signals.SignalContextError, match="durability is 'off'"):
            await receive(form, "go")

    form.in_flow(reads, durability="off")


@headrace.task
def in_a_worker() -> str:
    try:
        signals.receive("go")
    except signals.SignalContextError as error:
        return str(error)
    return "received"


def test_nothing_is_received_in_a_worker_process(record: Record) -> None:
    @headrace.flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def reads() -> str:
        return in_a_worker.submit().result()

    assert "this is a worker process" in reads()


def test_blocking_forms_are_refused_on_a_loop(record: Record) -> None:
    @headrace.flow
    async def reads() -> None:
        for blocks in (
            lambda: signals.send(me(), "go"),
            lambda: signals.receive("go"),
            lambda: signals.receive_request("go"),
            lambda: signals.ask(me(), "go"),
        ):
            with pytest.raises(RunningLoopError, match=r"await headrace\.aio\."):
                blocks()

    asyncio.run(reads())


# -- asking -----------------------------------------------------------------------------------------------------------


def test_who_asks_gets_the_answer(form: Form, record: Record, beside: Any) -> None:
    answers: list[Any] = []

    def asks() -> None:
        (run,) = runs.flow_runs()
        answers.append(signals.ask(run, "double", 3, int))
        answers.append(asyncio.run(aio.ask(run, "double", 4, timeout=WITHIN)))

    async def doubles() -> None:
        beside(asks)
        for _ in range(2):
            asked = await request(form, "double", int)
            await answer(form, asked, str(2 * asked.value))
            await answer(form, asked, "again")

    form.in_flow(doubles)
    until = time.monotonic() + WITHIN
    while len(answers) < 2 and time.monotonic() < until:
        time.sleep(0.01)

    assert answers == [6, "8"]


def test_who_is_not_answered_in_time_is_told(form: Form, record: Record) -> None:
    async def reads() -> None:
        with pytest.raises(TimeoutError, match=r"was asked 'go', and did not answer: 5 s have passed"):
            await ask(form, me(), "go", timeout=5)

    with virtual_time():
        form.in_flow(reads)


def test_who_asks_a_run_that_ends_without_an_answer_is_told(form: Form, record: Record, beside: Any) -> None:
    said: list[str] = []
    asked = Latch()

    def asks() -> None:
        (run,) = runs.flow_runs()
        try:
            signals.ask(run, "go")
        except signals.Unanswered as error:
            said.append(str(error))

    async def reads() -> None:
        beside(asks)
        await request(form, "go")
        asked.open()

    form.in_flow(reads)
    until = time.monotonic() + WITHIN
    while not said and time.monotonic() < until:
        time.sleep(0.01)

    assert "it has ended" in said[0]
    with pytest.raises(signals.Unanswered, match="it has ended"):
        signals.ask(runs.flow_runs()[0], "go")


def test_all_who_ask_under_one_key_get_the_same_answer(form: Form, record: Record, beside: Any) -> None:
    answers: list[Any] = []
    guard = threading.Barrier(3)

    def asks() -> None:
        (run,) = runs.flow_runs()
        answers.append(signals.ask(run, "go", key="one"))
        guard.wait(WITHIN)

    async def reads() -> Any:
        beside(asks)
        beside(asks)
        await answer(form, await request(form, "go"), "yes")
        return await receive(form, "go", timeout=0, default="nothing more")

    assert form.in_flow(reads) == "nothing more"
    guard.wait(WITHIN)
    assert answers == ["yes", "yes"]


def test_a_value_that_was_only_sent_may_be_answered_to_nobody(form: Form, record: Record) -> None:
    async def reads() -> Any:
        await to_myself(form, "go", 1)
        asked = await request(form, "go")
        await answer(form, asked, 2)
        return asked.value

    assert form.in_flow(reads) == 1
