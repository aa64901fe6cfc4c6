"""What checkers make of pauses and inputs: read by mypy and pyright, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import Any, Literal, assert_type

import headrace
from headrace import aio, pause_flow_run, resume_flow_run, suspend_flow_run
from headrace.input import Received, RunInput, receive_input, send_input
from headrace.runs import FlowRun


class Approval(RunInput):
    approved: bool
    by: str = "nobody"


def blocks(run: FlowRun) -> None:
    assert_type(pause_flow_run(Approval), Approval)
    assert_type(pause_flow_run(wait_for_input=int, timeout=60, key="a"), int)
    assert_type(suspend_flow_run(Approval, timeout=None), Approval)
    assert_type(headrace.pause_flow_run(Literal["yes", "no"]), Any)
    pause_flow_run(timeout=60)
    resume_flow_run(run, Approval(approved=True))
    resume_flow_run(run.id, {"approved": True})
    assert_type(Approval.receive(timeout=1), Received[Approval])
    for given in Approval.receive():
        assert_type(given, Approval)
        given.respond(1)
    Approval(approved=True).send_to(run)
    assert_type(Approval.with_initial_data("Well?", by="Ada"), type[Approval])
    assert_type(receive_input(int), Received[Any])
    send_input(1, run)
    Approval(by="Ada")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    resume_flow_run(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def awaits(run: FlowRun) -> None:
    assert_type(await aio.pause_flow_run(Approval), Approval)
    assert_type(await aio.suspend_flow_run(Approval), Approval)
    await aio.resume_flow_run(run)
    await aio.send_input(Approval(approved=True), run)
    async for given in Approval.receive():
        assert_type(given, Approval)
