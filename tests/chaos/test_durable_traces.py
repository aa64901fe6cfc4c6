"""Durable flows in workers that are killed again and again: their spans are those of their record, each there once."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.chaos.durable_loop import AT_ONCE, FRESH, IDLE, WAITING, Loop
from tests.chaos.processes import Child, rows
from tests.chaos.trace_oracle import differences
from tests.spec.keeping import runtime_at
from tests.spec.receiver import Receiver, receiving

LONG = os.environ.get("CHAOS") == "long"
KILLS, STEPS = (100, 10_000) if LONG else (12, 600)
SEED = int(os.environ.get("CHAOS_SEED", "20240229"))
EVERY = 200  # milliseconds in which spans are sent, where 5,000 are usual: some have arrived when a worker is killed


class TracedLoop(Loop):
    """The loop of workers that send their spans to *receiver*."""

    def __init__(self, home: Path, seed: int, receiver: Receiver, depth: str) -> None:
        super().__init__(home, seed)
        self.receiver = receiver
        self.depth = depth
        self.killed: dict[int, int] = {}

    def start(self, *, fresh: bool = True) -> Child:
        waiting = len(rows(self.home, "SELECT 1 FROM run_owner")) if self.kills else 0
        count = FRESH if fresh and waiting < WAITING else 0
        child = Child(
            "tests.chaos.traced_flows", str(self.flows), count, AT_ONCE, self.depth, home=self.home,
            OTEL_EXPORTER_OTLP_ENDPOINT=self.receiver.endpoint, OTEL_BSP_SCHEDULE_DELAY=str(EVERY),
        )  # fmt: skip
        self.flows += count
        self.ledger.read()
        self.ledger.begun.discard(child.process.pid)  # that was another one's
        self.workers[child] = time.monotonic() + IDLE, False
        return child

    def kill(self, child: Child) -> None:
        super().kill(child)
        self.killed[child.process.pid] = time.time_ns()


@pytest.mark.required
@pytest.mark.timeout(1_800 if LONG else 240)
@pytest.mark.parametrize("depth", ["shallow", "deep"])
def test_after_kills_the_spans_are_those_of_the_record(depth: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with receiving() as receiver:
        loop = TracedLoop(home, SEED, receiver, depth)
        loop.run(KILLS, STEPS)
        spans = list(receiver.spans)

    with runtime_at(home):
        found = differences(spans, loop.killed)
    again = sum("headrace.recovered" in span.attributes for span in spans)
    print(f"\n{loop.kills} kills, {len(spans)} spans, {again} of them made again, {len(found)} wrong (seed {SEED})")
    assert found == []
    assert loop.kills >= KILLS
    assert again > 0, "no span was made again: the kills came too late to prove anything"
