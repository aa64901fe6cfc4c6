"""
Maps: one submission that stands for many calls, each made when its turn comes. What is iterated is the user's.

A future exists while its call is at work, and once somebody has touched it; so a map over a hundred thousand items
costs at first a list, and in the end its values.
"""

from __future__ import annotations

import itertools
import threading
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any, Final

from headrace._engine import lines
from headrace._engine.calls import Call, Life
from headrace._engine.groups import Group
from headrace._engine.promises import Promise, Promises, joined
from headrace._engine.runs import Run
from headrace._model.states import State, StateType
from headrace._ports import Host
from headrace.errors import CrashedRun, CrewGone, SourceTooLong

if TYPE_CHECKING:
    from headrace._runners.crew import Crew

LONGEST: Final = 10_000_000
Arguments = Iterator[tuple[tuple[Any, ...], dict[str, Any]]]


class Kept:
    """
    What calls of one map came to that ended as usual, and whose futures nobody has asked for: columns of plain values.

    A hundred thousand futures are as many objects that Python's garbage collector looks at in each of its full rounds:
    50 ms, in which nothing else runs. Numbers in an array are none.

    The calls by place, in the order in which they begin; a place is there from when its call has begun.

    Attributes:
        values: What they returned; None where that is not known here.
        numbers: Those of their runs' ids.
        ends: When they ended, in nanoseconds since 1970.
    """

    __slots__ = ("ends", "numbers", "values")

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.numbers = array("Q")
        self.ends = array("Q")

    def begin(self, number: int) -> None:
        """Make the next place, for the run of this *number*."""
        self.values.append(None)
        self.numbers.append(number)
        self.ends.append(0)

    def end(self, place: int, value: Any, at: int) -> None:
        """Keep what the call at *place* returned, and when."""
        self.values[place] = value
        self.ends[place] = at


class Mapped(Promises):
    """
    The calls of one map, in order.

    Attributes:
        arguments: Gives those of each call; asked under the guard and in the context of the map, from the thread or
            loop that runs the calls.
        made: The promises that somebody has touched, or whose runs did not end as usual, by place.
        flying: Those of calls at work that nobody has touched; taken out by whoever comes first, one of their ends or
            a touch, so that a promise that somebody holds is never dropped.
        kept: What the other calls came to; None where each run has an id of its own kind, so that promises are kept.
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
        promise: Callable[[int | None], Promise],
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
        self.flying: dict[int, Promise] = {}
        task_of_run = group.spec.kind == "task" and group.parent is not None
        self.kept: Kept | None = Kept() if task_of_run else None
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
            promise = self.promise(None)
            (self.made if self.kept is None else self.flying)[place] = promise
        if self.kept is not None:
            self.kept.begin(promise.number)
        self.next = place + 1
        call = Call(promise, self.life, self.host, self.parent, self.context.copy(), args, kwargs, self.wait_for)
        call.group = self.group
        call.owner = self.crew
        call.mapped, call.index = self, place
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

    def settle(self, call: Call, value: Any, final: State[Any] | None, at: int) -> None:
        """
        Hear what *call* came to. Its promise is dropped where nobody has it, and the value says all.

        Without the guard, which the user's iterator may hold for long. So what is dropped was kept before: who touches
        meanwhile finds one or the other.
        """
        promise, place = call.promise, call.index
        if self.kept is not None and final is None and call.run is not None and call.run.given_name is None:
            self.kept.end(place, value, at)
            if self.flying.pop(place, None) is not None:
                promise.call = None  # they hold each other, and would be garbage that only a collection finds
                return
        promise.settle(value, final, at)
        if self.kept is not None:
            self.made[place] = promise
            self.flying.pop(place, None)

    def touch(self, place: int) -> Promise:
        """Give the promise at *place*."""
        with self.guard:
            promise = self.made.get(place) or self.flying.pop(place, None) or self.made.get(place)
            if promise is None:
                promise = self.again(place)
            self.made[place] = promise
            return promise

    def again(self, place: int) -> Promise:
        """Make the promise at *place*, where there is none, or none any more. Called with the guard held."""
        kept = self.kept
        if kept is not None and place < self.next:
            promise = self.promise(kept.numbers[place])
            promise.settle(kept.values[place], None, kept.ends[place])
            return promise
        promise = self.promise(None)
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
        self.group.broken = promise = self.promise(None)
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
            for place, promise in self.made.copy().items():
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
        if error is not None:
            self.breaks(error)  # before the group can be whole, for then it is asked whether it broke
        whole = False
        if self.rest is None:  # else that has stopped the flow, and cut the map
            with self.crew.guard:
                self.group.total = self.total
                whole = self.group.done == self.total
        if whole:
            self.crew.whole(self.group)
        self.crew.count_out(1)
        return self.total

    def promises(self) -> Sequence[Promise]:
        """Give all promises, in order."""
        made = self.made
        return [made.get(place) or self.touch(place) for place in range(len(self))]

    def results(self) -> list[Any]:
        """
        Give the values of all calls, which have ended, in order. Makes no promises but for those that never began.

        Raises:
            Exception: That of the one which failed, or what the source raised.
            ExceptionGroup: Several failed.
        """
        if self.group.broken is not None:
            self.group.broken.outcome()
        total = len(self)
        what = f"calls of {self.group.spec.name!r}"
        if self.kept is None or self.next < total:
            return joined(self.promises(), what)
        values = self.kept.values.copy()
        made = sorted(self.made.copy().items())
        known = joined([promise for _, promise in made], what, of=total)
        for (place, _), value in zip(made, known, strict=True):
            values[place] = value
        return values


def as_error(name: str, error: BaseException) -> Exception:
    """Give what ended the source of a map of *name* as an Exception: what is none ends the map alone."""
    if isinstance(error, Exception):
        return error
    made = CrashedRun(f"The source of the map of {name!r} ended by {error!r}.")
    made.__cause__ = error
    return made
