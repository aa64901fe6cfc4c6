"""Limits, for both nouns that speak of them: what there is, found by name, said in words, listed and deleted."""

from __future__ import annotations

import copy
import shlex
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from headrace._model.columns import plain
from headrace._model.limits import checked_limit
from headrace._model.slots import Claim, Limit
from headrace._ports import Store
from headrace.cli import Sentence
from headrace.cli.output import Cell, Output, Page, output_option, page, say, show_json, table
from headrace.cli.reading import store_of_settings, wait_for
from headrace.cli.slots import Tally, is_gone, split, tally
from headrace.cli.wording import counted
from headrace.errors import NoDatabaseYet, NothingKept, nearest, short

NOTHING: Final = "There are no limits yet. Create one: headrace gcl create api --limit 5"


# -- what there is --------------------------------------------------------------------------------------------


async def limits_in(store: Store) -> list[Limit]:
    """List the limits, by name; none where there is no database yet."""
    try:
        return await store.limits.listed()
    except NoDatabaseYet:
        return []


async def found_limit(store: Store, name: str) -> Limit:
    """
    Give the limit *name*.

    Raises:
        Sentence: There is none.
    """
    limits = await limits_in(store)
    for limit in limits:
        if limit.name == name:
            return limit
    raise no_limit(name, [limit.name for limit in limits])


def no_limit(name: str, known: Sequence[str]) -> Sentence:
    """Give what says that there is no limit *name*, only those that are *known*."""
    asked = short(name, 80)
    close = nearest(name, known)
    if close != ".":
        return Sentence(f"There is no limit {asked}{close}")
    if known:
        return Sentence(f"There is no limit {asked}. List them: headrace gcl ls")
    return Sentence(f"There is no limit {asked}. Create it with: headrace gcl create {quoted(name)} --limit 5")


def create_limit(limit: Limit, output: Output) -> None:
    """
    Keep *limit*, and say so; makes the database where there is none yet.

    Raises:
        OptionError: It cannot be.
        Sentence: There is one of its name.
    """
    checked_limit(limit.name, limit.slots, limit.decay)
    store = store_of_settings()
    wait_for(kept_new(store, limit))
    if output == "json":
        show_json(limit_object(limit, "", Tally(None if limit.decay is not None else 0, 0)))
    else:
        say(f"Created the limit {limit.name!r}: {worded(limit)}.{caution(limit)}")


async def kept_new(store: Store, limit: Limit) -> None:
    """
    Keep *limit*.

    Raises:
        Sentence: There is one of its name.
    """
    for there in await limits_in(store):
        if there.name == limit.name:
            off = "" if there.active else ", disabled"
            rate = "" if limit.decay is None else f" --slot-decay-per-second {limit.decay:g}"
            raise Sentence(
                f"There is a limit {limit.name!r} already: {worded(there)}{off}. Change it with: "
                f"headrace gcl update {quoted(limit.name)} --limit {limit.slots}{rate}"
            )
    await store.limits.define(limit)


# -- in words -------------------------------------------------------------------------------------------------


def quoted(name: str) -> str:
    """Give *name* as it is spoken in a shell."""
    return shlex.quote(name)


def worded(limit: Limit) -> str:
    """Say what *limit* lets through."""
    if limit.decay is None:
        return f"{limit.slots:,} at once"
    return f"{per_second(limit)}, {limit.slots:,} at once after a quiet time"


def per_second(limit: Limit | None) -> str:
    """Say how many slots come free by themselves; "" where none does."""
    return "" if limit is None or limit.decay is None else f"{limit.decay:g} a second"


def caution(limit: Limit) -> str:
    """Say what of *limit* may not be meant; "" where nothing is."""
    if not limit.active:
        return f" It is disabled, so it limits nothing. Enable it: headrace gcl enable {quoted(limit.name)}"
    if not limit.slots:
        return f" Nobody may enter until it is raised: headrace gcl update {quoted(limit.name)} --limit 1"
    return ""


def limit_object(limit: Limit | str, key: str, count: Tally) -> dict[str, Any]:
    """Give a limit as an object of JSON; only its name is known where nobody defined it, or it is that of a *key*."""
    known = None if isinstance(limit, str) else limit
    return {
        "name": limit if isinstance(limit, str) else limit.name,
        "key": key or None,
        "limit": None if known is None else known.slots,
        "in_use": count.in_use,
        "waiting": count.waiting,
        "slot_decay_per_second": None if known is None else known.decay,
        "active": True if known is None else known.active,
    }


# -- commands -------------------------------------------------------------------------------------------------

Row = tuple[str, str, Limit | None, Tally]


@click.command()
@output_option
def ls(output: Output) -> None:
    """List limits: how many slots they have, and how many of them are in use and waited for."""
    nothing, rows = NOTHING, list[Row]()
    try:
        rows = wait_for(listed(store_of_settings()))
    except NothingKept as error:
        nothing = str(error)
    if output == "json":
        show_json([limit_object(limit or name, key, count) for name, key, limit, count in rows])
    elif not rows:
        say(nothing)
    else:
        say(*lines_of(page(), rows))


async def listed(store: Store) -> list[Row]:
    """List the limits, and after each those of keys of which slots are had or waited for."""
    limits = {limit.name: limit for limit in await limits_in(store)}
    claims: dict[tuple[str, str], list[Claim]] = {(name, ""): [] for name in limits}
    try:
        for claim in await store.limits.claims():
            place = split(claim.name)
            if place in claims or not is_gone(claim):
                claims.setdefault(place, []).append(claim)
    except NoDatabaseYet:
        pass
    rows: list[Row] = []
    for (name, key), some in sorted(claims.items()):
        limit = None if key else limits.get(name)
        if key or limit is not None:  # else it was deleted a moment ago
            rows.append((name, key, limit, tally(limit, some)))
    return rows


def lines_of(on: Page, rows: Sequence[Row]) -> list[str]:
    """Give the table of *rows*."""
    cells: list[list[Cell]] = []
    for name, key, limit, count in rows:
        off = limit is not None and not limit.active
        cells.append(
            [
                Cell(plain(name), "cyan"),
                Cell(plain(key)),
                Cell("" if limit is None else f"{limit.slots:,}"),
                Cell("" if count.in_use is None else f"{count.in_use:,}"),
                Cell(waiting_words(count), "yellow" if count.waiting else ""),
                Cell(per_second(limit)),
                Cell("no" if off else "yes", "yellow" if off else ""),
            ]
        )
    titles = ("NAME", "KEY", "LIMIT", "IN USE", "WAITING", "RATE", "ENABLED")
    return table_of_used(on, titles, cells, may_be_empty=("KEY", "RATE"), drop=("RATE", "ENABLED"))


def table_of_used(
    on: Page, titles: Sequence[str], rows: Sequence[Sequence[Cell]], may_be_empty: Sequence[str], drop: Sequence[str]
) -> list[str]:
    """Give the lines of a table, without those of the columns *may_be_empty* in which nothing stands."""
    left = [
        place for place, title in enumerate(titles) if title not in may_be_empty or any(row[place].text for row in rows)
    ]
    names = [titles[place] for place in left]
    cells = [[row[place] for place in left] for row in rows]
    return table(on, names, cells, drop=[title for title in drop if title in names])


def waiting_words(count: Tally) -> str:
    """Say how many slots are waited for."""
    return f"{count.waiting:,}{'+' if count.more else ''}"


@click.command()
@click.argument("name", metavar="NAME")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@output_option
def delete(name: str, yes: bool, output: Output) -> None:
    """Delete a limit. What uses it goes on, and is not limited any more."""
    store = store_of_settings()
    limit, count = wait_for(counted_limit(store, name))
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(
                "Nobody is there to be asked, for stdin is no terminal. Add --yes to delete the limit."
            )
        using = f" {counted(count.in_use, 'slot')} of it are in use." if count.in_use else ""
        if not click.confirm(f"Delete the limit {plain(name)!r}, {worded(limit)}?{using}", err=True):
            click.echo("Nothing was deleted.", err=True)
            raise click.exceptions.Exit(1)
    if not wait_for(store.limits.remove(name)):
        raise no_limit(name, [])
    if output == "json":
        show_json({"name": name, "deleted": True})
    else:
        say(f"Deleted the limit {name!r}. What used it is not limited any more.")


async def counted_limit(store: Store, name: str) -> tuple[Limit, Tally]:
    """
    Give the limit *name*, and what is in use of it.

    Raises:
        Sentence: There is none.
    """
    limit = await found_limit(store, name)
    return limit, tally(limit, await store.limits.claims(name))


def add_shared(group: click.Group, *commands: tuple[click.Command, str]) -> None:
    """Add *commands* to a noun, each with an example of its own noun that ends with the words given."""
    for command, words in commands:
        own = copy.copy(command)
        own.epilog = f"Example: headrace {group.name} {own.name} {words}".rstrip()
        group.add_command(own)
