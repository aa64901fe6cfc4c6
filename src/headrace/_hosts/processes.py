"""
The processes' host: as the thread's, but for the innermost call, which goes to a worker process.

Everything else of a run lives on in a thread of this process: its states, retries, hooks and spans.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from headrace._engine.begin import forget
from headrace._engine.context import current_tags
from headrace._engine.journal import Journal
from headrace._engine.mirrors import facts
from headrace._engine.prints import logs_prints
from headrace._engine.runs import Run
from headrace._engine.spec import Spec
from headrace._hosts.children import Children
from headrace._hosts.clock import wall
from headrace._hosts.parcels import Parcel, filling, packed_call, probe
from headrace._hosts.rooted import Keeper
from headrace._hosts.thread import ThreadHost
from headrace._hosts.visits import Visit
from headrace._hosts.wire import Errand


class ProcessHost(ThreadHost):
    """Blocks the calling thread while a worker process is at work."""

    elsewhere = True

    def __init__(self, desk: Callable[[], Journal], keeper: Callable[[], Keeper], program: str) -> None:
        super().__init__(desk, keeper)
        self.children = Children(program)

    def enter(self, workers: int) -> None:
        """Hear that a flow run will use up to so many *workers* at once."""
        self.children.enter(workers)

    def leave(self, workers: int) -> Callable[[], None] | None:
        """Hear that it is done with them; give what blocks until those that nobody needs have ended, if any."""
        surplus = self.children.leave(workers)
        return (lambda: self.children.end(surplus)) if surplus else None

    def parcel(self, spec: Spec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Parcel:
        """
        Pack a call.

        Raises:
            NotPicklable: The function or an argument cannot be.
        """
        return packed_call(spec, args, kwargs)

    def probe(self, spec: Spec, name: str, items: Any) -> None:
        """
        See that *items* of a map can be packed: one of each type but the first one's, which is packed as it is.

        Raises:
            NotPicklable: One cannot be.
        """
        probe(spec, name, items)

    async def call(
        self,
        run: Run,
        seconds: float,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
    ) -> Any:
        """
        Have a worker call *function*, and kill that worker after *seconds*.

        A coroutine function's coroutine is run there to its end, on a loop of its own.

        Raises:
            Elapsed: It took longer.
            RunCancelled: The run is to stop; the body has ended, or its worker was killed.
            WorkerDied: The worker did.
            WorkerStartError: No worker starts.
            NotPicklable: Something that was to be handed over cannot be.
        """
        parcel = None if run.call is None else run.call.parcel
        if parcel is None:
            parcel = packed_call(run.spec, tuple(args), kwargs)
        blanks = filling(run, parcel, args, kwargs)
        visit = Visit(self.children, run, self.errand(run), parcel, blanks)
        wall.started()
        try:
            return visit.outcome(seconds)
        finally:
            wall.finished()

    def errand(self, run: Run) -> Errand:
        """Give what a worker has to know of *run*."""
        trace = run.scope.trace
        top = logging.getLogger("headrace").getEffectiveLevel()
        return Errand(
            runs=tuple(facts(one) for one in (run, *run.ancestors())),
            awaited=run.spec.is_async,
            bound=run.spec.bound,
            timed=run.spec.timeout is not None,
            prints=logs_prints(run),
            tags=current_tags.get(),
            levels=(top, logging.getLogger().level),
            recorded=run.scope.tell is not forget,
            trace=None if trace is None else trace.carried(),
            owner=run.scope.journal.owner,
        )
