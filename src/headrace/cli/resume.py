"""
The command `flow-run resume`: paused runs go on where they are, durable ones that were left behind in this process.

Knows none of the rules.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Coroutine, Generator, Iterable
from contextlib import contextmanager, redirect_stdout
from typing import Any, NamedTuple

import click

from headrace import _runtime
from headrace._engine.inputs import recorded
from headrace._engine.life import drive
from headrace._model.columns import plain
from headrace._model.ids import short_id
from headrace._model.records import FlowRun
from headrace._model.states import State
from headrace._ports import Store
from headrace._resuming import Claim, claimed, going_on
from headrace.cli import Sentence
from headrace.cli.answers import Given, StaysPaused, heard, input_for, pause_in, sent, suspended
from headrace.cli.objects import flow_object
from headrace.cli.output import Output, output_option, say, show_json
from headrace.cli.reading import find_flow_run, left_behind, resumable, store_of_settings, wait_for
from headrace.errors import DurableError, HeadraceError, NoDatabaseYet, short
from headrace.sync import run as run_async

FAILED = 1
NOT_RESUMED = 2
SHOWN = 300


class End(NamedTuple):
    """
    What came of resuming a run.

    Attributes:
        state: How it ended; None where it could not be resumed.
        why: Why it could not.
    """

    run: FlowRun
    state: State[Any] | None
    why: str = ""

    @property
    def status(self) -> int:
        """The exit code that tells it."""
        if self.state is None:
            return NOT_RESUMED
        return 0 if self.state.is_completed() else FAILED


class NotResumed(Sentence):
    """An error before anything was run."""

    exit_code = NOT_RESUMED


@click.command(epilog="Example: headrace flow-run resume 3f2a9c1e")
@click.argument("run_id", metavar="[ID]", required=False)
@click.option("--all", "everything", is_flag=True, help="Every durable run that was left behind, one after the other.")
@click.option("--param", "-p", "fields", multiple=True, metavar="NAME=VALUE", help="A field of a paused run's input.")
@click.option("--params", "whole", metavar="JSON", help="All of a paused run's input.")
@output_option
def resume(run_id: str | None, everything: bool, fields: tuple[str, ...], whole: str | None, output: Output) -> None:
    """
    Resume a paused flow run, which goes on in its process; or go on with a durable one whose process has ended, in this
    process, behind its last finished step.

    A paused run may wait for an input, which is asked for on a terminal. Code is loaded from the module or file that it
    was in. Ends with 0 once the run was resumed, or has completed here, with 1 if it came to another end, with 2 if it
    could not be resumed: then nothing was run.
    """
    given = Given(fields, whole)
    if (run_id is None) != everything or (everything and given):
        raise click.UsageError("Give the id of one run, or --all.")
    store = store_of_settings()
    if run_id is not None:
        one = wait_for(found_for(store, run_id))
        if answered(store, one, given, output):
            return
        wanted = [one]
    else:
        wanted = wait_for(all_left_behind(store))
    if output == "text" and not wanted:
        say("No durable run was left behind.")
    ends = [shown(run, claimed(_runtime.thread_host, _runtime.journal_here(), run.id), output) for run in wanted]
    if output == "json":
        found = [wait_for(end_object(store, end)) for end in ends]
        show_json(found if everything else found[0])
    leave(ends)


def shown(run: FlowRun, claiming: Coroutine[Any, Any, Claim], output: Output) -> End:
    """Go on with *run*, as *claiming* takes it, to its end; say what came of it, unless JSON is to."""
    if output == "json":
        with printing_aside():
            return gone_on(run, claiming)
    end = gone_on(run, claiming)
    tell(end)
    return end


def leave(ends: Iterable[End]) -> None:
    """End the command, with the exit code that tells what came of its runs."""
    codes = {end.status for end in ends}
    status = next((wrong for wrong in (FAILED, NOT_RESUMED) if wrong in codes), 0)
    if status:
        raise click.exceptions.Exit(status)


def answered(store: Store, run: FlowRun, given: Given, output: Output) -> bool:
    """
    Resume *run*, if it is paused; tell whether that is all. It is not for one that no process has.

    Raises:
        NotResumed: It is not paused, and an input was *given*; or it is not any more.
    """
    pause = wait_for(pause_in(store, run))
    if pause is None:
        if given:
            raise NotResumed(f"Flow run {run.name!r} is not paused, and takes no input; it is {run.state}.")
        return False
    try:
        wait_for(sent(store, run, pause, input_for(run, pause, given)))
    except HeadraceError as error:
        raise NotResumed(str(error)) from error
    if not wait_for(suspended(store, run)) and run.id in wait_for(resumable(store, [run])):
        return False
    took = wait_for(heard(store, run, pause))
    if not took and wait_for(suspended(store, run)):
        return False
    if output == "json":
        show_json({**flow_object(wait_for(found_for(store, run.id))), "heard": took})
    else:
        name = f"Flow run {plain(run.name)!r}"
        say(f"{name} was resumed." if took else f"{name} is to go on, but its process has not heard that yet.")
    return True


async def found_for(store: Store, asked: str) -> FlowRun:
    """
    Give the run that begins with *asked*.

    Raises:
        NotResumed: There is none, or there are several.
    """
    try:
        return await find_flow_run(store, asked)
    except HeadraceError as error:
        raise NotResumed(str(error)) from error


async def all_left_behind(store: Store) -> list[FlowRun]:
    """
    List the durable runs that processes have left behind, those first that were taken up first.

    Those that are paused are left out, and named: they would wait here, and those behind them with them.
    """
    try:
        left = await left_behind(store)
    except NoDatabaseYet:
        return []
    found = [run for one in left for run in await store.flow_runs(begins=one.run_id, limit=1)]
    paused = {run.id: pause for run in found if (pause := await pause_in(store, run)) is not None}
    for run in found:
        if run.id in paused:
            click.echo(plain(StaysPaused(run, paused[run.id]).message), err=True)
    return [run for run in found if run.id not in paused]


def gone_on(run: FlowRun, claiming: Coroutine[Any, Any, Claim]) -> End:
    """
    Go on with *run*, as *claiming* takes it, to its end.

    Blocks; what is wider than an exception, such as Ctrl-C, goes on to the caller.
    """
    try:
        flow, past, args, kwargs = drive(claiming)
    except HeadraceError as error:
        return End(run, None, str(error))

    def begin() -> Any:
        return flow(*args, return_state=True, **kwargs)

    run = past.root or run  # a fork is another
    state: State[Any] = going_on(past, (lambda: run_async(begin())) if flow.spec.is_async else begin)
    return End(run, state)


def tell(end: End) -> None:
    """Say what came of a run: its value on stdout, what went wrong on stderr."""
    if end.state is not None and end.state.is_completed():
        value = end.state.result()
        said = "." if value is None else f" and returned {plain(short(value, SHOWN))}"
        say(f"Flow run {plain(end.run.name)!r} completed{said}")
    else:
        click.echo(plain(trouble(end)), err=True)


def trouble(end: End) -> str:
    """Say in a sentence why a run did not complete; "" where it did."""
    state = end.state
    if state is None:
        return end.why
    if state.is_completed():
        return ""
    if not state.is_failed():
        return f"Flow run {end.run.name!r} ended as {state}."
    error = state.result(raise_on_failure=False)
    if isinstance(error, DurableError):
        return str(error)
    step = f"See where: headrace flow-run logs {short_id(end.run.id)}"
    return f"Flow run {end.run.name!r} failed with {short(error, SHOWN)}. {step}"


async def end_object(store: Store, end: End) -> dict[str, Any]:
    """Give what came of a run as an object of JSON: the run as it is now, what it returned, and what went wrong."""
    (run,) = await store.flow_runs(begins=end.run.id, limit=1) or [end.run]
    completed = end.state is not None and end.state.is_completed()
    value = recorded({"result": end.state.result()})["result"] if completed and end.state is not None else None
    return {**flow_object(run), "went_on": end.state is not None, "result": value, "error": trouble(end) or None}


@contextmanager
def printing_aside() -> Generator[None]:
    """Have what is printed meanwhile, also by processes that are started, go to stderr: JSON stands alone on stdout."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
