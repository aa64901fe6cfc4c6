"""The noun `flow-run`: list, inspect, logs, delete; its other commands have files of their own."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import NamedTuple

import click

from headrace._forking import FORKED
from headrace._model.columns import plain
from headrace._model.ids import prefix_of, short_id
from headrace._model.pauses import Pause
from headrace._model.records import FlowRun, LogLine, StoredResult, TaskRun
from headrace._model.signals import Signal
from headrace._model.states import StateType
from headrace._ports import Store
from headrace.cli.answers import pause_facts, pause_in, pause_object
from headrace.cli.calls import LIMIT, Call, calls_of
from headrace.cli.cancel import cancel
from headrace.cli.fork import fork
from headrace.cli.kept import kept_of, lying_beside, result_words
from headrace.cli.lines import line_texts, names_of
from headrace.cli.objects import flow_object, line_object, task_object
from headrace.cli.output import Cell, Output, Page, calls_option, facts, output_option, page, say, show_json, table
from headrace.cli.reading import find_flow_run, is_dead, is_suspended, resumable, store_of_settings, wait_for
from headrace.cli.replay_check import replay_check
from headrace.cli.resume import resume
from headrace.cli.retry import retry
from headrace.cli.set_result import set_result
from headrace.cli.signal import signal, signal_facts, signal_object
from headrace.cli.slots import Party, slot_facts, slot_objects, slots_of
from headrace.cli.trees import tree
from headrace.cli.watch import watch
from headrace.cli.wording import DEAD, clock, counted, duration, sign_of, style_of
from headrace.errors import NoDatabaseYet, NothingKept, nearest, short

COUNTED = 10_000  # log lines; counting takes 10 us each
FIRST_FLOW = """\
To make one, put this into hello.py and run: python hello.py

  from headrace import flow

  @flow
  def hello():
      return "Hello"

  hello()"""


class Held(NamedTuple):
    """What a run has, or waits for, of limits, what was sent to it that it has not read, and what it is paused for."""

    slots: list[Party]
    signals: list[Signal]
    pause: Pause | None


@click.group(epilog="Example: headrace flow-run ls --state failed")
def flow_run() -> None:
    """
    List, inspect, watch and delete flow runs, cancel, resume, retry and fork them, send them signals.

    ID is a flow run's id or the beginning of it, as long as no other begins alike; or the word last, for the newest
    flow run, without those that other runs called.
    """


for command in (watch, cancel, resume, retry, fork, set_result, replay_check, signal):
    flow_run.add_command(command)


@flow_run.command(epilog="Example: headrace flow-run ls --limit 5 --state failed")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", default=20, show_default=True, help="So many at most."
)
@click.option(
    "--state", metavar="STATE", help="Only runs in this state: its type or name, such as running, failed, Retrying."
)
@output_option
def ls(limit: int, state: str | None, output: Output) -> None:
    """List flow runs, newest first."""
    wanted = None if state is None else state.encode(errors="replace").decode()
    nothing, left = "There are no flow runs yet.", set[str]()
    try:
        store = store_of_settings()
        runs, left = wait_for(found(store, limit, wanted))
        if not runs and wanted is not None and wait_for(store.flow_runs(limit=1)):
            nothing = f"No flow run is in state {wanted!r}{meant(wanted)}"
        elif not runs:
            nothing += f" {FIRST_FLOW}"
    except NoDatabaseYet:
        runs, nothing = [], f"{nothing} {FIRST_FLOW}"
    except NothingKept as error:
        runs, nothing = [], str(error)
    if output == "json":
        show_json([flow_object(run, left) for run in runs])
    elif not runs:
        say(nothing)
    else:
        on = page()
        say(*listed(on, runs))
        one = next((run for run in runs if run.id in left and not is_suspended(run)), None)
        if one is not None:
            say(
                "",
                on.paint(f"To go on with one that was left behind: headrace flow-run resume {short_id(one.id)}", "dim"),
            )


async def found(store: Store, limit: int, state: str | None) -> tuple[list[FlowRun], set[str]]:
    """
    Read the newest flow runs, at most *limit*; with them, the ids of those that can go on.

    Those in state Crashed are also those whose process has ended without a word, though nobody has recorded that yet.
    """
    runs = await store.flow_runs(limit=limit, state=state)
    if state is not None and state.upper() == StateType.CRASHED:
        runs += [run for run in await store.unfinished() if is_dead(run)]
        runs = sorted(runs, key=lambda run: run.start_time or datetime.max.replace(tzinfo=UTC), reverse=True)[:limit]
    return runs, await resumable(store, runs)


def meant(state: str) -> str:
    """Give the type of state that was perhaps meant by *state*, which is none; "." for none, or where it is one."""
    known = [kind.value.lower() for kind in StateType]
    return "." if state.lower() in known else nearest(state.lower(), known)


def listed(on: Page, runs: list[FlowRun]) -> list[str]:
    """Give the table of *runs*."""
    now = datetime.now(UTC)
    rows: list[list[Cell]] = []
    for run in runs:
        dead = is_dead(run)
        state = f"{sign_of(run.state, on.signs, dead)} {plain(run.state.name)}{' (dead)' if dead else ''}"
        goes_on = run.start_time is not None and not run.state.is_final() and not dead
        took = (now - run.start_time).total_seconds() if goes_on and run.start_time else run.total_run_time
        rows.append(
            [
                Cell(short_id(run.id), "cyan"),
                Cell(plain(run.name)),
                Cell(plain(run.flow_name)),
                Cell(state, style_of(run.state, dead)),
                Cell(clock(run.start_time, now)),
                Cell(duration(took)),
            ]
        )
    titles = ("ID", "NAME", "FLOW", "STATE", "STARTED", "TOOK")
    return table(on, titles, rows, drop=("TOOK", "STARTED"))


@flow_run.command(epilog="Example: headrace flow-run inspect last")
@click.argument("run_id", metavar="ID")
@calls_option(LIMIT)
@output_option
def inspect(run_id: str, limit: int, output: Output) -> None:
    """Show a flow run and what it called, each with its time: waiting, running, retrying. JSON has all task runs."""
    store = store_of_settings()
    if output == "json":
        show_json(wait_for(inspected_object(store, run_id)))
        return
    run, top, lines, kept, held, left = wait_for(inspected(store, run_id, limit))
    on = page()
    say(
        *facts(on, described(run, lines, kept, held, store.where, run.id in left)),
        "",
        *tree(on, top, datetime.now(UTC)),
    )
    first = next((call.run for call in top.calls if isinstance(call.run, TaskRun)), None)
    if first is not None:
        say("", on.paint(f"One task run of it: headrace task-run inspect {short_id(first.id)}", "dim"))


async def inspected(
    store: Store, asked: str, limit: int
) -> tuple[FlowRun, Call, int, StoredResult | None, Held, set[str]]:
    """
    Read the run that begins with *asked*: its calls, the number of its log lines, what is kept of it, what it has.

    With it, the ids of the runs that can go on.
    """
    run = await find_flow_run(store, asked)
    lines = len(await store.logs([run.id], limit=COUNTED + 1))
    calls, kept = await calls_of(store, run, limit), await kept_of(store, run)
    unread, pause = await store.signals.unread([run.id]), await pause_in(store, run)
    held = Held(await slots_of(store, run), unread, pause)
    return run, calls, lines, kept, held, await resumable(store, [run])


async def inspected_object(store: Store, asked: str) -> dict[str, object]:
    """Read the run that begins with *asked* as an object, with all its task runs and the subflow runs called in it."""
    run = await find_flow_run(store, asked)
    tasks = await store.task_runs(prefix_of(run.id))
    subflows = await store.children([run.id, *(task.id for task in tasks)])
    return {
        **flow_object(run, await resumable(store, [run])),
        "log_count": len(await store.logs([run.id])),
        "task_runs": [task_object(task) for task in tasks],
        "subflow_runs": [flow_object(flow) for flow in subflows],
        "pause": pause_object(await pause_in(store, run)),
        "slots": slot_objects(await slots_of(store, run)),
        "signals": [signal_object(one) for one in await store.signals.unread([run.id])],
    }


def described(
    run: FlowRun, lines: int, kept: StoredResult | None, held: Held, where: str, goes_on: bool
) -> list[tuple[str, str]]:
    """Give what is to be said of *run* itself; whether it *goes_on* where somebody resumes it."""
    now = datetime.now(UTC)
    state = plain(run.state)
    host, pid = (run.owner or ":").split(":")[:2]
    number = f"{lines:,}" if lines <= COUNTED else f"more than {COUNTED:,}"
    parameters = [f"{name} = {short(value)}" for name, value in run.parameters.items()]
    return [
        ("Flow run", plain(run.name)),
        ("Flow", plain(run.flow_name if run.flow_version is None else f"{run.flow_name}, version {run.flow_version}")),
        ("State", f"{state}, but {DEAD}" if is_dead(run) else state),
        ("Id", run.id),
        ("Forked from", forked_from(run)),
        ("Called by", "" if run.parent_id is None else short_id(run.parent_id)),
        ("Started", clock(run.start_time, now)),
        ("Took", duration(run.total_run_time)),
        ("Attempts", str(run.run_count)),
        ("Tags", plain(", ".join(run.tags))),
        ("Parameters", plain(", ".join(parameters))),
        ("Trace id", run.trace_id or ""),
        ("Ran in", f"process {pid} on {host}" if pid else ""),
        ("Durability", run.durability),
        ("Resumed", "" if run.epoch == 1 else counted(run.epoch - 1, "time")),
        ("To go on", f"headrace flow-run resume {short_id(run.id)}" if goes_on else ""),
        ("Log lines", f"{number}: headrace flow-run logs {short_id(run.id)}" if lines else "0"),
        ("Result", result_words(run, kept)),
        *pause_facts(held.pause),
        *slot_facts(held.slots),
        *signal_facts(held.signals),
        ("Kept in", where),
    ]


def forked_from(run: FlowRun) -> str:
    """Give what *run* is a fork of, as it says itself; "" where it is none."""
    said = run.transitions[0][3] if run.transitions else None
    return (said or "").removeprefix(FORKED).strip() if (said or "").startswith(FORKED) else ""


@flow_run.command(epilog="Example: headrace flow-run logs last")
@click.argument("run_id", metavar="ID")
@output_option
def logs(run_id: str, output: Output) -> None:
    """Show what a flow run and its task runs logged and printed. Lines of subflow runs are with those."""
    store = store_of_settings()
    run, lines, names = wait_for(logged(store, run_id))
    if output == "json":
        show_json([line_object(line, names[line.run_id]) for line in lines])
    elif lines:
        say(*line_texts(page(), lines, names))
    else:
        click.echo(
            f"Flow run {plain(run.name)!r} logged nothing. See what it did: headrace flow-run inspect {run_id}",
            err=True,
        )


async def logged(store: Store, asked: str) -> tuple[FlowRun, list[LogLine], dict[str, str]]:
    """Read the run that begins with *asked*, its log lines, and the names of the runs that said them."""
    run = await find_flow_run(store, asked)
    lines = await store.logs([run.id])
    return run, lines, await names_of(store, run, lines)


@flow_run.command(epilog="Example: headrace flow-run delete 3f2a9c1e --yes")
@click.argument("run_id", metavar="ID")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@output_option
def delete(run_id: str, yes: bool, output: Output) -> None:
    """Delete a flow run with its task runs, log lines and subflow runs. There is no way back."""
    store = store_of_settings()
    run, tasks = wait_for(doomed(store, run_id))
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(
                "Nobody is there to be asked, for stdin is no terminal. Add --yes to delete the run."
            )
        again = not (run.state.is_final() or is_dead(run) or is_suspended(run))
        going = "It has not ended: its process will record it anew. " if again else ""
        what = f"flow run {plain(run.name)!r} of {plain(run.flow_name)!r} ({short_id(run.id)})"
        question = f"{going}Delete {what}, its {counted(tasks, 'task run')} and its subflow runs?"
        if not click.confirm(question, err=True):
            click.echo("Nothing was deleted.", err=True)
            raise click.exceptions.Exit(1)
    deleted = wait_for(erased(store, run))
    if output == "json":
        show_json({"id": run.id, "deleted_flow_runs": deleted})
    else:
        below = f" and {counted(deleted - 1, 'subflow run')}" if deleted > 1 else ""
        say(f"Deleted flow run {plain(run.name)!r}{below}.")


async def doomed(store: Store, asked: str) -> tuple[FlowRun, int]:
    """Read the run that begins with *asked* and the number of its task runs."""
    run = await find_flow_run(store, asked)
    return run, sum((await store.task_counts(prefix_of(run.id))).values())


async def erased(store: Store, run: FlowRun) -> int:
    """Delete *run* with all that is its own, also beside the store; give the number of flow runs."""
    beside = await lying_beside(store, run)
    deleted = await store.delete(run.id)
    if beside:
        from headrace.cli.beside import remove_beside, vault_of_settings

        gone = await remove_beside(store, vault_of_settings(), beside)
        if gone.failed:
            click.echo(plain(gone.trouble), err=True)
    return deleted
