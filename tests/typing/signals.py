"""What checkers make of signals: read by mypy and pyright, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import Any, assert_type

from headrace import aio, signals
from headrace.runs import FlowRun


class Order:
    number: int


def blocks(run: FlowRun) -> None:
    assert_type(signals.send(run, "go", {"a": 1}, key="a"), bool)
    assert_type(signals.receive("go"), Any)
    assert_type(signals.receive("go", Order), Order)
    assert_type(signals.receive("go", Order, timeout=1, default=None), Order | None)
    asked = signals.receive_request("go", Order)
    assert_type(asked.value, Order)
    assert_type(asked.answer(True), None)
    assert_type(signals.ask(run, "go", 1, bool, timeout=1), bool)
    assert_type(signals.ask(run.id, "go"), Any)
    signals.send(5, "go")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    signals.receive("go", Order, default=None)


async def awaits(run: FlowRun) -> None:
    assert_type(await aio.send(run, "go"), bool)
    assert_type(await aio.receive("go", Order), Order)
    assert_type(await aio.receive("go", Order, default=0), Order | int)
    asked = await aio.receive_request("go", Order)
    assert_type(asked.value, Order)
    assert_type(await asked.answer(), None)
    assert_type(await aio.ask(run, "go", 1, bool), bool)
