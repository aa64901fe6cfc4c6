"""Racing: of several runs the first to end wins, and the others are cancelled. For blocking code and for async code."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from typing import Any, Final, Generic, TypeVar, overload

import attrs

from headrace import _runtime
from headrace._engine.context import current_run
from headrace._engine.inputs import bare
from headrace._engine.life import drive
from headrace._engine.promises import Gate, Promise, Promises
from headrace._engine.races import LOST, branch
from headrace._ports import Host
from headrace.errors import OptionError, OptionTypeError, WaitTimeoutError, short
from headrace.futures import FOREVER, Future, first, order_of, seconds
from headrace.tasks import task

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
LEFT: Final = "its race was left"
branch_run = task(name="race", step_key="{turn}", persist_result=False)(branch)


@attrs.frozen
class Winner(Generic[T]):
    """
    What came of a race.

    Attributes:
        index: The place of the winner among those that raced, from 0.
        value: What it gave.
    """

    index: int
    value: T


class Branch(Gate):
    """A coroutine, or another awaitable, that races in a task of its own."""

    __slots__ = ("awaitable", "task", "value")

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        super().__init__()
        self.awaitable = awaitable
        self.task: asyncio.Task[None] | None = None
        self.value: Any = None

    def begin(self, turn: str | None) -> None:
        """Begin; in a durable run as the task run that is known by *turn*."""
        body: Coroutine[Any, Any, None] = self.body() if turn is None else branch_run(turn, self.body)
        self.task = asyncio.get_running_loop().create_task(body)
        self.task.add_done_callback(self.ended)

    async def body(self) -> None:
        """Await it. The value is kept here: a task would look into it for futures and states."""
        self.value = await self.awaitable

    def ended(self, task: asyncio.Task[None]) -> None:
        """Be over; how one ends that has not won is no news for the log."""
        if not task.cancelled():
            task.exception()
        self.close()

    def close(self) -> None:
        """Be over; where it never began, without a warning that it was not awaited."""
        if inspect.iscoroutine(self.awaitable):
            self.awaitable.close()
        self.open()

    def cancel(self) -> None:
        """Cancel it; one that has not begun never does."""
        if self.task is None:
            self.close()
        else:
            self.task.cancel()

    def outcome(self) -> Any:
        """Give what it gave, or raise what it raised."""
        if self.task is not None:
            self.task.result()
        return self.value


Entrant = Promise | Branch


@overload
def race(one: Future[A], other: Future[B], /, *, timeout: float | None = None) -> Winner[A | B]: ...
@overload
def race(*futures: Future[T], timeout: float | None = None) -> Winner[T]: ...


def race(*futures: Any, timeout: float | None = None) -> Winner[Any]:
    """
    Block until one of *futures* has ended, well or not, and the others, cancelled, have, too; give the winner.

    In async code: `await headrace.aio.race(...)`, which takes coroutines as well. Of the others, a sync body hears at
    its next wait or call, and is waited for as long as HEADRACE_CLEANUP_SECONDS says. A race that is left cancels all.

    In a durable flow the winner is recorded: a run that is resumed goes on with the same one, and runs no other again.

    Args:
        timeout: Seconds until all are cancelled, if none has ended; None: never.

    Raises:
        Exception: What the winner raised.
        WaitTimeoutError: None has ended in time.
        OptionTypeError: Something else is among them.
        OptionError: There are none, one is given twice, or *timeout* is negative or no number.
        RunningLoopError: An event loop runs on this thread, which this would block.
    """
    try:
        host = _runtime.thread_host.here("headrace.race", "`await headrace.aio.race(...)`")
        for one in futures:
            if inspect.isawaitable(one) and not isinstance(one, Promise | Promises):
                raise OptionTypeError(
                    f"In blocking code futures race, as `submit` and `map` give them, not {short(one)}. Submit its "
                    f"task, or `await headrace.aio.race(...)` in async code."
                )
        winner: Winner[Any] = drive(raced(host, futures, timeout))
    except BaseException as error:
        close(futures)
        bare(error)
        raise
    return winner


async def raced(host: Host, given: Sequence[Any], timeout: float | None) -> Winner[Any]:
    """Have *given* race, as `race` does, on *host*."""
    try:
        entrants, limit = entered(given), seconds(timeout)
    except BaseException:
        close(given)
        raise
    won = await decided(host, entrants, limit)
    if won is None:
        raise WaitTimeoutError(f"A race of {len(entrants):,}", limit)
    return Winner(entrants.index(won), won.outcome())


async def decided(host: Host, entrants: list[Entrant], limit: float) -> Entrant | None:
    """Find who wins: the one on record, in a run that was resumed, or the first to end; and have the others end."""
    order = order_of("race", len(entrants))
    known: list[int] | None = None if order is None else order.ahead()
    racing = entrants if known is None else [entrants[place] for place in known]
    won: Entrant | None = None
    try:
        if known is not None:
            await end(host, [one for one in entrants if one not in racing], LOST, order)
        for one in racing:
            if isinstance(one, Branch):
                one.begin(None if order is None else f"{order.id} {entrants.index(one)}")
        if racing:
            won = await first(host, racing, limit, order=order) if known is None else await first(host, racing, FOREVER)
    except BaseException:
        await end(host, entrants, LEFT)
        raise
    if known is None:
        if order is not None:
            order.note([] if won is None else [entrants.index(won)])
        await end(host, [one for one in entrants if one is not won], LOST, order)
    return won


async def end(host: Host, losers: Iterable[Entrant], why: str, order: Any = None) -> None:
    """
    Cancel *losers*, for the reason *why*, and wait until they have ended; for futures as long as the setting allows.

    In a run that was resumed, those whose turn has not come end when it does.
    """
    left: list[Entrant] = []
    for one in losers:
        if isinstance(one, Promise):
            one.looked = True  # how it ends is no news for the log
        if not one.opened:
            left.append(one)
    branches = [one for one in left if isinstance(one, Branch)]
    promises = [one for one in left if isinstance(one, Promise)]
    for one in branches:
        one.cancel()
    at_work = None if order is None else order.forgo(promises)
    if at_work is None:
        at_work = promises
        cut_maps(promises, why)
    for promise in at_work:
        if promise.call is not None:
            promise.call.owner.cancel([promise.call], why)
    await host.until(branches, shielded=True)
    await host.until(at_work, _runtime.journal_here().patience, shielded=True)


def cut_maps(promises: Iterable[Promise], why: str) -> None:
    """Give up the calls of maps that have not been made yet, where *promises* are all that would come of them."""
    unmade = {one for one in promises if one.call is None and not one.opened}
    crew = _runtime.crew_of(current_run.get()) if unmade else None
    for source in () if crew is None else list(crew.many):
        if source.total is not None and unmade.issuperset(map(source.made.get, range(source.next, source.total))):
            source.cut(why)


def entered(given: Sequence[Any]) -> list[Entrant]:
    """
    Give what is *given* as it takes part in a race.

    Raises:
        OptionError: That is nothing, or the same thing twice.
        OptionTypeError: Some of it cannot be awaited.
    """
    if not given:
        raise OptionError("A race of nothing has no winner. Give it futures, or in async code coroutines.")
    if len(set(map(id, given))) < len(given):
        raise OptionError("One of those that are to race is given twice. Each can win once.")
    for one in given:
        if isinstance(one, Promises):
            raise OptionTypeError("A map as a whole does not race. Have its runs do so: race(*futures).")
        if not inspect.isawaitable(one):
            raise OptionTypeError(f"Futures race, and in async code coroutines, not {short(one)}.")
    return [one if isinstance(one, Promise) else Branch(one) for one in given]


def close(given: Iterable[Any]) -> None:
    """Close the coroutines among what is *given*: nobody will await them."""
    for one in given:
        if inspect.iscoroutine(one):
            one.close()
