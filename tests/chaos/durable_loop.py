"""The kill loop: starts workers, reads the ledger that they write, kills them, and counts. Judges nothing."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from pathlib import Path

from tests.chaos.processes import Child, rows, until

SOON, LATE, LAST = 0.020, 0.400, 4.0  # seconds after a worker's first step; of each third one the latter two
AT_ONCE = 3  # workers, and flows that each of them begins
FRESH = 9  # flows that a worker may begin
IDLE = 3.0  # seconds after which a worker that found nothing to do is replaced
WAITING = 12  # flows left behind beyond which a worker begins none, so that they do not become ever more

Step = tuple[str, str, str]  # flow, place, value


class Ledger:
    """
    What the ledger says so far.

    Attributes:
        bodies: How often each attempt of a step was at work.
        gone_past: The steps whose callers went on.
        after: Steps that were at work although a caller had gone on before.
        begun: The processes of which there is a step.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.bodies: Counter[tuple[Step, str]] = Counter()
        self.gone_past: set[Step] = set()
        self.after: list[str] = []
        self.begun: set[int] = set()

    def read(self) -> None:
        """Read what was added."""
        if not self.path.exists():
            return
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.offset += len(whole)
        for line in whole.decode().splitlines():
            self.note(line)

    def note(self, line: str) -> None:
        """Note one line."""
        what, flow, place, value, attempt, pid = line.split(" ")
        step = (flow, place, value)
        if what == "on":
            self.gone_past.add(step)
            return
        self.begun.add(int(pid))
        self.bodies[step, attempt] += 1
        if step in self.gone_past:
            self.after.append(line)

    @property
    def again(self) -> int:
        """How often a body was at work once more."""
        return self.bodies.total() - len(self.bodies)

    def drawn(self) -> dict[str, set[str]]:
        """Give what each flow had drawn when it went past the step that shows it."""
        found: dict[str, set[str]] = {}
        for flow, place, value in self.gone_past:
            if place == "drawn":
                found.setdefault(flow, set()).add(value)
        return found


class Loop:
    """Workers on one database in *home*, killed at random and replaced."""

    def __init__(self, home: Path, seed: int) -> None:
        self.home = home
        self.chance = random.Random(seed)
        self.ledger = Ledger(home / "ledger")
        self.kills = 0
        self.flows = 0
        # Each with when it is to be killed, and whether it has begun a step.
        self.workers: dict[Child, tuple[float, bool]] = {}

    def start(self, *, fresh: bool = True) -> Child:
        """Start a worker; with flows to begin, unless too many were left behind."""
        waiting = len(rows(self.home, "SELECT 1 FROM run_owner")) if self.kills else 0
        count = FRESH if fresh and waiting < WAITING else 0
        child = Child("tests.chaos.durable_flows", str(self.flows), count, AT_ONCE, home=self.home)
        self.flows += count
        self.ledger.read()
        self.ledger.begun.discard(child.process.pid)  # that was another one's
        self.workers[child] = time.monotonic() + IDLE, False
        return child

    def turn(self) -> None:
        """Read the ledger, and kill whose time has come."""
        self.ledger.read()
        now = time.monotonic()
        for child, (at, begun) in list(self.workers.items()):
            assert child.process.poll() is None, f"a worker ended by itself: {child.out}{child.err}"
            if not begun and child.process.pid in self.ledger.begun:
                self.workers[child] = now + self.after(), True
            elif now >= at:
                self.kill(child)
        time.sleep(0.002)

    def after(self) -> float:
        """Give how many seconds after its first step a worker is killed: mostly soon, some get further before."""
        return self.chance.uniform(LATE, LAST) if self.chance.random() < 1 / 3 else self.chance.uniform(SOON, LATE)

    def kill(self, child: Child) -> None:
        """Kill a worker; it counts where it had begun a step."""
        _, begun = self.workers.pop(child)
        child.process.kill()
        self.kills += child.process.wait() == -signal.SIGKILL and begun
        for path in child.outputs:
            path.unlink()

    def run(self, kills: int, steps: int) -> None:
        """Kill until there were so many kills, and so many steps whose callers went on; then let all come to an end."""
        try:
            while self.kills < kills or len(self.ledger.gone_past) < steps:
                while len(self.workers) < AT_ONCE:
                    self.start()
                self.turn()
            for child in list(self.workers):
                self.kill(child)
            last = [self.start(fresh=False) for _ in range(2)]
            until(lambda: rows(self.home, "SELECT count(*) FROM run_owner") == [(0,)])
            (self.home / "enough").touch()
            for child in last:
                end = child.ended()
                assert (end.status, end.lines("Traceback")) == (0, []), end.err
        finally:
            for child in self.workers:
                child.process.kill()
                child.process.wait()
        self.ledger.read()
