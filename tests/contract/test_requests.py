"""What every store promises of requests: left for runs in progress only, listed until heard, gone with their run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from headrace._model.records import Request, instant
from headrace._ports import Row, Store
from tests.contract.stores import NOON, SECOND, batch, flow_id, flow_row


def asked(number: int, at: int = 1, *, what: str = "cancel", why: str = "by hand") -> Request:
    """Give the request, made *at* seconds after noon, that flow run *number* be cancelled."""
    return Request(run_id=flow_id(number), what=what, why=why, at=instant(NOON + at * SECOND))


def going(number: int, **columns: object) -> Row:
    """Give the row of flow run *number*, which goes on."""
    return flow_row(number, state_type="RUNNING", state_name="Running", end_time=None, **columns)


async def test_nothing_is_asked_of_anyone_at_first(store: Store) -> None:
    await store.append(batch(going(1)))

    assert await store.requests([flow_id(1)]) == []
    assert await store.requests([]) == []


@pytest.mark.parametrize("why", ["by hand", "", "☃ two\nlines", "'; DROP TABLE request; --"])
async def test_a_request_comes_back_as_it_was_made(store: Store, why: str) -> None:
    await store.append(batch(going(1)))

    assert await store.request(asked(1, why=why))

    assert await store.requests([flow_id(1)]) == [asked(1, why=why)]


async def test_signs_that_cannot_be_encoded_cost_no_request(store: Store) -> None:
    await store.append(batch(going(1)))

    assert await store.request(asked(1, why="half a pair: \udc80"))

    (request,) = await store.requests([flow_id(1)])
    assert request.why.startswith("half a pair: ")


async def test_each_hears_what_was_asked_of_it_alone_oldest_first(store: Store) -> None:
    await store.append(batch(going(1), going(2), going(3)))
    for number, at in ((1, 3), (2, 2), (3, 1)):
        await store.request(asked(number, at))

    assert await store.requests([flow_id(1), flow_id(3)]) == [asked(3, 1), asked(1, 3)]
    assert await store.requests([flow_id(2)]) == [asked(2, 2)]
    assert await store.requests([flow_id(9)]) == []


async def test_what_was_not_heard_is_listed_again_and_what_was_heard_is_not(store: Store) -> None:
    await store.append(batch(going(1), going(2)))
    await store.request(asked(1))
    await store.request(asked(2))
    both = [flow_id(1), flow_id(2)]

    assert await store.requests(both) == await store.requests(both)
    await store.heard([asked(1)])

    assert await store.requests(both) == [asked(2)]


async def test_asking_twice_is_asking_once_and_the_last_reason_counts(store: Store) -> None:
    await store.append(batch(going(1)))

    assert await store.request(asked(1, why="first"))
    assert await store.request(asked(1, 2, why="second"))

    assert await store.requests([flow_id(1)]) == [asked(1, 2, why="second")]


async def test_to_hear_what_nobody_asked_changes_nothing(store: Store) -> None:
    await store.append(batch(going(1)))
    await store.request(asked(1))

    await store.heard([])
    await store.heard([asked(2), asked(1, what="pause")])

    assert await store.requests([flow_id(1)]) == [asked(1)]


@pytest.mark.parametrize("rows", [(), (flow_row(1),), (flow_row(2),)], ids=["none", "ended", "another"])
async def test_nothing_can_be_asked_of_a_run_that_is_not_in_progress(store: Store, rows: Sequence[Row]) -> None:
    await store.append(batch(*rows))

    assert not await store.request(asked(1))

    assert await store.requests([flow_id(1)]) == []


async def test_what_was_asked_of_a_run_goes_when_it_is_deleted(store: Store) -> None:
    await store.append(batch(going(1), going(2, parent_id=flow_id(1)), going(3)))
    for number in (1, 2, 3):
        await store.request(asked(number))

    await store.delete(flow_id(1))

    assert await store.requests([flow_id(1), flow_id(2), flow_id(3)]) == [asked(3)]


async def test_a_request_outlasts_the_store_that_took_it_for_as_long_as_its_rows_do(store: Store) -> None:
    await store.append(batch(going(1)))
    await store.request(asked(1))
    await store.close()

    assert await store.requests([flow_id(1)]) == [asked(1)]
    await store.open()
    assert await store.requests([flow_id(1)]) == [asked(1)]
    await store.heard([asked(1)])
    await store.close()

    assert await store.requests([flow_id(1)]) == []


async def test_a_store_that_is_closed_takes_requests_and_lets_them_be_heard(store: Store) -> None:
    await store.append(batch(going(1), going(2)))
    await store.close()

    assert await store.request(asked(1))
    assert await store.request(asked(2))
    await store.heard([asked(2)])

    assert await store.requests([flow_id(1), flow_id(2)]) == [asked(1)]


async def test_a_request_that_came_too_late_goes_with_the_next_one(store: Store) -> None:
    await store.append(batch(going(1), going(2)))
    await store.request(asked(1))
    await store.append(batch(flow_row(1)))

    await store.request(asked(2))

    assert await store.requests([flow_id(1), flow_id(2)]) == [asked(2)]
