"""The journal: nothing told is lost, nothing is taken twice, and the back office is woken once."""

from __future__ import annotations

import threading

from headrace._engine.journal import CROWDED, Journal


def journal(woken: list[int]) -> Journal:
    made = Journal(draw=lambda: "prefix", level="batched", now=lambda: 0)
    made.start(lambda: woken.append(1), "owner")
    return made


def test_the_first_to_tell_wakes_the_office_and_the_next_do_not() -> None:
    woken: list[int] = []
    told = journal(woken)

    for number in range(3):
        told.tell((number,))

    assert woken == [1]
    assert told.take(10) == [(0,), (1,), (2,)]


def test_who_asks_wakes_the_office_even_if_a_teller_was_struck_before_it_could() -> None:
    woken: list[int] = []
    told = journal(woken)
    told.asleep = False

    told.ask(lambda _error: None)

    assert woken == [1]


def test_the_oldest_are_taken_first_and_at_most_so_many() -> None:
    told = journal([])
    for number in range(5):
        told.tell((number,))

    assert told.take(2) == [(0,), (1,)]
    assert told.take(10) == [(2,), (3,), (4,)]
    assert told.take(10) == []


def test_it_is_crowded_only_beyond_its_bound() -> None:
    told = journal([])
    told.told.extend([()] * CROWDED)
    assert not told.crowded

    told.tell(())
    assert told.crowded


def test_nothing_is_lost_or_taken_twice_while_many_threads_tell() -> None:
    told = journal([])

    def tell(name: int) -> None:
        for turn in range(500):
            told.tell((name, turn))

    threads = [threading.Thread(target=tell, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    taken: list[tuple[int, ...]] = []
    while any(thread.is_alive() for thread in threads) or told.told:
        taken += told.take(7)

    assert len(taken) == len(set(taken)) == 2_000
    for name in range(4):
        assert [turn for who, turn in taken if who == name] == list(range(500))
