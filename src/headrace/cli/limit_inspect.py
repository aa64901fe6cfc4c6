"""The command `inspect` of a limit: which processes have slots of it, who holds some, and who waits, for how long."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

import click

from headrace._model.columns import plain
from headrace._model.ids import short_id
from headrace._model.slots import Claim, Limit
from headrace._ports import Store
from headrace.cli.limits import limit_object, limits_in, no_limit, per_second, quoted, table_of_used, waiting_words
from headrace.cli.output import Cell, Output, Page, facts, output_option, page, say, show_json
from headrace.cli.reading import store_of_settings, wait_for
from headrace.cli.slots import (
    Party,
    each_once,
    is_gone,
    parties,
    party_object,
    process_words,
    split,
    tally,
)
from headrace.cli.wording import duration
from headrace.errors import NoDatabaseYet

OUTSIDE: Final = "code outside of runs"
DEAD: Final = "Slots of a dead process go to who asks next."


@click.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--limit",
    "most",
    type=click.IntRange(min=1),
    metavar="N",
    default=20,
    show_default=True,
    help="So many at most who hold slots, and who wait; the longest first. JSON has all that are named.",
)
@output_option
def inspect(name: str, most: int, output: Output) -> None:
    """
    Show a limit: what is in use, which processes have slots, who holds some and who waits, and for how long.

    A process names at most 100 who hold slots and 100 who wait.
    """
    store = store_of_settings()
    limit, claims = wait_for(inspected(store, name))
    if output == "json":
        show_json(whole_object(name, limit, claims))
        return
    on, now = page(), time.time_ns()
    say(*facts(on, described(name, limit, claims, store.where)))
    if claims:
        say("", *process_lines(on, limit, claims))
    people = each_once(parties(claims))
    if people:
        say("", *people_lines(on, people, most, now))
    if any(map(is_gone, claims)):
        say("", on.paint(f"{DEAD} Take them back now: headrace concurrency-limit reset {quoted(plain(name))}", "dim"))


async def inspected(store: Store, name: str) -> tuple[Limit | None, list[Claim]]:
    """
    Read the limit *name*, None where only keys of it are limited, and what processes have and want of it and its keys.

    Raises:
        Sentence: There is none.
    """
    limits = await limits_in(store)
    limit = next((one for one in limits if one.name == name), None)
    try:
        claims = [claim for claim in await store.limits.claims() if split(claim.name)[0] == name]
    except NoDatabaseYet:
        claims = []
    if limit is None and not any(split(claim.name)[1] for claim in claims):
        raise no_limit(name, [one.name for one in limits])
    return limit, claims


def own_claims(claims: Sequence[Claim]) -> list[Claim]:
    """Give those of *claims* that are on the limit itself, not on one of a key."""
    return [claim for claim in claims if not split(claim.name)[1]]


def described(name: str, limit: Limit | None, claims: Sequence[Claim], where: str) -> list[tuple[str, str]]:
    """Give what is to be said of the limit itself."""
    if limit is None:
        return [("Limit", name), ("Slots", "not defined; only keys of it are limited"), ("Kept in", where)]
    count = tally(limit, own_claims(claims))
    after = ", at once after a quiet time" if limit.decay is not None else ""
    enable = f"no, so it limits nothing. Enable it: headrace gcl enable {quoted(name)}"
    return [
        ("Limit", name),
        ("Slots", f"{limit.slots:,}{after}" if limit.slots or not limit.active else "0: nobody may enter"),
        ("Rate", per_second(limit)),
        ("In use", "" if count.in_use is None else f"{count.in_use:,}"),
        ("Waiting", waiting_words(count)),
        ("Enabled", "yes" if limit.active else enable),
        ("Kept in", where),
    ]


def wanted_of(limit: Limit | None, claim: Claim) -> int:
    """Give the slots that a process has a use for; of a rate it would have all."""
    rate = limit is not None and limit.decay is not None and not split(claim.name)[1]
    return min(claim.wanted, limit.slots) if rate and limit is not None else claim.wanted


def process_lines(on: Page, limit: Limit | None, claims: Sequence[Claim]) -> list[str]:
    """Give the table of the processes."""
    rows: list[list[Cell]] = []
    for claim in claims:
        dead = is_gone(claim)
        rows.append(
            [
                Cell(process_words(claim.owner) + (" (dead)" if dead else ""), "red" if dead else ""),
                Cell(plain(split(claim.name)[1])),
                Cell(f"{claim.held:,}"),
                Cell(f"{claim.used:,}"),
                Cell(f"{wanted_of(limit, claim):,}"),
            ]
        )
    return table_of_used(on, ("PROCESS", "KEY", "HELD", "USED", "WANTED"), rows, may_be_empty=("KEY",), drop=())


def people_lines(on: Page, people: Sequence[Party], most: int, now: int) -> list[str]:
    """Give the table of at most so many who hold slots, and who wait; the longest first."""
    held, waits = [one for one in people if not one.waits], [one for one in people if one.waits]
    rows: list[list[Cell]] = []
    for one in [*held[:most], *waits[:most]]:
        rows.append(
            [
                Cell("waits" if one.waits else "holds", "yellow" if one.waits else "green"),
                Cell(short_id(one.run_id) if one.run_id else OUTSIDE, "cyan" if one.run_id else ""),
                Cell(plain(one.key)),
                Cell(f"{one.slots:,}"),
                Cell(duration(max(0, now - one.since) / 1e9)),
                Cell(process_words(one.owner)),
            ]
        )
    titles = ("", "RUN", "KEY", "SLOTS", "FOR", "PROCESS")
    lines = table_of_used(on, titles, rows, may_be_empty=("KEY",), drop=("PROCESS",))
    if max(len(held), len(waits)) > most:
        lines += ["", on.paint("There are more; --limit says how many are shown.", "dim")]
    return lines


def whole_object(name: str, limit: Limit | None, claims: Sequence[Claim]) -> dict[str, Any]:
    """Give the limit and all that is known of its use as an object of JSON."""
    people = each_once(parties(claims))
    return {
        **limit_object(limit or name, "", tally(limit, own_claims(claims))),
        "processes": [
            {
                "owner": claim.owner,
                "process_ended": is_gone(claim),
                "key": split(claim.name)[1] or None,
                "held": claim.held,
                "used": claim.used,
                "wanted": wanted_of(limit, claim),
            }
            for claim in claims
        ],
        "holders": [party_object(one) for one in people if not one.waits],
        "waiters": [party_object(one) for one in people if one.waits],
    }
