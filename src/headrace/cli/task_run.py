"""The noun `task-run`: inspect."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime

import click

from headrace._model.columns import plain
from headrace._model.ids import short_id
from headrace._model.records import LogLine, StoredResult, TaskRun
from headrace._ports import Store
from headrace.cli.calls import LIMIT, Call, calls_of
from headrace.cli.kept import kept_of, result_words
from headrace.cli.lines import line_texts
from headrace.cli.objects import line_object, task_object
from headrace.cli.output import Output, Page, facts, output_option, page, say, show_json
from headrace.cli.reading import find_task_run, store_of_settings, wait_for
from headrace.cli.trees import tree
from headrace.cli.wording import clock, duration


@click.group(epilog="Example: headrace task-run inspect 3f2a9c1e.00c")
def task_run() -> None:
    """Inspect a task run."""


@task_run.command(epilog="Example: headrace task-run inspect 3f2a9c1e.00c")
@click.argument("run_id", metavar="ID")
@output_option
def inspect(run_id: str, output: Output) -> None:
    """
    Show a task run, each state it went through, what it called and what it logged.

    ID is a task run's whole id, or the beginning of its flow run's id, a dot, and the task run's number: the task run
    fetch-00c of the flow run 3f2a9c1e is 3f2a9c1e.00c, and last.00c if that flow run is the newest.
    """
    store = store_of_settings()
    run, top, lines, kept = wait_for(inspected(store, run_id))
    if output == "json":
        show_json({**task_object(run), "logs": [line_object(line, run.name) for line in lines]})
        return
    on = page()
    now = datetime.now(UTC)
    say(*facts(on, described(run, kept, now, store.where)), "", *tree(on, top, now), "", *states(on, run, now))
    if lines:
        say("", *line_texts(on, lines, {run.id: run.name}))


async def inspected(store: Store, asked: str) -> tuple[TaskRun, Call, list[LogLine], StoredResult | None]:
    """Read the task run *asked*, what it called, what it said and what is kept of its result."""
    run = await find_task_run(store, asked)
    top = await calls_of(store, run, LIMIT)
    lines = [line for line in await store.logs([run.id]) if line.run_id == run.id]
    return run, top, lines, await kept_of(store, run)


def described(run: TaskRun, kept: StoredResult | None, now: datetime, where: str) -> list[tuple[str, str]]:
    """Give what is to be said of *run* itself."""
    return [
        ("Task run", plain(run.name)),
        ("Task", plain(run.task_name)),
        ("State", plain(run.state)),
        ("Id", run.id),
        ("Flow run", "" if run.flow_run_id is None else short_id(run.flow_run_id)),
        ("Called by", "" if run.parent_task_run_id is None else short_id(run.parent_task_run_id)),
        ("Computed by", "" if not run.cached_from else short_id(run.cached_from)),
        ("Started", clock(run.start_time, now)),
        ("Took", duration(run.total_run_time)),
        ("Attempts", str(run.run_count)),
        ("Tags", plain(", ".join(run.tags))),
        ("Result", result_words(run, kept)),
        ("Kept in", where),
    ]


def states(on: Page, run: TaskRun, now: datetime) -> list[str]:
    """Give a line for each state *run* went through: when, which, and what it said."""
    lines: list[str] = []
    for _, name, at, said in run.transitions:
        moment = f"{clock(at, now)}.{at.microsecond // 1000:03d}"
        line = f"{moment}  {plain(name)}" + (f": {plain(said)}" if said else "")
        lines += [line] if on.width is None else textwrap.wrap(line, on.width, subsequent_indent="  ")
    return lines
