"""Kept results: found by their keys and their runs, and said in words. Reads records, never what lies beside them."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Sequence
from itertools import takewhile
from typing import Final

from headrace._model.columns import plain, shortened, width
from headrace._model.ids import FIRST, prefix_of, short_id
from headrace._model.records import FlowRun, StoredResult, TaskRun
from headrace._ports import Store
from headrace.cli import Sentence
from headrace.cli.output import Page
from headrace.cli.reading import NUMBERED, SHOWN, find_task_run, has_expired, spelled
from headrace.cli.wording import weighed
from headrace.errors import HeadraceError, short

DIGEST: Final = re.compile("[0-9a-f]{32}")
SHORT_KEY: Final = 12  # of a digest: of a million, hardly two begin alike
LONGEST_KEY: Final = 24
LONGEST_SAID: Final = 200
LONGEST_PLACE: Final = 30
ALL: Final = 1 << 62


async def find_result(store: Store, asked: str) -> StoredResult:
    """
    Give the result, with its bytes, whose key is or begins with *asked*, or the one that the run *asked* kept.

    Raises:
        Sentence: There is none, or there are several.
    """
    found = (await store.results.recall([asked])).get(asked)
    if found is not None:
        return found
    begins = asked.strip().removesuffix("…").removesuffix("...")
    key, listed = await key_of_run(store, begins), list[StoredResult]()
    for spelling in dict.fromkeys([begins, begins.lower(), spelled(begins)] if begins else []):
        if not listed:
            listed = await store.results.listed(begins=spelling, limit=SHOWN)
            key = key or await only_one(store, listed, spelling)
    if key is None and len(listed) > 1:
        keys = ", ".join(f"{shown_key(one, longest=LONGEST_SAID)} ({one.task_name})" for one in listed)
        more = " and more" if len(listed) == SHOWN else ""
        raise Sentence(f"Several results have keys that begin with {short(asked, 80)}: {keys}{more}. Give more of it.")
    found = (await store.results.recall([key])).get(key) if key else None
    if found is None:
        step = "List them: headrace cache ls --all"
        there = await store.results.listed(limit=1)
        raise Sentence(
            f"No result has a key that begins with {short(asked, 80)}. {step if there else 'Nothing is kept at all.'}"
        )
    return found


async def only_one(store: Store, listed: Sequence[StoredResult], begins: str) -> str | None:
    """
    Give the key that is meant by the beginning that *listed*, and perhaps more, share: None where that is not sure.

    Of the results that one run and those in it kept for themselves, the run's own is meant.
    """
    if len(listed) <= 1:
        return listed[0].key if listed else None
    prefix = prefix_of(listed[0].key)
    if not prefix.startswith(begins) or await store.results.total(begins=begins) != await store.results.total(
        begins=prefix
    ):
        return None
    own = prefix + FIRST
    return own if await store.results.recall([own]) else None


async def key_of_run(store: Store, asked: str) -> str | None:
    """Give the key under which the task run *asked*, such as 3f2a9c1e.00c, has its result; None where there is none."""
    if not NUMBERED.fullmatch(spelled(asked)):
        return None
    try:
        return (await find_task_run(store, asked)).result_key
    except HeadraceError:
        return None


async def kept_of(store: Store, run: FlowRun | TaskRun) -> StoredResult | None:
    """Read what is kept under the key of *run*; None where nothing is."""
    key = run.result_key
    return None if key is None else (await store.results.recall([key])).get(key)


async def lying_beside(store: Store, run: FlowRun) -> list[StoredResult]:
    """List the results that go when *run* is deleted and whose bytes lie beside the store."""
    if not await store.results.listed(limit=1):
        return []
    found: list[StoredResult] = []
    flows = [run.id]
    while flows:
        tasks: list[str] = []
        for prefix in map(prefix_of, flows):
            found += [one for one in await store.results.listed(begins=prefix, limit=ALL) if one.name is not None]
            tasks += [task.id for task in await store.task_runs(prefix)]
        flows = [below.id for below in await store.children([*flows, *tasks])]
    return found


def result_words(run: FlowRun | TaskRun, kept: StoredResult | None) -> str:
    """Say what became of the result of *run*, where *kept* is what lies under its key; "" for one that has none."""
    if not run.state.is_completed():
        return ""
    if run.result_key is None:
        return "not kept"
    if kept is None:
        return "not there any more: cleared from the cache, or never written"
    if kept.run_id != (getattr(run, "cached_from", None) or run.id):
        anew = f" by {short_id(kept.run_id)}" if kept.run_id else ""
        return f"not there any more: computed anew{anew}: {command_for(kept)}"
    expired = ", expired" if has_expired(kept, time.time_ns()) else ""
    return f"{kept.codec}, {weighed(kept.size)}, {lies_in(kept)}{expired}: {command_for(kept)}"


def lies_in(one: StoredResult) -> str:
    """Say where the bytes of *one* are."""
    return "in the database" if one.storage is None else f"in {plain(one.storage)}"


def shown_key(one: StoredResult, more: str = "…", longest: int = LONGEST_KEY) -> str:
    """
    Give the key of *one* as it is shown, and understood again by `find_result`.

    Of a run's id and of a digest the beginning; another key ends where it is too long, or does something to a terminal.
    """
    if one.key == one.run_id:
        return short_id(one.key)
    if DIGEST.fullmatch(one.key):
        return one.key[:SHORT_KEY]
    sound = "".join(takewhile(str.isprintable, one.key))
    if sound == one.key and width(sound) <= longest:
        return sound
    return f"{shortened(sound, longest - len(more))}{more}" if sound else plain(one.key)


def command_for(one: StoredResult) -> str:
    """Give the command that shows *one*."""
    key = shlex.quote(shown_key(one, more=""))
    return f"headrace cache inspect {key}"


def shown_place(on: Page, one: StoredResult) -> str:
    """Give where the bytes of *one* are as it stands in a table: of a long path, its end."""
    if one.storage is None:
        return "database"
    place, home = plain(one.storage), os.path.expanduser("~")
    if place.startswith(f"{home}{os.sep}"):
        place = f"~{place[len(home) :]}"
    return place if width(place) <= LONGEST_PLACE else f"{on.signs.more}{place[len(on.signs.more) - LONGEST_PLACE :]}"
