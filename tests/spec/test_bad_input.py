"""What is recorded of values that are too long, too odd or cannot be encoded, and that the flow never minds."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import flow
from headrace._stores.encoding import as_json
from tests.spec.forms import Form, Record


class Shy:
    def __repr__(self) -> str:
        raise LookupError("no words")


class Endless:
    def __repr__(self) -> str:
        return "x" * 1_000_000


def nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


def looped() -> list[Any]:
    found: list[Any] = [1]
    found.append(found)
    return found


def kept(form: Form, record: Record, value: Any) -> Any:
    """What the record of a flow run holds of its parameter *value*, which the body must get as it is."""

    @form.flow()
    async def take(x: Any) -> bool:
        return x is value

    assert form.run(take, value) is True
    stored = record.flow_run().parameters["x"]
    as_json(stored)
    return stored


def test_a_text_of_a_million_characters_is_cut_and_says_so(form: Form, record: Record) -> None:
    stored = kept(form, record, "x" * 1_000_000)

    assert stored == "x" * 1_000 + "… (cut: 1,000,000 characters)"


def test_a_list_of_a_million_items_is_cut_and_says_so(form: Form, record: Record) -> None:
    stored = kept(form, record, list(range(1_000_000)))

    assert stored == [*range(100), "… (cut: 1,000,000 items)"]


def test_a_dict_of_many_items_is_cut_and_says_so(form: Form, record: Record) -> None:
    stored = kept(form, record, {f"key {number}": number for number in range(1_000)})

    assert len(stored) == 101
    assert stored["…"] == "cut: 1,000 items"


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        ([1, "a", None], [1, "a", None]),
        ({1: "a", None: 2}, {"1": "a", "None": 2}),
        ((1, 2), [1, 2]),
        (1 << 80, str(1 << 80)),
        (b"ab", "b'ab'"),
        (Path("a"), "a"),
        (Shy(), "<Shy whose repr raises LookupError>"),
        ("\ud800 lone", "\\ud800 lone"),
        (float("inf"), float("inf")),
    ],
)
def test_small_values_are_kept_and_odd_ones_by_their_repr(form: Form, record: Record, value: Any, stored: Any) -> None:
    assert kept(form, record, value) == stored


@pytest.mark.parametrize(
    "value",
    [
        threading.Lock(),
        lambda: None,  # pyright: ignore[reportUnknownLambdaType]
        object(),
        Endless(),
        nested(500),
        looped(),
        pytest.param(10**100_000, id="an int of 100,000 digits"),
        {"a": {"b": {"c": [Shy()] * 200}}},
        ["x" * 5_000] * 100,
    ],
)
def test_what_cannot_be_serialised_is_recorded_in_short(form: Form, record: Record, value: Any) -> None:
    stored = kept(form, record, value)

    assert len(as_json(stored)) < 60_000


def test_a_result_that_cannot_be_serialised_is_nobodys_business(form: Form, record: Record) -> None:
    lock = threading.Lock()

    @form.flow()
    async def give() -> Any:
        return lock

    assert form.run(give) is lock
    assert record.flow_run().state.name == "Completed"


def test_a_log_message_that_cannot_be_encoded_is_escaped(
    form: Form, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest keeps what a logger passes on, and cannot hand it from one process of its own to another.
    monkeypatch.setattr(logging.getLogger("headrace"), "propagate", False)

    @form.flow(log_prints=True)
    async def logs() -> None:
        headrace.get_run_logger().info("lone \ud800 surrogate")
        print("and \udfff another")

    form.run(logs)

    as_json([line.message for line in record.lines()])
    assert len(record.lines()) == 2
    assert record.flow_run().state.name == "Completed"


def test_a_log_call_whose_arguments_do_not_fit_is_said_all_the_same(
    form: Form, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    @form.flow()
    async def logs() -> None:
        headrace.get_run_logger().info("%d of %d", "one")

    monkeypatch.setattr("logging.raiseExceptions", False)
    form.run(logs)

    assert [line.message for line in record.lines()] == ["%d of %d ('one',)"]


def test_a_log_line_of_a_million_characters_is_cut_and_says_so(form: Form, record: Record) -> None:
    @form.flow()
    async def logs() -> None:
        headrace.get_run_logger().info("x" * 1_000_000)

    form.run(logs)

    (line,) = record.lines()
    assert line.message.endswith("… (cut: 1,000,000 characters)")
    assert len(line.message) < 65_000


def test_an_exception_with_a_message_of_a_million_characters_is_recorded_cut(form: Form, record: Record) -> None:
    @form.flow()
    async def fails() -> None:
        raise ValueError("x" * 1_000_000)

    with pytest.raises(ValueError, match=r"x{1000}"):
        form.run(fails)

    message = record.flow_run().state.message
    assert message is not None
    assert message.endswith(" characters)")


def test_a_run_name_of_a_million_characters_and_odd_signs_harms_nothing(form: Form, kind: str, record: Record) -> None:
    @form.decorate(kind, **{f"{kind}_run_name": "{x}"})
    async def named(x: str) -> int:
        return 1

    assert form.run(named, "\ud800" + "x" * 1_000_000) == 1


def test_a_flow_whose_parameters_change_while_it_runs_is_recorded_as_it_was_called(form: Form, record: Record) -> None:
    @form.flow(validate_parameters=False)
    async def grows(items: list[int]) -> None:
        items.append(2)

    form.run(grows, [1])

    assert record.flow_run().parameters == {"items": [1]}


async def test_a_body_that_swallows_a_cancellation_goes_on(record: Record) -> None:
    @flow
    async def stubborn() -> str:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            return "swallowed"
        return "never"

    running = asyncio.create_task(stubborn())
    await asyncio.sleep(0.002)
    running.cancel()

    assert await running == "swallowed"
    assert record.flow_run().state.name == "Completed"
