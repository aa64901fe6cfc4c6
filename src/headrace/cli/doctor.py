"""The noun `doctor`: where runs are kept, what that costs here, and what to do where something is wrong."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import aiofiles.tempfile
import attrs
import click

from headrace import __version__
from headrace._model.urls import shown
from headrace._ports import Store
from headrace._runtime import TRACING, open_store
from headrace.cli.output import Output, facts, output_option, page, say, show_json
from headrace.cli.reading import is_dead, wait_for
from headrace.cli.wording import counted
from headrace.errors import HeadraceError, NoDatabaseYet
from headrace.settings import Settings

SLOW_FSYNC: Final = 0.02
SLOW_LOOP: Final = 0.02
SMALL_DISK: Final = 200e6
ROUNDS: Final = 21
UNFINISHED: Final = 1_000
PACKAGES: Final = ("anyio", "aiosqlite", "attrs", "click", "opentelemetry-sdk", "orjson")
NETWORK: Final = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph"}


@attrs.define
class Findings:
    """
    What the doctor found.

    Attributes:
        facts: Names and values to be shown, in order.
        advice: Sentences; each says what is wrong and what to do.
        unusable: Runs cannot be recorded.
    """

    facts: dict[str, str | int | float] = attrs.Factory(dict[str, "str | int | float"])
    advice: list[str] = attrs.Factory(list[str])
    unusable: bool = False


@click.command(epilog="Example: headrace doctor --output json")
@output_option
def doctor(output: Output) -> None:
    """
    Check where runs are kept, and how fast.

    Measures how long the disk takes to make data safe (fsync) and how late an event loop wakes up. Writes nothing but
    a small file beside the database, which it removes. Ends with 1 if runs cannot be recorded.
    """
    found = Findings()
    settings = Settings.read()
    store = open_store(settings)
    found.facts["home"] = str(settings.home)
    found.facts["database url"] = shown(settings.database_url)
    if store.where == "memory:":
        found.advice.append(
            "Runs are kept in memory and lost with their process. Unset HEADRACE_DATABASE_URL to keep them."
        )
    else:
        wait_for(look_into(store, found))
        if "://" not in store.where:
            look_around(Path(store.where), found)
    found.facts["loop lag, median ms"], found.facts["loop lag, worst ms"] = wait_for(loop_lag(asyncio.sleep))
    if float(found.facts["loop lag, median ms"]) > SLOW_LOOP * 1e3:
        found.advice.append(
            "The event loop wakes up late: this machine has more to do than it can. Expect late timeouts."
        )
    look_at_tracing(found)
    found.facts |= {"headrace": __version__, "python": platform.python_version(), "system": platform.platform()}
    found.facts |= {name: importlib.metadata.version(name) for name in PACKAGES}
    if output == "json":
        show_json({"facts": found.facts, "advice": found.advice})
    else:
        pairs = [(name, f"{value:,}" if isinstance(value, int) else str(value)) for name, value in found.facts.items()]
        say(*facts(page(), pairs), "", *(found.advice or ["Nothing is wrong."]))
    if found.unusable:
        raise click.exceptions.Exit(1)


async def look_into(store: Store, found: Findings) -> None:
    """Ask the store about itself, and count the runs whose process ended without a word."""
    try:
        for name, value in (await store.facts()).items():
            digits = value.replace(",", "")
            found.facts[name] = int(digits) if digits.isdigit() else value
        running = await store.flow_runs(state="RUNNING", limit=UNFINISHED)
    except NoDatabaseYet as error:
        found.facts["database"] = f"{store.where} ({error.reason})"
        return
    except HeadraceError as error:
        found.advice.append(str(error))
        found.unusable = True
        return
    if found.facts.get("journal mode", "wal") != "wal":
        found.advice.append(
            f"The journal mode is {found.facts['journal mode']}, so readers and writers stop each other. Headrace sets "
            "WAL when it opens a database; SQLite refuses that where the file system cannot share memory."
        )
    dead = sum(is_dead(run) for run in running)
    found.facts["running"], found.facts["of them dead"] = len(running) - dead, dead
    if dead:
        found.advice.append(
            f"{counted(dead, 'flow run')} cannot end: the process ended without a word. "
            "See which: headrace flow-run ls --state running"
        )


def look_around(database: Path, found: Findings) -> None:
    """Measure the disk that *database* lies on, or is to lie on."""
    folder = database.parent
    # os.path, not folder.exists(): that raises where we may not look.
    while not os.path.exists(folder) and folder != folder.parent:
        folder = folder.parent
    kind = file_system(folder)
    if kind in NETWORK:
        found.advice.append(
            f"The database lies on a network file system ({kind}), where SQLite's WAL is not safe between machines. "
            "Set HEADRACE_HOME to a folder on a local disk."
        )
    free = shutil.disk_usage(folder).free
    found.facts["free on disk"] = f"{free / 1e9:.1f} GB"
    if free < SMALL_DISK:
        found.advice.append(
            f"Only {free / 1e6:.0f} MB are free where the database lies. Free some, or delete old runs."
        )
    try:
        cost = wait_for(fsync_cost(str(folder)))
    except OSError as error:
        found.unusable = True
        found.advice.append(f"{folder} cannot be written: {error.strerror}. Set HEADRACE_HOME to a folder that can be.")
        return
    found.facts["fsync, median ms"] = round(cost * 1e3, 3)
    if cost > SLOW_FSYNC:
        found.advice.append(
            f"Making data safe takes {cost * 1e3:.0f} ms on this disk, and each task of a durable flow waits that "
            "long. Keep the database on a local SSD, or use durable flows only where a result must survive."
        )


async def fsync_cost(folder: str) -> float:
    """
    Measure, in a file in *folder* that is gone afterwards, the seconds that 4 kB take to be safe.

    Through aiofiles, as an async program writes files: the hop to its thread and back is part of the price.
    """
    taken: list[float] = []
    async with aiofiles.tempfile.TemporaryFile("wb", dir=folder) as file:
        for _ in range(ROUNDS):
            await file.write(b"\0" * 4096)
            await file.flush()
            begin = time.perf_counter()
            await asyncio.to_thread(os.fsync, file.fileno())
            taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


async def loop_lag(sleep: Callable[[float], Awaitable[None]]) -> tuple[float, float]:
    """Measure how many milliseconds late *sleep* comes back: the median and the worst."""
    late: list[float] = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        await sleep(0.005)
        late.append((time.perf_counter() - begin - 0.005) * 1e3)
    return round(max(0.0, statistics.median(late)), 3), round(max(0.0, *late), 3)


def file_system(folder: Path) -> str:
    """Give the kind of file system that *folder* is on; "" where the system does not say."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    whole = folder.resolve()
    kinds = {Path(fields[1]): fields[2] for fields in (line.split() for line in mounts)}
    above = [place for place in (whole, *whole.parents) if place in kinds]
    return kinds[above[0]] if above else ""


def look_at_tracing(found: Findings) -> None:
    """Say where spans go, and whether what sends them is there."""
    endpoint = next((os.environ[name] for name in TRACING if os.environ.get(name)), "")
    found.facts["spans go to"] = shown(endpoint) if endpoint else "nobody (OTEL_EXPORTER_OTLP_ENDPOINT is not set)"
    if not endpoint:
        return
    try:
        there = importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http")
    except ModuleNotFoundError:
        there = None
    if there is None:
        found.advice.append('Spans cannot be sent: the exporter is not installed. Run: pip install "headrace[otlp]"')
