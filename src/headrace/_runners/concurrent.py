"""
The runner: async bodies on the flow's loop, sync bodies in threads, under one number of places or none.

What is decided here is where a call runs; how, is the lanes'.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

from headrace._engine.promises import Countdown, Gate
from headrace._engine.spec import Spec
from headrace._ports import Host
from headrace._runners.feeder import Feeder
from headrace._runners.lanes import Crew, Lane
from headrace._runners.loop_lane import LoopLane
from headrace._runners.places import Places
from headrace._runners.pool import Pool
from headrace._runners.processes import ProcessHost, ProcessLanes
from headrace._runners.thread_lane import ThreadLane
from headrace._runners.user_loop import UserLoop


class Shop:
    """
    What the crews of a process share: threads, and the loop for async calls of sync flows.

    Attributes:
        threads: The places of sync bodies wherever no runner says otherwise.
    """

    def __init__(
        self,
        threads: int,
        loop_host: Callable[[], Host],
        thread_host: Host,
        process_host: Callable[[], ProcessHost],
    ) -> None:
        self.pool = Pool()
        self.user_loop = UserLoop()
        self.threads = Places(threads)
        self.loop_host = loop_host
        self.thread_host = thread_host
        self.process_host = process_host

    def feeder(self, work: Callable[[Feeder], Coroutine[Any, Any, None]], ended: Callable[[], object]) -> Feeder:
        """Have *work* done in a task of its own on the loop that runs here; *ended* is called after its end."""
        return Feeder(work, ended)

    def lanes(self, crew: Crew, home: Any, limit: int | None) -> Lanes:
        """Make the lanes of *crew*, whose flow's body runs at *home*, for at most *limit* calls at work."""
        places = None if limit is None else Places(limit)
        return Lanes(self, crew, getattr(home, "loop", None), places)

    def process_lanes(self, crew: Crew, home: Any, workers: int) -> ProcessLanes:
        """Make the lanes of *crew* where at most so many *workers* are other processes, for tasks."""
        return ProcessLanes(self.pool, self.process_host(), crew, self.lanes(crew, home, None), workers)


class Lanes:
    """
    The lanes of one crew: at most one on a loop, and one in threads; made when they are needed.

    The crew holds them and not the other way round, and once closed they hold nothing: what a flow run has submitted
    goes with it, without waiting for the garbage collector.
    """

    def __init__(self, shop: Shop, crew: Crew, loop: asyncio.AbstractEventLoop | None, places: Places | None) -> None:
        self.shop = shop
        self.crew: weakref.ref[Crew] = weakref.ref(crew)
        self.loop = loop
        self.places = places
        self.made: dict[bool, Lane] = {}

    def lane(self, spec: Spec) -> Lane:
        """Give the lane on which calls of *spec* run."""
        return self.made.get(spec.is_async) or self.make(spec.is_async)

    def host(self, spec: Spec) -> Host:
        """Give the host for which the lives of calls of *spec* are compiled."""
        return self.shop.loop_host() if spec.is_async else self.shop.thread_host

    def make(self, is_async: bool) -> Lane:
        """Make a lane."""
        crew = self.crew()
        assert crew is not None  # it is who asks
        if is_async:
            loop = self.loop or self.shop.user_loop.get()
            lane: Lane = LoopLane(loop, self.shop.loop_host(), crew, self.places)
        else:
            lane = ThreadLane(self.shop.pool, self.shop.thread_host, crew, self.places or self.shop.threads)
        # Two threads may both come first: one lane is used.
        return self.made.setdefault(is_async, lane)

    def close(self, closed: Callable[[], object]) -> None:
        """Close the lanes, then call *closed*."""
        gates: list[Gate] = []
        for lane in list(self.made.values()):
            gate = Gate()
            gates.append(gate)
            lane.close(gate.open)
        self.made.clear()
        Countdown(gates, closed)
