"""What every store promises of suspended runs: a row each, in no process, until they are due; then one process's."""

from __future__ import annotations

import itertools
from typing import Any

import anyio
import pytest

from headrace._model.ids import run_id
from headrace._model.records import Owned, Request, Suspension, instant
from headrace._model.signals import Arrival
from headrace._ports import Batch, Store
from headrace.errors import StaleRuns
from tests.contract.stores import NOON, SECOND, batch, flow_id, flow_row, prefix, task_row
from tests.contract.test_owners import begins, ends, goes_on
from tests.contract.test_requests import going
from tests.contract.test_results import persisted
from tests.contract.test_signals import signal, unread

PAUSED: dict[str, Any] = {
    "state_type": "PAUSED",
    "state_name": "Suspended",
    "end_time": None,
    "durability": "strict",
    "owner": "",
}
LATER = NOON + 90 * SECOND


def suspends(number: int, wake_at: int | None, *names: str, epoch: int = 1, reads: int | None = None) -> Batch:
    """Give the batch in which a durable run that waits for signals *names* is suspended, of which it read one."""
    made = batch(flow_row(number, **PAUSED, epoch=epoch), strict=True)
    made.fences[flow_id(number)] = epoch
    made.suspended.append(Suspension(flow_id(number), wake_at, [(flow_id(number), name) for name in names]))
    if reads is not None:
        kept = persisted(reads, of=number)
        made.results.append(kept)
        made.read.append((flow_id(number), reads, kept.key))
    return made


def prior(number: int, priority: int) -> Batch:
    """Give the batch in which a durable run of some priority begins."""
    made = begins(number)
    made.owned[0] = (*made.owned[0], priority)
    return made


async def due(store: Store, now: int = LATER, limit: int = 100) -> list[str]:
    """Give the ids of those that are due."""
    return [one.run_id for one in (await store.owners.due(now, limit))[0]]


async def one(store: Store, number: int = 1) -> Owned:
    """Give who has run *number*."""
    found = await store.owners.one(flow_id(number))
    assert found is not None
    return found


async def test_a_suspended_run_is_in_no_round_until_it_is_due(store: Store) -> None:
    await store.append(begins(1))
    await store.append(begins(2))
    await store.append(suspends(1, LATER))

    assert [known.run_id for known in await store.owners.listed()] == [flow_id(2)]
    assert [run.id for run in await store.unfinished()] == [flow_id(2)]
    assert await store.owners.due(LATER - 1, 10) == ([], LATER)
    assert await store.owners.due(LATER, 10) == ([Owned(flow_id(1), "", 1, NOON, wake_at=LATER)], None)
    (run,) = await store.flow_runs(state="Suspended")
    assert (run.id, run.owner) == (flow_id(1), "")


async def test_one_that_only_a_signal_wakes_is_never_due_by_itself(store: Store) -> None:
    await store.append(begins(1))
    await store.append(suspends(1, None, "go"))

    assert await store.owners.due(LATER, 10) == ([], None)
    assert await one(store) == Owned(flow_id(1), "", 1, NOON)


async def test_it_is_told_of_one_who_has_it_whether_that_is_a_process_or_none(store: Store) -> None:
    await store.append(prior(1, 7))

    assert await store.owners.one(flow_id(1)) == Owned(flow_id(1), "one", 1, NOON, priority=7)
    await store.append(suspends(1, LATER))
    assert await store.owners.one(flow_id(1)) == Owned(flow_id(1), "", 1, NOON, wake_at=LATER, priority=7)
    assert await store.owners.one(flow_id(2)) is None


async def test_those_of_the_highest_priority_come_first_and_then_the_longest_due(store: Store) -> None:
    for number, priority, at in ((1, 0, 1), (2, 0, 0), (3, 5, 3), (4, -1, 0), (5, 5, 2), (6, 9, 91), (7, 0, 99)):
        await store.append(prior(number, priority))
        await store.append(suspends(number, NOON + at * SECOND))

    assert await due(store) == [flow_id(number) for number in (5, 3, 2, 1, 4)]
    assert await due(store, limit=2) == [flow_id(5), flow_id(3)]
    assert (await store.owners.due(LATER, 1))[1] == NOON + 91 * SECOND


async def test_who_claims_what_is_due_has_it_under_the_next_epoch(store: Store) -> None:
    for number in (1, 2, 3):
        await store.append(begins(number))
        await store.append(suspends(number, NOON))
    seen, _ = await store.owners.due(LATER, 2)

    assert await store.owners.claim(seen, "two", LATER) == {flow_id(1), flow_id(2)}

    assert await due(store) == [flow_id(3)]
    assert await one(store) == Owned(flow_id(1), "two", 2, LATER)
    assert [known.run_id for known in await store.owners.listed()] == [flow_id(1), flow_id(2)]
    await store.append(goes_on(1, 1, epoch=2))
    await store.append(suspends(1, NOON, epoch=2))
    assert await due(store) == [flow_id(1), flow_id(3)]
    assert await store.owners.claim([], "two", LATER) == set()


async def test_what_is_not_as_it_was_seen_is_not_claimed(store: Store) -> None:
    for number in range(1, 6):
        await store.append(begins(number))
        await store.append(suspends(number, NOON))
    seen, _ = await store.owners.due(LATER, 10)
    await store.owners.claim(seen[:1], "two", LATER)
    await store.append(suspends(1, NOON, epoch=2))
    await store.owners.claim(seen[1:2], "two", LATER)
    assert await store.owners.take(seen[2], "two", now=LATER, crashes=0, steps=0)
    await store.append(ends(3, epoch=2))
    await store.delete(flow_id(4))

    assert await store.owners.claim(seen, "three", LATER) == {flow_id(5)}
    assert not await store.owners.take(seen[0], "three", now=LATER, crashes=0, steps=0)


async def test_one_that_is_suspended_can_be_taken_before_it_is_due(store: Store) -> None:
    await store.append(begins(1))
    before = await one(store)
    await store.append(suspends(1, LATER))

    assert not await store.owners.take(before, "two", now=NOON, crashes=1, steps=0)
    assert await store.owners.take(await one(store), "two", now=NOON + 5, crashes=0, steps=3)
    assert await one(store) == Owned(flow_id(1), "two", 2, NOON + 5, 0, 3)
    assert await store.owners.due(LATER, 10) == ([], None)


async def test_to_be_suspended_forgives_crashes(store: Store) -> None:
    await store.append(begins(1))
    await store.owners.take(await one(store), "two", now=NOON, crashes=3, steps=4)
    await store.append(suspends(1, LATER, epoch=2))

    assert ((await one(store)).crashes, (await one(store)).steps) == (0, 4)


async def test_who_has_lost_a_run_does_not_suspend_it(store: Store) -> None:
    await store.append(begins(1))
    await store.owners.take(await one(store), "two", now=NOON, crashes=0, steps=0)

    with pytest.raises(StaleRuns):
        await store.append(suspends(1, NOON))

    assert (await one(store)).owner == "two"
    assert await due(store) == []


async def test_who_had_a_run_before_it_was_suspended_writes_nothing_once_it_is_claimed(store: Store) -> None:
    await store.append(begins(1))
    await store.append(suspends(1, NOON))
    await store.owners.claim([await one(store)], "two", LATER)

    for late in (goes_on(1, 1), suspends(1, NOON), ends(1)):
        with pytest.raises(StaleRuns):
            await store.append(late)


async def test_a_signal_makes_a_suspended_run_due(store: Store) -> None:
    for number in (1, 2):
        await store.append(begins(number))
        await store.append(suspends(number, LATER, "go"))

    assert await store.signals.send(signal(1, key="a")) is Arrival.WAKES

    assert await due(store, NOON) == [flow_id(1)]
    assert await store.signals.send(signal(1, key="a")) is Arrival.KNOWN
    await store.owners.claim([await one(store)], "two", NOON)
    assert await store.signals.send(signal(1)) is Arrival.NEW
    assert await unread(store, 1) == ["1", "1"]


@pytest.mark.parametrize(
    ("names", "at_once"), [(("go",), True), (("stop", "go"), True), (("stop",), False), ((), False)]
)
async def test_one_whose_signal_has_come_before_is_due_at_once(
    store: Store, names: tuple[str, ...], at_once: bool
) -> None:
    await store.append(begins(1))
    await store.signals.send(signal(1))

    await store.append(suspends(1, LATER, *names))

    assert await due(store, NOON) == [flow_id(1)] * at_once


async def test_a_signal_that_is_read_as_its_run_is_suspended_does_not_wake_it(store: Store) -> None:
    await store.append(begins(1))
    for key in ("a", None):
        await store.signals.send(signal(1, key=key))
    first, second = await store.signals.unread([flow_id(1)])

    await store.append(suspends(1, LATER, "go", reads=first.id))
    assert await due(store, NOON) == [flow_id(1)]

    await store.owners.claim([await one(store)], "two", NOON)
    await store.append(suspends(1, LATER, "go", epoch=2, reads=second.id))
    assert await due(store, NOON) == []


async def test_what_is_sent_to_a_run_below_wakes_the_one_above_all(store: Store) -> None:
    await store.append(begins(1))
    below = batch(
        task_row(4, of=1, state_type="RUNNING", end_time=None),
        flow_row(2, **PAUSED, parent_id=run_id(prefix(1), 4)),
        flow_row(3, **PAUSED, parent_id=flow_id(2)),
    )
    await store.append(below)
    made = suspends(1, LATER)
    made.suspended[0] = Suspension(flow_id(1), LATER, [(flow_id(3), "go")])
    await store.append(made)
    assert await due(store, NOON) == []

    assert await store.signals.send(signal(3)) is Arrival.WAKES
    assert await due(store, NOON) == [flow_id(1)]

    await store.owners.claim([await one(store)], "two", NOON)
    again = suspends(1, LATER, epoch=2)
    again.suspended[0] = made.suspended[0]
    await store.append(again)
    assert await due(store, NOON) == [flow_id(1)]


async def test_what_somebody_asks_of_a_suspended_run_makes_it_due(store: Store) -> None:
    for number in (1, 2):
        await store.append(begins(number))
    await store.append(batch(flow_row(3, **PAUSED, parent_id=flow_id(2))))
    asked = [Request(flow_id(number), "cancel", "by hand", instant(NOON)) for number in (1, 3)]
    for first in (True, False):
        for request in asked if first else ():
            assert await store.request(request)
        for number in (1, 2):
            await store.append(suspends(number, LATER, epoch=(await one(store, number)).epoch))
        assert await due(store, NOON) == [flow_id(1), flow_id(2)] * first
        if first:
            await store.heard(asked)
            await store.owners.claim([await one(store, number) for number in (1, 2)], "two", NOON)

    for request in asked:
        assert await store.request(request)
    assert await due(store, NOON) == [flow_id(1), flow_id(2)]


async def test_what_is_asked_of_a_run_that_is_in_progress_leaves_who_has_it_alone(store: Store) -> None:
    await store.append(begins(1))
    await store.append(batch(going(2)))
    before = await one(store)

    for number in (1, 2):
        assert await store.request(Request(flow_id(number), "cancel", "by hand", instant(NOON)))
        assert await store.signals.send(signal(number)) is Arrival.NEW

    assert await one(store) == before


async def test_a_suspended_run_that_is_deleted_is_due_no_more(store: Store) -> None:
    await store.append(begins(1))
    await store.append(suspends(1, NOON))

    await store.delete(flow_id(1))

    assert await store.owners.due(LATER, 10) == ([], None)
    assert await store.owners.one(flow_id(1)) is None


@pytest.mark.parametrize("round_", range(5))
async def test_no_signal_is_lost_to_a_run_that_is_suspended_meanwhile(store: Store, round_: int) -> None:
    numbers = range(round_ * 20 + 1, round_ * 20 + 21)
    for number in numbers:
        await store.append(begins(number))

    async def suspend() -> None:
        for number in numbers:
            await store.append(suspends(number, LATER, "go"))

    async def send() -> None:
        for number in numbers:
            assert await store.signals.send(signal(number))

    async with anyio.create_task_group() as group:
        for work in (suspend, send) if round_ % 2 else (send, suspend):
            group.start_soon(work)

    assert await due(store, NOON) == [flow_id(number) for number in numbers]
    assert list(itertools.chain(await unread(store, *numbers))) == ["1"] * 20
