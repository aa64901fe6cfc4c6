"""The command `cache clear`: removes results, in batches, with what lies beside the store. Stops no run."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from typing import Final

import click

from headrace._model.columns import plain
from headrace._model.records import StoredResult
from headrace._ports import Store, Which
from headrace.cli.beside import Gone, remove, vault_of_settings
from headrace.cli.kept import find_result, shown_key
from headrace.cli.output import Output, output_option, say, show_json
from headrace.cli.reading import store_of_settings, wait_for
from headrace.cli.wording import counted, weighed
from headrace.errors import NoDatabaseYet, short

BATCH = 1_000  # results: the database is free for others in between, after some 50 ms
AGE: Final = re.compile(r"(\d{1,9}) ?([smhd])", re.ASCII)
SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
NOTHING: Final = "There is nothing like that in the cache. See what is: headrace cache ls"
SAY_WHICH: Final = (
    "Say what is to go: keys, --older-than 7d, --task NAME, --expired, or --all for everything, what runs kept for "
    "themselves alone included."
)


def seconds_of(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """
    Read an age, such as 7d, as seconds.

    Raises:
        BadParameter: It is none.
    """
    if value is None:
        return None
    parts = AGE.fullmatch(value.strip())
    if parts is None:
        raise click.BadParameter(
            f"{short(value, 80)} is no age. Give a whole number and its unit, d, h, m or s, such as 7d."
        )
    return int(parts[1]) * SECONDS[parts[2]]


@click.command(epilog="Example: headrace cache clear --older-than 7d --yes")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option(
    "--older-than",
    "age",
    metavar="AGE",
    callback=seconds_of,
    help="Only what was made longer ago than 7d, 12h, 30m, 90s.",
)
@click.option("--task", metavar="NAME", help="Only what the task, or flow, of this name returned.")
@click.option("--expired", is_flag=True, help="Only what has expired.")
@click.option(
    "--all", "everything", is_flag=True, help="Also what is not cached, but kept for the run that returned it."
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@output_option
def clear(
    keys: Sequence[str], age: int | None, task: str | None, expired: bool, everything: bool, yes: bool, output: Output
) -> None:
    """
    Remove results from the cache, also their bytes beside the database. There is no way back but to compute them anew.

    Of several options, all must hold of what goes. --all alone means everything.
    """
    narrowed = age is not None or task is not None or expired
    if keys and (narrowed or everything):
        raise click.UsageError("Give keys, or options that say what is to go, not both.")
    if not (keys or narrowed or everything):
        raise click.UsageError(SAY_WHICH)
    now = time.time_ns()
    which = Which(cached=not everything, task=task, expired=now if expired else None)
    if age is not None:
        which["before"] = max(0, now - age * 1_000_000_000)
    gone = Gone()
    try:
        store = store_of_settings()
        named = wait_for(found(store, keys)) if keys else None
        if agreed(store, named, which, ask=not yes):
            gone = wait_for(cleared(store, named, which))
    except NoDatabaseYet:
        if keys:
            raise
    if output == "json":
        problem = gone.trouble or None
        show_json({"removed": gone.count, "bytes": gone.size, "files": gone.files, "problem": problem})
    elif gone.count:
        beside = f", with {counted(gone.files, 'file')} beside the database" if gone.files else ""
        say(f"Removed {counted(gone.count, 'result')}, {weighed(gone.size)}{beside}.")
    else:
        say(NOTHING)
    if gone.failed:
        click.echo(plain(gone.trouble), err=True)
        raise click.exceptions.Exit(1)


async def found(store: Store, keys: Sequence[str]) -> list[StoredResult]:
    """Give the results *keys*, each once."""
    results = [await find_result(store, key) for key in keys]
    return list({one.key: one for one in results}.values())


def agreed(store: Store, named: Sequence[StoredResult] | None, which: Which, *, ask: bool) -> bool:
    """
    Tell whether there is something to remove, once somebody agreed to that, if to *ask*.

    Raises:
        UsageError: Nobody can be asked.
        Exit: They do not want it.
    """
    if named is None and not wait_for(store.results.listed(limit=1, **which)):
        return False
    if not ask:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError(
            "Nobody is there to be asked, for stdin is no terminal. Add --yes to remove the results."
        )
    if named is None:
        count, size = wait_for(store.results.total(**which))
        what = counted(count, "result" if not which.get("cached") else "cached result")
    else:
        count, size = len(named), sum(one.size for one in named)
        what = counted(count, "result")
        if count == 1:
            what = f"the result {shown_key(named[0])} of {plain(named[0].task_name)!r}"
    if not click.confirm(f"Remove {what}, {weighed(size)}?", err=True):
        click.echo("Nothing was removed.", err=True)
        raise click.exceptions.Exit(1)
    return True


async def cleared(store: Store, named: Sequence[StoredResult] | None, which: Which) -> Gone:
    """Remove the results *named*, or those that *which* tells; one batch after the other."""
    vault = vault_of_settings()
    gone = Gone()
    await store.open()
    try:
        batch = list(named or await store.results.listed(limit=BATCH, **which))
        while batch:
            gone.add(await remove(store, vault, batch))
            batch = [] if named else await store.results.listed(limit=BATCH, after=batch[-1], **which)
    finally:
        await store.close()
    return gone
