"""Who waits for a commit on a loop asks together with all who came in the same turn, and is told with them."""

from __future__ import annotations

import asyncio

from headrace import _runtime, flow, task
from headrace._engine.journal import Answer, Journal
from headrace.testing import headrace_test_harness


class Counting(Journal):
    """A journal that answers at once, and counts how often it was asked."""

    def __init__(self, problem: Exception | None = None) -> None:
        super().__init__(draw=lambda: "", level="strict", now=lambda: 0)
        self.problem = problem
        self.asked: list[bool] = []

    def ask(self, answer: Answer, *, whole: bool = False) -> None:
        self.asked.append(whole)
        answer(self.problem)


async def test_a_thousand_that_come_in_one_turn_ask_once() -> None:
    host, journal = _runtime.host_for(True), Counting()

    assert await asyncio.gather(*[host.settled(journal) for _ in range(1_000)]) == [None] * 1_000
    assert journal.asked == [False]

    await host.settled(journal)
    assert len(journal.asked) == 2, "who comes later needs another question"


async def test_all_hear_what_went_wrong_and_one_who_wants_the_whole_record_gets_it_for_all() -> None:
    host, journal = _runtime.host_for(True), Counting(OSError("full"))

    came = await asyncio.gather(host.settled(journal), host.settled(journal, whole=True))

    assert [str(one) for one in came] == ["full", "full"]
    assert journal.asked == [True]


async def test_those_of_two_journals_do_not_ask_together() -> None:
    host, one, other = _runtime.host_for(True), Counting(), Counting(OSError("full"))

    came = await asyncio.gather(host.settled(one), host.settled(other), host.settled(one))

    assert [str(problem) for problem in came] == ["None", "full", "None"]


async def test_one_who_is_cancelled_takes_nobody_along() -> None:
    host, journal = _runtime.host_for(True), Counting()
    waits = [asyncio.create_task(host.settled(journal)) for _ in range(3)]
    await asyncio.sleep(0)
    waits[1].cancel()

    came = await asyncio.gather(*waits, return_exceptions=True)

    assert [type(one) for one in came] == [type(None), asyncio.CancelledError, type(None)]


async def test_flows_whose_steps_end_together_are_acknowledged_together() -> None:
    asked: list[object] = []

    @task
    async def step(x: int) -> int:
        return x

    @flow(durable=True)
    async def works(x: int) -> int:
        return await step(x)

    with headrace_test_harness() as harness:
        journal = harness._runtime.journal
        ask = journal.ask

        def counted(answer: Answer, *, whole: bool = False) -> None:
            asked.append(answer)
            ask(answer, whole=whole)

        journal.ask = counted  # type: ignore[method-assign]
        assert await asyncio.gather(*[works(x) for x in range(50)]) == list(range(50))

    assert len(asked) < 30, "50 flows have 150 ends and beginnings that are waited for"
