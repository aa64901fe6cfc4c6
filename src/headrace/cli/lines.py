"""Log lines as they stood on the console. Reads names; keeps to the console's own form."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime

from headrace._model.columns import plain
from headrace._model.ids import prefix_of
from headrace._model.records import FlowRun, LogLine, TaskRun
from headrace._ports import Store
from headrace._telemetry.logs import ConsoleFormatter
from headrace.cli.output import Page

INDENT = "    "
ONE_BY_ONE = 20  # a query takes 2 ms, all task runs of a flow run 0.04 ms each


async def names_of(store: Store, run: FlowRun | TaskRun, lines: Sequence[LogLine]) -> dict[str, str]:
    """Give the names of the runs that said *lines*, by their ids; *run* is one of them, or what called them."""
    wanted = {line.run_id for line in lines} - {run.id}
    if len(wanted) > ONE_BY_ONE:
        tasks = await store.task_runs(prefix_of(run.id))
    else:
        tasks = [task for one in sorted(wanted) for task in await store.task_runs(one, limit=1)]
    # A line may be there before its run's own row: then its id is the name there is.
    return {one: one for one in wanted} | {task.id: task.name for task in tasks} | {run.id: run.name}


def line_texts(on: Page, lines: Sequence[LogLine], names: dict[str, str], *, flow: str = "") -> list[str]:
    """Give *lines* in the form of the console, with the date where it is not today's."""
    form = ConsoleFormatter(on.colour)
    today = datetime.now().astimezone().date()
    texts: list[str] = []
    for line in lines:
        kind = "Flow" if line.logger.endswith("flow_runs") else "Task"
        moment = line.at.astimezone()
        record = logging.makeLogRecord(
            {
                "created": line.at.timestamp(),
                "msecs": line.at.microsecond // 1000,
                "levelno": line.level,
                "levelname": logging.getLevelName(line.level),
                "name": line.logger,
                "msg": shown(line.message),
                "run_label": f"{kind} run {names[line.run_id]!r}",
            }
        )
        date = "" if moment.date() == today else f"{moment:%Y-%m-%d} "
        texts.append(date + form.format(record))
    return texts


def shown(message: str) -> str:
    """Give *message* without signs that do something to a terminal; its further lines indented, unlike a record's."""
    first, *others = message.split("\n")
    return "\n".join([kept(first), *(INDENT + kept(line) for line in others)])


def kept(line: str) -> str:
    """Give *line* with all signs but tabs that cannot be seen escaped."""
    return "\t".join(plain(piece) for piece in line.split("\t"))
