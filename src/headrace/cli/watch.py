"""The command `flow-run watch`: a run and its calls as they go on, drawn again in place, or told line by line."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

import click

from headrace._model.columns import plain
from headrace._model.ids import short_id
from headrace._model.records import FlowRun, TaskRun
from headrace._model.states import State, StateType
from headrace._ports import Store
from headrace.cli.calls import UNSUCCESSFUL, AnyRun, Call, calls_of
from headrace.cli.objects import transitions
from headrace.cli.output import Output, Page, calls_option, output_option, page, say
from headrace.cli.reading import find_flow_run, is_dead, store_of_settings, wait_for
from headrace.cli.trees import naming, tree
from headrace.cli.wording import sign_of, style_of
from headrace.errors import RunNotFound

EVERY: Final = 0.5  # seconds between two looks: each takes 5 ms and more
LIMIT: Final = 20
ABANDONED: Final = 20.0  # seconds in which somebody takes up a durable run, if anybody does: its lease, and a look
UP: Final = "\x1b[A"
CLEAR: Final = "\r\x1b[J"  # from the cursor to the end of the screen


@click.command(epilog="Example: headrace flow-run watch 3f2a9c1e")
@click.argument("run_id", metavar="ID")
@click.option(
    "--every",
    type=click.FloatRange(min=0.05),
    metavar="SECONDS",
    default=EVERY,
    show_default=True,
    help="Time between two looks.",
)
@calls_option(LIMIT)
@output_option
def watch(run_id: str, every: float, limit: int, output: Output) -> None:
    """
    Watch a flow run and what it calls until it ends, wherever it runs.

    On a terminal the tree is drawn again in place; elsewhere each change of a state is a line, with --output json an
    object. Ends with 0 once the run has completed, with 1 if it came to another end. Ctrl-C only ends the watching.
    """
    show: Callable[[Call], None]
    if output == "json":
        show = Changes(objects)
    elif sys.stdout.isatty():
        show = Drawing().see
    else:
        show = Changes(lines)
    run = wait_for(watched(store_of_settings(), run_id, show, every, limit))
    if not run.state.is_completed():
        raise click.exceptions.Exit(1)


async def watched(store: Store, asked: str, show: Callable[[Call], None], every: float, limit: int) -> FlowRun:
    """
    Have *show* see the run that begins with *asked*, and its calls, again and again until it has ended; give it then.

    A durable run that was left behind has ended once nobody has taken it up for ABANDONED.

    Raises:
        RunNotFound: There is none, or it was deleted meanwhile.
    """
    run = await find_flow_run(store, asked)
    left: float | None = None
    while True:
        show(await calls_of(store, run, limit))
        now, dead = time.monotonic(), is_dead(run)
        goes_on = run.durability == "strict" and (dead or run.state.is_crashed())
        left = (left or now) if goes_on else None
        if (dead or run.state.is_final()) and (left is None or now - left > ABANDONED):
            return run
        await asyncio.sleep(every)
        found = await store.flow_runs(begins=run.id, limit=1)
        if not found:
            raise RunNotFound("flow", run.id, "It was deleted meanwhile.")
        run = found[0]


class Drawing:
    """
    A tree on a terminal, drawn again where it stands.

    Attributes:
        height: The rows that it has there.
    """

    def __init__(self) -> None:
        self.height = 0

    def see(self, top: Call) -> None:
        """Draw *top*, in the place of what was drawn before; what the terminal has no rows for is counted."""
        on = page()
        drawn = [*tree(on, top, datetime.now(UTC)), "", on.cut(outcome(top), on.width or 0)]
        room = max(2, shutil.get_terminal_size().lines - 1)
        if len(drawn) > room:
            more = f"{on.signs.more} {len(drawn) - room + 1:,} more lines"
            drawn = [*drawn[: room - 2], on.paint(on.cut(more, on.width or 0), "dim"), drawn[-1]]
        say(UP * self.height + CLEAR + "\n".join(drawn))
        self.height = len(drawn)


def outcome(top: Call) -> str:
    """Say how the run *top* stands."""
    run = top.run
    if top.dead or run.state.is_crashed():
        goes_on = isinstance(run, FlowRun) and run.durability == "strict"
        return f"Its process ended. To go on: headrace flow-run resume {short_id(run.id)}" if goes_on else "It crashed."
    return plain(run.state)


class Changes:
    """
    The states that a run and its calls enter, told once each, in the order of their moments.

    Of the task runs of a flow run that has more than are read, those alone are told that did not complete.

    Attributes:
        told: How many states of each run were told, by its id.
    """

    def __init__(self, tell: Callable[[Page, AnyRun, int], str]) -> None:
        self.tell = tell
        self.told: dict[str, int] = {}

    def __call__(self, top: Call) -> None:
        """Tell what is new in *top*."""
        on = page()
        fresh = [(run.transitions[place][2], run.id, place, run) for run in wanted(top) for place in self.new(run)]
        for _, _, place, run in sorted(fresh, key=lambda one: one[:3]):
            say(self.tell(on, run, place))
        sys.stdout.flush()

    def new(self, run: AnyRun) -> range:
        """Give the places of those states of *run* that were not told yet; they are then."""
        known, self.told[run.id] = self.told.get(run.id, 0), len(run.transitions)
        return range(known, len(run.transitions))


def wanted(top: Call) -> Iterator[AnyRun]:
    """Give the runs in *top* whose states are told."""
    for call in top.all():
        yield from (each.run for each in call.calls if not (call.left_out and went_well(each.run)))
    yield top.run


def went_well(run: AnyRun) -> bool:
    """Tell whether *run* is a task run that has completed, or may."""
    return isinstance(run, TaskRun) and run.state.type.value not in UNSUCCESSFUL


def lines(on: Page, run: AnyRun, place: int) -> str:
    """Give the line that tells the state that *run* entered at *place* in its history."""
    kind, name, at, said = run.transitions[place]
    state: State[object] = State(StateType(kind), name)
    told = plain(f"{name}: {said.splitlines()[0]}" if said else name)
    stamp = f"{at.astimezone():%H:%M:%S}.{at.microsecond // 1_000:03d}"
    line = f"{stamp}  {sign_of(state, on.signs)} {naming(run)}  {told}"
    return on.paint(line if on.width is None else on.cut(line, on.width), style_of(state))


def objects(_on: Page, run: AnyRun, place: int) -> str:
    """Give the object of JSON that tells it, in one line."""
    import orjson

    told = {"run_id": run.id, "run_name": run.name, "kind": "flow-run" if isinstance(run, FlowRun) else "task-run"}
    return orjson.dumps({**told, **transitions(run)[place]}, option=orjson.OPT_UTC_Z).decode()
