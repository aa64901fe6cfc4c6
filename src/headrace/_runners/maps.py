"""
Maps: one submission that stands for many calls, each made when its turn comes. What is iterated is the user's.

A future exists once its call has begun, or once somebody has touched it; so a map over a hundred thousand items costs
at first a list, and the rest as it goes.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from headrace._engine import lines
from headrace._engine.calls import Call, Life
from headrace._engine.groups import Group
from headrace._engine.promises import Promise, Promises
from headrace._engine.runs import Run
from headrace._model.states import State, StateType
from headrace._ports import Host
from headrace.errors import CrashedRun, CrewGone, SourceTooLong

if TYPE_CHECKING:
    from headrace._runners.crew import Crew

LONGEST: Final = 10_000_000
Arguments = Iterator[tuple[tuple[Any, ...], dict[str, Any]]]


class Mapped(Promises):
    """
    The calls of one map, in order.

    Attributes:
        arguments: Gives those of each call; asked under the guard and in the context of the map, from the thread or
            loop that runs the calls.
        made: The promises that exist, by place.
        next: How many calls have been made.
        total: How many there will be; None while an iterator is read that has not told.
        rest: What those come to that were never made, once there are no more.
        stopped: Why the map is to be cut, once somebody wants that.
        packed: The parcel of the first call, where that goes to another process.
    """

    def __init__(
        self,
        crew: Crew,
        group: Group,
        arguments: Arguments,
        promise: Callable[[], Promise],
        life: Life,
        host: Host,
        context: Context,
        wait_for: Any,
    ) -> None:
        self.crew = crew
        self.group = group
        self.arguments = arguments
        self.promise = promise
        self.life = life
        self.host = host
        self.context = context
        self.wait_for = wait_for
        self.parent: Run | None = group.parent
        self.made: dict[int, Promise] = {}
        self.next: int = 0
        self.total: int | None = group.total
        self.rest: State[Any] | None = None
        self.stopped: str | None = None
        self.packed: Any = None
        # Reentrant: the user's iterator may ask for a future of the same map.
        self.guard = threading.RLock()

    def take(self) -> Call | None:
        """Make the next call that can begin; those that wait for others are held by the crew until then."""
        while True:
            with self.guard:
                call = self.make()
            if self.stopped is not None:
                self.cut(self.stopped)
            if call is None or not self.crew.hold(call):
                return call

    def make(self) -> Call | None:
        """Make the next call; None where there are no more. Called with the guard held."""
        if self.ended() or self.next == self.total:
            self.over()
            return None
        try:
            args, kwargs = self.context.run(next, self.arguments)
        except StopIteration:
            self.ends(None)
            return None
        except BaseException as error:
            self.ends(as_error(self.group.spec.name, error))
            if isinstance(error, KeyboardInterrupt):
                raise
            return None
        # Asked again: it may have been cut while the user's iterator was at work.
        if self.ended() or (self.total is None and not self.one_more()):
            return None
        place = self.next
        promise = self.made.get(place)
        if promise is None:
            promise = self.made[place] = self.promise()
        self.next = place + 1
        call = Call(promise, self.life, self.host, self.parent, self.context.copy(), args, kwargs, self.wait_for)
        call.group = self.group
        call.owner = self.crew
        if self.packed is not None:
            call.parcel, self.packed = self.packed, None
        return call

    def ended(self) -> bool:
        """Tell whether no more calls are to be made."""
        return self.rest is not None or self.stopped is not None

    def one_more(self) -> bool:
        """Count one more call in, of an iterator that has not told how many there are; tell whether it may begin."""
        if self.next >= LONGEST:
            self.ends(SourceTooLong(self.group.spec.name, LONGEST))
            return False
        try:
            self.crew.enter(1)
        except CrewGone:
            return False  # it is cut in this moment, which counts out what was counted in
        return True

    def touch(self, place: int) -> Promise:
        """Give the promise at *place*."""
        with self.guard:
            promise = self.made.get(place)
            if promise is None:
                promise = self.made[place] = self.promise()
                if self.rest is not None:
                    promise.settle(None, promise.stamped(self.rest), self.crew.clock.now())
            return promise

    def over(self) -> None:
        """Be no more a source, and keep nothing of it alive."""
        self.arguments = iter(())
        with self.crew.guard:
            self.crew.many.discard(self)

    def ends(self, error: Exception | None) -> None:
        """Have no more calls: the source has ended, or has raised *error*."""
        if self.rest is not None:
            return  # it was cut while the user's iterator was at work
        left = 1 if self.total is None else self.total - self.next
        if error is None:
            self.close(State(StateType.FAILED, message="The source of the map has no such item."), left)
            return
        self.rest = State(StateType.FAILED, message=f"The source of the map failed: {error!r}", data=error)
        self.breaks(error)
        self.close(self.rest, left)

    def breaks(self, error: Exception) -> None:
        """Note that the source has raised *error*, as the failure of a run; the flow may end only after that."""
        name = self.group.spec.name
        if self.parent is not None:
            lines.source_failed(self.parent, name, self.next, error)
        self.group.broken = promise = self.promise()
        promise.given_name = f"the source of the map of {name}"
        failed: State[Any] = State(StateType.FAILED, message=f"It raised {error!r}", data=error)
        promise.settle(None, promise.stamped(failed), self.crew.clock.now())
        if self.crew.missed(promise):
            self.crew.failing(promise.name)
        self.crew.count_out(1)

    def cut(self, why: str) -> None:
        """
        Give up the calls that have not been made yet, and count them out.

        While somebody waits in the user's iterator, which may take long, it is left to them to do so afterwards: who
        cuts may be a loop's thread.
        """
        self.stopped = why
        if not self.guard.acquire(blocking=False):
            return
        try:
            left = 1 if self.total is None else self.total - self.next
            if self.rest is None and left:
                message = f"It was stopped before it began: {why}."
                self.close(State(StateType.CANCELLED, message=message), left)
        finally:
            self.guard.release()

    def close(self, rest: State[Any], left: int) -> None:
        """Settle what was never made as *rest*; *left* were counted in for it."""
        with self.guard:
            self.rest = rest
            if self.total is None:
                self.total = self.next
            for place, promise in self.made.items():
                if place >= self.next and not promise.opened:
                    promise.settle(None, promise.stamped(rest), self.crew.clock.now())
            self.over()
            group = self.group
            with self.crew.guard:
                group.total = self.next
                whole = group.done == group.total
        if whole:
            self.crew.whole(group)
        self.crew.count_out(left)

    def __len__(self) -> int:
        """Give how many calls there will be; reads an iterator that has not told to its end, or to what it raises."""
        with self.guard:
            length = self.read() if self.total is None else self.total
        if self.stopped is not None:
            self.cut(self.stopped)
        return length

    def read(self) -> int:
        """Read the rest of the iterator, and count it in."""
        rest: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        error: Exception | None = None
        try:
            # One by one, since extending a list by what raises midway leaves nothing of it.
            for one in itertools.islice(self.arguments, LONGEST - self.next):
                rest.append(one)
            if self.next + len(rest) == LONGEST and next(self.arguments, None) is not None:
                error = SourceTooLong(self.group.spec.name, LONGEST)
        except Exception as raised:
            error = raised
        self.arguments = iter(rest)
        if self.total is not None:
            return self.total  # it was cut while the user's iterator was at work
        self.crew.enter(len(rest))
        self.total = self.next + len(rest)
        with self.crew.guard:
            self.group.total = self.total
            whole = self.group.done == self.total
        if error is not None:
            self.breaks(error)
        if whole:
            self.crew.whole(self.group)
        self.crew.count_out(1)
        return self.total

    def promises(self) -> Sequence[Promise]:
        """Give all promises, in order."""
        made = self.made
        return [made.get(place) or self.touch(place) for place in range(len(self))]


def as_error(name: str, error: BaseException) -> Exception:
    """Give what ended the source of a map of *name* as an Exception: what is none ends the map alone."""
    if isinstance(error, Exception):
        return error
    made = CrashedRun(f"The source of the map of {name!r} ended by {error!r}.")
    made.__cause__ = error
    return made
