"""
The loop lane: bodies that await, on one event loop, by elastic workers inside one task group. Never blocks the loop.

A worker takes the next call as soon as it has none. Only when a call suspends does another worker come, from those that
idle or as a new task: calls that do not wait share one worker and cost no task at all. Each call runs in a context of
its own, stepped by hand, so workers can be shared and nothing leaks from one call into the next.
"""

from __future__ import annotations

import asyncio
import threading
import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from time import perf_counter
from typing import Any, Final

import anyio

from headrace._engine.calls import Call
from headrace._homes import LoopHome
from headrace._ports import Host
from headrace._runners.lanes import Crew, Queue, Source
from headrace._runners.places import Places

KEPT: Final = 64  # workers that idle, for the next call; one costs about 2 kB and spares 40 us
BREATH: Final = 0.001  # seconds of work without a wait, after which the loop is let go on


@types.coroutine
def stepped(context: Context, coroutine: Coroutine[Any, Any, Any], awaited: Any) -> Generator[Any, Any, Any]:
    """Go on with *coroutine*, which has suspended for *awaited*, in a *context* of its own; give what it returns."""
    run, send = context.run, coroutine.send
    while True:
        step: Callable[..., Any] = send
        given: Any = None
        try:
            yield awaited
        except BaseException as error:
            step, given = coroutine.throw, error
        try:
            awaited = run(step, given)
        except StopIteration as end:
            return end.value
        finally:
            given = None  # an exception kept here would keep this frame


class LoopLane:
    """Calls on one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, host: Host, crew: Crew, places: Places | None) -> None:
        self.loop = loop
        self.host = host
        self.crew = crew
        self.places = places
        self.queue = Queue()
        self.idle: list[asyncio.Future[None]] = []
        self.pullers = 0
        self.group: asyncio.TaskGroup | None = None
        # Of the workers, not of the calls, which have their own: what a flow's code has set is not theirs.
        self.context = Context()
        self.house: asyncio.Task[None] | None = None
        self.over: asyncio.Event | None = None
        # Also where it never had a house, as a lane that never got a place.
        self.closed = False
        self.ringing = False
        # Whether a worker waits until the journal is less crowded: one for all, since each would be told on its own.
        self.easing = False
        self.fresh = True
        self.turn = 0.0

    # -- from any thread -----------------------------------------------------------------------------------------------

    def put(self, entry: Call | Source, *, inner: bool) -> None:
        """Take a call, or many, in."""
        self.queue.put(entry, inner=inner)
        self.stir()

    def stir(self) -> bool:
        """Have a worker look at the queue, if none will anyway; tell whether there is anything in it."""
        if not self.queue:
            return False
        if asyncio._get_running_loop() is self.loop:
            self.look()
        elif not self.ringing:
            self.ringing = True
            try:
                self.loop.call_soon_threadsafe(self.rung)
            except RuntimeError:
                if not self.loop.is_closed():  # else nothing will run there any more
                    raise
        return True

    def close(self, closed: Callable[[], object]) -> None:
        """End the workers, which have nothing to do any more, and then call *closed*."""
        try:
            self.loop.call_soon_threadsafe(self.end, closed)
        except RuntimeError:
            if not self.loop.is_closed():
                raise
            closed()

    # -- on the loop ---------------------------------------------------------------------------------------------------

    def rung(self) -> None:
        """Look at the queue, asked from another thread."""
        self.ringing = False
        self.look()

    def look(self) -> None:
        """See that somebody pulls while there is something to pull."""
        if self.closed:
            return  # what is in the queue was dropped, and who stirs gives a place back
        if self.pullers or not self.queue or (self.places is not None and not self.places.free(self)):
            return
        self.pullers = 1
        if self.idle:
            wake = self.idle.pop()
            if not wake.done():
                wake.set_result(None)
                return
        if self.house is None:
            self.house = self.loop.create_task(self.keep_house(), context=self.context)
        elif self.group is not None:
            self.group.create_task(self.work(), context=self.context)

    async def keep_house(self) -> None:
        """
        Hold the workers' task group open until the lane is over.

        One of asyncio's own: a task of anyio's groups takes 4.0 kB, one of these 1.3, and there may be 100,000 of them.
        """
        self.over = asyncio.Event()
        anyio.current_effective_deadline()  # has it load its backend now: 100 ms, which no cancellation has to spare
        async with asyncio.TaskGroup() as self.group:
            self.group.create_task(self.work(), context=self.context)
            await self.over.wait()
            for wake in self.idle:
                if not wake.done():
                    wake.cancel()

    def end(self, closed: Callable[[], object]) -> None:
        """End the workers."""
        self.closed = True
        if self.house is None or self.house.done():
            closed()
            return
        self.house.add_done_callback(lambda _: closed())
        if self.over is None:
            self.house.cancel()
        else:
            self.over.set()

    async def work(self) -> None:
        """Run one call after another; idle where there is none."""
        task: Any = asyncio.current_task()
        places = self.places
        held = False
        while True:
            if self.crew.journal.crowded and not self.easing:
                await self.pause(self.ease(), held)
            call = self.next(held)
            if call is None:
                held = False
                if await self.rests():
                    continue
                return
            home = call.home = LoopHome(self.loop, task)
            suspended = await self.run(call)
            home.over = True
            if places is not None:
                held = places.ended(call)
                if held and places.wanted(self):
                    held = False
                    places.give()
            if home.told or task.cancelling():
                # A cancellation that came too late for the call would hit the next one.
                self.go(held)
                return
            # Who has just waited has let the loop go on.
            if not suspended and self.breathless():
                await self.pause(asyncio.sleep(0), held)

    async def pause(self, wait: Coroutine[Any, Any, None], held: bool) -> None:
        """Await *wait*, as the worker that all others rely on: one that is cancelled there leaves to another."""
        try:
            await wait
        except asyncio.CancelledError:
            self.go(held)
            raise

    def go(self, held: bool) -> None:
        """Pull no more; give back the place that is *held*, and have another worker come."""
        if held and self.places is not None:
            self.places.give()
        self.pullers -= 1
        self.look()

    async def ease(self) -> None:
        """Wait until what was told so far is committed; meanwhile no other worker begins a call, so most end."""
        self.easing = True
        try:
            await self.host.settled(self.crew.journal)
        finally:
            self.easing = False

    async def rests(self) -> bool:
        """Idle until there is something to pull; tell whether there is: if not, the worker is not needed any more."""
        self.pullers -= 1
        if self.over is None or self.over.is_set() or len(self.idle) >= KEPT:
            return False
        wake: asyncio.Future[None] = self.loop.create_future()
        self.idle.append(wake)
        try:
            await wake
        except asyncio.CancelledError:
            if self.over.is_set():
                return False
            raise
        return True

    def next(self, held: bool) -> Call | None:
        """
        Give the next call, with a place for it, the one *held* or another; None where there is none, or no place.

        None also while the journal is crowded: who waits for that goes on with the queue.
        """
        places = self.places
        if self.queue and not self.easing and (held or places is None or places.take(self)):
            held = True
            while (call := self.queue.take()) is not None:
                if self.crew.claim(call):
                    call.places = places
                    return call
        if held and places is not None:
            places.give()
        return None

    def breathless(self) -> bool:
        """Tell whether this turn of the loop has lasted long enough."""
        if self.fresh:
            self.fresh = False
            self.turn = perf_counter()
            self.loop.call_soon(self.refresh)
            return False
        return perf_counter() - self.turn > BREATH

    def refresh(self) -> None:
        """Begin another turn of the loop."""
        self.fresh = True

    async def run(self, call: Call) -> bool:
        """Run *call* to its end; when it suspends, let another worker pull. Tell whether it did."""
        context = call.context
        coroutine = call.begin()
        value: Any = None
        try:
            first = context.run(coroutine.send, None)
        except StopIteration as end:
            self.crew.ended(call, end.value)
            return False
        except Exception as error:  # its run knows how it ended, and who looks at its future is told
            self.crew.ended(call, error if call.run is None else None)
            return False
        except BaseException as stop:
            self.crew.ended(call, stop if call.run is None else None)
            self.passed(stop)
            return False
        self.pullers -= 1
        self.look()
        try:
            value = await stepped(context, coroutine, first)
        except Exception:
            value = None
        except BaseException as stop:
            self.pullers += 1
            self.crew.ended(call, None)
            self.passed(stop)
            return True
        self.pullers += 1
        self.crew.ended(call, value)
        return True

    def passed(self, stop: BaseException) -> None:
        """
        Decide what becomes of a worker whose call ended by *stop*, which is no Exception: it goes on, mostly.

        Ctrl-C is asyncio's to handle, where it can come: in the main thread. A body's sys.exit() ends its own run
        alone: this loop may be others' as well. So does a body that cancels its own task: another worker goes on.
        """
        interrupted = isinstance(stop, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()
        if interrupted or isinstance(stop, GeneratorExit):
            raise stop
