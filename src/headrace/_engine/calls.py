"""Calls: submitted calls on their way to a run, and the place they hold at work. Moved by lanes; nothing waits here."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from contextvars import Context
from typing import TYPE_CHECKING, Any

from headrace._engine.context import current_run
from headrace._engine.runs import Run
from headrace._ports import Home, Host, Places
from headrace.errors import WaitCircleError

if TYPE_CHECKING:
    from headrace._engine.groups import Group
    from headrace._engine.promises import Promise

Life = Callable[..., Coroutine[Any, Any, Any]]


class Call:
    """
    One submitted call.

    A plain class with class defaults, as Run is: most of it is never set.

    Attributes:
        life: What runs it; compiled for *host*, which belongs to the lane it goes to.
        parent: The run in which it was submitted.
        owner: The crew to which it was submitted.
        crew: The crew that has taken it.
        context: The submitter's, copied at the submission.
        submitted: Nanoseconds since 1970; 0 for one of a map, which is no run before its turn.
        promise: What will come of it.
        run: Its run, once it has begun.
        home: Where its body runs, once it has begun.
        places: Where it holds its place while at work; None where there are places without end.
        asides: How many waits of its body go on, for which it has given its place back.
        unwanted: Whether it is to stop because nobody needs what it gives, so its end is no failure.
        stopping: Why it is to stop, once somebody wants that.
        awaits: What it waits for now.
        mapped: The map that it is one of, which hears what it came to; None for one submitted by itself.
        index: Its place there.
        parcel: What is handed to another process; None where it is not, or not packed yet.
    """

    wait_for: Any = None
    crew: Any = None
    owner: Any = None
    submitted = 0
    group: Group | None = None
    run: Run | None = None
    home: Home | None = None
    places: Places | None = None
    asides = 0
    unwanted = False
    stopping: str | None = None
    awaits: tuple[Any, ...] = ()
    mapped: Any = None
    index = 0
    parcel: Any = None

    def __init__(
        self,
        promise: Promise,
        life: Life,
        host: Host,
        parent: Run | None,
        context: Context,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        wait_for: Any = None,
    ) -> None:
        self.spec = promise.spec
        self.promise = promise
        self.life = life
        self.host = host
        self.parent = parent
        self.context = context
        self.args = args
        self.kwargs = kwargs
        if wait_for is not None:
            self.wait_for = wait_for
        promise.call = self

    def begin(self) -> Coroutine[Any, Any, Any]:
        """Give the life of its run, to be run in its context."""
        return self.life(self.args, self.kwargs, self.wait_for, False, self)

    def stop(self, why: str) -> None:
        """Ask it to end, for the reason *why*."""
        self.stopping = why
        if self.run is not None:
            self.run.stop(why)


def current_call() -> Call | None:
    """Give the submitted call that the code on this stack runs in, directly or through calls made in it."""
    return call_of(current_run.get())


def call_of(run: Run | None) -> Call | None:
    """Give the submitted call that *run* is, or is within."""
    while run is not None:
        if run.call is not None:
            call: Call = run.call
            return call
        run = run.parent
    return None


def forsake(gates: Iterable[Any]) -> None:
    """Have crews settle those of *gates* that nobody ever would: their event loop was closed."""
    for gate in gates:
        call = getattr(gate, "call", None)
        if call is not None and call.owner is not None:
            call.owner.forsake()


def refuse_circle(call: Call | None, gates: Iterable[Any]) -> None:
    """
    See that *call* can wait for *gates*.

    Raises:
        WaitCircleError: One of them waits, directly or through others, for *call* or a call that it is part of.
    """
    if call is not None and leads_to(held_up(call.run), gates):
        raise WaitCircleError(call.promise.name)


def refuse_own_flow(call: Call, run: Run | None, gates: Iterable[Any]) -> None:
    """
    See that *call*, submitted in the flow run *run*, can wait for *gates*: the flow run ends when *call* has.

    Raises:
        WaitCircleError: One of them is, or waits for, the flow run itself or one that it is part of.
    """
    if leads_to(held_up(run), gates):
        raise WaitCircleError(call.promise.name)


def held_up(run: Run | None) -> set[int]:
    """Give the ids of the promises that are not settled before *run* has ended."""
    found: set[int] = set()
    while run is not None:
        if run.call is None:
            run = run.parent
            continue
        found.add(id(run.call.promise))
        # The run that submitted it need not wait for it; the flow run around does, at its end.
        run = run.parent
        while run is not None and run.spec.kind == "task":
            run = run.parent
    return found


def leads_to(own: set[int], gates: Iterable[Any]) -> bool:
    """Tell whether one of *gates* is one of *own*, or waits for one, directly or through others."""
    heap = list(gates) if own else []
    seen: set[int] = set()
    while heap:
        gate = heap.pop()
        if id(gate) in own:
            return True
        if id(gate) in seen:
            continue
        seen.add(id(gate))
        awaited = getattr(gate, "call", None)
        if awaited is not None:
            heap += awaited.awaits
    return False
