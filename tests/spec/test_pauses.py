"""Pauses: a flow run waits for somebody who resumes it with an input that fits, and for nobody else."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import attrs
import pydantic
import pytest

import headrace
from headrace import aio, runs, signals
from headrace.concurrency import Limit
from headrace.concurrency.sync import concurrency
from headrace.errors import (
    CancelledRun,
    FlowPauseTimeout,
    InvalidRunInput,
    NotPausedError,
    OptionError,
    OptionTypeError,
    PauseContextError,
    PausedRun,
    RunningLoopError,
)
from headrace.testing import virtual_time
from tests.spec.forms import Form, Record, call
from tests.spec.pausing import WITHIN, People, pause, resume, stop, waiting
from tests.spec.seen import Tracing
from tests.spec.sending import me


@attrs.frozen
class Approval:
    approved: bool
    by: str = "nobody"


@dataclass
class Order:
    number: int
    at: datetime
    tags: list[str] = field(default_factory=list[str])


class Model(pydantic.BaseModel):
    number: int = pydantic.Field(gt=0)


class Colour(enum.Enum):
    RED = "red"


class Pair(NamedTuple):
    left: int
    right: float = 0.5


async def nothing() -> None:
    """End at once."""


@pytest.fixture
def people(record: Record) -> Iterator[People]:
    del record
    found = People()
    yield found
    found.leave()


def test_a_paused_run_goes_on_at_the_next_line_with_the_input(form: Form, record: Record, people: People) -> None:
    async def asks() -> list[Any]:
        first = await pause(form, Approval)
        return [first, await pause(form)]

    people.resume({"approved": True, "by": "Ada"}, None)

    assert form.in_flow(asks) == [Approval(True, "Ada"), None]
    assert record.path(record.flow_run()) == ["Running", "Paused", "Running", "Paused", "Running", "Completed"]
    assert record.flow_run().run_count == 1


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (Approval, Approval(False), Approval(False)),
        (Order, {"number": "7", "at": "2030-01-01T12:00:00+00:00"}, Order(7, datetime(2030, 1, 1, 12, tzinfo=UTC))),
        (Model, {"number": 7}, Model(number=7)),
        (Model, Model(number=8), Model(number=8)),
        (Pair, {"left": 1}, Pair(1)),
        (dict[str, Approval], {"a": {"approved": 1}}, {"a": Approval(True)}),
        (int, "7", 7),
        (list[int], [1, 2], [1, 2]),
        (date | None, None, None),
        (Literal["yes", "no"], "yes", "yes"),
        (Colour, "red", Colour.RED),
        (Any, {"anything": [1]}, {"anything": [1]}),
    ],
)
def test_an_input_becomes_what_is_waited_for(form: Form, people: People, kind: Any, given: Any, expected: Any) -> None:
    async def asks() -> Any:
        return await pause(form, kind)

    people.resume(given)

    assert form.in_flow(asks) == expected


@pytest.mark.parametrize(
    ("kind", "given", "problems"),
    [
        (Approval, {"approved": "perhaps"}, [("approved", "'perhaps' is not true or false.")]),
        (
            Approval,
            {"aproved": True, "by": 7},
            [
                ("approved", "It is missing."),
                ("aproved", "There is no such field; did you mean 'approved'?"),
                ("by", "7 is not a text."),
            ],
        ),
        (Approval, None, [("approved", "It is missing.")]),
        (Approval, [1], [("", "[1] is not an object.")]),
        (
            Order,
            {"number": 1.5, "at": "then", "tags": [1]},
            [("number", "1.5 is not a whole number."), ("tags.0", "1 is not a text.")],
        ),
        (Order, {"number": 1, "at": "then"}, [("", None)]),
        (Model, {"number": 0}, [("", None)]),
        (int, "seven", [("", "'seven' is not a whole number.")]),
        (int | None, "seven", [("", "'seven' is not a whole number or null.")]),
        (Literal["yes", "no"], "maybe", [("", "'maybe' is none of 'yes', 'no'.")]),
        (dict[str, Approval], {"a": {}}, [("a.approved", "It is missing.")]),
        (None, {"a": 1}, [("", "It takes no input.")]),
    ],
)
def test_an_input_that_does_not_fit_is_refused_and_the_run_stays_paused(
    form: Form, record: Record, people: People, kind: Any, given: Any, problems: list[tuple[str, str | None]]
) -> None:
    refused: list[InvalidRunInput] = []

    async def asks() -> None:
        await pause(form, kind)

    def tries() -> None:
        run = waiting()
        with pytest.raises(InvalidRunInput, match="stays paused, since the input does not fit") as caught:
            headrace.resume_flow_run(run, given)
        refused.append(caught.value)
        assert runs.flow_run(run.id).state.is_paused()
        stop(run)

    people.begin(tries)
    with pytest.raises(CancelledRun):
        form.in_flow(asks)

    (error,) = refused
    assert len(error.problems) == len(problems)
    for (where, why), (wanted_where, wanted) in zip(error.problems, problems, strict=True):
        assert where == wanted_where
        assert wanted is None or why == wanted


def test_what_the_type_alone_can_tell_is_refused_by_the_run_which_stays_paused(
    form: Form, record: Record, people: People, said: Callable[[], list[str]]
) -> None:
    async def asks() -> Any:
        return await pause(form, Model)

    people.answer_past_the_check({"number": -1}, {"number": 1})

    assert form.in_flow(asks) == Model(number=1)
    assert any(
        "Stays paused, since the input does not fit: number: Input should be greater than 0" in line for line in said()
    )
    assert record.path(record.flow_run()) == ["Running", "Paused", "Running", "Completed"]


def test_a_run_is_resumed_once(form: Form, record: Record, people: People) -> None:
    told: list[str] = []

    async def asks() -> Any:
        return await pause(form, int)

    def one(run: Any, number: int) -> None:
        try:
            headrace.resume_flow_run(run, number)
        except NotPausedError as error:
            told.append(str(error))
        else:
            told.append(f"resumed by {number}")

    def several() -> None:
        run = waiting()
        for number in range(6):
            people.begin(partial(one, run, number))

    people.begin(several)
    won = form.in_flow(asks)
    people.leave()

    assert f"resumed by {won}" in told
    assert sum(line.startswith("resumed by") for line in told) == 1
    assert all("cannot be resumed: " in line for line in told if not line.startswith("resumed by"))
    assert len(told) == 6


def test_only_a_paused_run_is_resumed(form: Form, record: Record, people: People) -> None:
    async def asks() -> None:
        await pause(form)
        with pytest.raises(NotPausedError, match=r"cannot be resumed: it is not paused, and is Running\(\)"):
            await resume(form, me())

    people.resume(None)
    form.in_flow(asks)

    with pytest.raises(NotPausedError, match=r"it has ended, and is Completed"):
        headrace.resume_flow_run(record.flow_run())
    with pytest.raises(NotPausedError, match=r"ffffffff cannot be resumed: No flow run has an id that begins with"):
        headrace.resume_flow_run("ffffffff")
    with pytest.raises(NotPausedError, match="No flow run has an id that begins with ''"):
        headrace.resume_flow_run("")
    with pytest.raises(OptionTypeError, match="The run of resume_flow_run must be a flow run or its id, not 5"):
        headrace.resume_flow_run(cast("Any", 5))


def test_ten_megabytes_are_refused(form: Form, people: People) -> None:
    async def asks() -> Any:
        return await pause(form, str)

    def tries() -> None:
        run = waiting()
        with pytest.raises(signals.SignalTooLarge, match=r"10,000,002 bytes of JSON; 1,000,000 can be sent"):
            headrace.resume_flow_run(run, "x" * 10_000_000)
        headrace.resume_flow_run(run, "x" * 999_998)

    people.begin(tries)

    assert len(form.in_flow(asks)) == 999_998


def test_the_time_is_over_where_nobody_resumes_it(form: Form, record: Record) -> None:
    async def asks() -> str:
        with pytest.raises(TimeoutError, match=r"was paused for 60 s and never resumed.*flow-run resume \w{8}"):
            await pause(form, Approval, timeout=60)
        with pytest.raises(NotPausedError):
            await resume(form, me())
        await pause(form)
        return "never"

    with virtual_time() as clock:
        with pytest.raises(FlowPauseTimeout, match="was paused for 3600 s"):
            form.in_flow(asks)
        assert clock.elapsed == pytest.approx(3_660, abs=1)
    assert record.path(record.flow_run()) == ["Running", "Paused", "Running", "Paused", "Running", "Failed"]


@pytest.mark.parametrize("timeout", [-1, float("nan"), "5", True])
def test_a_timeout_is_a_number_of_seconds(form: Form, record: Record, timeout: Any) -> None:
    async def asks() -> None:
        with pytest.raises(OptionError, match="timeout must be a number of seconds"):
            await pause(form, timeout=timeout)
        with pytest.raises(OptionTypeError, match="The key of a pause must be a text"):
            await pause(form, key=5)

    form.in_flow(asks)


def test_what_is_waited_for_is_a_type(form: Form, record: Record) -> None:
    async def asks() -> None:
        with pytest.raises(OptionTypeError, match=r"wait_for_input must be a type, not Approval\(.*Give the class"):
            await pause(form, Approval(approved=True), timeout=1)

    form.in_flow(asks)


def test_a_pause_is_only_there_in_the_code_of_a_flow_that_is_recorded(form: Form, record: Record) -> None:
    @form.task()
    async def inside() -> None:
        await pause(form)

    async def asks() -> None:
        with pytest.raises(PauseContextError, match="this is a task"):
            await call(inside)

    form.in_flow(asks)
    with pytest.raises(PauseContextError, match="only be paused from within their flow: there is none around"):
        headrace.pause_flow_run()

    async def unseen() -> None:
        with pytest.raises(PauseContextError, match="durability is 'off'"):
            await pause(form)

    form.in_flow(unseen, durability="off")


def test_a_blocking_pause_refuses_to_block_a_loop(record: Record) -> None:
    @headrace.flow
    async def asks() -> None:
        with pytest.raises(RunningLoopError, match=r"Write `await headrace.aio.pause_flow_run\(...\)` instead"):
            headrace.pause_flow_run()
        with pytest.raises(RunningLoopError, match=r"await headrace.aio.resume_flow_run"):
            headrace.resume_flow_run(me())

    asyncio.run(asks())


def test_a_subflow_pauses_by_itself(form: Form, record: Record, people: People) -> None:
    @form.flow()
    async def part() -> Any:
        return await pause(form, int)

    async def whole() -> Any:
        return await call(part)

    people.resume(5)

    assert form.in_flow(whole) == 5
    above, below = record.flow_runs()
    assert (record.path(above), record.path(below)) == (
        ["Running", "Completed"],
        ["Running", "Paused", "Running", "Completed"],
    )


def test_several_pauses_of_a_run_are_asked_one_after_the_other(record: Record, people: People) -> None:
    @headrace.flow
    async def asks() -> list[int]:
        return await asyncio.gather(*(aio.pause_flow_run(int) for _ in range(3)))

    people.resume(1, 2, 3)

    assert asyncio.run(asks()) == [1, 2, 3]


def test_several_pauses_of_one_key_at_once_have_one_answer(record: Record, people: People) -> None:
    @headrace.flow
    async def asks() -> list[int]:
        return await asyncio.gather(*(aio.pause_flow_run(int, key="a") for _ in range(3)))

    people.resume(1)

    assert asyncio.run(asks()) == [1, 1, 1]


def test_pauses_of_one_key_are_asked_once(form: Form, record: Record, people: People) -> None:
    tries: list[Any] = []

    async def asks() -> list[Any]:
        tries.append([await pause(form, int, key="a"), await pause(form, int, key="a"), await pause(form, int)])
        if len(tries) == 1:
            raise ConnectionError
        return tries

    people.resume(1, 2, 3)

    assert form.in_flow(asks, retries=1) == [[1, 1, 2], [1, 1, 3]]


def test_who_waits_gives_back_its_slot(record: Record, people: People) -> None:
    took: list[str] = []

    @headrace.flow
    def asks() -> None:
        with concurrency("one", while_waiting="release"):
            headrace.pause_flow_run()

    def meanwhile() -> None:
        run = waiting()
        with concurrency("one", timeout_seconds=WITHIN):
            took.append("slot")
        headrace.resume_flow_run(run)

    Limit("one", 1).ensure()
    people.begin(meanwhile)
    asks()

    assert took == ["slot"]


def test_a_paused_run_is_cancelled(form: Form, record: Record, people: People) -> None:
    async def asks() -> None:
        await pause(form)

    people.begin(lambda: stop(waiting()))
    with pytest.raises(CancelledRun):
        form.in_flow(asks)

    assert record.path(record.flow_run()) == ["Running", "Paused", "Cancelling", "Cancelled"]
    with pytest.raises(NotPausedError, match="it has ended, and is Cancelled"):
        headrace.resume_flow_run(record.flow_run())


def test_a_flow_that_waits_no_longer_is_not_paused(record: Record) -> None:
    @headrace.flow
    async def asks() -> str:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await aio.pause_flow_run()
        with pytest.raises(NotPausedError, match="not paused"):
            await aio.resume_flow_run(me())
        return "went on"

    assert asyncio.run(asks()) == "went on"


def test_the_state_says_what_is_waited_for_and_has_no_result(form: Form, record: Record, people: People) -> None:
    seen: list[Any] = []

    async def asks() -> None:
        await pause(form, Approval, timeout=None)

    def look() -> None:
        run = waiting()
        seen.append(run.state)
        headrace.resume_flow_run(run, {"approved": False})

    people.begin(look)
    form.in_flow(asks)

    (state,) = seen
    assert state.message == "It waits for an input: approved (true or false), by (a text, may be left out)."
    with pytest.raises(PausedRun):
        state.result()


def test_a_pause_is_a_span_of_its_own_and_no_attempt(form: Form, app: Tracing) -> None:
    people = People()

    @form.flow(name="asks", retries=1)
    async def asks() -> None:
        await pause(form)
        if len(app.record.flow_runs()[0].transitions) < 5:
            raise ConnectionError

    people.resume(None, None)
    form.run(asks)
    people.leave()

    spans = app.spans().whole()
    states = spans.states(spans.one("asks"))
    assert [(span.name, span.attributes.get("headrace.attempt")) for span in states] == [
        ("Running", 1),
        ("Paused", None),
        ("Running", 1),
        ("Running", 2),
        ("Paused", None),
        ("Running", 2),
    ]
    assert spans.one("asks").attributes["headrace.attempt"] == 2
