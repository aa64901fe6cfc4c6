"""The noun `concurrency-limit`: the limits of `gcl` under the name that those of tags have elsewhere; and `reset`."""

from __future__ import annotations

import click

from headrace._model.slots import Limit
from headrace._ports import Store
from headrace.cli.limit_inspect import inspect, inspected
from headrace.cli.limit_values import name_given, slots_given
from headrace.cli.limits import add_shared, create_limit, delete, ls
from headrace.cli.output import Output, output_option, say, show_json
from headrace.cli.reading import store_of_settings, wait_for
from headrace.cli.wording import counted


@click.group(name="concurrency-limit", epilog="Example: headrace concurrency-limit ls")
def concurrency_limit() -> None:
    """
    Limits, by the names of tags: at most so many task runs with a tag at once.

    They are those of headrace gcl, which can also change them: a limit is one for tags and for headrace.concurrency.
    """


# So that -1 is taken for a number, and refused as one.
@concurrency_limit.command(
    epilog="Example: headrace concurrency-limit create api 5", context_settings={"ignore_unknown_options": True}
)
@click.argument("name", metavar="NAME", callback=name_given)
@click.argument("slots", metavar="N", callback=slots_given)
@output_option
def create(name: str, slots: int, output: Output) -> None:
    """Create a limit of N slots; the database too, where there is none yet. With 0 nobody may enter."""
    create_limit(Limit(name, slots), output)


@concurrency_limit.command(epilog="Example: headrace concurrency-limit reset api")
@click.argument("name", metavar="NAME")
@output_option
def reset(name: str, output: Output) -> None:
    """
    Take back all slots of a limit and of its keys.

    For slots of a process that cannot be seen to have ended, as it ran on another machine. One that goes on takes those
    that it uses anew within a second, unless others were faster.
    """
    count = wait_for(taken_back(store_of_settings(), name))
    if output == "json":
        show_json({"name": name, "taken_back": count})
    elif count:
        say(f"Took back {counted(count, 'slot')} of the limit {name!r}.")
    else:
        say(f"No slot of the limit {name!r} was taken.")


async def taken_back(store: Store, name: str) -> int:
    """
    Take back all slots of the limit *name* and of its keys; give how many of its own there were, or else of its keys.

    Raises:
        Sentence: There is none.
    """
    limit, claims = await inspected(store, name)
    taken = {one: await store.limits.reset(one) for one in dict.fromkeys(claim.name for claim in claims)}
    return sum(taken.values()) if limit is None else taken.get(name, 0)


add_shared(concurrency_limit, (ls, ""), (inspect, "api"), (delete, "api --yes"))
