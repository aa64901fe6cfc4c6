"""What both hosts do for root runs alike: the clock, the journal, chance, and an eye on SIGTERM. Waits for nothing."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, cast

from headrace._engine.context import current_run
from headrace._engine.journal import Journal
from headrace._engine.runs import Run
from headrace._engine.spec import Spec
from headrace._hosts.clock import wall
from headrace._hosts.signals import terminations
from headrace._ports import Clock
from headrace.errors import CancelledRun, RunCancelled

ANSWER_WITHIN: Final = 60.0
FOREVER: Final = math.inf
Keeper = Callable[[Spec, Any, Any], Any]
WORKER: Final = "headrace worker"  # what worker processes are called, with a number


async def nothing(_store: Any) -> None:
    """Do nothing with the store: who has it done hears when what was told before is committed."""


class Rooted:
    """The part of a host that is the same on a loop and in a thread."""

    on_loop: bool
    elsewhere: bool = False

    def __init__(self, desk: Callable[[], Journal], keeper: Callable[[], Keeper]) -> None:
        self.clock: Clock = wall
        self.desk = desk
        self.keeper = keeper

    def parcel(self, spec: Spec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Give None: a body is called in this process."""
        return None

    def probe(self, spec: Spec, name: str, items: Any) -> None:
        """See that *items* can travel, which they need not."""

    def keeping(self, spec: Spec, body: Any) -> Any:
        """Give *body* with what keeps its results and finds them again around it."""
        return self.keeper()(spec, self, body)

    def open(self) -> Journal:
        """Give the journal to a root run; `close` is called when it has ended."""
        journal = self.desk()
        terminations.enter(self.on_loop)
        return journal

    def close(self) -> None:
        """Hear that a root run has ended."""
        terminations.leave(self.on_loop)

    async def with_store(self, desk: Journal, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """Wait until *work* was done with the store; give what came of it."""
        raise NotImplementedError

    async def relieved(self, desk: Journal) -> None:
        """
        Wait until *desk* is less crowded.

        By an errand of nothing: who asks for a commit has the rows of all runs in progress written as well.
        """
        with suppress(Exception):  # of the store: the back office has said so, and runs go on unrecorded
            await self.with_store(desk, nothing)

    def strand(self) -> Any:
        """Tell in which task of a loop, or thread, the code on this stack is at work."""
        raise NotImplementedError

    def waits(self, gates: Sequence[Any], seconds: float, shielded: bool, rouse: Callable[[], object]) -> Any:
        """
        Have it known that code of a durable run waits here for others of it, and that *rouse* wakes it.

        Gives who knows; None where it waits otherwise: for slots of a limit, or for a time that is not on record.
        """
        run = current_run.get()
        if run is None or run.scope.past is None or shielded or seconds != FOREVER or gates[0].slots:
            return None
        strands = run.scope.past.strands
        strands.wait(run, self.strand(), rouse, gates)
        strands.complete(run)
        return strands

    def draw(self) -> float:
        """Draw a number in [0, 1), for jitter."""
        import random  # noqa: PLC0415 - 5 ms to import, for runs that are retried with jitter

        return random.random()

    def really(self, run: Run, stop: BaseException) -> BaseException:
        """Give what *stop*, which left the body of a flow run, is to its caller: CancelledRun, if *run* was to stop."""
        if not self.heard(run, stop):
            return stop
        above = run
        while not isinstance(stop, Exception) and above.call is None and above.parent is not None:
            above = above.parent
            if above.stopping is not None:
                return stop  # it ends with the run that called it, which says so
        return CancelledRun(f"{run.label} was cancelled: {run.stopping}.", run.id)

    def heard(self, run: Run, stop: BaseException) -> bool:
        """Tell whether *stop* is how the body of *run* heard that it is to stop."""
        return run.stopping is not None and (isinstance(stop, RunCancelled) or follows(stop))

    def translated(self, stop: BaseException) -> BaseException:
        """Give what really stopped a run for *stop*: a signal may have come as a cancellation."""
        return terminations.translated(stop)


def follows(error: BaseException) -> bool:
    """Tell whether *error* is what a body may get in place of being told: all that it had submitted was cancelled."""
    if isinstance(error, BaseExceptionGroup):
        inner = cast("Sequence[BaseException]", error.exceptions)  # pyright: ignore[reportUnknownMemberType]
        return all(follows(one) for one in inner)
    return isinstance(error, CancelledRun)
