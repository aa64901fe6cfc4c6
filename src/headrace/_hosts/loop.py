"""The loop's host: suspends where a life waits, through anyio. Never blocks the loop, never leaves a task behind."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Any, Final
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread

from headrace._engine import lines
from headrace._engine.admission import come_back, stood_aside
from headrace._engine.calls import Call, current_call, forsake, refuse_circle
from headrace._engine.journal import Journal
from headrace._engine.promises import Countdown, Gate
from headrace._engine.runs import Run
from headrace._engine.steps import Elapsed
from headrace._homes import LoopHome, quietly
from headrace._hosts.clock import wall
from headrace._hosts.commits import Commits
from headrace._hosts.inquiries import Inquiry
from headrace._hosts.rooted import ANSWER_WITHIN, FOREVER, Keeper, Rooted
from headrace._ports import Home, Places
from headrace.errors import StoreUnavailable

PATIENCE: Final = 5.0
ASIDES: Final = 8
IN_A_ROW: Final = 8  # commits for which nothing suspends; then the loop has a turn


class Arrival:
    """What rouses the one task that waits on a loop: called on any thread, with whatever came true, or with nothing."""

    __slots__ = ("future", "loop")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[bool] = self.loop.create_future()

    def __call__(self, _gate: object = None) -> None:
        if asyncio._get_running_loop() is self.loop:
            self.rouse()
        else:
            quietly(self.loop, self.rouse)

    def rouse(self) -> None:
        """End the wait, unless it has ended."""
        if not self.future.done():
            self.future.set_result(True)


class LoopHost(Rooted):
    """Suspends the calling task where a life waits."""

    on_loop = True

    def __init__(self, desk: Callable[[], Journal], keeper: Callable[[], Keeper]) -> None:
        super().__init__(desk, keeper)
        self.inquiries: WeakKeyDictionary[asyncio.AbstractEventLoop, Inquiry] = WeakKeyDictionary()
        self.commits: WeakKeyDictionary[asyncio.AbstractEventLoop, Commits] = WeakKeyDictionary()
        self.in_a_row = 0
        self.reliefs: WeakKeyDictionary[asyncio.AbstractEventLoop, Gate] = WeakKeyDictionary()
        self.limiters: WeakKeyDictionary[asyncio.AbstractEventLoop, anyio.CapacityLimiter] = WeakKeyDictionary()

    async def call(
        self,
        run: Run,
        seconds: float,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
    ) -> Any:
        """
        Await *function*'s coroutine, and cancel it after *seconds*.

        A body that swallows the cancellation is waited for, since nothing may be left running, and named in the log.

        Raises:
            Elapsed: It took longer, even if it returned a value after all: a body that blocks is not cancelled.
        """
        loop = asyncio.get_running_loop()

        def complain() -> None:
            lines.warn(
                run,
                "Was cancelled %g s ago, at its timeout of %g s, but its body goes on: it swallows the cancellation",
                PATIENCE,
                seconds,
            )

        watch = loop.call_later(seconds + PATIENCE, complain)
        value = None
        # Not a scope of anyio's, which cancels at every await anew, and so what the body awaits to clean up.
        timer = asyncio.timeout(seconds)
        try:
            async with timer:
                value = await function(*args, **kwargs)
        except TimeoutError:
            if not timer.expired():
                raise
        finally:
            watch.cancel()
        if timer.expired() or loop.time() >= (timer.when() or math.inf):
            raise Elapsed
        return value

    async def sleep(self, seconds: float) -> None:
        """Suspend for *seconds*; the place at work of the submitted call that waits here is given back meanwhile."""
        call = current_call()
        places = None if call is None or not seconds else call.places
        if call is None or places is None:
            await anyio.sleep(seconds)
            return
        places.aside(call)
        try:
            await anyio.sleep(seconds)
        except BaseException:
            places.hurry(call)
            raise
        await self.back(call, places)

    def strand(self) -> asyncio.Task[Any] | None:
        """Give the task that runs."""
        return asyncio.current_task()

    def home(self, run: Run) -> Home:
        """Tell where the body of *run*, which is about to begin, runs: in the current task."""
        return LoopHome(asyncio.get_running_loop(), asyncio.current_task(), run)

    def heard(self, run: Run, stop: BaseException) -> bool:
        """Tell whether *stop* is how the body heard that it is to stop: a cancellation of ours, now taken back."""
        if run.stopping is None or run.home is None:
            return False
        # Taken back in any case: also where it has come to something else, or comes late.
        alone = run.home.calm()
        return alone if isinstance(stop, asyncio.CancelledError) else super().heard(run, stop)

    def until(self, gates: Sequence[Gate], seconds: float = FOREVER, *, shielded: bool = False) -> Awaitable[bool]:
        """
        Give what suspends until all *gates* are open, and then tells whether they are; after *seconds* at most.

        The place at work of the submitted call that waits here is given back meanwhile.

        Raises:
            WaitCircleError: The call would wait for itself.
        """
        gate = gates[0] if gates else None
        if gate is not None and gate.slots and seconds == FOREVER and not shielded and current_call() is None:
            # Slots that are handed on from block to block: nothing is given back meanwhile, and nobody is in circles.
            # The gate is the waiter's own, so it need not forget who waits.
            arrival = Arrival()
            gate.when_done(arrival)
            return arrival.future
        return self.suspended(gates, seconds, shielded=shielded)

    async def suspended(self, gates: Sequence[Gate], seconds: float, *, shielded: bool) -> bool:
        """Suspend until all *gates* are open, as `until` says."""
        if all(gate.opened for gate in gates):
            return True
        arrival = Arrival()
        call = current_call()
        refuse_circle(call, gates)
        forsake(gates)
        countdown = Countdown(gates, arrival)
        given_back = [] if gates[0].slots else stood_aside()
        places = None if call is None else call.places
        if call is not None:
            call.awaits = tuple(gates)
            if places is not None:
                places.aside(call)
        strands = self.waits(gates, seconds, shielded, arrival)
        try:
            if seconds == FOREVER and not shielded:
                await arrival.future
            else:
                with anyio.move_on_after(None if seconds == FOREVER else seconds, shield=shielded):
                    await arrival.future
            if strands is not None:
                strands.refuse()
            if call is not None and places is not None:
                given, places = places, None
                await self.back(call, given)
            if given_back:
                await come_back(self, given_back)
        finally:
            if strands is not None:
                strands.go_on(self.strand())
            if call is not None:
                call.awaits = ()
                if places is not None:
                    places.hurry(call)
            countdown.forget()
        return all(gate.opened for gate in gates)

    async def back(self, call: Call, places: Places) -> None:
        """Wait for a place to go on."""
        arrival = Arrival()
        if places.back(call, arrival):
            return
        try:
            await arrival.future
        except BaseException:
            places.hurry(call, arrival)
            raise

    async def settled(self, desk: Journal, *, whole: bool = False) -> Exception | None:
        """
        Suspend until what *desk* was told so far is committed; give what went wrong instead.

        Shielded from a scope that was cancelled before; a scope is no cheap thing, so from no other.
        """
        loop = asyncio.get_running_loop()
        commits = self.commits.get(loop)
        fresh = commits is None or commits.asked
        if fresh and not whole and self.in_a_row < IN_A_ROW:
            said = desk.at_once(True)
            if said is not None:
                self.in_a_row += 1
                return said.problem
        in_a_row, self.in_a_row = self.in_a_row, 0
        if commits is None or commits.asked or commits.desk is not desk:
            alone = not in_a_row and commits is not None and len(commits.waiting) == 1
            commits = self.commits[loop] = Commits(desk)
            future = commits.join(whole=whole)
            if alone:
                commits.ask()  # as it was the last time: others of this turn will need another question
        else:
            future = commits.join(whole=whole)
        wall.started()
        try:
            # Where the scope around has ended, the run has, too, and that is to be on record.
            task = asyncio.current_task()
            stopping = task is not None and task.cancelling() > 0
            ended = stopping and anyio.current_effective_deadline() == -math.inf
            with anyio.CancelScope(shield=True) if ended else nullcontext():
                await future
            return future.result()
        finally:
            wall.finished()

    async def relieved(self, desk: Journal) -> None:
        """Suspend until *desk* is less crowded: one question for all who wait for that on this loop."""
        loop = asyncio.get_running_loop()
        asked = self.reliefs.get(loop)
        if asked is None or asked.opened:
            asked = self.reliefs[loop] = Gate()
            try:
                await super().relieved(desk)
            finally:
                asked.open()
            return
        arrival = Arrival()
        asked.when_done(arrival)
        await arrival.future

    async def recall(self, desk: Journal, key: str) -> Any:
        """Suspend until the store has been asked for *key*; give what it holds, or None."""
        loop = asyncio.get_running_loop()
        inquiry = self.inquiries.get(loop)
        if inquiry is None or inquiry.desk is not desk:
            inquiry = self.inquiries[loop] = Inquiry(desk)
        return await inquiry.about(key)

    async def with_store(self, desk: Journal, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """Suspend until *work* was done with the store; give what came of it."""
        came = await self.said(
            lambda arrived: desk.errand(work, lambda value, error: arrived((value, error))),
        )
        if came is None:
            raise StoreUnavailable("in use", f"it did not answer within {ANSWER_WITHIN:g} s")
        value, error = came
        if error is not None:
            raise error
        return value

    async def said(self, ask: Callable[[Callable[[Any], None]], None]) -> Any:
        """Suspend until the back office answers what *ask* asks; None where it does not, within a minute."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def arrived(value: Any) -> None:
            if not future.done():
                future.set_result(value)

        ask(lambda value: quietly(loop, arrived, value))
        wall.started()
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                return await future
        except TimeoutError:
            return None
        finally:
            wall.finished()

    async def aside(self, function: Callable[[], Any]) -> Any:
        """Call *function* in a thread, and suspend meanwhile. Who is cancelled here goes on when it has returned."""
        wall.started()
        try:
            with anyio.CancelScope(shield=True):
                working = asyncio.ensure_future(anyio.to_thread.run_sync(function, limiter=self.asides()))
                try:
                    return await asyncio.shield(working)
                except asyncio.CancelledError:
                    await asyncio.wait([working])
                    raise
        finally:
            wall.finished()

    def asides(self) -> anyio.CapacityLimiter:
        """Give what bounds the threads that pack and unpack for the loop that runs: not the application's own."""
        loop = asyncio.get_running_loop()
        limiter = self.limiters.get(loop)
        if limiter is None:
            limiter = self.limiters[loop] = anyio.CapacityLimiter(ASIDES)
        return limiter

    def may_wait(self) -> bool:
        """Tell that code on a loop may always suspend."""
        return True

    async def answer(self, value: Awaitable[Any]) -> Any:
        """Await a hook's coroutine; also in a scope cancelled by now, where no hook of a cancelled run could wait."""
        with anyio.CancelScope(shield=anyio.current_effective_deadline() == -math.inf):
            return await value
