"""
The command `flow-run cancel`: asks the process that runs a flow run to end it, and watches.

It ends only durable runs that no process has, for which there is nobody to ask.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import NamedTuple

import click

from headrace import _owners
from headrace._cancelling import cancel_left_behind
from headrace._model.columns import plain
from headrace._model.ids import short_id
from headrace._model.records import FlowRun, Request
from headrace._ports import Store
from headrace.cli import Sentence
from headrace.cli.objects import flow_object
from headrace.cli.output import Output, output_option, say, show_json
from headrace.cli.reading import find_flow_run, is_dead, is_suspended, store_of_settings, wait_for
from headrace.errors import RunEnded, RunHeld, RunNotFound

WHY = "headrace flow-run cancel asked for it"
WAIT = 5.0
PROMISED = 1.0  # within which a process hears it
PAUSE = 0.05  # between two looks at the run; each takes 2 ms


class Asked(NamedTuple):
    """
    What came of asking.

    Attributes:
        run: As it was seen last.
        heard: Whether its process knows.
        left: Whether it had none, and was ended here.
    """

    run: FlowRun
    heard: bool
    left: bool = False


class NotBegun(Sentence):
    """A run was taken up, and has not begun there yet: until then it cannot be asked."""

    def __init__(self, run: FlowRun) -> None:
        super().__init__(
            f"Flow run {run.name!r} has just been taken up, and has not begun there yet. Ask again: "
            f"headrace flow-run cancel {short_id(run.id)}"
        )


@click.command(epilog="Example: headrace flow-run cancel 3f2a9c1e --no-wait")
@click.argument("run_id", metavar="ID")
@click.option(
    "--wait",
    "seconds",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    default=WAIT,
    show_default=True,
    help="See so long at most whether it ends.",
)
@click.option("--no-wait", is_flag=True, help="Ask, and return at once.")
@output_option
def cancel(run_id: str, seconds: float, no_wait: bool, output: Output) -> None:
    """
    Cancel a flow run in progress, with the task runs and subflow runs in it.

    Its process hears of it within a second and ends it: async bodies at their next await, sync ones at their next wait
    or call of a task. They have time to clean up. A durable run that was left behind, or is suspended, ends at once,
    and nobody takes it up any more.
    """
    store = store_of_settings()
    waited = 0.0 if no_wait else seconds
    run, heard, left = wait_for(asked(store, run_id, waited))
    if output == "json":
        show_json({**flow_object(run), "heard": heard})
    elif left:
        was = "suspended" if is_suspended(run) else "left behind"
        say(f"Flow run {plain(run.name)!r} was cancelled; it had been {was}, and nobody takes it up any more.")
    else:
        say(outcome(run, heard, waited))


async def asked(store: Store, wanted: str, seconds: float) -> Asked:
    """
    Ask the run that begins with *wanted* to cancel; see for *seconds* what comes of it. One that nobody has ends here.

    Raises:
        RunEnded: It does not go on, or came to another end.
        NotBegun: Another process has taken it up, and has not begun within that time.
    """
    run = await find_flow_run(store, wanted)
    if run.durability == "strict":
        left = await was_left_behind(store, run, seconds)
        run = await seen(store, run, 0.0)
        if left:
            return Asked(run, heard=False, left=True)
    if ended(run):
        raise RunEnded(run.name, run.state, dead=is_dead(run))
    if await store.request(Request(run.id, "cancel", WHY, datetime.now(UTC))):
        run = await seen(store, run, seconds)
        if not ended(run):
            return Asked(run, not await store.requests([run.id]))
        if run.state.is_cancelled():
            return Asked(run, heard=True)
    else:
        run = await seen(store, run, 0.0)
    raise RunEnded(run.name, run.state, dead=is_dead(run))


async def was_left_behind(store: Store, run: FlowRun, seconds: float) -> bool:
    """
    Cancel the durable *run* if no process has it, and tell whether none had.

    Where somebody has just taken it up, wait *seconds*, and PROMISED at least, until it has begun there.

    Raises:
        NotBegun: It has not.
        RunNotFound: It was deleted meanwhile.
    """
    deadline = time.monotonic() + max(PROMISED, seconds)  # in this order, for nan
    while True:
        try:
            return await cancel_left_behind(store, run, WHY, _owners.owner(), time.time_ns())
        except RunHeld:
            if not ended(run):
                return False
            if time.monotonic() > deadline:
                raise NotBegun(run) from None
        finally:
            await store.close()
        await asyncio.sleep(PAUSE)
        run = await seen(store, run, 0.0)


async def seen(store: Store, run: FlowRun, seconds: float) -> FlowRun:
    """
    Give *run* as it is once it has ended, or after *seconds*.

    Raises:
        RunNotFound: It was deleted meanwhile.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = await store.flow_runs(begins=run.id, limit=1)
        if not found:
            raise RunNotFound("flow", run.id, "It was deleted meanwhile.")
        left = deadline - time.monotonic()
        if ended(found[0]) or not left > 0:
            return found[0]
        await asyncio.sleep(min(PAUSE, left))


def ended(run: FlowRun) -> bool:
    """Tell whether *run* has come to its end, be it without a word."""
    return run.end_time is not None or run.state.is_final() or is_dead(run)


def outcome(run: FlowRun, heard: bool, waited: float) -> str:
    """Say what came of asking *run* to cancel, after *waited* seconds."""
    name = f"Flow run {plain(run.name)!r}"
    if run.state.is_cancelled():
        return f"{name} was cancelled."
    if heard:
        return f"{name} was asked to cancel; its tasks are still ending."
    if not waited >= PROMISED:  # nan among them
        return f"{name} was asked to cancel. See what became of it: headrace flow-run inspect {short_id(run.id)}"
    host, pid = (run.owner or ":").split(":")[:2]
    whose = f"process {pid} on {host}" if pid else "its process"
    return f"{name} was asked to cancel, but {whose} has not heard it yet."
