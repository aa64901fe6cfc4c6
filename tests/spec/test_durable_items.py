"""Generator tasks in durable flows: their items come at once, are on record, and are not made again."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headrace._model.ids import prefix_of
from headrace.errors import NonDeterministicItems
from headrace.testing import crash_at_every_commit, replay
from tests.spec.durable_crashes import STORES, World, doubling, path
from tests.spec.forms import Form, call
from tests.spec.yielding import anew, noted, pages, taken, yielding


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


# -- a generator that had ended ---------------------------------------------------------------------------------------


def test_a_generator_that_had_ended_is_not_run_again_and_its_items_come_from_the_record(
    form: Form, world: World
) -> None:
    page, last = anew(world, form), doubling(world, form, name="last")

    @form.flow(durable=True)
    async def reads() -> list[int]:
        return [*await taken(page(3)), await call(last, 9)]

    run_id = world.crashes(form, reads, at="last 9")
    assert world.seen() == [*noted(0, 2), "last 9"]

    assert world.resumes(form, run_id) == [0, 1, 2, 18]
    assert world.seen() == ["last 9"]
    assert [path(run) for run in world.task_runs()] == [["Running", "Completed"]] * 2


def test_what_a_generator_has_returned_is_on_record_too(world: World) -> None:
    form = Form("sync")
    last = doubling(world, form, name="last")

    def talk() -> Any:
        world.visit("talk")
        yield "one"
        return {"then", "two"}

    talks = yielding(form, talk)

    @form.flow(durable=True)
    async def reads() -> Any:
        def all_of_it() -> Iterator[Any]:
            yield (yield from talks())

        return [*all_of_it(), last(1)]

    assert world.survives(form, reads, at="last 1") == ["one", {"then", "two"}, 2]
    assert world.seen() == ["talk", "last 1", "last 1"]


def test_a_generator_that_has_failed_fails_again_behind_the_same_items(form: Form, world: World) -> None:
    last = doubling(world, form, name="last")

    def fail() -> Iterator[int]:
        world.visit("fail")
        yield 1
        raise LookupError("no more")

    fails = yielding(form, fail)

    @form.flow(durable=True)
    async def reads() -> list[Any]:
        found: list[Any] = []

        async def hear(item: int) -> None:
            found.append(item)

        try:
            await taken(fails(), hear)
        except LookupError as error:
            found.append(str(error))
        return [*found, await call(last, 1)]

    assert world.survives(form, reads, at="last 1") == [1, "no more", 2]
    assert world.seen() == ["fail", "last 1", "last 1"]


def test_items_of_any_kind_come_back_as_they_were_in_order(form: Form, world: World) -> None:
    given: list[Any] = [1, "two", (3, 4), {5}, None, b"six" * 100_000, "seven" * 50_000, {"eight": [9.5]}, [], "\ud800"]
    page, last = anew(world, form, lambda number: given[number]), doubling(world, form, name="last")

    @form.flow(durable=True)
    async def reads() -> list[Any]:
        found = await taken(page(len(given)))
        await call(last, 1)
        return found

    assert world.survives(form, reads, at="last 1") == given
    assert world.seen() == [*noted(0, 9), "last 1", "last 1"]


def test_an_item_that_is_changed_after_it_was_yielded_is_on_record_as_it_was(form: Form, world: World) -> None:
    last = doubling(world, form, name="last")

    def grow() -> Iterator[list[int]]:
        grown: list[int] = []
        for number in range(3):
            grown.append(number)
            yield grown

    grows = yielding(form, grow)

    @form.flow(durable=True)
    async def reads() -> list[int]:
        sizes: list[int] = []

        async def hear(item: list[int]) -> None:
            sizes.append(len(item))

        await taken(grows(), hear)
        return [*sizes, await call(last, 1)]

    assert world.survives(form, reads, at="last 1") == [1, 2, 3, 2]


# -- one that had not -------------------------------------------------------------------------------------------------


def test_a_generator_is_called_with_the_number_of_the_first_item_that_is_missing(form: Form, world: World) -> None:
    page, step = pages(world, form), doubling(world, form)

    @form.flow(durable=True)
    async def reads() -> list[int]:
        return await taken(page(5), lambda item: call(step, item))

    run_id = world.crashes(form, reads, at="step 2")
    world.seen()
    world.crashes_again(form, run_id, at="step 3")
    assert world.seen() == ["step 2", "page 3", "step 3"]

    assert world.resumes(form, run_id) == [0, 1, 2, 3, 4]
    assert world.seen() == ["step 3", "page 4", "step 4"]


def test_who_calls_it_with_a_number_has_it_count_on_from_there(form: Form, world: World) -> None:
    page, step = pages(world, form), doubling(world, form)

    @form.flow(durable=True)
    async def reads() -> list[int]:
        return await taken(page(6, resume_from=2), lambda item: call(step, item))

    assert world.survives(form, reads, at="step 3") == [2, 3, 4, 5]
    assert world.seen() == ["page 2", "step 2", "page 3", "step 3", "step 3", "page 4", "step 4", "page 5", "step 5"]


def test_a_deterministic_one_is_run_from_its_start_and_its_consumer_gets_each_item_once(
    form: Form, world: World
) -> None:
    page, step = anew(world, form, deterministic=True), doubling(world, form)

    @form.flow(durable=True)
    async def reads() -> list[int]:
        return await taken(page(4), lambda item: call(step, item))

    run_id = world.crashes(form, reads, at="step 1")
    world.seen()

    assert world.resumes(form, run_id) == [0, 1, 2, 3]
    assert world.seen() == ["step 1", *noted(0, 2), "step 2", "page 3", "step 3"]


@pytest.mark.parametrize("options", [{"deterministic": True}, {}], ids=["deterministic", "neither"])
@pytest.mark.parametrize(("items", "now"), [([0, 7, 2], "7"), ([0], "missing")])
def test_other_items_than_those_a_step_relies_on_are_refused(
    form: Form, world: World, options: dict[str, Any], items: list[int], now: str
) -> None:
    given = [0, 1, 2]

    def page() -> Iterator[int]:
        yield from given

    yields, step = yielding(form, page, **options), doubling(world, form)

    @form.flow(durable=True)
    async def reads() -> list[int]:
        return await taken(yields(), lambda item: call(step, item))

    run_id = world.crashes(form, reads, at="step 1")
    given[:] = items

    with pytest.raises(NonDeterministicItems, match=f"item 1 was 1, and is {now} now. .* resume_from=0") as caught:
        world.resumes(form, run_id)
    assert (caught.value.recorded, caught.value.asked) == (("1",), (now,))


def test_one_that_says_nothing_goes_on_where_it_yields_the_same(form: Form, world: World) -> None:
    page, step = anew(world, form), doubling(world, form)

    @form.flow(durable=True)
    async def reads() -> list[int]:
        return await taken(page(4), lambda item: call(step, item))

    assert world.survives(form, reads, at="step 2") == [0, 1, 2, 3]


def test_one_that_says_nothing_is_begun_anew_where_no_step_has_followed(form: Form, world: World) -> None:
    """Nobody has done anything with its items that is left, so others will do."""
    moods = ["gay", "sad"]

    def page() -> Iterator[str]:
        mood = moods.pop(0)
        for number in range(2_500):
            if number == 2_400 and mood == "gay":
                world.crash()
            yield f"{mood} {number}"

    yields, last = yielding(form, page), doubling(world, form, name="last")

    @form.flow(durable=True)
    async def reads() -> tuple[str, int, int]:
        found = await taken(yields())
        return found[0], len(found), await call(last, 1)

    run_id = world.crashes(form, reads, at=None)
    world.crashes_again(form, run_id, at="last 1")

    assert world.resumes(form, run_id) == ("sad 0", 2_500, 2)
    assert moods == []


# -- when items are on record -----------------------------------------------------------------------------------------


def test_an_item_is_handed_on_before_it_is_on_record(form: Form, world: World) -> None:
    page, held = pages(world, form), threading.Event()

    @form.flow(durable=True)
    async def reads() -> list[int]:
        commit = world.commit

        def waits() -> None:
            assert held.wait(10)
            commit()

        async def hear(item: int) -> None:
            if item == 899:
                held.set()

        world.commit = waits  # type: ignore[method-assign]
        return await taken(page(900), hear)

    with world.runtime():
        assert form.run(reads) == list(range(900))


@pytest.mark.parametrize(("size", "most"), [(1, 2_002), (2_000, 70)], ids=["many", "large"])
def test_a_generator_far_ahead_of_a_slow_database_waits_for_it(form: Form, world: World, size: int, most: int) -> None:
    page, held, seen = anew(world, form, lambda _: "x" * size), threading.Event(), list[int]()

    def come_back() -> None:
        seen.append(-1)
        held.set()

    @form.flow(durable=True)
    async def reads() -> int:
        commit = world.commit

        def waits() -> None:
            held.wait(10)
            commit()

        async def hear(_item: str) -> None:
            seen.append(len(seen))

        world.commit = waits  # type: ignore[method-assign]
        threading.Timer(0.1, come_back).start()
        return len(await taken(page(8_000), hear))

    with world.runtime():
        assert form.run(reads) == 8_000
    assert seen.index(-1) <= most


# -- what others make of the record -----------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [pages, partial(anew, deterministic=True), anew], ids=["numbered", "same", "neither"])
def test_a_crash_at_any_commit_changes_nothing_and_runs_no_ended_generator_again(
    form: Form, tmp_path: Path, make: Any
) -> None:
    world = World("memory", tmp_path)
    page, step = make(world, form), doubling(world, form)

    @form.flow()
    async def part() -> list[int]:
        return await taken(page(4))

    @form.flow(durable=True)
    async def reads() -> list[Any]:
        first = await taken(page(3), lambda item: call(step, item))
        return [first, await call(part), await call(step, 9), await taken(page(2))]

    sweep = crash_at_every_commit(reads)

    assert sweep.value == [[0, 1, 2], [0, 1, 2, 3], 18, [0, 1]]
    assert sweep.points >= 12


def test_a_history_is_gone_through_without_the_body(form: Form, world: World) -> None:
    page, step = pages(world, form), doubling(world, form)

    @form.flow(durable=True)
    async def reads() -> list[int]:
        return await taken(page(4), lambda item: call(step, item))

    run_id = world.crashes(form, reads, at="page 2")
    world.seen()
    with world.runtime():
        left = replay(run_id, reads)
        assert form.run(reads) == [0, 1, 2, 3]
        world.seen()
        ended = replay(world.roots()[-1], reads)

    assert (left.outcome, ended.outcome, ended.value) == ("goes on", "same", [0, 1, 2, 3])
    assert left.said.endswith("goes on with page(4).")
    assert world.seen() == []


def test_items_go_with_their_run(form: Form, world: World) -> None:
    page = anew(world, form, lambda number: number)

    @form.flow(durable=True)
    async def reads() -> int:
        return len(await taken(page(6)))

    with world.runtime() as runtime:
        assert form.run(reads) == 6
        (run,) = world.roots()
        assert b"[0,1,2,3,4,5]" in {one.data for one in stored(runtime, run.id).values()}
        asyncio.run(runtime.store.delete(run.id))
        assert stored(runtime, run.id) == {}


def test_a_generator_whose_items_somebody_has_removed_is_run_again(
    form: Form, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    page, last = pages(world, form), doubling(world, form, name="last")

    @form.flow(durable=True)
    async def reads() -> list[int]:
        return [*await taken(page(3)), await call(last, 1)]

    run_id = world.crashes(form, reads, at="last 1")
    with world.runtime() as runtime:
        items = [one for one in stored(runtime, run_id).values() if one.data == b"[0,1,2]"]
        assert asyncio.run(runtime.store.results.forget(items)) == 1
    world.seen()

    assert world.resumes(form, run_id) == [0, 1, 2, 2]
    assert world.seen() == [*noted(0, 2), "last 1"]
    assert "Is begun anew, since not all that it had yielded is on record any more" in caplog.text


def stored(runtime: Any, run_id: str) -> dict[str, Any]:
    """Give all that is kept below a run."""
    return dict(asyncio.run(runtime.store.results.under(prefix_of(run_id))))
