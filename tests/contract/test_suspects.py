"""On every store: of durable runs with which processes have ended again and again, a process tries one at a time."""

from __future__ import annotations

from headrace._engine.journal import Journal
from headrace._model.records import Owned
from headrace._ports import Store
from headrace._suspects import TRIAL, in_turn
from tests.contract.stores import NOON, SECOND, batch, flow_id, flow_row
from tests.contract.test_owners import GOING, begins, goes_on


def journal(owner: str = "two", at: float = 1) -> Journal:
    """Give the journal of the process *owner*, *at* seconds after noon."""
    made = Journal(draw=lambda: "", level="batched", now=lambda: NOON + int(at * SECOND))
    made.owner = owner
    return made


async def left_behind(store: Store, *crashes: int) -> None:
    """Leave runs behind, numbered from 1, with which so many processes had ended before they were last taken up."""
    for number, count in enumerate(crashes, 1):
        await store.append(begins(number, at=number))
        await store.owners.take(await owned(store, number), "one", now=NOON + number, crashes=count, steps=0)


async def owned(store: Store, number: int) -> Owned:
    (found,) = [one for one in await store.owners.listed() if one.run_id == flow_id(number)]
    return found


async def tried(store: Store, number: int, owner: str = "two") -> None:
    """Have *owner* take a suspect up, at noon."""
    one = await owned(store, number)
    await store.owners.take(one, owner, now=NOON, crashes=one.crashes + 1, steps=0)


async def turns(store: Store, here: Journal) -> list[int]:
    """Give the numbers of the runs that the process of *here* may take up now."""
    left = [one for one in await store.owners.listed() if one.owner == "one"]
    return [int(run_id[:8], 16) for run_id in await in_turn(store, here, left)]


async def test_suspects_come_last_and_first_those_that_crashed_the_least(store: Store) -> None:
    await left_behind(store, 3, 0, 1, 0, 1)

    assert await turns(store, journal()) == [2, 4, 3, 5, 1]


async def test_while_one_is_on_trial_only_those_are_taken_up_that_are_no_suspects(store: Store) -> None:
    await left_behind(store, 1, 1, 0)
    await tried(store, 1)

    assert await turns(store, journal()) == [3]
    assert await turns(store, journal("three")) == [3, 2]


async def test_a_trial_is_over_once_a_step_is_recorded(store: Store) -> None:
    await left_behind(store, 1, 1)
    await tried(store, 1)
    await store.append(goes_on(1, 1, epoch=3))

    assert await turns(store, journal()) == [2]


async def test_a_trial_is_over_after_a_while(store: Store) -> None:
    await left_behind(store, 1, 1)
    await tried(store, 1)

    assert await turns(store, journal(at=TRIAL - 0.1)) == []
    assert await turns(store, journal(at=TRIAL + 0.1)) == [2]


async def test_a_run_that_its_process_gave_up_is_not_on_trial(store: Store) -> None:
    await left_behind(store, 1, 1)
    await tried(store, 1)
    given_up = batch(flow_row(1, **{**GOING, "state_type": "CRASHED", "state_name": "Crashed"}, epoch=3), strict=True)
    given_up.fences[flow_id(1)] = 3
    await store.append(given_up)

    assert await turns(store, journal()) == [2]
