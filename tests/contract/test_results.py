"""What every store promises of results and leases: bytes come back as they were, and a lease has one holder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace._model.ids import run_id
from headrace._model.records import StoredResult
from headrace._ports import Batch, Store, Which
from tests.contract.stores import NOON, SECOND, STORES, batch, flow_id, flow_row, prefix, task_row

KEY = "c0ffee" + "0" * 26
ANY_TEXT = st.text(st.characters(exclude_categories=()))
LOCK = "result:abc"


def result(key: str = KEY, at: int = 1, **more: Any) -> StoredResult:
    """Give the result under *key*, made *at* seconds after noon; *more* says otherwise."""
    usual: dict[str, Any] = {
        "run_id": run_id(prefix(1), at),
        "task_name": "fetch",
        "created": NOON + at * SECOND,
        "expires": None,
        "codec": "json",
        "size": 4,
        "digest": "d" * 32,
        "data": b"null",
    }
    return StoredResult(key=key, **(usual | more))


def persisted(number: int, of: int = 1, **more: Any) -> StoredResult:
    """Give the result that run *number* of flow run *of* keeps for itself."""
    key = run_id(prefix(of), number)
    return result(key, number, **({"run_id": key} | more))


async def keep(store: Store, *results: StoredResult) -> None:
    """Have *store* keep *results*."""
    await store.append(Batch(results=list(results)))


async def keys(store: Store, **which: Any) -> list[str]:
    """Give the keys that are listed."""
    return [one.key for one in await store.results.listed(**which)]


# -- what is kept -------------------------------------------------------------------------------------------


async def test_at_first_nothing_is_kept(store: Store) -> None:
    assert await store.results.recall([KEY]) == {}
    assert await store.results.recall([]) == {}
    assert await store.results.listed() == []
    assert await store.results.total() == (0, 0)
    assert await store.results.taken([result(storage="/x", name="y")]) == set()
    assert store.results.look(KEY) is None


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"expires": NOON + 9},
        {"data": None, "storage": "/somewhere", "name": "ab/c.json"},
        {"run_id": "", "task_name": "transaction"},
        {"data": b"", "size": 0},
        {"data": b"x" * 1_000_000},
        {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"},
        {"task_name": ""},
        {"task_name": "schön ☃ 12", "data": '{"ü":"☃𝄞"}'.encode(), "size": 16},
        {"created": (1 << 63) - 1},
        {"created": 0},
        {"codec": "pickle"},
    ],
    ids=[
        "usual",
        "expires",
        "beside",
        "of no run",
        "empty",
        "large",
        "traced",
        "nameless",
        "of many bytes a sign",
        "last moment",
        "first moment",
        "other codec",
    ],
)
async def test_a_result_comes_back_as_it_was_made(store: Store, more: dict[str, Any]) -> None:
    await keep(store, result(**more))

    assert await store.results.recall([KEY, "another"]) == {KEY: result(**more)}
    assert store.results.look(KEY) == result(**more)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Give a loop for them."""
    made = asyncio.SelectorEventLoop()
    yield made
    made.close()


@pytest.fixture(scope="module", params=sorted(STORES))
def lasting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, loop: asyncio.AbstractEventLoop
) -> Iterator[Store]:
    """Give a store for many examples."""
    folder = tmp_path_factory.mktemp("lasting")
    made = STORES[request.param](folder, lambda: request.getfixturevalue("postgresql"))
    loop.run_until_complete(made.open())
    yield made
    loop.run_until_complete(made.close())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(key=ANY_TEXT, data=st.one_of(st.binary(max_size=300), ANY_TEXT.map(lambda text: text.encode(errors="replace"))))
def test_any_bytes_come_back_under_any_key(
    lasting: Store, loop: asyncio.AbstractEventLoop, key: str, data: bytes
) -> None:
    one = result(key, data=data, size=len(data))

    loop.run_until_complete(keep(lasting, one))

    assert loop.run_until_complete(lasting.results.recall([key])) == {key: one}
    assert lasting.results.look(key) == one
    assert loop.run_until_complete(lasting.results.forget([one])) == 1
    assert lasting.results.look(key) is None


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@given(
    key=st.text(st.characters(exclude_categories=()), min_size=32, max_size=32),
    value=st.text(st.characters(exclude_categories=["Cs"])),
    name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
)
def test_small_json_comes_back_under_a_key_as_long_as_ours(
    lasting: Store, loop: asyncio.AbstractEventLoop, key: str, value: str, name: str
) -> None:
    data = orjson.dumps(value)
    one = result(key, data=data, size=len(data), task_name=name)

    loop.run_until_complete(keep(lasting, one))

    assert lasting.results.look(key) == one
    assert loop.run_until_complete(lasting.results.forget([one])) == 1


async def test_results_of_all_kinds_are_kept_in_one_batch_and_the_last_under_a_key_wins(store: Store) -> None:
    kinds = [result(at=1), result("b" * 32, expires=NOON), result(at=2, data=b"2"), result("b" * 32, data=b"3")]

    await keep(store, *kinds)

    assert await store.results.recall([KEY, "b" * 32]) == {KEY: kinds[2], "b" * 32: kinds[3]}


async def test_a_later_result_replaces_the_one_under_the_same_key(store: Store) -> None:
    await keep(store, result(at=1), result("another"))
    await keep(store, result(at=2, data=b"true"))

    assert (await store.results.recall([KEY]))[KEY] == result(at=2, data=b"true")
    assert await store.results.total() == (2, 8)


async def test_one_that_lasts_longer_than_can_be_told_never_expires_in_this_century(store: Store) -> None:
    await keep(store, result(expires=1 << 80))

    expires = (await store.results.recall([KEY]))[KEY].expires
    assert expires is None or expires > NOON + 100 * 365 * 86_400 * SECOND


async def test_results_outlast_the_closing_of_the_store(store: Store) -> None:
    await keep(store, result())
    await store.close()

    assert await store.results.recall([KEY]) == {KEY: result()}
    assert store.results.look(KEY) == result()
    assert await store.results.forget([result()]) == 1
    assert await store.results.listed() == []


async def test_a_deleted_run_takes_what_it_kept_for_itself_along_and_nothing_else(store: Store) -> None:
    await store.append(batch(flow_row(1), flow_row(2)))
    await keep(store, result(), persisted(0), persisted(0, of=2))

    await store.delete(flow_id(1))

    assert sorted(await keys(store)) == sorted([KEY, flow_id(2)])


# -- lists --------------------------------------------------------------------------------------------------


async def test_results_are_listed_newest_first_without_their_bytes_and_no_more_than_asked(store: Store) -> None:
    await keep(store, result("b", 2), result("c", 3), result("a", 1))

    assert await keys(store) == ["c", "b", "a"]
    assert await store.results.listed(limit=1) == [result("c", 3)._replace(data=None)]
    assert await keys(store, limit=0) == []


async def test_pages_leave_nothing_out_however_many_were_made_at_once(store: Store) -> None:
    await keep(store, *(result(f"{number:02}", number // 4) for number in range(20)))

    found: list[str] = []
    after: StoredResult | None = None
    while page := await store.results.listed(limit=3, after=after):
        found += [one.key for one in page]
        after = page[-1]
        await store.results.forget([after])

    assert found == sorted(found, key=lambda key: (int(key) // 4, key), reverse=True)
    assert len(found) == 20


FOUND: list[tuple[Which, set[str]]] = [
    ({}, {"abc", "abd", "a%c", "old", "over", flow_id(1)}),
    ({"begins": "ab"}, {"abc", "abd"}),
    ({"begins": "abc"}, {"abc"}),
    ({"begins": "a%"}, {"a%c"}),
    ({"begins": "AB"}, set()),
    ({"begins": "\udcff\0"}, set()),
    ({"task": "other"}, {"abd"}),
    ({"task": "\udcff\0"}, set()),
    ({"before": NOON + 5 * SECOND}, {"old", flow_id(1)}),
    ({"expired": NOON + 99}, set()),
    ({"expired": NOON + 100}, {"over"}),
    ({"cached": True}, {"abc", "abd", "a%c", "old", "over"}),
    ({"cached": True, "before": NOON + 5 * SECOND, "task": "fetch"}, {"old"}),
    ({"begins": "ab", "expired": NOON * 2, "task": None, "before": None}, set()),
]


@pytest.mark.parametrize(("which", "found"), FOUND)
async def test_only_those_are_listed_and_counted_of_which_all_holds(
    store: Store, which: Which, found: set[str]
) -> None:
    await keep(
        store,
        result("abc", 10),
        result("abd", 11, task_name="other"),
        result("a%c", 12),
        result("old", 1),
        result("over", 13, expires=NOON + 100),
        persisted(0),
    )

    assert set(await keys(store, **which)) == found
    assert await store.results.total(**which) == (len(found), 4 * len(found))


# -- removal ------------------------------------------------------------------------------------------------


async def test_what_is_forgotten_is_gone_and_counted_and_the_rest_stays(store: Store) -> None:
    await keep(store, result("a"), result("b"), result("c"))

    assert await store.results.forget([result("a"), result("b"), result("unheard")]) == 2
    assert await store.results.forget([]) == 0
    assert await keys(store) == ["c"]


async def test_what_was_made_anew_meanwhile_is_not_forgotten(store: Store) -> None:
    await keep(store, result("a", 1), result("b", 1))
    (seen,) = await store.results.listed(begins="a")
    await keep(store, result("a", 2))

    assert await store.results.forget([seen, result("b", 1)]) == 1
    assert await keys(store) == ["a"]


async def test_a_place_that_another_result_names_is_taken(store: Store) -> None:
    def beside(key: str, storage: str, name: str) -> StoredResult:
        return result(key, data=None, storage=storage, name=name)

    await keep(store, beside("a", "/x", "shared"), beside("b", "/y", "b"), result("c"))
    gone = [beside("d", "/x", "shared"), beside("e", "/x", "b"), beside("f", "/y", "f"), result("g")]

    assert await store.results.taken(gone) == {("/x", "shared")}


# -- leases -------------------------------------------------------------------------------------------------


async def claim(store: Store, owner: str, at: int, dead: str = "", name: str = LOCK) -> tuple[str, int] | None:
    """Ask, *at* seconds after noon, for a lease of ten seconds."""
    now = NOON + at * SECOND
    return await store.results.claim(name, owner, now=now, until=now + 10 * SECOND, dead=dead)


def until(at: int) -> int:
    """Give the moment *at* seconds after noon."""
    return NOON + at * SECOND


async def test_a_free_lease_is_given_and_then_held(store: Store) -> None:
    assert await claim(store, "one", 0) is None
    assert await claim(store, "two", 1) == ("one", until(10))
    assert await claim(store, "two", 1, name="another") is None


async def test_who_holds_a_lease_may_claim_it_again_for_longer(store: Store) -> None:
    await claim(store, "one", 0)

    assert await claim(store, "one", 5) is None
    assert await claim(store, "two", 14) == ("one", until(15))


async def test_a_lease_that_expired_is_given_to_who_asks(store: Store) -> None:
    await claim(store, "one", 0)

    assert await claim(store, "two", 9) == ("one", until(10))
    assert await claim(store, "two", 10) is None
    assert await claim(store, "one", 11) == ("two", until(20))


async def test_a_lease_of_a_dead_owner_is_taken_over_before_it_expires(store: Store) -> None:
    await claim(store, "one", 0)

    assert await claim(store, "two", 1, dead="another") == ("one", until(10))
    assert await claim(store, "two", 1, dead="one") is None
    assert await claim(store, "three", 2, dead="one") == ("two", until(11))


async def test_a_lease_that_was_given_back_is_free(store: Store) -> None:
    await claim(store, "one", 0)
    await store.results.release(LOCK, "one")

    assert await claim(store, "two", 1) is None


async def test_nobody_gives_back_or_renews_what_is_another_s(store: Store) -> None:
    await claim(store, "one", 0)

    await store.results.release(LOCK, "two")
    await store.results.renew([LOCK], "two", until(99))
    await store.results.release("unheard", "two")

    assert await claim(store, "two", 1) == ("one", until(10))


async def test_those_that_are_renewed_are_held_for_longer_and_the_others_are_not(store: Store) -> None:
    for name in ("a", "b", "c"):
        await claim(store, "one", 0, name=name)

    await store.results.renew(["a", "b", "unheard"], "one", until(20))
    await store.results.renew([], "one", until(99))

    assert await claim(store, "two", 15, name="a") == ("one", until(20))
    assert await claim(store, "two", 15, name="b") == ("one", until(20))
    assert await claim(store, "two", 15, name="c") is None
    assert await claim(store, "two", 15, name="unheard") is None


async def test_a_lease_that_was_taken_over_is_not_renewed_by_who_lost_it(store: Store) -> None:
    await claim(store, "one", 0)
    await claim(store, "two", 10)

    await store.results.renew([LOCK], "one", until(99))

    assert await claim(store, "three", 20) is None


async def test_a_store_that_is_closed_gives_leases_and_takes_them_back(store: Store) -> None:
    await store.close()

    assert await claim(store, "one", 0) is None
    assert await claim(store, "two", 1) == ("one", until(10))
    await store.results.renew([LOCK], "one", until(20))
    assert await claim(store, "two", 15) == ("one", until(20))
    await store.results.release(LOCK, "one")

    assert await claim(store, "two", 16) is None


# -- parts of rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["null", '"ü\\u0000é 🙂"', "[1, {\"a\": 'b'}]", "x" * 5_000])
async def test_what_the_row_of_a_task_run_holds_is_found_as_any_other_result(store: Store, value: str) -> None:
    row = task_row(3, step_id="a" * 32, data=value)
    await store.append(batch(flow_row(1), task_row(2), row, task_row(4, of=2, data="1")))
    key = run_id(prefix(1), 3)

    (found,) = (await store.results.recall([key, run_id(prefix(1), 2)])).values()

    assert (found.key, found.run_id, found.task_name, found.created) == (key, key, "fetch", NOON + 3 * SECOND)
    assert (found.codec, found.data, found.size) == ("json", value.encode(), len(value.encode()))
    assert found.digest == blake2b(value.encode(), digest_size=16).hexdigest()
    assert (found.expires, found.storage, found.name) == (None, None, None)
    assert store.results.look(key) == found
    assert await store.results.under(prefix(1)) == {key: found}
    assert [one.id for one in await store.task_runs(prefix(1))] == [run_id(prefix(1), 2), key]


async def test_what_rows_hold_is_listed_with_their_runs_alone_and_goes_with_them(store: Store) -> None:
    await store.append(batch(flow_row(1), task_row(3, data="1")))

    assert await store.results.listed() == []
    assert await store.results.total() == (0, 0)

    await store.delete(flow_id(1))
    assert await store.results.recall([run_id(prefix(1), 3)]) == {}
    assert await store.results.under(prefix(1)) == {}
