"""
Admission: slots of limits are taken before a body or a block, and given back after it.

Which slots there are is the desk's to know, which the journal names; waiting for them is the host's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, Final

import attrs

from headrace._engine import lines
from headrace._engine.calls import call_of
from headrace._engine.context import current_run
from headrace._engine.promises import Gate
from headrace._engine.runs import Run
from headrace._engine.spec import Spec
from headrace._engine.steps import Body, compose
from headrace._model.annotations import watch
from headrace._model.events import PENDING, RUNNING
from headrace._ports import Host
from headrace.errors import LimitNotFound, LimitTooSmall, RunningLoopError, SlotTimeout

Wanted = Sequence[tuple[str, int | None]]
REFRESHED: Final = 2_000_000_000  # nanoseconds for which the names of limits are taken to be all


@attrs.define(eq=False)
class Holding:
    """
    Slots that the code on this stack has.

    Attributes:
        owner: The block that took them; None where a tag did.
        desk, held: Who handed them out, and what; None while they are given back, or where none were needed.
        wanted, occupy, priority, key: What was asked for.
        gives_way: Whether they are given back while the code waits for other runs.
        call: The submitted call that has them: what it submits in turn has none of them.
        above: What it had before.
    """

    owner: Any
    desk: Any
    held: Any
    wanted: Wanted = ()
    occupy: int = 1
    priority: int = 0
    key: str = ""
    gives_way: bool = False
    call: Any = attrs.field(init=False)
    above: Holding | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.call = call_of(current_run.get())
        self.above = holding.get()
        holding.set(self)

    def end(self) -> None:
        """Give the slots back."""
        if holding.get() is self:
            holding.set(self.above)
        held, self.held = self.held, None
        if held is not None:
            self.desk.give_back(held)


holding: Final[ContextVar[Holding | None]] = ContextVar("headrace_slots", default=None)


def had(name: str, occupy: int) -> bool:
    """Tell whether the code on this stack has so many slots of the limit *name*: then it needs no others."""
    one = holding.get()
    here = None if one is None else call_of(current_run.get())
    while one is not None:
        if one.held is not None and one.occupy >= occupy and one.call is here and name in dict(one.wanted):
            return True
        one = one.above
    return False


def stood_aside() -> list[Holding]:
    """Give back the slots of the code on this stack that are to be given back while it waits; give whose they were."""
    one = holding.get()
    found: list[Holding] = []
    here = None if one is None else call_of(current_run.get())
    while one is not None:
        if one.gives_way and one.held is not None and one.call is here:
            held, one.held = one.held, None
            one.desk.give_back(held)
            found.append(one)
        one = one.above
    return found


async def come_back(host: Host, ones: Sequence[Holding]) -> None:
    """Take again what was given back during a wait; waits for it."""
    for one in reversed(ones):
        if one.held is None:
            one.held = await taken(one.desk, host, one.wanted, one.occupy, priority=one.priority, key=one.key)


async def taken(
    desk: Any, host: Host, wanted: Wanted, occupy: int, *, seconds: float = math.inf, priority: int = 0, key: str = ""
) -> Any:
    """
    Take *occupy* slots of all limits *wanted*, or none of any; wait for them for so many *seconds*.

    Raises:
        SlotTimeout: They did not come free in time.
        LimitTooSmall: A limit has fewer.
        RunningLoopError: This thread is a loop's, which must not be blocked.
        StoreUnavailable: Nobody knows who has how many.
    """
    got = desk.take(wanted, occupy, current_run.get(), priority, key)
    return await awaited(desk, host, got, wanted, seconds) if isinstance(got, Gate) else got


async def awaited(desk: Any, host: Host, waiter: Any, wanted: Wanted, seconds: float, *, doubted: bool = False) -> Any:
    """Wait for slots that were not free, as *waiter*; raises what `taken` does."""
    deadline = waiter.at + seconds * 1e9
    try:
        while not waiter.opened:
            bell = waiter.bell  # before the look: one that rings in between is not missed
            pause = desk.look(waiter)
            left = math.inf if deadline == math.inf else (deadline - desk.ticks()) / 1e9
            if waiter.opened:
                break
            if left <= 0 or not host.may_wait():
                await host.with_store(desk, desk.settle)  # what is free is had; that takes a moment
                if waiter.opened:
                    break
                if left <= 0:
                    raise SlotTimeout(named(wanted), seconds)
                raise RunningLoopError(f"Code that waits for a slot of {named(wanted)}", "the async form, `async with`")
            await host.until([bell], min(pause, left))
        if waiter.error is not None:
            raise waiter.error
        return waiter.held
    except LimitTooSmall:
        if doubted:
            raise
    except BaseException:
        desk.withdraw(waiter)
        raise
    finally:
        if desk.waited is not None:
            desk.waited([name for name, _ in wanted], (desk.ticks() - waiter.at) / 1e9)
    # Another process may have made the limit larger, of which this one has not heard yet.
    await host.with_store(desk, desk.settle)
    got = desk.take(wanted, waiter.occupy, waiter.who, waiter.priority, waiter.key)
    return await awaited(desk, host, got, wanted, seconds, doubted=True) if isinstance(got, Gate) else got


def named(wanted: Wanted) -> str:
    """Name the limits *wanted*; beside what is wanted of a key stands the limit itself."""
    return ", ".join([repr(name) for name, size in wanted if size is None])


def undefined(held: Any) -> list[str]:
    """Give the names of the limits of which slots were taken that nobody has defined."""
    return [counter.name for counter in held.counters if counter.limit is None]


def see_defined(held: Any, said: set[str], *, strict: bool) -> None:
    """
    Say, once for each, which limits of which slots were taken do not exist.

    Raises:
        LimitNotFound: *strict*, and one does not.
    """
    for counter in held.counters:
        if counter.limit is None:
            break
    else:
        return
    keyed = any(counter.size is not None for counter in held.counters)
    for name in undefined(held):
        if strict:
            raise LimitNotFound(name)
        if name not in said:
            said.add(name)
            effect = "only each of its keys" if keyed else "nothing"
            sentence = str(LimitNotFound(name)).replace(". Create", f", so {effect} is limited. Create")
            run = current_run.get()
            if run is None:
                lines.ENGINE.warning("%s", sentence)
            else:
                lines.warn(run, "%s", sentence)


# -- tags -----------------------------------------------------------------------------------------------------


def limiting(host: Host, body: Body) -> Body:
    """Have slots of the limits that a task run's tags name, around each attempt."""

    async def limited(run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        has = await slots_of_tags(run, host)
        if has is None:
            return await body(run, args, kwargs)
        try:
            return await body(run, args, kwargs)
        finally:
            has.end()

    return limited


async def slots_of_tags(run: Run, host: Host) -> Holding | None:
    """Take slots of the limits that the tags of *run* name; None where there are none to take."""
    desk = run.scope.journal.limits
    if desk is None:
        return None
    if desk.learned_at is None:
        await host.with_store(run.scope.journal, desk.learn)
    elif desk.ticks() - desk.learned_at > REFRESHED:
        desk.relearn()
    wanted = [(tag, None) for tag in sorted(run.tags & desk.names) if not had(tag, 1)]
    return Holding(None, desk, await admitted(run, desk, host, wanted), wanted) if wanted else None


async def admitted(run: Run, desk: Any, host: Host, wanted: Wanted) -> Any:
    """Take a slot of each limit; where that takes a while, the run is recorded as Pending until then."""
    tell, now = run.scope.tell, host.clock.now
    waits = desk.would_wait([name for name, _ in wanted])
    if waits:
        tell((run, PENDING, now(), f"Waits for a slot of the limit {named(wanted)}"))
    held = await taken(desk, host, wanted, 1)
    if waits:
        tell((run, RUNNING, now(), None))
    return held


def bodies(spec: Spec, host: Host, innermost: Body) -> tuple[Body, Callable[[Run], Body]]:
    """Give the body that *spec* asks for, and what gives the one that a run needs: made once one needs more."""
    made: dict[tuple[bool, bool], Body] = {}

    def body_of(*, tagged: bool, keeps: bool) -> Body:
        found = made.get((tagged, keeps))
        if found is None:
            found = compose(spec, host, limiting(host, innermost) if tagged else innermost)
            found = made[tagged, keeps] = host.keeping(spec, found) if keeps else found
        return found

    def other(run: Run) -> Body:
        keeps = bool(spec.asks or run.scope.keeps or watch.works)
        return body_of(tagged=bool(run.tags) and spec.kind == "task", keeps=keeps)

    return body_of(tagged=False, keeps=spec.asks), other
