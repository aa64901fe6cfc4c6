"""Reading: the way from a command to the store, by ids and their beginnings. Writes nothing."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection, Coroutine
from typing import Any, Final, TypeVar

from headrace import _owners
from headrace._model.ids import FIRST, PREFIX_LENGTH, prefix_of, run_id, short_id
from headrace._model.records import FlowRun, Owned, StoredResult, TaskRun
from headrace._ports import Store
from headrace._runtime import open_store
from headrace.errors import AmbiguousRunId, NothingKept, RunNotFound
from headrace.settings import Settings

T = TypeVar("T")
SHOWN: Final = 5
LAST: Final = "last"
ANY: Final = "List them: headrace flow-run ls"
NONE: Final = "There is none at all; run a flow first."
ID: Final = re.compile(r"[0-9a-f-]+")
NUMBERED: Final = re.compile(r"(last|[0-9a-f-]+)\.([0-9a-f]{1,12})")
UNDASHED: Final = re.compile(r"([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})")


def store_of_settings() -> Store:
    """
    Give the store that the environment names; opens nothing.

    Raises:
        NothingKept: It is one in memory.
        SettingError: The environment says something that cannot be.
    """
    store = open_store(Settings.read())
    if store.where == "memory:":
        raise NothingKept
    return store


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* to its end."""
    # asyncio.run, not anyio.run: it leaves Ctrl-C to Python's own handling and there is nothing else to gain here.
    return asyncio.run(work)


def spelled(asked: str) -> str:
    """Give what was asked for as ids are written: in small letters, with dashes."""
    asked = asked.strip().lower()
    whole = UNDASHED.fullmatch(asked)
    return "-".join(whole.groups()) if whole else asked


async def find_flow_run(store: Store, asked: str) -> FlowRun:
    """
    Give the flow run whose id begins with *asked*; for the word "last" the newest, without those called by others.

    Raises:
        RunNotFound: There is none.
        AmbiguousRunId: There are several.
    """
    begins = spelled(asked)
    if begins == LAST:
        found = await newest(store)
    else:
        found = await store.flow_runs(begins=begins, limit=SHOWN) if ID.fullmatch(begins) else []
    if len(found) > 1:
        raise AmbiguousRunId("flow", asked, [f"{short_id(run.id)} ({run.name})" for run in found])
    if found:
        return found[0]
    task = NUMBERED.fullmatch(begins) or (ID.fullmatch(begins) and await store.task_runs(begins, limit=1))
    if task:
        raise RunNotFound("flow", asked, f"A task run's id may: headrace task-run inspect {asked}")
    raise RunNotFound("flow", asked, NONE if begins == LAST else ANY)


async def newest(store: Store) -> list[FlowRun]:
    """Give the outermost of the flow runs that called the newest one; an empty list where there is none."""
    found = await store.flow_runs(limit=1)
    above = found
    while above and above[0].parent_id is not None:
        found = above
        above = await store.flow_runs(begins=prefix_of(above[0].parent_id), limit=1)
    return above or found


async def find_task_run(store: Store, asked: str) -> TaskRun:
    """
    Give the task run whose id is or begins with *asked*, or that is number N of the flow run X where *asked* is "X.N".

    "last.N" is one of the newest flow run, as `find_flow_run` finds it.

    Raises:
        RunNotFound: There is none.
        AmbiguousRunId: There are several.
    """
    begins = spelled(asked)
    numbered = NUMBERED.fullmatch(begins)
    if numbered:
        above, number = numbered.groups()
        begins = run_id(await shared_prefix(store, above, asked), int(number, 16))
    found = await store.task_runs(begins, limit=SHOWN) if ID.fullmatch(begins) else []
    if not found:
        raise RunNotFound("task", asked, "See those of a flow run: headrace flow-run inspect ID")
    # A task called outside a flow and the tasks within it have ids alike; the one that was asked for is the first.
    alone = found[0].id.endswith(FIRST) and {prefix_of(run.id) for run in found} == {prefix_of(found[0].id)}
    if len(found) > 1 and not (alone and len(begins) <= PREFIX_LENGTH):
        raise AmbiguousRunId("task", asked, [f"{short_id(run.id)} ({run.name})" for run in found])
    return found[0]


async def shared_prefix(store: Store, above: str, asked: str) -> str:
    """Give the part of their ids that task runs share with the one flow run, or outermost task run, that is *above*."""
    flows = await newest(store) if above == LAST else await store.flow_runs(begins=above, limit=SHOWN)
    names = {prefix_of(run.id): f"{short_id(run.id)} ({run.name})" for run in flows}
    if not names and above != LAST:
        names = {
            prefix_of(run.id): f"{short_id(run.id)} ({run.name})" for run in await store.task_runs(above, limit=SHOWN)
        }
    if not names:
        raise RunNotFound("flow", above, NONE if above == LAST else ANY)
    if len(names) > 1:
        raise AmbiguousRunId("flow", asked, names.values())
    return next(iter(names))


def is_dead(run: FlowRun) -> bool:
    """
    Tell whether *run* is said to go on although the process that ran it is proved to have ended.

    Proved on the machine on which it ran only, by its boot and the process's number and start; elsewhere nobody knows.
    """
    return run.end_time is None and run.owner is not None and _owners.gone(run.owner)


def is_suspended(run: FlowRun) -> bool:
    """Tell whether no process has *run*, or had it when it ended: it waited in the store alone."""
    return run.owner == ""


async def left_behind(store: Store) -> list[Owned]:
    """List the durable runs that can go on: their processes have ended, or were silent for longer than their leases."""
    owned = await store.owners.listed()
    leases = await store.owners.leases(_owners.PROCESS) if owned else {}
    now = time.time_ns()
    return [one for one in owned if _owners.dead(one.owner, leases, one.since, now)]


async def resumable(store: Store, runs: Collection[FlowRun]) -> set[str]:
    """Give the ids of those of *runs* that can go on."""
    if all(run.durability != "strict" or (run.state.is_final() and not run.state.is_crashed()) for run in runs):
        return set()
    waiting = {run.id for run in runs if is_suspended(run) and run.parent_id is None and not run.state.is_final()}
    return waiting | {one.run_id for one in await left_behind(store)}


def is_cached(one: StoredResult) -> bool:
    """Tell whether other runs may find *one*: it is not kept for one run alone, nor for what that has drawn or got."""
    return not (one.run_id and one.key.startswith(prefix_of(one.run_id)))


def has_expired(one: StoredResult, now: int) -> bool:
    """Tell whether *one* counts as gone, *now* in nanoseconds since 1970."""
    return one.expires is not None and one.expires <= now
