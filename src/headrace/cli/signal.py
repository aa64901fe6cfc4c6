"""The command `flow-run signal`: sends something to a flow run in progress. And what a run has not read, to show."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import click

from headrace._model.columns import plain
from headrace._model.ids import prefix_of
from headrace._model.records import FlowRun
from headrace._model.signals import Signal, as_data, named
from headrace._ports import Store
from headrace.cli.output import Output, output_option, say, show_json
from headrace.cli.reading import find_flow_run, store_of_settings, wait_for
from headrace.errors.signals import NotReceiving


@click.command(epilog="Example: headrace flow-run signal 3f2a9c1e approve true")
@click.argument("run_id", metavar="ID")
@click.argument("name", metavar="NAME")
@click.argument("value", metavar="[JSON]", default="null")
@click.option("--key", metavar="KEY", help="Of several that are sent to a run under one key, the first counts.")
@output_option
def signal(run_id: str, name: str, value: str, key: str | None, output: Output) -> None:
    """
    Send a signal to a flow run, which reads it by that name.

    JSON is what comes with it, null by default; a text has quotes: '"yes"'. It is kept until the run reads it or ends.
    """
    given = None if key is None else named(key, "The key of a signal")
    sent = Signal("", named(name), as_data(name, read(value)), datetime.now(UTC), given)
    run, new = wait_for(send(store_of_settings(), run_id, sent))
    if output == "json":
        show_json({"id": run.id, "name": name, "new": new})
    elif new:
        say(f"Sent {plain(name)!r} to flow run {plain(run.name)!r}.")
    else:
        say(f"Something was sent to flow run {plain(run.name)!r} under the key {plain(key)!r} before; that counts.")


def read(value: str) -> Any:
    """
    Give what the JSON *value* says.

    Raises:
        BadParameter: It is none.
    """
    try:
        return json.loads(value)
    except ValueError as error:
        hint = f"A text is written with quotes: {json.dumps(value, ensure_ascii=False)}"
        raise click.BadParameter(f"{value!r} is no JSON: {error}. {hint}", param_hint="JSON") from None


async def send(store: Store, asked: str, sent: Signal) -> tuple[FlowRun, bool]:
    """
    Send a signal to the run that begins with *asked*; give that, and whether the signal is a new one.

    Raises:
        NotReceiving: The run has ended.
    """
    run = await find_flow_run(store, asked)
    new = await store.signals.send(attrs.evolve(sent, run_id=run.id))
    if new is None:
        run = await find_flow_run(store, run.id)
        raise NotReceiving(sent.name, run.id, run.name, run.state)
    return run, bool(new)


def signal_facts(unread: Sequence[Signal]) -> list[tuple[str, str]]:
    """Say what a run has not read yet: "approve, go (2)"."""
    found = Counter("its resuming" if one.name.startswith(prefix_of(one.run_id)) else one.name for one in unread)
    said = [plain(name) if count == 1 else f"{plain(name)} ({count:,})" for name, count in found.items()]
    return [("Not read", ", ".join(said))] if said else []


def signal_object(one: Signal) -> dict[str, Any]:
    """Give *one* as an object of JSON."""
    return {"name": one.name, "value": one.value, "key": one.key, "asked": one.asked, "sent": one.at}
