"""
Crashes: a durable flow is run with a store that dies at each of its commits in turn, and goes on from what that holds.

In one process, and in memory: what a crash at any moment leaves behind is what was committed until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

import attrs

from headrace import _runtime
from headrace._engine.life import drive
from headrace._engine.runs import TaskRunning
from headrace._model.events import ROLLED_BACK, RUNNING
from headrace._ports import Batch
from headrace._replaying import inside
from headrace._resuming import claimed, going_on
from headrace._runtime import Runtime
from headrace._stores.memory import MemoryStore
from headrace._stores.rows import FLOW_COLUMNS, TASK_COLUMNS
from headrace.errors import DurableError, OptionTypeError, StoreUnavailable, short
from headrace.settings import Settings

MOST: Final = 100_000
STEP: Final = TASK_COLUMNS.index("step_id")
STATE: Final = TASK_COLUMNS.index("state_type")
NAME: Final = TASK_COLUMNS.index("state_name")
ATTEMPT: Final = TASK_COLUMNS.index("flow_attempt")
RUN_COUNT: Final = FLOW_COLUMNS.index("run_count")
WHEN: Final[tuple[Literal["before", "after"], ...]] = ("before", "after")


class Dead(StoreUnavailable):
    """The store has died, as the process would have."""

    def __init__(self, point: str) -> None:
        super().__init__("memory:", f"it was to die {point}", "")


class CrashFound(AssertionError):
    """A crash changes what a flow comes to."""


@attrs.frozen
class Sweep:
    """
    What a sweep has covered.

    Attributes:
        points: How many crashes there were: before and after each commit.
        steps: How many steps were run, in all runs together.
        again: How many of those were steps whose result a crash had kept from being recorded.
        value: What the flow returns.
    """

    points: int
    steps: int
    again: int
    value: Any


class Mortal(MemoryStore):
    """A store in memory that dies *when* it comes to its *at*-th commit: what is told it from then on is lost."""

    def __init__(self, at: int, when: Literal["before", "after"]) -> None:
        super().__init__()
        self.at = at
        self.when = when
        self.commits = 0
        self.died = False
        self.ran: list[str | None] = []
        self.twice: list[str] = []
        self.undone: set[str | None] = set()

    @property
    def dead(self) -> bool:
        """Whether it has died."""
        return self.commits >= self.at

    async def append(self, batch: Batch) -> None:
        """Keep *batch*, unless the store is dead, or dies before that."""
        place = f"{self.when} commit {self.at}"
        if self.dead:
            raise Dead(place)
        self.commits += 1
        self.undone.update(row[STEP] for row in batch.task_runs if len(row) > STEP and row[NAME] == ROLLED_BACK[1])
        if self.commits < self.at or self.when == "after":
            await super().append(batch)
        if self.commits == self.at:
            raise Dead(place)


def crash_at_every_commit(flow: Any, *args: Any, **kwargs: Any) -> Sweep:
    """
    Run the durable *flow*, crash it before and after each commit in turn, resume it, and compare with the whole run.

    The flow runs some hundred times, in a store of its own in memory; what it does outside of Headrace really happens,
    each time. Compared is what it returns, or the type and text of what it raises.

    Raises:
        CrashFound: After a crash it comes to something else, or a step is run whose result was recorded.
        OptionTypeError: *flow* is no durable flow.
    """
    spec = checked(flow)

    def call() -> Any:
        came = flow(*args, **kwargs)
        return asyncio.run(came) if spec.is_async else came

    whole = Mortal(MOST, "after")
    expected = outcome(whole, call)
    points, steps, again = 0, len(whole.ran), 0
    for at in range(1, MOST):
        died = False
        for when in WHEN:
            store = crashed(flow, call, expected, at, when)
            died = died or store.died
            points += store.died
            steps += len(store.ran)
            again += len(store.ran) - len(set(store.ran))
        if not died:
            break
    return Sweep(points, steps, again, expected[1])


def crashed(
    flow: Any, call: Callable[[], Any], expected: tuple[str, Any], at: int, when: Literal["before", "after"]
) -> Mortal:
    """
    Crash *flow* at one commit, resume it, and compare; give the store, which has not died if there was no such commit.

    Raises:
        CrashFound: It comes to something else, or a step is run whose result was recorded.
    """
    store = Mortal(at, when)
    outcome(store, call)
    store.died = store.dead
    if store.died:
        compare(flow, store, f"{when} commit {at}", after(store, flow, call), expected)
    return store


def checked(flow: Any) -> Any:
    """Give the spec of a durable flow."""
    spec = getattr(flow, "spec", None)
    durable = spec is not None and (spec.options.get("durable") or spec.options.get("durability") == "strict")
    if spec is None or not durable or spec.kind != "flow":
        raise OptionTypeError(f"A durable flow is to be crashed, not {short(flow)}. Say @flow(durable=True).")
    return spec


def compare(flow: Any, store: Mortal, place: str, came: tuple[str, Any], expected: tuple[str, Any]) -> None:
    """See that a flow comes to the same after its crash, and that no recorded step was run again."""
    if came != expected:
        raise CrashFound(f"After a crash {place}, {flow.name!r} comes to {came}, and to {expected} without.")
    if store.twice:
        raise CrashFound(f"After a crash {place}, steps were run whose results were recorded: {store.twice}.")


def after(store: Mortal, flow: Any, call: Callable[[], Any]) -> tuple[str, Any]:
    """Go on from what *store* holds, as another process would; give what that comes to."""
    ended = [row for row in store.tasks.values() if row[STATE] in {"COMPLETED", "FAILED"}]
    recorded = {row[STEP]: row for row in ended if store.results.look(row[0]) is not None}
    before = len(store.ran)
    store.at = MOST
    left = drive(store.owners.listed())
    if not left:
        runs = [run for run in drive(store.flow_runs()) if run.parent_id is None]
        # It had ended before the crash, which only its caller did not hear; or it had never begun.
        came = recorded_outcome(store, runs[0]) if runs else outcome(store, call)
        return came
    run_id = left[0].run_id
    with used(store) as journal:

        def resumed() -> Any:
            found, past, args, kwargs = drive(claimed(_runtime.thread_host, journal, run_id, lambda _run: flow))

            def go_on() -> Any:
                came = found(*args, **kwargs)
                return asyncio.run(came) if found.spec.is_async else came

            return going_on(past, go_on)

        came = tried(resumed)
    again = [recorded[step] for step in store.ran[before:] if step in recorded and step not in store.undone]
    store.twice = sorted(row[STEP] for row in again if row[STATE] == "COMPLETED" or not retried(store, row))
    return came


def retried(store: Mortal, row: Sequence[Any]) -> bool:
    """Tell whether the flow run of a failed step has had another attempt since, which runs it again."""
    flow = store.flows.get(row[1])
    return flow is not None and (row[ATTEMPT] or 1) < (flow[RUN_COUNT] or 1)


def recorded_outcome(store: Mortal, run: Any) -> tuple[str, Any]:
    """Give what a run that has ended came to, from the record."""
    with used(store) as journal:
        value = journal.ledger.vault.unpack(store.results.kept[run.id])
    return ("raises", told(value)) if run.state.is_failed() else ("returns", value)


def outcome(store: Mortal, call: Callable[[], Any]) -> tuple[str, Any]:
    """Give what *call* comes to, with runs recorded in *store*."""
    with used(store):
        return tried(call)


def tried(call: Callable[[], Any]) -> tuple[str, Any]:
    """Give what *call* returns or raises."""
    try:
        return "returns", call()
    except DurableError:
        raise
    except Exception as error:
        return "raises", told(error)


def told(error: BaseException) -> str:
    """Say what an exception is."""
    return f"{type(error).__name__}: {error}"


@contextmanager
def used(store: Mortal) -> Generator[Any]:
    """Have runs recorded in *store*, by a runtime of its own."""
    settings = attrs.evolve(Settings.read(), database_url="memory:", progress=False)
    runtime = Runtime(settings, store)
    tell = runtime.journal.tell

    def counted(event: Any) -> None:
        if event[1] is RUNNING and isinstance(event[0], TaskRunning):
            store.ran.append(event[0].step_id)
        tell(event)

    runtime.journal.tell = counted  # type: ignore[method-assign]
    with inside(runtime) as journal:
        yield journal
