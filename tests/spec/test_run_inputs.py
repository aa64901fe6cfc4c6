"""Inputs: what flow runs send each other as classes, and what people see of those when they are asked."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import attrs
import pydantic
import pytest

import headrace
from headrace import aio, signals
from headrace._engine.schemas import schema_of
from headrace.errors import MissingContextError, OptionError, OptionTypeError, RunningLoopError
from headrace.input import RunInput, receive_input, send_input
from headrace.testing import virtual_time
from tests.spec.forms import Form, Record
from tests.spec.pausing import People, pause
from tests.spec.sending import me


class Approval(RunInput):
    """An approval."""

    approved: bool
    by: str = "nobody"
    tags: list[str] = attrs.field(factory=list[str])


class Checked(RunInput, pydantic.BaseModel):
    number: int = pydantic.Field(gt=0)


async def send(form: Form, value: Any, run: Any, prefix: str | None = None) -> None:
    """Send as code of this form does."""
    if form.is_async:
        await aio.send_input(value, run, prefix)
    elif isinstance(value, RunInput):
        value.send_to(run, prefix)
    else:
        send_input(value, run, prefix)


async def received(form: Form, found: Any, most: int = 100) -> list[Any]:
    """Receive as code of this form does."""
    came: list[Any] = []
    if form.is_async:
        async for one in found:
            came.append(one)
            if len(came) == most:
                break
    else:
        for one in found:
            came.append(one)
            if len(came) == most:
                break
    return came


def test_inputs_come_by_their_type_in_order(form: Form, record: Record) -> None:
    async def reads() -> list[Any]:
        for value in (
            Approval(approved=True),
            7,
            Checked(number=1),
            Approval(approved=False, by="Ada"),
            "text",
            [1, 2],
        ):
            await send(form, value, me())
        await send(form, 8, me(), "mine")
        return [
            await received(form, Approval.receive(timeout=0)),
            await received(form, receive_input(int, timeout=0)),
            await received(form, Checked.receive(timeout=0)),
            await received(form, receive_input(str), 1),
            await received(form, receive_input(list[int], timeout=0)),
            await received(form, receive_input(int, timeout=0, key_prefix="mine")),
        ]

    assert form.in_flow(reads) == [
        [Approval(approved=True), Approval(approved=False, by="Ada")],
        [7],
        [Checked(number=1)],
        ["text"],
        [[1, 2]],
        [8],
    ]


def test_there_are_no_more_when_the_time_is_over(form: Form, record: Record) -> None:
    async def reads() -> None:
        assert await received(form, Approval.receive(timeout=60)) == []
        with pytest.raises(TimeoutError, match="No signal 'input approval' came within 60 s") as late:
            await received(form, Approval.receive(timeout=60, raise_timeout_error=True))
        assert str(late.value).endswith(f"To send one: headrace.input.send_input(value, {me()!r})")
        with pytest.raises(TimeoutError, match=r"send_input\(value, '.*', key_prefix='mine'\)$"):
            await received(form, receive_input(int, timeout=0, raise_timeout_error=True, key_prefix="mine"))
        assert await received(form, receive_input(int)) == []

    with virtual_time() as clock:
        form.in_flow(reads)
        assert clock.elapsed == pytest.approx(3_720, abs=1)


def test_who_receives_responds_to_who_sent(form: Form, record: Record) -> None:
    @form.flow()
    async def approves() -> None:
        (asked,) = await received(form, receive_input(int, with_metadata=True), 1)
        await send(form, Approval(approved=asked.value < 100), asked.metadata.sender)
        (given,) = await received(form, Approval.receive(), 1)
        assert given.metadata.receiver == me()
        if form.is_async:
            await aio.send_input("thanks", given.metadata.sender)
        else:
            given.respond("thanks")

    async def asks() -> list[Any]:
        future = approves.submit()
        await send(form, 7, future.flow_run_id)
        (answer,) = await received(form, Approval.receive(), 1)
        await send(form, answer, future.flow_run_id)
        thanks = await received(form, receive_input(str), 1)
        await form.got(future)
        return [answer, answer.metadata.sender == future.flow_run_id, *thanks]

    assert form.in_flow(asks) == [Approval(approved=True), True, "thanks"]


def test_what_nobody_sent_is_not_responded_to(record: Record) -> None:
    with pytest.raises(signals.SignalContextError, match="no flow run has sent what is to be responded to"):
        Approval(approved=True).respond(1)
    assert Approval(approved=True).metadata is None


def test_what_does_not_fit_is_refused_and_the_next_one_comes(form: Form, record: Record) -> None:
    async def reads() -> list[Any]:
        await send(form, "five", me(), "int")
        if form.is_async:
            await aio.send(me(), "input int", 6)
        else:
            signals.send(me(), "input int", 6)
        await send(form, 7, me())
        found = receive_input(int)
        with pytest.raises(signals.SignalTypeError, match="'five' is not a valid int"):
            await received(form, found, 1)
        with pytest.raises(signals.SignalTypeError, match="not by send_input"):
            await received(form, found, 1)
        return await received(form, found, 1)

    assert form.in_flow(reads) == [7]


def test_people_see_other_defaults_and_a_description(form: Form, record: Record) -> None:
    people = People()
    asked = Approval.with_initial_data("Is **order 7** to go out?", by="Ada")

    async def asks() -> Any:
        return await pause(form, asked)

    people.resume({"approved": True})
    given = form.in_flow(asks)
    people.leave()

    assert isinstance(given, Approval)
    assert (given.approved, given.by, given.tags) == (True, "Ada", [])
    assert schema_of(asked) == {
        "type": "object",
        "properties": {
            "approved": {"type": "boolean"},
            "by": {"type": "string", "default": "Ada"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["approved"],
        "description": "Is **order 7** to go out?",
    }
    assert Approval(approved=True).by == "nobody"
    five: Any = Checked.with_initial_data("How many?", number=5)
    assert five().number == 5
    with pytest.raises(OptionError, match="Approval has no field 'buy'; did you mean 'by'"):
        Approval.with_initial_data(buy="Ada")


def test_inputs_are_received_in_flows_and_by_code_that_may_wait(record: Record) -> None:
    with pytest.raises(MissingContextError):
        next(Approval.receive())

    @headrace.flow
    async def reads() -> None:
        with pytest.raises(RunningLoopError, match="Write `async for` instead"):
            next(Approval.receive())
        with pytest.raises(RunningLoopError, match=r"await headrace.aio.send_input\(...\)"):
            Approval(approved=True).send_to(me())

    asyncio.run(reads())


def test_what_is_received_is_of_a_type() -> None:
    with pytest.raises(OptionTypeError, match=r"run_input_type must be a type, not Approval\(.*with_initial_data"):
        receive_input(Approval(approved=True))


def test_what_a_durable_flow_received_is_on_record(record: Record) -> None:
    tries: list[int] = []

    @headrace.flow(durable=True, retries=1)
    def reads() -> list[int]:
        for number in (1, 2):
            send_input(number, me())
        found = receive_input(int, timeout=0)
        tries.append(cast("int", next(found)))
        if len(tries) == 1:
            raise ConnectionError
        return [*tries, *found]

    assert reads() == [1, 1, 2]
