"""What every store promises of signals: in order, kept until read, told apart by their keys, gone with their run."""

from __future__ import annotations

from typing import Any

import pytest

from headrace._model.records import instant
from headrace._model.signals import Arrival, Signal
from headrace._ports import Batch, Store
from headrace.errors import StaleRuns
from tests.contract.stores import NOON, SECOND, batch, flow_id, flow_row
from tests.contract.test_owners import begins, ends, goes_on
from tests.contract.test_requests import going
from tests.contract.test_results import persisted

LEFT: dict[str, Any] = {"state_type": "CRASHED", "state_name": "Crashed", "durability": "strict"}


def signal(to: int, data: str = "1", *, name: str = "go", key: str | None = None, asked: bool = False) -> Signal:
    """Give a signal to flow run *to*."""
    return Signal(flow_id(to), name, data, instant(NOON + SECOND), key, asked)


async def unread(store: Store, *numbers: int, name: str | None = None) -> list[str]:
    """Give what flow runs *numbers* have not read."""
    return [one.data for one in await store.signals.unread([flow_id(number) for number in numbers], name=name)]


def reads(number: int, *read: Signal, epoch: int = 1) -> Batch:
    """Give the batch in which a durable run has read signals."""
    made = goes_on(number, 1, epoch)
    for one in read:
        kept = persisted(one.id, of=number)
        made.results.append(kept)
        made.read.append((flow_id(number), one.id, kept.key))
    return made


@pytest.mark.parametrize("data", ["null", '"☃ \\u0000 \'; DROP TABLE signal; --"', '{"a":[1,2.5,true]}'])
async def test_a_signal_comes_back_as_it_was_sent(store: Store, data: str) -> None:
    await store.append(batch(going(1)))
    given = signal(1, data, name="go ☃", key="k", asked=True)

    assert await store.signals.send(given)

    (found,) = await store.signals.unread([flow_id(1)])
    assert (found.run_id, found.name, found.data, found.at, found.key, found.asked) == (
        given.run_id, given.name, given.data, given.at, given.key, given.asked,
    )  # fmt: skip


async def test_each_run_has_its_own_in_the_order_of_sending(store: Store) -> None:
    await store.append(batch(going(1), going(2)))
    for to, data, name in ((1, "1", "go"), (2, "2", "go"), (1, "3", "stop"), (1, "4", "go")):
        await store.signals.send(signal(to, data, name=name))

    assert await unread(store, 1) == ["1", "3", "4"]
    assert await unread(store, 1, name="go") == ["1", "4"]
    assert await unread(store, 2, 1, name="go") == ["1", "2", "4"]
    assert [one.data for one in await store.signals.unread([flow_id(1)], name="go", limit=1)] == ["1"]
    assert await unread(store, 3) == await unread(store) == []


async def test_a_key_is_sent_once_read_or_not(store: Store) -> None:
    await store.append(batch(going(1), going(2)))

    assert await store.signals.send(signal(1, "1", key="a"))
    assert await store.signals.send(signal(1, "2", key="a")) is Arrival.KNOWN
    assert await store.signals.send(signal(2, "3", key="a"))
    assert await store.signals.send(signal(1, "4", key="b"))
    await store.signals.heard(await store.signals.unread([flow_id(1)]))
    assert await store.signals.send(signal(1, "5", key="a")) is Arrival.KNOWN

    assert await unread(store, 1, 2) == ["3"]


async def test_what_was_read_is_gone_and_the_rest_is_not(store: Store) -> None:
    await store.append(batch(going(1)))
    for data in ("1", "2", "3"):
        await store.signals.send(signal(1, data))
    first, _, last = await store.signals.unread([flow_id(1)])

    await store.signals.heard([first, last])
    await store.signals.heard([])
    await store.signals.heard([first])

    assert await unread(store, 1) == ["2"]


@pytest.mark.parametrize("rows", [(), (flow_row(1),), (flow_row(1, state_type="CRASHED"),), (going(2),)])
async def test_nothing_is_sent_to_a_run_that_does_not_go_on(store: Store, rows: tuple[Any, ...]) -> None:
    await store.append(batch(*rows))

    assert await store.signals.send(signal(1, key="a")) is None

    assert await unread(store, 1) == []


async def test_a_durable_run_that_crashed_is_sent_to_and_keeps_what_it_has(store: Store) -> None:
    await store.append(batch(going(1, durability="strict")))
    await store.signals.send(signal(1, "1"))
    await store.append(batch(flow_row(1, **LEFT)))

    assert await store.signals.send(signal(1, "2"))

    assert await unread(store, 1) == ["1", "2"]


async def test_what_was_sent_goes_with_the_end_of_its_run(store: Store) -> None:
    await store.append(batch(going(1), going(2)))
    for to in (1, 2):
        await store.signals.send(signal(to, str(to), key="a"))

    await store.append(batch(flow_row(1)))
    await store.append(batch(going(1)))  # as if it began anew: nothing is left of what was there

    assert await unread(store, 1, 2) == ["2"]
    assert await store.signals.send(signal(1, key="a"))


async def test_what_was_sent_goes_with_its_run_when_that_is_deleted(store: Store) -> None:
    await store.append(batch(going(1), going(2, parent_id=flow_id(1)), going(3)))
    for to in (1, 2, 3):
        await store.signals.send(signal(to, str(to)))

    await store.delete(flow_id(1))

    assert await unread(store, 1, 2, 3) == ["3"]


async def test_what_a_durable_run_reads_goes_with_the_record_of_it(store: Store) -> None:
    await store.append(begins(1))
    for data, key in (("1", None), ("2", "a"), ("3", None)):
        await store.signals.send(signal(1, data, key=key))
    first, second, _ = await store.signals.unread([flow_id(1)])

    made = reads(1, first, second)
    await store.append(made)
    await store.append(made)

    assert await unread(store, 1) == ["3"]
    assert {one.key for one in made.results} <= set(await store.results.recall([one.key for one in made.results]))
    assert await store.signals.send(signal(1, "4", key="a")) is Arrival.KNOWN
    await store.append(ends(1))
    assert await unread(store, 1) == []


async def test_who_has_lost_a_run_reads_nothing_of_it(store: Store) -> None:
    await store.append(begins(1))
    await store.signals.send(signal(1, "1"))
    (owned,) = await store.owners.listed()
    await store.owners.take(owned, "two", now=NOON, crashes=0, steps=0)

    with pytest.raises(StaleRuns):
        await store.append(reads(1, *await store.signals.unread([flow_id(1)])))

    assert await unread(store, 1) == ["1"]


async def test_signals_outlast_the_store_that_took_them_for_as_long_as_its_rows_do(store: Store) -> None:
    await store.append(batch(going(1)))
    await store.signals.send(signal(1, "1"))
    await store.close()

    assert await store.signals.send(signal(1, "2"))
    assert await unread(store, 1) == ["1", "2"]
    await store.signals.heard((await store.signals.unread([flow_id(1)]))[:1])
    await store.open()

    assert await unread(store, 1) == ["2"]


async def test_who_looks_is_told_of_what_others_have_sent(store: Store) -> None:
    await store.append(batch(going(1), going(2)))
    await store.signals.send(signal(1))
    await store.signals.send(signal(1))
    await store.signals.send(signal(2, name="stop"))

    assert await store.signals.fresh([flow_id(1), flow_id(2)]) == {(flow_id(1), "go"), (flow_id(2), "stop")}
    await store.signals.heard(await store.signals.unread([flow_id(1), flow_id(2)]))
    assert await store.signals.fresh([flow_id(1), flow_id(2)]) == set()


async def test_an_answer_is_kept_for_who_asked_beyond_the_end_of_the_run(store: Store) -> None:
    await store.append(batch(going(1)))
    for key in ("a", "b"):
        await store.signals.send(signal(1, key=key, asked=True))
    first, second = await store.signals.unread([flow_id(1)])
    await store.signals.heard([first, second])

    assert await store.signals.answered(flow_id(1), "a") is None
    await store.signals.answer(first, "true")
    await store.signals.answer(first, "false")
    await store.append(batch(flow_row(1)))

    assert await store.signals.answered(flow_id(1), "a") == "true"
    for key in ("b", "c"):
        with pytest.raises(LookupError):
            await store.signals.answered(flow_id(1), key)


async def test_answers_go_when_the_run_is_deleted(store: Store) -> None:
    await store.append(batch(going(1)))
    await store.signals.send(signal(1, key="a", asked=True))
    await store.signals.answer((await store.signals.unread([flow_id(1)]))[0], "1")

    await store.delete(flow_id(1))

    with pytest.raises(LookupError):
        await store.signals.answered(flow_id(1), "a")
