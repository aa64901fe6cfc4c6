"""The noun `gcl`, also `global-concurrency-limit`: create, update, enable and disable; the rest is in `limits`."""

from __future__ import annotations

import attrs
import click

from headrace._model.slots import Limit
from headrace._ports import Store
from headrace.cli.limit_inspect import inspect
from headrace.cli.limit_values import decay_given, name_given, slots_given
from headrace.cli.limits import (
    add_shared,
    caution,
    counted_limit,
    create_limit,
    delete,
    limit_object,
    ls,
    worded,
)
from headrace.cli.output import Output, output_option, say, show_json
from headrace.cli.reading import store_of_settings, wait_for
from headrace.cli.slots import Tally

SAY_WHAT = "Say what is to change: --limit N, --slot-decay-per-second X, or both."


@click.group(epilog="Example: headrace gcl ls")
def gcl() -> None:
    """
    Limits: at most so many at once, or so many a second, in all processes that share the database.

    Code takes slots of them with headrace.concurrency, task runs by a tag of a limit's name. Processes that go on hear
    of a change within a second.
    """


@gcl.command(epilog="Example: headrace gcl create api --limit 5")
@click.argument("name", metavar="NAME", callback=name_given)
@click.option(
    "--limit",
    "slots",
    metavar="N",
    required=True,
    callback=slots_given,
    help="So many slots; of a rate, so many at once after a quiet time. With 0 nobody may enter.",
)
@click.option(
    "--slot-decay-per-second",
    "decay",
    metavar="X",
    callback=decay_given,
    help="So many slots come free a second by themselves: that makes it a rate. 0: none.",
)
@click.option("--disable", is_flag=True, help="Have it limit nothing until it is enabled.")
@output_option
def create(name: str, slots: int, decay: float | None, disable: bool, output: Output) -> None:
    """Create a limit; the database too, where there is none yet."""
    create_limit(Limit(name, slots, decay or None, active=not disable), output)


@gcl.command(epilog="Example: headrace gcl update api --limit 10")
@click.argument("name", metavar="NAME")
@click.option("--limit", "slots", metavar="N", callback=slots_given, help="So many slots from now on.")
@click.option(
    "--slot-decay-per-second",
    "decay",
    metavar="X",
    callback=decay_given,
    help="So many slots come free a second by themselves from now on; 0 makes it no rate.",
)
@output_option
def update(name: str, slots: int | None, decay: float | None, output: Output) -> None:
    """Change how many slots a limit has, or how many come free a second. Who holds slots goes on."""
    if slots is None and decay is None:
        raise click.UsageError(SAY_WHAT)
    before, limit, count = wait_for(changed(store_of_settings(), name, slots, decay, None))
    if output == "json":
        show_json(limit_object(limit, "", count))
    else:
        say(f"The limit {name!r} lets in {worded(limit)}; before, {worded(before)}.{caution(limit)}")


@gcl.command(epilog="Example: headrace gcl enable api")
@click.argument("name", metavar="NAME")
@output_option
def enable(name: str, output: Output) -> None:
    """Have a limit that was disabled limit again."""
    switched(name, True, output)


@gcl.command(epilog="Example: headrace gcl disable api")
@click.argument("name", metavar="NAME")
@output_option
def disable(name: str, output: Output) -> None:
    """Have a limit stay, and limit nothing until it is enabled. Who waits for it may enter."""
    switched(name, False, output)


def switched(name: str, active: bool, output: Output) -> None:
    """Have the limit *name* limit, or not."""
    before, limit, count = wait_for(changed(store_of_settings(), name, None, None, active))
    if output == "json":
        show_json(limit_object(limit, "", count))
        return
    done = "enabled" if active else "disabled"
    already = " already" if before.active == active else " now"
    say(f"The limit {name!r}, {worded(limit)}, is {done}{already}.{caution(limit) if active else ''}")


async def changed(
    store: Store, name: str, slots: int | None, decay: float | None, active: bool | None
) -> tuple[Limit, Limit, Tally]:
    """
    Change of the limit *name* what is given; give it as it was and as it is, and what is in use of it.

    Raises:
        Sentence: There is none.
    """
    before, count = await counted_limit(store, name)
    limit = attrs.evolve(
        before,
        slots=before.slots if slots is None else slots,
        decay=before.decay if decay is None else decay or None,
        active=before.active if active is None else active,
    )
    if limit != before:
        await store.limits.define(limit)
    if (limit.decay is None) != (before.decay is None):
        count = count._replace(in_use=None if limit.decay is not None else 0)
    return before, limit, count


add_shared(gcl, (ls, ""), (inspect, "api"), (delete, "api --yes"))
