"""The loop lane while more is told than committed: one worker waits for all, and another takes over from it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headrace import flow, task
from headrace._engine.journal import Journal
from headrace._hosts.loop import LoopHost
from headrace.task_runners import ConcurrentTaskRunner
from tests.spec.forms import Latch, Record


@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize("waits", [False, True], ids=["calls that do not wait", "calls that wait"])
async def test_a_worker_that_is_cancelled_while_it_waits_for_the_journal_leaves_to_another(
    record: Record, monkeypatch: pytest.MonkeyPatch, waits: bool, limit: int | None
) -> None:
    """By what a body has left behind, which cancels the task it was in when that is at something else."""
    cancelled: list[object] = []
    settled = LoopHost.settled

    async def interrupted(self: LoopHost, desk: Journal) -> Exception | None:
        if asyncio.current_task() in workers and not cancelled:
            cancelled.append(asyncio.current_task())
            raise asyncio.CancelledError
        return await settled(self, desk)

    monkeypatch.setattr("headrace._engine.journal.CROWDED", 50)
    monkeypatch.setattr(LoopHost, "settled", interrupted)
    workers: set[asyncio.Task[Any] | None] = set()

    @task
    async def one(x: int) -> int:
        workers.add(asyncio.current_task())
        if waits:
            await asyncio.sleep(0)
        return x

    @flow(task_runner=ConcurrentTaskRunner(limit=limit))
    async def main() -> list[int]:
        return await one.map(range(1_000))

    assert await main() == list(range(1_000))
    assert cancelled


async def test_while_the_journal_is_crowded_one_worker_waits_and_not_every_one(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    ask = Journal.ask

    def counted(self: Journal, answer: Any, **how: bool) -> None:
        asked.append(answer)
        ask(self, answer, **how)

    monkeypatch.setattr("headrace._engine.journal.CROWDED", 50)
    monkeypatch.setattr(Journal, "ask", counted)
    latch, all_there = Latch(), Latch()
    crowd = 500

    @task
    async def wait(x: int) -> None:
        if x + 1 == crowd:
            all_there.open()
        await latch.passed()

    @flow
    async def main() -> None:
        results = wait.map(range(crowd))
        await all_there.passed()
        asked.clear()
        latch.open()
        await results

    await main()

    assert len(asked) < 10
