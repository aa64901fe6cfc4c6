"""Calls: a run with those it called, read from the store; of a large one, the part that says most. Draws nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias, TypeVar

import attrs

from headrace._model.ids import prefix_of
from headrace._model.records import FlowRun, TaskRun
from headrace._model.states import TERMINAL, StateType
from headrace._ports import Store
from headrace.cli.reading import is_dead
from headrace.cli.wording import counted

LIMIT: Final = 100
DEPTH: Final = 12  # a line of 40 columns has no room for more
OPENED: Final = 40  # flow runs whose own calls are read: each costs two queries, 5 ms
UNFINISHED: Final = tuple(kind.value for kind in StateType if kind not in TERMINAL)
UNSUCCESSFUL: Final = ("FAILED", "CRASHED", "CANCELLED")

AnyRun: TypeAlias = FlowRun | TaskRun
R = TypeVar("R", FlowRun, TaskRun)


@attrs.define
class Call:
    """
    A run and what it called, in order of time.

    Attributes:
        left_out: What of that is not among *calls*, in words.
        dead: The process that ran it ended without a word.
    """

    run: AnyRun
    calls: list[Call] = attrs.Factory(list["Call"])
    left_out: str = ""
    dead: bool = False

    def all(self) -> list[Call]:
        """Give this call and all below it."""
        found: list[Call] = []
        waiting: list[Call] = [self]
        while waiting:
            call = waiting.pop()
            found.append(call)
            waiting += call.calls
        return found


async def calls_of(store: Store, root: AnyRun, limit: int = LIMIT) -> Call:
    """
    Read the calls below *root*.

    Args:
        limit: Calls of one flow run that are shown; of more, the first, the unfinished, the unsuccessful and the
            slowest.
    """
    top = Call(root, dead=isinstance(root, FlowRun) and is_dead(root))
    opened, level = 0, [top]
    for _ in range(DEPTH):
        below: list[Call] = []
        for place, call in enumerate(level):
            if opened == OPENED:
                for unread in level[place:]:
                    unread.left_out = "its calls are not read; inspect it by its id"
                return top
            opened += 1
            below += await open_call(store, call, limit)
        level = below
        if not level:
            return top
    for call in level:
        call.left_out = "its calls are deeper than is shown; inspect it by its id"
    return top


async def open_call(store: Store, call: Call, limit: int) -> list[Call]:
    """Read the task runs and subflow runs under *call*'s own run into it; give those that have calls of their own."""
    run = call.run
    counts = await store.task_counts(prefix_of(run.id))
    if isinstance(run, FlowRun):
        tasks = await tasks_of(store, run, counts, limit)
        left = sum(counts.values()) - len(tasks)
    else:
        tasks, left = await tasks_within(store, run, sum(counts.values()), limit)
    known = {run.id: call, **{task.id: Call(task, dead=call.dead and not task.state.is_final()) for task in tasks}}
    for task in tasks:
        above = known.get(task.parent_task_run_id or run.id, call)
        above.calls.append(known[task.id])
    subflows = await store.children(list(known))
    shown = telling(subflows, limit)
    opened = [Call(flow, dead=is_dead(flow)) for flow in shown]
    for below in opened:
        known[getattr(below.run, "parent_id", None) or run.id].calls.append(below)
    for one in known.values():
        one.calls.sort(key=began)
    call.left_out = rest(left, counts if isinstance(run, FlowRun) else {}, len(subflows) - len(shown))
    return opened


async def tasks_of(store: Store, run: FlowRun, counts: dict[str, int], limit: int) -> list[TaskRun]:
    """Read the task runs of *run*: all, or those of a large run that say most, with the tasks that called them."""
    prefix = prefix_of(run.id)
    if sum(counts.values()) <= limit:
        return await store.task_runs(prefix)
    chosen = await store.task_runs(prefix, limit=max(1, limit // 4))
    chosen += await store.task_runs(prefix, limit=max(1, limit // 4), slowest=True)
    for kind in (*UNFINISHED, *UNSUCCESSFUL):
        if kind in counts:
            chosen += await store.task_runs(prefix, limit=max(1, limit // 4), state=kind)
    known = {task.id: task for task in chosen}
    # Enough of them, and in a large run most often none: a task is seldom called by a task.
    wanted = {task.parent_task_run_id for task in chosen} - {None, *known}
    while wanted:
        above = [task for one in wanted if one for task in await store.task_runs(one, limit=1)]
        known |= {task.id: task for task in above}
        wanted = {task.parent_task_run_id for task in above} - {None, *known}
    return [known[one] for one in sorted(known)]


async def tasks_within(store: Store, run: TaskRun, among: int, limit: int) -> tuple[list[TaskRun], int]:
    """Read the task runs that the body of the task run *run* called; give them with the number of those not shown."""
    if among > limit * 100:
        return [], 0
    inside = {run.id}
    found: list[TaskRun] = []
    for task in await store.task_runs(prefix_of(run.id)):
        if task.parent_task_run_id in inside:
            inside.add(task.id)
            found.append(task)
    return found[:limit], len(found[limit:])


def began(call: Call) -> tuple[bool, float, str]:
    """Give the place of *call* among its neighbours: by its start, those that wait for theirs last."""
    start = call.run.start_time
    return start is None, 0.0 if start is None else start.timestamp(), call.run.id


def telling(runs: Sequence[R], limit: int) -> list[R]:
    """Give all of *runs*, or of more than *limit* the first, the unfinished, the unsuccessful and the slowest."""
    if len(runs) <= limit:
        return list(runs)
    quarter = max(1, limit // 4)
    unfinished = [run for run in runs if not run.state.is_final()]
    unsuccessful = [run for run in runs if run.state.type.value in UNSUCCESSFUL]
    slowest = sorted(runs, key=lambda run: -(run.total_run_time or 0.0))
    chosen = {run.id for some in (runs, unfinished, unsuccessful, slowest) for run in some[:quarter]}
    return [run for run in runs if run.id in chosen]


def rest(tasks: int, counts: dict[str, int], subflows: int) -> str:
    """Say how much is not shown."""
    said: list[str] = []
    if tasks:
        states = ", ".join(f"{number:,} {kind.lower()}" for kind, number in sorted_counts(counts))
        of = f" (of all {sum(counts.values()):,}: {states})" if counts else ""
        said.append(f"{counted(tasks, 'more task run')}{of}")
    if subflows:
        said.append(counted(subflows, "more subflow run"))
    return " and ".join(said)


def sorted_counts(counts: dict[str, int]) -> Iterable[tuple[str, int]]:
    """Give *counts*, the largest first."""
    return sorted(counts.items(), key=lambda pair: -pair[1])
