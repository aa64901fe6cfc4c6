"""The noun `cache`: list and inspect; `clear` has a file of its own."""

from __future__ import annotations

import time

import click

from headrace._model.columns import plain
from headrace._model.ids import short_id
from headrace._model.records import StoredResult, instant
from headrace._ports import Store
from headrace.cli.beside import preview, soundness, vault_of_settings
from headrace.cli.clear import clear
from headrace.cli.kept import find_result, lies_in, shown_key, shown_place
from headrace.cli.objects import result_object
from headrace.cli.output import Cell, Output, Page, facts, output_option, page, say, show_json, table
from headrace.cli.reading import has_expired, is_cached, store_of_settings, wait_for
from headrace.cli.wording import clock, weighed
from headrace.errors import NoDatabaseYet, NothingKept

NOTHING = "Nothing is cached yet."
FILL = """\
To have a task find again what it returned for the same arguments, write:

  from headrace.cache_policies import INPUTS

  @task(cache_policy=INPUTS)"""
FOR_RUNS = "Nothing is cached; what runs kept for themselves alone is listed by: headrace cache ls --all"


@click.group(epilog="Example: headrace cache ls")
def cache() -> None:
    """
    List, inspect and clear cached results.

    KEY is a result's cache key or the beginning of it, as long as no other begins alike; or, for a result that is not
    cached, only kept for the run that returned it, the run's id.
    """


cache.add_command(clear)


@cache.command(epilog="Example: headrace cache ls --limit 5")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", default=20, show_default=True, help="So many at most."
)
@click.option(
    "--all", "everything", is_flag=True, help="Also what is not cached, but kept for the run that returned it."
)
@output_option
def ls(limit: int, everything: bool, output: Output) -> None:
    """List cached results, newest first."""
    nothing = f"{NOTHING} {FILL}"
    found: list[StoredResult] = []
    try:
        store = store_of_settings()
        found = wait_for(store.results.listed(limit=limit + 1, cached=not everything))
        if not found and not everything and wait_for(store.results.listed(limit=1)):
            nothing = FOR_RUNS
    except NoDatabaseYet:
        pass
    except NothingKept as error:
        nothing = str(error)
    if output == "json":
        show_json([result_object(one, time.time_ns()) for one in found[:limit]])
    elif not found:
        say(nothing)
    else:
        on = page()
        say(*listed(on, found[:limit], time.time_ns()))
        if len(found) > limit:
            say("", on.paint("There are more; --limit says how many are shown.", "dim"))


def listed(on: Page, found: list[StoredResult], now: int) -> list[str]:
    """Give the table of *found*."""
    today = instant(now)
    rows = [
        [
            Cell(shown_key(one, on.signs.more), "cyan"),
            Cell(plain(one.task_name)),
            Cell(short_id(one.run_id) if one.run_id else ""),
            Cell(clock(instant(one.created), today)),
            expiry(one, now),
            Cell(weighed(one.size)),
            Cell(one.codec),
            Cell(shown_place(on, one)),
        ]
        for one in found
    ]
    titles = ("KEY", "TASK", "COMPUTED BY", "MADE", "EXPIRES", "SIZE", "FORM", "WHERE")
    return table(on, titles, rows, drop=("FORM", "WHERE", "MADE", "SIZE"))


def expiry(one: StoredResult, now: int) -> Cell:
    """Give the cell that says until when *one* counts."""
    if one.expires is None:
        return Cell("never")
    return Cell("expired", "yellow") if has_expired(one, now) else Cell(clock(instant(one.expires), instant(now)))


@cache.command(epilog="Example: headrace cache inspect prices-today")
@click.argument("key", metavar="KEY")
@output_option
def inspect(key: str, output: Output) -> None:
    """Show all that is known of a result, whether its bytes are whole, and of text and JSON the beginning."""
    store = store_of_settings()
    one, noun = wait_for(inspected(store, key))
    now = time.time_ns()
    vault = vault_of_settings()
    state, problem = soundness(vault, one)
    on = page()
    value = preview(vault, one, on.signs.more) if state == "whole" else []
    if output == "json":
        more = {"bytes": state, "problem": problem or None, "preview": "\n".join(value) if value else None}
        show_json({**result_object(one, now), **more})
        return
    bytes_are = f"{state}: {problem}" if problem else state
    say(*facts(on, [*described(one, noun, now), ("Bytes", bytes_are), ("Kept in", store.where)]))
    if value:
        say("", *(f"  {line}" for line in value))


async def inspected(store: Store, asked: str) -> tuple[StoredResult, str]:
    """Read the result *asked*; give it with the noun of the run that computed it, "" where that is not recorded."""
    one = await find_result(store, asked)
    if one.run_id and await store.flow_runs(begins=one.run_id, limit=1):
        return one, "flow-run"
    return one, "task-run" if one.run_id and await store.task_runs(one.run_id, limit=1) else ""


def described(one: StoredResult, noun: str, now: int) -> list[tuple[str, str]]:
    """Give what the record says of *one*, which a run of *noun* computed."""
    today = instant(now)
    until = "never" if one.expires is None else clock(instant(one.expires), today)
    whose = f"{short_id(one.run_id)}: headrace {noun} inspect {short_id(one.run_id)}"
    if not noun:
        whose = f"{short_id(one.run_id)}, which is not recorded any more" if one.run_id else "a transaction"
    return [
        ("Key", one.key),
        ("Found by", "its cache key" if is_cached(one) else "the run that returned it, alone"),
        ("Task" if noun != "flow-run" else "Flow", one.task_name),
        ("Computed by", whose),
        ("Made", clock(instant(one.created), today)),
        ("Expires", f"{until}, so it has expired" if has_expired(one, now) else until),
        ("Form", one.codec),
        ("Size", weighed(one.size)),
        ("Digest", one.digest),
        ("Lies", lies_in(one) if one.name in {None, one.key} else f"{lies_in(one)} under {one.name}"),
    ]
