"""
Limits, for users: at most so many at once, or so many a second, in all processes that share a database.

`concurrency` and `rate_limit` of this module work with both `with` and `async with`; `headrace.concurrency.sync` and
`.asyncio` have them under the names and in the form that people know from Prefect.
"""

from __future__ import annotations

import math
from collections.abc import Coroutine, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from types import TracebackType
from typing import Any, Final, Literal

import attrs

from headrace import _runtime
from headrace._engine.admission import Holding, Wanted, awaited, had, holding, see_defined
from headrace._engine.context import current_run
from headrace._engine.life import drive
from headrace._engine.promises import Gate
from headrace._model.limits import KEY, checked_limit, checked_names
from headrace._model.slots import Limit as Known
from headrace._ports import Host, Store
from headrace.errors import (
    LimitError,
    LimitNotFound,
    LimitTooSmall,
    NotARate,
    OptionError,
    OptionTypeError,
    SlotTimeout,
    short,
)

__all__ = [
    "Limit",
    "LimitError",
    "LimitNotFound",
    "LimitTooSmall",
    "NotARate",
    "SlotTimeout",
    "concurrency",
    "rate_limit",
]

NOTHING: Final = nullcontext()


class Slots:
    """
    Slots of limits, taken by a block: `with` waits in this thread, `async with` suspends this task.

    Args:
        names: The limits; all of them are taken, or none.
        occupy: How many slots of each, from 1.
        timeout_seconds: How long to wait for them at most; None: as long as it takes.
        max_retries: 0: take what is free now, or fail at once. Else it is waited for, and nobody counts how often.
        lease_duration: Taken, and not used: a lease lasts 15 s, and is renewed as long as the process lives.
        strict: Whether a limit that does not exist is an error. Else it is said once, and limits nothing.
        key: Who this is for. Those of different keys are served in turns, however many of one wait.
        limit_per_key: How many slots all of one key may have at once, in all processes.
        priority: Who has a higher one is served first, in this process.
        while_waiting: "hold", or "release": give the slots back while the block waits for futures and for runs that it
            called elsewhere, and take them again before it goes on.

    Raises:
        OptionError, OptionTypeError: One of them cannot be.
    """

    __slots__ = ("entered", "gives_way", "key", "names", "occupy", "per_key", "priority", "seconds", "strict")
    spends = False

    def __init__(
        self,
        names: str | Iterable[str],
        occupy: int = 1,
        timeout_seconds: float | None = None,
        max_retries: int | None = None,
        lease_duration: float | None = None,
        strict: bool = False,
        *,
        key: object = None,
        limit_per_key: int | None = None,
        priority: int = 0,
        while_waiting: Literal["hold", "release"] = "hold",
    ) -> None:
        what = type(self).__name__
        if max_retries is not None and checked_count(what, "max_retries", max_retries, least=0) == 0:
            timeout_seconds = 0
        checked_seconds(what, lease_duration, "lease_duration")
        self.names = checked_names(what, names)
        self.occupy = checked_count(what, "occupy", occupy)
        self.seconds = checked_seconds(what, timeout_seconds)
        self.strict = strict
        self.key = "" if key is None else str(key)
        if limit_per_key is not None:
            limit_per_key = checked_count(what, "limit_per_key", limit_per_key)
            if key is None:
                raise OptionError(f"limit_per_key of {what} needs a key: say for whom, with key=...")
            if limit_per_key < self.occupy:
                raise LimitTooSmall(f"{self.names[0]} of {self.key}", limit_per_key, self.occupy)
        if type(priority) is not int:
            raise OptionTypeError(f"priority of {what} must be a whole number, not {short(priority)}.")
        if while_waiting not in ("hold", "release"):
            raise OptionError(f'while_waiting of {what} must be "hold" or "release", not {short(while_waiting)}.')
        self.per_key = limit_per_key
        self.priority = priority
        self.gives_way = while_waiting == "release"
        self.entered: tuple[Holding, ...] = ()

    def wanted(self) -> Wanted:
        """Give the limits of which the code on this stack has no slots yet, and those of the key."""
        names = self.names
        if not self.spends and holding.get() is not None:
            names = tuple([name for name in names if not had(name, self.occupy)])
        known = plain(names)
        if self.per_key is None:
            return known
        return [*known, *[(f"{name}{KEY}{self.key}", self.per_key) for name in names]]

    async def enter(self, host: Host) -> Any:
        """Take the slots; gives this."""
        wanted = self.wanted()
        if not wanted:
            self.entered += (Holding(self, None, None),)
            return self
        desk = _runtime.journal_here().limits
        if desk is None:
            raise LimitError(
                f"{type(self).__name__}({short(self.names)}) was used in a worker process, which has no database. Give "
                f"the task the tag of that name: then the slot is taken before it is handed to a worker."
            )
        held = desk.take(wanted, self.occupy, current_run.get(), self.priority, self.key)
        if isinstance(held, Gate):
            with shown(held, self.names):
                held = await awaited(desk, host, held, wanted, self.seconds)
        try:
            see_defined(held, desk.said, strict=self.strict)
            self.check(held)
        except BaseException:
            desk.give_back(held)
            raise
        if self.spends:
            desk.spent(held)
            return self
        self.entered += (Holding(self, desk, held, wanted, self.occupy, self.priority, self.key, self.gives_way),)
        return self

    def check(self, held: Any) -> None:
        """See that the limits are of the right kind."""

    def leave(self) -> None:
        """Give the slots back."""
        if self.spends or not self.entered:
            return
        one = holding.get()
        if one is None or one.owner is not self or one not in self.entered:
            one = self.entered[-1]  # it is closed in another context than it was entered in
        self.entered = tuple([other for other in self.entered if other is not one])
        one.end()

    def __enter__(self) -> Any:
        return drive(self.enter(_runtime.thread_host))

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.leave()

    def __aenter__(self) -> Coroutine[Any, Any, Any]:
        return self.enter(_runtime.host_for(True))

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.leave()


class concurrency(Slots):
    """Slots that are given back at the end of the block. What it takes is said by `Slots`."""

    __slots__ = ()


class rate_limit(Slots):
    """Slots of a rate, which come free by themselves: entering waits for one's turn, and leaving does nothing."""

    __slots__ = ()
    spends = True

    def __init__(
        self,
        names: str | Iterable[str],
        occupy: int = 1,
        timeout_seconds: float | None = None,
        strict: bool = False,
        *,
        key: object = None,
        priority: int = 0,
    ) -> None:
        super().__init__(names, occupy, timeout_seconds, strict=strict, key=key, priority=priority)

    def check(self, held: Any) -> None:
        """See that the limits are rates."""
        for counter in held.counters:
            limit = counter.limit
            if limit is not None and limit.active and limit.decay is None and counter.size is None:
                raise NotARate(counter.name)


@attrs.frozen
class Limit:
    """
    A limit, declared in code: `Limit("api", slots=5).ensure()`.

    Args:
        name: What it is called, by `concurrency`, by tags and by the command line.
        slots: How many there are, from 0; of a rate, how many may come at once after a quiet time.
        slot_decay_per_second: How many come free a second by themselves: that makes it a rate.
        active: Whether it limits anything just now.
    """

    name: str
    slots: int
    slot_decay_per_second: float | None = None
    active: bool = True

    def __attrs_post_init__(self) -> None:
        checked_limit(self.name, self.slots, self.slot_decay_per_second)

    def ensure(self) -> Limit:
        """Have it be there as it is declared here; blocks for some milliseconds."""
        drive(self._ensured(_runtime.thread_host))
        return self

    async def aensure(self) -> Limit:
        """Have it be there as it is declared here."""
        await self._ensured(_runtime.host_for(True))
        return self

    async def _ensured(self, host: Host) -> None:
        known = Known(self.name, self.slots, self.slot_decay_per_second, self.active)
        journal = _runtime.journal_here()
        desk = journal.limits

        async def kept(store: Store) -> None:
            await store.limits.define(known)
            if desk is not None:
                await desk.learn(store)
                await desk.settle(store)  # what is had here obeys it from now on

        await host.with_store(journal, kept)


@lru_cache(256)
def plain(names: tuple[str, ...]) -> Wanted:
    """Give what to ask for: the limits *names*, of whatever size they are. The same for all who wait for them."""
    return tuple([(name, None) for name in names])


def shown(waiter: Any, names: Iterable[str]) -> AbstractContextManager[None]:
    """Have a span show the wait for slots, where the run that waits is traced; not the first look for a limit."""
    run = current_run.get()
    if run is None or run.span is None or not waiter.known:
        return NOTHING
    from headrace._telemetry.waits import pending  # noqa: PLC0415 - for those who trace

    return pending(names)


# -- what was given -------------------------------------------------------------------------------------------


def checked_count(what: str, option: str, count: Any, least: int = 1) -> int:
    """Give a *count* from *least*."""
    if type(count) is not int:
        raise OptionTypeError(f"{option} of {what} must be a whole number, not {short(count)}.")
    if count < least:
        raise OptionError(f"{option} of {what} must be {least} or more, not {count}.")
    return count


def checked_seconds(what: str, seconds: Any, option: str = "timeout_seconds") -> float:
    """Give so many *seconds*; infinitely many for None."""
    if seconds is None:
        return math.inf
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise OptionTypeError(f"{option} of {what} must be a number of seconds, not {short(seconds)}.")
    if not seconds >= 0:
        raise OptionError(f"{option} of {what} must be 0 or more, not {seconds:g}.")
    return float(seconds)
