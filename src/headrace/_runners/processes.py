"""
The lanes of a process runner: bodies of tasks in worker processes, each waited for by a thread.

The life of a flow cannot leave the process that it began in, so submitted flows run as they do with any runner.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from headrace._engine.promises import Countdown, Gate
from headrace._engine.spec import Spec
from headrace._ports import Host
from headrace._runners.lanes import Crew, Lane
from headrace._runners.places import Places
from headrace._runners.pool import Pool
from headrace._runners.thread_lane import ThreadLane


class ProcessHost(Host, Protocol):
    """The host of lives whose bodies are called in workers."""

    def enter(self, workers: int) -> None:
        """Hear that somebody will use up to so many *workers* at once."""
        ...

    def leave(self, workers: int) -> Callable[[], None] | None:
        """Hear that they are not needed any more; give what blocks until they have ended, if there are any to end."""
        ...


class Others(Protocol):
    """The lanes on which flows run."""

    def lane(self, spec: Spec) -> Lane:
        """Give the lane on which calls of *spec* run."""
        ...

    def host(self, spec: Spec) -> Host:
        """Give the host for which the lives of such calls are compiled."""
        ...

    def close(self, closed: Callable[[], object]) -> None:
        """Close all lanes, then call *closed*."""
        ...


class ProcessLanes:
    """The lanes of one crew: one for tasks, and those of *others* for flows. While it is open, workers are kept."""

    def __init__(self, pool: Pool, host: ProcessHost, crew: Crew, others: Others, workers: int) -> None:
        self.pool = pool
        self.processes = host
        self.others = others
        self.workers = workers
        # Let go of when it is closed: it holds the crew, which holds this.
        self.tasks: ThreadLane | None = ThreadLane(pool, host, crew, Places(workers))
        host.enter(workers)

    def lane(self, spec: Spec) -> Lane:
        """Give the lane on which calls of *spec* run."""
        if spec.kind == "flow":
            return self.others.lane(spec)
        assert self.tasks is not None  # a crew takes nothing more once it is closed
        return self.tasks

    def host(self, spec: Spec) -> Host:
        """Give the host for which the lives of calls of *spec* are compiled."""
        return self.others.host(spec) if spec.kind == "flow" else self.processes

    def close(self, closed: Callable[[], object]) -> None:
        """Close the lanes and let go of the workers, then call *closed*."""
        self.tasks = None
        flows, tasks = Gate(), Gate()
        Countdown([flows, tasks], closed)
        self.others.close(flows.open)
        end = self.processes.leave(self.workers)
        if end is None:
            tasks.open()
            return

        def leave() -> None:
            end()
            tasks.open()

        try:
            # In a thread, since it may take a moment, and who closes may be a loop's.
            self.pool.run(leave)
        except RuntimeError:  # the interpreter is going down, and starts none
            leave()
