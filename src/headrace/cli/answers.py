"""
Answers: what people resume a paused flow run with, given as options or asked for on a terminal, and what came of it.

What fits is told by the schema in the run's record, and once more by the run itself. Loads none of its code.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import click

from headrace._model.columns import plain
from headrace._model.ids import short_id
from headrace._model.pauses import Pause
from headrace._model.records import FlowRun, instant
from headrace._model.schemas import Schema, misfits, worded
from headrace._model.signals import Signal, as_data
from headrace._ports import Store
from headrace.cli import Sentence
from headrace.cli.beside import vault_of_settings
from headrace.cli.signal import read
from headrace.cli.wording import clock
from headrace.errors import InvalidRunInput
from headrace.flow_runs import answer, pause_of, waiting

HEARD = 5.0  # seconds in which it is seen whether the run takes an answer; in a file, a process looks twice a second
WAKES = 2.0  # and in which an unloaded run is taken up, if a process is there for it
PAUSE = 0.05


class Given(NamedTuple):
    """What was said of the input: its fields, each as NAME=VALUE, or all of it, as JSON."""

    fields: Sequence[str]
    whole: str | None

    def __bool__(self) -> bool:
        return bool(self.fields) or self.whole is not None


class StaysPaused(Sentence):
    """A run that was not resumed, with what it waits for."""

    exit_code = 2

    def __init__(self, run: FlowRun, pause: Pause, why: str = "") -> None:
        said = f"{why} " if why else ""
        names = " ".join(f"-p {name}=..." for name in pause.form) or "--params JSON"
        step = f"headrace flow-run resume {short_id(run.id)}{'' if pause.schema is None else f' {names}'}"
        super().__init__(f"{said}Flow run {run.name!r} waits {pause.wanted}. Resume it: {step}")


async def pause_in(store: Store, run: FlowRun) -> Pause | None:
    """Give what *run* waits for; None where it is not paused."""
    return await pause_of(store, run, vault_of_settings().unpack)


def input_for(run: FlowRun, pause: Pause, given: Given) -> Any:
    """
    Give the input for *run*, as plain data: as *given*, or asked for on a terminal.

    Raises:
        InvalidRunInput: It does not fit.
        StaysPaused: An input is wanted, none was given, and nobody is there to be asked.
        UsageError: What was given cannot be read.
    """
    value: Any = {} if pause.form else None
    if given.whole is not None:
        if given.fields:
            raise click.UsageError("Give the fields of the input by -p, or all of it by --params.")
        value = read(given.whole)
    elif given.fields:
        value = dict(field(pause, said) for said in given.fields)
    elif pause.schema is not None and sys.stdin.isatty():
        value = asked_for(pause, pause.schema)
    elif pause.problems(value):
        raise StaysPaused(run, pause)
    problems = pause.problems(value)
    if problems and given.fields and not pause.form and pause.schema is not None:
        problems = [(where, why if where else f"{why} {as_one(pause.schema, given.fields)}") for where, why in problems]
    if problems:
        raise InvalidRunInput(run.id, problems)
    return value


def as_one(schema: Schema, fields: Sequence[str]) -> str:
    """Say how what was given as *fields* is given where it is to be one value."""
    value = meant(schema, fields[0].partition("=")[2], schema)
    fits = len(fields) == 1 and not misfits(schema, value)
    return f"Give it by --params {shlex.quote(json.dumps(value, ensure_ascii=False)) if fits else 'JSON'}."


def field(pause: Pause, said: str) -> tuple[str, Any]:
    """Give the name and value of a field that was *said* as NAME=VALUE."""
    name, sign, text = said.partition("=")
    if not sign:
        raise click.BadParameter(f"{said!r} is not NAME=VALUE.", param_hint="-p")
    return name, meant(pause.form.get(name, {}), text, pause.schema or {})


def meant(schema: Schema, text: str, whole: Schema) -> Any:
    """Give the value that is meant by *text*: what it is as JSON, if that fits, or the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if misfits(schema, value, whole) and not misfits(schema, text, whole) else value


def asked_for(pause: Pause, schema: Schema) -> Any:
    """Ask for the input on the terminal, field by field, each until it fits."""
    for line in (schema.get("description"), pause.refused and f"The last input did not fit: {pause.refused}"):
        if line:
            click.echo(plain(line), err=True)
    if not pause.form:
        return prompted("input", schema, schema, required=True)
    required = schema.get("required", ())
    asked = {name: prompted(name, one, schema, required=name in required) for name, one in pause.form.items()}
    return {name: value for name, value in asked.items() if value is not LEFT_OUT}


LEFT_OUT = object()


def prompted(name: str, schema: Schema, whole: Schema, *, required: bool) -> Any:
    """Ask for the field *name*; LEFT_OUT where it is not *required* and nothing is said."""
    usual = "" if required else json.dumps(schema["default"], ensure_ascii=False) if "default" in schema else "left out"
    about = f": {schema['description']}" if "description" in schema else ""

    def judged(text: str) -> Any:
        if not required and text in {"", usual}:
            return LEFT_OUT
        value = meant(schema, text, whole)
        for where, why in misfits(schema, value, whole):
            raise click.UsageError(plain(f"{where}: {why}" if where else why))
        return value

    label = plain(f"{name} ({worded(schema, whole)}){about}")
    return click.prompt(label, default=usual or None, value_proc=judged, err=True)


async def sent(store: Store, run: FlowRun, pause: Pause, value: Any) -> None:
    """
    Answer the *pause* of *run* with *value*.

    Raises:
        NotPausedError: It is not paused any more, or somebody was faster.
    """
    unpack = vault_of_settings().unpack
    await waiting(store, run.id, unpack, time.time_ns())
    data = as_data("run_input", value)
    await answer(store, Signal(run.id, pause.place, data, datetime.now(UTC), pause.place), unpack)


async def suspended(store: Store, run: FlowRun) -> bool:
    """Tell whether *run* is unloaded, and no process has taken it up."""
    owned = await store.owners.one(run.id)
    return owned is not None and owned.suspended


async def heard(store: Store, run: FlowRun, pause: Pause) -> bool:
    """
    Tell whether *run* has taken the answer to its *pause*, within some seconds.

    Raises:
        StaysPaused: It has, and the answer does not fit.
    """
    deadline = time.monotonic() + (WAKES if await suspended(store, run) else HEARD)
    while True:
        now = await pause_in(store, run)
        if now is None or now.place != pause.place:
            if now is not None and now.refused:
                raise StaysPaused(run, now, f"The input does not fit: {now.refused}.")
            return True
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(PAUSE)


def pause_facts(pause: Pause | None) -> list[tuple[str, str]]:
    """Say what a run waits for."""
    if pause is None:
        return []
    time = "" if pause.until is None else f", until {clock(instant(pause.until), datetime.now(UTC))}"
    refused = [("Refused", plain(pause.refused))] if pause.refused else []
    return [("Waits", plain(f"{pause.wanted}{time}")), *refused]


def pause_object(pause: Pause | None) -> dict[str, Any] | None:
    """Give what a run waits for as an object of JSON."""
    if pause is None:
        return None
    until = None if pause.until is None else instant(pause.until)
    return {"schema": pause.schema, "until": until, "refused": pause.refused or None}
