"""Replays: the recorded history of a durable run, gone through by today's code. Runs no step and writes no row."""

from __future__ import annotations

import asyncio
from typing import Any

from headrace._model.records import FlowRun
from headrace._replaying import Verdict, replayed
from headrace.errors import RunningLoopError
from headrace.runs import one, settled

__all__ = ["Verdict", "replay"]


def replay(history: FlowRun | str, flow: Any = None) -> Verdict:
    """
    Go through *history*, a durable flow run or the id of one, with *flow*, or with the flow that it is a run of.

    What is on record is given to the flow; at the first step that is not, it ends. The flow's own code, outside of
    tasks, really runs. Blocks.

    Raises:
        RunNotFound, AmbiguousRunId: There is no such run, or several begin alike.
        RunningLoopError: An event loop runs on this thread.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(gone_through(history, flow))
    raise RunningLoopError("headrace.testing.replay", "a thread: `await asyncio.to_thread(replay, run)`")


async def gone_through(history: FlowRun | str, flow: Any) -> Verdict:
    """Go through a history."""
    runtime = await settled()
    run = await one(history if isinstance(history, str) else history.id)
    return await replayed(runtime.store, run, flow)
