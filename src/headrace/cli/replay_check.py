"""The command `flow-run replay-check`: what today's code makes of the histories on record. No step of them is run."""

from __future__ import annotations

import logging
import sys
import textwrap
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, Final

import click

from headrace._model.columns import plain
from headrace._model.ids import short_id
from headrace._model.records import FlowRun
from headrace._ports import Store
from headrace._replaying import Verdict, replayed
from headrace.cli.objects import flow_object
from headrace.cli.output import Output, Page, output_option, page, say, show_json
from headrace.cli.reading import find_flow_run, store_of_settings, wait_for
from headrace.errors import NoDatabaseYet

LIMIT: Final = 100
SEEN: Final = 10_000  # flow runs that are looked through for durable ones: 0.4 s
STYLES: Final = {
    "same": "green",
    "goes on": "green",
    "adds": "yellow",
    "drifts": "red",
    "fails": "red",
    "unknown": "dim",
}


@click.command(name="replay-check", epilog="Example: headrace flow-run replay-check --flow order --limit 20")
@click.argument("run_ids", metavar="[ID]...", nargs=-1)
@click.option("--flow", "flow_name", metavar="NAME", help="Only runs of this flow.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    default=LIMIT,
    show_default=True,
    help="So many at most, newest first.",
)
@output_option
def replay_check(run_ids: Sequence[str], flow_name: str | None, limit: int, output: Output) -> None:
    """
    Go through the histories of durable flow runs with today's code, and tell where it goes another way.

    Steps get what is on record, and none is run; the code of the flows themselves, outside of tasks, is. Nothing is
    recorded. Ends with 1 if one drifts, or if one that could be resumed would fail.
    """
    store = store_of_settings()
    verdicts: list[Verdict] = []
    for run in wait_for(chosen(store, run_ids, flow_name, limit)):
        with quietly():
            verdict = wait_for(replayed(store, run))
        verdicts.append(verdict)
        if output == "text":
            say(*told(page(), verdict))
    if output == "json":
        show_json([verdict_object(verdict) for verdict in verdicts])
    else:
        say(summary(verdicts, flow_name))
    if any(map(is_wrong, verdicts)):
        raise click.exceptions.Exit(1)


@contextmanager
def quietly() -> Generator[None]:
    """Have what flows print meanwhile go to stderr, and what is logged nowhere: it tells of runs that have been."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        logging.disable(before)


async def chosen(store: Store, run_ids: Sequence[str], flow_name: str | None, limit: int) -> list[FlowRun]:
    """Give the runs that begin with *run_ids*, or the newest durable ones, at most *limit*, of the flow *flow_name*."""
    if not run_ids:
        return await newest_durable(store, flow_name, limit)
    runs = [await find_flow_run(store, one) for one in run_ids]
    return [run for run in runs if flow_name in (None, run.flow_name)][:limit]


async def newest_durable(store: Store, flow_name: str | None, limit: int) -> list[FlowRun]:
    """List the newest durable runs that are no part of others, only those of *flow_name* where that is given."""
    found: list[FlowRun] = []
    seen, wanted = 0, min(max(limit, LIMIT), SEEN)
    while True:
        try:
            runs = await store.flow_runs(limit=wanted)
        except NoDatabaseYet:
            return []
        found += [run for run in runs[seen:] if run.entrypoint is not None and flow_name in (None, run.flow_name)]
        if len(found) >= limit or len(runs) < wanted or wanted == SEEN:
            return found[:limit]
        seen, wanted = len(runs), min(10 * wanted, SEEN)


def is_wrong(verdict: Verdict) -> bool:
    """Tell whether a resumed run would not go its way; one that has ended may well end otherwise today."""
    ended = verdict.run.state.is_final() and not verdict.run.state.is_crashed()
    return verdict.outcome == "drifts" or (verdict.outcome == "fails" and not ended)


def told(on: Page, verdict: Verdict) -> list[str]:
    """Give the lines of a verdict."""
    run, style = verdict.run, STYLES[verdict.outcome]
    head = f"{short_id(run.id)}  {plain(run.flow_name)}, {plain(run.state.name)}: {on.paint(verdict.outcome, style)}"
    said = plain(verdict.said)
    return [
        head,
        *(
            [f"  {said}"]
            if on.width is None
            else textwrap.wrap(said, on.width, initial_indent="  ", subsequent_indent="  ")
        ),
    ]


def summary(verdicts: Sequence[Verdict], flow_name: str | None) -> str:
    """Count *verdicts* by their outcomes."""
    if not verdicts:
        return (
            "No durable flow run is on record."
            if flow_name is None
            else f"No durable run of a flow {flow_name!r} is on record."
        )
    counts: Counter[str] = Counter(verdict.outcome for verdict in verdicts)
    parts = ", ".join(f"{outcome}: {counts[outcome]:,}" for outcome in STYLES if counts[outcome])
    number = f"{len(verdicts):,} history" if len(verdicts) == 1 else f"{len(verdicts):,} histories"
    return f"{number} gone through. {parts}"


def verdict_object(verdict: Verdict) -> dict[str, Any]:
    """Give *verdict* as an object of JSON."""
    return {
        "outcome": verdict.outcome,
        "said": verdict.said,
        "wrong": is_wrong(verdict),
        "run": flow_object(verdict.run),
    }
